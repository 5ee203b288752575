"""Scenario files: a timeline of a host, hands and faults with expectations, and a verdict with evidence.

    title = "The enable is released in mid move"
    why = "a hand control was released but the table kept moving (incident D7)"

    [room]
    seed = 7

    [[always]]
    field = "speed_mm_s"
    below = 11.0

    [[step]]
    do = "host.move_by"
    by = [0, 20, 0, 0, 0, 0]

    [[step]]
    after_ms = 800
    do = "hand.enable"
    position = "released"

    [[step]]
    wait = { field = "couch_state_name", is = "held", within_ms = 1500 }

A step may wait `after_ms`, then `do` an operation, then `wait` for or `expect` a condition. `refused = N` says that the
operation must be refused with that code. Operations are those of the control socket and the `host.*` of this module;
unknown keys are refused. With `dialect = "gcs"` the couch is driven by `gcs.command`, `gcs.ask` and `gcs.stop`.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from igrt_firmware_sim import control
from igrt_firmware_sim._firmware import SimulatorError
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import (
    BEAM_GATE,
    FAULT_RESET,
    HOME,
    PLAN_VOID,
    Host,
    RefusedError,
)
from igrt_firmware_sim.phantom import PREFIX
from igrt_firmware_sim.recording import RecordedRoom, entries

WATCH_PERIOD_US = 2000
GCS_ANSWER_US = 100_000
# `below` and `above` compare magnitudes; `contains` asks for a bit of a flag or fault word.
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "is": lambda value, wanted: value == wanted,
    "is_not": lambda value, wanted: value != wanted,
    "below": lambda value, wanted: abs(value) < wanted,
    "above": lambda value, wanted: abs(value) > wanted,
    "contains": lambda value, wanted: (int(value) >> int(wanted)) & 1 == 1,
}
ROOM_KEYS = {
    "seed",
    "family",
    "machine",
    "dialect",
    "couch",
    "setup_error_mm",
    "setup_error_deg",
    "referenced",
    "load_kg",
    "patient",
    "markers",
    "marker_spread_mm",
    "physics",
}
STEP_KEYS = {"after_ms", "do", "wait", "expect", "refused", "note"}


class ScenarioError(SimulatorError):
    """A scenario file that cannot be run; the message names file, step and what is wrong."""


class _Failure(Exception):
    """An expectation that did not hold; ``condition`` where it can be asked again."""

    def __init__(self, text: str, condition: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.condition = condition


@dataclass(slots=True)
class Verdict:
    """What came of a scenario."""

    title: str
    passed: bool
    evidence: list[str]
    trace_hash: str
    seed: int
    # The condition that did not hold, where one did not.
    failed: dict[str, Any] | None = None


@dataclass(slots=True)
class Scenario:
    """A parsed scenario."""

    path: Path
    title: str
    why: str
    room: dict[str, Any]
    always: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    # Without the small host nothing is sent but what the steps write.
    host: bool = True
    trace_hash: str | None = None


@dataclass(slots=True)
class _Run:
    room: VirtualRoom
    host: Host
    always: list[dict[str, Any]]
    evidence: list[str] = field(default_factory=list)
    next_watch_us: int = 0
    last_frame: bytes = b""

    def note(self, text: str) -> None:
        self.evidence.append(f"{self.room.now_us / 1000:10.1f} ms  {text}")


def lookup(known: Mapping[str, Any], path: str) -> Any:
    """The value of a dotted field of the truth, as `residual.distance_mm`."""
    value: Any = known
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ScenarioError(
                f"the truth has no field {path!r}; it has {', '.join(sorted(known))}"
            )
        value = value[part]
    return value


def holds(condition: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a condition holds of the truth, and a sentence that says what was found."""
    value = lookup(known, condition["field"])
    for name, compare in COMPARISONS.items():
        if name in condition:
            shown = f"{value:.4f}" if isinstance(value, float) else repr(value)
            found = f"{condition['field']} = {shown} ({name.replace('_', ' ')} {condition[name]!r})"
            return bool(compare(value, condition[name])), found
    raise ScenarioError(
        f"a condition on {condition['field']!r} needs one of {', '.join(COMPARISONS)}"
    )


def _checked_condition(where: str, condition: Any, extra: set[str]) -> None:
    if not isinstance(condition, dict) or "field" not in condition:
        raise ScenarioError(
            f"{where}: a condition is a table with field and one of {', '.join(COMPARISONS)}"
        )
    unknown = set(condition) - {"field", *COMPARISONS} - extra
    if unknown or sum(name in condition for name in COMPARISONS) != 1:
        raise ScenarioError(
            f"{where}: unknown keys {sorted(unknown)} or not exactly one comparison"
        )


