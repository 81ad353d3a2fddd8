"""``tapio convert``: the rows stay the same, and a file is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tapio.cli import writing
from tapio.cli.main import main
from tapio.codec.arrow import encode
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.schema import COMMON, ENTITY, Field, Schema
from tests.batches import counting
from tests.cli.running import on_terminal

Convert = Callable[..., tuple[int, str]]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Convert:
    """Runs the command; (exit code, stderr)."""

    def run(*words: object) -> tuple[int, str]:
        try:
            code = main(["convert", *map(str, words)])
        except SystemExit as error:
            code = int(error.code or 0)
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two topics in three files, one of which is still open."""
    out = tmp_path / "out"
    out.mkdir()
    first = [counting("process.exec", 3, comm=["bash", "zsh", None])]
    (out / "process.exec-1.arrows").write_bytes(encode(first))
    (out / "process.exit-2.arrows").write_bytes(encode([counting("process.exit", 2)]))
    (out / "process.exit-3.arrows.part").write_bytes(encode([counting("process.exit", 9)]))
    return out


def test_parquet_holds_the_same_rows(convert: Convert, folder: Path, tmp_path: Path) -> None:
    """Columns, types, texts and nulls come back; the topic is in the metadata."""
    target = tmp_path / "x.parquet"
    assert convert(folder, "--topic", "process.exec", "-o", target) == (0, "")
    table = pq.read_table(target)
    assert table["comm"].to_pylist() == ["bash", "zsh", None]
    assert table["n"].type == pa.int64()
    assert table.schema.metadata[b"tapio.topic"] == b"process.exec"


def test_ndjson_holds_the_same_rows(convert: Convert, folder: Path, tmp_path: Path) -> None:
    """One object a row, of all topics; a file that is still open is left out of a folder."""
    target = tmp_path / "x.ndjson"
    assert convert(folder, "-o", target) == (0, "")
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["topic"] for row in rows] == ["process.exec"] * 3 + ["process.exit"] * 2
    assert rows[2]["comm"] is None
    assert rows[0]["time_ns"] == 1_700_000_000_000_000_000


def test_a_folder_gets_one_file_a_topic(convert: Convert, folder: Path, tmp_path: Path) -> None:
    """Each named after its topic, and nothing else is left there."""
    assert convert(folder, "-o", f"{tmp_path}/new/", "--to", "parquet") == (0, "")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["process.exec.parquet", "process.exit.parquet"]


def test_older_and_newer_files_stand_in_one(convert: Convert, tmp_path: Path) -> None:
    """A column that a file lacks is null, a number grows wide; entities' attributes too."""
    old, new = counting("x.y", 1), counting("x.y", 1, start=1, added=["new"])
    table = EntityTable()
    table.add(0, {"container.id": "abc"})
    new = new.with_columns({ENTITY: np.zeros(1, np.int32)}, table)
    (tmp_path / "1.arrows").write_bytes(encode([old]))
    (tmp_path / "2.arrows").write_bytes(encode([new]))
    narrow = Schema("x.y", (*COMMON, Field("n", "uint8")))
    columns = {f.name: old[f.name] for f in COMMON} | {"n": np.array([7], np.uint8)}
    (tmp_path / "3.arrows").write_bytes(encode([Batch(narrow, columns)]))
    assert convert(tmp_path, "-o", tmp_path / "x.parquet") == (0, "")
    rows = pq.read_table(tmp_path / "x.parquet")
    assert rows["n"].to_pylist() == [0, 1, 7]
    assert rows["added"].to_pylist() == [None, "new", None]
    assert rows["container.id"].to_pylist() == [None, "abc", None]


