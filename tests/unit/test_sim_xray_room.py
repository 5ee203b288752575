"""What lies on the simulated couch and how its X-rays are made: phantoms, markers, effects, scans."""

import itertools
import json
import math

import numpy as np
import pytest

from igrt_firmware_sim import SimulatorError, control, phantom, scenario
from igrt_firmware_sim._firmware import physics_table
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, Host, RefusedError
from igrt_firmware_sim.patient import Patient, load

IDEAL = {name: 0.0 for name, *_ in physics_table()}


def opened(**options):
    host = Host(VirtualRoom(**options))
    for line in ("couch", "imager", "pendant"):
        host.hello(line)
    host.advance_ms(60)
    return host


def line_integrals(host, source_deg, *, mas=2.0, binning=2):
    counts = host.fetch(host.expose(source_deg, mas=mas, binning=binning, field_mm=150))
    flood, offset = (host.fetch(n).astype(float) for n in (FLOOD, FLOOD_OFFSET))
    share = (counts - offset) / np.maximum(flood - offset, 1.0) * 2.5 / mas
    return -np.log(np.clip(share, 1e-5, None))


def projected(host, centre_mm, source_deg, shape):
    """Row and column of a DICOM point by the truth alone: pose of the patient, source and panel."""
    known = host.room.truth()["patient"]
    x, y, z, rotation, pitch, roll = known.values()

    def turn(axis, deg):
        c, s = math.cos(math.radians(deg)), math.sin(math.radians(deg))
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        m = np.eye(3)
        m[i, i] = m[j, j] = c
        m[i, j], m[j, i] = (s, -s) if axis == 1 else (-s, s)
        return m

    # `patient` is fixed from DICOM as six numbers of a correction.
    m = turn(2, rotation) @ turn(0, pitch) @ turn(1, roll)
    point = m @ np.asarray(centre_mm) + [x, y, z]
    view = {
        k: np.asarray(v) for k, v in host.room.perform("imager.view", source_deg=source_deg).items()
    }
    ray = point - view["source_mm"]
    normal = np.cross(view["panel_x"], view["panel_y"])
    hit = view["source_mm"] + ray * (normal @ (view["panel_mm"] - view["source_mm"])) / (
        normal @ ray
    )
    off = hit - view["panel_mm"]
    pitch_mm = 0.388 * 768 / shape[0]
    return (
        (shape[0] - 1) / 2 - off @ view["panel_y"] / pitch_mm,
        (shape[1] - 1) / 2 + off @ view["panel_x"] / pitch_mm,
    )


@pytest.mark.parametrize("source_deg", [0.0, 90.0, -45.0])
def test_the_central_ball_of_the_cube_is_seen_where_the_truth_puts_it(source_deg):
    host = opened(seed=4, patient="phantom:cube", physics=IDEAL | {"flex": 3.0})
    image = line_integrals(host, source_deg)
    row, col = projected(host, (0.0, 0.0, 0.0), source_deg, image.shape)
    r, c = round(row), round(col)
    part = image[r - 8 : r + 9, c - 8 : c + 9]
    shade = np.clip(part - np.median(part) - 0.5, 0.0, None)
    rows, cols = np.mgrid[r - 8 : r + 9, c - 8 : c + 9]
    assert shade.sum() > 5.0
    assert (shade * rows).sum() / shade.sum() == pytest.approx(row, abs=0.1)
    assert (shade * cols).sum() / shade.sum() == pytest.approx(col, abs=0.1)


@pytest.mark.parametrize("name", ["cube", "balls"])
def test_the_written_ct_of_a_phantom_is_read_as_a_patient_and_shows_its_bodies(name, tmp_path):
    made = phantom.named(name)
    phantom.write_dicom(made, tmp_path / name, spacing_mm=2.0)
    read = load(tmp_path / name)
    assert isinstance(read, Patient)
    assert read.patient_id == made.patient_id
    assert read.couch == made.couch
    assert read.isocentre_mm == (0.0, 0.0, 0.0)
    for solid in phantom.solids(made):
        if solid["shape"] != "ball":
            continue
        at = [
            round((c - o) / s)
            for c, o, s in zip(solid["centre_mm"], read.origin_mm, read.spacing_mm, strict=True)
        ]
        seen = int(read.hu[at[2], at[1], at[0]])
        wanted = phantom.HU[solid["material"]]
        assert abs(seen - wanted) < abs(seen - phantom.HU["acrylic"]), solid
    with pytest.raises(SimulatorError, match="holds files already"):
        phantom.write_dicom(made, tmp_path / name)


