"""Whole configurations: sections, their order, places, and the file that must always work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.config import ConfigErrors, document, load
from tapio.config.topology import check
from tapio.model.errors import ConfigError
from tapio.model.plan import Plan, labels
from tapio.model.policy import Settings
from tapio.model.when import When
from tapio.registry import Registry
from tests import specs
from tests.specs import SAMPLE

MINIMAL = "sources: [{type: process}]\nsinks: [{type: otlp}]\n"


def test_the_sample_file() -> None:
    """The sample file is the pipeline that it says."""
    expected = Plan(
        "node",
        (specs.Process(),),
        (specs.Cgroup(), specs.Adaptive(target_per_s=500), specs.By(max_rows=8192, max_age_s=0.1)),
        (
            specs.File("out"),
            specs.Otlp("http://127.0.0.1:4318", when=When(topic=("process",))),
        ),
    )
    assert load(SAMPLE, registry=specs.registry()) == expected


def test_a_file_is_as_its_text(tmp_path: Path) -> None:
    """A path is read, a byte order mark and CRLF included."""
    path = tmp_path / "node.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SAMPLE.replace("\n", "\r\n").encode())
    assert load(path, registry=specs.registry()) == load(SAMPLE, registry=specs.registry())


def test_the_trunk_is_in_the_order_written() -> None:
    """enrich, sample, batch and steps follow one another as the file has them."""
    text = MINIMAL + (
        "steps:\n- type: redact\n- type: batch.by\n- type: enrich.cgroup\n  name: second\n"
        "sample: {type: adaptive}\nenrich: {type: cgroup}\n"
    )
    found = document(text, registry=specs.registry())
    assert labels(found.plan.trunk) == ("redact", "by", "second", "adaptive", "cgroup")
    assert found.trunk == ("steps.0", "steps.1", "steps.2", "sample.0", "enrich.0")


def test_places() -> None:
    """A place of the plan is the file's path and line; a default has the line of its stage."""
    found = document(SAMPLE, registry=specs.registry())
    assert found.place("trunk.2.max_rows") == ("batch.0.max_rows", ("<text>", 11))
    assert found.place("trunk.1") == ("sample.0", ("<text>", 7))
    assert found.place("sinks.1.when.topic") == ("sinks.1.when.topic", ("<text>", 18))
    assert found.place("sinks.1.retry.max_s") == ("sinks.1.retry.max_s", ("<text>", 16))
    assert found.place("settings.memory") == ("settings.memory", ("<text>", 0))


def test_settings_and_name() -> None:
    """Settings and the name have defaults, and are taken where they stand."""
    plan = load(MINIMAL, registry=specs.registry())
    assert (plan.name, plan.settings) == ("tapio", Settings())
    text = MINIMAL + "pipeline: edge\nsettings: {drain_s: 5, resource: {k8s.cluster.name: a}}"
    plan = load(text, registry=specs.registry())
    assert plan.name == "edge"
    assert plan.settings == Settings(drain_s=5, resource={"k8s.cluster.name": "a"})


