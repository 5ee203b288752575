"""An app whose terminal has gone must not go on as if somebody were looking."""

import os
import pty
import threading

from igrt_tui import hangup


def test_a_terminal_that_is_there_is_left_alone() -> None:
    master, slave = pty.openpty()
    gone = threading.Event()
    hangup.watch(slave, gone.set)
    os.write(master, b"keys do not count as going\n")
    assert not gone.wait(0.3)
    os.close(master)
    assert gone.wait(5.0)
    os.close(slave)


def test_a_closed_window_is_noticed() -> None:
    master, slave = pty.openpty()
    gone = threading.Event()
    hangup.watch(slave, gone.set)
    os.close(master)
    assert gone.wait(5.0)
    os.close(slave)
