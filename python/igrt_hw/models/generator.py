"""What an X-ray generator of this class can give, so that a technique outside is refused before it is sent.

The device judges by itself as well (docs/protocol.md, section 7, Generator). Both compare the integers of
the line: tenths of kV and mA, microseconds.
"""

from __future__ import annotations

from typing import Final

KVP_RANGE: Final = (40.0, 150.0)
MA_RANGE: Final = (1.0, 500.0)
MS_RANGE: Final = (0.5, 6300.0)
MAS_MIN: Final = 0.01
"""Less than this the generator's meter does not judge."""
POWER_KW: Final = ((100.0, 50), (1000.0, 32), (6300.0, 20))
"""Power of the tube by the longest time in ms for which it may be given; the steps are an assumption of their order."""
ANODE_KJ: Final = 300.0
"""Heat that the anode stores."""


def technique_problem(kvp: float, ma: float, ms: float) -> str:
    """Why the generator does not give this: what is outside, and by how much. Empty when it does.

    kvp: tube voltage in kV; ma: tube current in mA; ms: time in milliseconds.
    """
    for unit, value, (low, high) in (
        ("kVp", kvp, KVP_RANGE),
        ("mA", ma, MA_RANGE),
        ("ms", ms, MS_RANGE),
    ):
        if not low <= value <= high:
            side, over = ("below", low - value) if value < low else ("above", value - high)
            return f"{value:g} {unit} is {over:g} {side} the range of {low:g} to {high:g} {unit}"
    kvp_tenth, ma_tenth, time_us = round(kvp * 10), round(ma * 10), round(ms * 1000)
    most_kw = next(power for longest_ms, power in POWER_KW if time_us <= longest_ms * 1000)
    if kvp_tenth * ma_tenth > most_kw * 100_000:
        most_ma = most_kw * 1000 / kvp
        return (
            f"{ma:g} mA at {kvp:g} kVp for {ms:g} ms are {kvp * ma / 1000:.2f} kW, the tube bears {most_kw} kW for "
            f"that time: {ma - most_ma:.1f} mA too much ({most_ma:.1f} mA at most)"
        )
    mas = ma * ms / 1000
    # As the device rounds it, to micro-ampere-seconds.
    if (ma_tenth * time_us + 5000) // 10_000 < MAS_MIN * 1000:
        return (
            f"{ma:g} mA for {ms:g} ms are {mas:.4f} mAs, {MAS_MIN - mas:.4f} mAs below the {MAS_MIN:g} mAs that "
            "the meter judges"
        )
    heat_kj = kvp_tenth * ma_tenth * time_us / 1e11
    if heat_kj > ANODE_KJ:
        return (
            f"{kvp:g} kVp, {ma:g} mA, {ms:g} ms give the anode {heat_kj:.1f} kJ, {heat_kj - ANODE_KJ:.1f} kJ more than "
            "it stores"
        )
    return ""
