"""The body in a CT: all of the patient, none of the table; and refusals where that is not certain."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from igrt_hw._core import ClearanceRoom
from igrt_hw.guidance.plan import LoadedPlan, load_plan
from igrt_hw.machine.ct_body import CtBody, CtBodyRule, body_of_ct, surface_from_ct
from igrt_hw.machine.mesh_surface import surface_from_mesh
from igrt_hw.machine.surface import SurfaceError, SurfaceRule
from igrt_hw.server.settings import DEMO_PLAN

SPACING = (2.0, 2.0, 3.0)
ORIGIN = (-299.0, -249.0, -60.0)
SHAPE = (40, 250, 300)
X = ORIGIN[0] + SPACING[0] * np.arange(SHAPE[2])
Y = ORIGIN[1] + SPACING[1] * np.arange(SHAPE[1])
BACK = 120.0
"""Where the patient's back touches the table, y in mm."""


def _patient(sink_mm: float = 0.0) -> np.ndarray:
    """A trunk with lungs whose width and height change along z, and two arms beside it; its back at BACK + sink."""
    mask = np.zeros(SHAPE, dtype=bool)
    for k in range(SHAPE[0]):
        half_x, half_y = 150.0 + 20.0 * np.sin(k / 7.0), 100.0 + 12.0 * np.cos(k / 9.0)
        middle = BACK + sink_mm - half_y
        mask[k] = ((X[None] / half_x) ** 2 + ((Y[:, None] - middle) / half_y) ** 2) < 1.0
        for side in (-1.0, 1.0):
            arm = (X[None] - side * 215.0) ** 2 + (Y[:, None] - 60.0 - 0.4 * k) ** 2
            mask[k] |= arm < 35.0**2
    return mask


def _lungs() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for side in (-1.0, 1.0):
        mask |= (
            ((X[None, None] - side * 70.0) / 45.0) ** 2 + ((Y[None, :, None] - 20.0) / 40.0) ** 2
        ) < 1.0
    return mask


def _sandwich() -> tuple[np.ndarray, float]:
    """Two carbon skins 50 mm apart with foam between, 530 mm wide."""
    hu = np.full(SHAPE[1:], -1000.0)
    wide = np.abs(X)[None] < 265.0
    hu[wide & (Y[:, None] > BACK) & (Y[:, None] < BACK + 50.0)] = -920.0
    for top in (BACK, BACK + 46.0):
        hu[wide & (Y[:, None] > top) & (Y[:, None] < top + 4.0)] = -150.0
    return hu, BACK


def _trough() -> tuple[np.ndarray, float]:
    """A concave shell 6 mm thick, 420 mm wide, 40 mm higher at its edges."""
    hu = np.full(SHAPE[1:], -1000.0)
    top = BACK - 40.0 * (X / 210.0) ** 2
    hu[(np.abs(X)[None] < 210.0) & (Y[:, None] > top[None]) & (Y[:, None] < top[None] + 6.0)] = (
        300.0
    )
    return hu, BACK


def _board() -> tuple[np.ndarray, float]:
    """A solid board 24 mm thick with rails below its edges."""
    hu = np.full(SHAPE[1:], -1000.0)
    hu[(np.abs(X)[None] < 220.0) & (Y[:, None] > BACK) & (Y[:, None] < BACK + 24.0)] = -50.0
    for side in (-1.0, 1.0):
        rail = np.abs(X - side * 190.0) < 15.0
        hu[rail[None] & (Y[:, None] > BACK + 24.0) & (Y[:, None] < BACK + 70.0)] = 500.0
    return hu, BACK


def _scan(patient: np.ndarray, table: np.ndarray | None, seed: int = 1) -> np.ndarray:
    hu = np.full(SHAPE, -1000.0) if table is None else np.broadcast_to(table, SHAPE).copy()
    hu[patient] = 20.0
    hu[patient & _lungs()] = -850.0
    noise = np.random.default_rng(seed).normal(0.0, 20.0, SHAPE)
    return (hu + noise).astype(np.float32)


