"""The calls of `docs/service_api.md` as data: what to send and how to read the answer. No I/O here.

The blocking and the asynchronous client run the same calls, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from httpx import Response
from pydantic import TypeAdapter, ValidationError

from igrt_hw.client.errors import (
    ClientError,
    CommandRefusedError,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
    NotSignedInError,
    ServiceFailedError,
    SignInLockedError,
    TooManyRequestsError,
    UnexpectedAnswerError,
)
from igrt_hw.client.images import KvImage
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

_PLANS = TypeAdapter(list[TreatmentPlan])
_ENTRIES = TypeAdapter(list[RecordEntry])
_QA_TESTS = TypeAdapter(list[QaTest])
_QA_RUNS = TypeAdapter(list[QaRun])
_PROCEDURES = TypeAdapter(list[Procedure])
_COMMAND: TypeAdapter[Command] = TypeAdapter(Command)

_ERROR_OF_CODE: dict[int, type[ClientError]] = {
    400: InvalidRequestError,
    401: NotSignedInError,
    403: NotPermittedError,
    404: NotFoundError,
    409: CommandRefusedError,
    422: InvalidRequestError,
    423: SignInLockedError,
    429: TooManyRequestsError,
}


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One HTTP call: method, path, query, JSON body, and the reader of its answer."""

    method: str
    path: str
    read: Callable[[Response], Answer]
    query: dict[str, str | int | float | bool] = field(default_factory=dict)
    body: dict[str, Any] | None = None


def sentence_of(response: Response) -> str:
    """The `detail` sentence of an error answer, or the best that can be said without one."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{response.url.path} answered {response.status_code} without a reason"
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = ".".join(str(part) for part in detail[0].get("loc", ()))
        return f"{where}: {detail[0].get('msg', 'not valid')}"
    return str(detail)


def raise_for(response: Response) -> None:
    """Raise the error of the tree that fits the answer's code; nothing for a success."""
    code = response.status_code
    if code < 400:
        return
    error = _ERROR_OF_CODE.get(code, ServiceFailedError if code >= 500 else UnexpectedAnswerError)
    raise error(sentence_of(response))


