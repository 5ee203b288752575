"""A third, slow and obvious encoder of CLP/1 frames, written from docs/protocol.md alone.

It shares nothing with the two codecs it judges: its own CRC bit by bit, its own COBS octet by octet.
Run it to write `clp1_frames.json` and `clp1_bad_frames.json` anew; a test asserts that the committed
files are what it writes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DICTIONARY = HERE.parent.parent / "docs" / "clp1.dictionary"


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit: reflected 0x1EDC6F41, init and xorout FFFFFFFF."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def cobs(data: bytes) -> bytes:
    """COBS, block by block; a full block at the very end is not followed by an empty one."""
    out = bytearray()
    at = 0
    while True:
        block = bytearray()
        while at < len(data) and data[at] != 0 and len(block) < 254:
            block.append(data[at])
            at += 1
        out.append(len(block) + 1)
        out += block
        if at == len(data):
            return bytes(out)
        if len(block) < 254:  # a zero ended this block
            at += 1
            if at == len(data):
                out.append(1)
                return bytes(out)


def dictionary_hash() -> bytes:
    """First 8 octets of SHA-256 over the dictionary without its comment lines."""
    lines = [x for x in DICTIONARY.read_text().splitlines() if not x.startswith("#")]
    return hashlib.sha256(b"".join(x.encode() + b"\n" for x in lines)).digest()[:8]


def content(fields: dict[str, Any], body: bytes) -> bytes:
    """Header and body; `body_len` and `version` may be given to make them wrong."""

    def u(name: str, octets: int, default: int = 0) -> bytes:
        return int(fields.get(name, default)).to_bytes(octets, "little")

    return (
        u("version", 1, 1)
        + u("type", 1)
        + u("body_len", 2, len(body))
        + u("session", 4)
        + u("seq", 2)
        + u("ack", 2)
        + u("epoch", 2)
        + u("flags", 1)
        + u("device", 1)
        + u("t_us", 4)
        + u("deadline_us", 4)
        + body
    )


def crc_of(data: bytes, direction: str, type_code: int, schema: bytes | None = None) -> int:
    """The CRC over the implicit prefix and the content."""
    base = type_code < 0x20 or type_code in (0x81, 0x82)
    prefix = direction.encode() + (
        (bytes(8) if base else dictionary_hash()) if schema is None else schema
    )
    return crc32c(prefix + data)


def frame(
    direction: str, fields: dict[str, Any], body: bytes, schema: bytes | None = None
) -> bytes:
    """A whole frame, delimiters included."""
    data = content(fields, body)
    crc = crc_of(data, direction, fields["type"], schema)
    return b"\0" + cobs(data + crc.to_bytes(4, "little")) + b"\0"


def i32(*values: int) -> bytes:
    """Signed 32-bit integers."""
    return b"".join(v.to_bytes(4, "little", signed=True) for v in values)


def u32(*values: int) -> bytes:
    """Unsigned 32-bit integers."""
    return b"".join(v.to_bytes(4, "little") for v in values)


def u64(*values: int) -> bytes:
    """Unsigned 64-bit integers."""
    return b"".join(v.to_bytes(8, "little") for v in values)


SESSION = {"session": 0x1234ABCD, "seq": 7, "epoch": 3, "device": 1, "t_us": 0x01020304}
TARGET = (12_345, -250_000, 1, -1_500_000, 0, 2_147_483_647)


def good_frames() -> list[dict[str, Any]]:
    """Frames that both codecs must produce and accept."""
    digest = dictionary_hash()
    cases: list[tuple[str, str, dict[str, Any], bytes, str]] = []

    def add(why: str, name: str, direction: str, fields: dict[str, Any], body: bytes) -> None:
        cases.append((why, name, {"direction": direction, **fields}, body, direction))

    s = SESSION
    late = {"flags": 2, "deadline_us": 0xFFFFFFF0}
    add(
        "STOP before any session: everything but type, device and body is zero",
        "STOP",
        "H",
        {"type": 0x01, "device": 1},
        bytes([2]) + u32(0xDEADBEEF),
    )
    add(
        "STOP in a session, with an epoch and a nonce of zero octets",
        "STOP",
        "H",
        {"type": 0x01, **s},
        bytes([0]) + u32(0x00010000),
    )
    add(
        "STOP_ACK is a base message although its type is above 20",
        "STOP_ACK",
        "D",
        {"type": 0x81, **s, "seq": 0, "epoch": 4},
        u32(0xDEADBEEF) + b"\x04\x00" + b"\x05",
    )
    add(
        "HELLO carries the dictionary hash in its body, not in its CRC prefix",
        "HELLO",
        "H",
        {"type": 0x02, "device": 2},
        b"\x01\x01" + u32(99) + digest,
    )
    add(
        "HELLO_ACK of a couch",
        "HELLO_ACK",
        "D",
        {"type": 0x82, **s, "seq": 0, "ack": 1},
        b"\x00\x01\x01\x01"
        + u32(99, 0xB007, 0x1234ABCD)
        + digest
        + bytes(range(8))
        + bytes(8)
        + (4124).to_bytes(2, "little")
        + b"\x04\x06"
        + u64(2**40 + 5),
    )
    add(
        "status of a couch: negative positions, unused octets zero",
        "COUCH_STATUS",
        "D",
        {"type": 0x10, **s, "seq": 65535},
        u64(2**33)
        + b"\x04\x04\x00\x06"
        + u32(0x2C, 0, 77, 500_000)
        + b"\x31\x00\xff\xff"
        + i32(*TARGET)
        + i32(*TARGET)
        + i32(0, 0, 0, 0, 0, 0),
    )
    add(
        "status of an imager without a session",
        "IMAGER_STATUS",
        "D",
        {"type": 0x11, "device": 2, "seq": 1},
        u64(1_000_000)
        + b"\x00\x00\x01\x02"
        + u32(0x1D, 0)
        + i32(-179_999_999, 0, 0)
        + u32(0, 12, 3),
    )
    add(
        "status of a pendant",
        "PENDANT_STATUS",
        "D",
        {"type": 0x12, "device": 3, "seq": 2},
        u64(5) + b"\x01\x03\x00\x00" + u32(0, 0) + b"\x01\x00\x0a\x00",
    )
    add(
        "REFUSED with a sentence that is not ASCII",
        "REFUSED",
        "D",
        {"type": 0x1F, **s, "ack": 7},
        b"\x07\x23\x07\x00\x08\x00" + "pitch 3.2° is above its limit of 3.0°".encode(),
    )
    add("ECHO without payload: the shortest session message", "ECHO", "H", {"type": 0x20, **s}, b"")
    add("ECHO of a single zero octet", "ECHO", "H", {"type": 0x20, **s}, b"\x00")
    add(
        "ECHO that makes a COBS block of exactly 254 octets end the frame or not",
        "ECHO",
        "H",
        {
            "type": 0x20,
            "session": 0x11111111,
            "seq": 0x0101,
            "ack": 0x0101,
            "epoch": 0x0101,
            "device": 1,
            "t_us": 0x01010101,
            "deadline_us": 0x01010101,
            "flags": 3,
        },
        b"\x55" * 400,
    )
    add(
        "ECHO of all octets, the longest body allowed",
        "ECHO",
        "H",
        {"type": 0x20, **s},
        bytes(i & 0xFF for i in range(4124)),
    )
    add(
        "ECHO_REPLY, direction device to host",
        "ECHO_REPLY",
        "D",
        {"type": 0xA0, **s, "ack": 8},
        b"hello",
    )
    add(
        "LEASE with its deadline just before the device's 32-bit clock wraps",
        "LEASE",
        "H",
        {"type": 0x21, **s, "seq": 0, **late},
        u32(1) + u64(2**50),
    )
    add(
        "LEASE_ACK with four times",
        "LEASE_ACK",
        "D",
        {"type": 0xA1, **s, "seq": 0},
        u32(1) + u64(2**50, 10, 12),
    )
    add("LIMITS_READ has no body", "LIMITS_READ", "H", {"type": 0x22, **s}, b"")
    add(
        "LIMITS_REPLY of two axes, one of each kind",
        "LIMITS_REPLY",
        "D",
        {"type": 0xA2, **s},
        b"\x02"
        + b"\x00"
        + i32(-250_000, 250_000)
        + u32(50_000, 100_000, 500_000)
        + b"\x01"
        + i32(-3_000_000, 3_000_000)
        + u32(1_000_000, 2_000_000, 8_000_000),
    )
    head = bytes(range(32)) + bytes(range(8)) + u32(120_000, 1_000_000)
    add(
        "PLAN_UPLOAD with one waypoint",
        "PLAN_UPLOAD",
        "H",
        {"type": 0x23, **s, **late},
        head + b"\x06\x01" + i32(0, 0, 0, 0, 0, 0) + u32(500, 200_000) + i32(*TARGET),
    )
    add(
        "PLAN_UPLOAD with eight waypoints and a retransmission flag",
        "PLAN_UPLOAD",
        "H",
        {"type": 0x23, **s, "flags": 3, "deadline_us": 1},
        head + b"\x06\x08" + i32(*TARGET) + u32(1, 1) + i32(*TARGET) * 8,
    )
    add(
        "PLAN_REPLY",
        "PLAN_REPLY",
        "D",
        {"type": 0xA3, **s},
        hashlib.sha256(b"plan").digest() + u32(0xFEDCBA98) + i32(*TARGET) + u64(2**40) + u32(1234),
    )
    add(
        "EXECUTE in session number 1 with the highest sequence number",
        "EXECUTE",
        "H",
        {"type": 0x24, "session": 1, "seq": 65535, "epoch": 65535, "device": 1, **late},
        hashlib.sha256(b"plan").digest() + u32(0xFEDCBA98) + bytes(16),
    )
    add("JOG backwards", "JOG", "H", {"type": 0x28, **s, **late}, b"\x02\x00\x00\x00" + i32(-5000))
    add(
        "TECHNIQUE with a field that lies off the axis",
        "TECHNIQUE",
        "H",
        {"type": 0x42, **s, "device": 2},
        (1000).to_bytes(2, "little")
        + b"\x01\x02"
        + (1000).to_bytes(2, "little")
        + u32(20_000)
        + i32(-130_000, 10_000, -1, 100_000),
    )
    add(
        "EXPOSE at a negative angle",
        "EXPOSE",
        "H",
        {"type": 0x44, **s, "device": 2, **late},
        b"\x00\x00\x00\x00" + i32(-90_000_000),
    )
    add(
        "FRAME_INFO_REPLY",
        "FRAME_INFO_REPLY",
        "D",
        {"type": 0xC5, **s, "device": 2},
        b"\x00\x01\x10"
        + u32(5)
        + (768).to_bytes(2, "little")
        + (1024).to_bytes(2, "little")
        + u32(1_572_864)
        + hashlib.sha256(b"frame").digest()
        + u64(10, 20)
        + (1000).to_bytes(2, "little")
        + (1000).to_bytes(2, "little")
        + u32(2000)
        + i32(90_000_000, 1, -1)
        + u32(40, 1_000_000, 1_536_000, 388_000, 20_000)
        + b"\x02"
        + u32(3),
    )
    add(
        "PANEL_MODE to fluoroscopic mode at 15 frames a second",
        "PANEL_MODE",
        "H",
        {"type": 0x47, **s, "device": 2, **late},
        b"\x02\x00\x00\x00" + u32(66_667),
    )
    add(
        "PANEL_MODE_REPLY",
        "PANEL_MODE_REPLY",
        "D",
        {"type": 0xC7, **s, "device": 2},
        u64(2**33) + u32(36_000),
    )
    add(
        "SERIES of the most frames there are, at half a turn",
        "SERIES",
        "H",
        {"type": 0x48, **s, "device": 2, **late},
        b"\xff\xff\x00\x00" + i32(180_000_000),
    )
    add(
        "SERIES_REPLY",
        "SERIES_REPLY",
        "D",
        {"type": 0xC8, **s, "device": 2},
        u32(77),
    )
    add(
        "FRAME_READ of a stored frame",
        "FRAME_READ",
        "H",
        {"type": 0x46, **s, "device": 2},
        u32(0xFFFF0001, 1_568_768) + (4096).to_bytes(2, "little"),
    )
    add(
        "FRAME_READ_REPLY with a full block of zeros: COBS at its longest runs of 01",
        "FRAME_READ_REPLY",
        "D",
        {"type": 0xC6, **s, "device": 2},
        b"\x00" + (4096).to_bytes(2, "little") + u32(1, 0) + bytes(4096),
    )
    return [
        {
            "why": why,
            "name": name,
            "direction": fields["direction"],
            "header": {k: v for k, v in sorted(fields.items()) if k != "direction"},
            "body": body.hex(),
            "frame": frame(direction, fields, body).hex(),
        }
        for why, name, fields, body, direction in cases
    ]


def bad_frames() -> list[dict[str, Any]]:
    """Octets that both codecs must drop. `reason` is the first check that fails."""
    s = {"type": 0x20, **SESSION}
    good = content(s, b"abc")
    crc = crc_of(good, "H", 0x20).to_bytes(4, "little")
    whole = frame("H", s, b"abc")
    cases: list[dict[str, Any]] = []

    def add(why: str, reason: str, octets: bytes, direction: str = "H") -> None:
        cases.append({"why": why, "reason": reason, "direction": direction, "frame": octets.hex()})

    def sealed(data: bytes, direction: str = "H", type_code: int = 0x20) -> bytes:
        return b"\0" + cobs(data + crc_of(data, direction, type_code).to_bytes(4, "little")) + b"\0"

    add("nothing but noise without structure", "cobs", b"\0\xff\x01\x02\x03\0")
    add("a COBS code points beyond the end of the run", "cobs", b"\0" + b"\x20abc" + b"\0")
    add("a valid frame cut off in the middle", "cobs", whole[: len(whole) // 2] + b"\0")
    add("a valid frame whose first octet was lost", "any", b"\0" + whole[2:])
    add("27 octets: one fewer than header and CRC", "short", b"\0" + cobs(bytes(27)) + b"\0")
    add("a single octet", "short", b"\0\x01\0")
    add(
        "the CRC is that of the empty prefix: a sender that forgot direction and dictionary",
        "crc",
        b"\0" + cobs(good + crc32c(good).to_bytes(4, "little")) + b"\0",
    )
    add("the CRC is big-endian", "crc", b"\0" + cobs(good + crc[::-1]) + b"\0")
    add(
        "the CRC is CRC-32 of IEEE 802.3, not Castagnoli",
        "crc",
        b"\0" + cobs(good + zlib.crc32(good).to_bytes(4, "little")) + b"\0",
    )
    add("an echo of our own frame: it went the other way", "crc", whole, "D")
    add(
        "a session message sealed with the all-zero hash of base messages",
        "crc",
        frame("H", s, b"abc", bytes(8)),
    )
    add(
        "a session message of another dictionary: one bit of the hash differs",
        "crc",
        frame("H", s, b"abc", bytes([dictionary_hash()[0] ^ 1]) + dictionary_hash()[1:]),
    )
    add(
        "a base message sealed with the dictionary hash",
        "crc",
        frame("H", {"type": 0x01, "device": 1}, bytes(5), dictionary_hash()),
    )
    add(
        "one bit of the session differs from what was sealed",
        "crc",
        b"\0" + cobs(bytes([*good[:4], good[4] ^ 0x10, *good[5:]]) + crc) + b"\0",
    )
    add(
        "a zero octet was appended after the CRC: the hole of checksums without a final inversion",
        "crc",
        b"\0" + cobs(good + crc + b"\0") + b"\0",
    )
    add("a zero octet was put before the header", "crc", b"\0" + cobs(b"\0" + good + crc) + b"\0")
    add(
        "body_len says one more than there is",
        "length",
        sealed(content({**s, "body_len": 4}, b"abc")),
    )
    add(
        "body_len says one fewer than there is",
        "length",
        sealed(content({**s, "body_len": 2}, b"abc")),
    )
    add(
        "body_len is zero although there is a body",
        "length",
        sealed(content({**s, "body_len": 0}, b"abc")),
    )
    add("a body of 4125 octets, one more than the most", "overlong", frame("H", s, b"\x55" * 4125))
    add("version 0", "version", sealed(content({**s, "version": 0}, b"abc")))
    add(
        "version 2, of a future that this end does not know",
        "version",
        sealed(content({**s, "version": 2}, b"abc")),
    )
    for bit in range(2, 8):
        add(
            f"reserved flag bit {bit} is set",
            "flags",
            sealed(content({**s, "flags": 1 << bit}, b"abc")),
        )
    add("type 00", "type", sealed(content({**s, "type": 0x00}, b""), "H", 0x00))
    add("type 7f, in no dictionary", "type", sealed(content({**s, "type": 0x7F}, b""), "H", 0x7F))
    add(
        "a reply type going from host to device",
        "type",
        sealed(content({**s, "type": 0xA0}, b""), "H", 0xA0),
    )
    add(
        "a command type going from device to host",
        "type",
        sealed(content({**s, "type": 0x20}, b""), "D", 0x20),
        "D",
    )
    add(
        "STOP with four octets instead of five",
        "body",
        sealed(content({**s, "type": 0x01}, bytes(4)), "H", 0x01),
    )
    add(
        "STOP with six octets instead of five",
        "body",
        sealed(content({**s, "type": 0x01}, bytes(6)), "H", 0x01),
    )
    add("LIMITS_READ with a body", "body", sealed(content({**s, "type": 0x22}, b"\0"), "H", 0x22))
    add("LEASE without its time", "body", sealed(content({**s, "type": 0x21}, bytes(4)), "H", 0x21))
    plan = bytes(48) + b"\x06\x02" + bytes(24) + bytes(8)
    add(
        "PLAN_UPLOAD says two waypoints and has one",
        "body",
        sealed(content({**s, "type": 0x23}, plan + bytes(24)), "H", 0x23),
    )
    add(
        "PLAN_UPLOAD says two waypoints and has three",
        "body",
        sealed(content({**s, "type": 0x23}, plan + bytes(72)), "H", 0x23),
    )
    add(
        "PLAN_UPLOAD with half a waypoint",
        "body",
        sealed(content({**s, "type": 0x23}, plan + bytes(36)), "H", 0x23),
    )
    add(
        "FRAME_READ without its count",
        "body",
        sealed(content({**s, "type": 0x46, "device": 2}, bytes(8)), "H", 0x46),
    )
    add(
        "TECHNIQUE as it was with mAs in place of current and time: two octets short",
        "body",
        sealed(content({**s, "type": 0x42, "device": 2}, bytes(24)), "H", 0x42),
    )
    add(
        "SERIES without its source angle",
        "body",
        sealed(content({**s, "type": 0x48, "device": 2}, bytes(4)), "H", 0x48),
    )
    add(
        "LIMITS_REPLY says six axes and has none",
        "body",
        sealed(content({**s, "type": 0xA2}, b"\x06"), "D", 0xA2),
        "D",
    )
    add(
        "COUCH_STATUS one octet short",
        "body",
        sealed(content({**s, "type": 0x10}, bytes(107)), "D", 0x10),
        "D",
    )
    return cases


def documents() -> dict[str, str]:
    """File name to text, as they are committed."""
    about = "CLP/1 frames by tests/vectors/clp1_reference.py, from docs/protocol.md. "
    good = {
        "about": about
        + "header: fields that are not named are 0, version is 1, body_len is that of "
        "the body. frame: with both delimiters.",
        "dictionary_hash": dictionary_hash().hex(),
        "frames": good_frames(),
    }
    bad = {
        "about": about
        + "A receiver of `direction` must drop every one and answer none. `reason` is "
        "the first check of protocol.md section 1 that fails; `any`: which one depends on chance.",
        "frames": bad_frames(),
    }
    return {
        "clp1_frames.json": json.dumps(good, indent=1, ensure_ascii=False) + "\n",
        "clp1_bad_frames.json": json.dumps(bad, indent=1, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for name, text in documents().items():
        (HERE / name).write_text(text)
