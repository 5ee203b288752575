"""How a correction is shared between a hexapod and the couch it stands on, as one plan.

Small corrections are the platform's alone. What is beyond its travel first moves the base couch so that the platform
ends near the middle of its travel, then the platform; the two stages are one transaction: they are checked together,
approved together, and the stop between them is a pose that was checked too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igrt_hw._core import Couch, LimitError, Pose, SingularError
from igrt_hw.geometry import Axes6, AxisValues, Correction, compose_correction
from igrt_hw.machine.catalogue import Machine
from igrt_hw.machine.description import HexapodChain
from igrt_hw.machine.leg_margin import legs_stay_within

BaseAxes = tuple[float, float, float, float]
"""Lateral, longitudinal, vertical (mm) and rotation (deg) of the base couch."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One straight move of one of the two.

    Attributes:
        mover: `base` or `platform`.
        start, end: outward axes of the table top before and after.
        base_axes: where the base couch stands after the stage.
        leg_margin_mm: least distance of any leg to the end of its range at 33 places along the stage; that none leaves
            its range between them is certified (`igrt_hw.machine.leg_margin`).
        singularity: the nearest singularity along the stage in words, and its least margin there (1 far away, 0 at it).
        manipulability: its least value along the stage (`Couch.manipulability`).
    """

    mover: str
    start: AxisValues
    end: AxisValues
    base_axes: BaseAxes
    leg_margin_mm: float
    singularity: tuple[str, float]
    manipulability: float


SINGULAR_MARGIN = 0.02
"""A stage that comes nearer to a singularity than this is refused; neutral platforms of treatment couches have 0.1."""
_SAMPLES = 33
"""Positions looked at along a stage: every millimetre of a full travel, ends included."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """One or two stages that together perform a correction, and the couch as it stands afterwards."""

    correction: Correction
    stages: tuple[Stage, ...]
    couch_after: Couch

    @property
    def target(self) -> AxisValues:
        """Outward axes when all stages are done."""
        return self.stages[-1].end


def split_correction(
    machine: Machine, couch: Couch, axes_now: Sequence[float] | Axes6, correction: Correction
) -> SplitPlan:
    """The plan for a correction: the platform alone where it can, else base then platform.

    Args:
        machine: the machine description (travel of the platform, ranges of the base couch).
        couch: its couch with the base standing where it stands now (`Couch.with_base_axes`).
        axes_now: outward axes at imaging, mm and degrees.
        correction: C, in the fixed frame about the isocentre.

    Raises:
        LimitError: neither one stage nor two reach it; the message says what stops each.
        SingularError: a stage would pass too near to a singularity.
        ValueError: the machine is no hexapod.
    """
    chain = machine.description.chain
    if not isinstance(chain, HexapodChain):
        raise ValueError(
            f"machine {machine.name} is a {machine.description.family} couch; only a hexapod is split"
        )
    now = Axes6.of(tuple(axes_now)).values()
    target = compose_correction(couch, now, correction, within_limits=False)
    alone = _platform_refusal(couch, chain, target)
    if not alone:
        stage = _platform_stage(couch, now, target)
        _refuse_singular(stage, couch)
        return SplitPlan(correction, (stage,), couch)
    return _two_stages(couch, chain, now, target, correction, alone)


def platform_pose(couch: Couch, axes: Sequence[float]) -> Pose:
    """Pose of the platform relative to neutral, table_top <- table_top, for outward axes."""
    neutral = couch.forward((*couch.base_axes, 0.0, 0.0))
    return neutral.inverse() @ couch.forward(axes)


def _two_stages(
    couch: Couch,
    chain: HexapodChain,
    now: AxisValues,
    target: AxisValues,
    correction: Correction,
    alone: str,
) -> SplitPlan:
    # The base takes what its ranges let it, so that the platform is left near its middle; what the base cannot take is
    # the platform's. The correction itself stays whole: this only shares it out.
    base_after = _base_share(chain, target)
    moved = couch.with_base_axes(base_after)
    carried = moved.forward((*base_after, 0.0, 0.0)) @ platform_pose(couch, now)
    between = couch.nearest_branch(carried, now)
    refusal = _limit_refusal(moved, between) or _platform_refusal(moved, chain, target)
    if refusal:
        at_end = _base_ends(chain, base_after, target)
        raise LimitError(
            f"the platform alone cannot: {alone}; base and platform together cannot: {at_end}{refusal}"
        )
    # While the base moves the platform is carried as it stands: legs, their stiffness and the tilts do not change.
    platform = _platform_stage(moved, between, target)
    base = Stage(
        "base",
        now,
        between,
        base_after,
        min(moved.leg_margins(between)),
        moved.singularity(between),
        moved.manipulability(between),
    )
    _refuse_singular(base, moved)
    _refuse_singular(platform, moved)
    return SplitPlan(correction, (base, platform), moved)


def _platform_stage(couch: Couch, start: AxisValues, end: AxisValues) -> Stage:
    """The straight stage with what is least along it; legs bow between the ends of a straight move."""
    shares = [index / (_SAMPLES - 1) for index in range(_SAMPLES)]
    along = [
        tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in shares
    ]
    return Stage(
        "platform",
        start,
        end,
        couch.base_axes,
        min(min(couch.leg_margins(axes)) for axes in along),
        min((couch.singularity(axes) for axes in along), key=lambda found: found[1]),
        min(couch.manipulability(axes) for axes in along),
    )


def _refuse_singular(stage: Stage, couch: Couch) -> None:
    name, margin = stage.singularity
    if margin < SINGULAR_MARGIN:
        raise SingularError(
            f"the {stage.mover} stage comes to {margin:.4f} of a singularity ({name}); {SINGULAR_MARGIN} is allowed"
        )
    if stage.leg_margin_mm < 0.0:
        raise LimitError(
            f"on the way of the {stage.mover} stage a leg is {-stage.leg_margin_mm:.3f} mm past its range, "
            "though both ends are within"
        )
    # The margin above is looked at in places; that no leg leaves its range between them is certified.
    if stage.mover == "platform" and not legs_stay_within(couch, stage.start, stage.end):
        raise LimitError(
            f"a leg comes so near to the end of its range on the way of the {stage.mover} stage "
            f"({stage.leg_margin_mm:.3f} mm) that it cannot be certified to stay within"
        )


def _limit_refusal(couch: Couch, axes: AxisValues) -> str:
    try:
        couch.check_limits(axes)
    except (LimitError, SingularError) as error:
        return str(error).removeprefix("outside limits: ")
    return ""


def _platform_refusal(couch: Couch, chain: HexapodChain, axes: AxisValues) -> str:
    six = Correction.of(platform_pose(couch, axes).parameters())
    for name, value in zip(
        ("lateral", "longitudinal", "vertical"), six.translation_mm, strict=True
    ):
        if abs(value) > chain.platform_travel_mm:
            return f"platform {name} {value:.2f} mm is beyond its travel of {chain.platform_travel_mm} mm"
    for name, value in zip(("rotation", "pitch", "roll"), six.angles_deg, strict=True):
        if abs(value) > chain.platform_tilt_deg:
            return f"platform {name} {value:.3f} deg is beyond its {chain.platform_tilt_deg} deg"
    return _limit_refusal(couch, axes)


def _base_ranges(chain: HexapodChain) -> tuple[tuple[float, float], ...]:
    return (
        chain.base_lateral_mm,
        chain.base_longitudinal_mm,
        chain.base_vertical_mm,
        chain.base_rotation_deg,
    )


def _base_share(chain: HexapodChain, target: AxisValues) -> BaseAxes:
    """Where the base goes: as near to the target as its ranges allow."""
    x, y, z, rotation = (
        min(max(value, lower), upper)
        for value, (lower, upper) in zip(target[:4], _base_ranges(chain), strict=True)
    )
    return (x, y, z, rotation)


def _base_ends(chain: HexapodChain, base: BaseAxes, target: AxisValues) -> str:
    """Which axes of the base stop at the end of their range short of the target, for a refusal."""
    names = ("lateral", "longitudinal", "vertical", "rotation")
    stopped = [
        f"base {name} ends at {stands:g} of {wanted:.3f}, "
        for name, stands, wanted in zip(names, base, target[:4], strict=True)
        if stands != wanted
    ]
    return "".join(stopped)
