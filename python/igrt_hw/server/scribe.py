"""The record's writer: one thread that alone touches the store, so that a slow disk does not make a lease late.

Lines are written in the order they were put, all that wait in one transaction. Whoever needs them on the disk
before going on waits for exactly that (`until_written`); nobody else waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from igrt_hw.records.store import Line, RecordStore

WAITING_MAX = 10_000  # about an hour of ordinary traffic: a disk that is so far behind is broken
PATIENCE_S = 5.0


class ScribeError(Exception):
    """What was to be recorded is not on the disk."""


class Scribe:
    """Appends to a record store in a thread of its own. `on_failure` is called in that thread, once."""

    def __init__(self, store: RecordStore, on_failure: Callable[[str], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        self._changed = threading.Condition()  # protects everything below
        self._waiting: list[Line] = []
        self._put = 0
        self._written = 0
        self._broken = ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="scribe", daemon=True)
        self._thread.start()

    @property
    def entries(self) -> int:
        """How many entries the record has."""
        return self._store.entries

    @property
    def head(self) -> str:
        """Digest of its last entry."""
        return self._store.head

    def put(self, lines: Sequence[Line]) -> None:
        """Take lines to be written; returns at once. Raises `ScribeError` when writing has failed before."""
        with self._changed:
            if not self._broken and len(self._waiting) + len(lines) > WAITING_MAX:
                self._broken = f"{len(self._waiting)} entries wait for the disk"
            if self._broken:
                raise ScribeError(self._broken)
            self._waiting += lines
            self._put += len(lines)
            self._changed.notify_all()

    def until_written(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until everything that was put is on the disk. Raises `ScribeError` if it is not, or not in time."""
        with self._changed:
            wanted = self._put
            self._changed.wait_for(lambda: self._broken or self._written >= wanted, timeout_s)
            if self._written < wanted:
                raise ScribeError(self._broken or f"the disk did not answer in {timeout_s:g} s")

    def close(self) -> None:
        """Write what waits, and close the store."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(PATIENCE_S)
        self._store.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                lines, self._waiting = self._waiting, []
            if not lines:
                return
            try:
                self._store.append_all(lines)
            except Exception as error:
                with self._changed:
                    self._broken = str(error)
                    self._changed.notify_all()
                self._on_failure(self._broken)
                return
            with self._changed:
                self._written += len(lines)
                self._changed.notify_all()
