"""``${…}``: what is filled in, when, and that it never changes the shape of anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.config.filling import MAX_FILE_BYTES, FileText, fill
from tapio.config.node import Faults, Mark, Node
from tapio.config.reading import read
from tapio.model.errors import ConfigError

MARK = Mark("f.yaml", 1)


def filled(text: str, **environ: str) -> Node:
    """A text's node after filling; raises what was noted."""
    faults = Faults()
    node = fill(Node(text, MARK), environ, faults, "a.b")
    faults.check()
    return node


@pytest.mark.parametrize(
    ("text", "value", "whole"),
    [
        ("${NAME}", "tapio", True),
        ("${NAME:-x}", "tapio", True),
        ("${NONE:-x y}", "x y", True),
        ("${NONE:-}", "", True),
        ("${EMPTY}", "", True),
        ("${EMPTY:-x}", "x", True),
        ("a ${NAME} b", "a tapio b", False),
        ("${NAME}${NAME}", "tapiotapio", False),
        ("$${NAME}", "${NAME}", False),
        ("$$ $NAME {NAME}", "$$ $NAME {NAME}", False),
        ("$${NAME} ${NAME}", "${NAME} tapio", False),
        ("${BRACES}", "${NAME}", True),
    ],
)
def test_forms(text: str, value: str, whole: bool) -> None:
    """Each form gives its text, once: what was filled in is not filled again."""
    node = filled(text, NAME="tapio", EMPTY="", BRACES="${NAME}")
    assert (node.value, node.whole) == (value, whole)
    assert (node.filled is not None) == ("${" in text.replace("$${", ""))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${NONE}", r"NONE is not set; set it, or write \$\{NONE:-default\}"),
        ("${NAME", "never closed"),
        ("${}", "is none of"),
        ("${1A}", "is none of"),
        ("${A B:-hunter2}", r"^f.yaml:1: a.b: \$\{A B\} is none of"),
        ("${A:-${B}}", "cannot stand inside another"),
        ("${file:relative}", "needs an absolute path"),
        ("${file:/nowhere/at/all}", "cannot be filled in: No such file or directory"),
        ("${BROKEN}", "BROKEN is not UTF-8"),
    ],
)
def test_what_cannot_be_filled(text: str, reason: str) -> None:
    """Each mistake is one sentence at its place, without a default that may be secret."""
    with pytest.raises(ConfigError, match=reason) as caught:
        filled(text, NAME="x", BROKEN="\udcff")
    assert (caught.value.path, caught.value.line) == ("a.b", 1)
    assert "hunter2" not in str(caught.value)


def test_filled_after_parsing() -> None:
    """A value that looks like YAML stays one text: it adds no key and no item."""
    faults = Faults()
    root = read('a: ${EVIL}\nb: ["${EVIL}"]', "f.yaml", faults)
    assert root is not None
    node = fill(root, {"EVIL": "x\nc: 1\n- [1, 2]"}, faults)
    assert node.plain() == {"a": "x\nc: 1\n- [1, 2]", "b": ["x\nc: 1\n- [1, 2]"]}


@given(st.text())
def test_shape_never_changes(value: str) -> None:
    """Whatever a variable holds, the tree has the same keys, and the text is the variable's."""
    faults = Faults()
    value = value.encode(errors="ignore").decode()
    root = Node({"a": Node("${V}", MARK), "b": Node("<${V}>", MARK)}, MARK)
    assert fill(root, {"V": value}, faults).plain() == {"a": value, "b": f"<{value}>"}
    faults.check()


def test_files_lose_one_newline(tmp_path: Path) -> None:
    """A file's text comes as it is, less one newline at its end."""
    path = tmp_path / "token"
    for content, text in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")]:
        path.write_bytes(content.encode())
        assert filled(f"${{file:{path}}}").value == text


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Rewritten in place or replaced by another, a file gives its new text; else it is not read."""
    path = tmp_path / "token"
    path.write_text("one")
    source = filled(f"Bearer ${{file:{path}}}").filled
    assert source is not None
    assert source() == "Bearer one"
    path.write_text("three")
    assert source() == "Bearer three"
    (tmp_path / "new").write_text("seven")
    (tmp_path / "new").replace(path)
    assert source() == "Bearer seven"
    stat = path.stat()
    (tmp_path / "twin").write_text("eight")
    os.utime(tmp_path / "twin", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "twin").replace(path)
    assert source() == "Bearer eight", "of the same size and time, but another file"
    path.write_text("EIGHT")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source() == "Bearer eight", "an unchanged inode, size and time cost no read"


def test_a_link_that_is_switched(tmp_path: Path) -> None:
    """A link that comes to lead elsewhere, as Kubernetes rotates secrets, gives the new text."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    link = tmp_path / "data"
    link.symlink_to("a")
    text = FileText(link / "token")
    assert text() == "a"
    link.unlink()
    link.symlink_to("b")
    assert text() == "b"


def test_the_last_text_stands_while_a_file_is_away(tmp_path: Path) -> None:
    """A file that goes, or becomes unreadable, in mid-rotation leaves the text it had."""
    path = tmp_path / "token"
    path.write_text("one")
    text = FileText(path)
    assert text() == "one"
    path.unlink()
    assert text() == "one"
    path.write_bytes(b"\xff\xfe")
    assert text() == "one"
    path.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert text() == "one"
    path.write_text("two")
    assert text() == "two"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff", "not UTF-8"), (b"x" * (MAX_FILE_BYTES + 1), "more than 64 KiB")],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, reason: str) -> None:
    """What is no UTF-8 or too large is refused at once where there was nothing before."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        FileText(path)()


def test_nothing_shows_a_filled_text(tmp_path: Path) -> None:
    """Neither a node nor its source shows in its repr what a file or variable held."""
    path = tmp_path / "token"
    path.write_text("hunter2")
    node = filled(f"${{file:{path}}}")
    assert "hunter2" not in repr(node.filled)
    assert FileText(path) == FileText(path)
    assert hash(FileText(path)) == hash(FileText(path))
