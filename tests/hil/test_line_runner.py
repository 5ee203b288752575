"""The line's thread over real ptys: opening, losing, coming back, leases, STOP."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from clp1_bench import ScriptedDevice
from pty_device import PtyDevice
from rfc2217_box import Rfc2217Box

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkLost, LossCause, Refused
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings, monotonic_us
from igrt_hw.link.session import Lost, Opened, SessionSettings
from igrt_hw.link.transport import PortSettings, open_port

pytestmark = pytest.mark.hil

PATIENCE_S = 10.0  # how long anything may take on a busy machine before a test gives up


def line_to(port: str, kind: DeviceKind = DeviceKind.COUCH) -> Line:
    return Line(LineSettings(PortSettings(port), SessionSettings(kind)))


@pytest.fixture
def device() -> Iterator[PtyDevice]:
    with PtyDevice() as pty:
        yield pty


@pytest.fixture
def line(device: PtyDevice) -> Iterator[Line]:
    with line_to(device.port) as opened:
        opened.wait_open(PATIENCE_S)
        yield opened


def eventually(condition: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_a_line_opens_answers_and_tells(device: PtyDevice, line: Line) -> None:
    assert line.call(m.Echo(b"hello")) == m.EchoReply(b"hello")
    sample = line.wait_telemetry(lambda s: s.session == device.device.session, PATIENCE_S)
    assert sample is not None
    health = line.health()
    assert health.connected
    assert health.low_latency == "not offered by this port"
    assert health.counters.sessions == 1
    assert health.clock_offset_us == pytest.approx(device.device.clock_ahead_us, abs=1e6)


def test_many_commands_keep_their_order_and_their_answers(line: Line) -> None:
    payloads = [b"%d" % n for n in range(500)]
    answers = line.submit_many([m.Echo(p) for p in payloads]).result(PATIENCE_S)
    assert [a.payload for a in answers if isinstance(a, m.EchoReply)] == payloads


def test_many_threads_may_give_commands_at_once(line: Line) -> None:
    wrong: list[object] = []

    def talk(name: int) -> None:
        for n in range(100):
            payload = b"%d-%d" % (name, n)
            if line.call(m.Echo(payload), PATIENCE_S) != m.EchoReply(payload):
                wrong.append(payload)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_unplugged_port_fails_what_is_waiting_and_is_told_once(
    device: PtyDevice, line: Line
) -> None:
    device.deaf.set()
    waiting = line.submit(m.LimitsRead())
    device.unplug()
    with pytest.raises(LinkLost) as caught:
        waiting.result(PATIENCE_S)
    assert caught.value.cause in (LossCause.PORT_GONE, LossCause.PEER_CLOSED)
    assert eventually(lambda: not line.health().connected)
    with pytest.raises(LinkLost):
        line.call(m.Echo(b""))
    with pytest.raises(LinkLost):
        line.stop().result(PATIENCE_S)


def test_a_silent_device_loses_the_link_and_a_new_session_follows_without_permission(
    device: PtyDevice, line: Line
) -> None:
    first = line.identity
    assert line.refresh_permission(monotonic_us() + 400_000)
    device.deaf.set()
    assert eventually(lambda: not line.health().connected)
    device.deaf.clear()
    assert eventually(lambda: line.health().connected)
    second = line.identity
    assert first is not None
    assert second is not None
    assert second.session != first.session
    assert not line.health().permission_fresh
    kinds = [type(e.event) for e in line.drain_events()]
    assert kinds[0] is Opened
    assert Lost in kinds
    assert kinds[-1] is Opened


def test_leases_flow_while_refreshed_and_end_by_themselves(device: PtyDevice, line: Line) -> None:
    assert device.device.leases_us == []
    until_us = 0
    for _ in range(10):
        until_us = monotonic_us() + 100_000
        line.refresh_permission(until_us)
        time.sleep(0.05)
    assert device.device.leases_us
    assert eventually(lambda: monotonic_us() > until_us + 100_000)
    count = len(device.device.leases_us)
    time.sleep(0.3)
    assert len(device.device.leases_us) == count
    assert not line.health().permission_fresh


def test_a_permission_for_long_is_refused(line: Line) -> None:
    with pytest.raises(ValueError, match="again and again"):
        line.refresh_permission(monotonic_us() + 10_000_000)


def test_stop_is_acknowledged_and_bumps_the_epoch_once(device: PtyDevice, line: Line) -> None:
    answer = line.stop(reason=1).result(PATIENCE_S)
    assert isinstance(answer, m.StopAck)
    assert answer.new_epoch == 1
    assert eventually(lambda: len(device.device.stops) == 3)
    assert line.health().epoch == 1


def test_stop_goes_out_although_the_line_is_busy_elsewhere(device: PtyDevice, line: Line) -> None:
    with line._lock:  # the thread of the line cannot do anything now
        future = line.stop()
        assert eventually(lambda: bool(device.device.stops))
    assert isinstance(future.result(PATIENCE_S), m.StopAck)
    assert device.device.epoch == 1


def test_garbage_on_the_line_is_counted_and_does_not_stop_it(device: PtyDevice, line: Line) -> None:
    device.say(b"\xff\x13garbage\x00\x01\x02" * 50)
    assert line.call(m.Echo(b"still here"), PATIENCE_S) == m.EchoReply(b"still here")
    counters = line.health().counters
    assert counters.crc_errors + counters.other_drops > 0


def test_a_second_program_cannot_open_the_port(device: PtyDevice, line: Line) -> None:
    with pytest.raises(LinkLost) as caught:
        open_port(PortSettings(device.port))
    assert caught.value.cause is LossCause.CANNOT_OPEN
    assert "in use by another program" in str(caught.value)


def test_a_port_that_does_not_exist_is_told_once_and_in_words() -> None:
    with line_to("/dev/no-such-port") as line:
        assert eventually(lambda: bool(line.health().cause))
        with pytest.raises(LinkLost, match="does not exist: is the device plugged in"):
            line.wait_open(0.3)
        assert len(line.drain_events()) == 1


def test_a_wrong_device_is_named() -> None:
    with PtyDevice() as device, line_to(device.port, DeviceKind.IMAGER) as line:
        assert eventually(lambda: "a couch answers" in line.health().cause)


def test_a_refusal_comes_through_the_future() -> None:
    with (
        PtyDevice(ScriptedDevice(hello_status=2)) as device,
        line_to(device.port) as line,
    ):
        line.wait_open(PATIENCE_S)
        with pytest.raises(Refused, match="dictionary mismatch"):
            line.call(m.Home())
        assert line.health().state == "telemetry only"
        assert line.wait_telemetry(lambda s: True, PATIENCE_S) is not None


def test_a_listener_that_fails_does_not_end_the_line(device: PtyDevice, line: Line) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a listener that fails on purpose")

    line.on_telemetry(fail)
    line.on_event(fail)
    line.stop().result(PATIENCE_S)
    assert line.call(m.Echo(b"x"), PATIENCE_S) == m.EchoReply(b"x")


def test_closing_fails_what_is_waiting(device: PtyDevice) -> None:
    line = line_to(device.port).start()
    line.wait_open(PATIENCE_S)
    device.deaf.set()
    waiting = line.submit(m.LimitsRead())
    line.close()
    with pytest.raises(LinkLost, match="closed by this program"):
        waiting.result(PATIENCE_S)


def test_the_port_can_be_opened_again_after_a_close(device: PtyDevice) -> None:
    for _ in range(3):
        with line_to(device.port) as line:
            line.wait_open(PATIENCE_S)
            assert line.call(m.Echo(b"x"), PATIENCE_S) == m.EchoReply(b"x")


def serve_tcp(server: socket.socket, device: ScriptedDevice, end: threading.Event) -> None:
    connection, _ = server.accept()
    connection.settimeout(0.01)
    with connection:
        while not end.is_set():
            try:
                data = connection.recv(65536)
            except TimeoutError:
                data = b""
            else:
                if not data:
                    return
            out = device.receive(data, monotonic_us()) + device.tick(monotonic_us())
            if out:
                connection.sendall(out)


def test_a_socket_is_a_port_and_its_end_is_a_lost_link() -> None:
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_tcp, args=(server, ScriptedDevice(), end))
        thread.start()
        with line_to(f"socket://127.0.0.1:{server.getsockname()[1]}") as line:
            line.wait_open(PATIENCE_S)
            assert line.call(m.Echo(b"tcp"), PATIENCE_S) == m.EchoReply(b"tcp")
            assert line.health().low_latency == "TCP_NODELAY"
            server.close()
            end.set()
            thread.join()
            assert eventually(lambda: not line.health().connected)
            causes = [e.event.error.cause for e in line.drain_events() if isinstance(e.event, Lost)]
            assert causes[0] in (LossCause.PEER_CLOSED, LossCause.PORT_GONE)


def test_a_remote_serial_port_works_and_its_end_is_a_lost_link(device: PtyDevice) -> None:
    server = Rfc2217Box(device.port)
    try:
        with line_to(server.url) as line:
            line.wait_open(PATIENCE_S)
            for n in range(20):
                payload = bytes([n, 0xFF, 0x00, 0xFF])  # FF is the telnet escape
                assert line.call(m.Echo(payload), PATIENCE_S) == m.EchoReply(payload)
            assert line.health().low_latency == "decided by the remote end"
            server.close()
            assert eventually(lambda: not line.health().connected)
    finally:
        server.close()


def test_nothing_is_left_open_after_a_line_is_closed(device: PtyDevice) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with line_to(device.port) as line:
            line.wait_open(PATIENCE_S)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_a_stream_of_garbage_is_no_sign_of_life(device: PtyDevice, line: Line) -> None:
    """Octets that never end keep the thread awake, and must not keep the session alive."""
    device.deaf.set()
    end = threading.Event()

    def babble() -> None:
        while not end.is_set():
            device.say(b"\x13garbage\x00")
            time.sleep(0.001)

    talker = threading.Thread(target=babble)
    talker.start()
    try:
        assert eventually(lambda: any(isinstance(e.event, Lost) for e in line.drain_events()))
    finally:
        end.set()
        talker.join()


def test_a_caller_that_waits_leaves_the_others_their_answers_and_the_listeners_their_thread(
    device: PtyDevice, line: Line
) -> None:
    heard_in: set[str] = set()
    line.on_telemetry(lambda _: heard_in.add(threading.current_thread().name))
    given = [line.submit(m.Echo(b"%d" % n)) for n in range(20)]
    for n in range(300):
        assert line.call(m.Echo(b"mine %d" % n), PATIENCE_S) == m.EchoReply(b"mine %d" % n)
    answers = [future.result(PATIENCE_S) for future in given]
    assert answers == [m.EchoReply(b"%d" % n) for n in range(20)]
    assert eventually(lambda: bool(heard_in))
    assert heard_in == {"line couch"}


def test_leases_go_on_while_a_caller_has_the_port(device: PtyDevice, line: Line) -> None:
    line.refresh_permission(monotonic_us() + 400_000)
    before = line.health().counters.leases_sent
    ends_us = monotonic_us() + 300_000
    while monotonic_us() < ends_us:
        line.call(m.Echo(b"x"), PATIENCE_S)
    assert line.health().counters.leases_sent >= before + 4


def test_a_call_that_is_not_answered_ends_in_a_loss_or_its_own_time_out(
    device: PtyDevice, line: Line
) -> None:
    device.deaf.set()
    with pytest.raises(TimeoutError):
        line.call(m.Echo(b"x"), 0.02)
    with pytest.raises(LinkLost):
        line.call(m.Echo(b"y"), PATIENCE_S)


def test_a_call_in_a_listener_is_refused_instead_of_waiting_for_itself(line: Line) -> None:
    raised: list[str] = []

    def listen(_: object) -> None:
        try:
            line.call(m.Echo(b"x"), 0.1)
        except RuntimeError as error:
            raised.append(str(error))

    line.on_telemetry(listen)
    assert eventually(lambda: bool(raised))
    assert "use submit" in raised[0]
