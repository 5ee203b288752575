"""Something breaks in the middle of a move: the couch rests within its stopping distance, and the record says why.

Real processes and ptys in real time; what is judged is the simulator's truth.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from igrt_hw.client import AsyncClient, ClientError, SimulatedHand
from igrt_hw.demo.run import DemoSettings, Running, start
from igrt_hw.demo.script import ScriptedOperator
from igrt_hw.models.commands import Stop
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.status import LoopState
from igrt_hw.records import RecordStore, recovery
from igrt_hw.server.users import DEMO_USERS

pytestmark = [pytest.mark.hil, pytest.mark.slow]

LINEAR = ("lateral_mm", "longitudinal_mm", "vertical_mm")
# The largest speed of an axis is 10 mm/s; three axes at once make 10 * sqrt(3). Stopping from there takes
# v/a + a/j = 10/30 + 30/150 = 0.53 s, over which the speed falls symmetrically: half of it counts.
STOPPING_S = 10.0 / 30.0 + 30.0 / 150.0
SPEED_MM_S_MAX = 10.0 * math.sqrt(3.0)
LEASE_LATE_S = 0.150
LOOKING_S = (
    0.15  # between the last look at the truth and the harm that follows it, on a busy machine
)


class Silent:
    """A narrator for tests."""

    def step(self, title: str, lines: list[str]) -> None:
        pass


@dataclass
class Drill:
    """A couch in mid path, with the hand still on the enable."""

    running: Running
    client: AsyncClient
    hand: SimulatedHand
    operator: ScriptedOperator
    holding: asyncio.Task[None]

    async def harm_and_rest(self, harm: Callable[[], Any], reaction_s: float) -> None:
        """Do the harm; the couch must come to rest within its stopping distance and stay there."""
        before = await self.hand.truth()
        result = harm()
        if asyncio.iscoroutine(result):
            await result
        rest = await self._at_rest()
        budget_s = LOOKING_S + reaction_s + STOPPING_S / 2.0
        assert distance_mm(before, rest) <= SPEED_MM_S_MAX * budget_s
        await asyncio.sleep(1.5)
        later = await self.hand.truth()
        assert later["brakes_engaged"]
        assert distance_mm(rest, later) < 0.2

    async def _at_rest(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                truth = await self.hand.truth()
                if truth["speed_mm_s"] == 0.0 and truth["brakes_engaged"]:
                    return truth
                await asyncio.sleep(0.02)

    def record(self) -> list[RecordEntry]:
        with RecordStore(self.running.folder / "store" / "record.sqlite", read_only=True) as store:
            assert store.verify() is None
            return list(store.all())

    def child(self, name: str) -> int:
        """Process id of the command on a leash."""
        (child,) = [c for c in self.running.family.children if c.name == name]
        children = Path(f"/proc/{child.process.pid}/task/{child.process.pid}/children")
        (inner,) = children.read_text().split()
        return int(inner)


def distance_mm(a: dict[str, Any], b: dict[str, Any]) -> float:
    return math.dist([a["axes"][n] for n in LINEAR], [b["axes"][n] for n in LINEAR])


def texts(entries: list[RecordEntry], kind: str) -> str:
    return "\n".join(entry.text for entry in entries if entry.kind == kind)


@asynccontextmanager
async def in_mid_path(folder: Path, terminal_id: str | None = "script") -> AsyncIterator[Drill]:
    person = DEMO_USERS[0]
    settings = DemoSettings(seed=11, machine="linac_pedestal", keep=folder)
    with start(settings, folder) as running:
        async with (
            AsyncClient(running.url) as client,
            SimulatedHand(running.endpoints.control) as hand,
        ):
            await client.login(person.username, person.password)
            operator = ScriptedOperator(client, hand, Silent(), seed=11, terminal_id=terminal_id)
            async with operator.at_the_terminal(), terminal_of(client, terminal_id) as process:
                await operator.until(lambda s: s.terminal_age_ms is not None, "the terminal")
                await operator.as_far_as_armed()
                holding = asyncio.create_task(operator.hold())
                try:
                    await operator.until(
                        lambda s: (
                            s.state is LoopState.MOVING
                            and s.couch is not None
                            and s.couch.path_fraction > 0.15
                        ),
                        "the couch to be on its way",
                    )
                    drill = Drill(running, client, hand, operator, holding)
                    drill.terminal = process  # type: ignore[attr-defined]
                    yield drill
                finally:
                    holding.cancel()
                    with suppress(asyncio.CancelledError, ClientError):
                        await holding


@asynccontextmanager
async def terminal_of(
    client: AsyncClient, terminal_id: str | None
) -> AsyncIterator[asyncio.subprocess.Process | None]:
    """A terminal as a process of its own, in the same user session, where the operator keeps no lease himself."""
    if terminal_id is not None:
        yield None
        return
    assert client.signed_in is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "igrt_hw.cli", "status", "--follow", "--terminal", "drill",
        env={**os.environ, "IGRT_URL": client.url, "IGRT_TOKEN": client.signed_in.token},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_releasing_the_enable_holds_and_the_record_says_so(tmp_path: Path) -> None:
    async with in_mid_path(tmp_path) as drill:

        async def release() -> None:
            drill.holding.cancel()
            await drill.hand.enable("released")

        await drill.harm_and_rest(release, reaction_s=0.0)
        status = await drill.client.status()
        assert status.state is LoopState.HELD
        assert "MOVING -> HELD" in texts(drill.record(), "transition")
        assert any(
            entry.data.get("reason") == "held: enable released"
            for entry in drill.record()
            if entry.kind == "transition"
        )


async def test_killing_the_terminal_takes_the_permission_and_the_plan(tmp_path: Path) -> None:
    async with in_mid_path(tmp_path, terminal_id=None) as drill:
        # A process that is killed closes its connection; the supervisor hears that at once.
        await drill.harm_and_rest(lambda: drill.terminal.kill(), reaction_s=0.5)
        status = await drill.client.status()
        assert status.state is LoopState.SUPERSEDED
        assert not status.permission
        assert "drill: terminal has gone" in {
            f"{e.actor}: {e.text}" for e in drill.record() if e.kind == "terminal"
        }
        assert any("Terminal" in str(e.data.get("reason", "")) for e in drill.record())


async def test_a_terminal_that_freezes_loses_the_permission(tmp_path: Path) -> None:
    async with in_mid_path(tmp_path, terminal_id=None) as drill:
        freeze = drill.terminal.pid
        await drill.harm_and_rest(lambda: os.kill(freeze, signal.SIGSTOP), reaction_s=0.5 + 0.3)
        status = await drill.client.status()
        assert status.state is LoopState.SUPERSEDED
        assert "Terminal" in status.reason


async def test_killing_the_supervisor_stops_the_couch_and_the_next_run_says_what_it_found(
    tmp_path: Path,
) -> None:
    async with in_mid_path(tmp_path) as drill:
        supervisor = drill.child("supervisor")
        await drill.harm_and_rest(
            lambda: os.kill(supervisor, signal.SIGKILL), reaction_s=LEASE_LATE_S
        )
        truth = await drill.hand.truth()
        assert truth["couch_state_name"] == "latched"
        entries = drill.record()
        assert "MOVING" in texts(entries, "transition").splitlines()[-1]
        kinds = {finding.kind for finding in recovery(entries)}
        assert {"motion", "approval", "patient"} <= kinds


async def test_cutting_the_line_stops_the_couch_and_latches(tmp_path: Path) -> None:
    async with in_mid_path(tmp_path) as drill:
        await drill.harm_and_rest(
            lambda: drill.hand.ask("fault.inject", target="line.couch", kind="off"),
            reaction_s=LEASE_LATE_S,
        )
        truth = await drill.hand.truth()
        assert truth["couch_state_name"] == "latched"
        status = await drill.client.status()
        assert status.state in (LoopState.FAULT, LoopState.SUPERSEDED)
        assert "couch" in status.reason.lower()
        entries = drill.record()
        assert any(e.kind in ("link", "transition") and "couch" in e.text.lower() for e in entries)


async def test_stop_wins_and_nothing_resumes(tmp_path: Path) -> None:
    async with in_mid_path(tmp_path) as drill:
        stop = Stop(reason="drill")
        await drill.harm_and_rest(lambda: drill.client.demand(stop), reaction_s=0.3)
        status = await drill.client.status()
        assert status.state is LoopState.SUPERSEDED
        assert "STOP by demo: drill" in texts(drill.record(), "stop")
