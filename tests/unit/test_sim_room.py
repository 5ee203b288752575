"""What the simulated room promises to a bench, in virtual time."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from igrt_firmware_sim import SimulatorError, control, lockstep, scenario
from igrt_firmware_sim._firmware import fault_table, seeded_setup_error
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, Host, RefusedError
from igrt_firmware_sim.patient import load
from igrt_firmware_sim.recording import RecordedRoom, replay

THORAX = Path(__file__).parents[2] / "python" / "igrt_hw" / "demo" / "thorax"


@pytest.fixture(scope="module")
def patient():
    return load(THORAX)


@pytest.fixture(scope="module")
def thorax_host(patient):
    host = Host(VirtualRoom(seed=3, patient=patient))
    for line in ("couch", "imager", "pendant"):
        host.hello(line)
    host.advance_ms(60)
    return host


def test_the_patient_is_the_ct_without_its_table(patient):
    assert patient.hu.shape == (133, 256, 256)
    assert patient.spacing_mm == pytest.approx((1.40625, 1.40625, 2.5))
    assert patient.isocentre_mm == (-68.0, 40.0, -185.0)
    assert patient.couch == (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
    inside = patient.hu > -1000
    assert 0.2 < inside.mean() < 0.6
    # The table lies below the back: dorsal rows beyond the body are air.
    assert not inside[:, int((150 + 171.3) / 1.40625) :, :].any()


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(SimulatorError, match="CT slices"):
        load(tmp_path)
    with pytest.raises(SimulatorError, match="not a folder"):
        load(tmp_path / "nowhere")


def test_setup_errors_stay_within_their_bounds_and_differ_by_seed():
    errors = [seeded_setup_error(seed, 12.0, 2.0) for seed in range(300)]
    shifts = [math.hypot(*error[:3]) for error in errors]
    assert max(shifts) <= 12.0
    assert max(shifts) > 10.0
    assert min(shifts) < 2.0
    assert max(abs(v) for error in errors for v in error[3:]) <= 2.0
    assert len({tuple(error) for error in errors}) == 300


def test_the_truth_starts_with_the_inverse_of_the_setup_error():
    room = VirtualRoom(seed=5)
    residual = room.truth()["residual"]
    error = seeded_setup_error(5, 12.0, 2.0)
    assert residual["distance_mm"] == pytest.approx(math.hypot(*error[:3]), abs=1e-9)
    undo = [-v for v in error]
    names = list(residual)[:6]
    # First order in the angles: the two differ by their product, below 12 mm x 2 deg.
    for name, value in zip(names, undo, strict=True):
        assert residual[name] == pytest.approx(value, abs=0.45)


def test_a_frame_comes_over_the_line_whole_and_shows_the_patient(thorax_host):
    number = thorax_host.expose(90.0, mas=3.0, binning=4, field_mm=90)
    counts = thorax_host.fetch(number).astype(float)
    flood = thorax_host.fetch(FLOOD).astype(float)
    offset = thorax_host.fetch(FLOOD_OFFSET).astype(float)
    assert counts.shape == (192, 256)
    live = flood - offset > 5000
    assert 0.98 < live.mean() < 1.0
    transmitted = np.where(
        live, (counts - offset) / np.where(live, flood - offset, 1.0) * 2.5 / 3.0, np.nan
    )
    middle = transmitted[70:120, 90:160]
    assert 0.001 < np.nanmedian(middle) < 0.2
    # Outside the field there is scatter and leakage only, far below an open beam.
    assert np.nanmedian(transmitted[:, 240:]) < 0.05


def test_frames_are_kept_eight_deep(thorax_host):
    numbers = [thorax_host.expose(90.0, kind=1, binning=4) for _ in range(9)]
    thorax_host.fetch(numbers[-1])
    with pytest.raises(RefusedError) as refused:
        thorax_host.fetch(numbers[0])
    assert refused.value.code == 11


def test_the_same_seed_gives_the_same_octets_and_hash():
    def run(seed):
        host = Host(VirtualRoom(seed=seed))
        host.hello()
        host.advance_ms(100)
        host.move_by([1, 2, 3, 0.1, 0.2, 0.3])
        host.room.enable("enabled")
        host.advance_ms(500)
        return host.room.trace_hash()

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_advancing_in_one_stride_or_in_many_gives_the_same_trace():
    one, many = VirtualRoom(seed=4), VirtualRoom(seed=4)
    one.advance_ms(777)
    for _ in range(777 * 4):
        many.advance_us(250)
    assert one.trace_hash() == many.trace_hash()
    assert one.read("couch") == many.read("couch")


def test_every_fault_of_the_table_can_be_injected_and_cleared():
    for target, kind, meaning in fault_table():
        room = VirtualRoom(seed=1)
        axis = "vertical" if target in ("encoder", "second_channel", "axis") else None
        value = None if not meaning else 2.0 if (target, kind) == ("panel", "slow") else 0.5
        room.inject(target, kind, axis=axis, value=value)
        room.advance_ms(50)
        room.clear(target)
        if meaning:
            with pytest.raises(SimulatorError, match="needs a value"):
                room.inject(target, kind, axis=axis)


def test_a_fault_that_the_model_lacks_is_refused_by_name():
    room = VirtualRoom(seed=1)
    with pytest.raises(SimulatorError, match='no fault "wobbly" of brake; it has off, stuck'):
        room.inject("brake", "wobbly")
    with pytest.raises(SimulatorError, match='no target "gravity"'):
        room.inject("gravity", "off")
    with pytest.raises(SimulatorError, match='no target "gravity"'):
        room.clear("gravity")


def test_the_control_operations_refuse_what_they_do_not_know():
    room = VirtualRoom(seed=1)
    with pytest.raises(SimulatorError, match=r"no operation 'hand\.wave'"):
        room.perform("hand.wave")
    with pytest.raises(SimulatorError, match="field pressed must be true or false"):
        room.perform("hand.estop", pressed="yes")
    with pytest.raises(SimulatorError, match='position "half" is none of'):
        room.perform("hand.enable", position="half")
    with pytest.raises(SimulatorError, match="no fields"):
        room.perform("patient.shift", sideways_mm=3)


def test_a_patient_who_moves_changes_the_truth_by_that_much():
    room = VirtualRoom(seed=1, setup_error_mm=0.0, setup_error_deg=0.0)
    assert room.truth()["residual"]["distance_mm"] < 1e-9
    room.perform("patient.shift", lateral_mm=3.0, vertical_mm=-4.0)
    residual = room.truth()["residual"]
    assert residual["distance_mm"] == pytest.approx(5.0)
    assert residual["lateral_mm"] == pytest.approx(-3.0)


def test_an_enable_with_a_time_is_released_by_itself_unless_renewed():
    room = VirtualRoom(seed=1)
    room.enable("enabled", for_ms=200)
    room.advance_ms(150)
    room.enable("enabled", for_ms=200)
    host = Host(room)
    host.advance_ms(150)
    assert host.status("pendant")["enable_position"] == 1
    host.advance_ms(150)
    assert host.status("pendant")["enable_position"] == 0


def test_a_recording_replays_to_the_same_hash_and_a_changed_one_does_not(tmp_path):
    path = tmp_path / "run.jsonl"
    with RecordedRoom(path, seed=9) as room:
        host = Host(room)
        host.hello()
        host.advance_ms(100)
        host.move_by([0, 5, 0, 0, 0, 0])
        room.enable("enabled")
        host.advance_ms(300)
        room.inject("brake", "stuck")
        host.advance_ms(900)
    recorded, replayed = replay(path)
    assert recorded == replayed
    lines = path.read_text().splitlines()
    kept = [line for line in lines if "hand.enable" not in line]
    assert len(kept) == len(lines) - 1
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(SimulatorError, match="says something else"):
        replay(path)


def test_lockstep_moves_time_only_when_it_is_asked():
    room = VirtualRoom(seed=1)
    answer = lockstep.step(room, {"advance_us": 60_000})
    assert answer["now_us"] == 60_000
    assert set(answer["read"]) == {"couch", "imager", "pendant"}
    again = lockstep.step(room, {"do": [{"op": "truth"}]})
    assert again["now_us"] == 60_000
    assert again["results"][0]["now_us"] == 60_000
    with pytest.raises(SimulatorError, match="advance_us"):
        lockstep.step(room, {"advance_us": -1})
    with pytest.raises(SimulatorError, match="an object"):
        lockstep.step(room, {"sleep": 3})
    json.dumps(again)


def test_a_scenario_that_expects_nothing_is_refused(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text('title = "t"\nwhy = "w"\n[[step]]\ndo = "host.stop"\n')
    with pytest.raises(scenario.ScenarioError, match="could not fail"):
        scenario.read(path)
    path.write_text('title = "t"\nwhy = "w"\n[[step]]\ndo = "host.dance"\nrefused = 1\n')
    with pytest.raises(scenario.ScenarioError, match=r"no operation 'host\.dance'"):
        scenario.read(path)


def test_a_scenario_fails_with_evidence_when_the_couch_does_otherwise(tmp_path):
    path = tmp_path / "wrong.toml"
    text = (scenario.library() / "approved_move.toml").read_text()
    path.write_text(text.replace('is = "arrived"', 'is = "held"'))
    verdict = scenario.run(scenario.read(path))
    assert not verdict.passed
    assert "FAILED: not within" in verdict.evidence[-1]


def test_the_library_holds_at_least_forty_scenarios():
    assert len(list(scenario.library().glob("*.toml"))) >= 40


@pytest.mark.parametrize(
    "path", sorted(scenario.library().glob("*.toml")), ids=lambda path: path.stem
)
def test_scenario(path):
    if path.stem == "pendant_key_stuck":
        pytest.skip("two minutes of virtual time; igrt-sim run all has it")
    verdict = scenario.run(scenario.read(path))
    assert verdict.passed, "\n".join(verdict.evidence)


def test_the_truth_of_an_unknown_field_is_an_error_and_not_a_pass():
    with pytest.raises(scenario.ScenarioError, match="no field"):
        scenario.holds({"field": "spped_mm_s", "below": 1.0}, VirtualRoom(seed=1).truth())


def test_the_plan_digest_is_over_the_values_of_the_protocol(virtual_host):
    virtual_host.upload([[-20, -345, -122.5, 0, 0, 0]])
    digest, nonce = virtual_host.plan
    assert len(digest) == hashlib.sha256().digest_size
    assert (
        nonce == virtual_host.wait("couch", lambda s: s["state"] == 2, within_ms=100)["plan_nonce"]
    )


def test_names_of_the_six_numbers_are_those_of_the_conventions():
    assert list(control.named([1, 2, 3, 4, 5, 6])) == list(control.AXES)
