"""A supervisor that stood still reads what was said meanwhile before it judges; and gives nobody more than was said."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import argon2
import pytest
from room_rig import Room
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from igrt_hw.models.users import Role
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.server.alive import WINDOW_US, AliveClock
from igrt_hw.server.app import Door, _listen
from igrt_hw.server.users import UserStore

STALL_US = 700_000


def stalled(room: Room) -> None:
    """The program stood still; the devices went on, and their words came in time to their own threads."""
    room.now_us += STALL_US
    room.silent.add("terminal")
    room.telemetry()


# safety: SR-41
def test_a_stalled_supervisor_hears_the_terminal_before_it_judges_its_silence() -> None:
    room = Room().to("MOVING")
    stalled(room)
    assert room.state != "SUPERSEDED"
    room._take(room.supervisor.handle(ev.TerminalAlive("T1"), room.now_us - 40_000))
    room.tick()
    assert room.state in ("MOVING", "HELD")
    assert any(isinstance(e, fx.RefreshPermission) for e in room.effects[-3:])


# safety: SR-41
def test_no_lease_goes_beyond_the_terminals_own_last_word() -> None:
    room = Room().to("MOVING")
    stalled(room)
    room._take(room.supervisor.handle(ev.TerminalAlive("T1"), room.now_us - 501_000))
    room.clear()
    room.tick()
    assert room.state == "SUPERSEDED"
    assert not room.of(fx.RefreshPermission)


# safety: SR-41
def test_a_terminal_that_was_not_heard_at_all_loses_its_lease_at_the_first_tick() -> None:
    room = Room().to("MOVING")
    stalled(room)
    room.tick()
    assert room.state == "SUPERSEDED"


# safety: SR-41
def test_between_ticks_a_silent_terminal_is_given_nothing() -> None:
    room = Room().to("MOVING")
    stalled(room)
    room.clear()
    for _ in range(20):
        room.telemetry()
    assert not room.of(fx.RefreshPermission)


# safety: SR-41
def test_a_word_that_comes_late_does_not_make_a_terminal_older() -> None:
    room = Room().to("SETUP")
    room.feed(ev.TerminalAlive("T1"))
    age = room.supervisor.memory.terminal_age_us(room.now_us)
    room._take(room.supervisor.handle(ev.TerminalAlive("T1"), room.now_us - 400_000))
    assert room.supervisor.memory.terminal_age_us(room.now_us) == age == 0


# safety: SR-41
@pytest.mark.parametrize("offset_us", [-(10**12), 0, 123_456_789])
def test_messages_that_waited_are_dated_by_their_own_time(offset_us: int) -> None:
    """Whatever the terminal's clock shows, and however the line delays: younger than it is by no more than transit."""
    draw = random.Random(7)
    dates = AliveClock(0)
    for number in range(50):
        sent = 100_000 * number
        read = sent + 300 + draw.randrange(2_000)
        heard = dates.heard_us(sent + offset_us, read)
        assert heard <= read
    last_sent = 100_000 * 50
    heard = dates.heard_us(last_sent + offset_us, last_sent + 5_000_000)
    assert last_sent <= heard <= last_sent + 2_300


# safety: SR-41
def test_a_message_without_its_own_time_is_no_younger_than_the_one_before_it() -> None:
    dates = AliveClock(1_000)
    assert dates.heard_us(None, 2_000) == 1_000
    assert dates.heard_us(None, 5_002_000) == 2_000


# safety: SR-41
def test_clocks_that_drift_apart_do_not_age_a_terminal_that_is_there() -> None:
    dates = AliveClock(0)
    for number in range(36_000):  # an hour, 200 ppm apart
        read = 100_000 * number
        heard = dates.heard_us(round(read * (1 - 200e-6)), read)
        assert read - heard <= 200e-6 * WINDOW_US + 1


class Dated:
    """A service that notes when it was told terminals were alive."""

    simulator = True

    def __init__(self) -> None:
        self.heard: list[int] = []

    def terminal_alive(self, terminal_id: str, session: Any, heard_us: int) -> None:
        self.heard.append(heard_us)

    def terminal_gone(self, terminal_id: str) -> None:
        self.heard.append(-1)

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        pass


class EndOfLineError(Exception):
    """Nothing more was said."""


class Told:
    """A connection whose messages were sent and read at given instants; reading one turns the clock."""

    def __init__(self, told: tuple[tuple[int, int], ...], now: dict[str, int]) -> None:
        self.told = list(told)
        self.now = now

    async def receive_text(self) -> str:
        if not self.told:
            raise EndOfLineError
        sent, self.now["us"] = self.told.pop(0)
        return json.dumps({"type": "alive", "terminal_id": "T1", "sent_us": sent})


# safety: SR-41
async def test_the_door_dates_messages_by_when_they_were_sent() -> None:
    engine = create_engine(
        "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
    )
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = UserStore(engine, demo_users=False, hasher=cheap)
    users.add("thea", "Thea", Role.THERAPIST, "long enough 1")
    service = Dated()
    now = {"us": 0}
    door = Door(
        service=service,  # type: ignore[arg-type]
        users=users,
        clock_us=lambda: now["us"],
        utc=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC),
    )
    token = door.sessions.open(users.verify("thea", "long enough 1", door.utc()), 0)
    session = door.sessions.use(token, 0)
    told = ((7_000_000, 0), (7_100_000, 100_000), (7_200_000, 5_000_000))
    socket = Told(told, now)
    with pytest.raises(EndOfLineError):
        await _listen(socket, door, session)  # type: ignore[arg-type]
    assert service.heard == [0, 100_000, 200_000, -1]
