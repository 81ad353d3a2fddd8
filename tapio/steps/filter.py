"""``filter``: keeps the rows that a condition chooses."""

from __future__ import annotations

from tapio.model.batch import Batch
from tapio.model.stage import Context, Step, Transform
from tapio.model.when import When


class Filter(Step, frozen=True, tag="filter"):
    """Keeps the rows that ``keep`` chooses and ``drop`` does not; the others are ``filtered``.

    At least one of the two is given. A column that a topic lacks chooses none of its rows:
    ``keep`` then removes them all and ``drop`` none, so name the topic beside the column
    where other topics pass too (``{any: [{not: {topic: [process.exit]}}, {field: …}]}``).
    Rows of severity ≥ error are treated as any others: what is filtered was asked for.
    """

    keep: When | None = None
    drop: When | None = None

    def __post_init__(self) -> None:
        if self.keep is None and self.drop is None:
            raise ValueError("filter needs keep, drop, or both")

    def start(self, cx: Context) -> Transform:
        """Start it; the Transform returns its very batch where all rows stay."""
        return self._filtered

    def _filtered(self, batch: Batch) -> Batch:
        if self.keep is not None:
            batch = batch.where(self.keep.mask(batch))
        if self.drop is not None:
            batch = batch.where(~self.drop.mask(batch))
        return batch
