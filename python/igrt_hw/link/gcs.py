"""The General Command Set (GCS 2.0), sans-IO: lines out, answers in, and what an answer must look like (docs/gcs.md).

The dialect has no sequence numbers, no checksum and no session. So there is one question at a time; an answer must
have the form of what was asked, item by item; one that is late, garbled or not asked for means that question and
answer can no longer be told apart, and the line is given up (`LinkLost`) and opened anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from igrt_hw.link.errors import LinkError, LinkLost, LossCause

AXES: Final = ("X", "Y", "Z", "U", "V", "W")
STOP: Final = b"\x18"
"""#24: obeyed at once, wherever it stands in the stream."""
MOTION_STATUS: Final = "\x05"
READY: Final = "\x07"
READY_OCTETS: Final = {177: True, 176: False}
ANSWER_US_MAX: Final = 500_000  # a healthy controller answers within some milliseconds
ANSWER_LEN_MAX: Final = 8_192
CODE_STOPPED: Final = 10
CODES: Final = {
    1: "parameter syntax error",
    2: "unknown command",
    3: "command too long",
    5: "move without reference, or with the servo off",
    7: "position out of limits",
    8: "velocity out of limits",
    9: "pivot point cannot be set while U, V, W are not all 0",
    10: "stopped by command",
    15: "invalid axis identifier",
    17: "parameter out of range",
    22: "axis named twice",
    24: "wrong number of parameters",
    27: "soft limit out of range",
    93: "not allowed while an axis is in motion",
    216: "on a limit switch",
    217: "unexpected strut stop",
    500: "the emergency stop is pressed",
    501: "the emergency stop was pressed; switch the servo on again",
    503: "a collision switch is activated",
    504: "strut following error",
    505: "a sensor signal is not valid",
    508: "move not permitted: the safety chain of the drives is open",
    530: "no such coordinate system",
    532: "coordinate system is in use",
    544: "no pivot point in this coordinate system",
    654: "motor amplifier error",
    657: "safety stop: the safety chain of the drives opened",
    720: "brake error",
}
"""Meanings after the error table of PI's public Python client (pipython)."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


class GcsRefused(LinkError):
    """The controller has refused a command; `code` is what ERR? answered."""

    def __init__(self, command: str, code: int) -> None:
        words = CODES.get(code, "a code that this program does not know")
        super().__init__(f"the controller refused {command!r}: code {code}, {words}")
        self.command = command
        self.code = code


class GarbledAnswer(LinkError):
    """An answer has not the form of what was asked."""


class Form(Enum):
    """The form of an answer."""

    TEXT = auto()
    NUMBERS = auto()
    SWITCHES = auto()
    CODE = auto()
    BITS = auto()
    READY = auto()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: text without LF (or one octet), the form of the answer, and its items."""

    text: str
    form: Form
    items: tuple[str, ...] = ()

    @property
    def octets(self) -> bytes:
        """As it goes over the line."""
        if self.form in (Form.BITS, Form.READY):
            return self.text.encode("ascii")
        return self.text.encode("ascii") + b"\n"


ERROR: Final = Question("ERR?", Form.CODE)
IDENTITY: Final = Question("*IDN?", Form.TEXT)
ENABLED_SYSTEMS: Final = Question("KEN?", Form.TEXT)
MOVING: Final = Question(MOTION_STATUS, Form.BITS)
IS_READY: Final = Question(READY, Form.READY)


def of_axes(mnemonic: str, form: Form = Form.NUMBERS, items: tuple[str, ...] = AXES) -> Question:
    """`mnemonic` asked of all its items by name, so that the answer can be told from any other's."""
    return Question(f"{mnemonic} {' '.join(items)}", form, items)


def command(mnemonic: str, values: Sequence[float], items: tuple[str, ...] = AXES) -> str:
    """`MOV X 1.000000 Y ...`: six decimals, which is a nanometre and below a microdegree.

    Raises `ValueError` for what is not finite or not one value an item.
    """
    if len(values) != len(items) or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{mnemonic}: {tuple(values)} is not {len(items)} finite numbers")
    return mnemonic + "".join(
        f" {item} {value:.6f}" for item, value in zip(items, values, strict=True)
    )


