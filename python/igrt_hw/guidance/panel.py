"""Flat-panel correction: from raw counts to line integrals, with calibration that is checked before it is believed.

    line integral = -ln( (raw - offset) / (flood - flood offset) * (flood mAs / mAs) )

Offset is the mean of dark frames of the same day, the flood an exposure of the bare panel at the same
technique. Dead and unstable pixels are found, filled from their neighbours and named; starved and saturated
pixels are marked, not repaired. Lag is corrected where frames follow each other quickly
(`igrt_hw.guidance.panel_lag`); single exposures some seconds apart leave less than 0.1 %.

The gain of a panel follows the beam quality, so that a calibration is one of a kVp, a filter and a binning
(`CalibrationOf`), of one panel, and of a day: `check_fits` refuses another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from igrt_hw.guidance.refusal import InputRefused

COUNTS_MAX = 65535
# Above this a 16-bit panel is no longer linear (amplifier and ADC); such pixels hold no number.
SATURATED_COUNTS = 64000
# A flood below this is dominated by its own noise and by the offset.
FLOOD_SIGNAL_MIN = 1000.0
FLOOD_SATURATED_SHARE_MAX = 0.01
DEFECT_SHARE_MAX = 0.02
# A pixel whose gain differs from its neighbours' by this share is not a detector of X-rays any more.
GAIN_DEVIATION_MAX = 0.25
# Noise of a pixel over dark frames, in units of the median pixel's, beyond which it is unstable.
DARK_NOISE_RATIO_MAX = 6.0
DARK_LEVEL_SIGMAS = 12.0
# The gain of a panel follows the beam quality: floods are taken for each tube voltage.
KVP_TOLERANCE = 0.5
# Floods that tell an unstable pixel, and its scatter in units of its neighbours'.
FLOODS_MIN = 8
UNSTABLE_RATIO_MAX = 2.5
# Drift of the mean offset between calibration and today beyond which the flood has to be taken again.
OFFSET_DRIFT_MAX_COUNTS = 1500.0
# Distance from the range of the neighbours, in noise of the neighbourhood, at which a pixel is a new defect.
NEW_DEFECT_SIGMAS = 8.0
# A pixel and one broken neighbour: this many of the 25 may be extreme on one side.
EXTREMES = 2
# More attenuation than this (e^-9) is below one count of a full-scale panel.
LINE_INTEGRAL_MAX = 9.0
# Brighter than the open field by this much on more than a share of the pixels: the flood is not of this technique.
BRIGHTER_THAN_OPEN = -0.25
BRIGHTER_SHARE_MAX = 0.02

Counts = NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CalibrationOf:
    """What a calibration holds for: the gain of a pixel changes with each of these. `panel` is empty when it is
    not told; `mode` is how the panel is read."""

    kvp: float
    beam_filter: str
    binning: int
    panel: str = ""
    mode: str = "radiographic"

    def problem_with(self, held: CalibrationOf) -> str:
        """Why `held` does not serve an image of this technique; empty when it does."""
        if self.panel and held.panel and self.panel != held.panel:
            return f"it is of panel {held.panel}, the image of panel {self.panel}"
        if self.mode != held.mode:
            return f"it was taken in panel mode {held.mode}, the image in {self.mode}"
        if self.binning != held.binning:
            return f"it is binned {held.binning} x {held.binning}, the image {self.binning} x {self.binning}"
        if abs(self.kvp - held.kvp) > KVP_TOLERANCE:
            return f"it was taken at {held.kvp:g} kVp, the image is of {self.kvp:g} kVp"
        if self.beam_filter != held.beam_filter:
            return f"it was taken with filter {held.beam_filter}, the image with {self.beam_filter}"
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class PanelCalibration:
    """Gain and offset of every pixel for one binning and technique, and which pixels cannot be used.

    `gain` is (rows, cols) float32, counts per mAs; `offset` the dark level, counts; `dark_noise` its standard
    deviation, counts; `defects` True for dead, hot and unstable pixels. `of` is what it holds for and
    `taken_us` when its dark frames were taken, where that was told.
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    dark_noise: float
    defects: NDArray[np.bool_]
    mas: float
    of: CalibrationOf | None = None
    taken_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedImage:
    """Line integrals (rows, cols) float32, with what was done to get them.

    `usable` is False for starved and saturated pixels (which are NaN in `line_integrals`). `filled` marks the
    pixels interpolated from their neighbours, `new_defects` those of them that the calibration did not know.
    """

    line_integrals: NDArray[np.float32]
    usable: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    new_defects: NDArray[np.bool_]
    saturated_share: float
    starved_share: float
    notes: tuple[str, ...]


