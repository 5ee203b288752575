"""Points of the plan as they are seen in an image."""

from typing import Literal

from igrt_hw.models.base import Frozen

Kind = Literal["isocentre", "marker", "vertebra"]


class Landmark(Frozen):
    """One point: its name in the plan, what it is, and where it is seen, in columns and rows of the image's pixels."""

    name: str
    kind: Kind
    column: float
    row: float


class Landmarks(Frozen):
    """The points of one image. Those behind the source are left out; those beside the panel are not."""

    image_uid: str
    points: tuple[Landmark, ...]