def test_row_groups_are_bounded(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than a group waits in memory, and small batches are joined."""
    monkeypatch.setattr(writing, "GROUP_ROWS", 1_000)
    many = [counting("x.y", 100, start=100 * n) for n in range(35)]
    (tmp_path / "a.arrows").write_bytes(encode(many))
    assert convert(tmp_path / "a.arrows", "-o", tmp_path / "x.parquet") == (0, "")
    file = pq.ParquetFile(tmp_path / "x.parquet")
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [1_000, 1_000, 1_000, 500]


@pytest.mark.parametrize("name", ["x.parquet", "x.ndjson"])
def test_a_damaged_file_gives_what_was_whole(convert: Convert, tmp_path: Path, name: str) -> None:
    """The output is whole and has the rows before the damage; one sentence, exit 1."""
    data = encode([counting("x.y", 5), counting("x.y", 5, start=5)])
    (tmp_path / "bad.arrows").write_bytes(data[:-100])
    code, err = convert(tmp_path / "bad.arrows", "-o", tmp_path / name)
    assert code == 1
    assert err.count("\n") == 1
    assert "bad.arrows: damaged" in err
    target = tmp_path / name
    rows = pq.read_table(target).num_rows if ".parquet" in name else target.read_text().count("\n")
    assert rows == 5


@pytest.mark.parametrize("content", [b"", b"no stream", encode([counting("x.y", 5)])[:-200]])
def test_a_file_of_which_nothing_is_whole_is_called_damaged(
    convert: Convert, tmp_path: Path, content: bytes
) -> None:
    """Not empty: the damage is why there are no rows. Nothing is written."""
    (tmp_path / "bad.arrows").write_bytes(content)
    code, err = convert(tmp_path / "bad.arrows", "-o", tmp_path / "x.parquet")
    assert code == 1
    assert "bad.arrows: damaged" in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.arrows"]


@pytest.mark.parametrize("name", ["x.parquet", "x.ndjson"])
def test_nothing_is_left_by_a_failure(
    convert: Convert, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A disk that fills up removes the half file and keeps the old one."""
    target = tmp_path / name
    target.write_text("old")
    for kind in (writing.Parquet, writing.Ndjson):
        monkeypatch.setattr(kind, "write", full)
    words = (folder, "--topic", "process.exec", "-o", target, "--force")
    code, err = convert(*words)
    assert code == 1
    assert err == f"tapio: {target} cannot be written: No space left on device\n"
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", name])


def full(*rows: object) -> None:
    """A disk without room."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "{}/x.parquet"], "choose one with --topic"),
        (["-o", "{}/x.xlsx"], "end it in .parquet or .ndjson"),
        (["-o", "{}/new/"], "say --to parquet or --to ndjson"),
        (["-o", "{}/old.ndjson"], "exists; say --force"),
        (["-o", "{}/x.ndjson", "--topic", "none"], "no rows to convert"),
        ([], "required: -o/--output"),
    ],
)
def test_wrong_usage_is_one_sentence(
    convert: Convert, folder: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    """Each fault says what to do, and nothing is written."""
    (tmp_path / "old.ndjson").write_text("old")
    code, err = convert(folder, *(word.format(tmp_path) for word in words))
    assert code in (1, 2)
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.ndjson", "out"]


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_terminal_shows_how_far_it_is(
    folder: Path, tmp_path: Path, environ: dict[str, str], locale: str
) -> None:
    """A bar that is gone at the end; of 40 columns it takes no more, and of ASCII no more."""
    words = ("convert", folder, "-o", tmp_path / "x.ndjson")
    terminal = on_terminal(environ, *words, columns=40, LANG=locale)
    assert terminal.end() == 0, terminal.seen
    assert "converting" in terminal.seen
    assert locale != "C" or terminal.seen.isascii()
    assert all(len(line) <= 40 for line in terminal.lines if "converting" in line)
    assert terminal.seen.rstrip().endswith("rows")


def test_types_that_cannot_meet_are_said(convert: Convert, tmp_path: Path) -> None:
    """A column that is text here and a number there: convert them apart."""
    (tmp_path / "1.arrows").write_bytes(encode([counting("x.y", 1, a=["text"])]))
    numbers = counting("x.y", 1).with_columns({Field("a", "int64"): np.array([1])})
    (tmp_path / "2.arrows").write_bytes(encode([numbers]))
    code, err = convert(tmp_path, "-o", tmp_path / "x.parquet")
    assert code == 2
    assert "convert them apart" in err
