"""Tables and plots of the ensembles, with the counts that were reached, and whether the aims are met."""

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from registration_ensembles import Ensemble, normalised, rows
from registration_tables import fill
from wrong_cases import wrongly_believed

SUCCESS_MM = 1.0
FAR_MM = 99.0
SUCCESS_MIN = {"start10": 1.0, "start20": 1.0, "start30": 0.99, "glare10": 1.0}
MTRE_MAX = {"start10": (0.1, 0.15), "glare10": (0.25, 0.5)}
NORMALISED_TESTS = ("pooled", "glare10")
"""Held-out pairs of the same physics are pooled: fifty or a hundred pairs say little about a share of 95 %."""
POOLED = ("start10", "start20", "start30")
QUANTILES_6 = {0.5: 5.348, 0.68: 6.999, 0.8: 8.558, 0.9: 10.645, 0.95: 12.592, 0.99: 16.812}


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one ensemble. Coverage counts one registration a pair, since starts of a pair end alike."""
    right = [row for row in found if "mtre_mm" in row]
    mtre = np.array([row["mtre_mm"] for row in right])
    once = [row for row in right if row["start"] == 0]
    squares = normalised(once)
    ended = sum(_ended_mm(row) < SUCCESS_MM for row in found)
    return {
        "registrations": len(found),
        "pairs": len({row["seed"] for row in found}),
        "success": ended / max(len(found), 1),
        "believed_within_1_mm": float(np.sum(mtre < SUCCESS_MM)) / max(len(found), 1),
        "refused": len(found) - len(right),
        "believed_beyond_1_mm": int(np.sum(mtre >= SUCCESS_MM)),
        "mtre_mm": {
            "median": float(np.median(mtre)),
            "p95": float(np.percentile(mtre, 95)),
            "max": float(mtre.max()),
        },
        "normalised_error": float(np.mean(squares)) / 6.0,
        "covered": {str(p): float(np.mean(squares < q)) for p, q in QUANTILES_6.items()},
        "register_s_median_busy_machine": float(np.median([row["seconds"] for row in found])),
    }


def _ended_mm(row: dict[str, Any]) -> float:
    """Where a search ended, believed or refused; far away where that is not known."""
    ended = row.get("mtre_mm", row.get("ended_mtre_mm"))
    return FAR_MM if ended is None else float(ended)


def report(ensembles: Sequence[Ensemble], out: Path, document: Path | None = None) -> int:
    """Write `figures.json` and the plots, and the tables into a document; 1 when an aim is missed, by what is there."""
    found = {e.name: list(rows(out / f"{e.name}.jsonl")) for e in ensembles}
    found = {name: part for name, part in found.items() if part}
    figures: dict[str, Any] = {name: summary(part) for name, part in found.items()}
    pooled = [row for name in POOLED for row in found.get(name, []) if row["start"] == 0]
    if pooled:
        figures["pooled"] = summary(pooled)
    wrong = list(rows(out / "wrong.jsonl"))
    believed = [row["case"] for row in wrong if wrongly_believed(row)]
    kinds: dict[str, int] = {}
    for row in wrong:
        kinds[str(row["case"]).split()[0]] = kinds.get(str(row["case"]).split()[0], 0) + 1
    figures["wrong"] = {"cases": len(wrong), "of": kinds, "wrongly_believed": believed}
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    _plot(found, out / "registration_ensembles.png")
    if document is not None:
        fill(document, figures)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    missed = [
        name
        for name, least in SUCCESS_MIN.items()
        if name in figures and figures[name]["success"] < least
    ]
    missed += [
        name
        for name, (median, p95) in MTRE_MAX.items()
        if name in figures
        and (figures[name]["mtre_mm"]["median"] > median or figures[name]["mtre_mm"]["p95"] > p95)
    ]
    missed += [
        f"{name} covariance"
        for name in NORMALISED_TESTS
        if name in figures
        and not (
            0.8 <= figures[name]["normalised_error"] <= 1.2
            and 0.93 <= figures[name]["covered"]["0.95"] <= 0.97
        )
    ]
    verdict = ", ".join([*missed, *map(str, believed)]) or "nothing, by the counts above"
    sys.stdout.write(f"missed: {verdict}\n")
    return 1 if missed or believed else 0


def _plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tests = {name: part for name, part in found.items() if not name.startswith("train")}
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6))
    for name, part in tests.items():
        points = np.array([(row["start_mm"], row["mtre_mm"]) for row in part if "mtre_mm" in row])
        left.semilogy(points[:, 0], points[:, 1], ".", markersize=3, label=name)
    left.axhline(SUCCESS_MM, color="grey", linestyle="--")
    left.set(
        xlabel="error at the start, mm on the grid", ylabel="mTRE, mm", title="Error against start"
    )
    left.legend()
    starts = [row for part in tests.values() for row in part]
    edges = np.arange(0.0, 75.0, 7.5)
    centres, shares, counts = _by_start(starts, edges)
    middle.plot(centres, 100.0 * shares, "o-")
    for x, y, n in zip(centres, shares, counts, strict=True):
        middle.annotate(
            str(n), (x, 100.0 * y), textcoords="offset points", xytext=(0, -14), ha="center"
        )
    middle.set(
        xlabel="error at the start, mm on the grid",
        ylabel="found within 1 mm, %",
        ylim=(90, 101),
        title="Capture range (number of starts)",
    )
    for name in [
        n
        for n in ("train_scatter", "train_glare", "start10", "start20", "start30", "glare10")
        if n in found
    ]:
        once = [row for row in found[name] if "error" in row and row["start"] == 0]
        squares = normalised(once)
        right.plot(
            list(QUANTILES_6),
            [np.mean(squares < q) for q in QUANTILES_6.values()],
            "o-",
            label=f"{name} ({len(once)})",
        )
    right.plot([0.45, 1.0], [0.45, 1.0], "--", color="grey")
    right.set(
        xlabel="stated probability",
        ylabel="share inside",
        title="Reliability of the covariance (pairs)",
    )
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _by_start(
    part: list[dict[str, Any]], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    centres, shares, counts = [], [], []
    for low, high in pairwise(edges):
        within = [row for row in part if low <= row["start_mm"] < high]
        if within:
            centres.append((low + high) / 2.0)
            shares.append(np.mean([_ended_mm(row) < SUCCESS_MM for row in within]))
            counts.append(len(within))
    return np.array(centres), np.array(shares), counts
