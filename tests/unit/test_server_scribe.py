"""The record's writer: in order, durable when asked, and never silent about a failure."""

import threading

import pytest

from igrt_hw.records.store import Line, RecordStore
from igrt_hw.server import scribe as scribe_module
from igrt_hw.server.scribe import Scribe, ScribeError


def line(number: int) -> Line:
    return Line("note", "test", f"entry {number}", number, "2026-01-01T00:00:00Z")


class Stuck:
    """A store whose disk does not answer until it is let go."""

    entries, head = 0, "0" * 64

    def __init__(self):
        self.go = threading.Event()
        self.written = []

    def append_all(self, lines):
        self.go.wait(30)
        self.written += lines

    def close(self):
        self.go.set()


class Full(Stuck):
    def append_all(self, lines):
        raise OSError("no space left on device")


def test_what_was_put_is_written_in_order_and_the_chain_holds(tmp_path):
    path = tmp_path / "record.sqlite"
    scribe = Scribe(RecordStore(path), lambda why: None)
    for number in range(200):
        scribe.put([line(number)])
    scribe.until_written()
    with RecordStore(path, read_only=True) as reader:
        assert reader.verify() is None
        assert [e.text for e in reader.all()] == [f"entry {n}" for n in range(200)]
    scribe.close()


def test_closing_writes_what_waits(tmp_path):
    path = tmp_path / "record.sqlite"
    scribe = Scribe(RecordStore(path), lambda why: None)
    scribe.put([line(n) for n in range(50)])
    scribe.close()
    with RecordStore(path, read_only=True) as reader:
        assert reader.entries == 50


def test_putting_does_not_wait_for_the_disk():
    store = Stuck()
    scribe = Scribe(store, lambda why: None)
    for number in range(100):
        scribe.put([line(number)])
    assert store.written == []
    store.go.set()
    scribe.until_written()
    assert [one.text for one in store.written] == [f"entry {n}" for n in range(100)]


def test_a_disk_that_does_not_answer_is_an_error_for_who_needs_it():
    store = Stuck()
    scribe = Scribe(store, lambda why: None)
    scribe.put([line(0)])
    with pytest.raises(ScribeError, match="did not answer"):
        scribe.until_written(timeout_s=0.05)
    store.go.set()


def test_a_failed_write_is_told_once_and_nothing_more_is_taken():
    told = []
    heard = threading.Event()

    def failed(why):
        told.append(why)
        heard.set()

    scribe = Scribe(Full(), failed)
    scribe.put([line(0)])
    assert heard.wait(30)
    with pytest.raises(ScribeError, match="no space left"):
        scribe.put([line(1)])
    with pytest.raises(ScribeError, match="no space left"):
        scribe.until_written()
    assert told == ["no space left on device"]


def test_a_disk_that_falls_far_behind_is_a_failure(monkeypatch):
    monkeypatch.setattr(scribe_module, "WAITING_MAX", 10)
    store = Stuck()
    scribe = Scribe(store, lambda why: None)
    scribe.put([line(0)])
    with pytest.raises(ScribeError, match="wait for the disk"):
        scribe.put([line(n) for n in range(11)])
    store.go.set()
