"""Value objects of geometry: six numbers, angles, integers of the line, words, leverage."""

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from igrt_hw import geometry
from igrt_hw._core import CoreError, Couch, FrameError, GeometryError, Pose
from igrt_hw.geometry import (
    Axes6,
    Correction,
    Frame,
    GoldenVectorError,
    check_golden_vectors,
    compose_correction,
    correction_between,
    correction_words,
    couch_direction,
    deg_to_udeg,
    leverage_mm,
    mm_to_um,
    patient_direction,
    residual_mm,
    udeg_to_deg,
    um_to_mm,
    wrap_deg,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "golden_poses.json"
LIMITS = [(-1000.0, 1000.0)] * 3 + [(-180.0, 180.0)] * 3


def test_the_shipped_golden_vectors_are_those_of_the_tests() -> None:
    shipped = resources.files("igrt_hw.geometry").joinpath("golden_poses.json").read_bytes()
    assert shipped == VECTORS.read_bytes()


def test_every_golden_vector_holds() -> None:
    assert check_golden_vectors() == len(json.loads(VECTORS.read_text())["vectors"]) == 7


def test_a_couch_with_another_chain_fails_the_golden_check_by_case() -> None:
    with pytest.raises(GoldenVectorError, match="golden vector B"):
        check_golden_vectors(Couch.pedestal(LIMITS, eccentric_mm=50.0))


def test_naive_addition_misses_golden_case_e_by_more_than_five_millimetres() -> None:
    couch = Couch.pedestal(LIMITS)
    start = (-20.0, -350.0, -120.0, 0.0, 0.0, 0.0)
    correction = Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6)
    right = couch.forward(compose_correction(couch, start, correction))
    added = couch.forward([a + c for a, c in zip(start, correction, strict=True)])
    assert added.deviation(right)[0] == pytest.approx(5.55, abs=0.01)


def test_a_correction_between_two_positions_is_the_one_that_was_composed() -> None:
    couch = Couch.pedestal(LIMITS)
    start = Axes6(-20.0, -350.0, -120.0, 30.0, 1.0, -1.0)
    correction = Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6)
    there = compose_correction(couch, start, correction)
    assert correction_between(couch, start, there).values() == pytest.approx(
        correction.values(), abs=1e-9
    )


@pytest.mark.parametrize(
    ("angle", "wrapped"),
    [
        (359.0, -1.0),
        (180.0, 180.0),
        (-180.0, 180.0),
        (540.0, 180.0),
        (-0.998, -0.998),
        (359.0023, -0.9977),
    ],
)
def test_angles_wrap_to_the_half_open_interval(angle: float, wrapped: float) -> None:
    assert wrap_deg(angle) == pytest.approx(wrapped, abs=1e-12)


def test_an_angle_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        wrap_deg(math.nan)


def test_six_numbers_refuse_not_a_number_and_the_wrong_count() -> None:
    with pytest.raises(ValueError, match="pitch_deg is nan"):
        Correction(pitch_deg=math.nan)
    with pytest.raises(ValueError, match="6 numbers"):
        Axes6.of([1.0, 2.0])


class _Carrier(BaseModel):
    correction: Correction


def test_a_correction_travels_through_json_and_refuses_strangers() -> None:
    value = _Carrier(correction=Correction(1.0, 2.0, 3.0, 0.1, 0.2, 0.3))
    assert _Carrier.model_validate_json(value.model_dump_json()) == value
    with pytest.raises(ValidationError, match="yaw_deg"):
        _Carrier.model_validate({"correction": {"yaw_deg": 1.0}})
    with pytest.raises(ValidationError):
        _Carrier.model_validate({"correction": {"pitch_deg": math.inf}})


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (1.0, 1000),
        (-122.5, -122_500),
        (0.00049999, 0),
        (-0.0016, -2),
        (0.1 + 0.2, 300),
        (2147483.647, 2**31 - 1),
    ],
)
def test_millimetres_round_to_the_nearest_micrometre(value: float, whole: int) -> None:
    assert mm_to_um(value) == whole