def read(path: Path) -> Scenario:
    """Reads and checks a scenario file.

    Raises:
        ScenarioError: not TOML, a missing title, unknown keys or operations.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    unknown = set(data) - {"title", "why", "room", "always", "step", "host", "trace_hash"}
    if unknown or not isinstance(data.get("title"), str) or not isinstance(data.get("why"), str):
        raise ScenarioError(f"{path}: title and why are needed; unknown keys {sorted(unknown)}")
    room = data.get("room", {})
    if set(room) - ROOM_KEYS:
        raise ScenarioError(f"{path}: unknown keys of [room]: {sorted(set(room) - ROOM_KEYS)}")
    for condition in data.get("always", []):
        _checked_condition(f"{path}: always", condition, {"from_ms"})
    for number, step in enumerate(data.get("step", []), start=1):
        _checked_step(f"{path}: step {number}", step)
    if "trace_hash" not in data and not any(
        "expect" in step or "wait" in step or "refused" in step for step in data.get("step", [])
    ):
        raise ScenarioError(f"{path}: expects nothing, so that it could not fail")
    if not isinstance(data.get("host", True), bool):
        raise ScenarioError(f"{path}: host must be true or false")
    return Scenario(
        path,
        data["title"],
        data["why"],
        room,
        data.get("always", []),
        data.get("step", []),
        data.get("host", True),
        data.get("trace_hash"),
    )


def _checked_step(where: str, step: dict[str, Any]) -> None:
    operation = step.get("do")
    if (
        operation is not None
        and operation not in OPERATIONS
        and operation not in control.OPERATIONS
    ):
        raise ScenarioError(
            f"{where}: no operation {operation!r}; there are {', '.join([*OPERATIONS, *control.OPERATIONS])}"
        )
    if operation is None and set(step) - STEP_KEYS:
        raise ScenarioError(f"{where}: keys {sorted(set(step) - STEP_KEYS)} without an operation")
    for name in ("wait", "expect"):
        if name in step:
            _checked_condition(
                f"{where}: {name}", step[name], {"within_ms"} if name == "wait" else set()
            )
    if not set(step) & {"do", "wait", "expect", "after_ms"}:
        raise ScenarioError(f"{where} does nothing")


def run(scenario: Scenario, *, seed: int | None = None, record: Path | None = None) -> Verdict:
    """Runs a scenario in virtual time. ``record``: a file for the recording, which replays it octet for octet."""
    options = dict(scenario.room)
    used_seed = seed if seed is not None else int(options.pop("seed", 1))
    options.pop("seed", None)
    named = options.pop("patient", None)
    patient: str | Path | None = named
    if named and not named.startswith(PREFIX):
        patient = (scenario.path.parent / named.removeprefix("ct:")).resolve()
    if record is None:
        return _play(scenario, VirtualRoom(seed=used_seed, patient=patient, **options), used_seed)
    with RecordedRoom(record, seed=used_seed, patient=patient, **options) as room:
        return _play(scenario, room, used_seed)


def _play(scenario: Scenario, room: VirtualRoom, seed: int) -> Verdict:
    state = _Run(room, Host(room), scenario.always)
    state.host.watch = lambda: _watch(state)
    passed, failed = True, None
    try:
        if scenario.host:
            gcs = scenario.room.get("dialect") == "gcs"  # its couch knows no HELLO
            for line in ("imager", "pendant") if gcs else ("couch", "imager", "pendant"):
                state.host.hello(line)
            state.host.advance_ms(100)
        for number, step in enumerate(scenario.steps, start=1):
            _perform(state, number, step)
        if scenario.trace_hash is not None and scenario.trace_hash != room.trace_hash():
            raise _Failure(f"the trace is {room.trace_hash()}, not {scenario.trace_hash}")
    except (_Failure, TimeoutError, RefusedError) as error:
        state.note(f"FAILED: {error}")
        passed = False
        condition = getattr(error, "condition", None)
        failed = dict(condition) if condition else None
    return Verdict(scenario.title, passed, state.evidence, room.trace_hash(), seed, failed)


def from_recording(
    recording: Path,
    target: Path,
    *,
    title: str,
    why: str,
    expect: Mapping[str, Any] | None = None,
) -> None:
    """Writes a recording as a scenario: the same octets and operations at the same instants, and no host beside them.

    Running it gives the recorded trace hash or fails. With ``expect`` it asks that condition at the end instead, so
    that a run that failed because of it fails again.

    Raises:
        SimulatorError: the file is no recording.
    """
    header, *events, end = entries(recording)
    if header.get("served"):
        raise SimulatorError(
            f"{recording} is of a served room, whose frames came when they were rendered; igrt-sim replay does it again"
        )
    room = {"seed": header["seed"], **header.get("options", {})}
    if header.get("patient"):
        room["patient"] = header["patient"]
    lines = [f"title = {json.dumps(title)}", f"why = {json.dumps(why)}", "host = false"]
    if expect is None:
        lines.append(f"trace_hash = {json.dumps(end['trace_hash'])}")
    lines += ["", "[room]", *(f"{key} = {_toml(value)}" for key, value in room.items())]
    now_us = 0
    for event in events:
        if "read" in event:
            continue
        lines += ["", "[[step]]", f"after_ms = {(event['t'] - now_us) / 1000}"]
        now_us = event["t"]
        if "write" in event:
            fields = {"line": event["write"], "octets": event["octets"]}
            lines.append('do = "line.write"')
        else:
            fields = {key: value for key, value in event["fields"].items() if value is not None}
            lines.append(f"do = {json.dumps(event['op'])}")
        lines += [f"{key} = {_toml(value)}" for key, value in fields.items()]
    lines += ["", "[[step]]", f"after_ms = {(end['t'] - now_us) / 1000}"]
    if expect is not None:
        lines.append(f"expect = {_toml(dict(expect))}")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # The strings, numbers and booleans of JSON are those of TOML.
    return json.dumps(value)


def write_failure(scenario: Scenario, folder: Path, *, seed: int | None = None) -> Path:
    """Runs a failing scenario again, recorded, and writes one of octets and instants that reproduces the failure."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = folder / f"{scenario.path.stem}.jsonl"
    verdict = run(scenario, seed=seed, record=recording)
    target = folder / f"{scenario.path.stem}.toml"
    from_recording(
        recording,
        target,
        title=f"{scenario.title} (as it failed)",
        why=verdict.evidence[-1].strip() if verdict.evidence else scenario.why,
        expect=verdict.failed,
    )
    return target


