"""BTF → dtype, against a compiler of BTF that is written here, and against any bytes at all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import btf
from tapio.codec.btf import Btf
from tapio.model.errors import DecodeError
from tapio.observers.process import OBJECT

FLAGGED = 3 << 24  # three bits wide, where the struct's flag is set
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
CONST, FUNC_PROTO, FLOAT, ENUM64 = 10, 13, 16, 19
SIGNED, CHAR, BOOL = 1, 2, 4


class Writer:
    """Writes BTF, type by type; each method gives the new type's number."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        self.types: list[bytes] = []
        self.names = bytearray(b"\0")

    def name(self, name: str) -> int:
        """Where the string begins."""
        if not name:
            return 0
        self.names += name.encode() + b"\0"
        return len(self.names) - len(name.encode()) - 1

    def add(
        self, name: str, kind: int, size: int, *more: int, parts: int = 0, flag: int = 0
    ) -> int:
        """A type of any kind; ``more`` are the words that its kind adds."""
        words = (self.name(name), kind << 24 | parts | flag << 31, size, *more)
        self.types.append(struct.pack(f"{self.order}{len(words)}I", *words))
        return len(self.types)

    def integer(self, name: str, size: int, encoding: int = 0, bits: int | None = None) -> int:
        """An integer of ``size`` bytes."""
        return self.add(name, INT, size, encoding << 24 | (8 * size if bits is None else bits))

    def array(self, element: int, count: int) -> int:
        """An array."""
        return self.add("", ARRAY, 0, element, 1, count)

    def record(
        self,
        name: str,
        size: int,
        *members: tuple[str, int, int],
        kind: int = STRUCT,
        flag: int = 0,
    ) -> int:
        """A struct, or a union by ``kind``, of members (name, type, bit offset)."""
        words = [w for n, id, bits in members for w in (self.name(n), id, bits)]
        return self.add(name, kind, size, *words, parts=len(members), flag=flag)

    def section(self) -> bytes:
        """All of it, with its header."""
        types = b"".join(self.types)
        head = struct.pack(
            f"{self.order}HBBIIIII",
            0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.names),
        )  # fmt: skip
        return head + types + bytes(self.names)


def dtype_of(build: Callable[[Writer], Any], order: str = "<") -> np.dtype[Any]:
    """The dtype of the struct ``r`` that ``build`` writes."""
    writer = Writer(order)
    build(writer)
    return Btf(writer.section()).dtype("r")


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_kind_of_field_is_mapped(order: str) -> None:
    """Numbers, text, pointers, enums, arrays and typedefs of either byte order."""

    def build(w: Writer) -> None:
        u32, char = w.integer("unsigned int", 4), w.integer("char", 1, SIGNED)
        members = (
            ("a", w.integer("long", 8, SIGNED), 0),
            ("b", w.add("u32", TYPEDEF, w.add("", CONST, u32)), 64),
            ("c", w.integer("_Bool", 1, BOOL), 96),
            ("d", w.array(char, 3), 104),
            ("e", w.add("", PTR, char), 128),
            ("f", w.add("float", FLOAT, 4), 192),
            ("g", w.add("color", ENUM, 4, 0, 0, parts=1), 224),
            ("h", w.add("signed", ENUM, 4, 0, 0, parts=1, flag=1), 256),
            ("i", w.array(u32, 2), 288),
            ("j", w.array(w.integer("unsigned char", 1), 4), 352),
            ("k", w.add("wide", ENUM64, 8, 0, 0, 0, parts=1), 384),
            ("l", w.integer("__int128", 16, SIGNED), 448),
        )
        w.record("r", 72, *members)

    made = dtype_of(build, order)
    kinds = {n: f[0].str if not f[0].subdtype else f[0] for n, f in (made.fields or {}).items()}
    o = order
    assert kinds == {
        "a": f"{o}i8",
        "b": f"{o}u4",
        "c": "|b1",
        "d": "|S3",
        "e": f"{o}u8",
        "f": f"{o}f4",
        "g": f"{o}u4",
        "h": f"{o}i4",
        "i": np.dtype((f"{o}u4", (2,))),
        "j": np.dtype(("u1", (4,))),
        "k": f"{o}u8",
        "l": "|V16",
    }
    assert made.itemsize == 72


def test_nested_structs_stay_and_anonymous_ones_dissolve() -> None:
    """A named member is a nested dtype; an anonymous struct's or union's fields move up."""

    def build(w: Writer) -> None:
        u32 = w.integer("unsigned int", 4)
        inner = w.record("inner", 8, ("x", u32, 0), ("y", u32, 32))
        both = w.record("", 4, ("p", u32, 0), ("q", u32, 0), kind=UNION)
        w.record("r", 24, ("n", inner, 0), ("", inner, 64), ("", both, 128))

    made = dtype_of(build)
    offsets = {n: f[1] for n, f in (made.fields or {}).items()}
    assert offsets == {"n": 0, "x": 8, "y": 12, "p": 16, "q": 16}
    assert made["n"].names == ("x", "y")


def test_a_packed_struct_keeps_its_odd_offsets() -> None:
    """Offsets are the compiler's, aligned or not."""

    def build(w: Writer) -> None:
        w.record("r", 9, ("a", w.integer("unsigned char", 1), 0), ("b", w.integer("long", 8), 8))

    rows = np.frombuffer(b"\x07" + (5).to_bytes(8, "little"), dtype_of(build))
    assert rows["b"].tolist() == [5]


