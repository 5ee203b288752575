"""The record keeps what was written, shows what was tampered with, and says what a restart found."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from igrt_hw.models.record import RecordEntry
from igrt_hw.records import GENESIS, RecordStore, RecordStoreError, entry_digest, recovery
from igrt_hw.records.chain import follow
from igrt_hw.records.history import spreads, treated_shifts
from igrt_hw.records.review import review
from igrt_hw.records.store import Line

UTC = "2026-03-02T08:00:00.000Z"


def filled(path: Path, count: int = 5) -> None:
    with RecordStore(path) as store:
        for index in range(count):
            store.append("note", "anna", f"entry {index}", {"index": index, "mm": 0.1}, index, UTC)


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file and a tool can do: the triggers are no protection against that."""
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER IF EXISTS entries_no_update")
    connection.execute("DROP TRIGGER IF EXISTS entries_no_delete")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def problem(path: Path) -> str:
    with RecordStore(path) as store:
        found = store.verify()
    return "" if found is None else found.sentence


# safety: SR-24
def test_untouched_record_verifies_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    with RecordStore(path) as store:
        assert store.entries == 5
        assert store.verify() is None
        assert store.read(after=3)[0].data == {"index": 3, "mm": 0.1}
        assert (
            store.append("note", "bert", "more", {}, 9, UTC).previous
            == store.read(after=4)[0].digest
        )
    assert problem(path) == ""


def test_first_entry_follows_64_zeros(tmp_path: Path) -> None:
    filled(tmp_path / "r.sqlite", 1)
    with RecordStore(tmp_path / "r.sqlite") as store:
        first = store.read()[0]
    assert first.previous == GENESIS
    assert first.digest == entry_digest(first)


# safety: SR-24
@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE entries SET text='other' WHERE sequence=3", "entry 3 was changed"),
        ("UPDATE entries SET data='{\"index\": 7}' WHERE sequence=2", "entry 2 was changed"),
        ("UPDATE entries SET actor='eve' WHERE sequence=5", "entry 5 was changed"),
        ("DELETE FROM entries WHERE sequence=3", "entry 3 is missing"),
        ("DELETE FROM entries WHERE sequence=5", "cut off"),
        ("DELETE FROM entries", "cut off"),
    ],
)
def test_edit_gap_and_truncation_are_found(tmp_path: Path, statement: str, says: str) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    tamper(path, statement)
    assert says in problem(path)


# safety: SR-24
def test_reordering_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    tamper(
        path,
        "UPDATE entries SET sequence=99 WHERE sequence=2",
        "UPDATE entries SET sequence=2 WHERE sequence=3",
        "UPDATE entries SET sequence=3 WHERE sequence=99",
    )
    assert "does not follow" in problem(path)