def _bare(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: condition[key] for key in ("field", *COMPARISONS) if key in condition}


def _watch(state: _Run) -> None:
    if not state.always or state.room.now_us < state.next_watch_us:
        return
    state.next_watch_us = state.room.now_us + WATCH_PERIOD_US
    known = state.room.truth()
    for condition in state.always:
        if state.room.now_us < condition.get("from_ms", 0) * 1000:
            continue
        passed, found = holds(condition, known)
        if not passed:
            raise _Failure(f"always: {found}", _bare(condition))


def _perform(state: _Run, number: int, step: dict[str, Any]) -> None:
    state.host.advance_ms(step.get("after_ms", 0))
    if "do" in step:
        _operate(state, number, step)
    if "wait" in step:
        _wait(state, step["wait"])
    if "expect" in step:
        passed, found = holds(step["expect"], state.room.truth())
        if not passed:
            raise _Failure(f"step {number}: {found}", _bare(step["expect"]))
        state.note(f"expected  {found}")


def _operate(state: _Run, number: int, step: dict[str, Any]) -> None:
    name = step["do"]
    fields = {key: value for key, value in step.items() if key not in STEP_KEYS}
    try:
        if name in OPERATIONS:
            OPERATIONS[name](state, **fields)
        else:
            state.room.perform(name, **fields)
    except TypeError as error:
        raise ScenarioError(f"step {number}: {name}: {error}") from error
    except RefusedError as error:
        if step.get("refused") != error.code:
            raise
        state.note(f"refused   {name}: {error}")
        return
    if "refused" in step:
        raise _Failure(f"step {number}: {name} was obeyed, not refused with code {step['refused']}")
    state.note(f"did       {name} {fields or ''}".rstrip())


def _wait(state: _Run, condition: dict[str, Any]) -> None:
    within_ms = condition.get("within_ms", 5000)
    end_us = state.room.now_us + round(within_ms * 1000)
    while True:
        passed, found = holds(condition, state.room.truth())
        if passed:
            state.note(f"reached   {found}")
            return
        if state.room.now_us >= end_us:
            raise _Failure(f"not within {within_ms} ms: {found}", _bare(condition))
        state.host.advance_ms(1)


def _send_again(state: _Run, times: int = 1, every_ms: float = 20) -> None:
    """The last command arrives again, octet for octet, as a network or a stuck driver would repeat it."""
    for _ in range(times):
        state.room.write("couch", state.host.last_octets)
        state.host.advance_ms(every_ms)


def _garbage(state: _Run, line: str = "couch", octets: str = "", times: int = 1) -> None:
    for _ in range(times):
        state.room.write(line, bytes.fromhex(octets))
        state.host.advance_ms(1)