def calibrate(
    flood: Counts,
    flood_offset: Counts,
    flood_mas: float,
    darks: Sequence[Counts],
    *,
    known_defects: NDArray[np.bool_] | None = None,
    of: CalibrationOf | None = None,
    taken_us: int | None = None,
) -> PanelCalibration:
    """A calibration from a stored flood and its offset, and dark frames of today, all (rows, cols) in counts.

    `flood_mas` is the exposure of the flood. With two dark frames or more unstable pixels are found too.

    Raises:
        InputRefused: frames of different size, saturated or too dark floods, an offset that drifted, or too
            many defects. The message says which and what to do.
    """
    frames = [np.asarray(frame, dtype=np.float32) for frame in (flood, flood_offset, *darks)]
    if not darks:
        raise InputRefused("no dark frame: take one (no radiation) before the first exposure")
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1 or frames[0].ndim != 2 or min(frames[0].shape) < 16:
        raise InputRefused(
            f"flood and dark frames must be images of one size and binning, found {sorted(shapes)}"
        )
    if not all(np.isfinite(frame).all() for frame in frames):
        raise InputRefused("a flood or dark frame holds values that are not numbers")
    if not flood_mas > 0.0:
        raise InputRefused(f"the exposure of the flood must be positive, is {flood_mas} mAs")
    bright, bright_offset = frames[0], frames[1]
    offset = np.asarray(np.mean(np.stack(frames[2:]), axis=0, dtype=np.float64), np.float32)
    signal = bright - bright_offset
    _check_flood(bright, signal)
    drift = float(np.median(offset - bright_offset))
    if abs(drift) > OFFSET_DRIFT_MAX_COUNTS:
        raise InputRefused(
            f"the panel offset has drifted by {drift:.0f} counts since the flood was taken: "
            "let the panel warm up and take the flood again"
        )
    noise, unstable = _dark_noise(frames[2:])
    defects = unstable | _gain_defects(signal) | _offset_defects(offset)
    if known_defects is not None:
        if known_defects.shape != bright.shape:
            raise InputRefused(
                f"the defect map has shape {known_defects.shape}, the panel {bright.shape}: "
                "it belongs to another binning"
            )
        defects = defects | known_defects
    share = float(defects.mean())
    if share > DEFECT_SHARE_MAX:
        raise InputRefused(
            f"{100 * share:.1f} % of the pixels are defective ({100 * DEFECT_SHARE_MAX:.0f} % allowed): "
            "is something in the beam of the flood?"
        )
    gain = np.where(defects, 1.0, signal / np.float32(flood_mas)).astype(np.float32)
    return PanelCalibration(gain, offset, noise, defects, float(flood_mas), of, taken_us)


