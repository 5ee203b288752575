"""Frames of CLP/1: `00 COBS(header 24 | body | CRC-32C) 00` (protocol.md, section 1).

The CRC runs over an implicit prefix (direction and dictionary hash) that is never sent, so that an
echoed frame, a frame of another schema and a frame with a flipped direction do not validate. What
does not validate is dropped and counted by its reason, and never answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from cobs import cobs
from fastcrc import crc32

from igrt_hw.link.dictionary import HASH, HASH_LEN, is_base_type
from igrt_hw.link.messages import BODY_LEN_MAX, BY_TYPE, Message, MessageError

VERSION: Final = 1
HEADER_LEN: Final = 24
CRC_LEN: Final = 4
FRAME_LEN_MIN: Final = HEADER_LEN + CRC_LEN
FRAME_LEN_MAX: Final = HEADER_LEN + BODY_LEN_MAX + CRC_LEN
# COBS adds one octet for every 254 begun; an empty block (01) may follow a full one at the end.
ENCODED_LEN_MAX: Final = FRAME_LEN_MAX + FRAME_LEN_MAX // 254 + 2

FLAG_RETRANSMISSION: Final = 0x01
FLAG_DEADLINE: Final = 0x02
FLAGS_KNOWN: Final = FLAG_RETRANSMISSION | FLAG_DEADLINE

_HEADER: Final = struct.Struct("<BBHIHHHBBII")
_CRC: Final = struct.Struct("<I")
_BODY_LEN_AT: Final = struct.Struct("<xxH")


class Direction(StrEnum):
    """Which way a frame goes; the letter is the first octet of the CRC prefix."""

    HOST_TO_DEVICE = "H"
    DEVICE_TO_HOST = "D"


class DeviceKind(IntEnum):
    """The kind of device a frame is for, or comes from."""

    COUCH = 1
    IMAGER = 2
    PENDANT = 3


class Drop(StrEnum):
    """Why a receiver dropped what it received."""

    OVERLONG = "longer than any frame"
    COBS = "not COBS"
    SHORT = "shorter than a header and a CRC"
    CRC = "CRC differs"
    LENGTH = "body_len disagrees with what is there"
    VERSION = "another protocol version"
    FLAGS = "reserved flag bits are set"
    DEVICE = "for another kind of device"
    TYPE = "unknown message type"
    BODY = "body does not fit its message"


class Header(NamedTuple):
    """The 24 octets before the body, in order. Times are the low 32 bits of microsecond clocks."""

    version: int
    type: int
    body_len: int
    session: int
    seq: int
    ack: int
    epoch: int
    flags: int
    device: int
    t_us: int
    deadline_us: int


class Frame(NamedTuple):
    """A frame that passed every check, with its decoded message."""

    header: Header
    message: Message


def _prefix_crc(direction: Direction, dictionary_hash: bytes) -> int:
    crc: int = crc32.iscsi(direction.value.encode() + dictionary_hash)
    return crc


_header_of: Final = Header._make
_frame_of: Final = Frame._make
_CODECS: Final = {
    direction: {
        kind: known.CODEC for kind, known in BY_TYPE.items() if known.SPEC.direction == direction
    }
    for direction in Direction
}

# CRC of the prefix, by direction and message type: where the CRC of the content goes on from.
_SEED: Final = {
    direction: tuple(
        _prefix_crc(direction, bytes(HASH_LEN) if is_base_type(kind) else HASH)
        for kind in range(256)
    )
    for direction in Direction
}


def encode_frame(header: Header, body: bytes, direction: Direction) -> bytes:
    """The octets on the line for a header and a packed body; `body_len` is filled in here.

    Raises `MessageError` where a header field does not fit or the body is too long.
    """
    if len(body) > BODY_LEN_MAX:
        raise MessageError(f"a body of {len(body)} octets; the most is {BODY_LEN_MAX}")
    version, kind, _, session, seq, ack, epoch, flags, device, t_us, deadline_us = header
    try:
        content = (
            _HEADER.pack(
                version, kind, len(body), session, seq, ack, epoch, flags, device, t_us, deadline_us
            )
            + body
        )
    except struct.error as error:
        raise MessageError(f"header does not fit: {error} in {header!r}") from error
    crc = crc32.iscsi(content, _SEED[direction][kind])
    encoded: bytes = cobs.encode(content + _CRC.pack(crc))
    return b"\x00" + encoded + b"\x00"


def decode_run(run: bytes, direction: Direction, device: int | None = None) -> Frame | Drop:
    """Decode what stood between two 00. `direction` is the way the frame must have gone.

    `device` drops frames for other kinds of device (the device side); None accepts any.
    """
    if len(run) > ENCODED_LEN_MAX:
        return Drop.OVERLONG
    try:
        content: bytes = cobs.decode(run)
    except cobs.DecodeError:
        return Drop.COBS
    length = len(content)
    if length < FRAME_LEN_MIN:
        return Drop.SHORT
    if length > FRAME_LEN_MAX:
        return Drop.OVERLONG
    crc: int = crc32.iscsi(content[:-CRC_LEN], _SEED[direction][content[1]])
    if crc != int.from_bytes(content[-CRC_LEN:], "little"):
        return Drop.CRC
    return _decode_content(content, direction, device)


def _decode_content(content: bytes, direction: Direction, device: int | None) -> Frame | Drop:
    header = _header_of(_HEADER.unpack_from(content))
    version, kind, body_len, _, _, _, _, flags, of_device, _, _ = header
    if body_len != len(content) - FRAME_LEN_MIN:
        return Drop.LENGTH
    if version != VERSION:
        return Drop.VERSION
    if flags & ~FLAGS_KNOWN:
        return Drop.FLAGS
    if device is not None and of_device != device:
        return Drop.DEVICE
    codec = _CODECS[direction].get(kind)
    if codec is None:
        return Drop.TYPE
    try:
        message = codec.unpack(content[HEADER_LEN:-CRC_LEN])
    except MessageError:
        return Drop.BODY
    return _frame_of((header, message))


class FrameReader:
    """Splits a stream of octets at 00 and decodes each run. Holds at most one unfinished frame."""

    def __init__(self, direction: Direction, device: int | None = None) -> None:
        self._direction = direction
        self._device = device
        self._rest = b""
        self._discarding = False

    def feed(self, data: bytes) -> Iterator[Frame | Drop]:
        """Take octets as they come; give frames and the reasons of drops in the order received."""
        runs = (self._rest + data).split(b"\x00")
        self._rest = runs.pop()
        for run in runs:
            if self._discarding:
                self._discarding = False
            elif run:
                yield decode_run(run, self._direction, self._device)
        if len(self._rest) > ENCODED_LEN_MAX:
            if not self._discarding:
                yield Drop.OVERLONG
            self._discarding = True
        if self._discarding:
            self._rest = b""
