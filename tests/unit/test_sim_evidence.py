"""What a bench can take home: recordings, exports, scenarios of failures; and the motion against its oracle."""

import json
import os
import random
import struct
import termios
import time
from itertools import pairwise

import pytest

from igrt_firmware_sim import SimulatorError, scenario, world
from igrt_firmware_sim._firmware import motion_rest_to_rest, motion_stop
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import DICTIONARY, HELLO, Host
from igrt_firmware_sim.recording import RecordedRoom, export_mcap
from igrt_firmware_sim.serving import Service


def moved(path, by=(0, 4, 0, 0, 0, 0)):
    """A recording of a move with a STOP in it; gives the trace hash."""
    with RecordedRoom(path, seed=9) as room:
        host = Host(room)
        host.hello()
        room.enable("enabled")
        host.move_by(by)
        host.advance_ms(500)
        room.inject("line.couch", "jitter", value=2.0)
        host.stop()
        host.advance_ms(300)
        return room.trace_hash()


def test_a_recording_becomes_a_scenario_with_the_same_trace(tmp_path):
    recorded = moved(tmp_path / "run.jsonl")
    scenario.from_recording(tmp_path / "run.jsonl", tmp_path / "run.toml", title="run", why="test")
    verdict = scenario.run(scenario.read(tmp_path / "run.toml"))
    assert verdict.passed, verdict.evidence
    assert verdict.trace_hash == recorded
    text = (tmp_path / "run.toml").read_text(encoding="utf-8")
    (tmp_path / "other.toml").write_text(text.replace(recorded, "0" * 16), encoding="utf-8")
    assert not scenario.run(scenario.read(tmp_path / "other.toml")).passed


def test_a_failing_scenario_writes_one_that_fails_alike(tmp_path):
    (tmp_path / "wrong.toml").write_text(
        'title = "wrong"\nwhy = "it expects what does not happen"\n\n[[step]]\ndo = "hand.enable"\n'
        'position = "enabled"\n\n[[step]]\ndo = "host.move_by"\nby = [0, 5, 0, 0, 0, 0]\n\n[[step]]\n'
        'after_ms = 2000\nexpect = { field = "axes.longitudinal_mm", below = 100.0 }\n',
        encoding="utf-8",
    )
    case = scenario.read(tmp_path / "wrong.toml")
    first = scenario.run(case)
    written = scenario.write_failure(case, tmp_path / "failures")
    again = scenario.run(scenario.read(written))
    assert not first.passed
    assert not again.passed
    assert again.trace_hash == first.trace_hash
    assert again.failed == first.failed == {"field": "axes.longitudinal_mm", "below": 100.0}