REFUSED: list[tuple[str, Callable[[Writer], Any]]] = [
    ("r.b is a bitfield", lambda w: w.record("r", 4, ("b", w.integer("u", 4), FLAGGED), flag=1)),
    ("r.bits is a bitfield", lambda w: w.record("r", 4, ("bits", w.integer("u", 4), 3))),
    ("r.old is a bitfield", lambda w: w.record("r", 4, ("old", w.integer("u", 4, bits=5), 0))),
    ("r.v is void", lambda w: w.record("r", 4, ("v", 0, 0))),
    ("r.f has no fixed layout", lambda w: w.record("r", 4, ("f", w.add("x", FWD, 0), 0))),
    ("array of 0", lambda w: w.record("r", 4, ("t", w.array(w.integer("u", 4), 0), 0))),
    ("reaches beyond its struct", lambda w: w.record("r", 4, ("a", w.integer("u", 4), 8))),
    ("names a field twice", lambda w: w.record("r", 4, *[("a", w.integer("u", 1), 0)] * 2)),
    ("nested more than", lambda w: w.record("r", 8, ("r", 1, 0))),
    ("a typedef of itself", lambda w: w.record("r", 4, ("t", w.add("t", TYPEDEF, 1), 0))),
    ("is empty", lambda w: w.record("r", 0)),
    ("names type 99", lambda w: w.record("r", 4, ("a", 99, 0))),
    ("at most", lambda w: w.record("r", 1 << 30)),
    ("most", lambda w: w.record("r", 8, ("a", w.array(w.array(w.integer("u", 8), 999), 999), 0))),
    ("neither name nor fields", lambda w: w.record("r", 4, ("", w.integer("u", 4), 0))),
    ("number of 16 bytes", lambda w: w.record("r", 16, ("a", w.add("x", FLOAT, 16), 0))),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "build"), REFUSED, ids=[r for r, _ in REFUSED])
def test_what_has_no_dtype_is_refused_by_name(reason: str, build: Callable[[Writer], Any]) -> None:
    """Bitfields, incomplete, recursive and oversized types are named in the error."""
    with pytest.raises(DecodeError, match=reason):
        dtype_of(build)


def test_structs_that_double_at_each_level_are_bounded() -> None:
    """Sixty levels of two members each are refused, not unfolded."""

    def build(w: Writer) -> None:
        id = w.integer("u", 1)
        for level in range(60):
            id = w.record(f"s{level}", 8, ("a", id, 0), ("b", id, 0))
        w.record("r", 8, ("a", id, 0))

    with pytest.raises(DecodeError, match=f"more than {btf.FIELDS_MAX} fields"):
        dtype_of(build)


def test_an_unknown_struct_names_what_there_is() -> None:
    """The error lists the structs of the object."""
    writer = Writer()
    writer.record("one", 4)
    writer.record("two", 4)
    with pytest.raises(DecodeError, match="it has one, two"):
        Btf(writer.section()).dtype("three")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_layout_or_an_error(data: bytes) -> None:
    """Bytes that only begin as BTF does end in DecodeError, or in a list of structs."""
    read_all(b"\x9f\xeb\x01" + data)
    read_all(data)


@given(st.data())
def test_damaged_btf_is_a_layout_or_an_error(data: st.DataObject) -> None:
    """A real object's BTF, with some bytes changed or cut off, does no harm either."""
    damaged = bytearray(shipped())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    read_all(bytes(damaged))


def read_all(data: bytes) -> None:
    """Map every struct; only DecodeError may come out, and no dtype above the bound."""
    try:
        read = Btf(data)
        names = list(read.structs())
    except DecodeError:
        return
    for name in names:
        try:
            assert read.dtype(name).itemsize <= btf.RECORD_MAX
        except DecodeError:
            continue


_shipped: list[bytes] = []


def shipped() -> bytes:
    """The BTF of the process observer, found in the object file by its magic number."""
    if not _shipped:
        data = OBJECT.read_bytes()
        at = data.index(b"\x9f\xeb\x01\x00\x18\x00\x00\x00")
        _, types, start, names = struct.unpack_from("<IIII", data, at + 8)
        _shipped.append(data[at : at + 24 + start + names])
        assert types
    return _shipped[0]


def test_the_shipped_records_have_the_layout_that_c_says() -> None:
    """Every field of both records of the process observer lies where the C struct has it."""
    read = Btf(shipped())
    exec_, exit_ = read.dtype("process_exec"), read.dtype("process_exit")
    assert (exec_.itemsize, exit_.itemsize) == (840, 88)
    assert {n: f[1] for n, f in (exit_.fields or {}).items()} == {
        "boot_ns": 0,
        "cgroup_id": 8,
        "generation": 16,
        "sample_n": 20,
        "pid": 24,
        "severity": 28,
        "_reserved": 29,
        "start_ns": 32,
        "cpu_ns": 40,
        "peak_rss_pages": 48,
        "parent_pid": 56,
        "uid": 60,
        "exit_code": 64,
        "signal": 65,
        "core": 66,
        "_pad": 67,
        "comm": 72,
    }


def test_more_btf_than_any_object_has_is_refused() -> None:
    """The bound on the input is checked before anything is parsed."""
    with pytest.raises(DecodeError, match="at most"):
        Btf(bytes(btf.BYTES_MAX + 1))
