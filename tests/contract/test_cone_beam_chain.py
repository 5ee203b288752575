"""A cone-beam scan of the simulator's own exposures: scan, scatter, reconstruction, 3D/3D match, correction, move."""

import json
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from imaging_room import COUCH, Room, off_by
from numpy.typing import NDArray
from typer.testing import CliRunner
from xray_pairs import DEMO

from igrt_hw.cli import app
from igrt_hw.geometry import Correction, compose_correction, correction_to_pose
from igrt_hw.guidance.captured import save_views
from igrt_hw.guidance.cbct import reconstruct
from igrt_hw.guidance.cbct_projections import prepare_scan
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import View
from igrt_hw.guidance.scan_protocol import ScanProtocol
from igrt_hw.models.status import ImageView
from igrt_hw.server.errors import JobError
from igrt_hw.server.imaging import AcquiredPair
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan, register_scan

PROTOCOL = ScanProtocol(projections=45)


@cache
def plan() -> PreparedPlan:
    return PreparedPlan.of(load_plan(DEMO))


@cache
def scanned() -> tuple[Room, AcquiredPair]:
    room = Room()
    taken = room.taker.scan(
        "setup", threading.Event(), lambda *_: None, protocol=PROTOCOL, exposed=room.told.append
    )
    return room, taken


def hu_misses(taken: AcquiredPair, *, scatter: bool) -> NDArray[np.float64]:
    """HU of the scan minus those of the CT, where the patient truly is: soft tissue (-100 to 100 HU) in the field."""
    assert taken.scan is not None
    room = scanned()[0]
    ready = prepare_scan(
        taken.scan.line_integrals, taken.scan.geometries, PROTOCOL.field_mm, scatter=scatter
    )
    volume = reconstruct(ready.projections, ready.geometries, PROTOCOL.grid(), hann=PROTOCOL.hann)
    loaded = plan().loaded
    placed = Placement.of(loaded, "ISO1")
    at_imaging = placed.at(COUCH, taken.stamp.couch_axes).matrix()
    true_pose = correction_to_pose(room.needed()).inverse().matrix() @ at_imaging
    shape = volume.attenuation_per_mm.shape
    slices, rows, cols = np.indices(shape)
    index = np.stack([cols, rows, slices, np.ones_like(cols)]).reshape(4, -1)
    fixed = volume.grid.fixed_from_index() @ index
    ct_index = np.linalg.inv(true_pose @ loaded.ct.iec_patient_from_index()) @ fixed
    k = np.rint(ct_index[:3]).astype(int)
    depth, high, wide = loaded.ct.hu.shape
    within = np.all((k >= 0) & (k < np.array([[wide], [high], [depth]])), axis=0)
    within &= np.hypot(fixed[0], fixed[2]) < 80.0
    ct = loaded.ct.hu[k[2, within], k[1, within], k[0, within]]
    body = body_mask(loaded.ct, loaded.body_contours_dicom_mm)[
        k[2, within], k[1, within], k[0, within]
    ]
    soft = body & (np.abs(ct) < 100.0)
    hu = volume.hu(PROTOCOL.water_per_mm).reshape(-1)[within]
    return np.asarray(hu[soft] - ct[soft], dtype=np.float64)


@pytest.mark.slow
def test_a_scan_of_the_simulator_becomes_the_correction_that_is_truly_needed_and_a_verified_couch() -> (
    None
):
    room, taken = scanned()
    assert taken.scan is not None
    assert len(taken.scan.line_integrals) == 45
    assert len(taken.images) == 2
    found = register_scan(plan(), "ISO1", taken.scan, COUCH, taken.stamp.couch_axes)
    assert found.correction is not None
    assert off_by(found.correction, room.needed()) < 0.4
    summary = found.summary()
    assert (summary.method, summary.verdict) == ("cone beam", "reliable")
    assert found.anatomy is not None
    assert found.anatomy.advice == "treat", found.anatomy.reasons  # the patient is that of the CT
    assert found.anatomy.outline is not None
    assert found.anatomy.outline.mean_mm == pytest.approx(0.0, abs=0.5)
    told = [image for image in room.told if isinstance(image, ImageView)]
    assert len(told) == 45
    assert len({image.scan_uid for image in told}) == 1
    target = compose_correction(COUCH, taken.stamp.couch_axes, found.correction)
    lies = correction_to_pose(room.needed())
    moved = COUCH.forward(target) @ COUCH.forward(taken.stamp.couch_axes).inverse()
    left = lies @ moved.inverse()
    assert np.linalg.norm(left.parameters()[:3]) < 0.4


@pytest.mark.slow
def test_scatter_read_in_the_blades_shadow_brings_soft_tissue_nearer_to_its_hu() -> None:
    _, taken = scanned()
    raw, corrected = (hu_misses(taken, scatter=scatter) for scatter in (False, True))
    assert abs(np.median(corrected)) < 0.75 * abs(np.median(raw))


@pytest.mark.slow
def test_a_scan_of_another_patient_position_is_not_believed() -> None:
    _, taken = scanned()
    assert taken.scan is not None
    axes = list(taken.stamp.couch_axes)
    axes[1] += 120.0  # the couch says 12 cm of another place than it stood
    with pytest.raises(JobError, match="not believed"):
        register_scan(plan(), "ISO1", taken.scan, COUCH, tuple(axes))


@pytest.mark.slow
def test_a_field_that_leaves_no_shadow_or_projections_of_another_size_are_refused() -> None:
    _, taken = scanned()
    assert taken.scan is not None
    lines, geometries = taken.scan.line_integrals, taken.scan.geometries
    with pytest.raises(InputRefused, match="rows of shadow"):
        prepare_scan(lines, geometries, (-130.0, 130.0, -130.0, 130.0))
    with pytest.raises(InputRefused, match="one for each"):
        prepare_scan(lines[:-1], geometries, PROTOCOL.field_mm)
    with pytest.raises(InputRefused, match="has shape"):
        prepare_scan((lines[0][:50], *lines[1:]), geometries, PROTOCOL.field_mm)


def test_a_scan_over_the_end_of_the_gantry_is_no_protocol() -> None:
    with pytest.raises(ValueError, match="never crosses"):
        ScanProtocol(first_deg=-60.0, arc_deg=358.0)
    angles = ScanProtocol().source_angles_deg()
    assert len(angles) == 90
    assert all(-180.0 < angle <= 180.0 for angle in angles)


@pytest.mark.slow
def test_a_saved_scan_gives_the_same_correction_at_the_command_line(tmp_path: Path) -> None:
    room, taken = scanned()
    assert taken.scan is not None
    views = [
        View(line, geometry)
        for line, geometry in zip(taken.scan.line_integrals, taken.scan.geometries, strict=True)
    ]
    save_views(tmp_path / "scan.json", views)
    couch = ",".join(f"{axis:.4f}" for axis in taken.stamp.couch_axes)
    arguments = ["cone-beam", str(DEMO), str(tmp_path / "scan.json")]
    told = CliRunner().invoke(
        app, [*arguments, f"--couch={couch}", "--json", str(tmp_path / "result.json")]
    )
    assert told.exit_code == 0, told.output
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["result"]["believed"]
    assert off_by(Correction(**written["result"]["correction"]), room.needed()) < 0.4
    assert written["scatter_to_primary"] > 0.05
    assert written["result"]["anatomy"]["advice"] == "treat"
    assert "not seen" in told.output
    wrong = CliRunner().invoke(app, [*arguments, "--field=-130,130"])
    assert isinstance(wrong.exception, InputRefused)