def _rows(body: CtBody) -> np.ndarray:
    """Lowest and highest y of every contour."""
    return np.array([[loop[:, 1].min(), loop[:, 1].max()] for _, (loop,) in body.contours])


def _holds(body: CtBody, patient: np.ndarray) -> bool:
    """Whether every patient voxel's centre lies inside the staircase of its slice (rows are intervals)."""
    for k, (_, (loop,)) in enumerate(body.contours):
        half = len(loop) // 2
        left, right = loop[:half], loop[half:][::-1]
        for row in np.flatnonzero(patient[k].any(axis=1)):
            at = np.flatnonzero((left[::2, 1] <= Y[row]) & (Y[row] <= left[1::2, 1]))
            if at.size == 0:
                at = np.flatnonzero((left[1::2, 1] <= Y[row]) & (Y[row] <= left[::2, 1]))
            columns = np.flatnonzero(patient[k, row])
            if (
                at.size == 0
                or left[2 * at[0], 0] > X[columns[0]]
                or right[2 * at[0], 0] < X[columns[-1]]
            ):
                return False
    return True


@pytest.mark.parametrize("table", [_sandwich, _trough, _board])
def test_the_patient_is_kept_whole_and_the_table_is_left_out(table: object) -> None:
    patient = _patient()
    hu, top = table()  # type: ignore[operator]
    body = body_of_ct(_scan(patient, hu), SPACING, ORIGIN, patient_position="HFS")
    assert body.table is not None
    assert body.table.y_mm(np.zeros(1))[0] == pytest.approx(top, abs=3.0)
    assert _holds(body, patient)
    # What is below the table's surface is gone: no contour reaches further than the margins below the back.
    assert _rows(body)[:, 1].max() <= top + 3.0 + 2.0 * SPACING[1]
    assert len(body.contours) == SHAPE[0]


def test_a_prone_patient_lies_on_a_table_on_the_other_side() -> None:
    patient = _patient()
    hu, _ = _trough()
    flipped = _scan(patient, hu)[:, ::-1]
    origin = (ORIGIN[0], -float(Y[-1]), ORIGIN[2])
    body = body_of_ct(flipped, SPACING, origin, patient_position="HFP")
    assert body.table is not None
    assert body.table.y_mm(np.zeros(1))[0] == pytest.approx(-BACK, abs=3.0)
    assert _rows(body)[:, 0].min() >= -BACK - 3.0 - 2.0 * SPACING[1]


def test_without_a_table_nothing_is_taken_away() -> None:
    patient = _patient()
    body = body_of_ct(_scan(patient, None), SPACING, ORIGIN, patient_position="HFS")
    assert body.table is None
    assert _holds(body, patient)


def test_a_body_the_same_in_every_slice_is_not_taken_for_a_table() -> None:
    patient = np.broadcast_to(_patient()[7], SHAPE)
    hu, top = _sandwich()
    body = body_of_ct(_scan(patient, hu), SPACING, ORIGIN, patient_position="HFS")
    assert _holds(body, patient)
    assert _rows(body)[:, 1].max() <= top + 3.0 + 2.0 * SPACING[1]


@pytest.mark.parametrize("swing", [0.0, 25.0])
def test_a_patient_who_hangs_through_the_table_is_refused(swing: float) -> None:
    hu, _ = _trough()
    hu[:, np.abs(X) < 80.0] = -1000.0
    patient = _patient()
    for k in range(SHAPE[0]):
        middle = BACK + 20.0 + swing * np.sin(k / 5.0)
        patient[k] |= X[None] ** 2 + (Y[:, None] - middle) ** 2 < 70.0**2
    with pytest.raises(SurfaceError, match="cannot be told apart; draw the external contour"):
        body_of_ct(_scan(patient, hu), SPACING, ORIGIN, patient_position="HFS")


