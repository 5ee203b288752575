"""The view model: status and local state in, what is shown out. No screen, no clock, no network is near it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import igrt_tui

FOLDER = Path(igrt_tui.__file__).parent
VIEW_MODEL = sorted((FOLDER / "view_model").glob("*.py"))
PURE = [*VIEW_MODEL, FOLDER / "approval.py", FOLDER / "squeeze.py", FOLDER / "picture.py"]
PURE += [FOLDER / "grid.py", FOLDER / "image_marks.py", FOLDER / "room_picture.py"]
CLOCKS = {"time", "asyncio", "random", "threading", "socket", "os", "secrets"}
ALLOWED_OF_HARDWARE = ("igrt_hw.client", "igrt_hw.models", "igrt_hw.geometry")


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_the_view_model_is_made_without_a_screen() -> None:
    modules = [f"igrt_tui.view_model.{file.stem}" for file in VIEW_MODEL if file.stem != "__init__"]
    modules += ["igrt_tui.approval", "igrt_tui.squeeze", "igrt_tui.image_marks"]
    program = (
        "import sys\n"
        "sys.modules['textual'] = None\n"  # whoever asks for it fails
        f"for name in {modules!r}: __import__(name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("file", PURE, ids=lambda file: file.stem)
def test_what_is_pure_has_no_clock_no_chance_and_no_line(file: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(file)} & CLOCKS


def test_the_app_reaches_the_hardware_through_the_client_only() -> None:
    for file in FOLDER.rglob("*.py"):
        for name in imported(file):
            if name.partition(".")[0] == "igrt_hw":
                assert name.startswith(ALLOWED_OF_HARDWARE), f"{file.name} imports {name}"
            assert not name.startswith("igrt_firmware_sim")
