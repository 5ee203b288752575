"""The service's face: who may ask, what is answered. The supervision behind it is recorded, not simulated."""

import asyncio
from datetime import UTC, datetime

import argon2
import httpx
import numpy as np
import pytest
from idle_service import idle_status
from pydantic import TypeAdapter
from qa_books import qa_books
from sqlalchemy import create_engine

from igrt_hw.client import (
    AsyncClient,
    CommandRefusedError,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
    NotSignedInError,
    SignInLockedError,
    TooManyRequestsError,
)
from igrt_hw.models import commands
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.users import ChainVerdict, Role
from igrt_hw.server.app import BODY_OCTETS_MAX, Door, create_app
from igrt_hw.server.pictures import scaled
from igrt_hw.server.sessions import IDLE_US_MAX, RateLimit
from igrt_hw.server.users import FAILURES_MAX, UserStore

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "long enough 1"

DIGEST = "ab" * 32
EVERY_COMMAND: dict[str, Command] = {
    command.kind: command
    for command in (
        commands.OpenPatient(
            plan_uid="1.2", patient_id="p", birth_date="19500101", isocentre_id="ISO1", fraction=1
        ),
        commands.ConfirmSetup(),
        commands.OverrideSetup(reason="other", text="why"),
        commands.AcquireImages(),
        commands.RegisterImages(),
        commands.Propose(),
        commands.RequestChallenge(digest=DIGEST),
        commands.Approve(digest=DIGEST, challenge_id="c", code="ACDE", fact="+1.0"),
        commands.Reject(digest=DIGEST, reason="poor images", text=""),
        commands.Arm(digest=DIGEST),
        commands.Stop(),
        commands.ReleaseBeam(),
        commands.MonitorTarget(on=True),
        commands.AcknowledgeAlarm(alarm_id="a"),
        commands.ResetFault(),
        commands.NextIsocentre(isocentre_id="ISO2"),
        commands.EnterMode(mode="service"),
        commands.HomeCouch(),
        commands.BeginQa(level="general"),
        commands.WatchInterlock(test="Door"),
        commands.NoteQa(test="Lasers", value=0.5),
        commands.FinishQa(),
        commands.ClosePatient(),
    )
}

# Written out apart from the code: a change of rights has to be made twice, on purpose.
#                        therapist physicist physician service
MATRIX = """
open_patient             yes       yes       no        no
confirm_setup            yes       yes       no        no
override_setup           yes       yes       yes       no
acquire_images           yes       yes       no        no
register                 yes       yes       no        no
propose                  yes       yes       no        no
request_challenge        yes       yes       yes       no
approve                  yes       yes       yes       no
reject                   yes       yes       yes       no
arm                      yes       yes       no        no
stop                     yes       yes       yes       yes
release_beam             yes       yes       no        no
monitor_target           yes       yes       no        no
acknowledge_alarm        yes       yes       yes       yes
reset_fault              yes       yes       no        yes
next_isocentre           yes       yes       no        no
enter_mode               yes       yes       no        yes
home_couch               no        yes       no        yes
close_patient            yes       yes       no        no
begin_qa                 yes       yes       no        yes
watch_interlock          yes       yes       no        yes
note_qa                  yes       yes       no        yes
finish_qa                yes       yes       no        yes
"""
CELLS = [
    (kind, role, cell == "yes")
    for kind, *row in (line.split() for line in MATRIX.strip().splitlines())
    for role, cell in zip(Role, row, strict=True)
]


