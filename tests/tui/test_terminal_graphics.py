"""Sixel and Kitty graphics: only where the terminal says so in time, and half blocks everywhere else."""

from __future__ import annotations

import os
import pty
import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from igrt_hw.models.status import LoopState
from igrt_tui import graphics, image_marks, picture, rehearsal
from igrt_tui.app import OperatorApp
from igrt_tui.graphics import Graphics
from igrt_tui.view_model.images import Box
from igrt_tui.widgets.cells import Cells

KITTY = b"\x1b_Gi=31;OK\x1b\\"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", Graphics.NONE),
        (b"\x1b[?62;22c", Graphics.NONE),
        (b"\x1b[?62;4;22c", Graphics.SIXEL),
        (b"\x1b[?62;14;44c", Graphics.NONE),
        (KITTY + b"\x1b[?62;c", Graphics.KITTY),
        (b"\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62;4c", Graphics.SIXEL),
        (b"abc\x1b[?64;1;4c", Graphics.SIXEL),
        (b"\x1b[?62;4", Graphics.NONE),
    ],
)
def test_only_a_clear_yes_is_a_yes(answer: bytes, said: Graphics) -> None:
    assert graphics.understood(answer) is said


def asked(answer: bytes, after_s: float = 0.0) -> tuple[Graphics, float]:
    """Ask a terminal that answers so, after a while."""
    main, secondary = pty.openpty()

    def reply() -> None:
        seen = b""
        while not seen.endswith(b"\x1b[c"):
            seen += os.read(main, 64)
        time.sleep(after_s)
        os.write(main, answer)

    thread = threading.Thread(target=reply, daemon=True)
    thread.start()
    begin = time.monotonic()
    said = graphics.ask(secondary, secondary, wait_s=0.3)
    took = time.monotonic() - begin
    thread.join(2.0)
    os.close(main)
    os.close(secondary)
    return said, took


def test_a_terminal_that_answers_is_believed() -> None:
    assert asked(b"\x1b[?62;4c")[0] is Graphics.SIXEL
    assert asked(KITTY + b"\x1b[?62c")[0] is Graphics.KITTY


def test_a_terminal_that_does_not_answer_in_time_gets_half_blocks() -> None:
    assert asked(b"\x1b[?62;4c", after_s=0.8)[0] is Graphics.NONE


def test_what_is_no_terminal_is_not_asked() -> None:
    reading, writing = os.pipe()
    assert graphics.ask(reading, writing) is Graphics.NONE
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("said", [Graphics.SIXEL, Graphics.KITTY])
async def test_with_graphics_the_images_are_pixels_and_hold_still_works(
    said: Graphics, tmp_path: Any
) -> None:
    supervisor = rehearsal.RehearsedSupervisor(rehearsal.status(LoopState.CHECKED))
    app = OperatorApp(
        supervisor, username="rehearsal", password=rehearsal.PASSWORD, clock_us=lambda: rehearsal.NOW_US,
        log_path=tmp_path / "terminal.log", graphics=said,
    )  # fmt: skip
    async with app.run_test(size=(120, 36)) as pilot:
        for key in ("enter", "f3", "v", "z"):
            await pilot.press(key)
            for _ in range(6):
                await pilot.pause(0.03)
        sharp = app.screen.query_one("#sharp-one")
        assert sharp.image is not None  # type: ignore[attr-defined]
        assert sharp.image.size[0] > 200  # type: ignore[attr-defined]
        assert not app.screen.query_one("#pixels-one", Cells).display
        await pilot.press("escape")
        for _ in range(6):
            await pilot.pause(0.03)
    assert [command.kind for command in supervisor.sent] == ["stop"]
    assert not (tmp_path / "terminal.log").exists(), (tmp_path / "terminal.log").read_text()


def decoded(sixels: str, rows: int, cols: int) -> np.ndarray[Any, Any]:
    """Read a sixel picture as a terminal does: bands of six rows, one colour laid over the other; percent of each."""
    body = re.fullmatch(r"\x1bP[0-9;]*q(.*)\x1b\\", sixels, re.S)
    assert body is not None, sixels[:40]
    palette: dict[int, tuple[int, int, int]] = {}
    picture = np.full((rows + 6, cols, 3), -1)
    top = column = colour = 0
    tokens = re.findall(r'"[0-9;]+|#([0-9;]+)|!(\d+)([?-~])|([?-~])|(\$)|(-)', body.group(1))
    for chosen, count, repeated, single, back, down in tokens:
        if chosen:
            numbers = [int(word) for word in chosen.split(";")]
            colour = numbers[0]
            if len(numbers) == 5:
                palette[colour] = (numbers[2], numbers[3], numbers[4])
        elif back:
            column = 0
        elif down:
            top, column = top + 6, 0
        elif repeated or single:
            bits = ord(repeated or single) - 63
            wide = int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    picture[top + row, column : column + wide] = palette[colour]
            column += wide
    return picture[:rows]


def test_what_is_encoded_as_sixels_is_the_picture() -> None:
    sixel = pytest.importorskip("textual_image._sixel", reason="textual-image draws the pixels")
    rgb = image_marks.coloured(np.linspace(0.0, 1.0, 30 * 40).reshape(30, 40))
    image_marks.draw_box(rgb, Box(), picture.Crop(), active=True)
    sixels = sixel.image_to_sixels(PilImage.fromarray(rgb))
    seen = decoded(sixels if isinstance(sixels, str) else sixels.decode(), 30, 40)
    assert (seen >= 0).all(), "every pixel is drawn"
    assert np.abs(seen - rgb / 2.55).max() <= 4.0  # percent: 8 bits into 100 steps and 256 colours
