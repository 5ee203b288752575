"""Approval in two acts: a challenge (a code, and a number that has to be read off the proposal), then the typed answer.

One-shot, bound to a digest, a user and a session. The second person confirms another number than the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from igrt_hw.geometry import leverage_mm, wrap_deg
from igrt_hw.models.proposal import ApprovalChallenge, Proposal, ProposalContent

# Without letters and digits that are mistaken for one another when read aloud.
CODE_ALPHABET = "ACDEFHJKLMNPRTUVWXY3479"
CODE_LENGTH = 4
_SIGNED = re.compile(r"[+-]\d{1,4}\.\d")
_ZERO = re.compile(r"[+-]?0\.0")


@dataclass(frozen=True, slots=True)
class Fact:
    """One axis shift, as shown: target minus current, one decimal, signed."""

    axis: str
    unit: str
    shown: str

    @property
    def prompt(self) -> str:
        """What the approver is asked."""
        return (
            f"Type the {self.axis} shift of the couch (target minus current) in {self.unit}, "
            "with its sign, to one decimal."
        )


@dataclass(frozen=True, slots=True)
class OpenChallenge:
    """A challenge that has been handed out, with what would answer it."""

    challenge: ApprovalChallenge
    session_id: str
    fact: Fact


def shown(value: float) -> str:
    """A shift as it is displayed and typed: `+3.4`, `-0.1`, `+0.0`."""
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text


def axis_shifts(content: ProposalContent) -> tuple[float, ...]:
    """Target minus start by axis, angles wrapped."""
    return tuple(
        target - start if unit == "mm" else wrap_deg(target - start)
        for target, start, unit in zip(
            content.target_axes, content.start_axes, content.axis_units, strict=True
        )
    )


def fact_for(content: ProposalContent, approvals_given: int) -> Fact:
    """The first approver confirms the largest shift, the second the next largest.

    Angles count by what they move at 100 mm, so that 1 deg weighs 1.7 mm.
    """
    shifts = axis_shifts(content)
    weight = [
        abs(shift) if unit == "mm" else leverage_mm(shift, 100.0)
        for shift, unit in zip(shifts, content.axis_units, strict=True)
    ]
    order = sorted(range(len(shifts)), key=lambda index: (-weight[index], index))
    index = order[min(approvals_given, len(order) - 1)]
    return Fact(content.axis_names[index], content.axis_units[index], shown(shifts[index]))


def fact_agrees(typed: str, fact: Fact) -> bool:
    """Whether what was typed is the number as shown. A missing sign is wrong unless the number is zero."""
    text = typed.strip().replace("−", "-")
    if fact.shown == "+0.0":
        return bool(_ZERO.fullmatch(text))
    return bool(_SIGNED.fullmatch(text)) and text == fact.shown


def open_challenge(
    proposal: Proposal,
    *,
    challenge_id: str,
    code: str,
    username: str,
    session_id: str,
    approvals_given: int,
    expires_us: int,
) -> OpenChallenge:
    """Hand out a challenge to this user in this session."""
    fact = fact_for(proposal.content, approvals_given)
    challenge = ApprovalChallenge(
        challenge_id=challenge_id,
        digest=proposal.digest,
        username=username,
        code=code,
        fact_prompt=fact.prompt,
        fact_unit=fact.unit,
        fact_axis=fact.axis,
        expires_us=min(expires_us, proposal.content.expires_us),
    )
    return OpenChallenge(challenge, session_id, fact)
