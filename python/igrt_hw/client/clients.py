"""The blocking and the asynchronous client over the same calls."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from igrt_hw.client import calls
from igrt_hw.client.calls import Call
from igrt_hw.client.errors import (
    CommandRefusedError,
    NotSignedInError,
    ServiceUnreachableError,
    WaitedInVainError,
)
from igrt_hw.client.images import KvImage
from igrt_hw.client.stream import StatusStream, StreamUpdate, socket_file_of, steady_us
from igrt_hw.geometry import Correction
from igrt_hw.models.anatomy import ChangeTrend
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.landmarks import Landmarks
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import QaRun, QaTest, QaTrend
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.models.trends import ShiftTrend
from igrt_hw.models.users import ChainVerdict, Health, SignedIn

Answer = TypeVar("Answer")

CALL_TIMEOUT_S = (
    10.0  # a DRR of full size takes about a second; ten of them mean that nobody is at home
)
# A kept connection is given up well before the service does (30 s): a command must not meet a closing door.
KEPT_CONNECTIONS = httpx.Limits(
    max_connections=10, max_keepalive_connections=4, keepalive_expiry=5.0
)
DEFAULT_URL = "http://127.0.0.1:8421"


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trust of an `https` address: the system's authorities, or exactly those of a file."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _not_reachable(url: str, error: httpx.HTTPError) -> ServiceUnreachableError:
    if isinstance(error, httpx.TimeoutException):
        return ServiceUnreachableError(
            f"the supervisor at {url} did not answer in {CALL_TIMEOUT_S:.0f} s; is it running?"
        )
    return ServiceUnreachableError(
        f"nobody answers at {url} ({error}); start the supervisor with `igrt serve`"
    )


def _waited_in_vain(status: SupervisorStatus, timeout_s: float, what: str) -> WaitedInVainError:
    why = status.reason or status.needed_next
    return WaitedInVainError(
        f"waited {timeout_s:.0f} s for {what}; the loop is in {status.state}: {why}"
    )


class _Session:
    """The token and the address: what both clients share."""

    def __init__(self, url: str, ca_file: Path | None) -> None:
        self.url = url.rstrip("/")
        self.socket_file = socket_file_of(self.url)
        self.ca_file = ca_file
        self.signed_in: SignedIn | None = None

    @property
    def base_url(self) -> str:
        """What the calls are addressed to: the URL, or this machine by the name that the service knows."""
        return self.url if self.socket_file is None else "http://localhost"

    def headers(self) -> dict[str, str]:
        if self.signed_in is None:
            return {}
        return {"Authorization": f"Bearer {self.signed_in.token}"}

    def token(self) -> str:
        if self.signed_in is None:
            raise NotSignedInError("nobody is signed in; sign in with name and password first")
        return self.signed_in.token

    def verify(self) -> ssl.SSLContext:
        if self.url.startswith("https"):
            return tls_context(self.ca_file)
        # Plain http never uses it; a context that trusts nobody costs nothing and lets no redirect slip through.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Client:
    """Blocking client: scripts and the command line.

    Every method raises a `ClientError` with a sentence; `send` returns a refusal by the state of
    the loop as a `CommandResult` with `accepted` False and raises only where role or connection
    say no.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._session = _Session(url, ca_file)
        if transport is None and self._session.socket_file is not None:
            transport = httpx.HTTPTransport(
                uds=self._session.socket_file, limits=KEPT_CONNECTIONS, trust_env=False
            )
        self._http = httpx.Client(
            base_url=self._session.base_url,
            timeout=CALL_TIMEOUT_S,
            trust_env=False,  # a proxy must not see a token on its way to the loopback
            verify=self._session.verify(),
            limits=KEPT_CONNECTIONS,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the user session stays open until `logout` or its expiry."""
        self._http.close()

    @property
    def url(self) -> str:
        """Address of the service."""
        return self._session.url

    @property
    def signed_in(self) -> SignedIn | None:
        """The user session, None before `login`."""
        return self._session.signed_in

    def use(self, signed_in: SignedIn) -> None:
        """Go on with a session that was opened elsewhere."""
        self._session.signed_in = signed_in

    def _run(self, call: Call[Answer]) -> Answer:
        try:
            response = self._http.request(
                call.method,
                call.path,
                params=call.query or None,
                json=call.body,
                headers=self._session.headers(),
            )
        except httpx.HTTPError as error:
            raise _not_reachable(self.url, error) from error
        return call.read(response)

    def health(self) -> Health:
        """What answers there; needs no session."""
        return self._run(calls.health())

    def login(self, username: str, password: str) -> SignedIn:
        """Open a user session and use it from now on."""
        self._session.signed_in = self._run(calls.login(username, password))
        return self._session.signed_in

    def second_person(self, username: str, password: str) -> Client:
        """A client for the second approver on the same terminal, with its own session."""
        signed_in = self._run(calls.second_person(username, password))
        other = Client(self.url, ca_file=self._session.ca_file)
        other.use(signed_in)
        return other

    def logout(self) -> None:
        """End the user session."""
        self._run(calls.logout())
        self._session.signed_in = None

    def status(self) -> SupervisorStatus:
        """Everything now."""
        return self._run(calls.status())

    def plans(self) -> list[TreatmentPlan]:
        """The plans the service has read."""
        return self._run(calls.plans())

    def send(self, command: Command) -> CommandResult:
        """Ask for something; a refusal by the loop comes back with `accepted` False."""
        return self._run(calls.command(command))

    def demand(self, command: Command) -> CommandResult:
        """As `send`, but a refusal raises `CommandRefusedError`."""
        result = self.send(command)
        if not result.accepted:
            raise CommandRefusedError(result.message)
        return result

    def image(self, image_uid: str) -> KvImage:
        """A corrected kV image."""
        return self._run(calls.image(image_uid))

    def drr(self, image_uid: str, *, registered: bool) -> KvImage:
        """The DRR of the same view, at the nominal or the registered pose."""
        return self._run(calls.drr(image_uid, registered))

    def nudged_drr(
        self, image_uid: str, correction: Correction, *, side_max: int = 384
    ) -> tuple[KvImage, float | None]:
        """The DRR where `correction` would bring the patient onto the plan, and its likeness to the image (-1 to 1)."""
        return self._run(calls.nudged_drr(image_uid, correction, side_max))

    def landmarks(self, image_uid: str, correction: Correction | None) -> Landmarks:
        """Points of the plan in an image: the patient where a correction would start from; None: as planned."""
        return self._run(calls.landmarks(image_uid, correction))

    def room_picture(self, asked: RoomQuestion) -> RoomPicture:
        """The room at the live pose or on the path, drawn from the parts that clearance is measured of."""
        return self._run(calls.room_picture(asked))

    def room_map(self) -> RoomMap:
        """Clearance over gantry angle and couch rotation, everything else where it stands now."""
        return self._run(calls.room_map())

    def record(self, *, after: int = 0, limit: int = 200) -> list[RecordEntry]:
        """Entries with a sequence above `after`, oldest first."""
        return self._run(calls.record(after, limit))

    def verify_record(self) -> ChainVerdict:
        """Check the record's hash chain."""
        return self._run(calls.verify_record())

    def qa_tests(self) -> list[QaTest]:
        """The daily tests with their steps and tolerances."""
        return self._run(calls.qa_tests())

    def qa_runs(self, *, limit: int = 30) -> list[QaRun]:
        """Daily QA runs, newest first."""
        return self._run(calls.qa_runs(limit))

    def qa_trend(self, test: str, *, days: int = 365) -> QaTrend:
        """One daily test over time; raises `NotFoundError` for a test that there is none of."""
        return self._run(calls.qa_trend(test, days))

    def change_trend(self, patient_id: str, plan_uid: str) -> ChangeTrend:
        """How a patient has changed since the planning CT, registration by registration."""
        return self._run(calls.change_trend(patient_id, plan_uid))

    def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend:
        """The shifts of a patient under a plan this service has read, with the action levels of its site."""
        return self._run(calls.shift_trend(patient_id, plan_uid))

    def override_review(self, *, days: int = 1) -> OverrideReview:
        """Overrides of the last days and their rates."""
        return self._run(calls.override_review(days))

    def alarm_review(self, *, days: int = 1) -> AlarmReview:
        """Alarms of the last days and their rates."""
        return self._run(calls.alarm_review(days))

    def procedures(self) -> list[Procedure]:
        """What to do when something went wrong, step by step."""
        return self._run(calls.procedures())

    def wait_for(
        self, wanted: Callable[[SupervisorStatus], bool], timeout_s: float, what: str
    ) -> SupervisorStatus:
        """Poll the status until it is as wanted; raises `WaitedInVainError` after `timeout_s`."""
        ends = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if wanted(status):
                return status
            if time.monotonic() > ends:
                raise _waited_in_vain(status, timeout_s, what)
            time.sleep(0.05)


class AsyncClient:
    """Asynchronous client for the terminal app and the scripted operator; calls as in `Client`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock_us: Callable[[], int] = steady_us,
    ) -> None:
        self._session = _Session(url, ca_file)
        self._clock_us = clock_us
        if transport is None and self._session.socket_file is not None:
            transport = httpx.AsyncHTTPTransport(
                uds=self._session.socket_file, limits=KEPT_CONNECTIONS, trust_env=False
            )
        self._http = httpx.AsyncClient(
            base_url=self._session.base_url,
            timeout=CALL_TIMEOUT_S,
            trust_env=False,
            verify=self._session.verify(),
            limits=KEPT_CONNECTIONS,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; the user session stays open until `logout` or its expiry."""
        await self._http.aclose()

    @property
    def url(self) -> str:
        """Address of the service."""
        return self._session.url

    @property
    def signed_in(self) -> SignedIn | None:
        """The user session, None before `login`."""
        return self._session.signed_in

    def use(self, signed_in: SignedIn) -> None:
        """Go on with a session that was opened elsewhere."""
        self._session.signed_in = signed_in

    async def _run(self, call: Call[Answer]) -> Answer:
        try:
            response = await self._http.request(
                call.method,
                call.path,
                params=call.query or None,
                json=call.body,
                headers=self._session.headers(),
            )
        except httpx.HTTPError as error:
            raise _not_reachable(self.url, error) from error
        return call.read(response)

    async def health(self) -> Health:
        """What answers there; needs no session."""
        return await self._run(calls.health())

    async def login(self, username: str, password: str) -> SignedIn:
        """Open a user session and use it from now on."""
        self._session.signed_in = await self._run(calls.login(username, password))
        return self._session.signed_in

    async def second_person(self, username: str, password: str) -> AsyncClient:
        """A client for the second approver on the same terminal, with its own session."""
        signed_in = await self._run(calls.second_person(username, password))
        other = AsyncClient(self.url, ca_file=self._session.ca_file, clock_us=self._clock_us)
        other.use(signed_in)
        return other

    async def logout(self) -> None:
        """End the user session."""
        await self._run(calls.logout())
        self._session.signed_in = None

    async def status(self) -> SupervisorStatus:
        """Everything now."""
        return await self._run(calls.status())

    async def plans(self) -> list[TreatmentPlan]:
        """The plans the service has read."""
        return await self._run(calls.plans())

    async def send(self, command: Command) -> CommandResult:
        """Ask for something; a refusal by the loop comes back with `accepted` False."""
        return await self._run(calls.command(command))

    async def demand(self, command: Command) -> CommandResult:
        """As `send`, but a refusal raises `CommandRefusedError`."""
        result = await self.send(command)
        if not result.accepted:
            raise CommandRefusedError(result.message)
        return result

    async def image(self, image_uid: str) -> KvImage:
        """A corrected kV image."""
        return await self._run(calls.image(image_uid))

    async def drr(self, image_uid: str, *, registered: bool) -> KvImage:
        """The DRR of the same view, at the nominal or the registered pose."""
        return await self._run(calls.drr(image_uid, registered))

    async def nudged_drr(
        self, image_uid: str, correction: Correction, *, side_max: int = 384
    ) -> tuple[KvImage, float | None]:
        """The DRR where `correction` would bring the patient onto the plan, and its likeness to the image (-1 to 1)."""
        return await self._run(calls.nudged_drr(image_uid, correction, side_max))

    async def landmarks(self, image_uid: str, correction: Correction | None) -> Landmarks:
        """Points of the plan in an image: the patient where a correction would start from; None: as planned."""
        return await self._run(calls.landmarks(image_uid, correction))

    async def room_picture(self, asked: RoomQuestion) -> RoomPicture:
        """The room at the live pose or on the path, drawn from the parts that clearance is measured of."""
        return await self._run(calls.room_picture(asked))

    async def room_map(self) -> RoomMap:
        """Clearance over gantry angle and couch rotation, everything else where it stands now."""
        return await self._run(calls.room_map())

    async def record(self, *, after: int = 0, limit: int = 200) -> list[RecordEntry]:
        """Entries with a sequence above `after`, oldest first."""
        return await self._run(calls.record(after, limit))

    async def verify_record(self) -> ChainVerdict:
        """Check the record's hash chain."""
        return await self._run(calls.verify_record())

    async def qa_tests(self) -> list[QaTest]:
        """The daily tests with their steps and tolerances."""
        return await self._run(calls.qa_tests())

    async def qa_runs(self, *, limit: int = 30) -> list[QaRun]:
        """Daily QA runs, newest first."""
        return await self._run(calls.qa_runs(limit))

    async def qa_trend(self, test: str, *, days: int = 365) -> QaTrend:
        """One daily test over time; raises `NotFoundError` for a test that there is none of."""
        return await self._run(calls.qa_trend(test, days))

    async def change_trend(self, patient_id: str, plan_uid: str) -> ChangeTrend:
        """How a patient has changed since the planning CT, registration by registration."""
        return await self._run(calls.change_trend(patient_id, plan_uid))

    async def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend:
        """The shifts of a patient under a plan this service has read, with the action levels of its site."""
        return await self._run(calls.shift_trend(patient_id, plan_uid))

    async def override_review(self, *, days: int = 1) -> OverrideReview:
        """Overrides of the last days and their rates."""
        return await self._run(calls.override_review(days))

    async def alarm_review(self, *, days: int = 1) -> AlarmReview:
        """Alarms of the last days and their rates."""
        return await self._run(calls.alarm_review(days))

    async def procedures(self) -> list[Procedure]:
        """What to do when something went wrong, step by step."""
        return await self._run(calls.procedures())

    def stream(
        self, terminal_id: str | None = None, *, alive: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[StreamUpdate, None]:
        """Live status, for ever: `async for update in client.stream("terminal-1")`.

        Yields at every new status and at least every 100 ms, connected or not, so that what is old
        can look old. With a `terminal_id` it also keeps that terminal's lease while `alive()` is
        true: the lease is sent from the caller's own event loop, so that a frozen screen loses the
        permission to move. Leave it with `contextlib.aclosing`. Reconnects by itself;
        raises `NotSignedInError` when the session has ended.
        """
        stream = StatusStream(
            url=self.url,
            token=self._session.token(),
            tls=tls_context(self._session.ca_file) if self.url.startswith("https") else None,
            terminal_id=terminal_id,
            alive=alive,
            clock_us=self._clock_us,
        )
        return stream.updates()

    async def wait_for(
        self, wanted: Callable[[SupervisorStatus], bool], timeout_s: float, what: str
    ) -> SupervisorStatus:
        """Poll the status until it is as wanted; raises `WaitedInVainError` after `timeout_s`."""
        ends = time.monotonic() + timeout_s
        while True:
            status = await self.status()
            if wanted(status):
                return status
            if time.monotonic() > ends:
                raise _waited_in_vain(status, timeout_s, what)
            await asyncio.sleep(0.05)
