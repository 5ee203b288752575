"""One treatment session from one seed: what happened, and whether a promise was broken."""

from __future__ import annotations

import random
from collections import Counter

from igrt_hw.campaign.faults import Misfortune, plan_faults
from igrt_hw.campaign.judge import Judge
from igrt_hw.campaign.people import Team
from igrt_hw.campaign.plans import plan_of
from igrt_hw.campaign.rig import Rig
from igrt_hw.campaign.room import room_factory
from igrt_hw.models.base import Frozen

LENGTH_US = 15_000_000
AFTER_US = 1_500_000  # after the end everything is watched for a while


class BrokenPromise(Frozen):
    """A violation, with the seed that brings it back."""

    seed: int
    promise: str
    at_s: float
    detail: str


class SessionReport(Frozen):
    """What one session came to."""

    seed: int
    virtual_s: float
    moved_s: float
    state: str
    arrivals: int
    stops: int
    crashes: int
    faults: dict[str, int]
    alarms: dict[str, int]
    nuisance: int
    violations: tuple[BrokenPromise, ...]


def run_session(seed: int, *, faults: bool = True) -> SessionReport:
    """Run the session of a seed. The same seed gives the same report."""
    draw = random.Random(f"{seed}/plan")
    setup_mm = draw.choice((2.0, 4.0, 8.0))
    room = room_factory()(seed=seed, setup_error_mm=setup_mm, setup_error_deg=setup_mm / 8.0)
    rig = Rig(seed, room, plan_of(draw))
    misfortune = Misfortune(rig, plan_faults(seed) if faults else ())
    judge, team = Judge(rig, misfortune), Team(rig, seed)
    begun_us = rig.now_us
    while not team.done and rig.now_us - begun_us < LENGTH_US:
        misfortune.pass_time()
        team.act()
        rig.step()
        judge.look()
    misfortune.end_all()
    rig.hold("released")
    ends_us = rig.now_us + AFTER_US
    while rig.now_us < ends_us:
        rig.step()
        judge.look()
    alarms = Counter(
        record.text.split(" ")[0]
        for record in rig.records
        if record.kind == "alarm" and " raised" in record.text
    )
    return SessionReport(
        seed=seed,
        virtual_s=(rig.now_us - begun_us) / 1e6,
        moved_s=judge.moved_us / 1e6,
        state=rig.state.value if rig.state is not None else "no supervisor",
        arrivals=team.arrivals,
        stops=team.stops,
        crashes=rig.crashes,
        faults=dict(misfortune.injected),
        alarms=dict(alarms),
        nuisance=sum(alarms.values()) if not misfortune.injected else 0,
        violations=tuple(
            BrokenPromise(seed=seed, promise=v.promise, at_s=v.at_us / 1e6, detail=v.detail)
            for v in judge.violations
        ),
    )
