"""Rows written once flow again, into polars, duckdb and pandas: all read a batch as it is."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import duckdb
import polars as pl
import pyarrow as pa

from tapio import Batch, Context, Pipeline, Sink, Write, sinks, sources


class Frames(Sink, frozen=True, tag="frames"):
    """Shows each batch in three ways."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        async def write(batch: Batch) -> None:
            print(pl.DataFrame(batch).group_by("severity").len().sort("severity"))
            table = pa.table(batch)
            print(duckdb.from_arrow(table).aggregate("count(distinct command) as commands"))
            print(table.to_pandas()["value"].describe().round(2))

        yield write


async def main(folder: str) -> None:
    """Write two thousand rows, then replay them."""
    rows = sources.Synthetic(count=2000)
    await Pipeline("write").source(rows).sink(sinks.File(folder)).run()
    await Pipeline("replay").source(sources.Replay(folder)).sink(Frames()).run()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(name))