def _model(adapter: TypeAdapter[Answer]) -> Callable[[Response], Answer]:
    def read(response: Response) -> Answer:
        raise_for(response)
        try:
            return adapter.validate_json(response.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise UnexpectedAnswerError(
                f"the answer of {response.url.path} is not what this version expects "
                f"({where}: {first['msg']}); client and service must be of one version"
            ) from error

    return read


def _nothing(response: Response) -> None:
    raise_for(response)


def _command_result(response: Response) -> CommandResult:
    if response.status_code == 409:
        return CommandResult(accepted=False, message=sentence_of(response))
    return _model(TypeAdapter(CommandResult))(response)


def read_image(response: Response) -> KvImage:
    """Decode a 16-bit image; raises `UnexpectedAnswerError` if size and headers disagree."""
    raise_for(response)
    try:
        rows, cols = int(response.headers["X-Rows"]), int(response.headers["X-Cols"])
        scale = float(response.headers["X-Scale-Low"]), float(response.headers["X-Scale-High"])
        window = int(response.headers["X-Window-Low"]), int(response.headers["X-Window-High"])
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswerError(
            f"{response.url.path}: image headers are missing or not numbers"
        ) from error
    if len(response.content) != rows * cols * 2:
        raise UnexpectedAnswerError(
            f"{response.url.path}: {len(response.content)} octets do not make "
            f"{rows} x {cols} pixels of 16 bit"
        )
    pixels = np.frombuffer(response.content, dtype="<u2").reshape(rows, cols).astype(np.uint16)
    return KvImage(pixels, scale[0], scale[1], window[0], window[1])


def health() -> Call[Health]:
    """What answers there."""
    return Call("GET", "/api/health", _model(TypeAdapter(Health)))


def login(username: str, password: str) -> Call[SignedIn]:
    """Open a user session."""
    body = {"username": username, "password": password}
    return Call("POST", "/api/login", _model(TypeAdapter(SignedIn)), body=body)


def second_person(username: str, password: str) -> Call[SignedIn]:
    """Open a session for the second approver on the same terminal."""
    body = {"username": username, "password": password}
    return Call("POST", "/api/second_person", _model(TypeAdapter(SignedIn)), body=body)


def logout() -> Call[None]:
    """End the session."""
    return Call("POST", "/api/logout", _nothing)


def status() -> Call[SupervisorStatus]:
    """Everything now."""
    return Call("GET", "/api/status", _model(TypeAdapter(SupervisorStatus)))


def plans() -> Call[list[TreatmentPlan]]:
    """The plans the service has read."""
    return Call("GET", "/api/plans", _model(_PLANS))


def command(ask: Command) -> Call[CommandResult]:
    """Ask the supervisor for something."""
    body = _COMMAND.dump_python(ask, mode="json")
    return Call("POST", "/api/command", _command_result, body=body)


def image(image_uid: str) -> Call[KvImage]:
    """A corrected kV image."""
    return Call("GET", f"/api/images/{image_uid}", read_image)


def drr(image_uid: str, registered: bool) -> Call[KvImage]:
    """The DRR of the same view, at the nominal or the registered pose."""
    query: dict[str, str | int | float | bool] = {"registered": registered}
    return Call("GET", f"/api/images/{image_uid}/drr", read_image, query=query)


def nudged_drr(
    image_uid: str, correction: Correction, side_max: int
) -> Call[tuple[KvImage, float | None]]:
    """The DRR where a correction would bring the patient onto the plan, and its likeness to the image."""
    query: dict[str, str | int | float | bool] = {**_six(correction), "side_max": side_max}

    def read(response: Response) -> tuple[KvImage, float | None]:
        image, like = read_image(response), response.headers.get("X-Likeness")
        return image, None if like is None else float(like)

    return Call("GET", f"/api/images/{image_uid}/nudged", read, query=query)


def landmarks(image_uid: str, correction: Correction | None) -> Call[Landmarks]:
    """Points of the plan in an image."""
    query: dict[str, str | int | float | bool] = (
        {"planned": True} if correction is None else {**_six(correction)}
    )
    read = _model(TypeAdapter(Landmarks))
    return Call("GET", f"/api/images/{image_uid}/landmarks", read, query=query)


def _six(correction: Correction) -> dict[str, float]:
    names = (
        "lateral_mm",
        "longitudinal_mm",
        "vertical_mm",
        "rotation_deg",
        "pitch_deg",
        "roll_deg",
    )
    return dict(zip(names, correction.values(), strict=True))


def room_picture(asked: RoomQuestion) -> Call[RoomPicture]:
    """The room drawn from its collision model."""
    query: dict[str, str | int | float | bool] = asked.model_dump(mode="json", exclude_none=True)
    return Call("GET", "/api/room/picture", _model(TypeAdapter(RoomPicture)), query=query)


def room_map() -> Call[RoomMap]:
    """Clearance over gantry angle and couch rotation."""
    return Call("GET", "/api/room/map", _model(TypeAdapter(RoomMap)))


def record(after: int, limit: int) -> Call[list[RecordEntry]]:
    """Entries of the record after a sequence number."""
    return Call("GET", "/api/record", _model(_ENTRIES), query={"after": after, "limit": limit})


def verify_record() -> Call[ChainVerdict]:
    """Check the record's hash chain."""
    return Call("GET", "/api/record/verify", _model(TypeAdapter(ChainVerdict)))


def qa_tests() -> Call[list[QaTest]]:
    """The daily tests with their steps and tolerances."""
    return Call("GET", "/api/qa/tests", _model(_QA_TESTS))


def qa_runs(limit: int) -> Call[list[QaRun]]:
    """Daily QA runs, newest first."""
    return Call("GET", "/api/qa/runs", _model(_QA_RUNS), query={"limit": limit})


def qa_trend(test: str, days: int) -> Call[QaTrend]:
    """One daily test over time."""
    query: dict[str, str | int | float | bool] = {"test": test, "days": days}
    return Call("GET", "/api/qa/trend", _model(TypeAdapter(QaTrend)), query=query)


def shift_trend(patient_id: str, plan_uid: str) -> Call[ShiftTrend]:
    """The shifts of a patient under a plan, with the action levels of its site."""
    query: dict[str, str | int | float | bool] = {"patient_id": patient_id, "plan_uid": plan_uid}
    return Call("GET", "/api/trends/shifts", _model(TypeAdapter(ShiftTrend)), query=query)


def change_trend(patient_id: str, plan_uid: str) -> Call[ChangeTrend]:
    """How a patient has changed since the planning CT of a plan."""
    query: dict[str, str | int | float | bool] = {"patient_id": patient_id, "plan_uid": plan_uid}
    return Call("GET", "/api/trends/anatomy", _model(TypeAdapter(ChangeTrend)), query=query)


def override_review(days: int) -> Call[OverrideReview]:
    """Overrides and their rates."""
    return Call(
        "GET",
        "/api/review/overrides",
        _model(TypeAdapter(OverrideReview)),
        query={"days": days},
    )


def alarm_review(days: int) -> Call[AlarmReview]:
    """Alarms and their rates."""
    return Call("GET", "/api/review/alarms", _model(TypeAdapter(AlarmReview)), query={"days": days})


def procedures() -> Call[list[Procedure]]:
    """What to do when something went wrong, step by step."""
    return Call("GET", "/api/procedures", _model(_PROCEDURES))
