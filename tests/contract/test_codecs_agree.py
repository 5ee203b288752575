"""The driver's codec (Python) and the firmware's (Rust) produce, accept and reject alike.

They share no code. Direction D bodies are the host's business alone: the firmware never decodes
them, so there only the frame is compared.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
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
        spec = BY_TYPE[kind].CODEC.head_len
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
        size = cls.CODEC.head_len + (random.randrange(40) if cls.SPEC.tail else 0)
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


FUZZ_FRAMES = int(os.environ.get("CLP1_FUZZ_FRAMES", "20000"))  # a campaign takes millions
WRONGS = ("nothing", "nothing", "echo", "dictionary", "hash", "length", "version", "flags", "type")
WRONGS += ("cut", "longer", "init")
HEADER = struct.Struct("<BBHIHHHBBII")


def sealed(random: Random) -> tuple[Direction, bytes, str]:
    """A frame under a CRC of its own: one thing about it, or nothing, is not as it should be.

    Gives the direction in which it is offered, its wire and what was done to it.
    """
    direction = random.choice([HOST, DEVICE])
    kind = random.choice(TYPES[direction])
    codec = BY_TYPE[kind].CODEC
    size = codec.head_len + (random.randrange(40) if codec.spec.tail else 0)
    body = bytes(random.choice((0, 1, 255, random.randrange(256))) for _ in range(size))
    if codec.spec.repeat is not None:
        body = bytes(size)
    base = kind < 0x20 or kind in (0x81, 0x82)
    version, body_len, flags, prefix_dictionary = 1, len(body), random.randrange(4), not base
    letter, offered = direction.value, direction
    what = random.choice(WRONGS)
    dictionary = HASH if prefix_dictionary else bytes(8)
    init = 0
    if what == "echo":  # sealed for one direction, heard in the other
        offered = DEVICE if direction is HOST else HOST
    elif what == "dictionary":  # a session message sealed as a base message, and the other way
        dictionary = bytes(8) if prefix_dictionary else HASH
    elif what == "hash":  # another dictionary by one bit
        at = random.randrange(64)
        dictionary = (int.from_bytes(dictionary, "little") ^ 1 << at).to_bytes(8, "little")
    elif what == "length":
        wrong = [0, body_len + 1, body_len - 1, body_len ^ 0x100, 0xFFFF]
        body_len = random.choice([size & 0xFFFF for size in wrong if size != len(body)])
    elif what == "version":
        version = random.choice([0, 2, 255])
    elif what == "flags":
        flags |= 1 << random.randrange(2, 8)
    elif what == "type":
        kind = random.randrange(256)
    elif what == "cut":
        body = body[: random.randrange(len(body) + 1)]
        body_len = len(body)
    elif what == "longer":
        body += random.randbytes(random.randrange(1, 50))
        body_len = len(body)
    elif what == "init":  # a CRC without the prefix
        init = 1
    numbers = [random.choice((0, 1, random.getrandbits(16))) for _ in range(3)]
    content = (
        HEADER.pack(
            version, kind, body_len, random.getrandbits(32), *numbers, flags,
            random.randrange(5), random.getrandbits(32), random.getrandbits(32),
        )
        + body
    )  # fmt: skip
    prefix = b"" if init else letter.encode() + dictionary
    crc = crc32.iscsi(prefix + content)
    return offered, bytes(cobs.encode(content + crc.to_bytes(4, "little"))), what


def damaged(random: Random, wire: bytes) -> bytes:
    """A wire with up to three things done to it, code octets and delimiters among them."""
    octets = bytearray(wire)
    for _ in range(random.choice((0, 0, 0, 1, 1, 2, 3))):
        at = random.randrange(len(octets)) if octets else 0
        act = random.randrange(6)
        if not octets:
            break
        if act == 0:
            octets[at] ^= 1 << random.randrange(8)
        elif act == 1:
            del octets[at]
        elif act == 2:
            octets.insert(at, random.randrange(256))
        elif act == 3:
            octets[at] = random.choice((0, 1, 2, 0xFE, 0xFF))
        elif act == 4:
            octets[at:at] = octets[: random.randrange(1, 9)]
        else:
            octets += random.choice((b"\x01", b"\x01\x01", b"\x02\x00", b"\xff"))
    return bytes(octets)


def test_both_agree_on_frames_that_are_wrong_in_one_thing_under_a_right_crc() -> None:
    """Differential fuzzing past the CRC: direction, dictionary, length, version, flags, type, size."""
    random = Random(int(os.environ.get("CLP1_FUZZ_SEED", "4")))
    heard: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for _ in range(FUZZ_FRAMES):
        direction, wire, what = sealed(random)
        runs = [run for run in damaged(random, wire).split(b"\0") if run]
        tried[what] += 1
        heard[what] += sum(agree(direction, run) for run in runs) > 0
    assert heard["nothing"] > tried["nothing"] / 3
    for what in ("echo", "dictionary", "hash", "length", "version", "flags", "init"):
        assert tried[what] > FUZZ_FRAMES / 30
        assert heard[what] == 0, what
