"""The operations of the control socket: hands, truth and faults of a room, as plain data in and out.

The contract is `docs/simulator_control.md`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from igrt_firmware_sim._firmware import Room, SimulatorError, fault_table, faults_refused
from igrt_firmware_sim.truth import TruthDict

AXES = ("lateral_mm", "longitudinal_mm", "vertical_mm", "rotation_deg", "pitch_deg", "roll_deg")
COUCH_STATES = (
    "not referenced",
    "idle",
    "plan loaded",
    "armed",
    "moving",
    "stopping",
    "held",
    "arrived",
    "jogging",
    "homing",
    "latched",
    "powered off",
)

Fields = Mapping[str, Any]
Answer = dict[str, Any]


def _number(fields: Fields, name: str, default: float | None = None) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SimulatorError(f"field {name} must be a finite number, not {value!r}")
    return float(value)


def _boolean(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise SimulatorError(f"field {name} must be true or false, not {value!r}")
    return value


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise SimulatorError(f"field {name} must be a string, not {value!r}")
    return value


def _optional(fields: Fields, name: str, read: Callable[[Fields, str], Any]) -> Any:
    return None if fields.get(name) is None else read(fields, name)


def _axis(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return (
        str(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else _text(fields, name)
    )


SLIDES = ("lateral", "longitudinal", "vertical")


def named(six: list[float]) -> dict[str, float]:
    """Six numbers by their names (`lateral_mm` ... `roll_deg`)."""
    return dict(zip(AXES, six, strict=True))


def _with_units(names: list[str]) -> list[str]:
    """Axis names of the couch with the unit: `vertical_mm`, `joint_1_deg`."""
    return [f"{name}_{'mm' if name in SLIDES else 'deg'}" for name in names]


def truth(room: Room) -> Answer:
    """What the simulator knows and no host may: axes by name, pose of the patient, the residual."""
    known: TruthDict = room.truth()
    residual: dict[str, float] = named(known["residual"])
    residual["distance_mm"] = known["distance_mm"]
    residual["angle_deg"] = known["angle_deg"]
    names = _with_units(known["axis_names"])
    speeds = dict(zip(names, known["speeds"], strict=True))

    def by_axis(values: list[float]) -> dict[str, float]:
        return dict(zip(names, values, strict=True))

    answer: Answer = dict(known)
    answer |= {
        "axes": by_axis(known["axes"]),
        "measured": by_axis(known["primary"]),
        "second_channel": by_axis(known["secondary"]),
        "commanded": by_axis(known["commanded"]),
        "patient": named(known["patient"]),
        "table_top": named(known["table_top"]),
        "residual": residual,
        "speed_mm_s": math.hypot(*(v for name, v in speeds.items() if name.endswith("_mm"))),
        "speed_deg_s": max(abs(v) for name, v in speeds.items() if name.endswith("_deg")),
        "couch_state_name": COUCH_STATES[known["couch_state"]],
    }
    for name in ("primary", "secondary", "distance_mm", "angle_deg"):
        del answer[name]
    return answer


def _hand_enable(room: Room, fields: Fields) -> Answer:
    room.set_enable(_text(fields, "position"), _optional(fields, "for_ms", _number))
    return {}


def _hand_estop(room: Room, fields: Fields) -> Answer:
    room.set_estop(_boolean(fields, "pressed"))
    return {}


def _hand_touch_guard(room: Room, fields: Fields) -> Answer:
    room.set_touch_guard(
        _boolean(fields, "pressed"), _optional(fields, "guard", _text) or "table_left"
    )
    return {}


def _hand_exposure_switch(room: Room, fields: Fields) -> Answer:
    room.set_exposure_switch(_boolean(fields, "closed"))
    return {}


def _hand_door(room: Room, fields: Fields) -> Answer:
    room.set_door(_boolean(fields, "closed"))
    return {}


def _hand_jog_keys(room: Room, fields: Fields) -> Answer:
    keys = _number(fields, "keys")
    if not (keys.is_integer() and 0 <= keys < 4096):
        raise SimulatorError(f"keys {keys} are not two bits for each of six axes")
    room.set_jog_keys(int(keys))
    return {}


def _hand_brake_release(room: Room, fields: Fields) -> Answer:
    room.set_brake_release(_boolean(fields, "released"))
    return {}


def _hand_push(room: Room, fields: Fields) -> Answer:
    room.push(_axis(fields, "axis"), _number(fields, "by"))
    return {}


def _truth(room: Room, fields: Fields) -> Answer:
    return truth(room)


def _time(room: Room, fields: Fields) -> Answer:
    return {"device_us": room.now_us}


def _patient_shift(room: Room, fields: Fields) -> Answer:
    unknown = set(fields) - set(AXES) - {"id", "op"}
    if unknown:
        raise SimulatorError(
            f"patient.shift has no fields {sorted(unknown)}; it has {', '.join(AXES)}"
        )
    room.shift_patient([_number(fields, name, 0.0) for name in AXES])
    return {}


SHIFTS = ("lateral_mm", "longitudinal_mm", "vertical_mm")


def _patient_breathe(room: Room, fields: Fields) -> Answer:
    if fields.get("on") is False:
        room.hold_breath()
        return {}
    drifts = [f"drift_{name}_per_min" for name in SHIFTS]
    baselines = [f"baseline_{name}" for name in SHIFTS]
    known = [*SHIFTS, "period_s", *drifts, *baselines, "irregularity"]
    unknown = set(fields) - set(known) - {"id", "op", "on"}
    if unknown:
        raise SimulatorError(
            f"patient.breathe has no fields {sorted(unknown)}; it has on, {', '.join(known)}"
        )
    room.breathe(
        [_number(fields, name, 0.0) for name in SHIFTS],
        _number(fields, "period_s", 4.0),
        drift_mm_per_min=[_number(fields, name, 0.0) for name in drifts],
        baseline_mm=[_number(fields, name, 0.0) for name in baselines],
        irregularity=_number(fields, "irregularity", 0.0),
    )
    return {}


def _marker_shift(room: Room, fields: Fields) -> Answer:
    index = _number(fields, "index")
    if not (index.is_integer() and index >= 0):
        raise SimulatorError(f"index {index} is not a whole number from 0")
    by = [_number(fields, name, 0.0) for name in ("x_mm", "y_mm", "z_mm")]
    room.shift_marker(int(index), by)
    return {}


def _scene(room: Room, fields: Fields) -> Answer:
    return dict(room.scene())


def _imager_view(room: Room, fields: Fields) -> Answer:
    return dict(room.view(_number(fields, "source_deg")))


def _fault_inject(room: Room, fields: Fields) -> Answer:
    room.inject(
        _text(fields, "target"),
        _text(fields, "kind"),
        axis=_optional(fields, "axis", _axis),
        value=_optional(fields, "value", _number),
        direction=_optional(fields, "direction", _text),
    )
    return {}


def _fault_clear(room: Room, fields: Fields) -> Answer:
    room.clear(_text(fields, "target"))
    return {}


def _fault_list(room: Room, fields: Fields) -> Answer:
    return {
        "faults": [{"target": t, "kind": k, "value": v or None} for t, k, v in fault_table()],
        "refused": [{"target": t, "kind": k, "why": why} for t, k, why in faults_refused()],
    }


def _line_break(room: Room, fields: Fields) -> Answer:
    room.line_break(_text(fields, "line"))
    return {}


def _trace(room: Room, fields: Fields) -> Answer:
    return {"trace_hash": room.trace_hash()}


OPERATIONS: dict[str, Callable[[Room, Fields], Answer]] = {
    "hand.enable": _hand_enable,
    "hand.estop": _hand_estop,
    "hand.touch_guard": _hand_touch_guard,
    "hand.exposure_switch": _hand_exposure_switch,
    "hand.door": _hand_door,
    "hand.jog_keys": _hand_jog_keys,
    "hand.brake_release": _hand_brake_release,
    "hand.push": _hand_push,
    "truth": _truth,
    "time": _time,
    "patient.shift": _patient_shift,
    "patient.breathe": _patient_breathe,
    "marker.shift": _marker_shift,
    "scene": _scene,
    "imager.view": _imager_view,
    "fault.inject": _fault_inject,
    "fault.clear": _fault_clear,
    "fault.list": _fault_list,
    "line.break": _line_break,
    "trace": _trace,
}


def perform(room: Room, op: str, fields: Fields) -> Answer:
    """Performs one operation.

    Raises:
        SimulatorError: no such operation, or it refuses its fields; the message says which and what it wants.
    """
    operation = OPERATIONS.get(op)
    if operation is None:
        raise SimulatorError(f"no operation {op!r}; there are {', '.join(OPERATIONS)} and quit")
    return operation(room, fields)
