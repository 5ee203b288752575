"""Positioning by implanted markers: which spot is which marker, where it is, and what shift that asks for.

From spots found in two views or more (`igrt_hw.guidance.markers`) and the markers' places in the CT:

1. spots of two views that lie on each other's epipolar lines make candidate points; the arrangement of the markers in
   the CT, moved but little turned, says which of them are the markers;
2. all spots of all markers are fitted at once by one rigid motion (least squares of reprojection), with the
covariance of the
   spots, of the places in the CT, and of the imager's geometry;
3. the sum of squares tells whether the markers still lie as they lay in the CT. If not, each is left out in
turn: with four
   or more the one that has moved can be named, with three it cannot, and then the operator is asked.

Rotations are reported only where the markers determine them; fewer than three, or three on a line, give a shift
alone, and the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, Frame, Pose
from igrt_hw.guidance.marker_arrangement import arrange
from igrt_hw.guidance.marker_motion import (
    Fiducial,
    FiducialView,
    MotionFit,
    MotionProblem,
    Seen,
    carried,
    places_of,
    skew,
    small_motion,
    turn_of,
)
from igrt_hw.guidance.markers import MarkerShape, find_markers
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import Reason
from igrt_hw.guidance.triangulation import Triangulated, triangulate
from igrt_hw.models.base import Frozen
from igrt_hw.models.proposal import MarkerResidual, RegistrationSummary

Floats = NDArray[np.float64]

VIEWS_MAX: Final = 4
MARKERS_MAX: Final = 16
# What a patient is turned, unseen, when only a shift can be found (clinical.md 2.4: mean 0.4 to 1.1, up to 6.6
# degrees).
ROTATION_UNSEEN_DEG: Final = 3.0
FALSE_ALARM_SHARE: Final = 5e-3
# Leaving out the named marker has to explain more than leaving out any other, by this much of chi-square: of
# four markers, 0.3 px of noise and 1 mm, none of 750 was then named wrongly and 86 % were named
# (docs/validation.md, fiducials).
NAMING_GAIN_MIN: Final = 6.0


class FiducialLimits(Frozen):
    """What a result has to keep to be believed."""

    displacement_max_mm: float = 30.0
    displacement_max_deg: float = 8.0
    sigma_rotation_max_deg: float = 1.0
    sigma_at_target_max_mm: float = 1.5
    spread_min_mm: float = 3.0
    """Root mean square distance of the markers from the line through them, below which they count as collinear."""


class MarkerFinding(Frozen):
    """One marker: where it was seen, how far from where the others put it, and how surely.

    `displacement_mm` is from where the fitted motion of the others puts it to where it was seen, fixed frame.
    `leverage_chi_square` is by how much the sum of squares falls when it is left out.
    """

    name: str
    seen_in_views: tuple[int, ...]
    position_mm: tuple[float, float, float] | None
    sigma_mm: tuple[float, float, float] | None
    reprojection_px: float | None
    displacement_mm: tuple[float, float, float] | None
    leverage_chi_square: float | None
    used: bool


class FiducialResult(Frozen):
    """What the markers say.

    `correction` is in the fixed frame about the isocentre and None when `verdict` is `refused`. `covariance`
    (6, 6) is that of its six numbers, mm and degrees; with `rotations_reported` False its rotations hold what
    a patient may be turned unseen. `moved` names the marker that has moved in the body, `migration` whether
    any has.
    """

    verdict: Literal["reliable", "doubtful", "refused"]
    reasons: tuple[Reason, ...]
    correction: Correction | None
    covariance: tuple[tuple[float, ...], ...]
    fixed_from_patient: tuple[tuple[float, ...], ...] | None
    rotations_reported: bool
    markers: tuple[MarkerFinding, ...]
    chi_square: float
    degrees_of_freedom: float
    migration: bool
    moved: str | None
    rms_reprojection_px: float
    sigma_at_target_mm: float
    residual_at_target_mm: float
    displacement_mm: float
    displacement_deg: float
    per_view_share: tuple[float, ...]
    duration_ms: float

    @property
    def sigma_mm(self) -> tuple[float, float, float]:
        """Standard deviations of lateral, longitudinal, vertical, mm."""
        a, b, c = (math.sqrt(self.covariance[n][n]) for n in range(3))
        return a, b, c

    @property
    def sigma_deg(self) -> tuple[float, float, float]:
        """Standard deviations of rotation, pitch, roll, degrees."""
        a, b, c = (math.sqrt(self.covariance[n][n]) for n in range(3, 6))
        return a, b, c

    def summary(self) -> RegistrationSummary:
        """The part that a proposal carries; the similarity of a view is the share of the markers seen in it.

        Raises:
            InputRefused: the result was refused; the message holds the reasons.
        """
        if self.correction is None:
            raise InputRefused(
                "the markers were refused: " + "; ".join(r.sentence for r in self.reasons)
            )
        return RegistrationSummary(
            correction=self.correction,
            sigma_mm=self.sigma_mm,
            sigma_deg=self.sigma_deg,
            per_view_similarity=self.per_view_share,
            verdict=self.verdict,
            reasons=tuple(r.sentence for r in self.reasons),
            residual_at_target_mm=self.residual_at_target_mm,
            duration_ms=self.duration_ms,
            method="markers",
            markers=tuple(_residual(marker) for marker in self.markers),
        )


def _residual(marker: MarkerFinding) -> MarkerResidual:
    off = marker.displacement_mm
    return MarkerResidual(
        name=marker.name,
        views=len(marker.seen_in_views),
        reprojection_px=marker.reprojection_px,
        displacement_mm=off,
        distance_mm=None if off is None else math.dist(off, (0.0, 0.0, 0.0)),
        sigma_mm=marker.sigma_mm,
        used=marker.used,
    )


def find_fiducials(
    image: ArrayLike,
    geometry: PanelGeometry,
    shape: MarkerShape,
    fiducials: Sequence[Fiducial],
    nominal: Pose | Floats,
    *,
    region: NDArray[np.bool_] | None = None,
    search_mm: float = 30.0,
    geometry_covariance: Floats | None = None,
) -> FiducialView:
    """Spots of one image (rows, cols) within `search_mm` (at the isocentre) of where the plan has the markers.

    Raises:
        InputRefused: an image that holds nothing, or markers that the plan puts outside of it.
    """
    points = carried(_matrix(nominal), places_of(fiducials))
    near = geometry.pixels_of(points)
    rows, cols = geometry.shape
    reach = search_mm * geometry.sid_mm / geometry.sad_mm / geometry.pixel_pitch_mm
    low, high = near.min(axis=1), (near - [cols, rows]).max(axis=1)
    inside = [bool(a > -reach and b < reach) for a, b in zip(low, high, strict=True)]
    if not all(inside):
        names = ", ".join(f.name for f, ok in zip(fiducials, inside, strict=True) if not ok)
        raise InputRefused(
            f"at {geometry.source_angle_deg:.0f} deg the plan puts marker {names} outside of the image"
        )
    blobs = find_markers(
        image,
        geometry,
        shape,
        region=region,
        near_px=[(float(c), float(r)) for c, r in near],
        reach_px=reach,
    )
    return FiducialView(geometry, blobs, geometry_covariance)


def register_fiducials(
    fiducials: Sequence[Fiducial],
    views: Sequence[FiducialView],
    nominal: Pose | Floats,
    planned: Pose | Floats | None = None,
    *,
    limits: FiducialLimits | None = None,
    target_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> FiducialResult:
    """The correction that brings the markers onto the plan.

    Args:
        fiducials: the markers in the CT, IEC patient frame.
        views: two to four views with the spots found in them.
        nominal: `fixed <- patient` by the couch at imaging and the planned placement; the search begins here.
        planned: `fixed <- patient` that the plan wants; `nominal` when the couch stood as planned.
        limits: what a result must keep to be believed.
        target_mm: where the plan wants the target, fixed frame.

    Raises:
        InputRefused: no markers, markers of one name or place, or views that do not make a measurement. An answer that
            is not believed is not an exception: its verdict is `refused`, with the reasons.
    """
    begin = time.perf_counter()
    kept = limits or FiducialLimits()
    _check(fiducials, views)
    at_imaging = _matrix(nominal)
    wanted = at_imaging if planned is None else _matrix(planned)
    arrangement = arrange(fiducials, views, at_imaging)
    if isinstance(arrangement, Reason):
        return _refused([arrangement], fiducials, views, {}, begin)
    problem = MotionProblem.of(fiducials, views, arrangement, at_imaging)
    return _Judge(fiducials, views, problem, at_imaging, wanted, kept, target_mm).result(begin)


# ---- which spot is which marker ----------------------------------------------------------------


def _check(fiducials: Sequence[Fiducial], views: Sequence[FiducialView]) -> None:
    if not 1 <= len(fiducials) <= MARKERS_MAX:
        raise InputRefused(
            f"{len(fiducials)} markers; 1 to {MARKERS_MAX} are known what to do with"
        )
    if len({f.name for f in fiducials}) != len(fiducials):
        raise InputRefused("two markers of the plan have one name")
    places = places_of(fiducials)
    if not np.isfinite(places).all() or any(not f.sigma_mm >= 0.0 for f in fiducials):
        raise InputRefused("a marker of the plan has no place, or its uncertainty is no number")
    for a, b in combinations(range(len(fiducials)), 2):
        if np.linalg.norm(places[a] - places[b]) < 1.0:
            raise InputRefused(
                f"markers {fiducials[a].name} and {fiducials[b].name} lie on each other in the plan"
            )
    if not 2 <= len(views) <= VIEWS_MAX:
        raise InputRefused(f"{len(views)} views; markers are triangulated from 2 to {VIEWS_MAX}")
    sources = [np.array(view.geometry.source_mm) for view in views]
    for a, b in combinations(range(len(views)), 2):
        cosine = sources[a] @ sources[b] / np.linalg.norm(sources[a]) / np.linalg.norm(sources[b])
        if abs(cosine) < math.cos(math.radians(15.0)):
            return
    raise InputRefused(
        "the views are less than 15 deg apart (or opposite): depth cannot be told; take them about 90 deg apart"
    )


# ---- what is believed --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    fiducials: Sequence[Fiducial]
    views: Sequence[FiducialView]
    problem: MotionProblem
    nominal: Floats
    planned: Floats
    limits: FiducialLimits
    target: tuple[float, float, float]

    def result(self, begin: float) -> FiducialResult:
        """Fit, migration test, rotations, limits."""
        problem, reasons = self.problem, []
        whole = problem.fit()
        missing = [f.name for n, f in enumerate(self.fiducials) if n not in problem.markers()]
        if missing:
            reasons.append(
                Reason(
                    code="marker_missing",
                    sentence=f"marker {', '.join(missing)} was not recognised in two views",
                )
            )
        migration = whole.chi_square > chi_square_limit(whole.freedom, FALSE_ALARM_SHARE)
        without = {m: problem.without(m).fit(whole.pose) for m in self._omissible()}
        fit, moved, refused = whole, None, False
        if migration:
            moved, reason, refused = self._who_moved(whole, without)
            reasons.append(reason)
            if moved is not None:
                fit, problem = without[moved], problem.without(moved)
        rotations, why = self._rotations(fit, problem)
        if why is not None:
            reasons.append(why)
        pose, covariance = (
            (fit.pose, fit.covariance) if rotations else _shift_alone(fit, self.nominal)
        )
        refused |= self._limits(pose, fit, covariance, reasons)
        return self._report(
            begin,
            whole,
            fit,
            problem,
            without,
            pose,
            covariance,
            reasons,
            migration,
            moved,
            rotations,
            refused,
        )

    def _omissible(self) -> list[int]:
        markers = self.problem.markers()
        return markers if len(markers) >= 4 else []

    def _who_moved(
        self, whole: MotionFit, without: dict[int, MotionFit]
    ) -> tuple[int | None, Reason, bool]:
        """The marker whose absence explains the misfit, and the reason to tell; True when nothing is to be
        believed."""
        if not without:
            count = len(self.problem.markers())
            return (
                None,
                Reason(
                    code="migration_unnamed",
                    sentence=f"the {count} markers do not lie to each other as in the CT; with fewer than four it "
                    "cannot be said which one has moved. Decide by the images, or register without markers",
                ),
                True,
            )
        ranked = sorted(without, key=lambda m: without[m].chi_square)
        best, second = without[ranked[0]], without[ranked[1]]
        explained = best.chi_square <= chi_square_limit(best.freedom, FALSE_ALARM_SHARE)
        clear = second.chi_square - best.chi_square >= NAMING_GAIN_MIN
        if explained and clear:
            name = self.fiducials[ranked[0]].name
            off = self._displacement(ranked[0], best)
            return (
                ranked[0],
                Reason(
                    code="marker_moved",
                    sentence=f"marker {name} has moved by {np.linalg.norm(off):.1f} mm in the body since the CT; the "
                    f"correction rests on the other {len(without) - 1}",
                ),
                False,
            )
        if explained:
            names = [
                self.fiducials[m].name
                for m in ranked
                if without[m].chi_square - best.chi_square < NAMING_GAIN_MIN
            ]
            sentence = (
                f"a marker has moved in the body, but it cannot be told which of {', '.join(names)}: "
                "decide by the images, or register without markers"
            )
        else:
            sentence = (
                "the markers do not lie to each other as in the CT, and no single one explains it: swelling, several "
                "moved markers, wrong markers of the plan, or a patient who moved between the views"
            )
        return None, Reason(code="migration_unnamed", sentence=sentence), True

    def _displacement(self, marker: int, fit: MotionFit) -> Floats:
        """From where the others put a marker to where it was seen, fixed frame, mm."""
        found = self._triangulated(marker)
        assert found is not None
        place = carried(fit.pose, np.array([self.fiducials[marker].position_mm]))[0]
        return np.asarray(found.position_mm - place)

    def _triangulated(self, marker: int) -> Triangulated | None:
        of = self.problem.marker == marker
        if of.sum() < 2:
            return None
        geometries = [self.views[int(n)].geometry for n in self.problem.view[of]]
        return triangulate(geometries, self.problem.places[of], self.problem.blob_covariance[of])

    def _rotations(self, fit: MotionFit, problem: MotionProblem) -> tuple[bool, Reason | None]:
        """Whether the geometry supports rotations, and if not, why."""
        markers = problem.markers()
        if len(markers) < 3:
            return False, Reason(
                code="rotations_open",
                sentence=f"{len(markers)} marker(s) do not determine rotations: a shift alone is given",
            )
        places = places_of([self.fiducials[m] for m in markers])
        spread = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
        if spread[1] / math.sqrt(len(markers)) < self.limits.spread_min_mm:
            return False, Reason(
                code="rotations_open",
                sentence="the markers lie on a line, so that the turn about it cannot be seen: a shift alone is given",
            )
        sigma = math.degrees(math.sqrt(float(np.linalg.eigvalsh(fit.covariance[3:, 3:])[-1])))
        if sigma > self.limits.sigma_rotation_max_deg:
            return False, Reason(
                code="rotations_open",
                sentence=f"rotations are known to {sigma:.1f} deg only "
                f"({self.limits.sigma_rotation_max_deg:g} allowed): a shift alone is given",
            )
        return True, None

    def _limits(
        self, pose: Floats, fit: MotionFit, covariance: Floats, reasons: list[Reason]
    ) -> bool:
        away = pose @ np.linalg.inv(self.nominal)
        shift = float(np.linalg.norm(carried(away, np.zeros((1, 3)))[0]))
        turn = math.degrees(float(np.linalg.norm(turn_of(away[:3, :3]))))
        refused = False
        if shift > self.limits.displacement_max_mm or turn > self.limits.displacement_max_deg:
            reasons.append(
                Reason(
                    code="displacement",
                    sentence=f"the markers are {shift:.1f} mm and {turn:.1f} deg from the plan (limits "
                    f"{self.limits.displacement_max_mm:g} mm, {self.limits.displacement_max_deg:g} deg): set up again",
                )
            )
            refused = True
        sigma = self._sigma_at_target(covariance, fit.pivot)
        if sigma > self.limits.sigma_at_target_max_mm:
            reasons.append(
                Reason(
                    code="uncertain",
                    sentence=f"at the target the result is known to {sigma:.1f} mm only "
                    f"({self.limits.sigma_at_target_max_mm:g} allowed)",
                )
            )
        return refused

    def _sigma_at_target(self, covariance: Floats, pivot: Floats) -> float:
        """Root mean square of the miss at the target, mm."""
        return math.sqrt(float(np.trace(_at_point(covariance, np.array(self.target) - pivot))))

    def _report(
        self,
        begin: float,
        whole: MotionFit,
        fit: MotionFit,
        problem: MotionProblem,
        without: dict[int, MotionFit],
        pose: Floats,
        covariance: Floats,
        reasons: list[Reason],
        migration: bool,
        moved: int | None,
        rotations: bool,
        refused: bool,
    ) -> FiducialResult:
        away = pose @ np.linalg.inv(self.nominal)
        six, six_covariance = _correction(self.planned, pose, covariance, fit.pivot)
        spread = _at_point(covariance, np.array(self.target) - fit.pivot)
        findings = tuple(
            self._finding(n, problem, fit, whole, without) for n in range(len(self.fiducials))
        )
        serious = refused or any(
            r.code in {"marker_moved", "rotations_open", "uncertain", "marker_missing"}
            for r in reasons
        )
        seen = [
            len({int(m) for m in self.problem.marker[self.problem.view == n]})
            for n in range(len(self.views))
        ]
        return FiducialResult(
            verdict="refused" if refused else "doubtful" if serious else "reliable",
            reasons=tuple(reasons),
            correction=None if refused else Correction.of(six),
            covariance=_rows(six_covariance),
            fixed_from_patient=None if refused else _rows(pose),
            rotations_reported=rotations and not refused,
            markers=findings,
            chi_square=whole.chi_square,
            degrees_of_freedom=whole.freedom,
            migration=migration,
            moved=None if moved is None else self.fiducials[moved].name,
            rms_reprojection_px=float(np.sqrt(np.mean(fit.residuals_px**2))),
            sigma_at_target_mm=math.sqrt(float(np.trace(spread))),
            residual_at_target_mm=_bound_95(spread),
            displacement_mm=float(np.linalg.norm(away[:3, 3])),
            displacement_deg=math.degrees(float(np.linalg.norm(turn_of(away[:3, :3])))),
            per_view_share=tuple(count / len(self.fiducials) for count in seen),
            duration_ms=(time.perf_counter() - begin) * 1e3,
        )

    def _finding(
        self,
        marker: int,
        problem: MotionProblem,
        fit: MotionFit,
        whole: MotionFit,
        without: dict[int, MotionFit],
    ) -> MarkerFinding:
        of = self.problem.marker == marker
        found = self._triangulated(marker)
        others = without.get(marker, fit)
        off = None if found is None else self._displacement(marker, others)
        return MarkerFinding(
            name=self.fiducials[marker].name,
            seen_in_views=tuple(int(n) for n in self.problem.view[of]),
            position_mm=None if found is None else _three(found.position_mm),
            sigma_mm=None if found is None else _three(np.sqrt(np.diag(found.covariance_mm2))),
            reprojection_px=None
            if found is None
            else float(np.sqrt(np.mean(found.residuals_px**2))),
            displacement_mm=None if off is None else _three(off),
            leverage_chi_square=whole.chi_square - without[marker].chi_square
            if marker in without
            else None,
            used=bool((problem.marker == marker).any()),
        )


def chi_square_limit(freedom: float, share: float) -> float:
    """The value that a chi-square of so many degrees of freedom exceeds with this probability (Wilson-Hilferty,
    to 1 %)."""
    z = NormalDist().inv_cdf(1.0 - share)
    return float(
        freedom * (1.0 - 2.0 / (9.0 * freedom) + z * math.sqrt(2.0 / (9.0 * freedom))) ** 3
    )


def _refused(
    reasons: list[Reason],
    fiducials: Sequence[Fiducial],
    views: Sequence[FiducialView],
    seen: dict[int, Seen],
    begin: float,
) -> FiducialResult:
    """Nothing could be fitted."""
    return FiducialResult(
        verdict="refused",
        reasons=tuple(reasons),
        correction=None,
        covariance=_rows(np.zeros((6, 6))),
        fixed_from_patient=None,
        rotations_reported=False,
        markers=tuple(
            MarkerFinding(
                name=f.name,
                seen_in_views=tuple(seen.get(n, {})),
                position_mm=None,
                sigma_mm=None,
                reprojection_px=None,
                displacement_mm=None,
                leverage_chi_square=None,
                used=False,
            )
            for n, f in enumerate(fiducials)
        ),
        chi_square=0.0,
        degrees_of_freedom=0.0,
        migration=False,
        moved=None,
        rms_reprojection_px=0.0,
        sigma_at_target_mm=0.0,
        residual_at_target_mm=0.0,
        displacement_mm=0.0,
        displacement_deg=0.0,
        per_view_share=tuple(0.0 for _ in views),
        duration_ms=(time.perf_counter() - begin) * 1e3,
    )


# ---- small geometry ----------------------------------------------------------------------------


def _matrix(pose: Pose | Floats) -> Floats:
    if isinstance(pose, Pose):
        pose.expect_frames(Frame.FIXED, Frame.PATIENT)
        return pose.matrix()
    # A matrix goes through the same door, so that what is not rigid is refused.
    return Pose.from_matrix(np.asarray(pose, dtype=np.float64), Frame.FIXED, Frame.PATIENT).matrix()


def _shift_alone(fit: MotionFit, nominal: Floats) -> tuple[Floats, Floats]:
    """The pose turned as nominal with the markers' centre where it was seen; the covariance holds the unseen turn."""
    pose = nominal.copy()
    local = fit.pose[:3, :3].T @ (fit.pivot - fit.pose[:3, 3])
    pose[:3, 3] = fit.pivot - nominal[:3, :3] @ local
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = fit.covariance[:3, :3]
    covariance[3:, 3:] = math.radians(ROTATION_UNSEEN_DEG) ** 2 * np.eye(3)
    return pose, covariance


