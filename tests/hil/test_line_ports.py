"""Ports of every kind, really opened: what is set on purpose, what is reported, how each one dies."""

from __future__ import annotations

import itertools
import os
import socket
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import serial
from clp1_bench import ScriptedDevice
from pty_device import PtyDevice
from rfc2217_box import Rfc2217Box
from sim_room import PATIENCE_S, SimRoom, eventually

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError, LinkLost, LossCause
from igrt_hw.link.events import EpochMoved, Lost, Opened
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings, monotonic_us
from igrt_hw.link.session import SessionSettings
from igrt_hw.link.transport import CARRIED, PortSettings, open_port

pytestmark = pytest.mark.hil


def line_to(port: str | PortSettings) -> Line:
    settings = port if isinstance(port, PortSettings) else PortSettings(port)
    return Line(LineSettings(settings, SessionSettings(DeviceKind.COUCH)))


@pytest.fixture
def device() -> Iterator[PtyDevice]:
    with PtyDevice() as pty:
        yield pty


@pytest.fixture
def box(device: PtyDevice) -> Iterator[Rfc2217Box]:
    made = Rfc2217Box(device.port)
    yield made
    made.close()


# ---- device paths --------------------------------------------------------------------------


def test_a_port_may_be_named_by_a_link_as_in_dev_serial_by_id(
    device: PtyDevice, tmp_path: Path
) -> None:
    by_id = tmp_path / "usb-FTDI_couch-if00-port0"
    by_id.symlink_to(device.port)
    with line_to(str(by_id)) as line:
        line.wait_open(PATIENCE_S)
        assert line.call(m.Echo(b"by id")) == m.EchoReply(b"by id")
        with pytest.raises(LinkLost, match="in use by another program"):
            open_port(PortSettings(device.port))  # the same port under its other name


def test_a_link_that_points_nowhere_yet_is_opened_when_the_device_appears(tmp_path: Path) -> None:
    by_id = tmp_path / "usb-FTDI_couch-if00-port0"
    with line_to(str(by_id)) as line:
        assert eventually(lambda: "does not exist" in line.health().cause)
        with PtyDevice() as device:
            by_id.symlink_to(device.port)
            line.wait_open(PATIENCE_S)


class LowLatencySerial(serial.Serial):
    """A pty that says it is an FTDI adaptor."""

    asked: bool | None = None

    def set_low_latency_mode(self, low_latency_settings: bool) -> None:
        LowLatencySerial.asked = low_latency_settings


class OtherSystemSerial(serial.Serial):
    """A pty on a system without the setting."""

    def set_low_latency_mode(self, low_latency_settings: bool) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("kind", "wanted", "words"),
    [
        (LowLatencySerial, True, "on"),
        (LowLatencySerial, False, "not asked for"),
        (OtherSystemSerial, True, "not offered on this system"),
        (serial.Serial, True, "not offered by this port"),
    ],
)
def test_low_latency_is_set_where_offered_and_reported_where_not(
    monkeypatch: pytest.MonkeyPatch,
    device: PtyDevice,
    kind: type[serial.Serial],
    wanted: bool,
    words: str,
) -> None:
    def opener(name: str, do_not_open: bool, exclusive: bool | None) -> serial.Serial:
        assert do_not_open
        made = kind(None, exclusive=exclusive)
        made.port = name
        return made

    monkeypatch.setattr(serial, "serial_for_url", opener)
    LowLatencySerial.asked = None
    transport = open_port(PortSettings(device.port, low_latency=wanted))
    assert transport.low_latency == words
    assert LowLatencySerial.asked is (True if words == "on" else None)
    transport.close()


@pytest.mark.parametrize("baud", [115_200, 921_600, 3_000_000])
def test_the_baud_rate_asked_for_is_set_and_counts_where_octets_take_time(
    device: PtyDevice, baud: int
) -> None:
    transport = open_port(PortSettings(device.port, baud))
    assert termios.tcgetattr(transport.fileno())[5] == getattr(termios, f"B{baud}")
    assert transport.baud is None  # on a pty they take none
    transport.close()
    timed = open_port(PortSettings(device.port, baud, wire_time=True))
    assert timed.baud == baud
    timed.close()


# ---- rfc2217 -------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtr", "rts"), [(True, False), (False, True)])
def test_dtr_and_rts_reach_the_wire_as_they_were_set_and_never_otherwise(
    device: PtyDevice, box: Rfc2217Box, dtr: bool, rts: bool
) -> None:
    with line_to(PortSettings(box.url, dtr=dtr, rts=rts)) as line:
        line.wait_open(PATIENCE_S)
        assert {on for name, on in box.lines.told if name == "dtr"} == {dtr}
        assert {on for name, on in box.lines.told if name == "rts"} == {rts}


