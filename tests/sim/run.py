"""Runs seeds of the simulation, from the repository's root.

    .venv/bin/python -m tests.sim --seed 7             replays one, with its rule if one is broken
    .venv/bin/python -m tests.sim --seeds 0:5000       runs many, on all processors
    .venv/bin/python -m tests.sim --seeds 0:200 --plant early_ack     with a bug in the engine

Each broken seed prints the command that replays it. Exit code 1 where one is broken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial

from tests.sim.books import Broken
from tests.sim.life import simulate
from tests.sim.plants import PLANTS, planted


def broken(seed: int, plant: str = "") -> str:
    """Which rule ``seed`` breaks, and how; empty where all holds."""
    with planted(plant) if plant else nullcontext(), warnings.catch_warnings():
        if plant:
            warnings.simplefilter("ignore")  # a planted bug may well forget tickets
        try:
            simulate(seed)
        except Broken as error:
            return str(error)
    return ""


def command(seed: int, plant: str = "") -> str:
    """What replays ``seed``."""
    return f".venv/bin/python -m tests.sim --seed {seed}" + (f" --plant {plant}" if plant else "")


def failures(seeds: Sequence[int], plant: str = "", jobs: int = 1) -> Iterator[tuple[int, str]]:
    """(seed, broken rule) of each seed that breaks one, in order."""
    check = partial(broken, plant=plant)
    if jobs == 1:
        yield from ((seed, said) for seed in seeds if (said := check(seed)))
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for seed, said in zip(seeds, pool.imap(check, seeds, chunksize=20), strict=True):
            if said:
                yield seed, said


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tests.sim", description="Seeded simulation of the engine."
    )
    parser.add_argument("--seed", type=int, help="run this seed")
    parser.add_argument("--seeds", default="0:200", help="run the seeds from A up to B, as A:B")
    parser.add_argument("--plant", default="", choices=["", *PLANTS], help="plant this bug")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args(arguments)
    first, _, end = given.seeds.partition(":")
    seeds = range(int(first), int(end)) if given.seed is None else range(given.seed, given.seed + 1)
    begun, found = time.monotonic(), 0
    for seed, said in failures(seeds, given.plant, 1 if len(seeds) == 1 else given.jobs):
        found += 1
        print(f"{said}\n  {command(seed, given.plant)}", flush=True)  # noqa: T201
    took = time.monotonic() - begun
    print(f"{len(seeds)} seeds, {found} broken, {took:.1f} s")  # noqa: T201
    return 1 if found else 0
