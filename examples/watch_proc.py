"""What /proc shows of this machine, on the console for three seconds; needs no privilege."""

import asyncio

from tapio import Pipeline, sinks, sources, steps

pipeline = (
    Pipeline("watch")
    .source(sources.Procfs())
    .step(steps.Redact())  # command lines may hold secrets
    .sink(sinks.Console())
)


async def main() -> None:
    """Run until the stop is set."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(3, stop.set)
    await pipeline.run(stop)


if __name__ == "__main__":
    asyncio.run(main())
