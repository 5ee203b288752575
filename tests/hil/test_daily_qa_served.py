"""Daily QA with the whole stack: simulator, supervisor at a Unix socket, client; interlocks broken in the room."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from igrt_hw.client import AsyncClient, Endpoints, SimulatedHand
from igrt_hw.demo.processes import Family, command_path
from igrt_hw.models import commands
from igrt_hw.models.qa import QaStep
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.records import RecordStore
from igrt_hw.server.settings import DEMO_PLAN, Ready
from igrt_hw.server.users import DEMO_USERS

pytestmark = [pytest.mark.hil, pytest.mark.slow]
START_S = 90.0
SEEN_S = 30.0


def started(family: Family, folder: Path) -> tuple[Endpoints, str]:
    endpoints, ready, file = folder / "endpoints.json", folder / "ready.json", folder / "igrt.sock"
    family.start(
        "simulator",
        [command_path("igrt-sim"), "serve", "--run-dir", folder, "--patient", DEMO_PLAN],
        {},
    )
    family.wait_until(endpoints.exists, "the simulator", START_S)
    family.start(
        "supervisor",
        [
            command_path("igrt"), "serve", "--endpoints", endpoints, "--plan", DEMO_PLAN,
            "--store", folder / "store", "--unix-socket", file, "--ready-file", ready, "--demo-users",
        ],
        {},
    )  # fmt: skip
    family.wait_until(ready.exists, "the supervisor", START_S)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return Endpoints.read(endpoints), Ready.model_validate_json(ready.read_bytes()).url


def step_of(status: SupervisorStatus, test: str) -> QaStep:
    assert status.qa is not None
    return next(step for step in status.qa.steps if step.test == test)


async def door_and_enable(endpoints: Endpoints, url: str) -> None:
    user = DEMO_USERS[0]
    async with AsyncClient(url) as client, SimulatedHand(endpoints.control) as hand:
        await client.login(user.username, user.password)
        await client.wait_for(
            lambda s: all(link.connected for link in s.links), SEEN_S, "the links"
        )
        await client.demand(commands.EnterMode(mode="daily QA"))
        await client.demand(commands.BeginQa(level="general"))
        for test, states in (
            ("Door", (False, True)),
            ("Motion Enable", ("enabled", "squeezed", "released")),
        ):
            await client.demand(commands.WatchInterlock(test=test))
            steps = next(t for t in await client.qa_tests() if t.name == test).steps
            for number, state in enumerate(states):
                if isinstance(state, bool):
                    await hand.door(state)
                else:
                    await hand.enable(state)  # type: ignore[arg-type]
                awaited = steps[number + 1] if number + 1 < len(steps) else ""

                def reached(s: SupervisorStatus, test: str = test, awaited: str = awaited) -> bool:
                    step = step_of(s, test)
                    return step.next_step == awaited if awaited else step.outcome == "passed"

                await client.wait_for(reached, SEEN_S, f"{test}, step {number + 1}")
        ended = await client.demand(commands.FinishQa())
        assert ended.data["passed"] is False
        missing = ended.data["missing"]
        assert isinstance(missing, list)
        assert "Emergency Stop" in missing
        assert "Door" not in missing
        (run,) = await client.qa_runs()
        assert [(r.test, r.passed) for r in run.results] == [
            ("Door", True),
            ("Motion Enable", True),
        ]
        assert [point.passed for point in (await client.qa_trend("Door")).points] == [True]


# safety: SR-38
def test_interlocks_are_tested_in_the_room_and_kept_in_the_record(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        endpoints, url = started(family, tmp_path)
        asyncio.run(door_and_enable(endpoints, url))
    with RecordStore(tmp_path / "store" / "record.sqlite", read_only=True) as record:
        assert record.verify() is None
        assert [result.test for result in record.qa_results()] == ["Door", "Motion Enable"]
