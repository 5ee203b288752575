"""The HTTP and WebSocket face of the service, as `docs/service_api.md` describes it.

It knows who may ask (roles, sessions, limits) and nothing about when: that is the supervisor's.
Handlers only translate.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from igrt_hw import __version__
from igrt_hw.models.anatomy import ChangeTrend
from igrt_hw.models.base import Frozen
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import QaRun, QaTest, QaTrend
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.models.trends import ShiftTrend
from igrt_hw.models.users import ChainVerdict, Health, SignedIn
from igrt_hw.server import roles
from igrt_hw.server.alive import AliveClock
from igrt_hw.server.pictures import Picture
from igrt_hw.server.sessions import (
    AGE_US_MAX,
    NoSessionError,
    RateLimit,
    Sessions,
    TooManySessionsError,
    UserSession,
)
from igrt_hw.server.users import LockedError, UserStore, WrongPasswordError

logger = logging.getLogger(__name__)

STREAM_PERIOD_S = 0.05
BODY_OCTETS_MAX = 64 * 1024  # the largest command is below one kilobyte
STREAM_MESSAGE_OCTETS_MAX = 1024
CLOSE_NOT_SIGNED_IN = 4401
CLOSE_NOT_PERMITTED = 4403
CLOSE_NOT_UNDERSTOOD = 4422
TERMINAL_ID_CHARACTERS_MAX = 64


class Books(Protocol):
    """What can be read beside the live status."""

    def qa_tests(self) -> Sequence[QaTest]:
        """The daily tests."""

    async def qa_runs(self, limit: int) -> list[QaRun]:
        """Daily QA runs, newest first."""

    async def qa_trend(self, test: str, days: int) -> QaTrend | None:
        """A daily test over time; None if there is no such test."""

    async def change_trend(self, patient_id: str, plan_uid: str) -> ChangeTrend | None:
        """How a patient has changed; None without such a plan."""

    async def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend | None:
        """Shifts of a patient; None if this service has read no such plan of this patient."""

    async def override_review(self, days: int) -> OverrideReview:
        """Overrides and their rates."""

    async def alarm_review(self, days: int) -> AlarmReview:
        """Alarms and their rates."""

    def procedures(self) -> Sequence[Procedure]:
        """What to do when something went wrong."""


class Supervision(Protocol):
    """What the face needs of the service behind it."""

    @property
    def simulator(self) -> bool:
        """Whether the devices are simulated."""

    def status(self) -> SupervisorStatus:
        """Everything now."""

    def status_json(self) -> str:
        """The same, serialised once for all listeners."""

    def plans(self) -> Sequence[TreatmentPlan]:
        """The plans that have been read."""

    async def command(self, command: Command, session: UserSession) -> CommandResult:
        """Hand a permitted command to the supervisor."""

    def terminal_alive(self, terminal_id: str, session: UserSession, heard_us: int) -> None:
        """A terminal renews its lease: it was alive at this instant of the service's clock."""

    def terminal_gone(self, terminal_id: str) -> None:
        """A terminal's connection ended."""

    async def image(self, image_uid: str) -> Picture | None:
        """A corrected image; None if there is none."""

    async def drr(self, image_uid: str, registered: bool) -> Picture | None:
        """The DRR of its view; None if there is none."""

    async def record(self, after: int, limit: int) -> list[RecordEntry]:
        """Entries of the record."""

    async def verify_record(self) -> ChainVerdict:
        """Check the chain."""

    @property
    def books(self) -> Books:
        """What is read from the record, and lists that never change."""

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        """Write what happened at the door into the record."""


@dataclass(slots=True)
class Door:
    """All that stands between a call and the service. Clocks are arguments, so that tests can turn them."""

    service: Supervision
    users: UserStore
    clock_us: Callable[[], int]
    utc: Callable[[], datetime]
    sessions: Sessions = field(default_factory=Sessions)
    sign_in_limit: RateLimit = field(default_factory=lambda: RateLimit(burst=20, per_second=0.5))
    call_limit: RateLimit = field(default_factory=lambda: RateLimit(burst=200, per_second=50))


