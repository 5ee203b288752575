"""What can be looked at besides images: the room, its clearance map. Handlers only translate."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_hw.server import roles
from igrt_hw.server.app import Detail, Door, LimitedCaller, RefusalError
from igrt_hw.server.errors import JobError
from igrt_hw.server.room_view import BusyError, RoomViewer
from igrt_hw.server.sessions import RateLimit, UserSession

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Detail} for code in (400, 401, 403, 404, 422, 429, 500)
}
router = APIRouter(prefix="/api/room", responses=_ERRORS)
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


@router.get("/picture")
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


@router.get("/map")
async def clearance_map(request: Request, session: LimitedCaller) -> RoomMap:
    """Clearance over gantry angle and couch rotation, everything else where it stands now."""
    viewer = _viewer(request, session)
    try:
        return await viewer.map()
    except BusyError as error:
        raise RefusalError(429, str(error)) from error
    except JobError as error:
        raise RefusalError(404, str(error)) from error
