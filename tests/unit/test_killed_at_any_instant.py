"""Killed at any instant: the record holds what was acknowledged, a restart resumes nothing and names what was open."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from room_rig import MODEL, ORIGIN, Room

from igrt_hw.models.record import RecordEntry
from igrt_hw.records import GENESIS, RecordStore, recovery
from igrt_hw.records.chain import follow
from igrt_hw.safety import effects as fx
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.server.service import Parts, Service

UTC = "2026-03-02T08:00:00.000Z"

WRITER = """
import sys
from igrt_hw.records.store import Line, RecordStore
store = RecordStore(sys.argv[1])
result = {"run_id": "Q", "test": "Lasers", "kind": "measured by hand", "passed": True, "value": 0.5,
          "limit": 2.0, "unit": "mm", "sentence": "Lasers", "by": "anna", "at_utc": "2026-03-02T08:00:00.000Z"}
index = store.entries
while True:
    lines = [Line("note", "anna", str(index + n), index, "2026-03-02T08:00:00.000Z") for n in range(3)]
    lines.append(Line("qa result", "anna", "Lasers", index, "2026-03-02T08:00:00.000Z", result))
    store.append_all(lines)
    index += 4
    print(index, flush=True)
"""


# safety: SR-25
def test_a_writer_killed_at_any_instant_leaves_a_record_that_holds(tmp_path: Path) -> None:
    """Ten lives of one writer, each ended by SIGKILL wherever it happens to be."""
    path = tmp_path / "record.sqlite"
    draw = random.Random(11)
    acknowledged = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(draw.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        told = [first, *process.stdout.read().split("\n")]
        process.wait()
        acknowledged = max(acknowledged, *(int(word) for word in told if word.strip()))
        with RecordStore(path) as store:
            assert store.verify() is None
            assert store.entries >= acknowledged
            assert store.entries % 4 == 0, "a transaction is there as a whole or not at all"
            assert len(store.qa_results()) == store.entries // 4
    assert acknowledged >= 40


# safety: SR-24
@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE qa_results SET value=0.1 WHERE sequence=1", "was changed"),
        ("UPDATE qa_results SET passed=0 WHERE sequence=1", "was changed"),
        ("DELETE FROM qa_results WHERE sequence=1", "lacks"),
    ],
)
def test_a_qa_table_that_was_edited_is_found_by_its_chain(
    tmp_path: Path, statement: str, says: str
) -> None:
    path = tmp_path / "record.sqlite"
    result = {
        "run_id": "Q", "test": "Lasers", "kind": "measured by hand", "passed": True, "value": 0.5,
        "limit": 2.0, "unit": "mm", "sentence": "Lasers", "by": "anna", "at_utc": UTC,
    }  # fmt: skip
    with RecordStore(path) as store:
        store.append("qa result", "anna", "Lasers", dict(result), 0, UTC)
        assert store.verify() is None
    database = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    for act in ("update", "delete"):
        database.execute(f"DROP TRIGGER qa_results_no_{act}")
    database.execute(statement)
    database.commit()
    database.close()
    with RecordStore(path, read_only=True) as store:
        found = store.verify()
    assert found is not None
    assert says in found.sentence


def session() -> list[RecordEntry]:
    """Everything that a whole treatment session records, in order."""
    room = Room().to("BEAM_READY")
    records = [effect for effect in room.effects if isinstance(effect, fx.Record)]
    return [
        RecordEntry(
            sequence=number,
            at_us=0,
            at_utc=UTC,
            kind=record.kind,
            actor=record.actor,
            text=record.text,
            data=record.data,
            previous=GENESIS,
            digest=GENESIS,
        )
        for number, record in enumerate(records, 1)
    ]


SESSION = session()
OPEN = ("CHECKED", "APPROVED", "ARMED", "MOVING", "HELD")


# safety: SR-25
@pytest.mark.parametrize("killed_after", range(len(SESSION) + 1))
def test_wherever_it_was_killed_the_restart_says_what_was_open_and_gives_nothing_back(
    killed_after: int,
) -> None:
    written = SESSION[:killed_after]
    transitions = [entry for entry in written if entry.kind == "transition"]
    state = transitions[-1].text.split(" -> ")[1].split(":")[0] if transitions else "IDLE"
    approved = any(entry.kind == "approval" for entry in written)
    executed = any(entry.kind == "execute" for entry in written)
    found = {finding.kind: finding.sentence for finding in recovery(written)}
    assert ("motion" in found) == (state in ("ARMED", "MOVING", "HELD"))
    assert ("approval" in found) == (approved and state in OPEN)
    if "approval" in found:
        assert ("it was executed once" in found["approval"]) == executed
        assert "void" in found["approval"]
    assert ("patient" in found) == (state != "IDLE")
    assert ("beam" in found) == (state == "BEAM_READY")


# safety: SR-25
def test_execution_is_on_record_before_it_is_asked_for() -> None:
    """So that a kill between the two is a spent approval, never one that could be used twice."""
    room = Room().to("ARMED")
    order = [
        "execute" if isinstance(effect, fx.Execute) else effect.kind
        for effect in room.effects
        if isinstance(effect, fx.Execute)
        or (isinstance(effect, fx.Record) and effect.kind in ("execute", "approval"))
    ]
    assert order == ["approval", "execute", "execute"]
    first = next(e for e in room.effects if isinstance(e, fx.Record) and e.kind == "execute")
    assert room.effects.index(first) < room.effects.index(room.of(fx.Execute)[0])


# safety: SR-25
def test_a_supervisor_that_was_started_again_permits_nothing() -> None:
    before = Room().to("MOVING")
    again = Room()
    again.couch = before.couch  # the couch, its plan and its enable as the dead one left them
    again.clear()
    again.run(20)
    assert again.state == "IDLE"
    assert not again.of(fx.RefreshPermission)
    assert not again.of(fx.Execute)
    assert again.supervisor.memory.approvals == ()


class Noting:
    """A couch that looks into the record when it is told something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[int] = []

    def void_plan(self) -> Future[None]:
        with RecordStore(self.path, read_only=True) as reader:
            self.seen.append(reader.entries)
        done: Future[None] = Future()
        done.set_result(None)
        return done


