"""The status of a GCS couch, in the words of every couch: what is known, and what this dialect leaves out."""

from __future__ import annotations

from typing import Final

from igrt_hw.devices.gcs_assurance import ASSURANCE, UNREPORTED
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.gcs_motion import GcsMotion, S
from igrt_hw.devices.gcs_permission import GcsPermission
from igrt_hw.models.telemetry import (
    AxisUnit,
    CouchFlag,
    CouchTelemetry,
    DriveState,
    EnablePosition,
    StopCause,
)

BRAKES_ON_US: Final = 500_000  # after servo off; nothing on the line says so


def telemetry_of(
    motion: GcsMotion,
    permission: GcsPermission,
    frame: PlatformFrame,
    units: tuple[AxisUnit, ...],
    *,
    session: int,
    epoch: int,
    now_us: int,
) -> CouchTelemetry:
    """The status now. `secondary` repeats `primary`: there is no second channel, and `unreported` says so."""
    flags = _flags(motion, permission, now_us)
    position = frame.to_axes(motion.known.position)
    state = motion.state
    if state is S.IDLE and not motion.known.referenced:
        state = S.NOT_REFERENCED
    if state is S.ARRIVED and CouchFlag.BRAKES_ON not in flags:
        state = S.MOVING  # arrived is at rest with the brakes on
    target = frame.to_axes(motion.target) if motion.target else position
    return CouchTelemetry(
        received_us=now_us,
        device_us=0,
        session=session,
        epoch=epoch,
        axis_units=units,
        primary=position,
        secondary=position,
        commanded=target,
        state=state,
        drive_state=DriveState.OPERATION_ENABLED if motion.known.servo else DriveState.SWITCHED_ON,
        stop_cause=motion.cause if state is motion.state else StopCause.NONE,
        flags=flags,
        faults=motion.faults,
        plan_nonce=motion.shown_nonce,
        path_fraction=motion.fraction(),
        lease_age_ms=0,
        enable_age_ms=min(65_535, max(0, now_us - permission.enable_us) // 1000),
        assurance=ASSURANCE,
        unreported=UNREPORTED,
        hardware_channel=motion.chain_proved,
    )


def _flags(motion: GcsMotion, permission: GcsPermission, now_us: int) -> CouchFlag:
    known = motion.known
    moving = known.moving or motion.state in (S.MOVING, S.STOPPING, S.HOMING)
    braked = not known.servo and now_us - known.servo_off_us > BRAKES_ON_US
    pairs = (
        (CouchFlag.ENABLE_HELD, permission.enable_held(now_us)),
        (CouchFlag.ENABLE_PANIC, permission.enable is EnablePosition.SQUEEZED),
        (CouchFlag.LEASE_FRESH, permission.permitted(now_us)),
        (CouchFlag.BRAKES_ON, braked),
        (CouchFlag.REFERENCED, known.referenced),
        (CouchFlag.MOVING, moving or not braked),
        (CouchFlag.ESTOP_PRESSED, known.estop),
        (CouchFlag.TOUCH_GUARD_PRESSED, known.touch),
    )
    flags = CouchFlag(0)
    for flag, on in pairs:
        if on:
            flags |= flag
    return flags
