"""Words beside the images: what they are, how they are shown, and how well they match."""

from dataclasses import dataclass, replace

from igrt_hw.geometry import Correction
from igrt_hw.models.status import ImageView
from igrt_tui.picture import Crop, Overlay
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import duration, signed, signed_number, unsigned
from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, line, marked, rule, strong

NUDGE_AXES = (
    ("lat", "mm"),
    ("lng", "mm"),
    ("vrt", "mm"),
    ("rtn", "deg"),
    ("pitch", "deg"),
    ("roll", "deg"),
)
NUDGE_STEPS = (0.1, 0.5, 1.0, 5.0)
NUDGE_MAX = {"mm": 30.0, "deg": 8.0}


@dataclass(frozen=True, slots=True)
class Nudge:
    """A match by hand: lateral, longitudinal, vertical (mm), rotation, pitch, roll (deg); which one the keys move."""

    values: tuple[float, float, float, float, float, float]
    axis: int = 0
    step: float = 0.5

    @property
    def correction(self) -> Correction:
        """The correction that this match means."""
        return Correction(*self.values)

    def moved(self, steps: int) -> "Nudge":
        """Change the chosen number by so many steps, within what a match may have."""
        most = NUDGE_MAX[NUDGE_AXES[self.axis][1]]
        values = list(self.values)
        values[self.axis] = round(max(-most, min(most, values[self.axis] + steps * self.step)), 3)
        return replace(
            self, values=(values[0], values[1], values[2], values[3], values[4], values[5])
        )

    def with_step(self, further: int) -> "Nudge":
        """Take the next finer or coarser step."""
        at = max(0, min(len(NUDGE_STEPS) - 1, NUDGE_STEPS.index(self.step) + further))
        return replace(self, step=NUDGE_STEPS[at])


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on an image, in shares of its width and height."""

    left: float = 0.25
    top: float = 0.25
    right: float = 0.75
    bottom: float = 0.75

    def moved(self, across: float, down: float) -> "Box":
        """Shift it, staying on the image."""
        across = max(-self.left, min(1.0 - self.right, across))
        down = max(-self.top, min(1.0 - self.bottom, down))
        return Box(self.left + across, self.top + down, self.right + across, self.bottom + down)

    def grown(self, across: float, down: float) -> "Box":
        """Widen it about its middle; never below a tenth of the image."""
        left, right = _spread(self.left, self.right, across)
        top, bottom = _spread(self.top, self.bottom, down)
        return Box(left, top, right, bottom)

    def corners_px(self, rows: int, cols: int) -> tuple[tuple[float, float], ...]:
        """Its corners in columns and rows of an image."""
        x0, x1, y0, y1 = self.left * cols, self.right * cols, self.top * rows, self.bottom * rows
        return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _spread(low: float, high: float, by: float) -> tuple[float, float]:
    middle, half = (low + high) / 2.0, max(0.05, (high - low) / 2.0 + by)
    return max(0.0, middle - half), min(1.0, middle + half)


def caption(image: ImageView, width: int, waits: str) -> Lines:
    """Name one image: purpose, angle, technique; or what it waits for."""
    head = rule(
        f"{image.purpose} {image.source_angle_deg:.0f} deg", width, dim(image.acquired_utc[11:19])
    )
    technique = (
        f"{image.kvp:.0f} kVp  {image.mas:.1f} mAs  {image.dose_area_uGycm2:.1f} uGycm2  "
        f"{image.cols} x {image.rows}"
    )
    return (head, line(dim(waits or technique)))


def match_line(scene: Scene) -> Line:
    """Say how well the registration holds, in words and numbers."""
    registration = scene.status.registration if scene.status else None
    if registration is None:
        return line(dim("not registered: the DRR is at the planned position"))
    tone = {"reliable": Tone.OK, "doubtful": Tone.MEDIUM, "refused": Tone.HIGH}[
        registration.verdict
    ]
    similarity = " ".join(f"{value:.3f}" for value in registration.per_view_similarity)
    return line(
        marked(tone, f"registration {registration.verdict}"),
        dim("  similarity "),
        similarity,
        dim("  residual at target "),
        unsigned(registration.residual_at_target_mm, "mm"),
    )


def nudge_lines(nudge: Nudge, likeness: tuple[float | None, ...]) -> Lines:
    """Show the six numbers of a match by hand, the one that the keys change marked, and how like the pair it is."""
    pieces: list[Span | str] = [Span("BY HAND ", Tone.MEDIUM)]
    for index, (name, unit) in enumerate(NUDGE_AXES):
        chosen = index == nudge.axis
        text = f"{'▶' if chosen else ' '}{name} {signed_number(nudge.values[index])}"
        pieces.append(strong(text) if chosen else Span(text))
        if index == 2 or index == 5:
            pieces.append(dim(f" {unit} "))
    shown = " ".join("..." if like is None else f"{like:.3f}" for like in likeness)
    return (
        line(*pieces),
        line(
            dim("step "),
            f"{nudge.step:g}",
            dim("   likeness of DRR and image (1: alike)  "),
            f"{shown}",
        ),
    )


def markers_line(scene: Scene) -> Line:
    """Say how far each marker of a match by markers lies from where the others put it."""
    registration = scene.status.registration if scene.status else None
    markers = getattr(registration, "markers", ()) if registration else ()
    if not markers:
        return line(dim("+ isocentre and points of the plan; k hides them"))
    pieces: list[Span | str] = [dim("markers ")]
    for marker in markers:
        far = "not found" if marker.distance_mm is None else unsigned(marker.distance_mm, "mm")
        word = f"{marker.name} {far}"
        pieces.append(Span(word) if marker.used else marked(Tone.MEDIUM, f"{word}, LEFT OUT"))
        pieces.append("  ")
    return line(*pieces)


def region_line(regions: dict[str, Box], drawing: bool) -> Line:
    """Say what of the images a registration is to use."""
    if drawing:
        return line(
            Span("REGION ", Tone.MEDIUM),
            "arrows move, < > width, , . height, Tab other image",
            dim("  g registers within, c clears, o ends"),
        )
    if regions:
        return line(
            marked(Tone.MEDIUM, f"region drawn on {len(regions)} image(s)"), dim("  o changes it")
        )
    return line(dim("whole images are registered; o draws a region"))


def display_line(
    overlay: Overlay, pose: str, brightness: float, contrast: float, crop: Crop
) -> Line:
    """Say how the images are shown."""
    return line(
        dim("shown "),
        strong(overlay.value),
        dim("   DRR at "),
        Span(pose),
        dim("   level "),
        f"{brightness:+.2f}",
        dim("   contrast "),
        f"x{contrast:.2f}",
        dim("   zoom "),
        f"x{crop.zoom:.1f}",
    )


def shift_line(scene: Scene) -> Line:
    """Repeat the shift in one line, so that images and numbers are read together."""
    registration = scene.status.registration if scene.status else None
    if registration is None:
        return line(dim("no shift"))
    c = registration.correction
    age = scene.image_age_s()
    return line(
        f"lat {signed(c.lateral_mm, 'mm')}  lng {signed(c.longitudinal_mm, 'mm')}  vrt {signed(c.vertical_mm, 'mm')}  "
        f"rtn {signed(c.rotation_deg, 'deg')}  pitch {signed(c.pitch_deg, 'deg')}  roll {signed(c.roll_deg, 'deg')}",
        dim(f"   {duration(age)} old" if age is not None else ""),
    )
