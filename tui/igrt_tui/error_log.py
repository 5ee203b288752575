"""Where a defect of this app is written down: a file, never the screen."""

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path


def default_path() -> Path:
    """Return `$XDG_STATE_HOME/igrt/terminal.log`, or the same under `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "igrt" / "terminal.log"


def write(path: Path, where: str, error: BaseException) -> bool:
    """Append an error with its traceback; False if even that failed (a full disk must not end the console)."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    text = "".join(traceback.format_exception(error))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{stamp} {where}: {type(error).__name__}: {error}\n{text}\n")
    except OSError:
        return False
    return True