def check_fits(
    calibration: PanelCalibration, wanted: CalibrationOf, now_us: int, age_us_max: int
) -> None:
    """A calibration of another panel, technique or day serves no image.

    Raises:
        InputRefused: it does not say what it is of, it is of something else, or it is too old; the message says which.
    """
    if calibration.of is None or calibration.taken_us is None:
        raise InputRefused(
            "the calibration does not say for which panel and technique it was made, nor when: take a new one"
        )
    problem = wanted.problem_with(calibration.of)
    if problem:
        raise InputRefused(f"the calibration does not serve this image: {problem}")
    age_us = now_us - calibration.taken_us
    if not 0 <= age_us <= age_us_max:
        raise InputRefused(
            f"the calibration is {age_us / 60e6:.0f} min old ({age_us_max / 60e6:.0f} allowed): the offset of a "
            "panel drifts with its temperature, take new dark frames"
            if age_us >= 0
            else "the calibration is dated later than the image: the clocks disagree"
        )


def unstable_pixels(floods: Sequence[Counts], offset: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels (rows, cols) whose signal wanders from flood to flood by far more than their neighbours', True where so.

    A pixel that is quiet in the dark may still flicker under radiation, or drift. Each flood is scaled to the same
    median first, so that the tube's own scatter does not count. Give them to `calibrate` as `known_defects`.

    Raises:
        InputRefused: fewer than eight floods, of different size, or saturated.
    """
    if len(floods) < FLOODS_MIN:
        raise InputRefused(
            f"{len(floods)} floods do not tell which pixels are unstable: take {FLOODS_MIN} or more"
        )
    frames = [np.asarray(flood, dtype=np.float32) for flood in floods]
    if {frame.shape for frame in frames} != {offset.shape}:
        raise InputRefused("floods and offset are not of one size")
    if any(
        float(np.mean(frame >= SATURATED_COUNTS)) > FLOOD_SATURATED_SHARE_MAX for frame in frames
    ):
        raise InputRefused("a flood is saturated: take it again with less mAs")
    signals = [frame - offset for frame in frames]
    scaled = np.stack([signal / np.float32(np.median(signal)) for signal in signals])
    deviation = np.asarray(np.std(scaled, axis=0, ddof=1), dtype=np.float32)
    around = np.maximum(
        _local_median(deviation), np.float32(0.25) * np.float32(np.median(deviation))
    )
    return np.asarray(deviation > UNSTABLE_RATIO_MAX * around * _few(len(frames)))


def correct(raw: Counts, mas: float, calibration: PanelCalibration) -> CorrectedImage:
    """Line integrals of one exposure of `mas` mAs; `raw` is (rows, cols) counts.

    Raises:
        InputRefused: another size than the calibration, no exposure, a frame that is dark or saturated
            throughout, or one brighter than the open field.
    """
    counts = np.asarray(raw, dtype=np.float32)
    if counts.shape != calibration.gain.shape:
        raise InputRefused(
            f"the frame has shape {counts.shape}, the calibration {calibration.gain.shape}: calibrate this binning"
        )
    if not mas > 0.0:
        raise InputRefused(f"the exposure must be positive, is {mas} mAs")
    if not np.isfinite(counts).all():
        raise InputRefused(
            "the frame holds values that are not numbers: it was damaged on the way, fetch it again"
        )
    saturated = counts >= SATURATED_COUNTS
    if saturated.mean() > 0.6:
        raise InputRefused(
            f"the frame is saturated on {100 * saturated.mean():.0f} % of its pixels: lower the mAs"
        )
    transmission = (counts - calibration.offset) / (calibration.gain * np.float32(mas))
    good = ~calibration.defects
    if float(np.median((counts - calibration.offset)[good])) < 3.0 * max(
        calibration.dark_noise, 1.0
    ):
        raise InputRefused(
            "the frame is dark: no radiation reached the panel. Check the panel arm, the blades and the exposure"
        )
    starved = transmission < np.exp(-LINE_INTEGRAL_MAX)
    new = _new_defects(transmission, calibration, mas)
    unusable = (saturated | starved) & good & ~new
    filled = calibration.defects | new
    transmission = _fill(np.where(unusable, np.nan, transmission), filled)
    usable = np.isfinite(transmission) & (transmission > 0.0)
    line = np.full(counts.shape, np.nan, dtype=np.float32)
    line[usable] = -np.log(transmission[usable])
    brighter = float(np.mean(line[usable] < BRIGHTER_THAN_OPEN)) if usable.any() else 0.0
    if brighter > BRIGHTER_SHARE_MAX:
        raise InputRefused(
            f"{100 * brighter:.0f} % of the pixels are brighter than the open field: "
            "the flood is not of this technique (kVp, filter, mAs, SID)"
        )
    return CorrectedImage(
        line_integrals=line,
        usable=usable,
        filled=filled,
        new_defects=new,
        saturated_share=float(saturated.mean()),
        starved_share=float((starved & good).mean()),
        notes=_notes(new, saturated, starved & good),
    )


def field_region(
    shape: tuple[int, int],
    pixel_pitch_mm: float,
    *,
    sad_mm: float,
    sid_mm: float,
    field_mm: tuple[float, float, float, float],
    panel_lateral_mm: float = 0.0,
    panel_longitudinal_mm: float = 0.0,
    margin_mm: float = 3.0,
) -> NDArray[np.bool_]:
    """Pixels (rows, cols) inside the radiation field by `margin_mm` at the isocentre.

    `field_mm` are the blade edges x1, x2, y1, y2 at the isocentre, IEC: x across the couch at angle 0, y
    towards the gantry.

    Raises:
        InputRefused: a field without area.
    """
    x1, x2, y1, y2 = field_mm
    if not (x1 + 2 * margin_mm < x2 and y1 + 2 * margin_mm < y2):
        raise InputRefused(
            f"the field {field_mm} mm leaves nothing inside a margin of {margin_mm} mm"
        )
    rows, cols = shape
    x = (np.arange(cols) - (cols - 1) / 2) * pixel_pitch_mm + panel_lateral_mm
    y = ((rows - 1) / 2 - np.arange(rows)) * pixel_pitch_mm + panel_longitudinal_mm
    x, y = x * sad_mm / sid_mm, y * sad_mm / sid_mm
    inside_x = (x > x1 + margin_mm) & (x < x2 - margin_mm)
    inside_y = (y > y1 + margin_mm) & (y < y2 - margin_mm)
    return np.asarray(inside_y[:, None] & inside_x[None, :])


def _check_flood(flood: NDArray[np.float32], signal: NDArray[np.float32]) -> None:
    saturated = float(np.mean(flood >= SATURATED_COUNTS))
    if saturated > FLOOD_SATURATED_SHARE_MAX:
        raise InputRefused(
            f"the flood is saturated on {100 * saturated:.1f} % of the panel: take it again with less mAs"
        )
    level = float(np.median(signal))
    if level < FLOOD_SIGNAL_MIN:
        raise InputRefused(
            f"the flood has only {level:.0f} counts over its offset ({FLOOD_SIGNAL_MIN:.0f} needed): was the beam on?"
        )


def _dark_noise(darks: Sequence[NDArray[np.float32]]) -> tuple[float, NDArray[np.bool_]]:
    """Noise of the median pixel, counts, and the pixels that are far noisier."""
    if len(darks) < 2:
        difference = darks[0] - _local_median(darks[0])
        return 1.4826 * float(np.median(np.abs(difference))), np.zeros(darks[0].shape, np.bool_)
    deviation = np.std(np.stack(darks), axis=0, ddof=1)
    typical = float(np.median(deviation))
    return typical, deviation > DARK_NOISE_RATIO_MAX * max(typical, 0.5) * _few(len(darks))


def _few(frames: int) -> float:
    """A standard deviation of few samples scatters: widen the limit so that a million sound pixels pass."""
    return 1.0 + 2.5 / float(np.sqrt(frames - 1))


def _gain_defects(signal: NDArray[np.float32]) -> NDArray[np.bool_]:
    around = _local_median(signal)
    odd = np.abs(signal - around) > GAIN_DEVIATION_MAX * np.abs(around)
    return np.asarray((signal <= 0.0) | odd)


def _offset_defects(offset: NDArray[np.float32]) -> NDArray[np.bool_]:
    difference = offset - _local_median(offset)
    spread = 1.4826 * float(np.median(np.abs(difference)))
    # A fixed floor of 0.5 % of full scale: on a quiet panel sigmas alone would name sound pixels.
    limit = max(DARK_LEVEL_SIGMAS * spread, 0.005 * COUNTS_MAX)
    return np.asarray(np.abs(difference) > limit)


def _local_median(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.median(_windows(image), axis=-1), dtype=np.float32)


def _new_defects(
    transmission: NDArray[np.float32], calibration: PanelCalibration, mas: float
) -> NDArray[np.bool_]:
    """Pixels outside the range of their 24 neighbours, the two most extreme of which do not count.

    A skin line or a blade edge lies within the range of the pixels on its two sides; a dead pixel, or two side
    by side, does not. The noise of a neighbourhood is taken from the image itself, since the gain in counts per
    quantum is not known here.
    """
    signal = _fill(transmission, calibration.defects)
    ranks = np.partition(_windows(signal), (EXTREMES, 12, 24 - EXTREMES), axis=-1)
    low, middle, high = (ranks[..., k] for k in (EXTREMES, 12, 24 - EXTREMES))
    noise = _box_mean(np.abs(signal - middle), 7) * 1.25
    floor = calibration.dark_noise / float(np.median(calibration.gain) * mas)
    margin = NEW_DEFECT_SIGMAS * np.maximum(noise, floor)
    lonely = (signal < low - margin) | (signal > high + margin)
    return np.asarray(lonely & ~calibration.defects)


def _windows(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 25 pixels around each pixel, (rows, cols, 25)."""
    windows = sliding_window_view(np.pad(image, 2, mode="reflect"), (5, 5))
    return windows.reshape(*image.shape, 25)


def _box_mean(image: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    side = 2 * reach + 1
    padded = np.pad(np.pad(image, reach, mode="reflect").astype(np.float64), ((1, 0), (1, 0)))
    total = padded.cumsum(axis=0).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return np.asarray(sums / side**2, dtype=np.float32)


def _fill(image: NDArray[np.float32], holes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Holes become the mean of their valid neighbours (3 x 3), from the rim inwards; NaN outside holes stays NaN."""
    out = np.where(holes, np.nan, image).astype(np.float32)
    left = holes.copy()
    for _ in range(16):
        if not left.any():
            break
        rows, cols = np.nonzero(left)
        padded = np.pad(out, 1, constant_values=np.nan)
        around = np.stack(
            [
                padded[rows + dy, cols + dx]
                for dy in range(3)
                for dx in range(3)
                if (dy, dx) != (1, 1)
            ]
        )
        count = np.isfinite(around).sum(axis=0)
        ready = count > 0
        out[rows[ready], cols[ready]] = np.nansum(around, axis=0)[ready] / count[ready]
        if not ready.any():
            break
        left[rows[ready], cols[ready]] = False
    return out


def _notes(
    new: NDArray[np.bool_], saturated: NDArray[np.bool_], starved: NDArray[np.bool_]
) -> tuple[str, ...]:
    notes = []
    if new.any():
        rows, cols = np.nonzero(new)
        places = ", ".join(f"({r}, {c})" for r, c in list(zip(rows, cols, strict=True))[:8])
        notes.append(
            f"{len(rows)} pixel(s) not in the defect map do not follow their neighbours: row, column {places}"
        )
    if saturated.mean() > 0.001:
        notes.append(f"{100 * saturated.mean():.1f} % of the pixels are saturated and not used")
    if starved.mean() > 0.001:
        notes.append(
            f"{100 * starved.mean():.1f} % of the pixels received no signal and are not used"
        )
    return tuple(notes)
