"""The command line of the terminal: `igrt-tui --url ... --username ...`, and the pictures of the documentation."""

import argparse
import os
import sys
from pathlib import Path

from igrt_hw.client import DEFAULT_URL, AsyncClient, SimulatedHand
from igrt_tui import graphics, hangup
from igrt_tui.app import OperatorApp
from igrt_tui.graphics import Graphics
from igrt_tui.themes import THEMES


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="igrt-tui",
        description="The operator's terminal of igrt-hw. Not a medical device.",
        epilog="Esc or F12 is HOLD on every screen. Ctrl+Q quits. With --plain: h and Enter, or Ctrl-C.",
    )
    made.add_argument(
        "--url", default=DEFAULT_URL, help="address of the supervisor (default: %(default)s)"
    )
    made.add_argument(
        "--ca-file", type=Path, help="certificate authority to trust for an https address"
    )
    made.add_argument("--username", default="", help="fill in this name on the first screen")
    made.add_argument(
        "--password-env",
        metavar="NAME",
        default="IGRT_PASSWORD",
        help="fill in the password from this environment variable (default: %(default)s), as the demo does",
    )
    made.add_argument(
        "--control-socket",
        type=Path,
        help="control socket of the simulator: the space bar becomes its simulated enable (SIMULATOR mode only)",
    )
    made.add_argument("--theme", choices=sorted(THEMES), default="dark", help="colours")
    made.add_argument(
        "--plain",
        action="store_true",
        help="lines of text only, for screen readers: h and Enter or Ctrl-C is HOLD",
    )
    made.add_argument(
        "--graphics",
        choices=("auto", "off"),
        default="auto",
        help="auto asks the terminal for sixel or Kitty graphics and uses what it confirms; off draws half blocks",
    )
    made.add_argument("--log-file", type=Path, help="where a defect of this app is written down")
    made.add_argument(
        "--picture",
        type=Path,
        metavar="FILE.svg",
        help="draw the console from a recorded status and end",
    )
    made.add_argument(
        "--rehearsal-status",
        metavar="STATE",
        help="print a made-up status in a state of the loop as JSON and end; for measurements",
    )
    made.add_argument(
        "--usability",
        type=Path,
        metavar="DOCS",
        help="write DOCS/usability.md and the picture of each of its steps, and end",
    )
    made.add_argument("--picture-screen", default="console", help="which screen --picture draws")
    return made


def run(arguments: list[str] | None = None) -> int:
    """Run the app; return its exit code."""
    given = parser().parse_args(arguments)
    if given.picture is not None:
        from igrt_tui.pictures import draw  # the recorded session is not needed to work

        return draw(given.picture, given.picture_screen, given.theme)
    if given.usability is not None:
        from igrt_tui.pictures import draw_walkthrough

        return draw_walkthrough(given.usability, given.theme)
    if given.rehearsal_status is not None:
        return _print_status(given.rehearsal_status)
    if given.plain:
        return _plain(given)
    if not (
        sys.stdin.isatty() and sys.__stderr__ is not None and sys.__stderr__.isatty()
    ):  # Textual draws on stderr
        sys.stderr.write(
            "igrt-tui needs a terminal; for a run without one use `igrt demo --script`\n"
        )
        return 2
    password = os.environ.pop(given.password_env, "")
    app = OperatorApp(
        AsyncClient(given.url, ca_file=given.ca_file),
        hand=SimulatedHand(given.control_socket) if given.control_socket else None,
        username=given.username,
        password=password,
        address=given.url,
        theme=given.theme,
        log_path=given.log_file,
        graphics=_graphics() if given.graphics == "auto" else Graphics.NONE,
    )
    hangup.watch(sys.stdin.fileno(), hangup.end_at_once)
    code = app.run()
    return code if code is not None else app.return_code or 0


def _plain(given: argparse.Namespace) -> int:
    """Run the mode of lines; a pipe may read and hold, but not approve."""
    from igrt_tui import plain_terminal  # POSIX terminals only

    return plain_terminal.run(
        AsyncClient(given.url, ca_file=given.ca_file),
        SimulatedHand(given.control_socket) if given.control_socket else None,
        given.username,
        os.environ.pop(given.password_env, ""),
    )


def _print_status(name: str) -> int:
    """Print a made-up status."""
    from igrt_hw.models.status import LoopState
    from igrt_tui import rehearsal  # not needed to work

    if name not in LoopState.__members__:
        sys.stderr.write(
            f"there is no state '{name}'; there are: {', '.join(LoopState.__members__)}\n"
        )
        return 2
    sys.stdout.write(rehearsal.status(LoopState[name]).model_dump_json() + "\n")
    return 0


def _graphics() -> Graphics:
    """Ask the terminal, before the app takes its answers; what draws with it is loaded now for the same reason."""
    said = graphics.ask(sys.stdin.fileno(), sys.stdout.fileno())
    if said is not Graphics.NONE:
        import textual_image.widget  # noqa: F401  asks for the size of a character when it is loaded
    return said
