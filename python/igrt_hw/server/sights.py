"""What can be looked at besides images: the room, its clearance map, nudged DRRs, points of the plan.

Handlers only translate.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from igrt_hw.geometry import Correction
from igrt_hw.models.landmarks import Landmarks
from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_hw.server import roles
from igrt_hw.server.app import Detail, Door, LimitedCaller, RefusalError
from igrt_hw.server.errors import JobError
from igrt_hw.server.room_view import BusyError, RoomViewer
from igrt_hw.server.sessions import RateLimit, UserSession

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Detail} for code in (400, 401, 403, 404, 422, 429, 500)
}
router = APIRouter(prefix="/api", responses=_ERRORS)
PICTURES = RateLimit(burst=20, per_second=12)
"""Pictures and maps a session may ask for: more than a terminal shows, less than would load the service."""


def _viewer(request: Request, session: UserSession) -> RoomViewer:
    door = request.app.state.door
    assert isinstance(door, Door)
    if not roles.may_read(session.user.role, "images"):
        raise RefusalError(403, f"a {session.user.role} may not look at the room")
    viewer = getattr(door.service, "room_viewer", None)
    if viewer is None:
        raise RefusalError(404, "this service has no collision model to draw")
    assert isinstance(viewer, RoomViewer)
    if not PICTURES.allows(session.identity, door.clock_us()):
        raise RefusalError(429, "pictures of the room are asked for too fast; ask less often")
    return viewer


@router.get("/room/picture")
async def picture(
    request: Request, session: LimitedCaller, asked: Annotated[RoomQuestion, Query()]
) -> RoomPicture:
    """The room at the live pose, or at a place of the path, drawn from the parts that are measured."""
    viewer = _viewer(request, session)
    try:
        return await viewer.picture(asked)
    except BusyError as error:
        raise RefusalError(429, str(error)) from error
    except JobError as error:
        raise RefusalError(404, str(error)) from error


@router.get("/room/map")
async def clearance_map(request: Request, session: LimitedCaller) -> RoomMap:
    """Clearance over gantry angle and couch rotation, everything else where it stands now."""
    viewer = _viewer(request, session)
    try:
        return await viewer.map()
    except BusyError as error:
        raise RefusalError(429, str(error)) from error
    except JobError as error:
        raise RefusalError(404, str(error)) from error


Millimetres = Annotated[float, Query(ge=-60.0, le=60.0)]
Degrees = Annotated[float, Query(ge=-15.0, le=15.0)]
_PICTURE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "16-bit pixels"}
}


def _correction(
    lateral_mm: Millimetres = 0.0,
    longitudinal_mm: Millimetres = 0.0,
    vertical_mm: Millimetres = 0.0,
    rotation_deg: Degrees = 0.0,
    pitch_deg: Degrees = 0.0,
    roll_deg: Degrees = 0.0,
) -> Correction:
    return Correction(lateral_mm, longitudinal_mm, vertical_mm, rotation_deg, pitch_deg, roll_deg)


Nudge = Annotated[Correction, Depends(_correction)]


def _images_of(request: Request, session: UserSession) -> Any:
    door = request.app.state.door
    assert isinstance(door, Door)
    if not roles.may_read(session.user.role, "images"):
        raise RefusalError(403, f"a {session.user.role} may not read images")
    if not hasattr(door.service, "nudged_drr"):
        raise RefusalError(404, "this service computes no DRR")
    if not PICTURES.allows(session.identity, door.clock_us()):
        raise RefusalError(429, "DRRs are asked for too fast; ask less often")
    return door.service


@router.get("/images/{image_uid}/nudged", response_class=Response, responses=_PICTURE_ANSWER)
async def nudged(
    request: Request,
    session: LimitedCaller,
    image_uid: str,
    nudge: Nudge,
    side_max: Annotated[int, Query(ge=32, le=1024)] = 384,
) -> Response:
    """The DRR of an image's view, the patient where this correction would bring it onto the plan."""
    found = await _images_of(request, session).nudged_drr(image_uid, nudge, side_max)
    if found is None:
        raise RefusalError(404, f"there is no image {image_uid[:80]}")
    picture, like = found
    headers = picture.headers() | {"Cache-Control": "no-store"}
    if like is not None:
        headers["X-Likeness"] = f"{like:.4f}"
    return Response(picture.octets(), media_type="application/octet-stream", headers=headers)


@router.get("/images/{image_uid}/landmarks")
async def landmarks(
    request: Request, session: LimitedCaller, image_uid: str, nudge: Nudge, planned: bool = False
) -> Landmarks:
    """Points of the plan in this image: with the patient where a correction would start from, or as planned."""
    service = _images_of(request, session)
    found = await service.landmarks(image_uid, None if planned else nudge)
    if found is None:
        raise RefusalError(404, f"there is no image {image_uid[:80]}")
    assert isinstance(found, Landmarks)
    return found
