"""A leash: run a command in a process group of its own, and end the group when whoever holds the leash is gone.

`python -m igrt_hw.demo.leash COMMAND ...`: the holder keeps the other end of standard input. End of file
there means that the holder has died, however it died; then the command gets SIGTERM, and SIGKILL if it is
still there after three seconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 3.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """In a child, before exec: ask the kernel for SIGTERM when the parent dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(child: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if child.poll() is not None:
            return
        child.send_signal(sign)
        ends = time.monotonic() + patience_s
        while child.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)


def _holder_is_gone(wait_s: float) -> bool:
    ready, _, _ = select.select([0], [], [], wait_s)
    return bool(ready) and os.read(0, 4096) == b""


def main() -> int:
    """Run the command of the arguments; its exit code, or 128 + signal, is this one's."""
    asked_to_end = False

    def on_terminate(_number: int, _frame: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the holder, who then lets go
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        while child.poll() is None:
            if asked_to_end or _holder_is_gone(0.1):
                _end(child)
    finally:
        if child.poll() is None:
            child.kill()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
