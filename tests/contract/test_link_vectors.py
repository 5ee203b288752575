"""The Python codec against the shared vectors, and the vectors against their reference encoder."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from igrt_hw.link import dictionary
from igrt_hw.link.frame import (
    Direction,
    Drop,
    Frame,
    FrameReader,
    Header,
    decode_run,
    encode_frame,
)
from igrt_hw.link.messages import BY_TYPE

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"


def load(name: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = json.loads((VECTORS / name).read_text("utf-8"))["frames"]
    return frames


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clp1_reference", VECTORS / "clp1_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = load("clp1_frames.json")
BAD = load("clp1_bad_frames.json")


def header_of(vector: dict[str, Any]) -> Header:
    return Header(
        **({"version": 1, "body_len": 0} | dict.fromkeys(Header._fields[3:], 0) | vector["header"])
    )


def test_shipped_dictionary_is_the_documented_one() -> None:
    text = (ROOT / "docs" / "clp1.dictionary").read_text("utf-8")
    assert text == dictionary.TEXT
    assert (
        dictionary.HASH.hex()
        == json.loads((VECTORS / "clp1_frames.json").read_text())["dictionary_hash"]
    )
    assert f"`{dictionary.HASH.hex()}`" in (ROOT / "docs" / "protocol.md").read_text("utf-8")


def test_committed_vectors_are_what_the_reference_encoder_writes() -> None:
    for name, text in reference().documents().items():
        assert (VECTORS / name).read_text("utf-8") == text, f"{name}: run clp1_reference.py again"


@pytest.mark.parametrize("vector", GOOD, ids=[v["why"] for v in GOOD])
def test_good_frames_are_produced_octet_for_octet(vector: dict[str, Any]) -> None:
    octets = encode_frame(
        header_of(vector), bytes.fromhex(vector["body"]), Direction(vector["direction"])
    )
    assert octets.hex() == vector["frame"]


@pytest.mark.parametrize("vector", GOOD, ids=[v["why"] for v in GOOD])
def test_good_frames_are_accepted_and_their_bodies_pack_again(vector: dict[str, Any]) -> None:
    octets = bytes.fromhex(vector["frame"])
    (frame,) = FrameReader(Direction(vector["direction"])).feed(octets)
    assert isinstance(frame, Frame)
    assert frame.message.SPEC.name == vector["name"]
    body = bytes.fromhex(vector["body"])
    assert frame.header == header_of(vector)._replace(body_len=len(body))
    assert frame.message.pack() == body


def test_every_message_type_is_in_the_vectors_or_has_no_fields_worth_one() -> None:
    seen = {v["name"] for v in GOOD}
    for cls in BY_TYPE.values():
        if len(cls.SPEC.field_names) >= 3:
            assert cls.SPEC.name in seen, cls.SPEC.name


@pytest.mark.parametrize("vector", BAD, ids=[v["why"] for v in BAD])
def test_bad_frames_are_dropped_for_the_written_reason(vector: dict[str, Any]) -> None:
    octets = bytes.fromhex(vector["frame"])
    found = list(FrameReader(Direction(vector["direction"])).feed(octets))
    assert found
    assert not [item for item in found if isinstance(item, Frame)]
    if vector["reason"] != "any":
        assert found[0] is Drop[vector["reason"].upper()]


def test_no_one_or_two_bit_error_on_the_line_makes_another_message() -> None:
    """Exhaustive over a short frame, delimiters included, with a frame before and after it."""
    vector = next(v for v in GOOD if v["why"].startswith("ECHO of a single"))
    octets = bytes.fromhex(vector["frame"])
    honest = decode_run(octets[1:-1], Direction.HOST_TO_DEVICE)
    bits = len(octets) * 8
    singles = [(a,) for a in range(bits)]
    accepted = 0
    for flips in itertools.chain(singles, itertools.combinations(range(bits), 2)):
        damaged = bytearray(octets)
        for bit in flips:
            damaged[bit // 8] ^= 1 << bit % 8
        for item in FrameReader(Direction.HOST_TO_DEVICE).feed(octets + damaged + octets):
            if isinstance(item, Frame):
                accepted += 1
                assert item == honest
    assert accepted > bits  # the frames before and after were heard


def test_no_three_bit_error_on_the_line_makes_another_message() -> None:
    """Every 61st of the 2.5 million; the firmware's codec is asked all of them (corruption.rs)."""
    vector = min(GOOD, key=lambda v: len(v["frame"]))
    octets = bytes.fromhex(vector["frame"])
    whole = int.from_bytes(octets, "little")
    bits = len(octets) * 8
    triples = itertools.islice(itertools.combinations(range(bits), 3), 0, None, 61)
    for a, b, c in triples:
        wire = (whole ^ 1 << a ^ 1 << b ^ 1 << c).to_bytes(len(octets), "little")
        for run in wire.split(b"\0"):
            if run:
                assert not isinstance(decode_run(run, Direction(vector["direction"])), Frame)
