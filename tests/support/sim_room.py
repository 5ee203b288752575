"""The simulated room as its own process, for tests over real ptys (docs/simulator_control.md)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from igrt_hw.link.runner import monotonic_us

PATIENT = Path(__file__).parents[2] / "python" / "igrt_hw" / "demo" / "thorax"
START_S_MAX = 240.0  # a machine that builds and tests beside this takes minutes to read a CT and make the floods
PATIENCE_S = 30.0  # how long anything may take on a busy machine before a test gives up


class SimRoom:
    """`igrt-sim serve` in a folder; `port` names the ptys, `ask` speaks to its control socket."""

    def __init__(self, folder: Path, seed: int = 7, *more: str) -> None:
        self.folder = folder
        program = Path(sys.executable).parent / "igrt-sim"
        # on a leash, so that it ends with this process however that ends
        command = [sys.executable, "-m", "igrt_hw.demo.leash", str(program), "serve"]
        command += ["--run-dir", str(folder), "--patient", str(PATIENT)]
        self.log = (folder / "sim.log").open("wb")
        self.process = subprocess.Popen(
            [*command, "--seed", str(seed), *more],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=os.environ,
        )
        self.endpoints: dict[str, Any] = self._wait_endpoints()
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self.endpoints["control"])
        self._answers = self._socket.makefile("r", encoding="utf-8")

    def _wait_endpoints(self) -> dict[str, Any]:
        path = self.folder / "endpoints.json"
        end_s = time.monotonic() + START_S_MAX
        while time.monotonic() < end_s:
            if self.process.poll() is not None:
                break
            if path.exists():
                endpoints: dict[str, Any] = json.loads(path.read_text("utf-8"))
                return endpoints
            time.sleep(0.05)
        self.log.flush()
        raise RuntimeError(f"no simulator: {(self.folder / 'sim.log').read_text('utf-8')[-2000:]}")

    def port(self, name: str) -> str:
        """The pty of a device."""
        return str(self.endpoints[name])

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """One request; raises with the simulator's sentence if it refuses."""
        self._number += 1
        request = json.dumps({"id": self._number, "op": op, **fields}) + "\n"
        self._socket.sendall(request.encode())
        answer: dict[str, Any] = json.loads(self._answers.readline())
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        """End the simulator."""
        try:
            self.ask("quit")
        except (OSError, RuntimeError, ValueError):
            self.process.terminate()
        self._socket.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Holding:
    """Does something again and again in a thread until the block ends, as a hand or a supervisor."""

    def __init__(self, act: Callable[[], object], period_s: float = 0.05) -> None:
        self._act = act
        self._period_s = period_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.is_set():
            self._act()
            self._end.wait(self._period_s)

    def __enter__(self) -> Holding:
        self._act()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Stop doing it."""
        self._end.set()
        self._thread.join()


def permission_for(*devices: Any) -> Holding:
    """Refresh the permission of devices as the supervisor does."""

    def refresh() -> None:
        for device in devices:
            device.refresh_permission(monotonic_us() + 300_000)

    return Holding(refresh)


def eventually(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Whether a condition comes true before patience ends."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.01)
    return False
