"""Receivers' answers are read as the official classes read them."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError as OfficialError
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from tapio.codec.otlp.reply import Partial, partial_success, status_message
from tapio.model.errors import DecodeError

INT64 = st.integers(0, (1 << 63) - 1)


@given(INT64, st.text())
def test_a_partial_success_is_read(rejected: int, message: str) -> None:
    """Count and message are those that the official classes wrote."""
    part = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    data = ExportLogsServiceResponse(partial_success=part).SerializeToString()
    assert partial_success(data) == Partial(rejected, message)


@pytest.mark.parametrize("data", [b"", b"\x0a\x00"])
def test_nothing_refused_is_nothing(data: bytes) -> None:
    """No body, and the empty partial success that the Collector sends."""
    assert partial_success(data) == Partial(0, "")


@pytest.mark.parametrize("data", [b"\x0d\x08\x05\x00\x00", b"\x09" + b"\x08\x05" * 4])
def test_a_field_of_another_type_is_passed_over(data: bytes) -> None:
    """Field 1 as four or eight plain bytes is no partial success."""
    assert partial_success(data) == Partial(0, "")


def test_a_negative_count_says_nothing() -> None:
    """The field is an int64; below 0 it cannot be a number of records."""
    part = ExportLogsPartialSuccess(rejected_log_records=-1)
    data = ExportLogsServiceResponse(partial_success=part).SerializeToString()
    assert partial_success(data).rejected == 0


@given(st.integers(0, 100), st.text())
def test_a_status_is_read(code: int, message: str) -> None:
    """The message of the Status that comes with an error."""
    assert status_message(Status(code=code, message=message).SerializeToString()) == message


@given(st.binary(max_size=60))
def test_any_bytes_end_in_an_answer_or_a_decode_error(data: bytes) -> None:
    """What the official class refuses is refused, or read without harm; nothing else happens."""
    try:
        read = partial_success(data)
    except DecodeError:
        with pytest.raises(OfficialError):
            ExportLogsServiceResponse.FromString(data)
    else:
        assert read.rejected >= 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x0a\x05ab", "longer than its message"),
        (b"\x0a", "ends in a number"),
        (b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x09\x00", "longer than its message"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    """Each kind of damage has its sentence, with the place."""
    with pytest.raises(DecodeError, match=reason) as caught:
        partial_success(data)
    assert caught.value.offset >= 0