class Recorded:
    """Takes everything, notes everything, answers what it was told to."""

    simulator = True

    def __init__(self):
        self.commands = []
        self.terminals = []
        self.notes = []
        self.answer = CommandResult(accepted=True, message="done")
        self.pixels = np.linspace(0.0, 4.0, 12, dtype=np.float32).reshape(3, 4)

    def status(self):
        return idle_status()

    def status_json(self):
        return idle_status().model_dump_json()

    def plans(self):
        return ()

    async def command(self, command, session):
        self.commands.append((command, session))
        return self.answer

    def terminal_alive(self, terminal_id, session, heard_us):
        self.terminals.append(("alive", terminal_id))

    def terminal_gone(self, terminal_id):
        self.terminals.append(("gone", terminal_id))

    async def image(self, image_uid):
        return scaled(self.pixels) if image_uid == "1.2.3" else None

    async def drr(self, image_uid, registered):
        return scaled(self.pixels + registered) if image_uid == "1.2.3" else None

    async def record(self, after, limit):
        return []

    async def verify_record(self):
        return ChainVerdict(ok=True, entries=0, problem="")

    def note(self, kind, actor, text, data):
        self.notes.append((kind, actor))


class Bench:
    """A door with its service, its clock and clients that need no network."""

    def __init__(self, tmp_path):
        self.now_us = 0
        users = UserStore(
            create_engine(f"sqlite:///{tmp_path / 'store.sqlite'}"), demo_users=False, hasher=CHEAP
        )
        for role in Role:
            users.add(role.value, role.value.title(), role, PASSWORD)
        self.service = Recorded()
        self.service.books = qa_books()
        self.door = Door(
            service=self.service,
            users=users,
            clock_us=lambda: self.now_us,
            utc=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC),
        )
        self.app = create_app(self.door)

    def client(self):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return AsyncClient("http://127.0.0.1:8421", transport=transport)

    async def signed_in(self, role=Role.THERAPIST):
        client = self.client()
        await client.login(role.value, PASSWORD)
        return client


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_the_matrix_of_this_test_has_every_command():
    kinds = {kind for kind, _, _ in CELLS}
    schema = TypeAdapter(Command).json_schema()
    assert kinds == set(schema["discriminator"]["mapping"]) == set(EVERY_COMMAND)
    assert len(CELLS) == len(kinds) * len(Role)


@pytest.mark.parametrize(("kind", "role", "allowed"), CELLS)
async def test_every_cell_of_the_role_matrix(bench, kind, role, allowed):
    client = await bench.signed_in(role)
    if allowed:
        assert (await client.send(EVERY_COMMAND[kind])).accepted
        assert [c.kind for c, _ in bench.service.commands] == [kind]
        assert bench.service.commands[0][1].user.role is role
    else:
        with pytest.raises(NotPermittedError, match=f"a {role} may not"):
            await client.send(EVERY_COMMAND[kind])
        assert bench.service.commands == []
        assert ("command_not_permitted", role.value) in bench.service.notes


CALLS_THAT_NEED_A_SESSION = [
    ("GET", "/api/status"),
    ("GET", "/api/plans"),
    ("POST", "/api/command"),
    ("GET", "/api/images/1.2.3"),
    ("GET", "/api/images/1.2.3/drr"),
    ("GET", "/api/record"),
    ("GET", "/api/record/verify"),
    ("GET", "/api/room/picture"),
    ("GET", "/api/room/map"),
    ("GET", "/api/images/1.2.3/nudged"),
    ("GET", "/api/images/1.2.3/landmarks"),
    ("GET", "/api/qa/tests"),
    ("GET", "/api/qa/runs"),
    ("GET", "/api/qa/trend"),
    ("GET", "/api/trends/shifts"),
    ("GET", "/api/trends/anatomy"),
    ("GET", "/api/review/overrides"),
    ("GET", "/api/review/alarms"),
    ("GET", "/api/procedures"),
    ("POST", "/api/logout"),
    ("POST", "/api/second_person"),
]


def test_the_list_of_calls_that_need_a_session_is_complete(bench):
    described = {
        (method.upper(), path)
        for path, methods in bench.app.openapi()["paths"].items()
        for method in methods
    }
    needs = {(m, p.replace("1.2.3", "{image_uid}")) for m, p in CALLS_THAT_NEED_A_SESSION}
    assert described - needs == {("GET", "/api/health"), ("POST", "/api/login")}


