"""Two pipelines in your own event loop, beside your own work, with a stop of your own.

They share nothing but the loop: each has its channels, its ledger, its stop.
"""

import asyncio
import tempfile
from pathlib import Path

from tapio import Pipeline, sample, sinks, sources

fast = sources.Synthetic(topic="demo.fast", rate=5000)
slow = sources.Synthetic(topic="demo.slow", rate=50)


async def main(folder: Path) -> None:
    """Run both for two seconds."""
    stop = asyncio.Event()
    one = Pipeline("one").source(fast).sample(sample.Adaptive(500)).sink(sinks.File(f"{folder}/1"))
    two = Pipeline("two").source(slow).sink(sinks.File(f"{folder}/2"))
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        group.create_task(two.run(stop))
        for second in (2, 1):
            print(f"{second} s to go, and this loop is free for other things")
            await asyncio.sleep(1)
        stop.set()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
        for file in sorted(Path(name).rglob("*.arrows")):
            print(file.parent.name, file.name.split("-")[0], file.stat().st_size, "bytes")