def _write(state: _Run, line: str, octets: str) -> None:
    state.room.write(line, bytes.fromhex(octets))


def _leasing(state: _Run, on: bool) -> None:
    state.host.leasing = on


def _jog_for(state: _Run, axis: int, speed: float, for_ms: float) -> None:
    end_us = state.room.now_us + round(for_ms * 1000)
    while state.room.now_us < end_us:
        state.host.jog(axis, speed)
        state.host.advance_ms(100)


def _stale_epoch(state: _Run) -> None:
    """Uploads with the epoch from before the last STOP."""
    state.host.use_epoch("couch", state.host.epoch("couch") - 1)
    try:
        state.host.move_by([1, 0, 0, 0, 0, 0])
    finally:
        state.host.use_epoch("couch", None)


def _expose(state: _Run, source_deg: float, **options: Any) -> None:
    number = state.host.expose(source_deg, **options)
    counts = state.host.fetch(number)
    state.note(
        f"frame     {number}: {counts.shape[0]} x {counts.shape[1]}, mean {counts.mean():.0f} counts"
    )


def _scan(state: _Run, projections: int, **options: Any) -> None:
    taken = list(state.host.scan(projections, **options))
    dose = taken[-1].dose_area_so_far
    state.note(f"scan      {len(taken)} projections, dose-area product of the imager {dose}")


def _move_through(state: _Run, points: list[list[float]], speed_ppm: int = 1_000_000) -> None:
    state.host.upload_relative(points, speed_ppm=speed_ppm)
    state.host.execute()


def _byte(line: str, kind: int) -> Callable[..., None]:
    def send(state: _Run, value: int = 0) -> None:
        state.host.command(line, kind, bytes([value]))

    return send


def _gcs_said(state: _Run, say: str) -> str:
    """Sends a line of the General Command Set; gives what the controller says to it."""
    state.room.read("couch")
    state.room.write("couch", say.encode("ascii") + b"\n")
    said, end_us = b"", state.room.now_us + GCS_ANSWER_US
    while state.room.now_us < end_us and (not said.endswith(b"\n") or said.endswith(b" \n")):
        said += state.room.read("couch")
        state.room.advance_ms(1)
    return said.decode("ascii", "replace").strip()


def _gcs_command(state: _Run, say: str) -> None:
    """A command, and ERR? after it; its code is the one that `refused` means."""
    state.room.write("couch", say.encode("ascii") + b"\n")
    answer = _gcs_said(state, "ERR?")
    if answer != "0":
        raise RefusedError(int(answer), say) if answer.isdigit() else _Failure(f"ERR?: {answer!r}")


def _gcs_ask(state: _Run, say: str, answer: str) -> None:
    """A question whose answer must match a regular expression; a line that goes on is joined by a blank."""
    said = " ".join(_gcs_said(state, say).split())
    if re.fullmatch(answer, said) is None:
        raise _Failure(f"{say}: {said!r} is not {answer!r}")
    state.note(f"answered  {say}: {said}")


OPERATIONS: dict[str, Callable[..., None]] = {
    "gcs.command": _gcs_command,
    "gcs.ask": _gcs_ask,
    "gcs.stop": lambda state: state.room.write("couch", b"\x18"),
    "host.hello": lambda state, line="couch": state.host.hello(line),
    "host.move_by": lambda state, by: state.host.move_by(by),
    "host.move_through": _move_through,
    "host.upload_by": lambda state, by, ttl_ms=60_000: state.host.upload_relative(
        [by], ttl_ms=ttl_ms
    ),
    "host.upload_to": lambda state, to: state.host.upload([to]),
    "host.execute": lambda state, deadline_ms=100: state.host.execute(deadline_ms=deadline_ms),
    "host.send_again": _send_again,
    "host.stop": lambda state, line="couch": state.host.stop(line),
    "host.plan_void": _byte("couch", PLAN_VOID),
    "host.beam_gate": _byte("couch", BEAM_GATE),
    "host.home": lambda state: state.host.command("couch", HOME),
    "host.jog_for": _jog_for,
    "host.fault_reset": lambda state, line="couch", faults=0xFFFFFFFF: state.host.command(
        line, FAULT_RESET, int(faults).to_bytes(4, "little")
    ),
    "line.write": _write,
    "host.leasing": _leasing,
    "host.garbage": _garbage,
    "host.stale_epoch": _stale_epoch,
    "host.expose": _expose,
    "host.scan": _scan,
    "host.arms": lambda state, out: state.host.arms(out),
    "host.park_arms": lambda state: state.host.park_arms(),
}


def library() -> Path:
    """The folder of the scenarios that come with the simulator."""
    return Path(__file__).parent / "scenarios"