@pytest.mark.parametrize(("method", "path"), CALLS_THAT_NEED_A_SESSION)
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer guessed"}, {"Authorization": "Basic abc"}]
)
async def test_nothing_is_told_or_done_without_a_session(bench, method, path, headers):
    transport = httpx.ASGITransport(bench.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        body = {"kind": "stop"} if method == "POST" else None
        answer = await http.request(method, path, headers=headers, json=body)
    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)
    assert bench.service.commands == []


async def test_a_token_in_the_query_is_not_taken_by_http_calls(bench):
    client = await bench.signed_in()
    transport = httpx.ASGITransport(bench.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/api/status", params={"token": client.signed_in.token})
    assert answer.status_code == 401


async def test_health_says_that_it_is_no_medical_device(bench):
    health = await bench.client().health()
    assert health.not_a_medical_device
    assert health.simulator


async def test_repeated_failures_lock_and_are_recorded(bench):
    client = bench.client()
    for _ in range(FAILURES_MAX):
        with pytest.raises(NotSignedInError):
            await client.login("therapist", "wrong")
    with pytest.raises(SignInLockedError, match="locked"):
        await client.login("therapist", PASSWORD)
    kinds = [kind for kind, _ in bench.service.notes]
    assert kinds == ["sign_in_failed"] * FAILURES_MAX + ["sign_in_locked"]


async def test_attempts_to_sign_in_are_rate_limited_across_names(bench):
    client = bench.client()
    answers = []
    for number in range(100):
        with pytest.raises((NotSignedInError, TooManyRequestsError)) as refused:
            await client.login(f"name{number}", "wrong")
        answers.append(refused.type)
    assert answers[0] is NotSignedInError
    assert answers[-1] is TooManyRequestsError


async def test_a_session_ends_when_it_is_idle(bench):
    client = await bench.signed_in()
    bench.now_us += IDLE_US_MAX + 1
    with pytest.raises(NotSignedInError, match="sign in again"):
        await client.status()


async def test_logout_ends_the_session(bench):
    client = await bench.signed_in()
    signed_in = client.signed_in
    await client.logout()
    client.use(signed_in)
    with pytest.raises(NotSignedInError):
        await client.status()


async def test_a_refusal_of_the_state_machine_comes_back_with_its_sentence(bench):
    client = await bench.signed_in()
    bench.service.answer = CommandResult(accepted=False, message="no images yet: take the pair")
    result = await client.send(commands.Propose())
    assert not result.accepted
    assert result.message == "no images yet: take the pair"
    with pytest.raises(CommandRefusedError, match="take the pair"):
        await client.demand(commands.Propose())


async def test_stop_passes_when_the_rate_limit_is_used_up(bench):
    bench.door.call_limit = RateLimit(burst=1, per_second=0.0)
    client = await bench.signed_in()
    await client.status()
    with pytest.raises(TooManyRequestsError):
        await client.status()
    with pytest.raises(TooManyRequestsError):
        await client.send(commands.Propose())
    assert (await client.send(commands.Stop())).accepted


async def test_the_second_person_must_be_another_person(bench):
    client = await bench.signed_in()
    with pytest.raises(CommandRefusedError, match="another person"):
        await client.second_person("therapist", PASSWORD)


async def test_an_image_arrives_as_it_was(bench):
    client = await bench.signed_in()
    image = await client.image("1.2.3")
    assert image.pixels.shape == (3, 4)
    np.testing.assert_allclose(image.line_integrals(), bench.service.pixels, atol=1e-4)
    drr = await client.drr("1.2.3", registered=True)
    np.testing.assert_allclose(drr.line_integrals(), bench.service.pixels + 1.0, atol=1e-4)


async def test_an_image_that_is_not_there_is_a_404(bench):
    client = await bench.signed_in()
    with pytest.raises(NotFoundError, match=r"9\.9"):
        await client.image("9.9")


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "stop", "extra": 1},
        {"kind": "no such"},
        {"kind": "open_patient", "plan_uid": "1"},
        {"kind": "reject", "digest": "a", "reason": "because", "text": ""},
        [],
    ],
)
async def test_what_is_not_a_command_is_refused_with_a_sentence(bench, body):
    client = await bench.signed_in()
    transport = httpx.ASGITransport(bench.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        headers = {"Authorization": f"Bearer {client.signed_in.token}"}
        answer = await http.post("/api/command", json=body, headers=headers)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert bench.service.commands == []


async def test_a_large_body_is_refused_before_it_is_read(bench):
    transport = httpx.ASGITransport(bench.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.post("/api/login", content=b"x" * (BODY_OCTETS_MAX + 1))
    assert answer.status_code == 413


async def test_another_name_for_the_loopback_is_refused(bench):
    transport = httpx.ASGITransport(bench.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as http:
        answer = await http.get("/api/health")
    assert answer.status_code == 400


async def test_a_defect_is_a_sentence_and_a_note_never_a_traceback(bench):
    async def broken(after, limit):
        raise ZeroDivisionError("secret detail")

    bench.service.record = broken
    client = await bench.signed_in()
    transport = httpx.ASGITransport(bench.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        headers = {"Authorization": f"Bearer {client.signed_in.token}"}
        answer = await http.get("/api/record", headers=headers)
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "secret" not in answer.text
    assert ("service_error", "service") in bench.service.notes


async def test_the_record_is_read_in_bounded_pieces(bench):
    client = await bench.signed_in()
    with pytest.raises(InvalidRequestError, match="limit"):
        await client.record(limit=1_000_000)


def test_an_image_without_a_usable_pixel_is_not_shown():
    with pytest.raises(ValueError, match="no usable pixel"):
        scaled(np.array([[np.nan, np.inf]], dtype=np.float32))


async def test_a_pixel_that_holds_nothing_arrives_as_nothing(bench):
    bench.service.pixels[1, 2] = np.nan
    client = await bench.signed_in()
    values = (await client.image("1.2.3")).line_integrals()
    assert np.argwhere(np.isnan(values)).tolist() == [[1, 2]]


async def test_commands_of_many_clients_do_not_wait_for_a_slow_sign_in(bench):
    client = await bench.signed_in()
    original = bench.door.users.verify

    def slow(*arguments):
        import time

        time.sleep(0.5)
        return original(*arguments)

    bench.door.users.verify = slow
    other = bench.client()
    signing_in = asyncio.create_task(other.login("physicist", PASSWORD))
    await asyncio.sleep(0.05)
    await client.send(commands.Stop())
    assert not signing_in.done()
    await signing_in


async def test_the_day_is_read_back_as_it_was_recorded(bench):
    client = await bench.signed_in()
    assert {test.name for test in await client.qa_tests()} >= {"Door", "Shift test: matching"}
    (run,) = await client.qa_runs()
    assert (run.run_id, run.passed, run.missing) == ("Q-1", False, ("Door",))
    assert [result.value for result in run.results] == [0.5]
    trend = await client.qa_trend("Lasers")
    assert [point.value for point in trend.points] == [0.5]
    assert (trend.limit_general, trend.limit_stereotactic, trend.mean) == (2.0, 1.0, 0.5)
    review = await client.override_review()
    assert (len(review.overrides), review.setups, review.rate) == (1, 1, 1.0)
    assert {count.name for count in review.by_person} == {"thea", "phil"}
    alarms = await client.alarm_review()
    assert (alarms.raised, alarms.rates[0].ended_unacknowledged) == (1, 1)
    shifts = await client.shift_trend("IGRT-0001", "1.2.3.plan")
    assert shifts.levels.site == "lung_sbrt"
    assert {p.name for p in await client.procedures()} >= {"egress", "fault"}


async def test_a_test_or_a_patient_that_is_not_there_is_a_404(bench):
    client = await bench.signed_in()
    with pytest.raises(NotFoundError, match="no daily test"):
        await client.qa_trend("Weather")
    with pytest.raises(NotFoundError, match="no such plan"):
        await client.shift_trend("IGRT-0001", "1.2.3.other")
