"""The record in SQLite: appended, never changed, on the disk before the caller goes on.

SQLite only in this version: WAL, `synchronous=FULL`, triggers against UPDATE and DELETE. Other databases are refused
with a sentence, because their triggers and their durability have not been tested here.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from igrt_hw.models.qa import QaResult
from igrt_hw.models.record import RecordEntry
from igrt_hw.records import anchor, qa
from igrt_hw.records.chain import ChainProblem, Head, follow, next_entry
from igrt_hw.records.tables import METADATA

PAGE = 500

ENTRIES = Table(
    "entries",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("at_utc", String(40), nullable=False),
    Column("kind", String(40), nullable=False, index=True),
    Column("actor", String(100), nullable=False),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
)

_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{act.lower()} BEFORE {act} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END"
    for table in ("entries", "qa_results")
    for act in ("UPDATE", "DELETE")
)


class RecordStoreError(RuntimeError):
    """The record cannot be opened or written. Nothing may move without a record."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is to be recorded, before it has a place in the chain."""

    kind: str
    actor: str
    text: str
    at_us: int
    at_utc: str
    data: dict[str, object] = field(default_factory=dict)


class RecordStore:
    """The record of one room. One writer at a time, held by a lock file; readers any time (`read_only`)."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        if "://" in str(path):
            raise RecordStoreError(
                f"{path}: this version keeps its record in an SQLite file; give a file name"
            )
        self._path = Path(path)
        self._read_only = read_only
        if read_only and not self._path.exists():
            raise RecordStoreError(f"{self._path}: there is no record here")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = None if read_only else _lock(self._path)
        # One connection: the end of a read would roll back what another thread is writing on it.
        self._turn = threading.RLock()
        self._engine = create_engine(
            f"sqlite:///{self._path}",
            poolclass=StaticPool,
            connect_args={"timeout": 1.0, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", _prepare)
        try:
            with self._engine.begin() as connection:
                if not read_only:
                    METADATA.create_all(connection)
                    for trigger in _TRIGGERS:
                        connection.execute(text(trigger))
                self._head = _last(connection)
        except SQLAlchemyError as error:
            self.close()
            raise RecordStoreError(
                f"{self._path}: the record cannot be opened: {_cause(error)}"
            ) from error
        self._opening_problem = self._compare_with_anchor(self._head)

    # ---- writing ---------------------------------------------------------------------------------------------------

    def append(
        self, kind: str, actor: str, text: str, data: dict[str, object], at_us: int, at_utc: str
    ) -> RecordEntry:
        """Append one entry. It is on the disk when this returns. Raises `RecordStoreError`."""
        return self.append_all([Line(kind, actor, text, at_us, at_utc, data)])[0]

    def append_all(self, lines: Sequence[Line]) -> tuple[RecordEntry, ...]:
        """Append several entries in one transaction: all or none. Raises `RecordStoreError`."""
        if self._read_only:
            raise RecordStoreError(f"{self._path} is open for reading only")
        if self._opening_problem is not None:
            raise RecordStoreError(
                f"{self._path}: {self._opening_problem.sentence}. Keep a copy; then move the file away, or "
                "accept the problem by name, which is recorded"
            )
        return self._append(lines)

    def accept_problem(self, actor: str, at_us: int, at_utc: str) -> RecordEntry | None:
        """Go on with a record that did not agree with its anchor at opening. What was wrong becomes its next entry."""
        problem, self._opening_problem = self._opening_problem, None
        if problem is None:
            return None
        return self.append("record problem", actor, problem.sentence, {}, at_us, at_utc)

    @property
    def opening_problem(self) -> ChainProblem | None:
        """What did not agree with the anchor when the record was opened, and was not accepted yet."""
        return self._opening_problem

    def _append(self, lines: Sequence[Line]) -> tuple[RecordEntry, ...]:
        head, entries = self._head, []
        for line in lines:
            entry = next_entry(
                head,
                kind=line.kind,
                actor=line.actor,
                text=line.text,
                data=json.loads(
                    json.dumps(line.data, allow_nan=False)
                ),  # what is hashed is what can be read back
                at_us=line.at_us,
                at_utc=line.at_utc,
            )
            entries.append(entry)
            head = Head(entry.sequence, entry.digest)
        if not entries:
            return ()
        try:
            with self._turn, self._engine.begin() as connection:
                connection.execute(insert(ENTRIES), [_to_row(entry) for entry in entries])
                qa.store(connection, entries)
        except SQLAlchemyError as error:
            raise RecordStoreError(f"{self._path}: cannot append: {_cause(error)}") from error
        self._head = head
        anchor.write(self._anchor_path, head)
        return tuple(entries)

    # ---- reading ---------------------------------------------------------------------------------------------------

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self._head.sequence

    @property
    def head(self) -> str:
        """Digest of the last entry; 64 zeros if there is none."""
        return self._head.digest

    def read(self, after: int = 0, limit: int = PAGE) -> tuple[RecordEntry, ...]:
        """Entries after this sequence number, at most `limit` of them."""
        if limit < 1:
            raise ValueError(f"limit {limit} is below 1")
        query = (
            select(ENTRIES)
            .where(ENTRIES.c.sequence > after)
            .order_by(ENTRIES.c.sequence)
            .limit(limit)
        )
        with self._turn, self._engine.connect() as connection:
            return tuple(_to_entry(row) for row in connection.execute(query).mappings())

    def all(self) -> Iterator[RecordEntry]:
        """Every entry, page by page."""
        after = 0
        while page := self.read(after, PAGE):
            yield from page
            after = page[-1].sequence

    def of_kind(self, *kinds: str) -> tuple[RecordEntry, ...]:
        """Every entry of these kinds."""
        query = select(ENTRIES).where(ENTRIES.c.kind.in_(kinds)).order_by(ENTRIES.c.sequence)
        with self._turn, self._engine.connect() as connection:
            return tuple(_to_entry(row) for row in connection.execute(query).mappings())

    def qa_results(self, test: str | None = None) -> tuple[QaResult, ...]:
        """Results of daily QA from their table, oldest first; of one test, or of all."""
        if self._read_only and not self._has_qa():
            return ()
        with self._turn, self._engine.connect() as connection:
            return qa.stored(connection, test)

    def _has_qa(self) -> bool:
        """A record of an older version that nobody has written to since has no such table."""
        return inspect(self._engine).has_table("qa_results")

    def export(self) -> Iterator[str]:
        """JSON lines, one entry each, that carry the whole chain."""
        for entry in self.all():
            yield json.dumps(entry.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)

    # ---- checking --------------------------------------------------------------------------------------------------

    def verify(self) -> ChainProblem | None:
        """Walk the whole chain and compare with the anchor. None: it holds."""
        try:
            head, problem = follow(self.all())
        except ValueError as error:
            return ChainProblem(0, f"an entry cannot be read: {error}")
        if problem is not None:
            return problem
        return self._compare_with_anchor(head) or self._opening_problem or self._compare_qa()

    def _compare_qa(self) -> ChainProblem | None:
        try:
            wrong = qa.disagreement(self.of_kind(qa.RESULT), self.qa_results())
        except ValueError as error:
            wrong = f"a QA result cannot be read: {error}"
        return ChainProblem(0, wrong) if wrong else None

    def _compare_with_anchor(self, head: Head) -> ChainProblem | None:
        try:
            anchored = anchor.read(self._anchor_path)
        except anchor.AnchorError as error:
            return ChainProblem(0, str(error))
        if anchored is None:
            return (
                None
                if head.sequence == 0
                else ChainProblem(0, f"{self._anchor_path.name} is missing")
            )
        if anchored.sequence > head.sequence:
            return ChainProblem(
                head.sequence + 1,
                f"the record was cut off: it ends at entry {head.sequence}, its anchor knows {anchored.sequence}",
            )
        # The anchor may be behind by what a crash between the two writes left; what it names has to be in the chain.
        if anchored.sequence and self._digest_of(anchored.sequence) != anchored.digest:
            return ChainProblem(
                anchored.sequence, f"entry {anchored.sequence} is not the one that was anchored"
            )
        return None

    def _digest_of(self, sequence: int) -> str:
        query = select(ENTRIES.c.digest).where(ENTRIES.c.sequence == sequence)
        with self._turn, self._engine.connect() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return str(found or "")

    @property
    def _anchor_path(self) -> Path:
        return self._path.with_suffix(self._path.suffix + ".head")

    # ---- closing ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _lock(path: Path) -> IO[bytes]:
    """One writer: the lock goes with the process, however it ends."""
    file = path.with_suffix(path.suffix + ".lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RecordStoreError(
            f"{path}: another process is writing this record; it is locked"
        ) from error
    return file


def _prepare(connection: Any, _record: object) -> None:
    """Durability: set before anything is read."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _last(connection: Connection) -> Head:
    count = connection.execute(select(func.max(ENTRIES.c.sequence))).scalar_one_or_none()
    if not count:
        return Head()
    digest = connection.execute(
        select(ENTRIES.c.digest).where(ENTRIES.c.sequence == count)
    ).scalar_one()
    return Head(int(count), str(digest))


def _cause(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error)


def _to_row(entry: RecordEntry) -> dict[str, object]:
    row = entry.model_dump(mode="json")
    row["data"] = json.dumps(entry.data, sort_keys=True, ensure_ascii=False)
    return row


def _to_entry(row: Any) -> RecordEntry:
    fields = dict(row)
    fields["data"] = json.loads(fields["data"])
    return RecordEntry(**fields)
