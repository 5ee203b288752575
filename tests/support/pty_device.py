"""The scripted device of `clp1_bench` on a real pty, in a thread, in real time."""

from __future__ import annotations

import os
import select
import threading
import tty
from types import TracebackType

from clp1_bench import ScriptedDevice

from igrt_hw.link.runner import monotonic_us


class PtyDevice:
    """Opens a pty; `port` is the path for the host. `unplug` closes the device's side."""

    def __init__(self, device: ScriptedDevice | None = None) -> None:
        self.device = device or ScriptedDevice()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self.deaf = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PtyDevice:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.unplug()

    def unplug(self) -> None:
        """The device is gone, and its port with it."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def say(self, octets: bytes) -> None:
        """Put octets on the line that no device would send."""
        os.write(self._master, octets)

    def _run(self) -> None:
        while not self._end.is_set():
            ready, _, _ = select.select([self._master], [], [], 0.005)
            data = os.read(self._master, 65536) if ready else b""
            if self.deaf.is_set():
                continue
            out = self.device.receive(data, monotonic_us()) + self.device.tick(monotonic_us())
            if out:
                os.write(self._master, out)
