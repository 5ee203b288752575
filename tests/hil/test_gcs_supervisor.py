"""A shift by a couch without lease and plan digest: the supervisor says so, demands the wire, proves the arrival."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from igrt_hw.client import AsyncClient, Endpoints, SimulatedHand
from igrt_hw.demo.processes import Family, command_path
from igrt_hw.demo.script import ScriptedOperator, TrueResidual
from igrt_hw.models.commands import ReleaseBeam
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.models.status import LoopState
from igrt_hw.records import RecordStore
from igrt_hw.server.settings import DEMO_PLAN, Ready
from igrt_hw.server.users import DEMO_USERS

pytestmark = [pytest.mark.hil, pytest.mark.slow]
START_S = 90.0


class Silent:
    def step(self, title: str, lines: list[str]) -> None:
        pass


def started(family: Family, folder: Path) -> tuple[Endpoints, str]:
    endpoints, ready = folder / "endpoints.json", folder / "service.json"
    family.start(
        "simulator",
        [
            command_path("igrt-sim"), "serve", "--run-dir", folder, "--patient", DEMO_PLAN,
            "--seed", "11", "--family", "hexapod", "--dialect", "gcs",
            "--setup-error-mm", "8", "--setup-error-deg", "1.2",
        ],
        {},
    )  # fmt: skip
    family.wait_until(endpoints.exists, "the simulator", START_S)
    family.start(
        "supervisor",
        [
            command_path("igrt"), "serve", "--endpoints", endpoints, "--couch-dialect", "gcs",
            "--machine", "linac_hexapod", "--plan", DEMO_PLAN, "--store", folder / "store",
            "--port", "0", "--ready-file", ready, "--demo-users",
        ],
        {},
    )  # fmt: skip
    family.wait_until(ready.exists, "the supervisor", START_S)
    return Endpoints.read(endpoints), Ready.model_validate_json(ready.read_bytes()).url


async def one_shift(endpoints: Endpoints, url: str) -> None:
    user = DEMO_USERS[0]
    async with AsyncClient(url) as client, SimulatedHand(endpoints.control) as hand:
        await client.login(user.username, user.password)
        operator = ScriptedOperator(client, hand, Silent(), seed=11)
        before = TrueResidual.of(await hand.truth())
        async with operator.at_the_terminal():
            proposal = await operator.as_far_as_armed()
            said = {check.name: check for check in proposal.content.checks}
            assert said["couch assurance"].outcome is CheckOutcome.WARN
            assert "no lease" in said["couch assurance"].detail
            assert said["second channel"].outcome is CheckOutcome.WARN
            status = await client.status()
            assert status.couch is not None
            assert any("no plan digest" in text for text in status.couch.assurance)
            interlocks = {interlock.name: interlock for interlock in status.interlocks}
            assert interlocks["Hardware Channel"].satisfied
            assert not interlocks["Enable"].satisfied, "armed, and nobody holds the enable yet"
            assert not status.permission
            await operator._move()
            verified = await operator._verify()
            assert verified.state is LoopState.VERIFIED
            assert verified.verification is not None
            assert "no second channel" in verified.reason or verified.verification.passed
            result = await client.send(ReleaseBeam())
            assert result.accepted
            held = await operator.until(lambda s: "no beam gate" in s.reason, "the refusal")
            assert held.state is LoopState.VERIFIED
        after = TrueResidual.of(await hand.truth())
        assert before.distance_mm > 4.0
        assert after.distance_mm < 1.0
        assert after.angle_deg < 0.5


# safety: SR-36
def test_shift_by_gcs_is_proposed_approved_moved_held_and_verified(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        endpoints, url = started(family, tmp_path)
        asyncio.run(one_shift(endpoints, url))
    with RecordStore(tmp_path / "store" / "record.sqlite", read_only=True) as record:
        assert record.verify() is None


def test_gcs_is_refused_for_a_machine_without_a_hexapod(tmp_path: Path) -> None:
    import subprocess

    ended = subprocess.run(
        [
            command_path("igrt"), "serve", "--couch", "/dev/null", "--imager", "/dev/null",
            "--pendant", "/dev/null", "--couch-dialect", "gcs", "--store", tmp_path, "--simulator",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "hexapod" in ended.stderr
