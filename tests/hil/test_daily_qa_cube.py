"""The daily shift test with a cube on the couch, whole: simulator, service at its API, images, keys, move, verdict."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from igrt_hw.client import AsyncClient, Endpoints, SimulatedHand
from igrt_hw.demo.processes import Family, command_path
from igrt_hw.demo.script import ScriptedOperator
from igrt_hw.models import commands
from igrt_hw.models.qa import QaStep
from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_hw.records import RecordStore
from igrt_hw.safety.qa_tests import (
    IMAGER_COINCIDENCE,
    ROTATION,
    SHIFT_MATCHING,
    SHIFT_MOTION,
    SHIFT_VERIFICATION,
)
from igrt_hw.server.settings import Ready
from igrt_hw.server.users import DEMO_USERS

pytestmark = [pytest.mark.hil, pytest.mark.slow, pytest.mark.timeout(900)]
START_S = 90.0
VERTICAL_DOWN, LATERAL_PLUS = 1 << 5, 1 << 0  # two bits an axis, plus and minus
FROM_THE_LOOP = tuple(
    name + turn
    for name in (IMAGER_COINCIDENCE, SHIFT_MATCHING, SHIFT_MOTION, SHIFT_VERIFICATION)
    for turn in ("", ROTATION)
)


class Silent:
    """A narrator for tests."""

    def step(self, title: str, lines: list[str]) -> None:
        pass


def started(family: Family, folder: Path) -> tuple[Endpoints, str]:
    plan, endpoints, ready = folder / "cube", folder / "endpoints.json", folder / "ready.json"
    subprocess.run(
        [command_path("igrt-sim"), "phantom", "cube", plan, "--spacing-mm", "2"],
        check=True,
        timeout=300,
    )
    family.start(
        "simulator",
        [
            command_path("igrt-sim"), "serve", "--run-dir", folder, "--patient", "phantom:cube",
            "--setup-error-mm", "0.3", "--setup-error-deg", "0.1", "--seed", "7",
        ],
        {},
    )  # fmt: skip
    family.wait_until(endpoints.exists, "the simulator", START_S)
    family.start(
        "supervisor",
        [
            command_path("igrt"), "serve", "--endpoints", endpoints, "--plan", plan,
            "--store", folder / "store", "--port", "0", "--ready-file", ready, "--demo-users",
            "--qa-phantom", "PHANTOM-CUBE=cube",
        ],
        {},
    )  # fmt: skip
    family.wait_until(ready.exists, "the supervisor", START_S)
    return Endpoints.read(endpoints), Ready.model_validate_json(ready.read_bytes()).url


class PhysicistAtTheCube:
    """Walks the form of JACMP 2012;13(4):113 through the loop, as the screen would."""

    def __init__(self, client: AsyncClient, hand: SimulatedHand) -> None:
        self.client, self.hand = client, hand
        self.operator = ScriptedOperator(client, hand, Silent(), seed=7, release_on_the_way=False)

    async def image_and_match(self) -> None:
        await self.client.demand(commands.AcquireImages())
        await self.operator.until(lambda s: s.state is LoopState.IMAGED, "the pair")
        await self.client.demand(commands.RegisterImages())
        await self.operator.until(lambda s: s.state is LoopState.REGISTERED, "the match")

    async def displace(self, keys: int, mm: float) -> None:
        """By a key of the pendant, while the enable is held."""
        status = await self.client.status()
        assert status.couch is not None
        stood = status.couch.primary
        await self.hand.enable("enabled", 30_000)
        await self.hand.ask("hand.jog_keys", keys=keys)
        await self.operator.until(
            lambda s: (
                s.couch is not None
                and max(abs(a - b) for a, b in zip(stood, s.couch.primary, strict=True)) > mm
            ),
            f"the couch to be {mm} mm away",
        )
        await self.hand.ask("hand.jog_keys", keys=0)
        await self.operator.until(_at_rest, "the couch to rest")
        await self.hand.enable("released")

    async def align_and_match(self) -> None:
        await self.operator.until(lambda s: all(link.connected for link in s.links), "the links")
        await self.client.demand(commands.EnterMode(mode="daily QA"))
        await self.client.demand(commands.BeginQa(level="stereotactic"))
        plan = (await self.client.plans())[0]
        await self.client.demand(
            commands.OpenPatient(
                plan_uid=plan.plan_uid,
                patient_id=plan.patient.patient_id,
                birth_date=plan.patient.birth_date,
                isocentre_id=plan.isocentres[0].isocentre_id,
                fraction=1,
            )
        )
        await self.client.demand(commands.ConfirmSetup())
        await self.image_and_match()

    async def shift(self) -> None:
        await self.displace(VERTICAL_DOWN, 6.0)
        await self.displace(LATERAL_PLUS, 5.0)
        await self.client.demand(commands.ConfirmSetup())
        await self.image_and_match()
        proposal = await self.operator._propose()
        await self.operator._approve(proposal)
        await self.client.demand(commands.Arm(digest=proposal.digest))
        await self.operator.until(lambda s: s.state is LoopState.ARMED, "the couch to be armed")
        await self.operator._move()
        await self.operator._verify()

    async def finish(self) -> dict[str, object]:
        await self.client.demand(commands.ClosePatient())
        return dict((await self.client.demand(commands.FinishQa())).data)


def _at_rest(status: SupervisorStatus) -> bool:
    couch = status.couch
    return couch is not None and not couch.moving and couch.brakes_on and couch.state == "idle"


def step_of(status: SupervisorStatus, test: str) -> QaStep:
    assert status.qa is not None
    return next(step for step in status.qa.steps if step.test == test)


# safety: SR-39
async def test_a_cube_goes_from_an_empty_room_to_the_verdict_of_the_shift_test(
    tmp_path: Path,
) -> None:
    person = next(user for user in DEMO_USERS if user.role == "physicist")
    with Family(tmp_path) as family:
        endpoints, url = started(family, tmp_path)
        async with AsyncClient(url) as client, SimulatedHand(endpoints.control) as hand:
            await client.login(person.username, person.password)
            cube = PhysicistAtTheCube(client, hand)
            async with cube.operator.at_the_terminal():
                await cube.align_and_match()
                await cube.shift()
                status = await client.status()
                figures = {name: step_of(status, name) for name in FROM_THE_LOOP}
                assert {name: step.outcome for name, step in figures.items()} == dict.fromkeys(
                    FROM_THE_LOOP, "passed"
                )
                ended = await cube.finish()
            missing = ended["missing"]
            assert isinstance(missing, list)
            assert not set(FROM_THE_LOOP) & set(missing), (
                "only what people watch or type is missing"
            )
            (run,) = await client.qa_runs()
            assert {r.test for r in run.results} == set(FROM_THE_LOOP)
            residual = (await hand.truth())["residual"]
            assert residual["distance_mm"] < 1.0, "and the cube truly lies where the plan wants it"
    with RecordStore(tmp_path / "store" / "record.sqlite", read_only=True) as record:
        assert record.verify() is None
        forms = [entry for entry in record.all() if entry.text == "shift test"]
        assert len(forms) == 1
