"""What the supervisor does with a couch that keeps no lease and hashes no plan: it says so, demands the wire, holds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from room_rig import Room

from igrt_hw.models.commands import Arm
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.safety import effects as fx
from igrt_hw.safety.rules import SITE_RULES, SiteRule, SupervisorConfig, demonstration_rules
from igrt_hw.safety.status_view import status

MISSING = ("no lease: only the wire stops it", "no plan digest: targets are read back")
GCS: Mapping[str, object] = {
    "assurance": MISSING,
    "unreported": ("second channel", "panel arms"),
    "panel_arms_clear": False,
    "hardware_channel": True,
}


def room_of(**changes: object) -> Room:
    room = Room()
    room.couch.extra = {**GCS, **changes}
    return room


# safety: SR-36
def test_proposal_and_status_say_what_the_couch_cannot_promise() -> None:
    room = room_of().to("CHECKED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    said = {check.name: check for check in proposal.content.checks}
    assert said["couch assurance"].outcome is CheckOutcome.WARN
    assert all(sentence in said["couch assurance"].detail for sentence in MISSING)
    assert said["second channel"].outcome is CheckOutcome.WARN
    shown = status(room.supervisor, room.now_us)
    assert shown.couch is not None
    assert shown.couch.assurance == MISSING


# safety: SR-36
def test_couch_that_promises_everything_passes_the_same_check() -> None:
    proposal = Room().to("CHECKED").supervisor.memory.proposal
    assert proposal is not None
    said = {check.name: check for check in proposal.content.checks}
    assert said["couch assurance"].outcome is CheckOutcome.PASS


# safety: SR-36
@pytest.mark.parametrize(("rules", "people"), [(SITE_RULES, 2), (demonstration_rules(), 1)])
def test_a_second_person_approves_on_a_couch_of_reduced_assurance_where_the_site_rule_says_so(
    rules: tuple[SiteRule, ...], people: int
) -> None:
    room = Room(SupervisorConfig(machine="linac", software_version="0", site_rules=rules))
    room.couch.extra = {**GCS}
    room.to("CHECKED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    assert proposal.content.approvals_needed == people


# safety: SR-37
def test_couch_without_lease_and_without_proved_wire_is_not_armed() -> None:
    room = room_of(hardware_channel=False).to("APPROVED")
    answer = room.ask(Arm(digest=room.digest()))
    assert not answer.accepted
    assert "Hardware Channel" in answer.message
    assert not room.of(fx.UploadPlan)


# safety: SR-36
def test_couch_without_lease_has_permission_only_while_the_pendant_holds_the_enable() -> None:
    room = room_of().to("ARMED")
    room.clear()
    room.run(5)
    assert not [e for e in room.of(fx.RefreshPermission) if e.device == "couch"]  # type: ignore[attr-defined]
    room.enable()
    room.clear()
    room.run(5)
    assert [e for e in room.of(fx.RefreshPermission) if e.device == "couch"]  # type: ignore[attr-defined]
    assert room.state == "MOVING"
    room.couch.enable = False
    room.run(3)
    room.clear()
    room.run(5)
    assert not [e for e in room.of(fx.RefreshPermission) if e.device == "couch"]  # type: ignore[attr-defined]
    assert room.state == "HELD", "held, not void"


@pytest.mark.parametrize("state", ["ARMED"])
def test_lease_keeping_couch_has_permission_as_soon_as_it_is_armed(state: str) -> None:
    room = Room().to(state)
    room.clear()
    room.run(5)
    assert [e for e in room.of(fx.RefreshPermission) if e.device == "couch"]  # type: ignore[attr-defined]


# safety: SR-36
def test_channels_of_a_couch_that_has_one_never_agree() -> None:
    room = room_of().to("ARRIVED")
    verification = room.supervisor.memory.verification
    assert verification is not None
    assert verification.channels_agree is None, "unknown, not true"
    assert verification.channel_difference_mm is None
    assert verification.channel_difference_deg is None
    assert not verification.passed, "arrival alone verifies nothing"
    assert "no second channel agrees" in verification.reason
    room.to("VERIFIED")
    verified = room.supervisor.memory.verification
    assert verified is not None
    assert verified.passed
    assert verified.channels_agree is None
    assert verified.image_residual is not None
    assert "by images alone" in verified.reason


# safety: SR-36
def test_channels_of_a_couch_that_has_two_agree_or_differ() -> None:
    verification = Room().to("ARRIVED").supervisor.memory.verification
    assert verification is not None
    assert verification.channels_agree is True
    assert verification.channel_difference_mm is not None