def test_arms_beside_the_trunk_are_kept_though_they_touch_nothing() -> None:
    hu, _ = _trough()
    body = body_of_ct(_scan(_patient(), hu), SPACING, ORIGIN, patient_position="HFS")
    widths = [np.ptp(loop[:, 0]) for _, (loop,) in body.contours]
    assert min(widths) >= 2.0 * 248.0


def test_what_is_no_ct_of_a_patient_is_refused_with_its_reason() -> None:
    good = _scan(_patient(), None)

    def refused(hu: np.ndarray, match: str, position: str = "HFS", **rule: object) -> None:
        with pytest.raises(SurfaceError, match=match):
            body_of_ct(hu, SPACING, ORIGIN, patient_position=position, rule=CtBodyRule(**rule))  # type: ignore[arg-type]

    refused(good, "patient position 'HFDR'", position="HFDR")
    refused(np.full(SHAPE, -1000.0, dtype=np.float32), "no air round a patient")
    refused(good + 1000.0, "no air round a patient")
    refused(np.where(good > 0, np.nan, good), "not finite")
    crumb = np.full(SHAPE, -1000.0, dtype=np.float32)
    crumb[10:15, 100:110, 100:110] = 0.0
    refused(crumb, "no patient is in it")
    hollow = good.copy()
    hollow[15:25] = -1000.0
    refused(hollow, "but on both sides of it", dilation_mm=0.0)
    wide = _patient()
    wide[20:25, 100:120, :] = True
    refused(_scan(wide, None), r"5 slices \(z = 0 to 12 mm\).*field of view")
    with pytest.raises(SurfaceError, match="no CT in millimetres"):
        body_of_ct(good, (0.002, 0.002, 0.003), ORIGIN, patient_position="HFS")


def test_a_background_cleaned_to_one_value_is_not_taken_for_the_edge_of_the_field() -> None:
    patient = _patient()
    clean = np.where(patient, np.float32(20.0), np.float32(-1000.0))
    body = body_of_ct(clean, SPACING, ORIGIN, patient_position="HFS")
    assert _holds(body, patient)


def test_a_patient_at_the_edge_of_the_scanners_circle_is_refused() -> None:
    scan = _scan(_patient(), None)
    outside = (X[None] / 245.0) ** 2 + ((Y[:, None] - 1.0) / 245.0) ** 2 > 1.0
    scan[:, outside] = -2000.0
    with pytest.raises(SurfaceError, match="field of view"):
        body_of_ct(scan, SPACING, ORIGIN, patient_position="HFS")


def test_beyond_the_field_of_view_the_patient_goes_on_as_far_as_stated() -> None:
    wide = _patient()
    wide[20:25, 100:120, :] = True
    rule = CtBodyRule(beyond_field_mm=70.0)
    body = body_of_ct(_scan(wide, None), SPACING, ORIGIN, patient_position="HFS", rule=rule)
    _, (loop,) = body.contours[22]
    assert loop[:, 0].min() == pytest.approx(X[0] - 1.0 - 3.0 - 70.0)
    assert loop[:, 0].max() == pytest.approx(X[-1] + 1.0 + 3.0 + 70.0)


@pytest.fixture(scope="module")
def real() -> LoadedPlan:
    return load_plan(DEMO_PLAN)


def test_a_real_ct_is_refused_where_the_shoulders_leave_the_field_of_view(real: LoadedPlan) -> None:
    ct = real.ct
    with pytest.raises(SurfaceError, match=r"52 slices .* field of view"):
        body_of_ct(ct.hu, ct.spacing_mm, ct.origin_dicom_mm, patient_position=ct.patient_position)


