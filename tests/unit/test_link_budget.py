"""Telemetry at rates that fit the wire: the table of docs/protocol.md, section 9."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igrt_hw.link import messages as m
from igrt_hw.link.budget import objection, period_ms_min, share_of_wire, wire_octets
from igrt_hw.link.frame import DeviceKind, Direction, Header, encode_frame
from igrt_hw.link.session import SessionSettings

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("size", [0, 11, 104, 225, 226, 227, 4124])
def test_the_octets_counted_are_those_of_the_longest_frame(size: int) -> None:
    header = Header(1, 0x20, 0, 1, 1, 0, 0, 0, 1, 1, 0x01010101)
    frame = encode_frame(header, b"\x55" * size, Direction.HOST_TO_DEVICE)
    assert len(frame) <= wire_octets(size) <= len(frame) + size // 254 + 1
    assert size > 225 or wire_octets(size) == len(frame)


def test_the_table_of_the_specification_is_what_is_computed() -> None:
    """| baud | shortest period | share at it | the same for half duplex |"""
    rows = re.findall(
        r"^\| (\d+) \| (\d+) ms \| (\d+) % \| (\d+) ms \| (\d+) % \|$",
        PROTOCOL.read_text("utf-8"),
        re.MULTILINE,
    )
    assert [int(row[0]) for row in rows] == [115_200, 921_600, 3_000_000]
    for row in rows:
        baud, full, full_share, half, half_share = map(int, row)
        assert period_ms_min(DeviceKind.COUCH, baud) == full
        assert period_ms_min(DeviceKind.COUCH, baud, half_duplex=True) == half
        share = share_of_wire(DeviceKind.COUCH, full, baud, half_duplex=False)
        assert round(100 * share) == full_share
        share = share_of_wire(DeviceKind.COUCH, half, baud, half_duplex=True)
        assert round(100 * share) == half_share


def test_the_default_period_fits_from_115200_on() -> None:
    period = SessionSettings(DeviceKind.COUCH).telemetry_period_ms
    for device in DeviceKind:
        assert objection(device, period, 115_200, half_duplex=False) == ""
        assert objection(device, period, 115_200, half_duplex=True) == ""
    assert "ask for" in objection(DeviceKind.COUCH, period, 57_600, half_duplex=False)


def test_where_octets_take_no_time_every_period_fits() -> None:
    assert objection(DeviceKind.COUCH, 2, None, half_duplex=False) == ""


def test_a_wire_too_slow_for_any_telemetry_is_named() -> None:
    assert period_ms_min(DeviceKind.COUCH, 1200, half_duplex=True) is None
    assert "no telemetry" in objection(DeviceKind.COUCH, 1000, 1200, half_duplex=True)


@pytest.mark.parametrize("period_ms", [0, 1, 1001])
def test_a_period_that_no_device_takes_is_refused_not_clamped(period_ms: int) -> None:
    with pytest.raises(ValueError, match="2 to 1000"):
        SessionSettings(DeviceKind.COUCH, period_ms)


def test_the_status_of_the_couch_is_the_longest() -> None:
    longest = max((m.CouchStatus, m.ImagerStatus, m.PendantStatus), key=lambda c: c.CODEC.head_len)
    assert longest is m.CouchStatus
    assert wire_octets(longest.CODEC.head_len) == 135
