"""``python -m benchmarks NAME [--json] [--quick]``, ``python -m benchmarks --list``.

Every module beside this one that has a ``run`` is a benchmark, called as its file.
Exit codes: 0, 1 when a benchmark's own check failed, 2 usage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from types import ModuleType

import benchmarks
from benchmarks.result import Failed, Result

NOT_BENCHMARKS = {"__main__", "result"}


def names() -> list[str]:
    """The benchmarks there are, sorted."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(n for n in found if n not in NOT_BENCHMARKS and hasattr(load(n), "run"))


def load(name: str) -> ModuleType:
    """The module of the benchmark ``name``."""
    return importlib.import_module(f"benchmarks.{name}")


def show(results: Iterable[Result], *, as_json: bool) -> None:
    """Print each result as it comes, one line each."""
    for result in results:
        line = json.dumps(asdict(result)) if as_json else text(result)
        print(line, flush=True)


def text(result: Result) -> str:
    """A result for people: figure, unit, and how many times the baseline."""
    line = f"{result.bench:10} {result.case:26} {result.value:14,.3f} {result.unit}"
    if result.ratio is None:
        return line
    return f"{line:70} {result.ratio:8.2f} × {result.baseline}"


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help="see --list; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="shorter, for a smoke test")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and stop")
    asked = parser.parse_args(argv)
    known = names()
    if asked.list:
        for name in known:
            print(f"{name:10} {(load(name).__doc__ or '').splitlines()[0]}")
        return 0
    if unknown := set(asked.name) - set(known):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    try:
        for name in asked.name or known:
            show(load(name).run(quick=asked.quick), as_json=asked.json)
    except Failed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
