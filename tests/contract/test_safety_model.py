"""The handshake model, checked by Spin; with a measure taken out, the checker must find what it guards against.

Skipped where `spin` or a C compiler is missing (Debian: `apt install spin gcc`).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "docs/safety/model/handshake.pml"
SPIN = shutil.which("spin")
COMPILER = shutil.which("gcc") or shutil.which("cc")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SPIN is None, reason="spin is not installed (apt install spin)"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler for the verifier that spin writes"),
]


def verdict(folder: Path, *without: str) -> str:
    """Generate, compile and run the verifier; its report."""
    assert SPIN is not None
    assert COMPILER is not None
    taken_out = [f"-D{name}" for name in without]
    for step in (
        [SPIN, *taken_out, "-a", str(MODEL)],
        [
            COMPILER,
            "-O1",  # half the compiling of -O2 for the same searching
            "-w",
            "-DSAFETY",
            "-DVECTORSZ=2048",
            "-DMEMLIM=1500",
            "-o",
            "pan",
            "pan.c",
        ],
    ):
        done = subprocess.run(step, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    run = subprocess.run(
        ["./pan", "-m100000", "-w22"], cwd=folder, capture_output=True, text=True, check=False
    )
    return run.stdout


# safety: SR-02 SR-05 SR-06 SR-25
def test_handshake_keeps_its_properties_under_loss_duplication_reordering_and_crash(
    tmp_path: Path,
) -> None:
    report = verdict(tmp_path)
    assert "errors: 0" in report, report
    assert "reached -DMEMLIM bound" not in report, "the search was not exhaustive"
    assert "max search depth too small" not in report, "the search was not exhaustive"


@pytest.mark.parametrize(
    ("without", "violates"),
    [
        (("NO_DIGEST",), "plan==plan_of"),
        (("NO_CACHE",), "moved[plan_of]<=1"),
        (("NO_ONCE",), "moved[plan_of]<=1"),
        (("NO_EPOCH", "NO_VOID"), "dead[plan_of]"),
        (("NO_EPOCH", "NO_LOOK"), "dead[plan_of]"),
    ],
)
def test_model_misses_a_measure_that_is_taken_out(
    tmp_path: Path, without: tuple[str, ...], violates: str
) -> None:
    report = verdict(tmp_path, *without)
    assert "assertion violated" in report, report
    assert violates in report, report
