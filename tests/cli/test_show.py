"""``tapio show``: which rows it prints, and how."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tapio.cli.main import main
from tapio.codec.arrow import encode
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY
from tests.batches import counting

Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Runs the command; (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main(["show", *map(str, words)])
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two topics, one file still open and cut in its last message, and a dead letter."""
    execs = [counting("process.exec", 3, comm=["bash", "zsh", "sh\x1b[2J\u202e"])]
    execs.append(counting("process.exec", 2, start=3, severity=17, comm=["a\nb", None]))
    (tmp_path / "process.exec-20260101T000000Z-1.arrows").write_bytes(encode(execs))
    exits = encode([counting("process.exit", 2), counting("process.exit", 2, start=2)])
    (tmp_path / "process.exit-20260101T000000Z-2.arrows.part").write_bytes(exits[:-30])
    (tmp_path / "dead-letters").mkdir()
    (tmp_path / "dead-letters" / "x.arrows").write_bytes(encode([counting("dead", 1)]))
    (tmp_path / "notes.txt").write_text("no rows")
    return tmp_path


def test_a_folder_is_shown_by_topic(show: Show, folder: Path) -> None:
    """Every row has a line below its topic's header; of an open file the whole batches."""
    code, out, err = show(folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "process.exec"
    assert lines[1].split() == ["time", "severity", "n", "comm"]
    assert lines[2].split() == ["2023-11-14T22:13:20.000000Z", "INFO", "0", "bash"]
    assert lines[7:9] == ["", "process.exit"]
    assert len(lines) == 12  # 5 execs, 2 exits
    assert "dead" not in out


def test_control_characters_cannot_reach_the_terminal(show: Show, folder: Path) -> None:
    """Escapes, line breaks and what turns text around are shown as codes, in every format."""
    for form in ("table", "json", "csv"):
        _, out, _ = show(folder, "--format", form, "--topic", "process.exec")
        assert "\x1b" not in out
        assert "\u202e" not in out
    _, out, _ = show(folder, "--topic", "process.exec")
    assert r"sh\x1b[2J\u202e" in out
    assert r"a\x0ab" in out


def test_where_topic_since_and_limit_choose_rows(show: Show, folder: Path) -> None:
    """Each filter takes away what it should; several --where all hold."""

    def numbers(*words: object) -> list[int]:
        _, out, _ = show(folder, "--format", "json", *words)
        return [json.loads(line)["n"] for line in out.splitlines()]

    assert numbers() == [0, 1, 2, 3, 4, 0, 1]
    assert numbers("--topic", "process.exit") == [0, 1]
    assert numbers("--topic", "process", "--limit", 6) == [0, 1, 2, 3, 4, 0]
    assert numbers("--where", "n > 0", "--where", "comm = zsh or n = 3") == [1, 3]
    assert numbers("--where", "severity >= error") == [3, 4]
    assert numbers("--since", "2023-11-14T22:13:20.003+00:00")[:3] == [0, 1, 2]
    assert numbers("--since", "2023-11-14T22:13:21+00:00") == []
    assert numbers("--since", "1s") == []


def test_json_is_one_object_a_row(show: Show, tmp_path: Path) -> None:
    """Numbers stay numbers, what is not finite is null, and entities' attributes are columns."""
    table = EntityTable()
    table.add("a", {"container.id": "abc"})
    batch = counting("x.y", 2).with_columns({ENTITY: np.array([0, -1], np.int32)}, table)
    (tmp_path / "a.arrows").write_bytes(encode([batch]))
    _, out, _ = show(tmp_path / "a.arrows", "--format", "json")
    first, second = map(json.loads, out.splitlines())
    assert first["container.id"] == "abc"
    assert second["container.id"] is None
    assert (first["topic"], first["time_ns"]) == ("x.y", 1_700_000_000_000_000_000)
    code, out, _ = show(tmp_path / "a.arrows", "--where", "container.id = abc", "--format", "json")
    assert (code, len(out.splitlines())) == (0, 1)


def test_csv_has_one_header_and_wants_one_set_of_columns(show: Show, folder: Path) -> None:
    """Two topics with other columns need --columns; what a row lacks is empty."""
    code, _, err = show(folder, "--format", "csv")
    assert code == 2
    assert "differ in comm" in err
    code, out, _ = show(folder, "--format", "csv", "--columns", "n,comm")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert rows[0] == ["n", "comm"]
    assert rows[-1] == ["1", ""]
    assert len(rows) == 8


def test_a_damaged_file_shows_what_was_whole(show: Show, folder: Path) -> None:
    """The rows before the damage, then one sentence and exit 1; other files are shown too."""
    bad = folder / "process.exec-20260101T000000Z-1.arrows"
    bad.write_bytes(bad.read_bytes()[:-200])
    code, out, err = show(folder, "--format", "json")
    assert code == 1
    assert len(out.splitlines()) == 3 + 2
    assert err.count("\n") == 1
    assert "damaged" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{}/none.arrows"], "no such file"),
        (["{}/notes.txt"], "not an Arrow stream"),
        (["{}", "--where", "nn = 3"], "no column nn"),
        (["{}", "--columns", "comn,n"], "no column comn"),
        (["{}", "--where", "n ="], "expected a value"),
        (["{}", "--limit", "0"], "not a number of rows"),
        (["{}", "--since", "yesterday"], "neither a duration"),
        (["{}", "--colour"], "unrecognized arguments"),
        ([], "required: FILE"),
        (["{}/dead-letters/.."], ""),
        (["{}/empty"], "there is no *.arrows"),
    ],
)
def test_wrong_usage_is_one_sentence(show: Show, folder: Path, words: list[str], said: str) -> None:
    """Each fault of the command line says what is wrong, exit 2 (a wrong file: 1)."""
    (folder / "empty").mkdir()
    code, _, err = show(*(word.format(folder) for word in words))
    assert said in err
    assert err.count("\n") == (1 if said else 0)
    assert code == {"": 0, "not an Arrow stream": 1}.get(said, 2)


def test_a_file_without_a_topic_is_shown(show: Show, tmp_path: Path) -> None:
    """Somebody else's Arrow stream has rows too."""
    import pyarrow as pa

    table = pa.table({"a": [1, 2], "b": ["x", None]})
    with pa.ipc.new_stream(tmp_path / "foreign.arrows", table.schema) as writer:
        writer.write_table(table)
    code, out, err = show(tmp_path / "foreign.arrows", "--format", "json", "--columns", "a,b")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"topic": "rows", "a": 1, "b": "x"},
        {"topic": "rows", "a": 2, "b": None},
    ]


def test_absurd_times_are_shown_as_they_are(show: Show, tmp_path: Path) -> None:
    """The first and the last time there can be are dates, and numpy's "not a time" is told."""
    batch = counting("x.y", 3)
    least = np.iinfo(np.int64).min
    times = np.array([least, least + 1, np.iinfo(np.int64).max])
    (tmp_path / "a.arrows").write_bytes(
        encode([batch.with_columns({batch.schema["time_ns"]: times})])
    )
    code, out, _ = show(tmp_path / "a.arrows")
    assert code == 0
    assert "\nNaT " in out
    assert "\n1677-09-21T00:12:43.145224Z " in out
    assert "\n2262-04-11T23:47:16.854775Z " in out
