"""Millimetres and degrees to the integers of the line, micrometres and microdegrees, and back.

The conversion is exact: the decimal value of the double is scaled without rounding, then rounded once, half to even.
Two programs that follow this rule send the same bytes, and bytes that come back give the same double again.
"""

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

INT32_MAX = 2**31 - 1
"""Integer fields of the line are signed and 32 bits wide: 2.1 km in micrometres, 2147 degrees in microdegrees."""

_EXACT = Context(prec=1100)  # more digits than any finite double has


def mm_to_um(value_mm: float, *, name: str = "length") -> int:
    """Whole micrometres nearest to a length in mm, half to even.

    Raises:
        ValueError: not finite, or outside a signed 32-bit integer; the message names the value by `name`.
    """
    return _scaled(value_mm, 3, f"{name}_mm")


def deg_to_udeg(value_deg: float, *, name: str = "angle") -> int:
    """Whole microdegrees nearest to an angle in degrees, half to even. The angle is not wrapped.

    Raises:
        ValueError: not finite, or outside a signed 32-bit integer; the message names the value by `name`.
    """
    return _scaled(value_deg, 6, f"{name}_deg")


def um_to_mm(value_um: int) -> float:
    """The double nearest to a whole number of micrometres in mm."""
    return value_um / 1_000


def udeg_to_deg(value_udeg: int) -> float:
    """The double nearest to a whole number of microdegrees in degrees."""
    return value_udeg / 1_000_000


def _scaled(value: float, exponent: int, name: str) -> int:
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; only finite numbers can be sent")
    scaled = Decimal(value).scaleb(exponent, context=_EXACT)
    whole = int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN, context=_EXACT))
    if abs(whole) > INT32_MAX:
        unit = "um" if exponent == 3 else "udeg"
        raise ValueError(
            f"{name} is {value}, which is {whole} {unit} and does not fit 32 bits; check the unit"
        )
    return whole