# safety: SR-25
def test_what_is_recorded_is_on_the_disk_before_what_follows_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite"
    couch = Noting(path)
    parts: Any = dict.fromkeys(("imager", "pendant", "history", "taker"), SimpleNamespace())
    service = Service(
        Parts(
            supervisor=Supervisor(
                SupervisorConfig(machine="m", software_version="0"),
                MODEL,
                draw=lambda n: 0,
                utc_origin=ORIGIN,
            ),
            couch=couch,  # type: ignore[arg-type]
            checker=SimpleNamespace(surfaces={}),  # type: ignore[arg-type]
            record=RecordStore(path),
            record_path=path,
            machine=SimpleNamespace(couch=lambda: None),  # type: ignore[arg-type]
            plans={},
            simulator=True,
            clock_us=lambda: 0,
            **parts,
        )
    )
    for number in range(1, 6):
        note = fx.Record("note", "anna", str(number), {})
        service._perform([note, fx.VoidPlan("x")])
        assert couch.seen[-1] == number


# safety: SR-24
def test_an_export_carries_the_chain_and_can_be_checked_without_the_database(
    tmp_path: Path,
) -> None:
    with RecordStore(tmp_path / "record.sqlite") as store:
        for number in range(5):
            store.append("note", "anna", str(number), {}, number, UTC)
        lines = list(store.export())
    entries = [RecordEntry.model_validate_json(line) for line in lines]
    assert follow(entries)[1] is None
    for broken in ([*entries[:2], *entries[3:]], [entries[1], entries[0], *entries[2:]],
                   [*entries[:4], entries[4].model_copy(update={"text": "other"})]):  # fmt: skip
        assert follow(broken)[1] is not None
