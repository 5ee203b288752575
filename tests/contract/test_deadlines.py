"""Every command of the dictionary carries a deadline by the device's clock, and the device obeys it."""

from __future__ import annotations

import struct

import pytest
from clp1_bench import Bench

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host
from igrt_hw.link import messages as m
from igrt_hw.link.dictionary import SPECS
from igrt_hw.link.frame import FLAG_DEADLINE, DeviceKind, Direction, Frame, FrameReader
from igrt_hw.link.rules import RULES, rule_of
from igrt_hw.link.session import SessionSettings
from igrt_hw.models.telemetry import RefusalCode

COMMANDS = sorted(
    (m.BY_TYPE[spec.type] for spec in SPECS.values() if spec.direction == "H"),
    key=lambda cls: cls.TYPE,
)
WITHOUT = (m.Hello, m.Stop)  # before the clocks are known; in every state
SEQUENCED = [cls for cls in COMMANDS if cls not in (*WITHOUT, m.Lease)]
LINES = ("couch", "imager", "pendant")


def zeros(cls: type[m.Message]) -> m.Message:
    """A message of that type with nothing in it."""
    body = bytes(cls.CODEC.head_len)
    return cls.CODEC.unpack(body)


@pytest.fixture
def host() -> Host:
    host = Host(VirtualRoom(seed=3))
    for line in LINES:
        host.hello(line)
    host.advance_ms(60)
    return host


def answer_to(host: Host, line: str, cls: type[m.Message], deadline_ms: float | None) -> bytes:
    """What the device says to a command with that deadline: the body of REFUSED, or nothing."""
    state = host._lines[line]
    seq = 0
    if cls is not m.Lease:
        state.seq = seq = state.seq % 65535 + 1
    body = zeros(cls).pack()
    if cls is m.Lease:
        body = struct.pack("<IQ", state.counter + 1, host.room.now_us)
    host.room.write(line, host.frame(line, cls.TYPE, seq, body, deadline_ms=deadline_ms))
    kind = 0x1F
    reader = FrameReader(Direction.DEVICE_TO_HOST)
    for frame in reader.feed(host.room.read(line)):
        assert isinstance(frame, Frame)
        if frame.header.type == kind and frame.header.seq == seq:
            return frame.message.pack()
    return b""


def test_the_dictionary_has_commands_to_ask() -> None:
    assert len(SEQUENCED) >= 18
    assert set(SEQUENCED) == set(RULES), "a command of the dictionary has no rule"


@pytest.mark.parametrize("cls", [c for c in COMMANDS if c not in WITHOUT], ids=lambda c: c.__name__)
@pytest.mark.parametrize("line", LINES)
def test_an_expired_command_is_refused_as_late_by_every_device(
    host: Host, line: str, cls: type[m.Message]
) -> None:
    host.leasing = False
    for deadline_ms in (-0.001, -5.0, -1_000_000.0):
        refused = answer_to(host, line, cls, deadline_ms)
        assert refused[:2] == bytes([RefusalCode.LATE, cls.TYPE]), (deadline_ms, refused)
        assert b"deadline passed" in refused


@pytest.mark.parametrize("cls", [c for c in COMMANDS if c not in WITHOUT], ids=lambda c: c.__name__)
@pytest.mark.parametrize("line", LINES)
def test_a_command_without_a_deadline_is_refused_by_every_device(
    host: Host, line: str, cls: type[m.Message]
) -> None:
    host.leasing = False
    refused = answer_to(host, line, cls, None)
    assert refused[:2] == bytes([RefusalCode.LATE, cls.TYPE])
    assert b"needs a deadline" in refused


@pytest.mark.parametrize("cls", [c for c in COMMANDS if c not in WITHOUT], ids=lambda c: c.__name__)
@pytest.mark.parametrize("line", LINES)
def test_a_command_in_time_is_never_called_late(
    host: Host, line: str, cls: type[m.Message]
) -> None:
    host.leasing = False
    refused = answer_to(host, line, cls, 0.0)  # the very instant is in time
    assert not refused or refused[0] != RefusalCode.LATE


def test_stop_is_obeyed_whatever_its_deadline(host: Host) -> None:
    for deadline_ms in (None, -1_000_000.0, 5.0):
        before = host.epoch("couch")
        host._nonce += 1
        body = struct.pack("<BI", 1, host._nonce)
        host.room.write("couch", host.frame("couch", m.Stop.TYPE, 0, body, deadline_ms=deadline_ms))
        host.advance_ms(60)
        assert host.epoch("couch") == (before + 1) & 0xFFFF


@pytest.mark.parametrize("cls", SEQUENCED, ids=lambda c: c.__name__)
def test_the_host_sends_every_command_with_a_deadline_of_its_rule(cls: type[m.Message]) -> None:
    heard: list[Frame] = []
    reader = FrameReader(Direction.HOST_TO_DEVICE)

    def listen(chunk: bytes) -> list[tuple[int, bytes]]:
        heard.extend(frame for frame in reader.feed(chunk) if isinstance(frame, Frame))
        return [(0, chunk)]

    bench = Bench(settings=SessionSettings(DeviceKind.COUCH))
    bench.open()
    bench.run(500_000)
    bench.to_device = listen
    message = zeros(cls)
    given_us = bench.now_us
    bench.session.submit(message, given_us, "it")
    bench.run(20_000)
    header = next(frame.header for frame in heard if frame.header.type == cls.TYPE)
    assert header.flags & FLAG_DEADLINE
    ttl_us = rule_of(message).ttl_ms * 1000
    assert 0 < ttl_us <= 5_000_000
    latest_us = bench.device.device_us(given_us) + ttl_us
    early_us = (latest_us - header.deadline_us + (1 << 31)) % (1 << 32) - (1 << 31)
    assert 0 <= early_us <= 5_000, "later than its rule, or far too early"