def test_in_a_real_ct_the_drawn_contour_is_inside_and_the_table_outside(real: LoadedPlan) -> None:
    ct = real.ct
    body = body_of_ct(
        ct.hu,
        ct.spacing_mm,
        ct.origin_dicom_mm,
        patient_position=ct.patient_position,
        rule=CtBodyRule(beyond_field_mm=60.0),
    )
    assert body.table is not None
    # A concave carbon top, its middle at row 226 of 256: read off the images by eye.
    assert body.table.y_mm(np.array([18.0]))[0] == pytest.approx(-171.3 + 226.5 * 1.40625, abs=3.0)
    drawn = {round(float(one[0, 2]), 2): one for one in real.body_contours_dicom_mm}
    for z, (loop,) in body.contours:
        points = drawn[round(z, 2)]
        half = len(loop) // 2
        left, right = loop[:half], loop[half:][::-1]
        at = np.clip(np.searchsorted(left[1::2, 1], points[:, 1]), 0, half // 2 - 1)
        assert (points[:, 0] >= left[2 * at, 0] - 0.01).all()
        assert (points[:, 0] <= right[2 * at, 0] + 0.01).all()
        assert points[:, 1].min() >= left[0, 1]
        assert points[:, 1].max() <= left[-1, 1]
        # Nothing of the table: its upper surface bounds the contour, but for the margins.
        on_table = (loop[:, 0] > -100.0) & (loop[:, 0] < 130.0)
        beyond = loop[on_table, 1] - body.table.y_mm(loop[on_table, 0])
        assert beyond.max() <= 3.0 + 3.0 * ct.spacing_mm[1]


def test_the_surface_of_a_ct_is_closed_and_says_what_it_was_made_of() -> None:
    hu, _ = _sandwich()
    surface = surface_from_ct(
        _scan(_patient(), hu), SPACING, ORIGIN, patient_position="HFS",
        surface_rule=SurfaceRule(directions=48),
    )  # fmt: skip
    assert "table of 2 layer(s) left out, widened by 3 mm" in surface.source
    ClearanceRoom(1, [("p", 0, np.eye(4), "mesh", (surface.vertices, surface.triangles))], [])
    # Beyond the scan it goes on: 450 mm to the head, 1100 mm to the feet.
    assert np.ptp(surface.vertices[:, 1]) == pytest.approx(450.0 + 1100.0 + 39 * SPACING[2])


@pytest.mark.parametrize("frame", ["iec_patient", "dicom"])
def test_a_mesh_of_the_patient_is_taken_as_it_is_or_completed(tmp_path: Path, frame: str) -> None:
    scan = trimesh.creation.capsule(height=300.0, radius=120.0, count=[24, 24])
    if frame == "iec_patient":  # Its long axis along +Y (superior); DICOM z is superior already.
        scan.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1.0, 0.0, 0.0)))
    file = tmp_path / "scan.ply"
    scan.export(file)
    whole = surface_from_mesh(file, unit="mm", frame=frame)  # type: ignore[arg-type]
    assert np.ptp(whole.vertices, axis=0) == pytest.approx([240.0, 540.0, 240.0], rel=0.01)
    assert whole.rule is None
    rule = SurfaceRule(directions=72)
    completed = surface_from_mesh(file, unit="mm", frame=frame, rule=rule)  # type: ignore[arg-type]
    assert np.ptp(completed.vertices[:, 1]) == pytest.approx(540.0 + 450.0 + 1100.0, rel=0.01)
    shape = (completed.vertices, completed.triangles)
    outside = ClearanceRoom(
        2,
        [
            ("patient", 0, np.eye(4), "mesh", shape),
            ("probe", 1, np.eye(4), "capsule", (0.001, 0.0)),
        ],
        [(0, 1)],
    )
    for vertex in np.asarray(whole.vertices)[::7]:
        pose = np.eye(4)
        pose[:3, 3] = vertex
        bounds, _ = outside.separations(np.stack([np.eye(4), pose]), exact=True)
        assert bounds[0, 1] <= 1e-3
    with pytest.raises(SurfaceError, match="m long"):
        surface_from_mesh(file, unit="m", frame=frame)  # type: ignore[arg-type]
