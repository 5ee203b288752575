"""What all CLP/1 drivers share: a line, futures of answers, and telemetry made fit for people."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar, cast

from igrt_hw.link import messages as m
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineEvent, LineSettings
from igrt_hw.link.session import Lost, Opened, SessionSettings, TelemetrySample
from igrt_hw.link.transport import PortSettings
from igrt_hw.models.telemetry import LinkHealth

T = TypeVar("T")
R = TypeVar("R", bound=m.Message)


def line_settings(port: PortSettings | str, device: DeviceKind) -> LineSettings:
    """Settings of a line by its port, with everything else as usual."""
    if isinstance(port, str):
        port = PortSettings(port)
    return LineSettings(port, SessionSettings(device))


def after(future: Future[m.Message], kind: type[R], convert: Callable[[R], T]) -> Future[T]:
    """A future of the converted answer; errors pass through."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def done(answered: Future[m.Message]) -> None:
        error = answered.exception()
        if error is None:
            try:
                result.set_result(convert(cast(R, answered.result())))
                return
            except Exception as conversion_error:
                error = conversion_error
        result.set_exception(error)

    future.add_done_callback(done)
    return result


def failed(error: Exception) -> Future[T]:
    """A future that has failed already."""
    future: Future[T] = Future()
    future.set_exception(error)
    return future


class ClpDevice(Generic[T]):
    """A device on a CLP/1 line. `T` is the telemetry model of the device."""

    assurance: tuple[str, ...] = ()

    def __init__(
        self, settings: LineSettings, line_of: Callable[[LineSettings], Line] = Line
    ) -> None:
        self.line = line_of(settings)
        self._listeners: list[Callable[[T], None]] = []
        self._converted: tuple[TelemetrySample, T] | None = None
        self._ready = threading.Condition()
        self.line.on_event(self._on_event)
        self.line.on_telemetry(self._on_sample)

    def start(self) -> None:
        """Begin to connect; go on connecting whenever the link is lost."""
        self.line.start()

    def connect(self, timeout_s: float = 5.0) -> None:
        """Start if need be, and wait until the device may be used; raises what stands against it."""
        if not self.line.started:
            self.start()
        self.line.wait_open(timeout_s)

    def close(self) -> None:
        """Give the line back; the device's lease ends."""
        self.line.close()

    def health(self) -> LinkHealth:
        """How the line is doing."""
        return self.line.health()

    def refresh_permission(self, until_us: int) -> bool:
        """Let leases go out until `until_us` of `monotonic_us`, at most 500 ms ahead."""
        return self.line.refresh_permission(until_us)

    def stop(self, reason: int = 0) -> Future[int]:
        """STOP at once, from any thread; the future has the epoch after it."""
        return after(self.line.stop(reason), m.StopAck, lambda ack: ack.new_epoch)

    def on_telemetry(self, listener: Callable[[T], None]) -> None:
        """Call `listener` with each new status, in the thread of the line: return at once."""
        self._listeners.append(listener)

    @property
    def telemetry(self) -> T | None:
        """The latest status; `received_us` says how old it is."""
        sample = self.line.telemetry
        if sample is None:
            return None
        known = self._converted
        if known is not None and known[0] is sample:
            return known[1]
        model = self._convert(sample)
        if model is not None:
            self._converted = (sample, model)
        return model

    def _convert(self, sample: TelemetrySample) -> T | None:
        """The model of a sample; None while what is needed to read it is not known."""
        raise NotImplementedError

    def _opened(self, event: Opened) -> None:
        """A session is open; called in the thread of the line."""

    def _closed(self, event: Lost) -> None:
        """The session is over; called in the thread of the line."""

    def _on_event(self, item: LineEvent) -> None:
        if isinstance(item.event, Opened):
            self._opened(item.event)
        elif isinstance(item.event, Lost):
            self._closed(item.event)
        with self._ready:
            self._ready.notify_all()

    def _on_sample(self, sample: TelemetrySample) -> None:
        if not self._listeners:
            return
        model = self.telemetry
        if model is not None:
            for listener in self._listeners:
                listener(model)
