"""The hexapod that speaks GCS as a room of the simulator: deterministic, with its faults, in every runner."""

from __future__ import annotations

from typing import Any

import pytest

from igrt_firmware_sim import lockstep
from igrt_firmware_sim._firmware import SimulatorError
from igrt_firmware_sim.bench import VirtualRoom

OPTIONS: dict[str, Any] = {"family": "hexapod", "dialect": "gcs", "setup_error_mm": 0.0}


def asked(room: VirtualRoom, text: bytes) -> bytes:
    room.write("couch", text)
    return room.read("couch")


def moved(seed: int) -> VirtualRoom:
    room = VirtualRoom(seed=seed, **OPTIONS)
    room.enable("enabled")
    room.advance_ms(50)
    room.write("couch", b"SVO X 1\nMOV X 5 U 1\n")
    room.advance_ms(2500)
    return room


def test_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert moved(3).trace_hash() == moved(3).trace_hash()
    assert moved(3).trace_hash() != moved(4).trace_hash()


def test_gcs_is_refused_for_a_couch_that_is_no_hexapod() -> None:
    with pytest.raises(SimulatorError, match="hexapod"):
        VirtualRoom(dialect="gcs")
    with pytest.raises(SimulatorError, match="none of clp1, gcs"):
        VirtualRoom(family="hexapod", dialect="epics")


def test_faults_of_line_plant_and_power_reach_the_second_controller() -> None:
    room = moved(1)
    assert asked(room, b"ONT? X\n") == b"X=1\n"
    room.inject("line.couch", "off")
    assert asked(room, b"POS? X\n") == b""
    room.clear()
    room.inject("axis", "stuck", axis="lateral")
    room.write("couch", b"MOV X 25\n")
    room.advance_ms(3000)
    assert asked(room, b"ERR?\n") == b"504\n"
    room.inject("power.couch", "off")
    room.clear()
    room.advance_ms(20)
    assert asked(room, b"FRF? X\n") == b"X=0\n"


def test_couch_that_is_driven_is_not_at_rest_for_the_imager() -> None:
    room = moved(1)
    assert room.truth()["couch_state"] == 1  # idle
    assert not room.truth()["brakes_engaged"], "the servo is on: the motors hold"
    room.enable("released")
    room.advance_ms(500)
    assert room.truth()["brakes_engaged"]
    assert not room.truth()["beam_gate"]


def test_lockstep_serves_the_dialect() -> None:
    room = VirtualRoom(**OPTIONS)
    answer = lockstep.step(room, {"write": {"couch": b"CSV?\n".hex()}, "advance_us": 1000})
    assert bytes.fromhex(answer["read"]["couch"]) == b"2.0\n"
