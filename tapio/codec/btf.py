"""BTF → numpy dtype: the layout of a C struct, as the compiler wrote it into an object.

BTF is a header (u16 magic 0xeb9f, u8 version 1, u8 flags, u32 header length, then offset and
length of types and of strings), and a list of types numbered from 1. A type is u32 name, u32
info (kind in bits 24–28, flag in bit 31, count in bits 0–15), u32 size or type, and then what
its kind adds (Linux: Documentation/bpf/btf.rst). Little and big endian both are read.

| C | numpy |
|---|---|
| integers, bool, float, double, enum | the number of that width |
| pointer | uint64 |
| ``char[n]`` | ``S n`` (not trimmed) |
| ``unsigned char[n]`` and other arrays | a subarray |
| struct, named member | a nested dtype |
| struct or union, anonymous member | its fields, in place |
| union | a dtype whose fields overlap |
| packed struct | the same: offsets are the compiler's |
| ``__int128`` | ``V16`` |
| bitfield, flexible array, incomplete type | refused by name |
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tapio.model.errors import DecodeError

BYTES_MAX = 16 << 20
"""The most BTF that is read: a kernel's own is 6 MB."""
RECORD_MAX = 1 << 20
"""The longest struct that is mapped; a ring's record is far shorter."""
FIELDS_MAX = 4096
"""The most fields of a struct, nested ones counted."""
_DEPTH_MAX = 64

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF = range(1, 9)
_VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT = range(9, 17)
_DECL_TAG, _TYPE_TAG, _ENUM64 = 17, 18, 19
_ALIASES = frozenset((_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG))
_SIGNED, _CHAR, _BOOL = 1, 2, 4

# Bytes that a kind adds: fixed, and for each of its count.
_EXTRA = {
    _INT: (4, 0),
    _ARRAY: (12, 0),
    _STRUCT: (0, 12),
    _UNION: (0, 12),
    _ENUM: (0, 8),
    _FUNC_PROTO: (0, 8),
    _VAR: (4, 0),
    _DATASEC: (0, 12),
    _DECL_TAG: (4, 0),
    _ENUM64: (0, 12),
}


class _Type(NamedTuple):
    kind: int
    name: str
    flag: bool
    parts: int
    size: int  # or the type that it stands for
    at: int  # where its kind's data begin


class Btf:
    """The types of one BTF section; reading one raises DecodeError where its bytes are wrong."""

    def __init__(self, data: bytes) -> None:
        """Find where each type begins. Raises DecodeError."""
        if len(data) > BYTES_MAX:
            raise DecodeError(f"BTF of {len(data)} bytes; at most {BYTES_MAX} are read")
        self._data = data
        self._order = "<"
        self._names, self._types, end = self._header()
        self._starts = list(self._walk(end))

    def _unpack(self, form: str, at: int) -> tuple[Any, ...]:
        try:
            return struct.unpack_from(self._order + form, self._data, at)
        except struct.error:
            raise DecodeError("BTF ends too early", offset=min(at, len(self._data))) from None

    def _header(self) -> tuple[bytes, int, int]:
        """The strings; where the types begin and end."""
        if self._data[:2] == b"\xeb\x9f":
            self._order = ">"
        elif self._data[:2] != b"\x9f\xeb":
            raise DecodeError("not BTF: its magic number is missing", offset=0)
        version, _, base, types, types_size, names, names_size = self._unpack("BBIIIII", 2)
        if version != 1:
            raise DecodeError(f"BTF version {version}; version 1 is read", offset=2)
        total = len(self._data)
        if base + types + types_size > total or base + names + names_size > total:
            raise DecodeError("BTF sections reach beyond its end", offset=8)
        start = base + names
        return self._data[start : start + names_size], base + types, base + types + types_size

    def _walk(self, end: int) -> Iterator[int]:
        at = self._types
        while at < end:
            yield at
            _, info, _ = self._unpack("III", at)
            kind = info >> 24 & 31
            if not _INT <= kind <= _ENUM64:
                raise DecodeError(f"BTF has a type of unknown kind {kind}", offset=at)
            fixed, each = _EXTRA.get(kind, (0, 0))
            at += 12 + fixed + each * (info & 0xFFFF)
        if at != end:
            raise DecodeError("BTF's last type is cut off", offset=end)

    def _name(self, offset: int) -> str:
        stop = self._names.find(b"\0", offset)
        if offset and (offset >= len(self._names) or stop < 0):
            raise DecodeError(f"BTF names a string at {offset}, beyond its strings")
        return self._names[offset:stop].decode(errors="replace") if offset else ""

    def _type(self, id: int) -> _Type:
        if not 1 <= id <= len(self._starts):
            raise DecodeError(f"BTF names type {id}, and has {len(self._starts)}")
        at = self._starts[id - 1]
        name, info, size = self._unpack("III", at)
        kind, flag = info >> 24 & 31, bool(info >> 31)
        return _Type(kind, self._name(name), flag, info & 0xFFFF, size, at + 12)

    def structs(self) -> dict[str, int]:
        """Name → type id of each named struct, in the order of the section."""
        found: dict[str, int] = {}
        for id in range(1, len(self._starts) + 1):
            type = self._type(id)
            if type.kind == _STRUCT and type.name:
                found.setdefault(type.name, id)
        return found

    def dtype(self, record: str) -> np.dtype[np.void]:
        """The dtype of struct ``record``, as long as in C.

        Raises DecodeError: unknown names say which structs there are.
        """
        known = self.structs()
        if record not in known:
            names = ", ".join(known) or "none"
            raise DecodeError(f"no struct {record!r} in the object's BTF; it has {names}")
        return _Layout(self).dtype(known[record], record)


