"""The registry: what is found, what is refused, and that one broken plugin is its own fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapio.model.errors import ConfigError
from tapio.model.stage import Sink, Source, Step
from tapio.registry import GROUPS, KINDS, Registry, nearest
from tests import specs

PLUGIN = """\
from tapio.model.stage import Sink, Source

class Good(Sink, frozen=True, tag="good"):
    "A sink of somebody else's."

class Mistagged(Sink, frozen=True, tag="other"): ...
"""


def install(
    site: Path, name: str, doors: dict[str, str], modules: dict[str, str] | None = None
) -> None:
    """Put a distribution into ``site`` as pip would: modules, and metadata with entry points."""
    for module, text in (modules or {}).items():
        (site / f"{module}.py").write_text(text)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[tapio.sinks]\n{tag} = {value}\n" for tag, value in doors.items()]
    (info / "entry_points.txt").write_text("".join(lines))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, seen beside the real ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("acme_")]:
        del sys.modules[name]


def test_built_ins_come_through_the_same_door() -> None:
    """The built-in stages are found among the installed entry points."""
    installed = Registry.installed()
    assert {"console", "file", "otlp"} <= set(installed.names("sink"))
    assert "process" in installed.names("source")
    assert set(GROUPS) == set(KINDS)


def test_a_plugin_is_found(site: Path) -> None:
    """A sink of another distribution is named, loaded and listed like one of ours."""
    install(site, "acme", {"good": "acme_sinks:Good"}, {"acme_sinks": PLUGIN})
    installed = Registry.installed()
    assert installed.get("sink", "good").__name__ == "Good"
    assert "good" in installed.names("sink")


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("good", "acme_nowhere:Good", "cannot be loaded: ModuleNotFoundError"),
        ("good", "acme_sinks:Nothing", "cannot be loaded: AttributeError"),
        ("good", "acme_raises:X", "cannot be loaded: ZeroDivisionError"),
        ("good", "acme_syntax:X", "cannot be loaded: SyntaxError"),
        ("mistagged", "acme_sinks:Mistagged", "must be declared with tag='mistagged'"),
        ("source", "acme_sinks:Source", "is not a subclass of Sink"),
        ("good", "acme_sinks:__name__", "is not a subclass of Sink"),
    ],
)
def test_a_broken_plugin_names_itself(site: Path, tag: str, value: str, reason: str) -> None:
    """What is wrong with a plugin is said with its name, and others are listed all the same."""
    modules = {"acme_sinks": PLUGIN, "acme_raises": "1 / 0", "acme_syntax": "def"}
    install(site, "acme", {tag: value, "fine": "acme_fine:Fine"}, modules)
    (site / "acme_fine.py").write_text(PLUGIN.replace("Good", "Fine").replace("good", "fine"))
    installed = Registry.installed()
    with pytest.raises(ConfigError, match=reason) as caught:
        installed.get("sink", tag)
    assert "plugin 'acme'" in str(caught.value)
    assert installed.get("sink", "fine").__name__ == "Fine"
    assert tag not in installed.all("sink")
    assert "fine" in installed.all("sink")
    assert [e for e in installed.broken() if "acme" in e.reason and reason in e.reason]


def test_two_plugins_of_one_name(site: Path) -> None:
    """Where two distributions offer one tag, neither is taken, and both are named."""
    install(site, "acme", {"good": "acme_sinks:Good"}, {"acme_sinks": PLUGIN})
    install(site, "bolt", {"good": "acme_sinks:Other"})
    with pytest.raises(ConfigError, match="plugin 'acme' and plugin 'bolt'; uninstall one"):
        Registry.installed().get("sink", "good")


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """Listing the names, and loading one stage, import no other stage's module."""
    code = (
        "import sys; from tapio.registry import Registry; r = Registry.installed()\n"
        "def loaded(): return [m for m in sys.modules if m.startswith(('tapio.s', 'tapio.o'))]\n"
        "r.names('sink'); print(loaded())\n"
        "r.get('sink', 'file'); print('tapio.sinks.otlp' in loaded())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nFalse\n"


def test_unknown_names_the_near_ones() -> None:
    """A name that is nearly right gets the right one, another gets the list."""
    registry = specs.registry()
    with pytest.raises(ConfigError, match="there is no sink 'otpl'; did you mean 'otlp'"):
        registry.get("sink", "otpl")
    with pytest.raises(ConfigError, match="there is no sink 'kafka'; there are: file, otlp"):
        registry.get("sink", "kafka")
    with pytest.raises(ConfigError, match="'adaptive' is no sink, it is a sample; move it there"):
        registry.get("sink", "adaptive")
    with pytest.raises(ConfigError, match="there are: none"):
        Registry().get("sink", "x")


def test_add_refuses_what_cannot_be() -> None:
    """A class of another kind, an unknown kind and a second class of one tag are refused."""
    registry = specs.registry()
    with pytest.raises(ConfigError, match="is not a subclass of Source"):
        registry.add("source", specs.File)
    with pytest.raises(ConfigError, match="there is no kind 'sinks'"):
        registry.add("sinks", specs.File)
    with pytest.raises(ConfigError, match="there is a sink called 'file' already"):
        registry.add("sink", specs.File)
    with pytest.raises(ConfigError, match="there is a source called 'process' already"):
        Registry.installed().add("source", specs.Process)


def test_kinds_are_apart() -> None:
    """One tag may be used by each kind once."""

    class Alike(Source, frozen=True, tag="alike"): ...

    class AlikeStep(Step, frozen=True, tag="alike"): ...

    registry = Registry()
    registry.add("source", Alike)
    registry.add("step", AlikeStep)
    assert registry.all("source") == {"alike": Alike}
    assert registry.get("step", "alike") is AlikeStep
    assert issubclass(specs.File, Sink)


def test_nearest() -> None:
    """The hint is there where a word is close, and only there."""
    assert nearest("sorces", ["sources", "sinks"]) == "; did you mean 'sources'?"
    assert nearest("x", ["sources", "sinks"]) == ""
