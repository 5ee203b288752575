"""User sessions and rate limits: pure bookkeeping, time is an argument (microseconds of a steady clock)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from igrt_hw.server.users import User

IDLE_US_MAX = 30 * 60 * 1_000_000
AGE_US_MAX = 10 * 3600 * 1_000_000  # no shift is longer
SESSIONS_MAX = 64


class NoSessionError(Exception):
    """There is no such session, or it has ended."""


class TooManySessionsError(Exception):
    """The limit on open sessions is reached."""


@dataclass(frozen=True, slots=True)
class UserSession:
    """One person signed in at one terminal. `parent` is the session of the first person at it."""

    identity: str
    user: User
    opened_us: int
    used_us: int
    parent: str | None


class Sessions:
    """Open sessions by the hash of their token, so that a memory dump or a log never holds a token."""

    def __init__(self, new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> None:
        self._new_token = new_token
        self._open: dict[str, UserSession] = {}

    def open(self, user: User, now_us: int, parent: UserSession | None = None) -> str:
        """Open a session and return its token; raises `TooManySessionsError`."""
        self._drop_ended(now_us)
        if len(self._open) >= SESSIONS_MAX:
            raise TooManySessionsError(
                f"{SESSIONS_MAX} sessions are open; sign out somewhere or wait for one to expire"
            )
        token = self._new_token()
        identity = _hash(token)
        above = parent.identity if parent else None
        self._open[identity] = UserSession(identity, user, now_us, now_us, above)
        return token

    def use(self, token: str, now_us: int) -> UserSession:
        """The session of a token, whose idle time begins again; raises `NoSessionError`."""
        used = replace(self.look(token, now_us), used_us=now_us)
        self._open[used.identity] = used
        return used

    def look(self, token: str, now_us: int) -> UserSession:
        """The session of a token without renewing it: a screen left alone does not keep a person signed in."""
        session = self._open.get(_hash(token))
        if session is None or not self._lives(session, now_us):
            raise NoSessionError("there is no such session, or it has ended; sign in again")
        return session

    def close(self, session: UserSession) -> None:
        """End a session and those of second persons under it."""
        gone = [
            identity
            for identity, other in self._open.items()
            if session.identity in (identity, other.parent)
        ]
        for identity in gone:
            del self._open[identity]

    def _lives(self, session: UserSession, now_us: int) -> bool:
        if session.parent is not None and session.parent not in self._open:
            return False
        return now_us - session.used_us <= IDLE_US_MAX and now_us - session.opened_us <= AGE_US_MAX

    def _drop_ended(self, now_us: int) -> None:
        self._open = {
            identity: session
            for identity, session in self._open.items()
            if self._lives(session, now_us)
        }


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class RateLimit:
    """A token bucket per key: `burst` at once, refilled at `per_second`. Keys are forgotten when full again."""

    def __init__(self, burst: float, per_second: float) -> None:
        # In millionths of a call, so that microseconds times a rate stay exact.
        self._burst = burst * 1e6
        self._per_us = per_second
        self._level: dict[str, tuple[float, int]] = {}

    def allows(self, key: str, now_us: int) -> bool:
        """Take one from the key's bucket if there is one."""
        level, at_us = self._level.get(key, (self._burst, now_us))
        level = min(self._burst, level + (now_us - at_us) * self._per_us)
        if len(self._level) > 1024:
            self._forget_full(now_us)
        if level < 1e6:
            self._level[key] = (level, now_us)
            return False
        self._level[key] = (level - 1e6, now_us)
        return True

    def _forget_full(self, now_us: int) -> None:
        self._level = {
            key: (level, at_us)
            for key, (level, at_us) in self._level.items()
            if level + (now_us - at_us) * self._per_us < self._burst
        }
