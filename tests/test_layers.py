"""The layers: imports point down, and what is pure has no clock, file, network or loop.

Rooms in rows, lowest first. A room imports itself and the rows below; it imports another room
of its own row only where ``BESIDE`` says so. Stages do not know the engine, nor tickets.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = ("observers", "sources", "enrich", "sample", "batch", "steps", "sinks")
ROWS = (
    ("lazy",),
    ("model",),
    ("codec",),
    ("telemetry", "home"),
    ("engine", "kernel"),
    STAGES,
    ("registry",),
    ("config", "pipeline"),
    ("testing",),
    ("cli",),
    ("__init__", "__main__"),
)
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}
BESIDE = {("sources/__init__.py", "observers")}
"""(file, room): the sources re-export the observers."""

PURE = ("lazy", "model", "codec")
IMPURE_MODULES = re.compile(
    "asyncio|concurrent|io|mmap|multiprocessing|os|random|select|shutil|signal|socket|ssl|"
    "subprocess|tempfile|threading|time|urllib|uuid|aiohttp|requests|secrets|uvloop"
)
IMPURE_CALLS = re.compile(
    "open|input|print|read_text|read_bytes|write_text|write_bytes|mkdir|unlink|stat|iterdir|"
    "now|utcnow|today|memory_map|OSFile|fromfile|memmap|default_rng"
)


def imported(tree: ast.Module, file: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, wherever it stands; ``from tapio import x`` is tapio.x."""
    package = ["tapio", *Path(file).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            whole = base == "tapio"
            yield from ((node.lineno, f"{base}.{a.name}" if whole else base) for a in node.names)


def room_of(module: str) -> str:
    """The room of a module of ours; a name that is none is a name of ``tapio`` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"


def layer_faults(source: str, file: str) -> list[str]:
    """What the imports of ``file`` (below tapio/) break."""
    room = Path(file).parts[0].removesuffix(".py")
    if room not in LEVEL:
        return [f"{file}: {room} has no place among the layers"]
    faults = []
    for line, module in imported(ast.parse(source), file):
        if module.split(".")[0] != "tapio":
            continue
        if reason := refused(file, room, module):
            faults.append(f"{file}:{line}: {reason}")
    return sorted(set(faults))


def refused(file: str, room: str, module: str) -> str:
    """Why a file of ``room`` may not import ``module``; empty where it may."""
    other = room_of(module)
    if other == room or (file, other) in BESIDE:
        return ""
    if LEVEL[other] >= LEVEL[room]:
        return f"{room} imports {module}, which does not stand below it"
    if room in STAGES and other == "engine":
        return f"{room} imports the engine"
    if room in STAGES and room not in ("sources", "observers") and module.endswith(".ticket"):
        return f"{room} imports tickets, which are for sources alone"
    return ""


def purity_faults(source: str, file: str) -> list[str]:
    """What ``file`` imports or calls that needs the world."""
    tree = ast.parse(source)
    faults = [
        f"{file}:{line}: imports {module}"
        for line, module in imported(tree, file)
        if IMPURE_MODULES.fullmatch(module.split(".")[0])
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if IMPURE_CALLS.fullmatch(name):
                faults.append(f"{file}:{node.lineno}: calls {name}()")
    return faults


def package_files() -> list[tuple[str, str]]:
    """(path below tapio/, text) of every module."""
    files = sorted((ROOT / "tapio").rglob("*.py"))
    return [(f.relative_to(ROOT / "tapio").as_posix(), f.read_text()) for f in files]


def test_imports_point_down() -> None:
    """No room imports one above it, nor beside it, and stages do not know the engine."""
    assert [fault for file, text in package_files() for fault in layer_faults(text, file)] == []


def test_model_and_codec_are_pure() -> None:
    """Neither imports a loop, a clock, a file or a socket, nor calls one."""
    pure = [(f, t) for f, t in package_files() if Path(f).parts[0].removesuffix(".py") in PURE]
    assert len(pure) > 10
    assert [fault for file, text in pure for fault in purity_faults(text, file)] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("model/batch.py", "from tapio.codec.arrow import decode"),
        ("codec/arrow.py", "def f():\n    import tapio.engine.channel"),
        ("engine/pump.py", "from tapio.kernel.libbpf import load"),
        ("kernel/ring.py", "from tapio.engine import pump"),
        ("sinks/file.py", "from tapio.engine.channel import Channel"),
        ("sinks/file.py", "from tapio.steps.filter import Filter"),
        ("sinks/file.py", "from ..steps.filter import Filter"),
        ("sinks/file.py", "from tapio import Sink"),
        ("sinks/file.py", "from tapio.model.ticket import Ticket"),
        ("sources/procfs.py", "from tapio.observers.process import EXEC"),
        ("config/load.py", "from tapio import pipeline"),
        ("registry.py", "import tapio.config.load"),
        ("pipeline.py", "from tapio.cli.main import main"),
        ("extras/thing.py", "import numpy"),
    ],
)
def test_a_planted_import_is_found(file: str, source: str) -> None:
    """Each kind of import that the layers forbid is a fault."""
    assert layer_faults(source, file)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("sources/__init__.py", "from tapio.observers.process import Process"),
        ("sinks/file.py", "from .naming import stem\nfrom tapio.codec.arrow import encode"),
        ("sources/replay.py", "from tapio.model.ticket import Ticket"),
        ("cli/run.py", "from tapio import pipeline"),
        ("pipeline.py", "from tapio.engine.run import Engine"),
    ],
)
def test_an_import_that_points_down_is_none(file: str, source: str) -> None:
    """The checker does not refuse what the layers allow."""
    assert layer_faults(source, file) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "from time import time_ns",
        "def f(p):\n    return p.read_bytes()",
        "open('x')",
        "from datetime import datetime\ndatetime.now()",
        "import pyarrow as pa\npa.memory_map('x')",
        "import numpy as np\nnp.random.default_rng()",
    ],
)
def test_a_planted_impurity_is_found(source: str) -> None:
    """Each way out into the world is a fault."""
    assert purity_faults(source, "model/planted.py")
