"""Who is signed in and what the service says of itself."""

from enum import StrEnum

from igrt_hw.models.base import Frozen


class Role(StrEnum):
    """What a user may be. Rights are in the role matrix of `igrt_hw.server.roles`, as data."""

    THERAPIST = "therapist"
    PHYSICIST = "physicist"
    PHYSICIAN = "physician"
    SERVICE = "service"


class SignedIn(Frozen):
    """A user session. The token is shown once, here; the service keeps only its hash."""

    token: str
    username: str
    display_name: str
    role: Role
    expires_utc: str


class Health(Frozen):
    """What answers at this address."""

    service: str
    version: str
    simulator: bool
    not_a_medical_device: bool


class ChainVerdict(Frozen):
    """Whether the record's hash chain holds, and if not, where it breaks."""

    ok: bool
    entries: int
    problem: str
