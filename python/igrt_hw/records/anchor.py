"""The head of the chain in a file of its own, so that a cut-off tail is seen. Written by rename, synced to the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

from igrt_hw.records.chain import Head


class AnchorError(ValueError):
    """The anchor is there but cannot be read as one."""


def read(path: Path) -> Head | None:
    """The anchored head; None if there is no anchor. Raises `AnchorError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        return Head(int(found["sequence"]), str(found["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise AnchorError(f"{path.name} is not an anchor of a record: {error}") from error


def write(path: Path, head: Head) -> None:
    """Replace the anchor: after a crash there is the old one or the new one, never half of one."""
    fresh = path.with_suffix(path.suffix + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"sequence": head.sequence, "digest": head.digest}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
