"""What a machine file says: couch family, axes, caps, gantry, imaging geometry, solid parts.

Frozen pydantic models of the tables of a machine TOML file. Units are in the names: mm, deg, s, kg. Nothing is guessed:
an unknown key, a missing one or a number out of the question is refused (`igrt_hw.machine.catalogue.load_machine` says
where).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from igrt_hw.machine.part import (
    BUILT_IN_FRAMES,
    LINK_FRAMES,
    AllowedContact,
    ArmDescription,
    PartDescription,
    Vector,
)

Positive = Annotated[FiniteFloat, Field(gt=0.0)]
Six = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
SixPoints = tuple[Vector, Vector, Vector, Vector, Vector, Vector]
Text = Annotated[str, Field(min_length=1)]

CARTESIAN_NAMES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
SCARA_NAMES = ("vertical", "shoulder", "elbow", "wrist", "pitch", "roll")
ARM_NAMES = ("joint_1", "joint_2", "joint_3", "joint_4", "joint_5", "joint_6")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LinearAxis(_Table):
    """A linear axis: range, and the most that its drive does."""

    kind: Literal["linear"]
    name: Text
    lower_mm: FiniteFloat
    upper_mm: FiniteFloat
    speed_mm_s: Positive
    acceleration_mm_s2: Positive
    jerk_mm_s3: Positive

    @property
    def unit(self) -> Literal["mm"]:
        """Unit of positions on this axis."""
        return "mm"

    @property
    def range(self) -> tuple[float, float]:
        """Lower and upper end, mm."""
        return (self.lower_mm, self.upper_mm)

    @property
    def drive(self) -> tuple[float, float, float]:
        """Speed (mm/s), acceleration (mm/s^2), jerk (mm/s^3)."""
        return (self.speed_mm_s, self.acceleration_mm_s2, self.jerk_mm_s3)

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Self:
        _check_range(self.name, self.lower_mm, self.upper_mm, "mm", 5_000.0)
        return self


class RotaryAxis(_Table):
    """A rotary axis: range, and the most that its drive does."""

    kind: Literal["rotary"]
    name: Text
    lower_deg: FiniteFloat
    upper_deg: FiniteFloat
    speed_deg_s: Positive
    acceleration_deg_s2: Positive
    jerk_deg_s3: Positive

    @property
    def unit(self) -> Literal["deg"]:
        """Unit of positions on this axis."""
        return "deg"

    @property
    def range(self) -> tuple[float, float]:
        """Lower and upper end, degrees."""
        return (self.lower_deg, self.upper_deg)

    @property
    def drive(self) -> tuple[float, float, float]:
        """Speed (deg/s), acceleration (deg/s^2), jerk (deg/s^3)."""
        return (self.speed_deg_s, self.acceleration_deg_s2, self.jerk_deg_s3)

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Self:
        _check_range(self.name, self.lower_deg, self.upper_deg, "deg", 720.0)
        return self


Axis = Annotated[LinearAxis | RotaryAxis, Field(discriminator="kind")]


def _check_range(name: str, lower: float, upper: float, unit: str, widest: float) -> None:
    if not lower < upper:
        raise ValueError(f"axis {name!r}: lower {lower} {unit} is not below upper {upper} {unit}")
    if max(abs(lower), abs(upper)) > widest:
        raise ValueError(
            f"axis {name!r}: {lower} to {upper} {unit} is beyond {widest} {unit}; check the unit"
        )


class CorrectionMove(_Table):
    """The caps of one correction move, tighter than what the drives can do.

    `translation_mm` and `rotation_deg` are the largest correction that one approval may cover (length of the
    translation; angle of the rotation).
    """

    translation_mm: Positive
    rotation_deg: Positive
    speed_mm_s: Positive
    speed_deg_s: Positive
    acceleration_mm_s2: Positive
    acceleration_deg_s2: Positive
    jerk_mm_s3: Positive
    jerk_deg_s3: Positive


class Imaging(_Table):
    """X-ray geometry. Source angle a of a kV view is gantry angle a - `kv_source_offset_deg`."""

    sad_mm: Positive
    kv_sid_mm: Positive
    mv_sid_mm: Positive
    kv_source_offset_deg: Annotated[FiniteFloat, Field(gt=-180.0, le=180.0)]

    @model_validator(mode="after")
    def _panels_lie_beyond_the_isocentre(self) -> Self:
        for name, sid in (("kv_sid_mm", self.kv_sid_mm), ("mv_sid_mm", self.mv_sid_mm)):
            if sid <= self.sad_mm:
                raise ValueError(
                    f"{name} {sid} is not beyond the isocentre at sad_mm {self.sad_mm}"
                )
        return self


class Gantry(_Table):
    """The gantry: IEC angle range and speed."""

    lower_deg: FiniteFloat
    upper_deg: FiniteFloat
    speed_deg_s: Positive

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Self:
        _check_range("gantry", self.lower_deg, self.upper_deg, "deg", 720.0)
        return self


class Load(_Table):
    """What the couch may carry, evenly spread."""

    capacity_kg: Positive


class Mount(_Table):
    """A fixed pose: T(position) . Rz(rotation) . Rx(pitch) . Ry(roll)."""

    position_mm: Vector = (0.0, 0.0, 0.0)
    rotation_deg: FiniteFloat = 0.0
    pitch_deg: FiniteFloat = 0.0
    roll_deg: FiniteFloat = 0.0

    @property
    def parameters(self) -> Six:
        """The six numbers of `Pose.from_parameters`."""
        return (*self.position_mm, self.rotation_deg, self.pitch_deg, self.roll_deg)


class PedestalChain(_Table):
    """IEC 61217 table top: eccentric offset Ey and angle theta_e.

    `gains` and `zeros` (mm, degrees; by axis): joint of the model = gain * axis + zero. `base` is fixed <- base, `tool`
    flange <- table top. A plain couch has none of the four; an import or a calibration writes them.
    """

    family: Literal["pedestal"]
    eccentric_mm: FiniteFloat = 0.0
    eccentric_deg: FiniteFloat = 0.0
    gains: Six | None = None
    zeros: Six | None = None
    base: Mount | None = None
    tool: Mount | None = None


class HexapodChain(_Table):
    """A Stewart platform on a base couch.

    Joints in the table-top frame at neutral, mm. `base_*`: ranges of the base couch; `platform_*`: what the platform
    does from neutral, each way; `base_start`: where the base couch stands at first (lateral, longitudinal, vertical in
    mm, rotation in degrees).
    """

    family: Literal["hexapod"]
    base_joints_mm: SixPoints
    platform_joints_mm: SixPoints
    leg_lower_mm: Positive
    leg_upper_mm: Positive
    platform_travel_mm: Positive
    platform_tilt_deg: Positive
    base_lateral_mm: tuple[FiniteFloat, FiniteFloat]
    base_longitudinal_mm: tuple[FiniteFloat, FiniteFloat]
    base_vertical_mm: tuple[FiniteFloat, FiniteFloat]
    base_rotation_deg: tuple[FiniteFloat, FiniteFloat]
    base_start: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]

    @model_validator(mode="after")
    def _base_stands_in_its_range(self) -> Self:
        ranges = (
            self.base_lateral_mm,
            self.base_longitudinal_mm,
            self.base_vertical_mm,
            self.base_rotation_deg,
        )
        for name, (lower, upper), start in zip(
            CARTESIAN_NAMES, ranges, self.base_start, strict=False
        ):
            unit = "deg" if name == "rotation" else "mm"
            _check_range(f"base {name}", lower, upper, unit, 5_000.0)
            if not lower <= start <= upper:
                raise ValueError(
                    f"base_start: {name} {start} {unit} is outside {lower} to {upper} {unit}"
                )
        return self


class ArmChain(_Table):
    """Six revolute joints with a spherical wrist; `offsets_mm` a1, a2, b; `lengths_mm` c1 to c4.

    Joint of the model = sign * axis + zero. `base` is fixed <- base (the robot's foot), `tool` flange <- table top.
    """

    family: Literal["arm"]
    offsets_mm: Vector
    lengths_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    signs: tuple[Literal[-1, 1], ...] = Field(
        default=(1, 1, 1, 1, 1, 1), min_length=6, max_length=6
    )
    zeros_deg: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    base: Mount
    tool: Mount


class ScaraChain(_Table):
    """Vertical column, shoulder, elbow and wrist about vertical axes, then pitch and roll.

    `base` is fixed <- base (the column's foot), `tool` flange <- table top; `gains` and `zeros` as for a pedestal.
    """

    family: Literal["scara"]
    upper_mm: Positive
    fore_mm: Positive
    wrist_mm: Vector
    gains: Six | None = None
    zeros: Six | None = None
    base: Mount
    tool: Mount


Chain = Annotated[
    PedestalChain | HexapodChain | ArmChain | ScaraChain, Field(discriminator="family")
]

_NAMES_OF_FAMILY = {
    "pedestal": CARTESIAN_NAMES,
    "hexapod": CARTESIAN_NAMES,
    "arm": ARM_NAMES,
    "scara": SCARA_NAMES,
}
_KINDS_OF_FAMILY = {
    "pedestal": ("linear",) * 3 + ("rotary",) * 3,
    "hexapod": ("linear",) * 3 + ("rotary",) * 3,
    "arm": ("rotary",) * 6,
    "scara": ("linear",) + ("rotary",) * 5,
}


class MachineDescription(_Table):
    """One machine file.

    Attributes:
        format: version of this file format, 1.
        name: the file's stem; `title`: what people read.
        sources: where each figure comes from: one entry for every table that is there, named like it ("chain", "axis",
            ...; arms and contacts count as "part"), and more if wanted, named like a table and what it is about
            ("part robot links").
        not_modelled: what a reader might expect and does not find.
        chain: the couch family and its dimensions.
        axis: six axes in the order of the family.
        correction_move: caps of one correction move.
        part, arm, allowed_contact: solid parts of the room (`igrt_hw.machine.part`).
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    sources: dict[str, Text]
    not_modelled: tuple[Text, ...] = ()
    chain: Chain
    axis: tuple[Axis, ...] = Field(min_length=6, max_length=6)
    correction_move: CorrectionMove
    imaging: Imaging
    gantry: Gantry
    load: Load
    part: tuple[PartDescription, ...] = ()
    arm: tuple[ArmDescription, ...] = ()
    allowed_contact: tuple[AllowedContact, ...] = ()

    @property
    def family(self) -> str:
        """`pedestal`, `hexapod`, `arm` or `scara`."""
        return self.chain.family

    @property
    def link_frames(self) -> tuple[str, ...]:
        """Frames of the couch's links that parts may stand on; none for couches with Cartesian axes."""
        return LINK_FRAMES if self.family in ("arm", "scara") else ()

    @model_validator(mode="after")
    def _every_table_has_its_source(self) -> Self:
        needed = ["chain", "axis", "correction_move", "imaging", "gantry", "load"]
        if self.part or self.arm:
            needed.append("part")
        missing = [name for name in needed if name not in self.sources]
        if missing:
            raise ValueError(
                f"[sources] says nothing about {', '.join(missing)}: one entry per table, a reference or that it is an "
                "assumption"
            )
        known = (*needed, "part")
        strange = [name for name in self.sources if name.split(" ")[0] not in known]
        if strange:
            raise ValueError(
                f"[sources] {strange}: named like a table ({', '.join(known)}), then what it is about"
            )
        return self

    @model_validator(mode="after")
    def _axes_are_the_familys(self) -> Self:
        names, kinds = _NAMES_OF_FAMILY[self.family], _KINDS_OF_FAMILY[self.family]
        for index, (axis, name, kind) in enumerate(zip(self.axis, names, kinds, strict=True)):
            if axis.name != name or axis.kind != kind:
                raise ValueError(
                    f"axis {index + 1} is {axis.kind} {axis.name!r}; a {self.family} couch has {kind} {name!r} there "
                    f"(order: {', '.join(names)})"
                )
        return self

    @model_validator(mode="after")
    def _caps_are_within_the_drives(self) -> Self:
        caps = self.correction_move
        linear = ("speed_mm_s", "acceleration_mm_s2", "jerk_mm_s3")
        rotary = ("speed_deg_s", "acceleration_deg_s2", "jerk_deg_s3")
        for axis in self.axis:
            for key in linear if isinstance(axis, LinearAxis) else rotary:
                if getattr(caps, key) > getattr(axis, key):
                    raise ValueError(
                        f"correction_move.{key} {getattr(caps, key)} is above what axis {axis.name!r} does, "
                        f"{getattr(axis, key)}"
                    )
        return self

    @model_validator(mode="after")
    def _parts_stand_on_known_frames(self) -> Self:
        arms = [arm.name for arm in self.arm]
        if len(arms) != len(set(arms)):
            raise ValueError("two [[arm]] tables have the same name")
        known = (*BUILT_IN_FRAMES, *self.link_frames, *arms)
        names = {part.name for part in self.part}
        for part in self.part:
            if part.frame not in known:
                raise ValueError(
                    f"part {part.name!r}: frame {part.frame!r} is not one of {', '.join(known)}"
                )
        for contact in self.allowed_contact:
            for name in contact.parts:
                if name not in names and name != "patient":
                    raise ValueError(f"allowed_contact {contact.parts}: there is no part {name!r}")
        return self
