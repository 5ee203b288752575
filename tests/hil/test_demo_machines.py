"""The whole loop on every couch that is no plain pedestal: hexapod on its base couch, arm, SCARA-like robot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from igrt_hw.machine import load_machine, machine_names

pytestmark = [pytest.mark.hil, pytest.mark.slow]


@pytest.mark.parametrize("machine", [name for name in machine_names() if name != "linac_pedestal"])
def test_the_loop_arrives_and_is_verified_on_every_machine(tmp_path: Path, machine: str) -> None:
    report_file = tmp_path / "report.json"
    ended = subprocess.run(
        [
            sys.executable, "-m", "igrt_hw.cli", "demo", "--script", "--seed", "5",
            "--machine", machine, "--json", report_file, "--keep", tmp_path,
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    report = json.loads(report_file.read_text())
    assert report["machine"] == machine
    for promise in ("arrived", "verified", "beam_ready", "record_ok"):
        assert report[promise], promise
    before, after = report["before"], report["after"]
    assert before["distance_mm"] > 1.0 or before["angle_deg"] > 0.5
    # The simulator's own kinematics says where the patient is: had the controller's another sign, he were not here.
    assert after["distance_mm"] < 1.0
    assert after["angle_deg"] < 0.5
    assert "Enable released on the way: the couch holds" in ended.stdout
    named = [axis.name for axis in load_machine(machine).description.axis]
    assert all(name in ended.stdout for name in named)