class _Layout:
    """Maps one struct; counts what it makes, so that no BTF can make it large."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._fields = 0

    def dtype(self, id: int, path: str) -> np.dtype[np.void]:
        made = self._map(id, path, 0)
        if made.itemsize == 0:
            raise DecodeError(f"struct {path} is empty")
        return made

    def _resolved(self, id: int, path: str) -> _Type:
        for _ in range(_DEPTH_MAX):
            type = self._btf._type(id) if id else None
            if type is None:
                raise DecodeError(f"{path} is void")
            if type.kind not in _ALIASES:
                return type
            id = type.size
        raise DecodeError(f"{path} is a typedef of itself")

    def _map(self, id: int, path: str, depth: int) -> np.dtype[Any]:
        if depth > _DEPTH_MAX:
            raise DecodeError(f"{path} is nested more than {_DEPTH_MAX} deep")
        type = self._resolved(id, path)
        if type.kind == _INT:
            return self._integer(type, path)
        if type.kind == _PTR:
            return self._number("u", 8, path)
        if type.kind == _FLOAT:
            return self._number("f", type.size, path)
        if type.kind in (_ENUM, _ENUM64):
            return self._number("i" if type.flag else "u", type.size, path)
        if type.kind == _ARRAY:
            return self._array(type, path, depth)
        if type.kind in (_STRUCT, _UNION):
            return self._struct(type, path, depth)
        raise DecodeError(f"{path} has no fixed layout (an incomplete type or a function)")

    def _number(self, kind: str, size: int, path: str) -> np.dtype[Any]:
        if size not in (1, 2, 4, 8) or (kind == "f" and size < 4):
            raise DecodeError(f"{path} is a number of {size} bytes, which numpy does not have")
        return np.dtype(f"{self._btf._order}{kind}{size}")

    def _integer(self, type: _Type, path: str) -> np.dtype[Any]:
        (said,) = self._btf._unpack("I", type.at)
        encoding, offset, bits = said >> 24 & 15, said >> 16 & 0xFF, said & 0xFF
        if encoding & _BOOL and type.size == 1:
            return np.dtype(np.bool_)
        if offset or bits != 8 * type.size:
            raise DecodeError(f"{path} is a bitfield; give it a whole integer")
        if type.size == 16:
            return np.dtype("V16")
        return self._number("i" if encoding & _SIGNED else "u", type.size, path)

    def _is_char(self, id: int, path: str) -> bool:
        """Whether an element is C's plain ``char``: text, where ``unsigned char`` is bytes."""
        type = self._resolved(id, path)
        if type.kind != _INT or type.size != 1:
            return False
        return type.name == "char" or bool(self._btf._unpack("I", type.at)[0] >> 24 & _CHAR)

    def _array(self, type: _Type, path: str, depth: int) -> np.dtype[Any]:
        element, _, count = self._btf._unpack("III", type.at)
        if not 0 < count <= RECORD_MAX:
            raise DecodeError(f"{path} is an array of {count}; 1 to {RECORD_MAX} can be mapped")
        if self._is_char(element, path):
            return np.dtype(f"S{count}")
        inner = self._map(element, f"{path}[]", depth + 1)
        if inner.itemsize * count > RECORD_MAX:
            raise DecodeError(f"{path} has {inner.itemsize * count} bytes; at most {RECORD_MAX}")
        return np.dtype((inner, (count,)))

    def _struct(self, type: _Type, path: str, depth: int) -> np.dtype[Any]:
        if type.size > RECORD_MAX:
            raise DecodeError(f"{path} has {type.size} bytes; at most {RECORD_MAX}")
        fields = list(self._members(type, path, depth, 0))
        names = [name for name, _, _ in fields]
        if len(set(names)) != len(names):
            raise DecodeError(f"{path} names a field twice")
        for name, dtype, offset in fields:
            if offset + dtype.itemsize > type.size:
                raise DecodeError(f"{path}.{name} reaches beyond its struct")
        forms = [dtype for _, dtype, _ in fields]
        offsets = [offset for _, _, offset in fields]
        made = {"names": names, "formats": forms, "offsets": offsets, "itemsize": type.size}
        whole: np.dtype[Any] = np.dtype(made)  # type: ignore[call-overload]
        return whole

    def _members(
        self, type: _Type, path: str, depth: int, base: int
    ) -> Iterator[tuple[str, np.dtype[Any], int]]:
        """(name, dtype, offset) of each field; those of anonymous members in place."""
        if depth > _DEPTH_MAX:
            raise DecodeError(f"{path} is nested more than {_DEPTH_MAX} deep")
        for index in range(type.parts):
            name_at, id, bits = self._btf._unpack("III", type.at + 12 * index)
            name = self._btf._name(name_at)
            width, bit = (bits >> 24, bits & 0xFFFFFF) if type.flag else (0, bits)
            if width or bit % 8:
                raise DecodeError(f"{path}.{name} is a bitfield; give it a whole integer")
            self._fields += 1
            if self._fields > FIELDS_MAX:
                raise DecodeError(f"{path} has more than {FIELDS_MAX} fields")
            offset = base + bit // 8
            if name:
                yield name, self._map(id, f"{path}.{name}", depth + 1), offset
                continue
            inner = self._resolved(id, f"{path}.(anonymous)")
            if inner.kind not in (_STRUCT, _UNION):
                raise DecodeError(f"{path} has a member with neither name nor fields")
            yield from self._members(inner, path, depth + 1, offset)
