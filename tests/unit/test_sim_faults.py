"""Faults of generator, panel and clocks: each word is seen from outside and in the truth."""

from __future__ import annotations

import numpy as np
import pytest

from igrt_firmware_sim._firmware import SimulatorError, fault_table, faults_refused, touch_guards
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host, RefusedError

GENERATOR, PANEL = 1 << 2, 1 << 4
MAS = 2.0
OPEN = {"noise": 0.0, "lag": 0.0}


def imager(seed=5):
    """A host with one good frame behind it: number, counts, and the tube's true output so far."""
    host = Host(VirtualRoom(seed=seed, physics=OPEN))
    host.hello("imager")
    number = host.expose(90.0, mas=MAS, binning=4)
    return host, host.fetch(number).astype(float)


def exposed(host, **options):
    """Counts of one more frame, or None where none came; and what the tube truly gave for it."""
    before = host.room.truth()["tube_mas"]
    try:
        number = host.expose(90.0, mas=MAS, binning=4, **options)
    except (RefusedError, TimeoutError):
        return None, host.room.truth()["tube_mas"] - before
    return host.fetch(number).astype(float), host.room.truth()["tube_mas"] - before


def open_field(counts):
    return float(np.median(counts[80:110, 110:150]))


def test_a_healthy_exposure_gives_what_was_asked_and_the_dose_of_its_meter():
    host, counts = imager()
    again, gave = exposed(host)
    assert gave == pytest.approx(MAS, rel=1e-6)
    assert open_field(again) == pytest.approx(open_field(counts), rel=0.01)
    # 40 uGy/mAs at 80 kVp over a field of 24 cm x 24 cm, twice 2 mAs.
    assert host.status("imager")["dose_area"] == pytest.approx(2 * 40 * MAS * 24 * 24, rel=1e-3)


def test_an_exposure_that_is_broken_off_counts_with_what_it_gave():
    host, _ = imager()
    before = host.status("imager")["dose_area"]
    host.room.inject("generator", "slow", value=0.5)
    _, gave = exposed(host)
    assert 0.4 * MAS < gave < 0.6 * MAS
    host.advance_ms(100)
    shown = host.status("imager")["dose_area"] - before
    assert shown == pytest.approx(40 * gave * 24 * 24, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("off", None), ("stuck", None), ("slow", 0.5), ("delayed", 200.0), ("intermittent", 7.0)],
)
def test_a_generator_that_does_not_do_what_it_was_told_latches_and_gives_no_frame(kind, value):
    host, _ = imager()
    host.room.inject("generator", kind, value=value)
    assert host.room.truth()["injected"][0].startswith(f"generator {kind}")
    counts, gave = exposed(host)
    host.advance_ms(100)
    truth = host.room.truth()
    assert counts is None
    assert host.status("imager")["faults"] & GENERATOR
    assert truth["imager_faults"] & GENERATOR
    assert not truth["radiates"], "the contactor is open"
    if kind == "stuck":
        assert gave > 1.5 * MAS, "it went on until the contactor opened"


def test_a_stuck_generator_is_cut_off_again_when_its_fault_is_reset():
    host, _ = imager()
    host.room.inject("generator", "stuck")
    exposed(host)
    before = host.room.truth()["tube_mas"]
    host.command("imager", 0x26, GENERATOR.to_bytes(4, "little"))
    host.advance_ms(200)
    truth = host.room.truth()
    assert truth["imager_faults"] & GENERATOR
    assert not truth["radiates"]
    assert truth["tube_mas"] - before < 1.0


def test_a_generator_whose_meter_lies_shows_in_the_image_and_in_the_truth_alone():
    host, counts = imager()
    host.room.inject("generator", "wrong", value=1.5)
    brighter, gave = exposed(host)
    assert gave == pytest.approx(1.5 * MAS, rel=1e-6)
    assert open_field(brighter) > 1.2 * open_field(counts)
    assert host.status("imager")["faults"] == 0
    host.room.inject("generator", "garbage", value=0.2)
    outputs = [exposed(host)[1] for _ in range(6)]
    assert np.std(outputs) > 0.05 * MAS
    assert host.status("imager")["faults"] == 0


def test_a_panel_that_is_off_or_intermittent_latches():
    for kind, value in (("off", None), ("intermittent", 40.0)):
        host, _ = imager()
        host.room.inject("panel", kind, value=value)
        host.advance_ms(200)
        assert host.status("imager")["faults"] & PANEL
        assert host.room.truth()["imager_faults"] & PANEL
        assert exposed(host)[0] is None


