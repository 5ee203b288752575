"""Words beside the images: what they are, how they are shown, and how well they match."""

from igrt_hw.models.status import ImageView
from igrt_tui.picture import Overlay
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import duration, signed, unsigned
from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, line, marked, rule, strong


def caption(image: ImageView, width: int, waits: str) -> Lines:
    """Name one image: purpose, angle, technique; or what it waits for."""
    head = rule(
        f"{image.purpose} {image.source_angle_deg:.0f} deg", width, dim(image.acquired_utc[11:19])
    )
    technique = f"{image.kvp:.0f} kVp  {image.mas:.1f} mAs  {image.cols} x {image.rows}"
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


def display_line(overlay: Overlay, registered: bool, brightness: float, contrast: float) -> Line:
    """Say how the images are shown."""
    pose = "registered position" if registered else "planned position"
    return line(
        dim("shown "),
        strong(overlay.value),
        dim("   DRR at "),
        Span(pose),
        dim("   level "),
        f"{brightness:+.2f}",
        dim("   contrast "),
        f"x{contrast:.2f}",
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
