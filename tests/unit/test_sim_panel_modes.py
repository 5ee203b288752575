"""Generator and panel of the simulated imager: what is refused and by how much, pulses at a rate, lost frames."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import (
    EXPOSE,
    FLOOD,
    FLOOD_OFFSET,
    FLUOROSCOPIC,
    FRAME_INFO,
    PANEL_MODE,
    PREPARE,
    RADIOGRAPHIC,
    SERIES,
    Host,
    RefusedError,
)

OUTSIDE, INTERLOCK, WRONG_STATE, NOT_SUPPORTED, NO_SUCH_FRAME = 7, 8, 16, 17, 11
SETTLING, UNDER_WAY = 1 << 8, 1 << 9
RATE_HZ = 15.0
KVP, PULSE_MA, PULSE_MS = 80.0, 50.0, 6.0
PULSE_MAS = PULSE_MA * PULSE_MS / 1000
INFO = struct.Struct("<BBBIHHI32sQQHHIiiiIIIIIBI")


def opened(**physics):
    host = Host(VirtualRoom(seed=5, physics={"noise": 0.0, "lag": 0.0} | physics))
    host.hello("imager")
    host.advance_ms(60)
    return host


def fluoroscopy(binning=2, **physics):
    """A host with arms out, panel in fluoroscopic mode and a pulse set."""
    host = opened(**physics)
    host.extend_arms()
    host.panel_mode(FLUOROSCOPIC, RATE_HZ)
    host.technique(KVP, PULSE_MA, PULSE_MS, binning=binning, field_mm=150)
    return host


def info(host, frame):
    return INFO.unpack(host.command("imager", FRAME_INFO, struct.pack("<I", frame)).body)


def until_over(host, within_ms=10_000):
    host.wait("imager", lambda s: not s["flags"] & UNDER_WAY, within_ms=within_ms)
    host.wait("imager", lambda s: s["state"] not in (5, 6), within_ms=2000)
    host.advance_ms(60)


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        ((39.0, 100, 20), "39.000 kVp is 1.000 below the range of 40 to 150 kVp"),
        ((150.5, 100, 20), "150.500 kVp is 0.500 above"),
        ((80, 0.5, 20), "0.500 mA is 0.500 below the range of 1 to 500 mA"),
        ((80, 510, 20), "510.000 mA is 10.000 above"),
        ((80, 100, 0.4), "0.400 ms is 0.100 below"),
        ((80, 100, 6301), "6301.000 ms is 1.000 above the range of 0.5 to 6300 ms"),
        ((125, 410, 50), "10.0 mA too much (400.0 mA at most)"),
        ((125, 400, 500), "144.0 mA too much (256.0 mA at most)"),
        ((80, 1, 1), "0.0010 mAs is below the 0.01 mAs that the meter judges"),
    ],
)
def test_the_generator_refuses_what_it_cannot_give_and_says_by_how_much(technique, words):
    host = opened()
    with pytest.raises(RefusedError) as refused:
        host.technique(*technique)
    assert refused.value.code == OUTSIDE
    assert words in str(refused.value)


@pytest.mark.parametrize(("ma", "ms"), [(50.0, 40.0), (100.0, 20.0), (400.0, 5.0)])
def test_dose_and_counts_follow_current_times_time_and_the_frame_tells_both(ma, ms):
    host = opened(defects=0.0)
    reference = host.fetch(host.expose(90.0, mas=2.0, binning=4)).astype(float)
    before = host.status("imager")["dose_area"]
    number = host.expose(90.0, mas=ma * ms / 1000, ma=ma, binning=4)
    told = info(host, number)
    assert (told[11], told[12], told[20]) == (round(ma * 10), 2000, round(ms * 1000))
    host.advance_ms(60)
    assert host.status("imager")["dose_area"] - before == pytest.approx(40 * 2 * 24 * 24, rel=1e-3)
    # The offset warms up by a few counts a minute; everything else is the same.
    assert np.abs(host.fetch(number) - reference).max() < 3
    assert told[9] - told[8] >= ms * 1000


def test_the_anode_refuses_what_it_cannot_take_with_the_heat_in_hand_and_the_excess():
    host = opened()
    for _ in range(2):
        host.expose(90.0, kvp=150, mas=130.0 * 6.0, ma=130.0, binning=4)
    with pytest.raises(
        RefusedError, match=r"117\.0 kJ on top of the anode's .* more than it stores"
    ) as refused:
        host.expose(90.0, kvp=150, mas=130.0 * 6.0, ma=130.0, binning=4)
    assert refused.value.code == INTERLOCK


def test_a_change_of_mode_settles_and_nothing_is_exposed_meanwhile():
    host = opened()
    host.extend_arms()
    host.technique(KVP, PULSE_MA, PULSE_MS)
    body = struct.pack("<BBHI", FLUOROSCOPIC, 0, 0, 66_667)
    answer = host.command("imager", PANEL_MODE, body)
    settled_us, read_out_us = struct.unpack("<QI", answer.body)
    assert (settled_us - host.room.now_us, read_out_us) == (
        pytest.approx(500_000, abs=3000),
        36_000,
    )
    with pytest.raises(RefusedError, match=r"the panel settles in its mode for \d+ ms more"):
        host.command("imager", SERIES, struct.pack("<HHi", 5, 0, 90_000_000))
    host.advance_ms(60)
    status = host.status("imager")
    assert (status["panel_mode"], status["flags"] & SETTLING) == (FLUOROSCOPIC, SETTLING)
    host.advance_ms(500)
    assert not host.status("imager")["flags"] & SETTLING
    # The same mode with another rate needs no settling.
    host.command("imager", PANEL_MODE, struct.pack("<BBHI", FLUOROSCOPIC, 0, 0, 100_000))
    host.advance_ms(60)
    assert not host.status("imager")["flags"] & SETTLING


@pytest.mark.parametrize(
    ("mode", "period_us", "code", "words"),
    [
        (0, 0, 1, "send ARMS 0 0"),
        (3, 66_667, NOT_SUPPORTED, "cone-beam mode is not built"),
        (4, 0, 1, "neither 1"),
        (RADIOGRAPHIC, 66_667, OUTSIDE, "0 in radiographic"),
        (FLUOROSCOPIC, 0, OUTSIDE, "33333 to 1000000 us in fluoroscopic"),
        (FLUOROSCOPIC, 33_332, OUTSIDE, "33333 to 1000000 us"),
    ],
)
def test_a_mode_that_there_is_not_is_refused_by_name(mode, period_us, code, words):
    host = opened()
    with pytest.raises(RefusedError) as refused:
        host.command("imager", PANEL_MODE, struct.pack("<BBHI", mode, 0, 0, period_us))
    assert (refused.value.code, words in str(refused.value)) == (code, True), str(refused.value)


def test_the_wrong_mode_for_a_technique_or_an_exposure_is_refused():
    host = opened()
    host.extend_arms()
    host.technique(KVP, 200, 25)
    with pytest.raises(RefusedError, match="radiographic mode, which takes single frames"):
        host.series(90.0, 5)
    host.panel_mode(FLUOROSCOPIC, RATE_HZ)
    with pytest.raises(RefusedError, match=r"SERIES: 200\.0 mA is 120\.0 mA above the 80\.0 mA"):
        host.series(90.0, 5)
    for technique, binning, words in (
        ((KVP, 50, 6), 1, "binning 1 is not one of fluoroscopic mode"),
        ((KVP, 81, 6), 2, "1.0 mA above"),
        ((KVP, 50, 26), 2, "1.0 ms above"),
    ):
        with pytest.raises(RefusedError) as refused:
            host.technique(*technique, binning=binning)
        assert (refused.value.code, words in str(refused.value)) == (WRONG_STATE, True)
    host.technique(KVP, PULSE_MA, PULSE_MS)
    with pytest.raises(RefusedError, match="takes pulses; send SERIES"):
        host.command("imager", EXPOSE, struct.pack("<BBHi", 0, 0, 0, 90_000_000))
    host.panel_mode(FLUOROSCOPIC, 25.0)
    with pytest.raises(RefusedError, match="5000 us longer than the period of 40000 us"):
        host.series(90.0, 5)
    host.panel_mode(FLUOROSCOPIC, RATE_HZ)
    with pytest.raises(RefusedError, match=r"6\.7 s more than the 60 s of one series"):
        host.series(90.0, 1000)


def test_a_series_gives_a_frame_for_each_pulse_at_its_rate_and_its_dose():
    host = fluoroscopy()
    before, tube = host.status("imager")["dose_area"], host.room.truth()["tube_mas"]
    first = host.series(90.0, 8)
    until_over(host)
    assert host.status("imager")["latest_frame"] == first + 7
    told = [info(host, first + k) for k in range(8)]
    begins = np.diff([one[8] for one in told])
    assert begins.min() >= 66_000
    assert begins.max() <= 68_000
    assert begins.mean() == pytest.approx(1e6 / RATE_HZ, abs=200)
    assert {one[21] for one in told} == {FLUOROSCOPIC}
    assert {one[22] for one in told} == {0}
    assert all(len(host.fetch(first + k)) == 384 for k in range(8))
    assert host.room.truth()["tube_mas"] - tube == pytest.approx(8 * PULSE_MAS, rel=1e-6)
    dose = host.status("imager")["dose_area"] - before
    assert dose == pytest.approx(8 * 40 * PULSE_MAS * 30 * 30, rel=1e-3)
    assert not host.status("imager")["flags"] & 32, "the anode falls after a series"


def test_fluoroscopy_has_a_gain_an_offset_and_a_flood_of_its_own():
    host = fluoroscopy()
    first = host.series(90.0, 1)
    until_over(host)
    frame = host.fetch(first).astype(float)
    told, flood, dark = info(host, FLOOD), host.fetch(FLOOD), host.fetch(FLOOD_OFFSET)
    assert told[21] == FLUOROSCOPIC
    sound = flood.astype(float) - dark > 5000
    share = (frame - dark)[sound] / (flood.astype(float) - dark)[sound]
    corner = np.median(share) * told[12] / 1000 / PULSE_MAS
    assert 0.5 < corner < 1.05, "what the table top takes, and nothing of the gain"
    host.panel_mode(RADIOGRAPHIC)
    one = host.fetch(host.expose(90.0, mas=PULSE_MAS, ma=PULSE_MA, field_mm=150)).astype(float)
    base = host.fetch(FLOOD_OFFSET).astype(float)
    middle = np.s_[150:230, 200:300]
    gain = np.median(frame[middle] - dark[middle]) / np.median(one[middle] - base[middle])
    assert gain == pytest.approx(8.0, rel=0.02)
    assert np.median(dark.astype(float) - base) == pytest.approx(350.0, abs=5.0)


def test_the_read_out_noise_of_fluoroscopy_is_higher_in_counts_and_lower_in_dose():
    sigma = {}
    for mode, rate in ((RADIOGRAPHIC, 0.0), (FLUOROSCOPIC, RATE_HZ)):
        host = opened(noise=1.0)
        host.extend_arms()
        host.panel_mode(mode, rate)
        host.technique(KVP, PULSE_MA, PULSE_MS, binning=4)
        darks = []
        for _ in range(2):
            body = struct.pack("<BBHi", 1, 0, 0, 90_000_000)
            number = struct.unpack("<I", host.command("imager", EXPOSE, body).body)[0]
            host.wait("imager", lambda s, n=number: s["latest_frame"] >= n, within_ms=2000)
            darks.append(host.fetch(number).astype(float))
        sigma[mode] = float(np.std(darks[0] - darks[1])) / np.sqrt(2)
    assert sigma[FLUOROSCOPIC] == pytest.approx(20.0, rel=0.05)
    assert sigma[RADIOGRAPHIC] == pytest.approx(6.0, rel=0.05)
    assert sigma[FLUOROSCOPIC] / 8 < sigma[RADIOGRAPHIC]


def test_a_frame_keeps_what_the_last_one_left_in_proportion_to_how_long_it_gathers():
    late = {}
    for rate in (RATE_HZ, 7.5):
        host = fluoroscopy(binning=4, lag=1.0)
        host.panel_mode(FLUOROSCOPIC, rate)
        first = host.series(90.0, 2)
        until_over(host)
        a, b = (host.fetch(first + k).astype(float)[80:110, 110:150] for k in range(2))
        late[rate] = float(np.median(b - a)) / float(np.median(a) - 1350)
    assert late[RATE_HZ] == pytest.approx(0.0041, rel=0.15)
    assert 1.4 < late[7.5] / late[RATE_HZ] < 2.1


def test_frames_that_a_late_host_does_not_fetch_are_dropped_counted_and_told():
    host = fluoroscopy(binning=4)
    first = host.series(90.0, 20)
    host.wait("imager", lambda s: s["latest_frame"] >= first, within_ms=1000)
    host.fetch(first)
    until_over(host)
    assert host.status("imager")["dropped"] == 11, (
        "20 less the fetched one less the 8 that are kept"
    )
    assert info(host, first + 19)[22] == 11
    with pytest.raises(
        RefusedError, match="11 frames of the series were dropped unread"
    ) as refused:
        host.fetch(first + 1)
    assert refused.value.code == NO_SUCH_FRAME
    assert len(host.fetch(first + 12)) == 192
    host.series(90.0, 2)
    host.advance_ms(60)
    assert host.status("imager")["dropped"] == 0, "each series is counted anew"


def test_a_host_that_keeps_up_loses_none():
    host = fluoroscopy(binning=4)
    first = host.series(90.0, 20)
    for number in range(first, first + 20):
        host.wait("imager", lambda s, n=number: s["latest_frame"] >= n, within_ms=1000)
        assert len(host.fetch(number)) == 192
    until_over(host)
    assert host.status("imager")["dropped"] == 0


@pytest.mark.parametrize("how", ["switch", "end", "prepare", "stop", "lease", "door", "generator"])
def test_a_series_ends_at_once_by_whatever_ends_an_exposure(how):
    host = fluoroscopy()
    first = host.series(90.0, 100)
    host.advance_ms(500)
    assert host.status("imager")["flags"] & UNDER_WAY
    fault = 0
    match how:
        case "switch":
            host.room.perform("hand.exposure_switch", closed=False)
        case "end":
            host.end_series()
        case "prepare":
            host.command("imager", PREPARE, b"\x00")
        case "stop":
            host.stop("imager")
        case "lease":
            host.leasing = False
        case "door":
            host.room.perform("hand.door", closed=False)
            fault = 1 << 5
        case _:
            host.room.inject("generator", "off")
            fault = 1 << 2
    host.advance_ms(300)
    tube = host.room.truth()["tube_mas"]
    host.advance_ms(500)
    status = host.status("imager")
    assert host.room.truth()["tube_mas"] == tube < 100 * PULSE_MAS
    assert not status["flags"] & UNDER_WAY
    assert status["faults"] == fault
    assert first + 5 <= status["latest_frame"] <= first + 13, "what was read out came"


def test_commands_of_single_exposures_wait_for_the_end_of_a_series():
    host = fluoroscopy()
    host.series(90.0, 30)
    host.advance_ms(200)
    for work in (
        lambda: host.technique(KVP, PULSE_MA, PULSE_MS),
        lambda: host.arms(False),
        lambda: host.panel_mode(RADIOGRAPHIC),
        lambda: host.series(90.0, 3),
    ):
        with pytest.raises(RefusedError, match=r"exposing or reading out.*SERIES 0") as refused:
            work()
        assert refused.value.code == WRONG_STATE


def test_a_new_session_finds_the_panel_in_radiographic_mode():
    host = fluoroscopy()
    host.hello("imager")
    host.advance_ms(60)
    assert host.status("imager")["panel_mode"] == RADIOGRAPHIC
    host.advance_ms(600)
    assert host.expose(90.0, binning=4) > 0


def test_an_old_epoch_bars_a_series_and_not_its_end():
    host = fluoroscopy()
    host.stop("imager")
    host.advance_ms(60)
    epoch = host.epoch("imager")
    host.use_epoch("imager", epoch - 1)
    with pytest.raises(RefusedError) as refused:
        host.command("imager", SERIES, struct.pack("<HHi", 3, 0, 90_000_000))
    assert refused.value.code == 6
    host.end_series()