def test_exact_ties_go_to_the_even_integer() -> None:
    # 1/16 mm is 62.5 um and 1/128 degree is 7812.5 udeg: doubles that are ties exactly.
    assert [mm_to_um(k / 16) for k in (1, 3, -1, -3)] == [62, 188, -62, -188]
    assert [deg_to_udeg(k / 128) for k in (1, 3, -1)] == [7812, 23438, -7812]


def test_rounding_sees_the_exact_value_where_a_product_would_already_have_rounded() -> None:
    # The double 0.0005 lies above the tie; so does 0.0005 * 1000.0 only because it was rounded up to it: 0.5.
    assert mm_to_um(0.0005) == 1
    assert round(0.0005 * 1000.0) == 0


@pytest.mark.parametrize(
    "whole", [0, 1, -1, 95_000_000, -122_500, 123_457, 2**31 - 1, -(2**31 - 1)]
)
def test_integers_of_the_line_come_back_exactly(whole: int) -> None:
    assert mm_to_um(um_to_mm(whole)) == whole
    assert deg_to_udeg(udeg_to_deg(whole)) == whole


@pytest.mark.parametrize("bad", [math.nan, math.inf, 2.2e6, -2.2e6])
def test_what_does_not_fit_the_line_is_refused_by_name(bad: float) -> None:
    with pytest.raises(ValueError, match="lateral_mm"):
        mm_to_um(bad, name="lateral")


def test_leverage_is_the_chord() -> None:
    assert leverage_mm(1.0, 1000.0) == pytest.approx(17.453, abs=1e-3)
    assert leverage_mm(-3.0, 100.0) == pytest.approx(5.235, abs=1e-3)


def test_a_residual_bounds_every_point_in_its_sphere() -> None:
    residual = Pose.from_parameters((0.2, -0.1, 0.3, 0.5, -0.4, 0.3), Frame.FIXED, Frame.FIXED)
    rng = np.random.default_rng(5)
    points = rng.normal(size=(2000, 3))
    points *= 100.0 / np.linalg.norm(points, axis=1, keepdims=True)
    moved = np.linalg.norm(residual.apply(points) - points, axis=1).max()
    assert moved <= residual_mm(residual, 100.0) <= 1.6 * moved


def test_poses_of_wrong_neighbours_do_not_compose() -> None:
    table = Pose.identity(Frame.FIXED, Frame.TABLE_TOP)
    patient = Pose.identity(Frame.TABLE_TOP, Frame.PATIENT)
    assert (table @ patient).from_frame == "patient"
    with pytest.raises(FrameError, match="patient meets fixed"):
        _ = (table @ patient) @ table
    with pytest.raises(FrameError, match="is not one of"):
        Pose.identity("room", Frame.FIXED)
    with pytest.raises(FrameError, match="is needed here"):
        Couch.pedestal(LIMITS).inverse(table @ patient)


def test_a_matrix_that_is_not_rigid_is_refused() -> None:
    matrix = np.eye(4)
    matrix[0, 0] = 1.01
    with pytest.raises(GeometryError, match="not rigid"):
        Pose.from_matrix(matrix, Frame.FIXED, Frame.TABLE_TOP)
    with pytest.raises(GeometryError, match="reflection"):
        Pose.from_matrix(np.diag([-1.0, 1.0, 1.0, 1.0]), Frame.FIXED, Frame.TABLE_TOP)
    with pytest.raises(GeometryError, match="last row"):
        Pose.from_matrix(np.ones((4, 4)), Frame.FIXED, Frame.TABLE_TOP)
    with pytest.raises(GeometryError, match="shape"):
        Pose.from_matrix(np.eye(3), Frame.FIXED, Frame.TABLE_TOP)


