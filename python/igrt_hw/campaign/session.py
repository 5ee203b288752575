"""One treatment session from one seed: what happened, and whether a promise was broken."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from igrt_hw.campaign.faults import Misfortune, plan_faults
from igrt_hw.campaign.judge import Judge
from igrt_hw.campaign.people import Team
from igrt_hw.campaign.plans import plan_of
from igrt_hw.campaign.rig import Rig
from igrt_hw.campaign.room import room_factory
from igrt_hw.models.base import Frozen

LENGTH_US = 12_000_000
AFTER_US = 400_000  # at rest for longer than `judge.REST_US`: after that nothing may move at all
# Longer than a stop takes: what still moves then moves without permission.
AFTER_MOTION_US = 900_000
NUISANCE = ("link/", "terminal", "fault/", "expiry")
HASTY = 0.25


class BrokenPromise(Frozen):
    """A violation, with the seed that brings it back."""

    seed: int
    promise: str
    at_s: float
    detail: str


class SessionReport(Frozen):
    """What one session came to."""

    seed: int
    log_hash: str
    virtual_s: float
    moved_s: float
    state: str
    arrivals: int
    stops: int
    crashes: int
    faults: dict[str, int]
    alarms: dict[str, int]
    calm: bool
    """Nothing was made to go wrong, and proposals and images lived as long as the site rule says."""
    nuisance: int
    """Alarms of links, terminal, devices or expiry in a session in which nothing was wrong and nobody was late."""
    violations: tuple[BrokenPromise, ...]


RigMaker = Callable[..., Rig]


def run_session(seed: int, *, faults: bool = True, rig_of: RigMaker = Rig) -> SessionReport:
    """Run the session of a seed. The same seed gives the same report, `log_hash` included.

    Raises `NoSimulatorError` where the simulator is not installed. `rig_of` lets tests weaken what is judged.
    """
    draw = random.Random(f"{seed}/plan")
    setup_mm = draw.choice((2.0, 4.0, 8.0))
    room = room_factory()(seed=seed, setup_error_mm=setup_mm, setup_error_deg=setup_mm / 8.0)
    rig = rig_of(seed, room, plan_of(draw), hasty=faults and draw.random() < HASTY)
    misfortune = Misfortune(rig, plan_faults(seed) if faults else ())
    judge, team = Judge(rig, misfortune), Team(rig, seed)
    begun_us = rig.now_us
    ends_us = begun_us + LENGTH_US
    while not team.done and rig.now_us < ends_us:
        next_us = min(team.next_us, ends_us)
        fault_us = misfortune.next_us
        rig.run_until(next_us if fault_us is None else min(next_us, fault_us))
        misfortune.pass_time()
        team.act()
    misfortune.end_all()
    rig.hold("released")
    rig.run_until(rig.now_us + (AFTER_MOTION_US if judge.restless else AFTER_US))
    judge.close()
    return _report(seed, rig, misfortune, judge, team, begun_us)


def _report(
    seed: int, rig: Rig, misfortune: Misfortune, judge: Judge, team: Team, begun_us: int
) -> SessionReport:
    alarms = Counter(
        told.record.text.split(" ")[0]
        for told in rig.records
        if told.at_us >= team.came_in_us
        and told.record.kind == "alarm"
        and " raised" in told.record.text
    )
    calm = not misfortune.injected and not rig.hasty
    nuisance = sum(n for name, n in alarms.items() if name.startswith(NUISANCE)) if calm else 0
    return SessionReport(
        seed=seed,
        log_hash=rig.log_hash(),
        virtual_s=(rig.now_us - begun_us) / 1e6,
        moved_s=judge.moved_us / 1e6,
        state=rig.state.value if rig.state is not None else "no supervisor",
        arrivals=team.arrivals,
        stops=team.stops,
        crashes=rig.crashes,
        faults=dict(misfortune.injected),
        alarms=dict(alarms),
        calm=calm,
        nuisance=nuisance,
        violations=tuple(
            BrokenPromise(seed=seed, promise=v.promise, at_s=v.at_us / 1e6, detail=v.detail)
            for v in judge.violations
        ),
    )
