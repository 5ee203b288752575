"""Lag of a flat panel: charge that comes late, measured on frames after an exposure and taken off, frame by frame.

A frame holds its own charge and what earlier frames release into it. With shares b_k that decay with times tau_k,

    late(t) = sum_k b_k sum_(earlier frames) signal . exp(-(t - t_frame) / tau_k)

where `signal` is what a frame caught itself. The correction is the recursion of that sum, pixel by pixel, exact for a
linear panel whatever the times between the frames (Hsieh et al., Proc. SPIE 3977, 2000). Sensitivity that
changes with exposure (ghosting) is not linear and is not corrected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float32]

# Decay times that tell fast traps, slow traps and afterglow apart; the shares are fitted.
DECAY_S: Final = (0.3, 2.2, 60.0)
SHARE_MAX: Final = 0.1
FRAMES_MIN: Final = 6
BRIGHT_COUNTS_MIN: Final = 5000.0
RESIDUAL_MAX: Final = 0.3


@dataclass(frozen=True, slots=True)
class LagModel:
    """Shares of the charge released into a following frame and the seconds in which each falls to 1/e."""

    shares: tuple[float, ...]
    decay_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.decay_s) or not self.shares:
            raise ValueError("a lag model has one share for each decay time, and at least one")
        if not all(0.0 <= share <= SHARE_MAX for share in self.shares):
            raise ValueError(f"shares {self.shares} are not within 0 to {SHARE_MAX:g}")
        if not all(0.0 < time < 1e5 for time in self.decay_s):
            raise ValueError(f"decay times {self.decay_s} s are not times")

    def share_after(self, seconds: float) -> float:
        """Share of a frame's charge that comes with another one so many seconds later."""
        return sum(
            b * math.exp(-seconds / tau) for b, tau in zip(self.shares, self.decay_s, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class LagState:
    """What earlier frames have left at `at_us`: one plane (rows, cols) of counts for each decay time."""

    at_us: int
    planes: tuple[Floats, ...]


def without_lag(
    signal: Floats, at_us: int, state: LagState | None, model: LagModel
) -> tuple[Floats, LagState]:
    """A frame without what earlier ones left in it, and the state for the next.

    Args:
        signal: offset-corrected counts (rows, cols).
        at_us: when the frame was read, on one clock for all frames.
        state: after the frame before; None for a panel that has rested.
        model: of this panel.

    Raises:
        InputRefused: frames of another size or order in time than the state's.
    """
    caught = np.asarray(signal, dtype=np.float32)
    if state is None:
        return caught, LagState(at_us, tuple(caught for _ in model.decay_s))
    if len(state.planes) != len(model.decay_s) or state.planes[0].shape != caught.shape:
        raise InputRefused(
            f"the frame has shape {caught.shape}, the frames before it {state.planes[0].shape}: lag is followed "
            "within one binning"
        )
    if at_us <= state.at_us:
        raise InputRefused(
            "the frame is not later than the one before it: lag is followed in the order of reading"
        )
    seconds = (at_us - state.at_us) * 1e-6
    faded = [
        plane * np.float32(math.exp(-seconds / tau))
        for plane, tau in zip(state.planes, model.decay_s, strict=True)
    ]
    late = np.zeros_like(caught)
    for share, plane in zip(model.shares, faded, strict=True):
        late += np.float32(share) * plane
    own = caught - late
    return own, LagState(at_us, tuple(own + plane for plane in faded))


def measure_lag(
    bright: Floats,
    bright_us: int,
    after: Sequence[tuple[Floats, int]],
    *,
    decay_s: tuple[float, ...] = DECAY_S,
) -> LagModel:
    """The lag of a panel from a bright frame and dark ones read after it, all offset-corrected counts (rows, cols).

    The shares are fitted to the means over the well exposed part of the panel, none below zero.

    Raises:
        InputRefused: too few or too dark frames, none late enough for the slowest decay, or no decay at all.
    """
    exposed = np.asarray(bright, dtype=np.float64)
    level = float(np.median(exposed))
    if level < BRIGHT_COUNTS_MIN:
        raise InputRefused(
            f"the bright frame has {level:.0f} counts over its offset ({BRIGHT_COUNTS_MIN:.0f} needed) to show lag"
        )
    if len(after) < FRAMES_MIN:
        raise InputRefused(f"{len(after)} frames after the bright one; {FRAMES_MIN} are needed")
    fastest, slowest = min(decay_s), max(decay_s)
    times = np.array([(at - bright_us) * 1e-6 for _, at in after])
    if times.min() <= 0.0 or times.max() < slowest / 4.0 or times.min() > fastest * 2.0:
        raise InputRefused(
            f"frames {times.min():.2f} to {times.max():.1f} s after the bright one do not tell decays of "
            f"{fastest:g} to {slowest:g} s: begin at once and go on for {slowest / 4.0:.0f} s"
        )
    good = exposed > 0.5 * level
    means = np.array([float(np.mean(np.asarray(frame, np.float64)[good])) for frame, _ in after])
    share = means / float(exposed[good].mean())
    design = np.exp(-times[:, None] / np.array(decay_s)[None, :])
    fitted = _not_negative(design, share)
    misfit = float(np.linalg.norm(design @ fitted - share)) / max(
        float(np.linalg.norm(share)), 1e-12
    )
    if misfit > RESIDUAL_MAX or fitted.max() > SHARE_MAX:
        raise InputRefused(
            f"what the frames hold after the bright one does not decay as lag does ({100 * misfit:.0f} % unexplained): "
            "was the beam off, and is the offset of today?"
        )
    return LagModel(tuple(float(b) for b in fitted), decay_s)


def _not_negative(design: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares without negative shares: the worst negative one is dropped until none is left."""
    free = list(range(design.shape[1]))
    out = np.zeros(design.shape[1])
    while free:
        found = np.linalg.lstsq(design[:, free], wanted, rcond=None)[0]
        if float(found.min()) >= 0.0:
            out[free] = found
            break
        free.pop(int(np.argmin(found)))
    return out