def test_an_export_reads_back_with_every_octet_time_and_direction(tmp_path):
    reader = pytest.importorskip("mcap.reader", reason="the extra mcap is not installed")
    moved(tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = [json.loads(line) for line in lines[1:]]
    count = export_mcap(tmp_path / "run.jsonl", tmp_path / "run.mcap")
    with (tmp_path / "run.mcap").open("rb") as stream:
        opened = reader.make_reader(stream)
        messages = sorted(opened.iter_messages(), key=lambda item: item[2].sequence)
        metadata = {record.name: record.metadata for record in opened.iter_metadata()}
    assert count == len(wanted) == len(messages)
    for event, (schema, channel, message) in zip(wanted, messages, strict=True):
        assert json.loads(message.data) == event
        assert message.log_time == event["t"] * 1000
        assert schema.encoding == "jsonschema"
        assert set(event) <= set(json.loads(schema.data)["properties"])
        line = event.get("write") or event.get("read")
        way = "to_device" if "write" in event else "to_host"
        assert channel.topic == (f"/{line}/{way}" if line else "/operations")
    assert metadata["recording"]["seed"] == "9"


def cases(count):
    draw = random.Random(20261122)
    for _ in range(count):
        # Millimetres as a couch has them, and limits far from one another.
        limits = tuple(10 ** draw.uniform(low, low + 2) for low in (0.0, 1.0, 1.5))
        yield limits, 10 ** draw.uniform(-2.0, 2.7), draw


def test_rest_to_rest_lasts_as_long_as_ruckig_says():
    ruckig = pytest.importorskip("ruckig", reason="the extra peers is not installed")
    worst = 0.0
    for (speed, accel, jerk), distance, _ in cases(2000):
        wanted = ruckig.InputParameter(1)
        wanted.target_position = [distance]
        wanted.max_velocity, wanted.max_acceleration, wanted.max_jerk = [speed], [accel], [jerk]
        found = ruckig.Trajectory(1)
        ruckig.Ruckig(1).calculate(wanted, found)
        duration, _ = motion_rest_to_rest(distance, (speed, accel, jerk))
        worst = max(worst, abs(duration / found.duration - 1.0))
    assert worst <= 1e-9, worst


def test_a_stop_from_any_speed_and_acceleration_is_as_long_as_ruckigs():
    ruckig = pytest.importorskip("ruckig", reason="the extra peers is not installed")
    worst = 0.0
    for (speed, accel, jerk), _, draw in cases(2000):
        # A state of a motion within its limits: what the acceleration still adds stays below the top speed.
        a = draw.uniform(0.0, min(accel, (2.0 * speed * jerk) ** 0.5 * 0.99))
        v = draw.uniform(0.05, 1.0) * (speed - a * a / (2.0 * jerk))
        wanted = ruckig.InputParameter(1)
        wanted.control_interface = ruckig.ControlInterface.Velocity
        wanted.current_velocity, wanted.current_acceleration = [v], [a]
        wanted.target_velocity = [0.0]
        wanted.max_velocity, wanted.max_acceleration, wanted.max_jerk = [speed], [accel], [jerk]
        found = ruckig.Trajectory(1)
        ruckig.Ruckig(1).calculate(wanted, found)
        position = found.at_time(found.duration)[0][0]
        distance, duration = motion_stop(v, a, (speed, accel, jerk))
        worst = max(worst, abs(distance / position - 1.0), abs(duration / found.duration - 1.0))
    assert worst <= 1e-9, worst


def test_limits_of_a_motion_that_are_not_positive_are_refused():
    for limits in ((0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))):
        with pytest.raises(SimulatorError, match="all above 0"):
            motion_rest_to_rest(1.0, limits)
        with pytest.raises(SimulatorError, match="all above 0"):
            motion_stop(1.0, 0.0, limits)
    _, states = motion_rest_to_rest(2.0, (1.0, 1.0, 1.0), [0.0, 1.0, 2.0, 9.0])
    positions = [position for position, _ in states]
    assert all(a < b for a, b in pairwise(positions))
    assert states[-1] == (2.0, 0.0)


def test_a_hello_that_comes_twice_opens_one_session():
    host = Host(VirtualRoom(seed=3))
    host.hello()
    number = host.status()
    assert number == {} or number
    body = struct.pack("<BBI", 1, 1, host._nonce) + DICTIONARY
    octets = host.frame("couch", HELLO, 0, body, deadline_ms=None)
    host.advance_ms(20)
    host.room.write("couch", octets)
    host.advance_ms(20)
    # The session of the first is still there: its commands are obeyed, not refused with code 2.
    host.room.enable("enabled")
    host.move_by([0, 1, 0, 0, 0, 0])
    host.wait("couch", lambda status: status["state"] == 7, within_ms=5000)


def read_for(descriptor, seconds):
    end, said = time.monotonic() + seconds, b""
    while time.monotonic() < end:
        try:
            said += os.read(descriptor, 4096)
        except BlockingIOError:
            time.sleep(0.005)
    return said


def test_a_pty_at_another_baud_rate_than_the_device_gives_garbage(tmp_path):
    from igrt_firmware_sim._firmware import decode_frame

    def frames(octets):
        runs = [run for run in octets.split(b"\0") if run]
        return sum(decode_frame("D", run) is not None for run in runs)

    room = world.make_room(seed=1, renders=False)
    with Service(room, tmp_path, seed=1, baud=115200) as service:
        port = os.open(service.endpoints["couch"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            heard = {}
            for name, rate in (("right", termios.B115200), ("wrong", termios.B57600)):
                settings = termios.tcgetattr(port)
                settings[4] = settings[5] = rate
                termios.tcsetattr(port, termios.TCSANOW, settings)
                read_for(port, 0.2)
                heard[name] = read_for(port, 1.0)
        finally:
            os.close(port)
    # The first and the last frame may be cut.
    assert frames(heard["right"]) >= 5
    assert len(heard["wrong"]) > 100
    assert frames(heard["wrong"]) <= 1
