"""What a department decides: site rules, limits of age and distance, who may approve. Data, with sources.

Millimetres, degrees, microseconds. Numbers marked [P] are this project's proposals, not sourced limits.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from igrt_hw.models.base import Frozen
from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.models.plan import PatientPosition
from igrt_hw.models.qa import QaLevel
from igrt_hw.models.users import Role
from igrt_hw.safety.qa_tests import BY_NAME, QA_TESTS

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US

Mode = Literal["clinical rehearsal", "service", "daily QA"]


SECOND_PERSON_CHECKS = (
    "registration verdict",
    "plausibility",
    "last shift",
    "isocentre distance",
    "couch assurance",
)
"""Warnings that ask for a second person by default."""


class SiteRule(Frozen):
    """What a treatment site asks of a shift. A shift is measured by the length of its translation and its total angle.

    `warn_*`: shown as a warning. `second_person_*`: two people approve above this. `window_*`: refused above
    this, by whomever. `level_prompt_mm`: longitudinal shift above which the vertebral level (or the anatomical
    level) has to be looked at again, because a wrong level matches well (wrong vertebra, 2.1 cm: ROILS case).
    `daily_qa`: whether a patient of this site is opened on a day without a passed daily QA at `daily_qa_level`:
    `required` refuses, `warned` says so on opening and in every proposal. `second_person_checks`: a warning of one of
    these checks asks for a second person whatever the size; "couch assurance" is that of a couch which cannot promise
    everything (docs/gcs.md). `pose_gate_*`: how far the couch may stand from the approved target on arrival.
    `verify_*`: residual of the verification images that counts as verified.
    """

    site: str
    warn_mm: float = Field(gt=0)
    warn_deg: float = Field(gt=0)
    second_person_mm: float = Field(gt=0)
    second_person_deg: float = Field(gt=0)
    window_mm: float = Field(gt=0)
    window_deg: float = Field(gt=0)
    level_prompt_mm: float = Field(gt=0)
    approvals_base: Literal[1, 2]
    approver_roles: tuple[Role, ...]
    pose_gate_mm: float = Field(gt=0)
    pose_gate_deg: float = Field(gt=0)
    verify_mm: float = Field(gt=0)
    verify_deg: float = Field(gt=0)
    image_age_us: int = Field(gt=0)
    proposal_life_us: int = Field(gt=0, le=600 * SECOND_US)
    source: str
    daily_qa: Literal["required", "warned", "not asked"] = "warned"
    daily_qa_level: QaLevel = "general"
    second_person_checks: tuple[str, ...] = SECOND_PERSON_CHECKS
    # 3 mm for 5 s: the gating limit of the KIM trials (Keall et al., IJROBP 2015). Two views at 5 s stand for it.
    monitoring: MonitoringRule = MonitoringRule()

    @model_validator(mode="after")
    def _ordered(self) -> SiteRule:
        if not (self.warn_mm <= self.window_mm and self.warn_deg <= self.window_deg):
            raise ValueError(f"site {self.site}: a warning above the hard window never shows")
        if not self.approver_roles:
            raise ValueError(f"site {self.site}: somebody must be allowed to approve")
        return self


APPROVERS = (Role.THERAPIST, Role.PHYSICIST, Role.PHYSICIAN)

GENERAL = SiteRule(
    site="general",
    warn_mm=10.0,
    warn_deg=2.0,
    second_person_mm=10.0,  # a second person above 10 mm or 2 deg [P]; misses of 2 x 1.5 cm were approved by one
    second_person_deg=2.0,
    window_mm=30.0,  # correction window of one approval [P]
    window_deg=5.0,
    level_prompt_mm=15.0,
    approvals_base=1,
    approver_roles=APPROVERS,
    pose_gate_mm=1.0,  # 1 mm / 0.5 deg in general, 0.5 mm / 0.3 deg for SRS and SBRT [P]
    pose_gate_deg=0.5,
    verify_mm=2.0,  # TG-142 positioning and repositioning: 2 mm, 1 mm for SRS/SBRT
    verify_deg=1.0,
    image_age_us=15 * MINUTE_US,
    proposal_life_us=5 * MINUTE_US,
    source="facts of the literature: docs/safety/hazards.md",
)

SITE_RULES: tuple[SiteRule, ...] = (
    GENERAL,
    GENERAL.model_copy(
        update={
            "site": "lung_sbrt",
            "monitoring": MonitoringRule(limit_mm=3.0, interval_us=4 * SECOND_US),
            "daily_qa_level": "stereotactic",
            "pose_gate_mm": 0.5,
            "pose_gate_deg": 0.3,
            "verify_mm": 1.0,
            "verify_deg": 1.0,
        }
    ),
    GENERAL.model_copy(
        update={
            "site": "spine_sbrt",
            "monitoring": MonitoringRule(limit_mm=1.5),  # [P]
            "daily_qa_level": "stereotactic",
            "warn_mm": 5.0,
            "warn_deg": 1.0,
            "second_person_mm": 5.0,
            "level_prompt_mm": 10.0,
            "pose_gate_mm": 0.5,
            "pose_gate_deg": 0.3,
            "verify_mm": 1.0,
            "verify_deg": 1.0,
            "image_age_us": 10 * MINUTE_US,
        }
    ),
    GENERAL.model_copy(
        update={
            "site": "brain_srs",
            "daily_qa": "required",
            "daily_qa_level": "stereotactic",
            "warn_mm": 3.0,
            "warn_deg": 1.0,
            "second_person_mm": 5.0,
            "approvals_base": 2,
            "pose_gate_mm": 0.5,
            "pose_gate_deg": 0.3,
            "verify_mm": 1.0,
            "verify_deg": 0.5,
            "image_age_us": 10 * MINUTE_US,
        }
    ),
    GENERAL.model_copy(update={"site": "head_and_neck", "warn_mm": 5.0}),
    GENERAL.model_copy(update={"site": "prostate", "warn_mm": 7.0, "warn_deg": 3.0}),
    GENERAL.model_copy(update={"site": "breast"}),
)


def demonstration_rules() -> tuple[SiteRule, ...]:
    """The site rules of the demonstration: as above, but one person may approve up to 25 mm and 5 deg.

    The demonstration sets the patient down up to 12 mm and 2 deg off on every axis, and one visitor at one
    keyboard has to be able to go the whole way. Warnings stay where they are; daily QA warns and never refuses, and a
    couch of reduced assurance warns without a second person.
    """
    return tuple(
        rule.model_copy(
            update={
                "second_person_mm": 25.0,
                "second_person_deg": 5.0,
                "approvals_base": 1,
                "daily_qa": "warned",
                "second_person_checks": tuple(
                    name for name in rule.second_person_checks if name != "couch assurance"
                ),
            }
        )
        for rule in SITE_RULES
    )


class SupervisorConfig(Frozen):
    """Everything the supervisor is told once. Defaults are the clinical rehearsal; times in microseconds."""

    machine: str
    software_version: str
    mode: Mode = "clinical rehearsal"
    simulator: bool = True
    site_rules: tuple[SiteRule, ...] = SITE_RULES
    patient_positions: tuple[PatientPosition, ...] = ("HFS",)
    utc_offset_min: int = Field(default=0, ge=-14 * 60, le=14 * 60)
    """Local time of the room minus UTC: daily QA holds for the calendar day of the room."""
    qa_patient_ids: tuple[str, ...] = ()
    """Patient IDs of phantoms: the only ones that are opened in the mode daily QA."""
    qa_required: tuple[str, ...] = tuple(test.name for test in QA_TESTS if test.required)
    """Without a passed result of each of these a daily QA has not passed."""
    mode_roles: tuple[tuple[Mode, tuple[Role, ...]], ...] = (
        ("clinical rehearsal", (Role.THERAPIST, Role.PHYSICIST, Role.SERVICE)),
        ("service", (Role.PHYSICIST, Role.SERVICE)),
        ("daily QA", (Role.THERAPIST, Role.PHYSICIST, Role.SERVICE)),
    )
    """Who may bring the room into a mode."""

    # Freshness. Later than `fresh` is shown as stale and takes the permission; later than `lost` stops and voids. The
    # same two steps as on the line (150 ms pause, 500 ms latch), so that one late frame pauses and does not void.
    fresh_us: int = 250_000
    lost_us: int = 500_000
    terminal_us: int = 500_000
    permission_us: int = 150_000  # three leases of 50 ms; the device pauses at 150 ms without one

    # Couch moved since imaging [P, clinical facts 7.5 no 5].
    moved_mm: float = 0.5
    moved_deg: float = 0.2
    # The two position channels [P, clinical facts 7.5 no 9].
    channels_mm: float = 0.5
    channels_deg: float = 0.2
    # Clearance [clinical facts section 5: model error asks for >= 20 mm warning, >= 10 mm stop].
    clearance_warn_mm: float = 20.0
    clearance_stop_mm: float = 10.0
    # The gantry may not turn between the certificate of a path and the move: 1 deg is 7 mm at the head's face.
    gantry_deg: float = 1.0
    # The patient's own history [P]: 2 SD (Hadley, JACMP 2009), not below a floor, from this many fractions on.
    history_min: int = Field(default=3, ge=2)
    history_floor_mm: float = 2.0
    history_floor_deg: float = 1.0
    # Two isocentres of one fraction: how far their distance on the couch may differ from that in the plan [P].
    isocentre_mm: float = 2.0
    # Motion by the pendant's keys [P]. The patient lies where the plan says or where nobody knows, so that the distance
    # kept is larger than along a registered path. `reach` is certified at a time; within `overshoot` of its end the
    # couch is told to stop: 0.5 s at 10 mm/s, twice the 200 ms that the couch goes on by itself and its ramp.
    manual_clearance_mm: float = 30.0
    manual_reach_mm: float = 60.0
    manual_reach_deg: float = 6.0
    manual_overshoot_mm: float = 5.0
    manual_overshoot_deg: float = 0.5
    # A residual that repeats, undoes or doubles the shift just made, to within this, is suspicious [P].
    last_shift_mm: float = 1.5
    last_shift_min_mm: float = 4.0
    # Distance of the measured axes from the approved straight line while moving: servo lag and noise stay far below.
    path_mm: float = 1.0
    path_deg: float = 0.5
    # Speed of a correction: the slow speed of IEC 60601-2-1, 201.9.2 as remembered, to be checked against the text.
    speed_mm_s: float = 10.0
    speed_deg_s: float = 1.0
    # Released but still moving for so long is a run-on: a stop from 10 mm/s at 30 mm/s2 takes well below 0.5 s.
    run_on_us: int = SECOND_US
    # An arrived couch may ring and its telemetry may lag: judged within this window, not on the first sample.
    settle_us: int = SECOND_US

    override_life_us: int = 5 * MINUTE_US
    override_second_roles: tuple[Role, ...] = (Role.PHYSICIST, Role.PHYSICIAN)
    challenge_life_us: int = 2 * MINUTE_US
    confirmations_wrong_max: int = 3
    upload_us: int = 5 * SECOND_US
    execute_us: int = 2 * SECOND_US
    gate_us: int = 2 * SECOND_US
    reset_us: int = 5 * SECOND_US
    home_us: int = 2 * SECOND_US
    imaging_us: int = 5 * MINUTE_US
    view_us: int = 20 * SECOND_US
    park_us: int = 40 * SECOND_US
    scan_us: int = 15 * MINUTE_US
    registration_us: int = 10 * MINUTE_US
    path_check_us: int = 3 * MINUTE_US

    @model_validator(mode="after")
    def _complete(self) -> SupervisorConfig:
        unknown = [name for name in self.qa_required if name not in BY_NAME]
        if unknown:
            raise ValueError(
                f"qa_required names tests that there are none of: {', '.join(unknown)}"
            )
        names = [rule.site for rule in self.site_rules]
        if "general" not in names:
            raise ValueError(
                "site_rules need a rule named `general`: what holds for a site without its own"
            )
        if len(set(names)) != len(names):
            raise ValueError(f"site_rules name a site twice: {sorted(names)}")
        if not self.fresh_us < self.lost_us:
            raise ValueError("fresh_us must be below lost_us")
        return self

    def rule_for(self, site: str) -> SiteRule:
        """The rule of a site, or the general one for a site that has none."""
        general = self.site_rules[0]
        for rule in self.site_rules:
            if rule.site == site:
                return rule
            if rule.site == "general":
                general = rule
        return general
