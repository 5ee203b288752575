"""The negative corpus against the firmware as it runs: dropped, counted, never answered."""

import json
from pathlib import Path

import pytest

from igrt_firmware_sim.bench import VirtualRoom

VECTORS = Path(__file__).parents[1] / "vectors"
BAD = [
    vector
    for vector in json.loads((VECTORS / "clp1_bad_frames.json").read_text())["frames"]
    if vector["direction"] == "H"
]
GOOD = json.loads((VECTORS / "clp1_frames.json").read_text())["frames"]


def silent_room():
    room = VirtualRoom(seed=1)
    room.advance_ms(1)
    for line in ("couch", "imager", "pendant"):
        room.read(line)
    return room


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["why"])
def test_no_device_answers_a_bad_frame(vector):
    room = silent_room()
    for line in ("couch", "imager", "pendant"):
        room.write(line, bytes.fromhex(vector["frame"]))
        assert room.read(line) == b"", f"{line} answered: {vector['why']}"
    counters = room.truth()["counters"]
    assert all(line["accepted"] == 0 for line in counters.values())


@pytest.mark.parametrize(
    "vector", [v for v in GOOD if v["direction"] == "H"], ids=lambda vector: vector["why"]
)
def test_every_good_command_is_answered_by_its_device_and_by_no_other(vector):
    room = silent_room()
    answered = []
    for number, line in enumerate(("couch", "imager", "pendant"), start=1):
        room.write(line, bytes.fromhex(vector["frame"]))
        if room.read(line):
            answered.append(number)
    assert answered == [vector["header"]["device"]]


def test_no_device_takes_what_a_device_sends():
    room = silent_room()
    for vector in GOOD:
        if vector["direction"] == "D":
            for line in ("couch", "imager", "pendant"):
                room.write(line, bytes.fromhex(vector["frame"]))
                assert room.read(line) == b""
