"""What a machine description says of its solid parts: shapes on frames, travelling arms, allowed contacts.

These are the `[[part]]`, `[[arm]]` and `[[allowed_contact]]` tables of a machine file. Lengths in millimetres, angles
in degrees; every part is drawn in the frame it is fixed to (`docs/conventions.md`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]

LONGEST_MM = 10_000.0
"""Nothing in a treatment room is longer; a larger figure is a unit mistake."""

BUILT_IN_FRAMES = ("fixed", "gantry", "turntable", "table_top", "patient")
"""Frames every room has; an `[[arm]]` adds one frame of its own name."""

LINK_FRAMES = ("link_1", "link_2", "link_3", "link_4", "link_5", "link_6")
"""Frames of a robot couch (`arm`, `scara`): link n moves with axis n (`igrt_hw.machine.path.link_joints`)."""

Shape = Literal["box", "cylinder", "capsule", "hull", "mesh"]

_FIELDS_OF_SHAPE: dict[str, frozenset[str]] = {
    "box": frozenset({"size_mm"}),
    "cylinder": frozenset({"radius_mm", "length_mm"}),
    "capsule": frozenset({"radius_mm", "length_mm"}),
    "hull": frozenset({"points_mm"}),
    "mesh": frozenset({"file", "file_unit"}),
}


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartDescription(_Description):
    """One solid part.

    Attributes:
        name: what messages call it ("gantry head"); several parts may share a name, they then are pieces of one thing.
        frame: a built-in frame, a link of a robot couch (`link_1` to `link_6`), or the name of an `[[arm]]`.
        shape: box (`size_mm`: full lengths along x, y, z); cylinder (axis along local z, `length_mm` end to end);
            capsule (axis along local z, `length_mm` between the centres of its round ends); hull (convex hull of
            `points_mm`); mesh (`file`: a closed triangle mesh, STL, OBJ or PLY, beside the machine file, and its
            `file_unit`: mm, cm, m or inch).
        position_mm: the part's centre (hull, mesh: its own origin) in the frame.
        rotation_deg: turns about x, then y, then z of the frame, applied before the position.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    frame: Annotated[str, Field(min_length=1, max_length=80)]
    shape: Shape
    position_mm: Vector = (0.0, 0.0, 0.0)
    rotation_deg: Vector = (0.0, 0.0, 0.0)
    size_mm: tuple[Positive, Positive, Positive] | None = None
    radius_mm: Positive | None = None
    length_mm: Annotated[FiniteFloat, Field(ge=0.0)] | None = None
    points_mm: tuple[Vector, ...] | None = None
    file: str | None = None
    file_unit: Literal["mm", "cm", "m", "inch"] | None = None

    @model_validator(mode="after")
    def _fields_fit_the_shape(self) -> Self:
        needed = _FIELDS_OF_SHAPE[self.shape]
        for field in sorted(frozenset().union(*_FIELDS_OF_SHAPE.values())):
            given = getattr(self, field) is not None
            if given and field not in needed:
                raise ValueError(f"part {self.name!r}: a {self.shape} has no {field}")
            if not given and field in needed:
                raise ValueError(f"part {self.name!r}: a {self.shape} needs {field}")
        if self.shape == "cylinder" and self.length_mm == 0.0:
            raise ValueError(f"part {self.name!r}: a cylinder needs length_mm above 0")
        self._refuse_absurd_lengths()
        return self

    def _refuse_absurd_lengths(self) -> None:
        lengths = [*self.position_mm, *(self.size_mm or ()), self.radius_mm, self.length_mm]
        lengths += [x for point in self.points_mm or () for x in point]
        if any(x is not None and abs(x) > LONGEST_MM for x in lengths):
            raise ValueError(
                f"part {self.name!r}: a length above {LONGEST_MM:.0f} mm; lengths are in millimetres"
            )


class ArmDescription(_Description):
    """A travelling arm: a frame that slides along a straight line in its parent frame.

    Attributes:
        name: the frame's name, for the `frame` of its parts and for the panel state of a query.
        parent: the frame it slides in, one of the built-in ones.
        retracted_mm: offset of the arm's frame from the parent's when retracted (extension 0).
        extended_mm: the same when fully extended (extension 1).
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    parent: Literal["fixed", "gantry", "turntable", "table_top"] = "gantry"
    retracted_mm: Vector
    extended_mm: Vector = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _has_a_name_of_its_own(self) -> Self:
        if self.name in (*BUILT_IN_FRAMES, *LINK_FRAMES):
            raise ValueError(f"arm {self.name!r}: the name is taken by a built-in frame")
        return self


class AllowedContact(_Description):
    """Two parts that touch or come near by design, and why. They are never measured against each other.

    Parts of the same frame never move against each other and need no entry.
    """

    parts: tuple[str, str]
    reason: Annotated[str, Field(min_length=1)]
