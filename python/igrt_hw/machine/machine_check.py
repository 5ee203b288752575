"""Whether a machine holds together: its kinematics over the whole range, its room, what the simulator makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError
from igrt_hw.machine.catalogue import Machine, MachineError
from igrt_hw.machine.description import HexapodChain, PedestalChain, ScaraChain

_PLACES = 200
_NEAR_SINGULAR = 1e-3


def check_machine(machine: Machine) -> Iterator[str]:
    """What a machine is, line by line, each line after what it says was found to hold.

    Raises:
        MachineError: axes that its own inverse does not find again, or a room that cannot be built.
    """
    description, couch = machine.description, machine.couch()
    yield f"{machine.origin}: {description.title}"
    ranges = [
        f"{axis.name} {axis.range[0]:g} to {axis.range[1]:g} {axis.unit}"
        for axis in description.axis
    ]
    yield f"couch: {couch.family}; {', '.join(ranges)}"
    tried, refused = _round_trips(machine)
    yield (
        f"kinematics: {tried} places over the range come back within 1e-6 mm and 1e-9 rad"
        + (f"; {refused} more are out of limits or singular" if refused else "")
    )
    yield _room(machine)
    yield from _simulator(machine)
    yield f"limits {machine.limits_hash[:16]}, description {machine.description_hash[:16]}"


def _round_trips(machine: Machine) -> tuple[int, int]:
    couch = machine.couch()
    low, high = _range(machine)
    tried = refused = 0
    for draw in np.random.default_rng(61217).random((_PLACES, 6)):
        axes = tuple(float(value) for value in low + (high - low) * draw)
        if couch.singularity(axes)[1] < _NEAR_SINGULAR:
            refused += 1
            continue
        pose = couch.forward(axes)
        try:
            found = couch.nearest_branch(pose, axes)
            couch.check_limits(axes)
        except CoreError:
            refused += 1
            continue
        off_mm, off_deg = couch.forward(found).deviation(pose)
        if off_mm > 1e-6 or math.radians(off_deg) > 1e-9:
            raise MachineError(
                f"{machine.origin}: at {axes} the inverse is off by {off_mm:.3g} mm and {off_deg:.3g} deg"
            )
        tried += 1
    if not tried:
        raise MachineError(
            f"{machine.origin}: of {_PLACES} places over the range not one is within limits and regular"
        )
    return tried, refused


def _range(machine: Machine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The range of the axes; for a hexapod what its platform does from where its base couch stands."""
    chain = machine.description.chain
    if not isinstance(chain, HexapodChain):
        low, high = np.array(machine.couch().limits).T
        return low, high
    centre = np.array((*chain.base_start, 0.0, 0.0))
    reach = np.array([chain.platform_travel_mm] * 3 + [chain.platform_tilt_deg] * 3)
    return centre - reach, centre + reach


def _room(machine: Machine) -> str:
    from igrt_hw.machine.room import Room

    room = Room(machine)
    return f"room: {len(machine.description.part)} parts, arms {', '.join(room.arms) or 'none'}"


def _simulator(machine: Machine) -> Iterator[str]:
    chain = machine.description.chain
    if not isinstance(chain, PedestalChain | ScaraChain):
        return
    said = [name for name in ("gains", "zeros") if getattr(chain, name) is not None]
    if isinstance(chain, PedestalChain):
        said += [name for name in ("base", "tool") if getattr(chain, name) is not None]
    if said:
        yield (
            f"simulator: its couch of this family has no {', '.join(said)}; it moves the plain chain, and a "
            "rehearsal shows the difference as a misalignment"
        )