def test_points_go_there_and_come_back() -> None:
    pose = Pose.from_parameters((10.0, -20.0, 30.0, 40.0, 5.0, -6.0), Frame.FIXED, Frame.TABLE_TOP)
    points = np.random.default_rng(1).normal(size=(50, 3)) * 300.0
    moved = pose.apply(points)
    assert moved == pytest.approx(
        (pose.matrix() @ np.c_[points, np.ones(50)].T).T[:, :3], abs=1e-10
    )
    assert pose.inverse().apply(moved) == pytest.approx(points, abs=1e-10)
    assert pose.apply(points[0]) == pytest.approx(moved[0])
    with pytest.raises(GeometryError, match="shape"):
        pose.apply(np.zeros((3, 2)))


def test_the_positive_correction_moves_the_table_as_its_words_say() -> None:
    point_at = {"right": (300.0, 0.0, 0.0), "gantry": (0.0, 300.0, 0.0)}

    def moved(name: str, value: float, where: str) -> np.ndarray:
        index = geometry.AXIS_NAMES.index(name)
        pose = Pose.from_parameters(
            [value if i == index else 0.0 for i in range(6)], Frame.FIXED, Frame.FIXED
        )
        return np.asarray(pose.apply(point_at[where])) - np.asarray(point_at[where])

    assert moved("lateral", 1.0, "right")[0] > 0
    assert "right" in couch_direction("lateral", 1.0)
    assert moved("longitudinal", 1.0, "right")[1] > 0
    assert couch_direction("longitudinal", 1.0) == "towards the gantry"
    assert moved("vertical", -1.0, "right")[2] < 0
    assert couch_direction("vertical", -1.0) == "down"
    assert moved("rotation", 1.0, "gantry")[0] < 0
    assert couch_direction("rotation", 1.0) == "counter-clockwise seen from above"
    assert moved("pitch", 1.0, "gantry")[2] > 0
    assert couch_direction("pitch", 1.0) == "gantry end up"
    assert moved("roll", 1.0, "right")[2] < 0
    assert couch_direction("roll", 1.0).endswith("down")


@pytest.mark.parametrize("position", geometry.PATIENT_POSITIONS)
def test_patient_words_follow_from_the_patient_position(position: str) -> None:
    from igrt_hw.guidance.orientation import table_from_patient_rotation

    sides = {"left": (1, 0, 0), "right": (-1, 0, 0), "head": (0, 1, 0), "feet": (0, -1, 0)}
    sides |= {"front": (0, 0, 1), "back": (0, 0, -1)}
    rotation = table_from_patient_rotation(position)  # type: ignore[arg-type]
    for axis, direction in (("lateral", 0), ("longitudinal", 1), ("vertical", 2)):
        for sign in (1.0, -1.0):
            word = patient_direction(axis, sign, position).removeprefix("towards the patient's ")
            expected = np.zeros(3)
            expected[direction] = sign
            assert rotation @ sides[word] == pytest.approx(expected)


def test_words_for_a_head_first_supine_patient() -> None:
    words = correction_words(Correction(1.0, -1.0, 1.0, 1.0, 1.0, 1.0), "HFS")
    assert [patient for _, patient in words] == [
        "towards the patient's left",
        "towards the patient's feet",
        "towards the patient's front",
        "patient's head turns towards the patient's right",
        "patient's head up",
        "patient's left side down",
    ]
    assert couch_direction("lateral", 0.0) == ""
    with pytest.raises(ValueError, match="HFS"):
        patient_direction("lateral", 1.0, "LFS")
    with pytest.raises(ValueError, match="lateral"):
        couch_direction("yaw", 1.0)


def test_every_error_of_the_core_is_one_tree() -> None:
    from igrt_hw import _core

    for name in (
        "GeometryError",
        "FrameError",
        "UnreachableError",
        "SingularError",
        "LimitError",
        "NotConvergedError",
    ):
        assert issubclass(getattr(_core, name), CoreError)
