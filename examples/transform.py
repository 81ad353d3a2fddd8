"""A step of your own: the payments that are too large go on, as thousands.

Prints the rows left, and at the end what the ledger calls them: kept, or filtered.
"""

import asyncio

from tapio import Batch, Context, Field, Pipeline, Step, Transform, sinks, sources
from tapio.sources.values import Values

THOUSANDS = Field("thousands", "float64", doc="The amount, in thousands.")


class Large(Step, frozen=True, tag="large"):
    """Keeps rows with an ``amount`` of at least ``least``."""

    least: float

    def start(self, cx: Context) -> Transform:
        def large(batch: Batch) -> Batch:
            kept = batch.where(batch["amount"] >= self.least)
            return kept.with_columns({THOUSANDS: kept["amount"] / 1000})

        return large


payments = sources.Synthetic(
    topic="shop.payment",
    columns=(Values("amount", "float64", 0, 10_000), Values("customer", "text", cardinality=9)),
    count=50,
)
pipeline = Pipeline("shop").source(payments).step(Large(9_000)).sink(sinks.Console())

if __name__ == "__main__":
    asyncio.run(pipeline.run())
