"""Whether the terminal can draw pixels: it is asked, and believed only if it answers in time. Nothing is guessed.

The question goes out before the app starts, because afterwards the app's own reader takes every answer.
"""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from enum import StrEnum

WAIT_S = (
    1.0  # an answer ends the wait; only a terminal that never answers costs a second of the start
)
QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""Kitty's question, then the one that every terminal answers (primary device attributes): its answer ends the wait."""
_KITTY = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
SIXEL_ATTRIBUTE = b"4"


class Graphics(StrEnum):
    """What the terminal said that it can draw."""

    NONE = "half blocks"
    SIXEL = "sixel"
    KITTY = "Kitty graphics"


def understood(answer: bytes) -> Graphics:
    """What an answer says; half blocks for anything that is not a clear yes."""
    if _KITTY.search(answer):
        return Graphics.KITTY
    found = _ATTRIBUTES.search(answer)
    if found is not None and SIXEL_ATTRIBUTE in found.group(1).split(b";"):
        return Graphics.SIXEL
    return Graphics.NONE


def ask(fd_in: int, fd_out: int, wait_s: float = WAIT_S) -> Graphics:
    """Ask the terminal behind the two descriptors; half blocks if it is none, or does not answer within `wait_s`."""
    if not (os.isatty(fd_in) and os.isatty(fd_out)):
        return Graphics.NONE
    kept = termios.tcgetattr(fd_in)
    answer = b""
    try:
        tty.setcbreak(fd_in)
        mode = termios.tcgetattr(fd_in)
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(fd_in, termios.TCSANOW, mode)
        os.write(fd_out, QUESTION)
        until = time.monotonic() + wait_s
        while not _ATTRIBUTES.search(answer):
            left = until - time.monotonic()
            if left <= 0.0 or not select.select([fd_in], [], [], left)[0]:
                break
            answer += os.read(fd_in, 256)
    except OSError:
        return Graphics.NONE
    finally:
        termios.tcsetattr(fd_in, termios.TCSAFLUSH, kept)
    return understood(answer)
