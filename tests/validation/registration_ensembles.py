"""Ensembles of registrations on the pairs of `xray_cases`: JSON lines, appended, so that a stopped run goes on."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xray_cases import CaseSet, Pair, Physics, pairs, setup_error

from igrt_hw.geometry import Pose, correction_to_pose
from igrt_hw.guidance.registration import (
    Limits,
    PatientModel,
    RegistrationResult,
    register,
)

OPEN = Limits(
    similarity_min=-1.0,
    overlap_min=0.0,
    displacement_max_mm=1e9,
    displacement_max_deg=360.0,
    disagreement_max_mm=1e9,
    rival_max=1e9,
    sigma_max_mm=1e9,
    sigma_max_deg=1e9,
    foreign_max=1e9,
)
"""Limits that refuse nothing: only to see where the search of a refused registration ended."""

GRID_MM = np.array(
    [[x, y, z] for x in (-60, 60) for y in (-60, 60) for z in (-60, 60)], dtype=np.float64
)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Registrations of a set of pairs. `starts` descents per pair: the first from the plan, the others displaced so
    that the way to go is uniform within +-mm and +-deg on every axis."""

    name: str
    cases: CaseSet
    physics: Physics
    starts: int = 1
    limits: Limits = field(default_factory=Limits)


def run(model: PatientModel, planned: Pose, ensemble: Ensemble, images: Path, out: Path) -> None:
    """Register what is on disk and not yet in the results."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{ensemble.name}.jsonl"
    done = {(row["seed"], row["start"]) for row in rows(path)}
    with path.open("a") as file:
        for pair in pairs(ensemble.cases, images):
            todo = [n for n in range(ensemble.starts) if (pair.seed, n) not in done]
            if not todo:
                continue
            views = pair.views(ensemble.physics)
            for start in todo:
                nominal = nominal_of(pair, start, ensemble.cases, planned)
                begin = time.perf_counter()
                result = register(model, views, nominal, planned, limits=ensemble.limits)
                seconds = time.perf_counter() - begin
                row = as_row(result, pair, planned, nominal)
                row |= {"start": start, "seconds": seconds, "mas": pair.mas}
                if result.correction is None:
                    ended = register(model, views, nominal, planned, limits=OPEN)
                    row["ended_mtre_mm"] = _mtre_mm(ended, pair)
                file.write(json.dumps(row) + "\n")
                file.flush()


def nominal_of(pair: Pair, start: int, cases: CaseSet, planned: Pose) -> Pose:
    """Where the search is told that the patient lies. Start 0 is the plan."""
    if start == 0:
        return planned
    lies = correction_to_pose(pair.needed).inverse() @ planned
    away = setup_error(1_000_000 * start + pair.seed, cases.mm, cases.deg)
    return correction_to_pose(away).inverse() @ lies


def as_row(
    result: RegistrationResult, pair: Pair, planned: Pose, nominal: Pose
) -> dict[str, object]:
    """What is kept of one registration. A refused one has no estimate."""
    lies = correction_to_pose(pair.needed).inverse() @ planned
    row: dict[str, object] = {
        "seed": pair.seed,
        "verdict": result.verdict,
        "reasons": [reason.code for reason in result.reasons],
        "similarity": list(result.per_view_similarity),
        "disagreement_mm": list(result.per_view_disagreement_mm),
        "foreign": list(result.per_view_foreign),
        "overlap": list(result.per_view_overlap),
        "scatter_share": list(result.per_view_scatter_share),
        "rival": result.rival_share,
        "start_mm": grid_distance_mm(lies @ nominal.inverse()),
        "displacement": [result.displacement_mm, result.displacement_deg],
    }
    if result.correction is not None:
        needed = pair.needed
        row["error"] = list((np.array([*result.correction]) - np.array([*needed])).tolist())
        row["mtre_mm"] = _mtre_mm(result, pair)
        row["covariance"] = result.covariance
        row["residual_covariance"] = result.residual_covariance
        row["sigma_at_target_mm"] = result.sigma_at_target_mm
    return row


def _mtre_mm(result: RegistrationResult, pair: Pair) -> float | None:
    if result.correction is None:
        return None
    return grid_distance_mm(
        correction_to_pose(result.correction) @ correction_to_pose(pair.needed).inverse()
    )


def grid_distance_mm(motion: Pose) -> float:
    """Mean distance by which a motion moves the corners of a cube of +-60 mm about the isocentre."""
    return float(np.linalg.norm(motion.apply(GRID_MM) - GRID_MM, axis=1).mean())


def rows(path: Path) -> Iterator[dict[str, object]]:
    """The results that are there."""
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines() if line)


def normalised(found: Iterable[dict[str, object]]) -> NDArray[np.float64]:
    """Squared normalised error of each result by the covariance that came with it: e' C^-1 e."""
    squares = []
    for row in found:
        error = np.array(row["error"])
        squares.append(float(error @ np.linalg.solve(np.array(row["covariance"]), error)))
    return np.array(squares)
