"""The role matrix: who may ask for what. Data, tested cell by cell; the state machine decides about when.

Nobody is above it: the service engineer, who may reset a device, takes no part in a treatment.
STOP belongs to everybody.
"""

from collections.abc import Mapping
from types import MappingProxyType

from igrt_hw.models.users import Role

_TREATING = frozenset({Role.THERAPIST, Role.PHYSICIST})
_APPROVING = frozenset({Role.THERAPIST, Role.PHYSICIST, Role.PHYSICIAN})
_TECHNICAL = frozenset({Role.THERAPIST, Role.PHYSICIST, Role.SERVICE})
_EVERYBODY = frozenset(Role)

COMMAND_RIGHTS: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "open_patient": _TREATING,
        "confirm_setup": _TREATING,
        "override_setup": _APPROVING,
        "acquire_images": _TREATING,
        "register": _TREATING,
        "propose": _TREATING,
        "request_challenge": _APPROVING,
        "approve": _APPROVING,
        "reject": _APPROVING,
        "arm": _TREATING,
        "stop": _EVERYBODY,
        "release_beam": _TREATING,
        "monitor_target": _TREATING,
        "acknowledge_alarm": _EVERYBODY,
        "reset_fault": _TECHNICAL,
        "next_isocentre": _TREATING,
        "enter_mode": _TECHNICAL,  # which mode, and by whom: `SupervisorConfig.mode_roles`
        "home_couch": frozenset({Role.PHYSICIST, Role.SERVICE}),
        "begin_qa": _TECHNICAL,
        "watch_interlock": _TECHNICAL,
        "note_qa": _TECHNICAL,
        "finish_qa": _TECHNICAL,
        "close_patient": _TREATING,
    }
)
"""Kind of command -> roles that may give it. A kind that is not listed is refused to everybody."""

READ_RIGHTS: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "status": _EVERYBODY,
        "plans": _EVERYBODY,
        "images": _EVERYBODY,
        "record": _EVERYBODY,
        "qa": _EVERYBODY,
        "trends": _EVERYBODY,
        "reviews": _EVERYBODY,
        "procedures": _EVERYBODY,
        "lease": _TREATING,
    }
)
"""What may be read; `lease` is the right of a terminal to stand for the permission to move."""


def may_command(role: Role, kind: str) -> bool:
    """Whether the role may give this kind of command."""
    return role in COMMAND_RIGHTS.get(kind, frozenset())


def may_read(role: Role, what: str) -> bool:
    """Whether the role may read this."""
    return role in READ_RIGHTS.get(what, frozenset())


def refusal(role: Role, kind: str) -> str:
    """The sentence of a refusal: who may do it instead."""
    allowed = sorted(COMMAND_RIGHTS.get(kind, frozenset()))
    act = kind.replace("_", " ")
    if not allowed:
        return f"nobody may {act}: there is no such act"
    return f"a {role} may not {act}; ask a {' or '.join(allowed)}"