class RefusalError(Exception):
    """An answer other than success: code and sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Credentials(Frozen):
    """Name and password."""

    username: str
    password: str


class Detail(Frozen):
    """The form of every error: a sentence."""

    detail: str


class _Alive(Frozen):
    type: str
    terminal_id: str
    sent_us: int | None = None


def _door(connection: HTTPConnection) -> Door:
    door = connection.app.state.door
    assert isinstance(door, Door)
    return door


def _token(connection: HTTPConnection, query_allowed: bool) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    if query_allowed and connection.query_params.get("token"):
        return connection.query_params["token"]
    raise RefusalError(401, "sign in first: the call carries no session")


def _caller(request: Request) -> UserSession:
    """The session of a call; every call renews it and is counted."""
    door = _door(request)
    try:
        session = door.sessions.use(_token(request, query_allowed=False), door.clock_us())
    except NoSessionError as error:
        raise RefusalError(401, str(error)) from error
    return session


def _limited(request: Request, session: Annotated[UserSession, Depends(_caller)]) -> UserSession:
    door = _door(request)
    if not door.call_limit.allows(session.identity, door.clock_us()):
        raise RefusalError(429, "too many calls from this session; use the stream, and slow down")
    return session


Caller = Annotated[UserSession, Depends(_caller)]
LimitedCaller = Annotated[UserSession, Depends(_limited)]

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Detail} for code in (400, 401, 403, 404, 409, 411, 413, 422, 423, 429, 500)
}
router = APIRouter(prefix="/api", responses=_ERRORS)


@router.get("/health")
async def health(request: Request) -> Health:
    """What answers here."""
    return Health(
        service="igrt-hw",
        version=__version__,
        simulator=_door(request).service.simulator,
        not_a_medical_device=True,
    )


async def _sign_in(
    request: Request, credentials: Credentials, parent: UserSession | None
) -> SignedIn:
    door = _door(request)
    address = request.client.host if request.client else "local"
    if not door.sign_in_limit.allows(address, door.clock_us()):
        raise RefusalError(429, "too many attempts to sign in from this address; wait a minute")
    name = credentials.username[:32]
    try:
        user = await asyncio.to_thread(
            door.users.verify, credentials.username, credentials.password, door.utc()
        )
        token = door.sessions.open(user, door.clock_us(), parent)
    except WrongPasswordError as error:
        door.service.note("sign_in_failed", name, "a sign-in failed", {"address": address})
        raise RefusalError(401, str(error)) from error
    except LockedError as error:
        door.service.note("sign_in_locked", name, str(error), {"address": address})
        raise RefusalError(423, str(error)) from error
    except TooManySessionsError as error:
        raise RefusalError(429, str(error)) from error
    second = parent is not None
    text = f"{user.display_name} signed in" + (" as second person" if second else "")
    door.service.note(
        "signed_in", user.username, text, {"role": user.role.value, "address": address}
    )
    expires = door.utc() + timedelta(microseconds=AGE_US_MAX)
    return SignedIn(
        token=token,
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        expires_utc=expires.astimezone(UTC).isoformat(),
    )


@router.post("/login")
async def login(request: Request, credentials: Credentials) -> SignedIn:
    """Open a user session."""
    return await _sign_in(request, credentials, None)


@router.post("/second_person")
async def second_person(
    request: Request, session: LimitedCaller, credentials: Credentials
) -> SignedIn:
    """Open a session for the second approver on the same terminal; the same person is refused."""
    if credentials.username == session.user.username:
        raise RefusalError(409, "the second person must be another person")
    return await _sign_in(request, credentials, session)


@router.post("/logout")
async def logout(request: Request, session: Caller) -> Response:
    """End the session, and those of second persons under it."""
    door = _door(request)
    door.sessions.close(session)
    door.service.note(
        "signed_out", session.user.username, f"{session.user.display_name} signed out", {}
    )
    return Response(status_code=204)


def _may_read(session: UserSession, what: str) -> None:
    if not roles.may_read(session.user.role, what):
        raise RefusalError(403, f"a {session.user.role} may not read {what}")


@router.get("/status")
async def status(request: Request, session: LimitedCaller) -> SupervisorStatus:
    """Everything now."""
    _may_read(session, "status")
    return _door(request).service.status()


@router.get("/plans")
async def plans(request: Request, session: LimitedCaller) -> list[TreatmentPlan]:
    """The plans this service has read."""
    _may_read(session, "plans")
    return list(_door(request).service.plans())


@router.post("/command")
async def command(request: Request, session: Caller, ask: Command) -> CommandResult:
    """The only way to ask for anything. Not rate limited for STOP."""
    door = _door(request)
    if ask.kind != "stop" and not door.call_limit.allows(session.identity, door.clock_us()):
        raise RefusalError(429, "too many commands from this session; slow down")
    if not roles.may_command(session.user.role, ask.kind):
        sentence = roles.refusal(session.user.role, ask.kind)
        door.service.note(
            "command_not_permitted", session.user.username, sentence, {"command": ask.kind}
        )
        raise RefusalError(403, sentence)
    result = await door.service.command(ask, session)
    if not result.accepted:
        raise RefusalError(409, result.message)
    return result


def _picture(picture: Picture | None, image_uid: str) -> Response:
    if picture is None:
        raise RefusalError(404, f"there is no image {image_uid[:80]}")
    return Response(
        content=picture.octets(),
        media_type="application/octet-stream",
        headers=picture.headers() | {"Cache-Control": "no-store"},
    )


_PICTURE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "16-bit pixels"}
}


@router.get("/images/{image_uid}", response_class=Response, responses=_PICTURE_ANSWER)
async def image(request: Request, session: LimitedCaller, image_uid: str) -> Response:
    """A corrected image scaled to 16 bit."""
    _may_read(session, "images")
    return _picture(await _door(request).service.image(image_uid), image_uid)


@router.get("/images/{image_uid}/drr", response_class=Response, responses=_PICTURE_ANSWER)
async def drr(
    request: Request, session: LimitedCaller, image_uid: str, registered: bool = False
) -> Response:
    """The DRR of the same view, at the nominal or at the registered pose."""
    _may_read(session, "images")
    return _picture(await _door(request).service.drr(image_uid, registered), image_uid)


@router.get("/record")
async def record(
    request: Request,
    session: LimitedCaller,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[RecordEntry]:
    """Entries with a sequence above `after`, oldest first."""
    _may_read(session, "record")
    return await _door(request).service.record(after, limit)


@router.get("/record/verify")
async def verify_record(request: Request, session: LimitedCaller) -> ChainVerdict:
    """Check the chain."""
    _may_read(session, "record")
    return await _door(request).service.verify_record()


Days = Annotated[int, Query(ge=1, le=3660)]
PatientId = Annotated[str, Query(min_length=1, max_length=64)]
PlanUid = Annotated[str, Query(min_length=1, max_length=64)]


@router.get("/qa/tests")
async def qa_tests(request: Request, session: LimitedCaller) -> list[QaTest]:
    """The daily tests, with their steps, tolerances and sources."""
    _may_read(session, "qa")
    return list(_door(request).service.books.qa_tests())


@router.get("/qa/runs")
async def qa_runs(
    request: Request, session: LimitedCaller, limit: Annotated[int, Query(ge=1, le=400)] = 30
) -> list[QaRun]:
    """Daily QA runs with their results, newest first."""
    _may_read(session, "qa")
    return await _door(request).service.books.qa_runs(limit)


@router.get("/qa/trend")
async def qa_trend(
    request: Request,
    session: LimitedCaller,
    test: Annotated[str, Query(min_length=1, max_length=80)],
    days: Days = 365,
) -> QaTrend:
    """One daily test over time, with mean, deviation and slope."""
    _may_read(session, "qa")
    found = await _door(request).service.books.qa_trend(test, days)
    if found is None:
        raise RefusalError(404, f"there is no daily test {test[:80]}; /api/qa/tests lists them")
    return found


@router.get("/trends/shifts")
async def shift_trend(
    request: Request,
    session: LimitedCaller,
    patient_id: PatientId,
    plan_uid: PlanUid,
) -> ShiftTrend:
    """The shifts of a patient, fraction by fraction, with the action levels of the site."""
    _may_read(session, "trends")
    found = await _door(request).service.books.shift_trend(patient_id, plan_uid)
    if found is None:
        raise RefusalError(404, "this service has read no such plan of this patient")
    return found


@router.get("/trends/anatomy")
async def change_trend(
    request: Request,
    session: LimitedCaller,
    patient_id: PatientId,
    plan_uid: PlanUid,
) -> ChangeTrend:
    """How a patient has changed since the planning CT, registration by registration, with slopes and a forecast."""
    _may_read(session, "trends")
    found = await _door(request).service.books.change_trend(patient_id, plan_uid)
    if found is None:
        raise RefusalError(404, "this service has read no such plan of this patient")
    return found


@router.get("/review/overrides")
async def override_review(
    request: Request, session: LimitedCaller, days: Days = 1
) -> OverrideReview:
    """What was overridden in the last days, by whom and why, and how often."""
    _may_read(session, "reviews")
    return await _door(request).service.books.override_review(days)


@router.get("/review/alarms")
async def alarm_review(request: Request, session: LimitedCaller, days: Days = 1) -> AlarmReview:
    """How often each alarm sounded in the last days."""
    _may_read(session, "reviews")
    return await _door(request).service.books.alarm_review(days)


@router.get("/procedures")
async def procedures(request: Request, session: LimitedCaller) -> list[Procedure]:
    """What to do when something went wrong, step by step: recovery and egress."""
    _may_read(session, "procedures")
    return list(_door(request).service.books.procedures())


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Live status 20 times a second; the terminal's `alive` messages are its lease."""
    door = _door(socket)
    await socket.accept()
    try:
        token = _token(socket, query_allowed=True)
        session = door.sessions.look(token, door.clock_us())
    except (RefusalError, NoSessionError) as error:
        await socket.close(CLOSE_NOT_SIGNED_IN, str(error))
        return
    if not roles.may_read(session.user.role, "status"):
        await socket.close(CLOSE_NOT_PERMITTED, f"a {session.user.role} may not read the status")
        return
    listening = asyncio.create_task(_listen(socket, door, session))
    telling = asyncio.create_task(_tell(socket, door, token))
    try:
        await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listening, telling):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


