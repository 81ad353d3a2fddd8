"""Three stages for Tapio: a source that tosses coins, a step that looks, a sink that counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pyarrow as pa

import tapio

TOSS = tapio.Schema.of("coin.toss", tapio.Field("side", "text", doc="What the coin shows."))


class Coin(tapio.Source, frozen=True, tag="coin"):
    """Tosses a coin ``tosses`` times, all at once."""

    tosses: int = 100

    @asynccontextmanager
    async def open(self, cx: tapio.Context) -> AsyncIterator[tapio.Read]:
        shown = np.random.default_rng().integers(2, size=self.tosses, dtype=np.int32)
        columns = {
            "time_ns": np.full(self.tosses, cx.clock.time_ns()),
            "seq": np.arange(self.tosses, dtype="u8") + cx.sequences.take(TOSS.topic, self.tosses),
            "severity": np.full(self.tosses, 9, np.uint8),
            "side": pa.DictionaryArray.from_arrays(shown, ["heads", "tails"]),
        }
        batches = iter([tapio.Batch(TOSS, columns)])

        async def read() -> tapio.Delivery:
            for batch in batches:
                return tapio.Delivery(batch, tapio.Ticket())
            raise tapio.EndOfStream

        yield read


class Side(tapio.Step, frozen=True, tag="side"):
    """Keeps the coins that show ``keep``."""

    keep: str = "heads"

    def start(self, cx: tapio.Context) -> tapio.Transform:
        return lambda batch: batch.where(tapio.When(field="side", eq=self.keep).mask(batch))


class Tally(tapio.Sink, frozen=True, tag="tally"):
    """Says how many rows have come, and calls them ``word``."""

    word: str = "rows"

    @asynccontextmanager
    async def open(self, cx: tapio.Context) -> AsyncIterator[tapio.Write]:
        total = [0]

        async def write(batch: tapio.Batch) -> None:
            total[0] += batch.rows
            print(total[0], self.word)

        yield write
