"""A shift that people may approve: immutable, with everything it was computed from, and the digest of all of that."""

from enum import StrEnum
from typing import Literal

from igrt_hw.geometry import Correction
from igrt_hw.models.base import Frozen


class CheckOutcome(StrEnum):
    """What a check found. `WARN` may be approved by those whom the site rule names; `REFUSE` may not."""

    PASS = "pass"
    WARN = "warn"
    REFUSE = "refuse"


class Check(Frozen):
    """One question asked of a proposal: its sentence, its answer, and how far the answer is from its limit."""

    name: str
    sentence: str
    outcome: CheckOutcome
    detail: str
    margin: float | None = None
    margin_unit: str = ""
    source: str = ""


class ClearanceStrip(Frozen):
    """Clearance along the path: a certified lower bound over the whole motion, and a profile for the eye.

    `remedy`: which parts come too near, where, and what would free them; empty where the whole path keeps `warn_mm`.
    """

    minimum_mm: float
    at_path_fraction: float
    pair: tuple[str, str]
    profile_mm: tuple[float, ...]
    warn_mm: float
    stop_mm: float
    model_hash: str
    remedy: str = ""


class ImageStamp(Frozen):
    """Which images the correction rests on, and where the couch stood in that instant (device encoders)."""

    image_uids: tuple[str, ...]
    acquired_us: int
    acquired_utc: str
    couch_axes: tuple[float, ...]
    brakes_on: bool


class MarkerResidual(Frozen):
    """One marker of a match: in how many views it was seen, how far its spots are from where the fit puts them, how far
    it lies from where the other markers put it (fixed frame, mm), and whether the correction rests on it."""

    name: str
    views: int
    reprojection_px: float | None
    displacement_mm: tuple[float, float, float] | None
    distance_mm: float | None
    sigma_mm: tuple[float, float, float] | None
    used: bool


class RegistrationSummary(Frozen):
    """What registration found, in numbers and words. `correction` is in the fixed frame about the isocentre."""

    correction: Correction
    sigma_mm: tuple[float, float, float]
    sigma_deg: tuple[float, float, float]
    per_view_similarity: tuple[float, ...]
    verdict: Literal["reliable", "doubtful", "refused"]
    reasons: tuple[str, ...]
    residual_at_target_mm: float
    duration_ms: float
    method: Literal["anatomy", "markers", "cone beam"] = "anatomy"
    markers: tuple[MarkerResidual, ...] = ()
    """Of a match by markers: every planned marker, found or not."""


class ProposalContent(Frozen):
    """Everything that the digest covers. Any edit makes a new proposal."""

    proposal_id: str
    patient_id: str
    patient_birth_date: str
    plan_uid: str
    frame_of_reference_uid: str
    isocentre_id: str
    patient_position: str
    fraction: int
    images: ImageStamp
    registration: RegistrationSummary
    axis_names: tuple[str, ...]
    axis_units: tuple[Literal["mm", "deg"], ...]
    start_axes: tuple[float, ...]
    target_axes: tuple[float, ...]
    via_axes: tuple[tuple[float, ...], ...] = ()
    """Where the couch comes to rest on the way: the base couch of a hexapod first, then the platform. One approval."""
    limits_hash: str
    machine_hash: str
    clearance: ClearanceStrip
    checks: tuple[Check, ...]
    approvals_needed: int
    software_version: str
    created_us: int
    expires_us: int


class Proposal(Frozen):
    """Content and its SHA-256 in canonical form (`igrt_hw.safety.canonical`)."""

    content: ProposalContent
    digest: str


class ApprovalChallenge(Frozen):
    """What the approver has to read and type: a code, and one signed number named in words.

    One-shot, bound to a digest and a user.
    """

    challenge_id: str
    digest: str
    username: str
    code: str
    fact_prompt: str
    fact_unit: str
    fact_axis: str = ""
    """Name of the axis (one of `axis_names`) whose shift, target minus start, has to be typed."""
    expires_us: int


class Approval(Frozen):
    """One person's approval of one digest."""

    digest: str
    username: str
    role: str
    approved_us: int
    approved_utc: str
    fact_typed: str


class Verification(Frozen):
    """What proved (or did not prove) that the couch arrived.

    channels_agree: None where the couch has no second position channel: then nothing agrees, and images
        alone prove where it stands. The differences are None with it.
    """

    channels_agree: bool | None
    channel_difference_mm: float | None
    channel_difference_deg: float | None
    pose_error_mm: float
    pose_error_deg: float
    image_residual: Correction | None
    image_residual_mm: float | None
    image_residual_deg: float | None
    tolerance_mm: float
    tolerance_deg: float
    passed: bool
    reason: str
