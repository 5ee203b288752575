"""The pendant's keys against the real firmware, over ptys, through the service; judged by the simulator's truth."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from igrt_hw.client import AsyncClient, SimulatedHand
from igrt_hw.demo.run import DemoSettings, start
from igrt_hw.demo.script import ScriptedOperator
from igrt_hw.models.commands import EnterMode, HomeCouch, NextIsocentre
from igrt_hw.records import RecordStore
from igrt_hw.server.users import DEMO_USERS

pytestmark = [pytest.mark.hil, pytest.mark.slow]

VERTICAL_DOWN = 1 << 5  # two bits an axis, plus and minus; the third axis


class Silent:
    """A narrator for tests."""

    def step(self, title: str, lines: list[str]) -> None:
        pass


async def height(hand: SimulatedHand) -> float:
    truth = await hand.truth()
    return float(truth["axes"]["vertical_mm"])


# safety: SR-32
async def test_a_held_key_lowers_the_couch_and_letting_go_stops_it(tmp_path: Path) -> None:
    settings = DemoSettings(seed=11, machine="linac_pedestal", keep=tmp_path)
    person = next(user for user in DEMO_USERS if user.role == "physicist")
    with start(settings, tmp_path) as running:
        async with (
            AsyncClient(running.url) as client,
            SimulatedHand(running.endpoints.control) as hand,
        ):
            await client.login(person.username, person.password)
            operator = ScriptedOperator(client, hand, Silent(), seed=11, terminal_id="script")
            async with operator.at_the_terminal():
                await operator.until(lambda s: s.terminal_age_ms is not None, "the terminal")
                before = await height(hand)
                await hand.ask("hand.jog_keys", keys=VERTICAL_DOWN)
                await asyncio.sleep(0.5)
                assert await height(hand) == pytest.approx(before, abs=0.05), "no enable, no motion"
                await hand.ask("hand.jog_keys", keys=0)
                await asyncio.sleep(0.2)

                await hand.enable("enabled", 20_000)
                await hand.ask("hand.jog_keys", keys=VERTICAL_DOWN)
                await operator.until(
                    lambda s: s.couch is not None and s.couch.state == "jogging", "the couch to jog"
                )
                await asyncio.sleep(1.0)
                await hand.ask("hand.jog_keys", keys=0)
                await operator.until(
                    lambda s: s.couch is not None and not s.couch.moving and s.couch.brakes_on,
                    "the couch to rest",
                )
                rest = await height(hand)
                assert before - 60.0 < rest < before - 2.0
                await asyncio.sleep(0.5)
                assert await height(hand) == pytest.approx(rest, abs=0.2)

                assert not (await client.send(NextIsocentre(isocentre_id="ISO2"))).accepted
                assert (await client.send(EnterMode(mode="service"))).accepted
                assert (await client.send(HomeCouch())).accepted
                await operator.until(
                    lambda s: s.couch is not None and s.couch.state == "homing", "homing"
                )
                await hand.enable("released")
                await operator.until(
                    lambda s: s.couch is not None and not s.couch.moving, "homing to end"
                )
    with RecordStore(tmp_path / "store" / "record.sqlite", read_only=True) as store:
        assert store.verify() is None
        manual = [entry.text for entry in store.all() if entry.kind == "manual"]
    assert any("vertical - by the pendant" in text for text in manual)
    assert any("the key was let go" in text for text in manual)
