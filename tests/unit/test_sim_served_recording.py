"""A served room, recorded by its pump, does the same again in virtual time: every octet, and the trace hash."""

import json
import os
import struct
import termios
import time

import pytest

from igrt_firmware_sim import recording, scenario, world
from igrt_firmware_sim._firmware import SimulatorError, decode_frame, encode_frame
from igrt_firmware_sim.host import (
    ARMS,
    DICTIONARY,
    EXPOSE,
    GANTRY,
    HELLO,
    LEASE,
    PREPARE,
    TECHNIQUE,
    imager_status,
)
from igrt_firmware_sim.serving import Service

pytestmark = pytest.mark.hil
PATIENCE_S = 60.0
OPTIONS = {"setup_error_mm": 3.0, "load_kg": 60.0}


class WallClockHost:
    """Octets on a pty and the wall clock, as a client from outside has them."""

    def __init__(self, path, device):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.device, self.session, self.seq, self.counter = device, 0, 0, 0
        self.epoch, self.device_us, self.heard_at, self.said = 0, 0, 0.0, []
        self.rest = b""

    def now_us(self):
        return self.device_us + round((time.monotonic() - self.heard_at) * 1e6)

    def send(self, kind, body, *, seq=0, ttl_us=200_000):
        flags = 0 if kind == HELLO else 2
        deadline = (self.now_us() + ttl_us) & 0xFFFFFFFF if flags else 0
        session = 0 if kind == HELLO else self.session
        fields = (kind, session, seq, 0, self.epoch, flags, self.device, 0, deadline)
        os.write(self.fd, encode_frame("H", fields, body))

    def listen(self, for_s):
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            try:
                octets = os.read(self.fd, 65536)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            *runs, self.rest = (self.rest + octets).split(b"\0")
            for run in filter(None, runs):
                decoded = decode_frame("D", run)
                if decoded is None:
                    continue
                (kind, session, _seq, _ack, self.epoch, *_), body = decoded
                if kind in (0x10, 0x11, 0x12):
                    self.device_us = int.from_bytes(body[:8], "little")
                    self.heard_at = time.monotonic()
                if kind == 0x82:
                    self.session = session
                self.said.append((kind, body))

    def command(self, kind, body):
        self.seq += 1
        self.send(kind, body, seq=self.seq)
        self.counter += 1
        self.send(LEASE, self.counter.to_bytes(4, "little") + bytes(8))

    def lease_for(self, for_s):
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            self.counter += 1
            self.send(LEASE, self.counter.to_bytes(4, "little") + bytes(8))
            self.listen(0.04)

    def insist(self, commands, condition):
        """Gives commands again and again until a status is as wanted: a busy machine lets leases run out."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for kind, body in commands:
                self.command(kind, body)
            for _ in range(60):
                self.lease_for(0.05)
                statuses = [body for kind, body in self.said if kind == 0x11]
                if statuses and condition(imager_status(statuses[-1])):
                    return
        raise TimeoutError(f"{commands}: {[body for kind, body in self.said if kind == 0x1F]}")

    def open_session(self):
        self.listen(0.15)
        self.send(HELLO, b"\x01\x01" + (7).to_bytes(4, "little") + DICTIONARY)
        self.listen(0.1)
        assert self.session != 0


def served(tmp_path, record, **more):
    room = world.make_room(seed=11, renders=False, **OPTIONS)
    made = {"patient": None, "options": OPTIONS}
    return Service(room, tmp_path, seed=11, record=record, made=made, **more)


def test_a_served_room_replays_octet_by_octet_with_its_trace_hash(tmp_path):
    record = tmp_path / "served.jsonl"
    with served(tmp_path, record) as service:
        host = WallClockHost(service.endpoints["couch"], 1)
        host.open_session()
        service.perform("hand.enable", position="enabled")
        service.perform("fault.inject", target="line.couch", kind="flip", value=0.2)
        host.lease_for(0.3)
        service.perform("fault.clear", target="line.couch")
        service.perform("hand.estop", pressed=True)
        with pytest.raises(SimulatorError):
            service.perform("fault.inject", target="moon", kind="off")
        host.lease_for(0.2)
        settings = termios.tcgetattr(host.fd)
        settings[4] = settings[5] = termios.B9600
        termios.tcsetattr(host.fd, termios.TCSANOW, settings)
        host.lease_for(0.1)
        os.close(host.fd)
    header, *events, end = recording.entries(record)
    assert header["served"]
    assert header["seed"] == 11
    assert len([e for e in events if "write" in e]) > 10
    assert len([e for e in events if e.get("read") == "couch"]) > 10
    assert {e["op"] for e in events if "op" in e} == {
        "hand.enable", "fault.inject", "fault.clear", "hand.estop", "line.rates",
    }  # fmt: skip
    assert [e["t"] for e in events] == sorted(e["t"] for e in events)
    recorded, replayed = recording.replay(record)
    assert recorded == replayed == end["trace_hash"]


def test_a_changed_octet_of_a_served_recording_is_noticed(tmp_path):
    record = tmp_path / "served.jsonl"
    with served(tmp_path, record) as service:
        host = WallClockHost(service.endpoints["couch"], 1)
        host.open_session()
        host.lease_for(0.2)
        os.close(host.fd)
    lines = record.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"write"' in line)
    entry = json.loads(lines[at])
    octets = bytearray.fromhex(entry["octets"])
    octets[len(octets) // 2] ^= 1
    lines[at] = json.dumps(entry | {"octets": octets.hex()})
    record.write_text("\n".join(lines))
    # A flipped bit is dropped by the device, which then does not say what it said: most often at once.
    assert not replays(record)


def replays(record):
    """Whether a recording is reproduced."""
    try:
        recorded, replayed = recording.replay(record)
    except SimulatorError as error:
        return "says something else" not in str(error)
    return recorded == replayed


def test_a_frame_that_was_rendered_beside_the_pump_replays_at_its_time(tmp_path):
    record = tmp_path / "served.jsonl"
    with served(tmp_path, record) as service:
        host = WallClockHost(service.endpoints["imager"], 2)
        host.open_session()
        host.lease_for(0.1)
        host.insist([(ARMS, b"\x01\x01")], lambda status: status["flags"] & 2)
        host.insist([(GANTRY, bytes(4))], lambda status: status["state"] == 0)
        expose = b"\x00\x00\x00\x00" + (90_000_000).to_bytes(4, "little")
        host.insist([(TECHNIQUE, technique()), (PREPARE, b"\x01")], lambda s: s["flags"] & 32)
        host.insist([(PREPARE, b"\x01"), (EXPOSE, expose)], lambda s: s["latest_frame"] > 0)
        os.close(host.fd)
    _, *events, _ = recording.entries(record)
    assert [e for e in events if e.get("op") == "frame.deliver"]
    recorded, replayed = recording.replay(record)
    assert recorded == replayed


def technique():
    return struct.pack("<HBBHI4i", 800, 0, 4, 1000, 20_000, -50_000, 50_000, -50_000, 50_000)


def test_a_recording_that_does_not_say_how_the_room_was_made_is_refused(tmp_path):
    room = world.make_room(seed=1, renders=False)
    with pytest.raises(SimulatorError, match="how it was made"):
        Service(room, tmp_path, seed=1, record=tmp_path / "x.jsonl")


def test_a_served_recording_becomes_mcap_and_no_scenario(tmp_path):
    record = tmp_path / "served.jsonl"
    with served(tmp_path, record) as service:
        host = WallClockHost(service.endpoints["couch"], 1)
        host.open_session()
        service.perform("hand.enable", position="enabled")
        os.close(host.fd)
    with pytest.raises(SimulatorError, match="igrt-sim replay"):
        scenario.from_recording(record, tmp_path / "x.toml", title="t", why="w")
    pytest.importorskip("mcap.writer", reason="the extra mcap is not installed")
    _, *events, _ = recording.entries(record)
    assert recording.export_mcap(record, tmp_path / "x.mcap") == len(events) + 1
