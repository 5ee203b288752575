"""`igrt map` and `igrt clearance`: what they write, say and refuse, and their exit codes."""

import functools
import json
import sys
from pathlib import Path

import pytest

from igrt_hw import cli
from igrt_hw.guidance import plan

read_once = functools.cache(plan.load_plan)
"""Reading the demo's CT takes a second; the commands under test do not change it."""


@pytest.fixture
def igrt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(plan, "load_plan", read_once)
        monkeypatch.setattr(sys, "argv", ["igrt", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_map_is_shown_written_and_its_beams_judged(igrt, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("map.png", "map.npz", "map.json", "map.csv")]
    code, out, _ = igrt("map", *files, "--cells", 24)
    assert code == 0
    assert all(file.stat().st_size > 1000 for file in files)
    about = json.loads(files[2].read_text())
    hashes = {about["model_hash"][:16], files[3].read_text()[13:29]}
    assert len(hashes) == 1
    assert out.count(hashes.pop()) == 5
    assert len(about["clear_arcs"]) == 24
    assert "beam 3 RLL 200 (gantry 200°, couch 0°) can be delivered" in out
    assert "free at couch 0°: gantry -180° to 180°" in out
    rows = [
        line
        for line in out.splitlines()
        if set(line[9:]) <= set("#?0123456789") and len(line) == 33
    ]
    assert len(rows) == 24
    assert any("#" in row for row in rows)


def test_other_axes_and_arms_out_change_the_map(igrt, tmp_path: Path) -> None:
    words = ["--couch-axis", "vertical", "--couch-range", -400, 50, "--cells", 8, "--no-show"]
    assert igrt("map", tmp_path / "in.json", *words)[0] == 0
    assert igrt("map", tmp_path / "out.json", *words, "--arm", "kv_panel_arm=1")[0] == 0
    parked, out = (json.loads((tmp_path / name).read_text()) for name in ("in.json", "out.json"))
    assert parked["column"]["axis"] == "vertical"
    assert parked["model_hash"] == out["model_hash"]
    assert all(
        b <= a + 0.02
        for row, other in zip(parked["lower_mm"], out["lower_mm"], strict=True)
        for a, b in zip(row, other, strict=True)
    )
    assert parked["lower_mm"] != out["lower_mm"]


def test_a_blocked_move_is_explained_and_a_detour_shown_leg_by_leg(igrt) -> None:
    # With the head at the side the couch must get out of its way before it can swing round.
    words = ["--from=-20,-700,-122.5,-80,0,0", "--to=-20,-700,-122.5,-30,0,0", "--gantry", 90]
    code, out, _ = igrt("clearance", *words)
    assert code == 1
    assert "20 mm are asked for" in out
    assert "A detour exists: " in out
    legs = [line for line in out.splitlines() if line.startswith("  leg ")]
    assert len(legs) >= 2
    assert legs[-1].endswith("to -20.0, -700.0, -122.5, -30.0, 0.0, 0.0")


def test_a_free_move_ends_with_zero(igrt) -> None:
    code, out, _ = igrt("clearance", "--to=-15,-345,-120,1,0.5,-0.5")
    assert code == 0
    assert "20 mm are kept" in out


def test_the_surface_of_the_ct_needs_a_word_on_what_lies_beyond_the_field(igrt) -> None:
    code, _, err = igrt("map", "--surface", "ct", "--no-show")
    assert code == 1
    assert "runs out of the field of view" in err
    code, out, _ = igrt(
        "map", "--surface", "ct", "--beyond-field-mm", 60, "--no-show", "--cells", 4
    )
    assert code == 0
    assert "beam 1 KV AP" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["map", "--surface", "mri"], "there are contours and ct"),
        (["map", "--arm", "kv_panel_arm"], "name=extension"),
        (["map", "--arm", "flap=1"], "unknown: ['flap']"),
        (["map", "--couch-axis", "yaw"], "no axis of this room"),
        (["clearance", "--to", "1,2,3"], "six numbers are needed, not 3"),
        (["clearance", "--to", "a,b"], "six numbers with commas"),
        (["clearance", "--to", "0,0,51,0,0,0"], "outside the couch's limits"),
    ],
)
def test_options_that_make_no_question_are_refused_in_a_sentence(igrt, words, reason) -> None:
    code, _, err = igrt(*words)
    assert code == 1
    assert reason in err