def test_rewritten_tail_differs_from_its_anchor(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    anchor = path.with_suffix(".sqlite.head").read_text()
    tamper(path, "DELETE FROM entries WHERE sequence=5")
    with RecordStore(path) as store:
        store.accept_problem("eve", 4, UTC)
    path.with_suffix(".sqlite.head").write_text(anchor)
    assert "not the one that was anchored" in problem(path)


# safety: SR-24
def test_cut_off_record_takes_no_entry_until_the_problem_is_accepted_by_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    tamper(path, "DELETE FROM entries WHERE sequence=5")
    with RecordStore(path) as store:
        with pytest.raises(RecordStoreError, match="cut off"):
            store.append("note", "anna", "as if nothing had happened", {}, 4, UTC)
        accepted = store.accept_problem("physicist", 5, UTC)
    assert accepted is not None
    assert "cut off" in accepted.text
    assert problem(path) == ""
    with RecordStore(path) as store:
        assert [e.kind for e in store.read(after=4)] == ["record problem"]


def test_reader_reads_while_the_writer_writes_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    with RecordStore(path) as store:
        store.append("note", "anna", "one", {}, 0, UTC)
        with RecordStore(path, read_only=True) as reader:
            assert reader.verify() is None
            assert reader.entries == 1
            with pytest.raises(RecordStoreError, match="reading only"):
                reader.append("note", "anna", "two", {}, 0, UTC)
    with pytest.raises(RecordStoreError, match="no record"):
        RecordStore(tmp_path / "absent.sqlite", read_only=True)


def test_missing_anchor_of_a_record_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    path.with_suffix(".sqlite.head").unlink()
    assert "is missing" in problem(path)


def test_anchor_behind_the_record_is_what_a_crash_leaves(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    filled(path, 4)
    behind = path.with_suffix(".sqlite.head").read_text()
    with RecordStore(path) as store:
        store.append("note", "anna", "fifth", {}, 5, UTC)
    path.with_suffix(".sqlite.head").write_text(behind)
    assert problem(path) == ""


# safety: SR-24
@pytest.mark.parametrize("statement", ["UPDATE entries SET text='x'", "DELETE FROM entries"])
def test_database_refuses_update_and_delete(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "record.sqlite"
    filled(path)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        connection.execute(statement)
    connection.close()


def test_second_writer_is_refused_while_the_record_is_open(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    with RecordStore(path) as store:
        store.append("note", "anna", "mine", {}, 0, UTC)
        with pytest.raises(RecordStoreError, match="locked"):
            RecordStore(path)


def test_other_databases_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordStoreError, match="SQLite file"):
        RecordStore("postgresql://somewhere/record")


def test_data_that_is_not_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with RecordStore(tmp_path / "r.sqlite") as store:
        lines = [Line("note", "a", "t", 0, UTC), Line("note", "a", "t", 0, UTC, {"x": {1, 2}})]
        with pytest.raises(TypeError):
            store.append_all(lines)
        with pytest.raises(ValueError, match="JSON compliant"):
            store.append("note", "a", "t", {"x": float("nan")}, 0, UTC)
        assert store.entries == 0


def test_pages_and_export_carry_the_whole_chain(tmp_path: Path) -> None:
    with RecordStore(tmp_path / "r.sqlite") as store:
        store.append_all([Line("note", "anna", f"{i}", i, UTC) for i in range(1203)])
        assert [e.sequence for e in store.read(after=1200)] == [1201, 1202, 1203]
        lines = [json.loads(line) for line in store.export()]
    entries = [RecordEntry(**line) for line in lines]
    head, found = follow(entries)
    assert (head.sequence, found) == (1203, None)


KILLED = """
import os, sys
from igrt_hw.records import RecordStore
store = RecordStore(sys.argv[1])
for index in range(int(sys.argv[2])):
    store.append("note", "anna", str(index), {}, index, "2026-03-02T08:00:00.000Z")
    print(index, flush=True)
os.kill(os.getpid(), 9)
"""


# safety: SR-25
def test_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "17"], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    with RecordStore(path) as store:
        assert store.entries == 17
        assert store.verify() is None


def entry(kind: str, words: str, sequence: int = 1, **data: object) -> RecordEntry:
    return RecordEntry(
        sequence=sequence,
        at_us=0,
        at_utc=UTC,
        kind=kind,
        actor="anna",
        text=words,
        data=data,
        previous=GENESIS,
        digest=GENESIS,
    )


# safety: SR-25
def test_restart_names_the_motion_and_the_approval_that_were_open() -> None:
    found = recovery(
        [
            entry("service", "started", 1),
            entry("transition", "CHECKED -> APPROVED: x", 2),
            entry("approval", "anna approved", 3, digest="ab" * 32),
            entry("execute", "execute once", 4, digest="ab" * 32),
            entry("transition", "APPROVED -> ARMED: x", 5),
            entry("transition", "ARMED -> MOVING: x", 6),
        ]
    )
    assert [f.kind for f in found] == ["motion", "approval", "patient"]
    assert "executed once" in found[1].sentence
    assert "void" in found[1].sentence


def test_restart_after_a_clean_end_finds_nothing() -> None:
    assert recovery([entry("transition", "SETUP -> IDLE: x"), entry("service", "stopped")]) == ()
    assert recovery([entry("transition", "CHECKED -> IDLE: closed")]) == ()


def test_history_counts_only_shifts_that_were_executed_and_arrived() -> None:
    def content(patient: str, lateral: float) -> dict[str, object]:
        return {
            "patient_id": patient,
            "plan_uid": "p",
            "isocentre_id": "I",
            "fraction": 1,
            "target_axes": [1.0] * 6,
            "registration": {"correction": {"lateral_mm": lateral}},
        }

    story = []
    for index, (patient, lateral, arrived) in enumerate(
        [("A", 1.0, True), ("A", 3.0, True), ("A", 50.0, False), ("B", 9.0, True)]
    ):
        digest = f"{index:064x}"
        story.append(
            entry("proposal", "", data_=0, digest=digest, content=content(patient, lateral))
        )
        story.append(entry("execute", "", digest=digest))
        if arrived:
            story.append(entry("arrival", ""))
    shifts = treated_shifts(story, "A")
    assert [s.correction.lateral_mm for s in shifts] == [1.0, 3.0]
    lateral = spreads(shifts)[0]
    assert (lateral.mean, lateral.deviation) == (2.0, pytest.approx(2**0.5))
    assert spreads(())[0].deviation is None


# safety: SR-30
def test_review_list_shows_overrides_with_their_rate_and_reasons() -> None:
    data = {
        "what": "setup tolerance",
        "text": "t",
        "people": ["anna", "bert"],
        "parameters": ["lateral"],
    }
    found = review(
        [
            entry("transition", "PATIENT_BOUND -> SETUP: x", 1),
            entry("transition", "PATIENT_BOUND -> SETUP: x", 2),
            entry("override", "x", 3, reason="other", **data),
            entry("transition", "SETUP -> IMAGED: x", 4),
            entry("transition", "PATIENT_BOUND -> SETUP: x", 5),
            entry("transition", "FAULT -> SETUP: x", 6),
            entry("transition", "PATIENT_BOUND -> SETUP: x", 7),
        ]
    )
    assert found.rate == 0.25
    assert found.by_reason == (("other", 1),)
    assert found.overrides[0].people == ("anna", "bert")
    assert review(()).rate is None
