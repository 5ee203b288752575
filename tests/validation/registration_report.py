"""How far registration is off, how honest its uncertainty is, and what it refuses: the figures of
`docs/validation.md`.

    python tests/validation/registration_report.py --pairs 24 --out validation

X-rays come from the ray tracer of the simulator over the simulated line, as raw frames of the panel; the demo
CT is both the patient and the model, so that anatomy that changed is not in these figures.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from xray_pairs import ANGLES_DEG, DEMO, geometry, take_pair

from igrt_hw.geometry import (
    Correction,
    Frame,
    Pose,
    correction_to_pose,
)
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.registration import (
    PatientModel,
    RegistrationResult,
    View,
    prepare,
    register,
)

GRID_MM = np.array(
    [[x, y, z] for x in (-60, 60) for y in (-60, 60) for z in (-60, 60)], dtype=float
)
COVERAGE_95 = 12.592  # chi-square of six degrees of freedom


def miss(result: RegistrationResult, needed: Correction) -> tuple[float, np.ndarray]:
    """Mean distance on the grid by which the correction misses, mm, and the six numbers of the miss."""
    assert result.correction is not None
    wrong = correction_to_pose(result.correction) @ correction_to_pose(needed).inverse()
    moved = wrong.apply(GRID_MM)
    return float(np.linalg.norm(moved - GRID_MM, axis=1).mean()), np.array(wrong.parameters())


def right_cases(
    model: PatientModel, planned: Pose, pairs: int, first_seed: int
) -> dict[str, object]:
    """Seeded setup errors of the demo; every one has to be found and believed."""
    misses, starts, squared, predicted, seconds, refused = [], [], [], [], [], []
    for seed in range(first_seed, first_seed + pairs):
        pair = take_pair(seed)
        begin = time.perf_counter()
        result = register(model, pair.views(), planned)
        seconds.append(time.perf_counter() - begin)
        start = float(np.linalg.norm(pair.needed.translation_mm))
        if result.correction is None:
            refused.append(seed)
            print(f"seed {seed}: refused: {[r.sentence for r in result.reasons]}")
            continue
        error, six = miss(result, pair.needed)
        covariance = np.array(result.covariance)
        squared.append(float(six @ np.linalg.solve(covariance, six)))
        misses.append(error)
        starts.append(start)
        predicted.append(result.sigma_at_target_mm)
        print(
            f"seed {seed}: start {start:5.2f} mm, mTRE {error:.3f} mm, predicted {predicted[-1]:.3f} mm, "
            f"similarity {', '.join(f'{s:.3f}' for s in result.per_view_similarity)}, {result.verdict}"
        )
    return {
        "pairs": pairs,
        "first_seed": first_seed,
        "refused_seeds": refused,
        "mtre_mm": {
            "median": float(np.median(misses)),
            "p95": float(np.percentile(misses, 95)),
            "max": max(misses),
        },
        "normalised_error": float(np.mean(squared)) / 6.0,
        "covered_95": float(np.mean(np.array(squared) < COVERAGE_95)),
        "register_s_median": float(np.median(seconds)),
        "points": list(zip(starts, misses, predicted, strict=True)),
    }


def wrong_cases(model: PatientModel, planned: Pose, seed: int) -> dict[str, str]:
    """Images that are not of this patient at this place; none may be believed."""
    views = take_pair(seed).views()
    other = take_pair(seed + 1).views()
    rng = np.random.default_rng(seed)
    noise = [View(rng.normal(3, 1, v.image.shape).astype(np.float32), v.geometry) for v in views]
    cases = {
        "mirrored": [View(np.ascontiguousarray(v.image[:, ::-1]), v.geometry) for v in views],
        "upside down": [View(np.ascontiguousarray(v.image[::-1]), v.geometry) for v in views],
        "views swapped": [
            View(v.image, geometry(angle)) for v, angle in zip(views, ANGLES_DEG[::-1], strict=True)
        ],
        "patient moved between the views": [views[0], other[1]],
        "noise": noise,
        "one of two is noise": [views[0], noise[1]],
        "wrong source angle by 3 deg": [View(views[0].image, geometry(3.0)), views[1]],
    }
    far = correction_to_pose(Correction(longitudinal_mm=60.0))
    verdicts = {name: register(model, case, planned).verdict for name, case in cases.items()}
    verdicts["patient 60 mm from the plan"] = register(model, views, far @ planned).verdict
    return verdicts


def plot(report: dict[str, object], out: Path) -> None:
    """Error against start, and error against what was predicted."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = np.array(report["points"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(points[:, 0], points[:, 1], "o")
    left.set(xlabel="setup error, mm", ylabel="mTRE on +-60 mm, mm", ylim=(0, None))
    right.plot(points[:, 2], points[:, 1], "o")
    right.plot([0, points[:, 1:].max()], [0, points[:, 1:].max()], "--", color="grey")
    right.set(xlabel="predicted at the target (rms), mm", ylabel="mTRE, mm", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(out / "registration.png", dpi=120)


def main() -> int:
    """Run the ensemble; 1 when a right case was refused or a wrong one believed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("validation"))
    options = parser.parse_args()
    loaded = load_plan(DEMO)
    placed = loaded.table_from_patient(loaded.plan.isocentres[0].isocentre_id, np.zeros(3))
    planned = Pose.from_matrix(placed, Frame.FIXED, Frame.PATIENT)
    model = prepare(loaded.ct, loaded.body_contours_dicom_mm)
    report = right_cases(model, planned, options.pairs, options.first_seed)
    report["wrong_cases"] = wrong_cases(model, planned, options.first_seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "registration.json").write_text(json.dumps(report, indent=1))
    plot(report, options.out)
    print(json.dumps({k: v for k, v in report.items() if k != "points"}, indent=1))
    believed = [name for name, verdict in report["wrong_cases"].items() if verdict == "reliable"]  # type: ignore[attr-defined]
    return 1 if report["refused_seeds"] or believed else 0


if __name__ == "__main__":
    sys.exit(main())