def test_a_stuck_panel_shows_the_frame_before_under_the_new_number():
    host, counts = imager()
    host.room.inject("panel", "stuck")
    again, gave = exposed(host, kvp=120)
    assert gave == pytest.approx(MAS, rel=1e-6)
    assert np.array_equal(again, counts)


def test_a_wrong_panel_adds_its_offset_and_a_garbage_one_its_noise():
    host, counts = imager()
    host.room.inject("panel", "wrong", value=700.0)
    assert np.median(exposed(host)[0] - counts) == pytest.approx(700, abs=30)
    host.room.inject("panel", "garbage", value=500.0)
    noisy = exposed(host)[0] - counts
    assert np.median(np.abs(noisy - np.median(noisy))) == pytest.approx(0.6745 * 500, rel=0.15)
    assert host.room.truth()["injected"] == ["panel garbage 500"]


def test_a_slow_or_late_panel_delivers_that_much_later():
    def took(kind=None, value=None):
        host, _ = imager()
        if kind:
            host.room.inject("panel", kind, value=value)
        begin = host.room.now_us
        assert exposed(host)[0] is not None
        return (host.room.now_us - begin) / 1000

    usual = took()
    assert took("delayed", 700.0) - usual == pytest.approx(700, abs=120)
    assert took("slow", 5.0) - usual == pytest.approx(1000, abs=270)


def test_a_panel_that_never_delivers_latches():
    host, _ = imager()
    host.room.inject("panel", "delayed", value=60_000.0)
    assert exposed(host)[0] is None
    host.advance_ms(15_000)
    assert host.status("imager")["faults"] & PANEL


@pytest.mark.parametrize(
    ("kind", "value", "rate"),
    [
        ("stuck", None, 0.0),
        ("slow", 0.25, 0.25),
        ("intermittent", 100.0, 0.5),
        ("wrong", 9e4, 1.09),
    ],
)
@pytest.mark.parametrize("line", ["imager", "pendant"])
def test_the_clock_of_a_device_goes_as_its_fault_says(line, kind, value, rate):
    room = VirtualRoom(seed=3)
    host = Host(room)
    host.hello(line)
    host.advance_ms(200)
    room.inject(f"clock.{line}", kind, value=value)
    host.advance_ms(100)
    first, at = host.status(line)["device_us"], room.now_us
    host.advance_ms(4000)
    passed = (host.status(line)["device_us"] - first) / (room.now_us - at)
    assert passed == pytest.approx(rate, abs=0.06)
    assert room.truth()["injected"][0].startswith(f"clock.{line} {kind}")


def test_a_clock_that_jumps_runs_ahead():
    room = VirtualRoom(seed=3)
    host = Host(room)
    host.hello("pendant")
    room.inject("clock.pendant", "garbage", value=4.0)
    host.advance_ms(1000)
    assert host.status("pendant")["device_us"] > 2.0 * room.now_us


def test_words_without_a_meaning_say_why():
    words = {"off", "stuck", "garbage", "wrong", "slow", "delayed", "intermittent"}
    has: dict[str, set[str]] = {}
    for target, kind, _ in fault_table():
        has.setdefault(target, set()).add(kind)
    lacks: dict[str, set[str]] = {}
    for target, word, why in faults_refused():
        lacks.setdefault(target, set()).add(word)
        with pytest.raises(SimulatorError) as refusal:
            VirtualRoom(seed=1).inject(target, word, value=1.0)
        assert why in str(refusal.value)
    for target in has:
        if not target.startswith("line."):
            assert has[target] | lacks.get(target, set()) >= words, target


def test_a_touch_guard_is_named_and_an_unknown_one_refused():
    room = VirtualRoom(seed=1)
    assert room.truth()["touch_guards"] == []
    for guard in touch_guards():
        room.perform("hand.touch_guard", pressed=True, guard=guard)
    assert room.truth()["touch_guards"] == touch_guards()
    with pytest.raises(SimulatorError, match='no touch-guard "ceiling"'):
        room.perform("hand.touch_guard", pressed=True, guard="ceiling")


def test_the_truth_names_the_state_of_the_drives():
    room = VirtualRoom(seed=1)
    host = Host(room)
    host.hello()
    assert room.truth()["drive_state"] == "switched on"
    host.move_by((5.0, 0, 0, 0, 0, 0))
    room.enable("enabled")
    host.advance_ms(500)
    assert room.truth()["drive_state"] == "operation enabled"
    host.stop()
    assert room.truth()["drive_state"] == "quick stop active"
    room.inject("drive", "off")
    host.advance_ms(500)
    assert room.truth()["drive_state"] == "fault"
