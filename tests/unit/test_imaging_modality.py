"""What a person asks of imaging and registration reaches the room as it was asked: scan or pair, markers or anatomy."""

from typing import Literal

import pytest
from room_rig import Room

from igrt_hw.models import commands
from igrt_hw.safety import effects as fx


@pytest.mark.parametrize("modality", ["pair", "cone beam"])
def test_a_scan_is_asked_for_as_a_scan_and_may_take_its_time(
    modality: Literal["pair", "cone beam"],
) -> None:
    room = Room().to("SETUP")
    room.hold_answers = True
    assert room.ask(commands.AcquireImages(modality=modality)).accepted
    (asked,) = [effect for effect in room.waiting if isinstance(effect, fx.AcquireImages)]
    assert asked.modality == modality
    memory = room.supervisor.memory
    (pending,) = memory.pending.values()
    wanted = memory.config.scan_us if modality == "cone beam" else memory.config.imaging_us
    assert pending.deadline_us - room.now_us == pytest.approx(wanted, abs=1_000_000)
    assert memory.config.scan_us > memory.config.imaging_us


@pytest.mark.parametrize("method", ["site", "anatomy", "markers"])
def test_what_a_pair_is_registered_by_is_the_operators_choice(
    method: Literal["site", "anatomy", "markers"],
) -> None:
    room = Room().to("IMAGED")
    room.hold_answers = True
    assert room.ask(commands.RegisterImages(method=method)).accepted
    (asked,) = [effect for effect in room.waiting if isinstance(effect, fx.RegisterImages)]
    assert asked.method == method
