"""The driver's codec (Python) and the firmware's (Rust) produce, accept and reject alike.

They share no code. Direction D bodies are the host's business alone: the firmware never decodes
them, so there only the frame is compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cobs import cobs
from fastcrc import crc32
from hypothesis import given, settings
from hypothesis import strategies as st

from igrt_firmware_sim import _firmware
from igrt_hw.link.dictionary import HASH
from igrt_hw.link.frame import (
    ENCODED_LEN_MAX,
    Direction,
    Drop,
    Frame,
    Header,
    decode_run,
    encode_frame,
)
from igrt_hw.link.messages import BODY_LEN_MAX, BY_TYPE

VECTORS = Path(__file__).parents[1] / "vectors"
GOOD: list[dict[str, Any]] = json.loads((VECTORS / "clp1_frames.json").read_text())["frames"]
BAD: list[dict[str, Any]] = json.loads((VECTORS / "clp1_bad_frames.json").read_text())["frames"]
HOST, DEVICE = Direction.HOST_TO_DEVICE, Direction.DEVICE_TO_HOST
TYPES = {d: [t for t, c in BY_TYPE.items() if c.SPEC.direction == d.value] for d in Direction}

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
directions = st.sampled_from([HOST, DEVICE])
fields = st.tuples(u8, u32, u16, u16, u16, st.integers(0, 3), u8, u32, u32)


def header(values: tuple[int, ...], body_len: int = 0) -> Header:
    return Header(1, values[0], body_len, *values[1:])


def agree(direction: Direction, run: bytes) -> bool:
    """Asserts that both accept (and read the same) or both drop; says which."""
    python = decode_run(run, direction)
    rust = _firmware.decode_frame(direction.value, run)
    if direction is DEVICE and python in (Drop.TYPE, Drop.BODY):
        return False  # the frame was accepted; the message is nothing to the firmware
    assert isinstance(python, Frame) == (rust is not None), (run.hex(), python, rust)
    if isinstance(python, Frame) and rust is not None:
        values, body = rust
        assert header(values, len(body)) == python.header
        assert body == python.message.pack()
        return True
    return False


@pytest.mark.parametrize("vector", GOOD, ids=[v["why"] for v in GOOD])
def test_the_firmware_produces_and_accepts_the_good_vectors(vector: dict[str, Any]) -> None:
    h = vector["header"]
    names = ("type", "session", "seq", "ack", "epoch", "flags", "device", "t_us", "deadline_us")
    values = tuple(h.get(name, 0) for name in names)
    octets = bytes.fromhex(vector["frame"])
    body = bytes.fromhex(vector["body"])
    assert _firmware.encode_frame(vector["direction"], values, body) == octets
    assert _firmware.decode_frame(vector["direction"], octets[1:-1]) == (values, body)


@pytest.mark.parametrize("vector", BAD, ids=[v["why"] for v in BAD])
def test_both_drop_the_bad_vectors(vector: dict[str, Any]) -> None:
    direction = Direction(vector["direction"])
    for run in bytes.fromhex(vector["frame"]).split(b"\0"):
        if run:
            assert not agree(direction, run)


@settings(max_examples=300)
@given(directions, fields, st.binary(max_size=600))
def test_both_write_the_same_octets(
    direction: Direction, values: tuple[int, ...], body: bytes
) -> None:
    python = encode_frame(header(values), body, direction)
    rust = _firmware.encode_frame(direction.value, values, body)
    # an empty block (01) after a full one at the very end is allowed, and means nothing
    assert cobs.decode(python[1:-1]) == cobs.decode(rust[1:-1])
    assert python == rust or rust == python[:-1] + b"\x01\x00"


@settings(max_examples=400)
@given(directions, fields, st.binary(max_size=300), st.data())
def test_both_accept_and_drop_sealed_frames_alike(
    direction: Direction, values: tuple[int, ...], body: bytes, data: st.DataObject
) -> None:
    """CRC right, everything else by chance: known types with bodies near their size, and flags."""
    if data.draw(st.booleans()):
        kind = data.draw(st.sampled_from(TYPES[direction]))
        spec = BY_TYPE[kind].CODEC._head.size
        size = max(0, spec + data.draw(st.sampled_from([0, 0, 0, -1, 1, 24, 48])))
        body = (body + bytes(size))[:size]
        values = (kind, *values[1:])
    octets = encode_frame(header(values), body, direction)
    agree(direction, octets[1:-1])


@settings(max_examples=400)
@given(directions, st.binary(min_size=1, max_size=80), st.booleans())
def test_both_accept_and_drop_anything_alike(
    direction: Direction, noise: bytes, sealed: bool
) -> None:
    """Noise; and noise under a right CRC, so that the checks behind it are reached as well."""
    if sealed:
        base = len(noise) > 1 and (noise[1] < 0x20 or noise[1] in (0x81, 0x82))
        crc = crc32.iscsi(direction.value.encode() + (bytes(8) if base else HASH) + noise)
        noise = cobs.encode(noise + crc.to_bytes(4, "little"))
    for run in noise.split(b"\0"):
        if run:
            agree(direction, run)


def test_both_agree_on_every_damage_of_ten_thousand_frames() -> None:
    """Random types and bodies, damaged on the wire: flipped, cut, doubled, with octets put in."""
    random = Random(20261122)
    accepted = 0
    for _ in range(10_000):
        direction = random.choice([HOST, DEVICE])
        kind = random.choice(TYPES[direction])
        cls = BY_TYPE[kind]
        size = cls.CODEC._head.size + (random.randrange(40) if cls.SPEC.tail else 0)
        values = (kind, random.getrandbits(32), 1, 2, 3, random.randrange(4), 1, 4, 5)
        body = bytes(random.choice((0, 1, 255, random.randrange(256))) for _ in range(size))
        if cls.SPEC.repeat is not None:
            body = bytes(size)  # a count of zero
        wire = bytearray(encode_frame(header(values), body, direction))
        for _ in range(random.randrange(3)):
            at = random.randrange(len(wire))
            damage = random.randrange(4)
            if damage == 0:
                wire[at] ^= 1 << random.randrange(8)
            elif damage == 1:
                del wire[at]
            elif damage == 2:
                wire.insert(at, random.randrange(256))
            else:
                wire[at:at] = wire[: random.randrange(1, 9)]
        accepted += sum(agree(direction, run) for run in bytes(wire).split(b"\0") if run)
    assert 2_000 < accepted < 9_000


@pytest.mark.parametrize("size", [*range(222, 230), 476, 480, 481, 730, 4123, BODY_LEN_MAX])
@pytest.mark.parametrize("fill", [0x00, 0x55])
def test_block_borders_and_the_longest_body_agree(size: int, fill: int) -> None:
    ones = (0x20, *(0x01010101, 0x0101, 0x0101, 0x0101, 3, 1, 0x01010101, 0x01010101))
    body = bytes([fill]) * size
    octets = encode_frame(header(ones), body, HOST)
    assert agree(HOST, octets[1:-1])
    assert _firmware.decode_frame("H", _firmware.encode_frame("H", ones, body)[1:-1]) is not None
    assert isinstance(decode_run(_firmware.encode_frame("H", ones, body)[1:-1], HOST), Frame)


@pytest.mark.parametrize("size", [ENCODED_LEN_MAX - 1, ENCODED_LEN_MAX, ENCODED_LEN_MAX + 1, 9000])
def test_both_drop_what_is_too_long(size: int) -> None:
    assert not agree(HOST, b"\x01" * size)
    assert not agree(HOST, (b"\xff" + b"\x55" * 254) * (size // 255 + 1))
