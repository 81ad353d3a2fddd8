"""``ebpf``: rows out of anybody's CO-RE object: a ring buffer and a struct, no Python written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tapio.codec.btf import Btf
from tapio.codec.records import Records
from tapio.kernel.attach import Wanted, reading
from tapio.kernel.boot import BOOTTIME, MONOTONIC, Offset
from tapio.kernel.object import Object
from tapio.kernel.reader import Made
from tapio.model.errors import ConfigError, DecodeError
from tapio.model.schema import COMMON, INFO, SEQ, SEVERITY, TIME, Schema
from tapio.model.stage import Context, Read, Source

_CLOCKS = {"boottime": BOOTTIME, "monotonic": MONOTONIC}


class Ebpf(Source, frozen=True, tag="ebpf"):
    """Loads ``object``, attaches its programs, and reads struct ``record`` out of ``ring``.

    Each field of the struct becomes a column, as ``codec.records`` says. ``ring`` may be left
    out where the object has but one; ``topic`` is by default ``ebpf.<record>``. ``time`` names
    the field (u64, ns) that holds the event's time by ``clock``: ``bpf_ktime_get_ns`` is
    ``monotonic``, ``bpf_ktime_get_boot_ns`` is ``boottime``; without it rows get the time at
    which they are read. A u8 field ``severity`` is the row's severity, else it is 9 (INFO).
    Records of another length than the struct are counted as malformed.
    """

    object: str
    record: str
    ring: str = ""
    topic: str = ""
    time: str = ""
    clock: Literal["monotonic", "boottime"] = "monotonic"
    ring_bytes: Annotated[int, msgspec.Meta(ge=1 << 12, le=1 << 30)] = 1 << 20

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Attach; leaving detaches. Raises KernelError, ConfigError."""
        with Object.open(Path(self.object)) as object:
            wanted = self._wanted(cx, object)
            async with reading(cx, object, [wanted], size=self.ring_bytes) as read:
                yield read

    def _wanted(self, cx: Context, object: Object) -> Wanted:
        try:
            dtype = Btf(object.btf).dtype(self.record)
        except DecodeError as error:
            raise ConfigError(f"{self.object}: {error.reason}", path="record") from error
        records = Records(dtype)
        self._check(records)
        common = {field.name for field in COMMON}
        own = [field for field in records.fields if field.name not in common]
        schema = Schema.of(self.topic or f"ebpf.{self.record.lower()}", *own)
        return Wanted(schema, self._ring(object), dtype, self._rows(cx, records))

    def _check(self, records: Records) -> None:
        """ConfigError where a field cannot be what it is said to be."""
        fields = {field.name: field for field in records.fields}
        if self.time and (self.time not in fields or fields[self.time].type != "uint64"):
            raise ConfigError(f"struct {self.record} has no u64 field {self.time!r}", path="time")
        odd = {
            "seq": SEQ.name in fields,
            "time_ns": TIME.name in fields and self.time != TIME.name,
            "severity": fields.get(SEVERITY.name, SEVERITY).type != SEVERITY.type,
        }
        for name in (name for name, is_odd in odd.items() if is_odd):
            raise ConfigError(
                f"struct {self.record} has a field {name!r}, which means something else in a "
                "batch: rename it in C, or (time_ns) name it as time",
                path="record",
            )

    def _ring(self, object: Object) -> str:
        rings = object.rings()
        chosen = [ring for ring in rings if self.ring in ("", ring)]
        if len(chosen) != 1:
            known = ", ".join(rings) or "none"
            raise ConfigError(f"name one ring buffer of {self.object}: {known}", path="ring")
        return chosen[0]

    def _rows(self, cx: Context, records: Records) -> Callable[[Any], Made]:
        offset = Offset(cx.clock, _CLOCKS[self.clock])
        timed = self.time
        has_severity = any(field.name == SEVERITY.name for field in records.fields)

        def make(rows: Any) -> Made:
            numbers = records.numbers(rows)
            columns, replaced = records.columns(rows, numbers)
            if timed:
                columns["time_ns"] = numbers[timed].view(np.int64) + offset.ns()
            else:
                columns["time_ns"] = np.full(len(rows), cx.clock.time_ns(), np.int64)
            if not has_severity:
                columns["severity"] = np.full(len(rows), INFO, np.uint8)
            return Made(columns, replaced)

        return make
