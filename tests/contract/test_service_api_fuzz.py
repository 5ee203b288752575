"""The service's API fuzzed from its own OpenAPI description: no 5xx, no state change without authority.

Behind the door stands the real supervisor with a modelled room, so that what is fuzzed is the whole way of a command.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import argon2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from qa_books import qa_books
from room_rig import Room
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from igrt_hw.models.commands import CommandResult
from igrt_hw.models.users import ChainVerdict, Role
from igrt_hw.safety.status_view import status
from igrt_hw.server import roles
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.sessions import RateLimit
from igrt_hw.server.users import UserStore

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "long enough 1"
HOST = {"Host": "127.0.0.1:8421"}  # the door answers to its own names only
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


class Supervised:
    """The service that the door needs, with the real supervisor and no devices."""

    simulator = True

    def __init__(self, state: str) -> None:
        self.room = Room().to(state)
        self.books = qa_books()

    def fingerprint(self) -> str:
        """Everything a command could change."""
        m = self.room.supervisor.memory
        return repr((m.state, m.mode, m.plan, m.isocentre, m.fraction, m.setup_confirmed, m.stamp,
                     m.registration, m.proposal, m.challenge, m.approvals, m.motion, m.executed,
                     m.override, m.pending, m.qa))  # fmt: skip

    def status(self) -> Any:
        return status(self.room.supervisor, self.room.now_us)

    def status_json(self) -> str:
        return str(self.status().model_dump_json())

    def plans(self) -> Any:
        return (self.room.plan,)

    async def command(self, command: Any, session: Any) -> CommandResult:
        answer = self.room.ask(
            command, session.user.username, session.user.role.value, session.identity
        )
        return CommandResult(accepted=answer.accepted, message=answer.message, data=answer.data)

    def terminal_alive(self, terminal_id: str, session: Any, heard_us: int) -> None:
        pass

    def terminal_gone(self, terminal_id: str) -> None:
        pass

    async def image(self, image_uid: str) -> None:
        return None

    async def drr(self, image_uid: str, registered: bool) -> None:
        return None

    async def record(self, after: int, limit: int) -> list[Any]:
        return []

    async def verify_record(self) -> ChainVerdict:
        return ChainVerdict(ok=True, entries=0, problem="")

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        pass


class Target:
    """An application to be fuzzed, and a session for everybody."""

    def __init__(self, state: str) -> None:
        self.now_us = 0
        engine = create_engine(
            "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
        )
        users = UserStore(engine, demo_users=False, hasher=CHEAP)
        for role in Role:
            users.add(role.value, role.value.title(), role, PASSWORD)
        self.service = Supervised(state)
        unlimited = RateLimit(burst=10**6, per_second=10**6)
        self.door = Door(
            service=self.service,
            users=users,
            clock_us=lambda: self.now_us,
            utc=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC),
            sign_in_limit=unlimited,
            call_limit=unlimited,
        )
        at = self.door.utc()
        self.tokens = {
            role: self.door.sessions.open(users.verify(role.value, PASSWORD, at), 0)
            for role in Role
        }
        self.app = create_app(self.door)
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", self.app, headers=HOST)


EXPLORE = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def fuzz(target: Target, headers: dict[str, str], judge: Any) -> int:
    """Every operation of the description with generated requests; returns how many were sent."""
    sent = 0

    for found in target.schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/logout" and headers:
            continue  # it would end the session that all others need; it is fuzzed without one

        @EXPLORE
        @given(case=operation.as_strategy())
        def one(case: schemathesis.Case) -> None:
            nonlocal sent
            before = target.service.fingerprint()
            response = case.call(headers=HOST | headers)
            sent += 1
            case.validate_response(response, checks=CHECKS)
            judge(case, response, before != target.service.fingerprint())

        one()
    return sent


@pytest.mark.parametrize("state", ["IDLE", "CHECKED"])
def test_without_a_session_nothing_changes_and_nothing_breaks(state: str) -> None:
    target = Target(state)

    def judge(case: Any, response: Any, changed: bool) -> None:
        assert not changed, f"{case.method} {case.path} changed the state without a session"
        if case.path not in ("/api/health", "/api/login"):
            assert response.status_code in (401, 405, 411, 413, 422, 400, 404), response.text

    assert fuzz(target, {}, judge) > 100


@pytest.mark.parametrize("state", ["IDLE", "CHECKED"])
@pytest.mark.parametrize("role", list(Role))
def test_no_role_changes_what_it_has_no_right_to_and_nothing_breaks(role: Role, state: str) -> None:
    target = Target(state)

    def judge(case: Any, response: Any, changed: bool) -> None:
        if not changed:
            return
        assert (case.method, case.path) == ("POST", "/api/command")
        kind = (case.body if isinstance(case.body, dict) else json.loads(case.body))["kind"]
        assert roles.may_command(role, kind), f"{role} changed the state by {kind}"
        assert response.status_code == 200

    assert fuzz(target, {"Authorization": f"Bearer {target.tokens[role]}"}, judge) > 100