def test_a_remote_port_that_takes_no_octets_is_a_lost_link(
    device: PtyDevice, box: Rfc2217Box
) -> None:
    """Half open: the network is up, and the box reads nothing. rfc2217 has no write time-out, so
    the writing is done where nobody waits for it."""
    with line_to(box.url) as line:
        line.wait_open(PATIENCE_S)
        device.deaf.set()
        box.stuck.set()
        given = [line.submit(m.Echo(bytes(4000))) for _ in range(200)]
        stop = line.stop()
        with pytest.raises(LinkLost):
            stop.result(PATIENCE_S)
        for future in given:  # waiting when STOP was given, or lost with the line
            with pytest.raises(LinkError):
                future.result(PATIENCE_S)
        box.stuck.clear()


def test_stop_that_goes_unanswered_becomes_a_break_on_the_remote_wire(
    device: PtyDevice, box: Rfc2217Box
) -> None:
    with line_to(box.url) as line:
        line.wait_open(PATIENCE_S)
        box.deaf.set()  # frames do not get through; the device still talks
        future = line.stop()
        assert eventually(lambda: ("break", True) in box.lines.told)
        assert eventually(lambda: ("break", False) in box.lines.told)
        assert line.health().counters.breaks_sent >= 1
        box.deaf.clear()
        assert isinstance(future.result(PATIENCE_S), m.StopAck)


def test_an_acknowledged_stop_sends_no_break(device: PtyDevice, box: Rfc2217Box) -> None:
    with line_to(box.url) as line:
        line.wait_open(PATIENCE_S)
        assert isinstance(line.stop().result(PATIENCE_S), m.StopAck)
        assert ("break", True) not in box.lines.told


@pytest.mark.slow
def test_a_break_stops_the_simulated_couch_where_no_frame_gets_through(tmp_path: Path) -> None:
    """From the driver to the firmware: RFC 2217 carries BREAK to the box, the simulator's control
    socket carries it on, since the pty between them cannot."""
    room = SimRoom(tmp_path)
    box = Rfc2217Box(room.port("couch"))
    box.lines.on_break = lambda: room.ask("line.break", line="couch")
    try:
        with line_to(box.url) as line:
            line.wait_open(PATIENCE_S)
            before = line.health().epoch
            box.deaf.set()
            line.stop()
            assert eventually(lambda: line.health().epoch > before)
            events = [item.event for item in line.drain_events()]
            assert EpochMoved(before + 1) in events
            moved = line.health().counters.breaks_sent
            time.sleep(0.3)
            assert line.health().counters.breaks_sent <= moved + 1, "it has heard: no more of it"
            box.deaf.clear()
    finally:
        box.close()
        room.close()


def test_ports_say_whether_they_carry_a_break(device: PtyDevice, box: Rfc2217Box) -> None:
    with line_to(box.url) as line:
        line.wait_open(PATIENCE_S)
        assert line.health().line_break == CARRIED
    box.close()
    with line_to(device.port) as line:
        line.wait_open(PATIENCE_S)
        assert line.health().line_break == "not carried by a pty"
        device.deaf.set()
        with pytest.raises(LinkLost):
            line.stop().result(PATIENCE_S)  # and nothing fails for it


# ---- sockets -------------------------------------------------------------------------------


class SilentServer:
    """Accepts, answers HELLO if it is told to, and then keeps the connection open without a word."""

    def __init__(self, device: ScriptedDevice) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.device = device
        self.deaf = threading.Event()
        self.end = threading.Event()
        self.accepted_us: list[int] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"socket://127.0.0.1:{self.server.getsockname()[1]}"

    def _run(self) -> None:
        self.server.settimeout(0.05)
        while not self.end.is_set():
            try:
                connection, _ = self.server.accept()
            except TimeoutError:
                continue
            self.accepted_us.append(monotonic_us())
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(0.01)
        while not self.end.is_set():
            try:
                data = connection.recv(65536)
            except TimeoutError:
                data = b""
            else:
                if not data:
                    return
            if self.deaf.is_set():
                continue
            now_us = monotonic_us()
            out = self.device.receive(data, now_us) + self.device.tick(now_us)
            if out:
                connection.sendall(out)

    def close(self) -> None:
        self.end.set()
        self.thread.join()
        self.server.close()