def values_of(text: str, mnemonic: str, items: tuple[str, ...] = AXES) -> tuple[float, ...]:
    """What a `command` says, read back from its text."""
    words = text.split()
    if words[:1] != [mnemonic] or tuple(words[1::2]) != items:
        raise ValueError(f"{text!r} is no {mnemonic} of {' '.join(items)}")
    return tuple(float(word) for word in words[2::2])


Answer = tuple[float, ...] | tuple[str, ...]


class Exchange:
    """One question and its answer. Feed octets until `answer` is there; time is in microseconds."""

    def __init__(self, question: Question, now_us: int) -> None:
        self.question = question
        self._deadline_us = now_us + ANSWER_US_MAX
        self._octets = b""
        self.answer: Answer | None = None

    def feed(self, octets: bytes, now_us: int) -> None:
        """Take octets. Raises `LinkLost` when they cannot be the answer, or when it is late."""
        if self.answer is not None and octets:
            raise LinkLost(LossCause.SEQUENCE, "octets that nobody asked for came after an answer")
        self._octets += octets
        if len(self._octets) > ANSWER_LEN_MAX:
            raise LinkLost(LossCause.SILENT, f"the answer to {self.question.text!r} does not end")
        end = _end_of(self._octets)
        if end is None:
            if now_us >= self._deadline_us:
                raise LinkLost(
                    LossCause.UNANSWERED,
                    f"{self.question.text!r} was not answered within {ANSWER_US_MAX // 1000} ms",
                )
            return
        if end != len(self._octets):
            raise LinkLost(LossCause.SEQUENCE, f"{self.question.text!r} was answered twice")
        try:
            self.answer = parsed(self.question, self._octets)
        except GarbledAnswer as error:
            raise LinkLost(LossCause.SILENT, str(error)) from error


def _end_of(octets: bytes) -> int | None:
    """Where the first answer ends: after an LF that no space precedes."""
    at = 0
    while (at := octets.find(b"\n", at) + 1) > 0:
        if at < 2 or octets[at - 2 : at - 1] != b" ":
            return at
    return None


def parsed(question: Question, octets: bytes) -> Answer:
    """The answer that octets are. Raises `GarbledAnswer` where they have not the form of the question's answer."""
    if question.form is Form.READY:
        if len(octets) == 2 and octets[0] in READY_OCTETS:
            return (float(READY_OCTETS[octets[0]]),)
        raise _garbled(question, octets)
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise _garbled(question, octets) from error
    lines = tuple(text.removesuffix("\n").split(" \n"))
    match question.form:
        case Form.TEXT:
            if not all(line and line.isprintable() for line in lines):
                raise _garbled(question, octets)
            return lines
        case Form.CODE:
            if len(lines) == 1 and re.fullmatch(r"-?\d{1,5}", lines[0]):
                return (float(lines[0]),)
        case Form.BITS:
            if len(lines) == 1 and re.fullmatch(r"[0-9A-Fa-f]{1,4}", lines[0]):
                return (float(int(lines[0], 16)),)
        case _:
            return _items(question, octets, lines)
    raise _garbled(question, octets)


def _items(question: Question, octets: bytes, lines: tuple[str, ...]) -> tuple[float, ...]:
    names, _, words = zip(*(line.partition("=") for line in lines), strict=True)
    good = "[01]" if question.form is Form.SWITCHES else _NUMBER.pattern
    if names != question.items or not all(re.fullmatch(good, word) for word in words):
        raise _garbled(question, octets)
    values = tuple(float(word) for word in words)
    if not all(math.isfinite(value) for value in values):
        raise _garbled(question, octets)
    return values


def _garbled(question: Question, octets: bytes) -> GarbledAnswer:
    return GarbledAnswer(f"{octets[:40]!r} is no answer to {question.text!r}")
