"""Where things are kept when nobody says otherwise (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Folder for the store and the session file; made on first use, readable by its owner only."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(base) / "igrt-hw"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def default_store() -> Path:
    """The folder of record and users."""
    return state_folder() / "store"
