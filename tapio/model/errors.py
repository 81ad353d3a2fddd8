"""The errors of Tapio: one small tree, which answers what the caller should do next.

    TapioError
    ├─ ConfigError (.path, .file, .line)     fix the configuration; raised before anything opens
    │  └─ SchemaError                        two stages disagree about a column
    ├─ ContractError                         a stage broke its contract; fix the stage
    ├─ DecodeError (.offset, .reason)        bytes are not what their format says
    ├─ DeliveryError                         what a sink's Write raises
    │  ├─ Retryable (.after_s)               the endpoint's fault: rows are held, tried again
    │  ├─ Rejected                           the data's fault: the rows go to the dead letters
    │  └─ PartlyRejected (.mask | .count)    some rows rejected, the others delivered
    └─ KernelError                           a capability, hook or BTF is missing; says what to do

``EndOfStream`` is a signal, not an error, and stands outside the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TapioError(Exception):
    """The root: catch it to catch everything that Tapio raises on purpose."""


class ConfigError(TapioError):
    """A configuration cannot be used.

    ``path`` is where (``sample.0.target_per_s``); ``file`` and ``line`` (from 1) are
    there when the value came from a file. ``str()`` is the whole sentence.
    """

    def __init__(self, reason: str, *, path: str = "", file: str = "", line: int = 0) -> None:
        self.reason = reason
        self.path = path
        self.file = file
        self.line = line
        place = f"{file}:{line}" if file and line else file
        super().__init__(": ".join(part for part in (place, path, reason) if part))


class SchemaError(ConfigError):
    """Two stages disagree about a column: its name, its type, or that it exists."""


class ContractError(TapioError):
    """A stage broke its contract: more rows out than in, or another topic."""


class DecodeError(TapioError):
    """Bytes are not what their format says; nothing of them was used.

    ``offset`` is in bytes from the start of the input, -1 where it is not known.
    """

    def __init__(self, reason: str, *, offset: int = -1) -> None:
        self.reason = reason
        self.offset = offset
        super().__init__(f"{reason} (at byte {offset})" if offset >= 0 else reason)


class DeliveryError(TapioError):
    """What a sink's ``Write`` raises; raise one of its children."""


class Retryable(DeliveryError):
    """The endpoint could not take the rows now; they are held and offered again.

    ``after_s`` is the wait that the endpoint asked for, None where it did not.
    ``too_large`` says that a smaller request might pass: the engine halves it.
    """

    def __init__(
        self, reason: str, *, after_s: float | None = None, too_large: bool = False
    ) -> None:
        self.after_s = after_s
        self.too_large = too_large
        super().__init__(reason)


class Rejected(DeliveryError):
    """The rows themselves will never be taken; a repetition would not help."""


class PartlyRejected(DeliveryError):
    """Some rows were rejected and all the others are durable at the endpoint.

    Exactly one of the two is given: ``mask`` (bool, one a row, True = rejected), or
    ``count`` where the endpoint tells only how many (OTLP's partial success).
    """

    def __init__(
        self,
        reason: str,
        *,
        mask: npt.NDArray[np.bool_] | None = None,
        count: int | None = None,
    ) -> None:
        if (mask is None) == (count is None):
            raise ValueError("give exactly one of mask and count")
        self.mask = mask
        self.count = count
        super().__init__(reason)


class KernelError(TapioError):
    """The kernel refused, or lacks something: the sentence names it and says what to do."""


class EndOfStream(Exception):
    """What ``Read`` raises when the source has nothing more to give."""
