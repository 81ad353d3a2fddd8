"""``Parcel``: a batch on its way, with whom it answers to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tapio.model.batch import Batch
from tapio.model.schema import ERROR, Schema
from tapio.model.ticket import Ticket

Kind = tuple[str, bool, Schema, int]
"""(source, replayable, schema, entity table)"""


@dataclass(slots=True, eq=False)
class Parcel:
    """Rows of one source (rule 10) and the ticket that answers for them.

    ``at`` is the index of the trunk cell that it enters next; ``urgent`` says that it held a
    row of severity ≥ error when it was taken; ``replayable`` that its source would give the
    rows again.
    """

    batch: Batch
    ticket: Ticket
    source: str
    replayable: bool
    urgent: bool
    at: int = 0

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.batch.rows

    @property
    def kind(self) -> Kind:
        """Parcels of one kind may become one batch."""
        return self.source, self.replayable, self.batch.schema, id(self.batch.entities)

    @staticmethod
    def joined(parcels: Sequence[Parcel]) -> Parcel:
        """Parcels of one kind as one, of at most MAX_ROWS rows; they must not be used again."""
        batch = Batch.concat([p.batch for p in parcels])
        whole = parcels[0].carry(batch, Ticket.join([p.ticket for p in parcels]))
        whole.urgent = any(p.urgent for p in parcels)
        return whole

    def carry(self, batch: Batch, ticket: Ticket | None = None) -> Parcel:
        """Other rows on the same road; with this ticket unless another is given."""
        ticket = self.ticket if ticket is None else ticket
        return Parcel(batch, ticket, self.source, self.replayable, self.urgent, self.at)

    def divide(self, mask: npt.NDArray[np.bool_]) -> tuple[Parcel | None, Parcel | None]:
        """The rows where ``mask`` is True, and the others; None for a side without rows.

        The ticket is forked where both sides have rows; this parcel must not be used again.
        """
        chosen = self.batch.where(mask)
        if chosen.rows == self.rows:
            return self, None
        if chosen.rows == 0:
            return None, self
        first, second = self.ticket.fork(2)
        return self.carry(chosen, first), self.carry(self.batch.where(~mask), second)

    def cut(self, rows: int) -> tuple[Parcel, Parcel]:
        """The first ``rows`` rows and the rest, both not empty; the ticket is forked."""
        first, second = self.ticket.fork(2)
        rest = self.batch.slice(rows, self.rows - rows)
        return self.carry(self.batch.slice(0, rows), first), self.carry(rest, second)


class Leftover(NamedTuple):
    """What a holder gives up when the run ends: rows of a source and who answers for them."""

    source: str
    rows: int
    ticket: Ticket
    replayable: bool


class Holder(Protocol):
    """A place where rows can be. Each one can be looked into, and swept out at the end."""

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of all that is in it, found by looking (rule 4)."""
        ...

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is in it; it is empty afterwards."""
        ...

    def batches(self) -> Iterator[Batch]:
        """The batches in it, for the memory account (rule 19)."""
        ...


def one_a_row(mask: object, rows: int) -> bool:
    """Whether ``mask``, which a plugin gave, is what it must be."""
    return isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (rows,)


def urgent(batch: Batch) -> bool:
    """Whether a row has severity ≥ error."""
    return bool((batch["severity"] >= ERROR).any())


def leftover(parcel: Parcel) -> Leftover:
    """``parcel`` given up."""
    return Leftover(parcel.source, parcel.rows, parcel.ticket, parcel.replayable)
