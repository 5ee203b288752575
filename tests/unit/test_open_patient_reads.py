"""What is read when a patient is opened is read beside the writer: it undoes nothing that is being written."""

from __future__ import annotations

import threading
from pathlib import Path

from igrt_hw.records.store import ENTRIES, RecordStore
from igrt_hw.server import service

UTC = "2026-03-02T08:00:00.000Z"


# safety: SR-25
def test_reading_the_past_leaves_an_open_transaction_of_the_writer_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    with RecordStore(path) as writer:
        writer.append("note", "anna", "first", {}, 0, UTC)
        row = {
            "sequence": 2, "at_us": 0, "at_utc": UTC, "kind": "note", "actor": "anna",
            "text": "second", "data": "{}", "previous": "0" * 64, "digest": "1" * 64,
        }  # fmt: skip
        with writer._engine.begin() as connection:
            connection.execute(ENTRIES.insert(), [row])
            assert service._past(path, "IGRT-0001") == ((), ())
        with RecordStore(path, read_only=True) as reader:
            assert [entry.text for entry in reader.read()] == ["first", "second"]


# safety: SR-25
def test_a_read_on_the_writers_own_connection_waits_for_its_transaction(tmp_path: Path) -> None:
    """Many lines written by one thread while another reads: none is lost."""
    with RecordStore(tmp_path / "record.sqlite") as store:
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                store.of_kind("note")

        reading = threading.Thread(target=read)
        reading.start()
        for number in range(60):
            store.append("note", "anna", str(number), {}, 0, UTC)
        done.set()
        reading.join()
        assert store.verify() is None
        assert [entry.text for entry in store.read()] == [str(number) for number in range(60)]