def test_markers_lie_about_the_isocentre_apart_and_migrate_when_told(tmp_path):
    phantom.write_dicom(phantom.named("cube"), tmp_path / "p", spacing_mm=4.0)
    room = VirtualRoom(seed=8, patient=tmp_path / "p", markers=4)
    planned = [m["centre_mm"] for m in room.perform("scene")["markers_planned"]]
    assert len(planned) == 4
    assert all(math.hypot(*at) <= 15.0 for at in planned)
    assert min(math.dist(a, b) for a, b in itertools.combinations(planned, 2)) >= 10.0
    room.perform("marker.shift", index=2, x_mm=1.0)
    now = [m["centre_mm"] for m in room.perform("scene")["markers"]]
    assert [math.dist(a, b) for a, b in zip(planned, now, strict=True)] == pytest.approx(
        [0, 0, 1, 0]
    )
    with pytest.raises(SimulatorError, match="marker 4 does not exist"):
        room.perform("marker.shift", index=4, x_mm=1.0)
    with pytest.raises(SimulatorError, match="implanted in a patient"):
        VirtualRoom(seed=8, markers=1)


def test_an_effect_that_the_x_rays_do_not_have_is_refused():
    with pytest.raises(SimulatorError, match="physics has no"):
        VirtualRoom(seed=1, physics={"halo": 1.0})
    with pytest.raises(SimulatorError, match="not within"):
        VirtualRoom(seed=1, physics={"grid": 2.0})
    with pytest.raises(SimulatorError, match="none of"):
        VirtualRoom(seed=1, patient="phantom:sphere")
    assert VirtualRoom(seed=1, physics={"lag": 0.0}).perform("scene")["physics"]["lag"] == 0.0


def test_a_scan_takes_its_projections_at_their_angles_and_sums_the_dose():
    host = opened(seed=2, patient="phantom:balls")
    taken = list(host.scan(3, first_deg=170.0, arc_deg=30.0, mas=0.5))
    assert [p.source_deg for p in taken] == pytest.approx([170.0, 180.0, -170.0])
    doses = [p.dose_area_so_far for p in taken]
    assert doses[1] - doses[0] == pytest.approx(doses[0], abs=2)
    assert doses[2] == pytest.approx(3 * doses[0], abs=3)
    assert not np.array_equal(taken[0].counts, taken[2].counts)


def test_a_scan_ends_with_the_door_and_refuses_to_cross_the_end_of_the_gantry():
    host = opened(seed=2, patient="phantom:balls")
    scan = host.scan(4, first_deg=0.0, arc_deg=8.0)
    next(scan)
    host.room.perform("hand.door", closed=False)
    with pytest.raises(RefusedError, match="door is open"):
        next(scan)
    with pytest.raises(SimulatorError, match="never crosses"):
        next(host.scan(10, first_deg=-100.0, arc_deg=100.0))


def test_what_the_control_socket_says_of_the_scene_is_json():
    room = VirtualRoom(seed=1, patient="phantom:cube")
    for op, fields in (("scene", {}), ("imager.view", {"source_deg": 30.0})):
        json.dumps(room.perform(op, **fields))
    assert {"scene", "imager.view", "marker.shift"} <= set(control.OPERATIONS)


def test_a_scenario_with_a_phantom_replays():
    path = scenario.library() / "scan_ends_when_the_door_opens.toml"
    first, second = (scenario.run(scenario.read(path)) for _ in range(2))
    assert first.passed, first.evidence
    assert first.trace_hash == second.trace_hash