def _at_point(covariance: Floats, arm: Floats) -> Floats:
    """Covariance (3, 3) mm2 of the place of a point at `arm` from the pivot."""
    reach = np.c_[np.eye(3), -skew(arm[None, :])[0]]
    return np.asarray(reach @ covariance @ reach.T)


def _correction(
    planned: Floats, pose: Floats, covariance: Floats, pivot: Floats
) -> tuple[tuple[float, ...], Floats]:
    """Six numbers of planned . pose^-1 and their covariance (6, 6), mm and degrees."""
    back = np.linalg.inv(pose)

    def six(step: Floats) -> Floats:
        true = small_motion(step, pivot) @ pose
        correction = planned @ np.linalg.inv(true)
        found = Pose.from_matrix(correction, Frame.FIXED, Frame.FIXED)
        return np.asarray(found.parameters(), dtype=np.float64)

    numbers = Pose.from_matrix(planned @ back, Frame.FIXED, Frame.FIXED).parameters()
    steps = np.array([1e-3] * 3 + [1e-5] * 3)
    columns = [
        (six(np.eye(6)[n] * steps[n]) - six(-np.eye(6)[n] * steps[n])) / (2.0 * steps[n])
        for n in range(6)
    ]
    jacobian = np.stack(columns, axis=1)
    return tuple(numbers), np.asarray(jacobian @ covariance @ jacobian.T)


def _bound_95(covariance: Floats) -> float:
    """Length that a normal vector of this covariance exceeds in about 5 %: by the sum of its squares
    (Wilson-Hilferty)."""
    values = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    mean, square = float(values.sum()), float((values**2).sum())
    if mean <= 0.0:
        return 0.0
    freedom = mean**2 / square
    z = NormalDist().inv_cdf(0.95)
    share = (1.0 - 2.0 / (9.0 * freedom) + z * math.sqrt(2.0 / (9.0 * freedom))) ** 3
    return math.sqrt(mean * max(share, 0.0))


def _three(values: Floats) -> tuple[float, float, float]:
    a, b, c = (float(x) for x in values)
    return a, b, c


def _rows(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)