async def _tell(socket: WebSocket, door: Door, token: str) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        try:
            door.sessions.look(token, door.clock_us())
        except NoSessionError as error:
            await socket.close(CLOSE_NOT_SIGNED_IN, str(error))
            return
        await socket.send_text('{"type":"status","status":' + door.service.status_json() + "}")
        due = max(due + STREAM_PERIOD_S, loop.time())  # a slow reader gets the newest, not a queue
        await asyncio.sleep(due - loop.time())


async def _listen(socket: WebSocket, door: Door, session: UserSession) -> None:
    terminal_id: str | None = None
    dates = AliveClock(door.clock_us())
    try:
        while True:
            text = await socket.receive_text()
            alive = _read_alive(text)
            if alive is None or (terminal_id is not None and alive.terminal_id != terminal_id):
                await socket.close(
                    CLOSE_NOT_UNDERSTOOD,
                    'expected {"type": "alive", "terminal_id": one name, "sent_us": steady clock}',
                )
                return
            if not roles.may_read(session.user.role, "lease"):
                await socket.close(
                    CLOSE_NOT_PERMITTED, f"a {session.user.role} may not hold a terminal's lease"
                )
                return
            terminal_id = alive.terminal_id
            heard_us = dates.heard_us(alive.sent_us, door.clock_us())
            door.service.terminal_alive(terminal_id, session, heard_us)
    finally:
        if terminal_id is not None:
            door.service.terminal_gone(terminal_id)


