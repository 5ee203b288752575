"""What a driver raises besides the errors of the line (`igrt_hw.link.errors`)."""

from __future__ import annotations


class DeviceError(Exception):
    """Base of all errors of drivers."""


class PlanError(DeviceError, ValueError):
    """A motion plan cannot be made of these values; the text says which value, and its limit."""


class LimitsMismatch(DeviceError):
    """The device's axis table is not the one this program was configured with."""


class DigestMismatch(DeviceError):
    """The device has decoded another plan than the one that was approved."""


class DeviceFault(DeviceError):
    """The device has latched a fault."""


class TookTooLong(DeviceError):
    """Something did not happen in time; the text says what is missing."""


class StoppedOnTheWay(DeviceError):
    """Something that was told to move stands still short of its goal; it does not go on by itself."""


class Cancelled(DeviceError):
    """The caller gave it up."""


class FrameCorrupt(DeviceError):
    """The octets of a frame do not have the digest that the device stated."""
