"""The monitor on real ptys: what it shows is what went over the line, and it changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pty_device import PtyDevice
from sim_room import PATIENCE_S, eventually

from igrt_hw.link import messages as m
from igrt_hw.link.frame import DeviceKind, Direction
from igrt_hw.link.monitor import TrafficWatch, between, listen
from igrt_hw.link.runner import Line, LineSettings
from igrt_hw.link.session import SessionSettings
from igrt_hw.link.transport import PortSettings

pytestmark = pytest.mark.hil


class Watching:
    """A monitor in a thread."""

    def __init__(self, run: Callable[..., TrafficWatch], port: str) -> None:
        self.lines: list[str] = []
        self.end = threading.Event()
        self.watch: Any = None
        self.thread = threading.Thread(target=self._run, args=(run, port))
        self.thread.start()

    def _run(self, run: Callable[..., TrafficWatch], port: str) -> None:
        self.watch = run(PortSettings(port), self.lines.append, self.end)

    def stop(self) -> TrafficWatch:
        self.end.set()
        self.thread.join()
        assert isinstance(self.watch, TrafficWatch)
        return self.watch


def test_listening_shows_telemetry_and_sends_nothing() -> None:
    with PtyDevice() as device:
        monitor = Watching(listen, device.port)
        assert eventually(lambda: sum("COUCH_STATUS" in line for line in monitor.lines) >= 3)
        watch = monitor.stop()
        assert watch.counts(Direction.HOST_TO_DEVICE).total() == 0
        assert device.device.session == 0
        assert device.device.executed == []


def test_between_shows_both_directions_and_the_line_works_through_it() -> None:
    with PtyDevice() as device:
        monitor = Watching(between, device.port)
        assert eventually(lambda: bool(monitor.lines))
        port = monitor.lines[0].split()[1]
        settings = LineSettings(PortSettings(port), SessionSettings(DeviceKind.COUCH))
        with Line(settings) as line:
            line.wait_open(PATIENCE_S)
            for n in range(50):
                payload = bytes([n]) * 200
                assert line.call(m.Echo(payload), PATIENCE_S) == m.EchoReply(payload)
            line.stop().result(PATIENCE_S)
            sent = line.health().counters.frames_sent
        watch = monitor.stop()
        asked = watch.counts(Direction.HOST_TO_DEVICE)
        assert asked.total() == sent
        assert asked["STOP"] == 3
        assert watch.counts(Direction.DEVICE_TO_HOST)["ECHO_REPLY"] >= 50
        assert watch.drops(Direction.HOST_TO_DEVICE).total() == 0
        assert any("STOP_ACK" in text for text in monitor.lines)
