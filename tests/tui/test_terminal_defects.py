"""A defect of the terminal is a sentence on the screen and a line in a file, never a traceback."""

from pathlib import Path
from typing import Any

import pytest

from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal
from igrt_tui.app import OperatorApp
from igrt_tui.screens.console import ConsoleScreen
from igrt_tui.view_model.text import plain
from igrt_tui.widgets.panel import Panel


def shown(app: OperatorApp) -> str:
    return "\n".join(plain(line) for panel in app.screen.query(Panel) for line in panel.lines)


def make(tmp_path: Path) -> tuple[OperatorApp, rehearsal.RehearsedSupervisor]:
    supervisor = rehearsal.RehearsedSupervisor(rehearsal.status(LoopState.IMAGED))
    app = OperatorApp(
        supervisor,
        username="rehearsal",
        password=rehearsal.PASSWORD,
        clock_us=lambda: rehearsal.NOW_US,
        log_path=tmp_path / "terminal.log",
    )
    return app, supervisor


async def test_a_defect_in_a_worker_is_a_sentence_and_hold_still_works(tmp_path: Path) -> None:
    app, supervisor = make(tmp_path)

    async def broken(command: Command) -> CommandResult:
        if command.kind == "register":
            raise ZeroDivisionError("a defect")
        return await rehearsal.RehearsedSupervisor.send(supervisor, command)

    supervisor.send = broken  # type: ignore[method-assign]
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter")
        await pilot.pause(0.1)
        await pilot.press("g")
        await pilot.pause(0.2)
        assert "this terminal has a defect" in shown(app)
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert [command.kind for command in supervisor.sent] == ["stop"]
    assert "ZeroDivisionError: a defect" in (tmp_path / "terminal.log").read_text()


@pytest.mark.parametrize("where", ["draw_body", "on_key"])
async def test_a_defect_in_a_screen_is_a_sentence_and_hold_still_works(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(ConsoleScreen, where, broken)
    app, supervisor = make(tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter")
        await pilot.pause(0.1)
        await pilot.press("g")
        await pilot.pause(0.2)
        assert app.is_running
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert [command.kind for command in supervisor.sent][-1] == "stop"
        await pilot.press("f6")
        await pilot.pause(0.1)
        assert "defect" in shown(app)
    assert "KeyError" in (tmp_path / "terminal.log").read_text()