def test_a_half_open_peer_is_one_loss_with_its_cause_and_comes_back_in_a_new_session() -> None:
    server = SilentServer(ScriptedDevice())
    try:
        with line_to(server.url) as line:
            first = line.wait_open(PATIENCE_S)
            line.refresh_permission(monotonic_us() + 400_000)
            server.deaf.set()
            assert eventually(lambda: not line.health().connected)
            with pytest.raises(LinkLost):
                line.call(m.LimitsRead(), PATIENCE_S)
            server.deaf.clear()
            assert eventually(lambda: line.health().connected)
            events = [item.event for item in line.drain_events()]
            losses = [e.error.cause for e in events if isinstance(e, Lost)]
            assert losses[0] in (LossCause.SILENT, LossCause.UNANSWERED)
            again = [e for e in events if isinstance(e, Opened)][-1].identity
            assert again.session != first.session
            assert not line.health().permission_fresh
    finally:
        server.close()


def test_reconnection_backs_off_and_the_pause_is_capped() -> None:
    """A peer that accepts and never answers HELLO: pauses of 0.1 s doubled up to 2 s, no storm."""
    tries: list[int] = []

    def refuse(settings: PortSettings) -> object:
        tries.append(monotonic_us())
        raise LinkLost(LossCause.CANNOT_OPEN, "it is not there")

    settings = LineSettings(PortSettings("nowhere"), SessionSettings(DeviceKind.COUCH))
    with Line(settings, transport_of=refuse) as line:  # type: ignore[arg-type]
        assert eventually(lambda: len(tries) >= 7)
        assert len(line.drain_events()) == 1, "told once, not at every attempt"
    pauses_ms = [(b - a) / 1000 for a, b in itertools.pairwise(tries)]
    for pause, least in zip(pauses_ms, [100, 200, 400, 800, 1600, 2000], strict=False):
        assert pause >= least * 0.99


def test_no_kind_of_port_leaves_a_descriptor_or_a_thread_behind(device: PtyDevice) -> None:
    box = Rfc2217Box(device.port)
    with line_to(box.url) as line:
        line.wait_open(PATIENCE_S)
    box.close()
    before = len(os.listdir("/proc/self/fd"))
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith(("read rfc2217", "write rfc2217")) for name in names)
    with line_to(device.port) as line:
        line.wait_open(PATIENCE_S)
    assert len(os.listdir("/proc/self/fd")) <= before


# ---- telemetry that fits the wire ----------------------------------------------------------


def test_telemetry_that_does_not_fit_the_baud_rate_is_refused_with_the_period_that_does(
    device: PtyDevice,
) -> None:
    port = PortSettings(device.port, 115_200, wire_time=True)
    settings = LineSettings(port, SessionSettings(DeviceKind.COUCH, telemetry_period_ms=10))
    with Line(settings) as line:
        assert eventually(lambda: "ask for 47 ms or more" in line.health().cause)
        assert device.device.session == 0, "no session is opened for it"
    with Line(replace(settings, port=replace(port, baud=921_600))) as line:
        line.wait_open(PATIENCE_S)


@pytest.mark.slow
def test_half_duplex_end_to_end_at_115200_baud(tmp_path: Path) -> None:
    """Driver, pty and simulator, its line slowed to the octets that the wire would pass."""
    room = SimRoom(tmp_path, 7, "--baud", "115200")
    try:
        with Line(
            LineSettings(PortSettings(room.port("couch")), SessionSettings(DeviceKind.COUCH))
        ) as wrong:
            assert eventually(lambda: "check the baud rate" in wrong.health().cause)
        room.ask("fault.inject", target="line.couch", kind="split", value=11)  # octets in 1 ms
        settings = SessionSettings(DeviceKind.COUCH, telemetry_period_ms=100, half_duplex=True)
        port = PortSettings(room.port("couch"), 115_200, wire_time=True)
        with Line(LineSettings(port, settings)) as line:
            line.wait_open(PATIENCE_S)
            begin = line.health().counters
            for number in range(20):
                line.refresh_permission(monotonic_us() + 400_000)
                assert line.call(m.Echo(bytes([number])), PATIENCE_S) == m.EchoReply(
                    bytes([number])
                )
                time.sleep(0.05)
            counters = line.health().counters
            assert counters.telemetry_received - begin.telemetry_received >= 5
            assert counters.leases_acknowledged > begin.leases_acknowledged
            # what was on its way at the wrong rate may still be heard before the session opens
            assert counters.crc_errors == begin.crc_errors
            assert counters.other_drops == begin.other_drops
            assert line.health().connected
            assert isinstance(line.stop().result(PATIENCE_S), m.StopAck)
    finally:
        room.close()