def test_overrides() -> None:
    """Overrides are applied before anything is filled in, decoded or complained about."""
    plan = load(
        SAMPLE.replace("target_per_s: 500", "target_per_s: ${NOT_SET}"),
        registry=specs.registry(),
        overrides=["sample.0.target_per_s=7", "batch.0.max_rows=1", "sinks.1.when=", "pipeline=x"],
    )
    assert plan.name == "x"
    assert plan.trunk[1:] == (specs.Adaptive(target_per_s=7), specs.By(max_rows=1, max_age_s=0.1))
    assert plan.sinks[1].when is None


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of this process are filled in, converted, and may name a type."""
    monkeypatch.setenv("TAPIO_TEST_RATE", "250")
    monkeypatch.setenv("TAPIO_TEST_SINK", "otlp")
    text = SAMPLE.replace("500", "${TAPIO_TEST_RATE}").replace(
        "type: otlp", "type: ${TAPIO_TEST_SINK}"
    )
    plan = load(text, registry=specs.registry())
    assert plan.trunk[1] == specs.Adaptive(target_per_s=250.0)
    assert isinstance(plan.sinks[1], specs.Otlp)


@pytest.mark.parametrize(
    ("text", "path", "line", "reason"),
    [
        (MINIMAL + "sink: 5", "sink", 3, "unknown key 'sink'; did you mean 'sinks'"),
        (MINIMAL + "colour: 5", "colour", 3, "there are: pipeline, sources, enrich"),
        (MINIMAL + "pipeline: ''", "pipeline", 3, "length >= 1"),
        (MINIMAL + "enrich: cgroup", "enrich", 3, "expected a stage"),
        (MINIMAL + "enrich: [cgroup]", "enrich.0", 3, "expected a stage"),
        (MINIMAL + "enrich: {name: x}", "enrich.0.type", 3, "needs its type; there are: cgroup"),
        (MINIMAL + "enrich: {type: 5}", "enrich.0.type", 3, "expected text"),
        (MINIMAL + "enrich: {type: cgrup}", "enrich.0.type", 3, "did you mean 'cgroup'"),
        (MINIMAL + "enrich: {type: adaptive}", "enrich.0.type", 3, "it is a sample; move it"),
        (MINIMAL + "steps: {type: adaptive}", "steps.0.type", 3, "it is a sample"),
        (MINIMAL + "steps: {type: sink.otlp}", "steps.0.type", 3, "no step 'sink.otlp'"),
        (MINIMAL + "steps: {type: batch.bye}", "steps.0.type", 3, "did you mean 'by'"),
        (MINIMAL + "batch: {type: by, max_row: 1}", "batch.0.max_row", 3, "mean 'max_rows'"),
        ("sinks: [{type: otlp}]", "sources", 1, "at least one"),
        ("sources: [{type: process}]\nsinks: []", "sinks", 1, "at least one"),
        ("sources: [{type: process}]\nsinks:", "sinks", 1, "at least one"),
        ("", "", 0, "there is nothing in it; `tapio init`"),
        ("# only a comment", "", 0, "there is nothing in it"),
        ("- a", "", 1, "expected keys and values"),
        ("hello", "", 1, "expected keys and values"),
        ("x" * (1 << 20) + "x", "", 0, "at most 1 MiB"),
    ],
)
def test_one_thing_wrong(text: str, path: str, line: int, reason: str) -> None:
    """Each mistake is one ConfigError with file, line and path, and says what to do."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load(text, registry=specs.registry())
    assert not isinstance(caught.value, ConfigErrors)
    assert (caught.value.file, caught.value.path, caught.value.line) == ("<text>", path, line)


def test_everything_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of all sections, of the YAML and of what is filled in stand side by side."""
    monkeypatch.setenv("TAPIO_TEST_TYPE", "hunter2")
    text = (
        "sources:\n- type: proces\n- type: process\n  type: process\n"
        "sample: {type: adaptive, target_per_s: -1}\n"
        "sinks:\n- type: file\n  path: ${NOT_SET}\n- type: ${TAPIO_TEST_TYPE}\n- type: file\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load(text, registry=specs.registry())
    assert [(e.line, e.path) for e in caught.value.errors] == [
        (2, "sources.0.type"),
        (4, "sources.1.type"),
        (5, "sample.0.target_per_s"),
        (8, "sinks.0.path"),
        (9, "sinks.1.type"),
        (10, "sinks.2.path"),
    ]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [(b"a: 1\nb: \xff\n", 2, "is not UTF-8; save"), (b"x" * (2 << 20), 0, "at most 1 MiB")],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    """What is no UTF-8, or too long, is refused before it is parsed."""
    path = tmp_path / "node.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load(path, registry=specs.registry())
    assert (caught.value.file, caught.value.line) == (str(path), line)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, and a folder, are said to be so."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "nothing.yaml", registry=specs.registry())
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, registry=specs.registry())


def test_a_broken_plugin_has_its_line() -> None:
    """A stage whose plugin cannot be loaded is an error at the line that asks for it."""

    class Broken(Registry):
        def get(self, kind: str, tag: str) -> type[specs.File]:
            raise ConfigError(f"{kind} {tag!r} of plugin 'acme' cannot be loaded: no module")

    with pytest.raises(ConfigErrors, match="plugin 'acme'") as caught:
        load(MINIMAL, registry=Broken())
    assert [e.line for e in caught.value.errors] == [1, 2]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
words = st.sampled_from(
    ["type", "name", "file", "by", "batch.by", "path", "when", "all", "topic", "0", "1", "${HOME}"]
)
trees = st.recursive(
    scalars | words,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(words, below, max_size=3),
    max_leaves=6,
)
places = st.lists(
    st.sampled_from(
        ["sources", "batch", "sinks", "settings", "0", "1", "2", "when", "type", "path"]
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(st.tuples(places, trees), min_size=1, max_size=4))
def test_whatever_is_put_anywhere_is_read_or_refused(
    puts: list[tuple[list[str], object]],
) -> None:
    """Any value at any place gives a plan that can be checked, or ConfigErrors with places."""
    overrides = [f"{'.'.join(path)}={json.dumps(value)}" for path, value in puts]
    try:
        found = document(SAMPLE, registry=specs.registry(), overrides=overrides)
    except ConfigError as error:
        errors = error.errors if isinstance(error, ConfigErrors) else (error,)
        assert all(e.file in ("<text>", "--set") and e.reason for e in errors)
    else:
        for finding in check(found.plan):
            assert found.place(finding.path)[0]
