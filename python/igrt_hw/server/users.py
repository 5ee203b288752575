"""Users in the store: argon2 hashes, roles, a lock after repeated failures that survives a restart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from igrt_hw.models.users import Role

FAILURES_MAX = 5
LOCK_FOR = timedelta(minutes=5)
PASSWORD_CHARACTERS_MIN = 10
PASSWORD_CHARACTERS_MAX = 200  # a limit on what one call may make argon2 chew on
_USERNAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")

_METADATA = MetaData()
_USERS = Table(
    "users",
    _METADATA,
    Column("username", String(32), primary_key=True),
    Column("display_name", String(80), nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", String(256), nullable=False),
    Column("demo", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until_utc", String(32), nullable=False),
)


class UserError(Exception):
    """A user cannot be added; the sentence says why."""


class WrongPasswordError(Exception):
    """Name and password do not fit. Says nothing about which of them."""


class LockedError(Exception):
    """Too many failures: locked until a time."""


@dataclass(frozen=True, slots=True)
class User:
    """One person."""

    username: str
    display_name: str
    role: Role
    demo: bool


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A user that exists only while the service runs with `--demo-users`; the password is public."""

    username: str
    display_name: str
    role: Role
    password: str


DEMO_USERS = (
    DemoUser("demo", "Dana Demo (therapist)", Role.THERAPIST, "demo-therapist"),
    DemoUser("demo.physicist", "Pat Demo (physicist)", Role.PHYSICIST, "demo-physicist"),
    DemoUser("demo.physician", "Ash Demo (physician)", Role.PHYSICIAN, "demo-physician"),
    DemoUser("demo.service", "Sam Demo (service)", Role.SERVICE, "demo-service-1"),
)


class UserStore:
    """Users in a SQL table. Demo users never sign in unless `demo_users` is set, even if a store has them."""

    def __init__(
        self, engine: Engine, *, demo_users: bool, hasher: argon2.PasswordHasher | None = None
    ) -> None:
        self._engine = engine
        self._demo_users = demo_users
        self._hasher = hasher or argon2.PasswordHasher()
        self._nobody_hash = self._hasher.hash("nobody has this password")
        _METADATA.create_all(engine)
        if demo_users:
            self._ensure_demo_users()

    def _ensure_demo_users(self) -> None:
        for person in DEMO_USERS:
            row = self._row(person.username)
            if row is not None and not row["demo"]:
                raise UserError(
                    f"the store has a real user {person.username!r}; "
                    "use another store with --demo-users"
                )
            if row is None:
                self._insert(
                    person.username, person.display_name, person.role, person.password, True
                )

    def _row(self, username: str) -> RowMapping | None:
        with self._engine.connect() as connection:
            query = select(_USERS).where(_USERS.c.username == username)
            return connection.execute(query).mappings().first()

    def _insert(
        self, username: str, display_name: str, role: Role, password: str, demo: bool
    ) -> None:
        row = {
            "username": username,
            "display_name": display_name,
            "role": role.value,
            "password_hash": self._hasher.hash(password),
            "demo": demo,
            "failures": 0,
            "locked_until_utc": "",
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_USERS).values(row))
        except IntegrityError as error:
            raise UserError(f"there is already a user {username!r}") from error

    def add(self, username: str, display_name: str, role: Role, password: str) -> User:
        """Add a person; raises `UserError` with the reason."""
        if not _USERNAME.fullmatch(username):
            raise UserError(
                f"{username!r} is no user name: begin with a letter, then up to 31 of a-z 0-9 . _ -"
            )
        if not display_name.strip() or len(display_name) > 80:
            raise UserError("the display name must have 1 to 80 characters")
        if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
            raise UserError(
                f"a password has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
            )
        self._insert(username, display_name, role, password, False)
        return User(username, display_name, role, False)

    def all(self) -> list[User]:
        """Everybody in the store, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_USERS).order_by(_USERS.c.username)).mappings().all()
        return [_user(row) for row in rows]

    def verify(self, username: str, password: str, now: datetime) -> User:
        """The user of this name and password; takes tens of milliseconds on purpose.

        Raises `LockedError` while locked, `WrongPasswordError` otherwise. An unknown name costs the same
        time as a known one.
        """
        row = self._row(username)
        if row is not None and row["demo"] and not self._demo_users:
            row = None
        if row is not None:
            self._refuse_locked(row, now)
        password_hash = self._nobody_hash if row is None else str(row["password_hash"])
        if not self._fits(password_hash, password) or row is None:
            if row is not None:
                self._count_failure(row, now)
            raise WrongPasswordError("name and password do not fit")
        self._set(username, failures=0, locked_until_utc="")
        return _user(row)

    def _fits(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password[: PASSWORD_CHARACTERS_MAX + 1])
        except (VerificationError, InvalidHashError):
            return False

    def _refuse_locked(self, row: RowMapping, now: datetime) -> None:
        if not row["locked_until_utc"]:
            return
        until = datetime.fromisoformat(row["locked_until_utc"])
        if now < until:
            raise LockedError(
                f"{row['username']} is locked after {FAILURES_MAX} failed attempts, "
                f"until {until.astimezone(UTC):%H:%M:%S} UTC"
            )

    def _count_failure(self, row: RowMapping, now: datetime) -> None:
        failures = int(row["failures"]) + 1
        if failures < FAILURES_MAX:
            self._set(row["username"], failures=failures, locked_until_utc="")
            return
        until = (now + LOCK_FOR).astimezone(UTC).isoformat()
        self._set(row["username"], failures=0, locked_until_utc=until)

    def _set(self, username: str, *, failures: int, locked_until_utc: str) -> None:
        change = {"failures": failures, "locked_until_utc": locked_until_utc}
        with self._engine.begin() as connection:
            connection.execute(update(_USERS).where(_USERS.c.username == username).values(change))


def open_users(store: Path, *, demo_users: bool) -> UserStore:
    """The users of a store folder; the folder is made, readable by its owner only."""
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(f"sqlite:///{store / 'users.sqlite'}")
    return UserStore(engine, demo_users=demo_users)


def _user(row: RowMapping) -> User:
    return User(row["username"], row["display_name"], Role(row["role"]), bool(row["demo"]))