def _read_alive(text: str) -> _Alive | None:
    if len(text) > STREAM_MESSAGE_OCTETS_MAX:
        return None
    try:
        alive = _Alive.model_validate(json.loads(text))
    except ValueError:
        return None
    if alive.type != "alive" or not 0 < len(alive.terminal_id) <= TERMINAL_ID_CHARACTERS_MAX:
        return None
    return alive


class BodyLimit:
    """ASGI middleware: a body has a stated length, and a limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body without a length or beyond the limit; pass on the rest."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if b"transfer-encoding" in headers:
                await JSONResponse({"detail": "state the length of the body"}, 411)(
                    scope, receive, send
                )
                return
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or int(length) > BODY_OCTETS_MAX:
                sentence = f"a body has at most {BODY_OCTETS_MAX} octets"
                await JSONResponse({"detail": sentence}, 413)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return JSONResponse({"detail": error.sentence}, error.code)


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ()))
    return JSONResponse({"detail": f"{where}: {first.get('msg', 'not valid')}"}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("call %s failed", request.url.path, exc_info=error)
    with suppress(Exception):
        _door(request).service.note(
            "service_error", "service", f"{request.url.path} failed: {error}", {}
        )
    return JSONResponse({"detail": "the service failed on this call; its log says more"}, 500)


def create_app(
    door: Door, *, hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]")
) -> FastAPI:
    """The ASGI application of a service.

    Args:
        door: the service, its users and its clocks.
        hosts: names under which it may be addressed; others are refused, so that a web page cannot reach the
            loopback under a name of its own.
    """
    app = FastAPI(
        title="igrt-hw supervisor",
        version=__version__,
        description="Positions a patient under supervision. Not a medical device.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.door = door
    app.include_router(router)
    from igrt_hw.server import sights  # builds on this module's door

    app.include_router(sights.router)
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(BodyLimit)
    return app
