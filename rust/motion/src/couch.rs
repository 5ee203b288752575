//! One interface over the couch families.

use crate::angle::{turn_within, wrap_rad};
use crate::arm::Arm;
use crate::error::{MotionError, geometry};
use crate::frame::{Base, Fixed, Flange, TableTop};
use crate::hexapod::{Hexapod, LEGS_SINGULAR};
use crate::limits::{Limits, ROUND_OFF};
use crate::pedestal::Pedestal;
use crate::pose::{Pose, SCALE_MAX_MM};
use crate::rigid::{Rigid, Vec3, cross, dot, rotate, sub};
use crate::scara::Scara;

/// Every inverse result reproduces its pose to this many millimetres, or it is not returned.
pub const VERIFIED_MM: f64 = 1e-6;
/// Every inverse result reproduces its pose to this many radians, or it is not returned.
pub const VERIFIED_RAD: f64 = 1e-9;
/// A margin (a sine, or a length over the reach) below this is a singularity.
pub(crate) const SINGULAR: f64 = 1e-8;
/// A rotary value nearer to zero (or to a seed) than this is not meant by another turn.
pub(crate) const NO_TURN: f64 = std::f64::consts::PI - 1e-3;
/// What a radian counts for in millimetres when two branches are compared: about half the length of a patient.
const ARM_MM_PER_RAD: f64 = 500.0;

/// Whether squared misfits ([`Rigid::misfit`]) are within the promise; false for not a number.
#[inline(always)]
pub(crate) fn verified(mm2: f64, chord2: f64) -> bool {
    mm2 <= VERIFIED_MM * VERIFIED_MM && chord2 <= VERIFIED_RAD * VERIFIED_RAD
}

/// What an axis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// Millimetres.
    Linear,
    /// Radians (degrees at the Python face).
    Rotary,
}

/// The kinematic chain of a couch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one per couch, built once; plain data is worth more than 500 bytes"
)]
pub enum Family {
    /// The linac couch.
    Pedestal(Pedestal),
    /// A Stewart platform on a linac couch.
    Hexapod(Hexapod),
    /// Six revolute joints with a spherical wrist.
    Arm(Arm),
    /// A column, three vertical revolutes, pitch and roll.
    Scara(Scara),
}

/// How close the nearest singularity is: 1 far away, 0 at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Singularity {
    /// What is singular, in words.
    pub name: &'static str,
    /// Sine of the angle to the singularity, or distance over reach.
    pub margin: f64,
}

impl Singularity {
    pub(crate) fn nearer(self, other: Self) -> Self {
        if other.margin < self.margin {
            other
        } else {
            self
        }
    }
}

/// Axis of one joint in the base frame, for the Jacobian.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screw {
    direction: Vec3,
    point: Option<Vec3>,
}

impl Screw {
    pub(crate) fn linear(direction: Vec3) -> Self {
        Self {
            direction,
            point: None,
        }
    }

    pub(crate) fn rotary(direction: Vec3, point: Vec3) -> Self {
        Self {
            direction,
            point: Some(point),
        }
    }
}

/// At most eight axis sets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Branches {
    items: [[f64; 6]; 8],
    len: usize,
}

impl Branches {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// The axis sets, mm and radians.
    #[must_use]
    pub fn as_slice(&self) -> &[[f64; 6]] {
        self.items.get(..self.len).unwrap_or_default()
    }

    /// Adds axes unless they are already there: two branches meet where an arm is stretched.
    pub(crate) fn push_new(&mut self, axes: &[f64; 6]) {
        let same = |other: &[f64; 6]| {
            other
                .iter()
                .zip(axes)
                .all(|(a, b)| (a - b).abs() < ROUND_OFF)
        };
        if !self.as_slice().iter().any(same) {
            self.push(*axes);
        }
    }

    pub(crate) fn push(&mut self, axes: [f64; 6]) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = axes;
            self.len += 1;
        }
    }
}

/// What a family's closed form gives: joint sets (not a number where a branch is out of reach) and the singular margin.
pub(crate) struct Solutions {
    pub joints: [[f64; 6]; 8],
    pub singular: f64,
}

impl Solutions {
    pub(crate) fn of(found: &[[f64; 6]], singular: f64) -> Self {
        let mut joints = [[f64::NAN; 6]; 8];
        for (slot, q) in joints.iter_mut().zip(found) {
            *slot = *q;
        }
        Self { joints, singular }
    }
}

/// A couch: a family, the map from its axes to the joints of the model, its place in the room, and its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Couch {
    family: Family,
    limits: Limits,
    /// The limits, narrowed where a rotary axis could be meant by another turn: inside, nothing has to be chosen.
    inner: Limits,
    /// The limits of what no whole turn can bring inside; infinite for a rotary axis that has room for another turn.
    outer: Limits,
    /// Half a turn each way for rotary axes, infinite for linear ones.
    principal: Limits,
    /// joint = gain * axis + offset.
    gain: [f64; 6],
    offset: [f64; 6],
    base: Rigid,
    base_inverse: Rigid,
    tool: Rigid,
    tool_inverse: Rigid,
}

impl Couch {
    /// A couch whose axes are the joints of the model, standing at the isocentre, with the table top at the flange.
    #[must_use]
    pub fn new(family: Family, limits: Limits) -> Self {
        let mut couch = Self {
            family,
            limits,
            inner: limits,
            outer: limits,
            principal: limits,
            gain: [1.0; 6],
            offset: [0.0; 6],
            base: Rigid::IDENTITY,
            base_inverse: Rigid::IDENTITY,
            tool: Rigid::IDENTITY,
            tool_inverse: Rigid::IDENTITY,
        };
        let kinds = couch.axis_kinds();
        let inner = couch.inner.lower.iter_mut().zip(&mut couch.inner.upper);
        let outer = couch.outer.lower.iter_mut().zip(&mut couch.outer.upper);
        for (((low, high), (least, most)), kind) in inner.zip(outer).zip(kinds) {
            let narrow = *low >= -NO_TURN && *high <= NO_TURN;
            if kind == AxisKind::Rotary && !narrow {
                (*least, *most) = (f64::NEG_INFINITY, f64::INFINITY);
            } else {
                (*least, *most) = (*low - 2.0 * ROUND_OFF, *high + 2.0 * ROUND_OFF);
            }
            if kind == AxisKind::Rotary {
                *low = low.max(-NO_TURN);
                *high = high.min(NO_TURN);
            }
        }
        let ends = |end: f64| {
            kinds.map(|kind| {
                if kind == AxisKind::Rotary {
                    end.copysign(1.0).min(NO_TURN).copysign(end)
                } else {
                    end
                }
            })
        };
        couch.principal.lower = ends(f64::NEG_INFINITY);
        couch.principal.upper = ends(f64::INFINITY);
        couch
    }

    /// Whether an axis set needs no turn to be principal and is within the limits; false for not a number.
    #[inline(always)]
    pub(crate) fn plainly_allowed(&self, axes: &[f64; 6]) -> bool {
        let mut inside = true;
        for ((q, low), high) in axes.iter().zip(&self.inner.lower).zip(&self.inner.upper) {
            inside &= (*q >= *low) & (*q <= *high);
        }
        inside
    }

    /// Whether an axis is outside its limits and no whole turn of it can be inside; false for not a number.
    #[inline(always)]
    pub(crate) fn plainly_outside(&self, axes: &[f64; 6]) -> bool {
        let mut within = true;
        for ((q, least), most) in axes.iter().zip(&self.outer.lower).zip(&self.outer.upper) {
            within &= (*q >= *least) & (*q <= *most);
        }
        let mut principal = true;
        let turns = self.principal.lower.iter().zip(&self.principal.upper);
        for (q, (least, most)) in axes.iter().zip(turns) {
            principal &= (*q >= *least) & (*q <= *most);
        }
        !within & principal
    }

    /// The same couch with its foot and its table top elsewhere.
    #[must_use]
    pub fn with_mounts(mut self, base: &Pose<Fixed, Base>, tool: &Pose<Flange, TableTop>) -> Self {
        self.base = base.rigid;
        self.base_inverse = base.rigid.inverse();
        self.tool = tool.rigid;
        self.tool_inverse = tool.rigid.inverse();
        self
    }

    /// The same couch with joints = gain * axes + offset (signs, zeros and scale of the axes).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a gain of zero, a number that is not finite, or a rotary gain other than +1 or -1
    /// beyond one percent: turns would no longer be turns.
    pub fn with_axis_map(mut self, gain: [f64; 6], offset: [f64; 6]) -> Result<Self, MotionError> {
        for (index, (g, o)) in gain.iter().zip(&offset).enumerate() {
            if !((g.abs() - 1.0).abs() <= 0.01 && o.abs() <= SCALE_MAX_MM) {
                return geometry(format!(
                    "axis {}: gain {g} and offset {o}; a gain is +1 or -1 within one percent, an offset is finite",
                    index + 1
                ));
            }
        }
        self.gain = gain;
        self.offset = offset;
        Ok(self)
    }

    pub(crate) fn set_family(&mut self, family: Family) {
        self.family = family;
    }

    /// The kinematic chain.
    #[must_use]
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// `pedestal`, `hexapod`, `arm` or `scara`.
    #[must_use]
    pub fn family_name(&self) -> &'static str {
        match self.family {
            Family::Pedestal(_) => "pedestal",
            Family::Hexapod(_) => "hexapod",
            Family::Arm(_) => "arm",
            Family::Scara(_) => "scara",
        }
    }

    /// Names of the axes in their order.
    #[must_use]
    pub fn axis_names(&self) -> [&'static str; 6] {
        match self.family {
            Family::Pedestal(_) | Family::Hexapod(_) => [
                "lateral",
                "longitudinal",
                "vertical",
                "rotation",
                "pitch",
                "roll",
            ],
            Family::Arm(_) => [
                "joint_1", "joint_2", "joint_3", "joint_4", "joint_5", "joint_6",
            ],
            Family::Scara(_) => ["vertical", "shoulder", "elbow", "wrist", "pitch", "roll"],
        }
    }

    /// Kinds of the axes in their order.
    #[must_use]
    pub fn axis_kinds(&self) -> [AxisKind; 6] {
        use AxisKind::{Linear, Rotary};
        match self.family {
            Family::Pedestal(_) | Family::Hexapod(_) => {
                [Linear, Linear, Linear, Rotary, Rotary, Rotary]
            }
            Family::Arm(_) => [Rotary; 6],
            Family::Scara(_) => [Linear, Rotary, Rotary, Rotary, Rotary, Rotary],
        }
    }

    /// Ranges of the axes.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Foot of the couch in the room.
    #[must_use]
    pub fn base(&self) -> Pose<Fixed, Base> {
        Pose::of(self.base)
    }

    /// Table top on the flange.
    #[must_use]
    pub fn tool(&self) -> Pose<Flange, TableTop> {
        Pose::of(self.tool)
    }

    /// Gain and offset of the map from axes to joints.
    #[must_use]
    pub fn axis_map(&self) -> ([f64; 6], [f64; 6]) {
        (self.gain, self.offset)
    }

    #[inline(always)]
    pub(crate) fn joints(&self, axes: &[f64; 6]) -> [f64; 6] {
        let mut joints = *axes;
        for ((joint, gain), offset) in joints.iter_mut().zip(&self.gain).zip(&self.offset) {
            *joint = *joint * gain + offset;
        }
        joints
    }

    #[inline(always)]
    pub(crate) fn axes(&self, joints: &[f64; 6]) -> [f64; 6] {
        let mut axes = *joints;
        for ((axis, gain), offset) in axes.iter_mut().zip(&self.gain).zip(&self.offset) {
            *axis = (*axis - offset) / gain;
        }
        axes
    }

    #[inline(always)]
    pub(crate) fn forward_unchecked(&self, axes: &[f64; 6]) -> Rigid {
        let q = self.joints(axes);
        let chain = match &self.family {
            Family::Pedestal(chain) => chain.forward(&q),
            Family::Hexapod(chain) => chain.forward(&q),
            Family::Arm(chain) => chain.forward(&q),
            Family::Scara(chain) => chain.forward(&q),
        };
        self.mounted(&chain)
    }

    /// The pose of the table top from the pose of the chain's end.
    #[inline(always)]
    pub(crate) fn mounted(&self, chain: &Rigid) -> Rigid {
        self.base.then(chain).then(&self.tool)
    }

    #[inline(always)]
    pub(crate) fn chain_pose(&self, pose: &Rigid) -> Rigid {
        self.base_inverse.then(pose).then(&self.tool_inverse)
    }

    /// Whether the numbers can be axis values at all; limits are another question ([`Couch::check_limits`]).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] naming the axis.
    pub fn check_axes(&self, axes: &[f64; 6]) -> Result<(), MotionError> {
        // Written so that not-a-number fails too.
        if axes.iter().all(|a| a.abs() <= SCALE_MAX_MM) {
            return Ok(());
        }
        for (name, value) in self.axis_names().iter().zip(axes) {
            if !(value.abs() <= SCALE_MAX_MM) {
                return geometry(format!(
                    "axis {name} is {value}; axis values are finite and below 1e5 mm or rad"
                ));
            }
        }
        Ok(())
    }

    /// Pose of the table top. Limits are not checked: a couch is where it is.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for numbers that cannot be axis values.
    #[inline]
    pub fn forward(&self, axes: &[f64; 6]) -> Result<Pose<Fixed, TableTop>, MotionError> {
        self.check_axes(axes)?;
        Ok(Pose::of(self.forward_unchecked(axes)))
    }

    /// Refuses axes outside their limits (or legs of a hexapod outside theirs), naming every one.
    ///
    /// # Errors
    /// [`MotionError::Limit`]; [`MotionError::Singular`] where limits are kept but the legs of a hexapod do not hold it;
    /// [`MotionError::Geometry`] for numbers that cannot be axis values.
    pub fn check_limits(&self, axes: &[f64; 6]) -> Result<(), MotionError> {
        self.check_axes(axes)?;
        match (self.limit_violations(axes), self.leg_singularity(axes)) {
            (None, None) => Ok(()),
            (Some(reasons), _) => Err(MotionError::Limit(reasons)),
            (None, Some(reason)) => Err(MotionError::Singular(reason)),
        }
    }

    pub(crate) fn within_limits(&self, axes: &[f64; 6]) -> bool {
        self.limits.contain(axes)
            && self.leg_violation(axes).is_none()
            && self.leg_singularity(axes).is_none()
    }

    /// Why the legs of a hexapod do not hold the platform at these axes, whatever their lengths; `None` where they do.
    fn leg_singularity(&self, axes: &[f64; 6]) -> Option<String> {
        match &self.family {
            Family::Hexapod(hexapod) => {
                let platform = hexapod.platform(&hexapod.forward(&self.joints(axes)));
                hexapod.assembly_refusal(&platform, LEGS_SINGULAR)
            }
            _ => None,
        }
    }

    fn leg_violation(&self, axes: &[f64; 6]) -> Option<String> {
        match &self.family {
            Family::Hexapod(hexapod) => hexapod.leg_violation(&hexapod.forward(&self.joints(axes))),
            _ => None,
        }
    }

    fn limit_violations(&self, axes: &[f64; 6]) -> Option<String> {
        let mut reasons = Vec::new();
        let ranges = self.limits.pairs();
        for (((name, kind), value), (low, high)) in self
            .axis_names()
            .iter()
            .zip(self.axis_kinds())
            .zip(axes)
            .zip(ranges)
        {
            let (end, which) = if *value < low {
                (low, "lower")
            } else {
                (high, "upper")
            };
            let beyond = if *value < low {
                low - value
            } else {
                value - high
            };
            if beyond > ROUND_OFF {
                let (scale, unit) = match kind {
                    AxisKind::Linear => (1.0, "mm"),
                    AxisKind::Rotary => (1.0_f64.to_degrees(), "deg"),
                };
                reasons.push(format!(
                    "{name} would be {:.3} {unit}, {:.3} {unit} past its {which} limit {:.3} {unit}",
                    value * scale,
                    beyond * scale,
                    end * scale
                ));
            }
        }
        reasons.extend(self.leg_violation(axes));
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Distance of each axis to the nearer end of its range, mm or radians; negative outside.
    #[must_use]
    pub fn margins(&self, axes: &[f64; 6]) -> [f64; 6] {
        self.limits.margins(axes)
    }

    /// Distance of each leg of a hexapod to the nearer end of its range, mm; negative outside. `None` for other families.
    #[must_use]
    pub fn leg_margins(&self, axes: &[f64; 6]) -> Option<[f64; 6]> {
        let Family::Hexapod(hexapod) = &self.family else {
            return None;
        };
        let (low, high) = hexapod.leg_limits_mm();
        self.leg_lengths(axes)
            .map(|legs| legs.map(|l| (l - low).min(high - l)))
    }

    /// Every axis set that reaches the pose, whatever the limits say: rotary axes in (-pi, pi], or the turn that is
    /// inside the limits where there is one. Use it to explain a refusal, not to move.
    ///
    /// # Errors
    /// [`MotionError::Unreachable`] or [`MotionError::Singular`], with the reason.
    pub fn branches(&self, pose: &Pose<Fixed, TableTop>) -> Result<Branches, MotionError> {
        self.solve(&pose.rigid, None)
    }

    /// Every axis set within the limits that reaches the pose.
    ///
    /// # Errors
    /// [`MotionError::Unreachable`], [`MotionError::Singular`], or [`MotionError::Limit`] when branches exist but every one
    /// is outside the limits; the message then describes the one that is least far outside.
    pub fn inverse(&self, pose: &Pose<Fixed, TableTop>) -> Result<Branches, MotionError> {
        let all = self.solve(&pose.rigid, None)?;
        self.keep_within_limits(&all, None)
    }

    /// The axis set within the limits that is nearest to `seed` (a radian counts as 500 mm); turns are chosen by the seed.
    /// At a singular pose that the seed reaches as it stands it is the seed: no move is no choice.
    ///
    /// # Errors
    /// As [`Couch::inverse`]; [`MotionError::Geometry`] for a seed that cannot be axis values.
    pub fn inverse_nearest(
        &self,
        pose: &Pose<Fixed, TableTop>,
        seed: &[f64; 6],
    ) -> Result<[f64; 6], MotionError> {
        self.check_axes(seed)?;
        let all = match self.solve(&pose.rigid, Some(seed)) {
            Err(MotionError::Singular(_)) if self.stays(&pose.rigid, seed) => return Ok(*seed),
            found => found?,
        };
        let allowed = self.keep_within_limits(&all, Some(seed))?;
        nearest(self.axis_kinds(), allowed.as_slice(), seed)
            .ok_or_else(|| MotionError::Unreachable("no branch reaches the pose".into()))
    }

    /// Whether the axes are allowed and reach the pose as they are: then nothing has to be chosen, singular or not.
    fn stays(&self, pose: &Rigid, axes: &[f64; 6]) -> bool {
        let (mm2, chord2) = self.forward_unchecked(axes).misfit(pose);
        verified(mm2, chord2) && self.within_limits(axes)
    }

    /// As [`Couch::inverse_nearest`] whatever the limits say. Use it to explain a refusal, not to move.
    ///
    /// # Errors
    /// [`MotionError::Unreachable`], [`MotionError::Singular`] or [`MotionError::Geometry`].
    pub fn nearest_branch(
        &self,
        pose: &Pose<Fixed, TableTop>,
        seed: &[f64; 6],
    ) -> Result<[f64; 6], MotionError> {
        self.check_axes(seed)?;
        let all = self.solve(&pose.rigid, Some(seed))?;
        nearest(self.axis_kinds(), all.as_slice(), seed)
            .ok_or_else(|| MotionError::Unreachable("no branch reaches the pose".into()))
    }

    fn keep_within_limits(
        &self,
        all: &Branches,
        seed: Option<&[f64; 6]>,
    ) -> Result<Branches, MotionError> {
        let mut kept = Branches::default();
        for axes in all.as_slice() {
            if self.within_limits(axes) {
                kept.push(*axes);
            }
        }
        if kept.len > 0 {
            return Ok(kept);
        }
        // Describe the branch that the couch would have taken: nearest to where it stands, else least far outside.
        let described = match seed {
            Some(seed) => nearest(self.axis_kinds(), all.as_slice(), seed),
            None => {
                let excess = |axes: &[f64; 6]| self.excess_mm(axes);
                all.as_slice()
                    .iter()
                    .min_by(|a, b| excess(a).total_cmp(&excess(b)))
                    .copied()
            }
        };
        let reason = described.and_then(|axes| self.limit_violations(&axes));
        if reason.is_none()
            && let Some(why) = described.and_then(|axes| self.leg_singularity(&axes))
        {
            return Err(MotionError::Singular(why));
        }
        let reason = reason.unwrap_or_else(|| "no branch is within the limits".into());
        let several = matches!(self.family, Family::Arm(_) | Family::Scara(_)) && all.len > 1;
        Err(MotionError::Limit(if several {
            format!(
                "none of {} branches is allowed; in the nearest, {reason}",
                all.len
            )
        } else {
            reason
        }))
    }

    /// How far outside the limits, all axes together; a radian counts as 500 mm.
    fn excess_mm(&self, axes: &[f64; 6]) -> f64 {
        let weigh = |kind| {
            if kind == AxisKind::Rotary {
                ARM_MM_PER_RAD
            } else {
                1.0
            }
        };
        let beyond = self
            .margins(axes)
            .into_iter()
            .map(|margin| (-margin).max(0.0));
        beyond
            .zip(self.axis_kinds())
            .map(|(excess, kind)| excess * weigh(kind))
            .sum()
    }

    fn solve(&self, pose: &Rigid, seed: Option<&[f64; 6]>) -> Result<Branches, MotionError> {
        if !pose.is_finite() {
            return geometry("the pose has numbers that are not finite");
        }
        let chain = self.chain_pose(pose);
        let found = match &self.family {
            Family::Pedestal(family) => family.solutions(&chain),
            Family::Hexapod(family) => family.solutions(&chain),
            Family::Arm(family) => return self.collect_arm(family, pose, seed),
            Family::Scara(family) => family.solutions(&chain),
        };
        if found.singular < SINGULAR {
            let joints = found.joints.iter();
            return Err(MotionError::Singular(
                self.explain_singular(joints.copied()),
            ));
        }
        let mut branches = Branches::default();
        let mut reached = false;
        for joints in &found.joints {
            if joints.iter().any(|q| q.is_nan()) {
                continue;
            }
            reached = true;
            let axes = self.choose_turns(&self.axes(joints), seed);
            let (mm2, chord2) = self.forward_unchecked(&axes).misfit(pose);
            if verified(mm2, chord2) {
                branches.push_new(&axes);
            }
        }
        self.at_least_one(branches, reached, &chain)
    }

    /// The branches of an arm, solved and verified side by side.
    fn collect_arm(
        &self,
        arm: &Arm,
        pose: &Rigid,
        seed: Option<&[f64; 6]>,
    ) -> Result<Branches, MotionError> {
        let found = self.solve_arm(arm, pose);
        if found.singular < SINGULAR {
            let joints = found.axes.iter().map(|axes| self.joints(axes));
            return Err(MotionError::Singular(self.explain_singular(joints)));
        }
        let mut branches = Branches::default();
        let mut reached = false;
        for (axes, [mm2, chord2, allowed]) in found.axes.iter().zip(found.checks) {
            if axes.iter().any(|q| q.is_nan()) {
                continue;
            }
            reached = true;
            let plain = allowed == 1.0 && seed.is_none();
            let turned = if plain {
                *axes
            } else {
                self.choose_turns(axes, seed)
            };
            let misfit = if turned == *axes {
                (mm2, chord2)
            } else {
                self.forward_unchecked(&turned).misfit(pose)
            };
            if verified(misfit.0, misfit.1) {
                branches.push_new(&turned);
            }
        }
        self.at_least_one(branches, reached, &self.chain_pose(pose))
    }

    fn at_least_one(
        &self,
        branches: Branches,
        reached: bool,
        chain: &Rigid,
    ) -> Result<Branches, MotionError> {
        if branches.len > 0 {
            return Ok(branches);
        }
        Err(if reached {
            MotionError::NotReproduced(format!(
                "axis values were found, but none reproduces the pose to {VERIFIED_MM} mm and {VERIFIED_RAD} rad"
            ))
        } else {
            MotionError::Unreachable(self.explain_unreachable(chain))
        })
    }

    fn explain_unreachable(&self, chain: &Rigid) -> String {
        match &self.family {
            Family::Arm(arm) => arm.explain(chain),
            Family::Scara(scara) => scara.explain(chain),
            Family::Pedestal(_) | Family::Hexapod(_) => "the pose has no solution".into(),
        }
    }

    fn explain_singular(&self, joints: impl Iterator<Item = [f64; 6]>) -> String {
        let candidates = joints.filter(|q| q.iter().all(|x| x.is_finite()));
        let worst = candidates
            .map(|q| self.joint_singularity(&q))
            .reduce(Singularity::nearer);
        let name = worst.map_or("axes aligned", |s| s.name);
        format!(
            "{name}: infinitely many axis positions reach this pose; move the target away from it"
        )
    }

    /// The turn of each rotary axis: nearest to the seed, or to zero, among those inside the limits.
    pub(crate) fn choose_turns(&self, axes: &[f64; 6], seed: Option<&[f64; 6]>) -> [f64; 6] {
        let mut chosen = *axes;
        let near = seed.copied().unwrap_or([0.0; 6]);
        let ranges = self.limits.lower.iter().zip(&self.limits.upper);
        let rest = ranges.zip(near).zip(self.gain).zip(self.axis_kinds());
        for (axis, ((((low, high), near), gain), kind)) in chosen.iter_mut().zip(rest) {
            // A scaled rotary axis has turns of another length; it keeps its principal value.
            if kind == AxisKind::Rotary && gain.abs() == 1.0 {
                let principal = wrap_rad(*axis);
                *axis = turn_within(principal, near, *low, *high, ROUND_OFF).unwrap_or(principal);
            }
        }
        chosen
    }

    /// Geometric Jacobian at the table-top origin in the fixed frame: rows x, y, z (mm) then rotation about x, y, z
    /// (radians), columns per mm or radian of the axes.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for numbers that cannot be axis values.
    pub fn jacobian(&self, axes: &[f64; 6]) -> Result<[[f64; 6]; 6], MotionError> {
        self.check_axes(axes)?;
        let q = self.joints(axes);
        let screws = match &self.family {
            Family::Pedestal(chain) => chain.screws(&q),
            Family::Hexapod(chain) => chain.chain().screws(&q),
            Family::Arm(chain) => chain.screws(&q),
            Family::Scara(chain) => chain.screws(&q),
        };
        let origin = self.forward_unchecked(axes).p;
        let mut columns = [[0.0; 6]; 6];
        for ((column, screw), gain) in columns.iter_mut().zip(&screws).zip(&self.gain) {
            let direction = rotate(&self.base.r, &screw.direction);
            let (linear, angular) = match &screw.point {
                None => (direction, [0.0; 3]),
                Some(point) => (
                    cross(&direction, &sub(&origin, &self.base.apply(point))),
                    direction,
                ),
            };
            let [a, b, c] = linear;
            let [d, e, f] = angular;
            *column = [a, b, c, d, e, f].map(|x| x * gain);
        }
        Ok(transpose6(&columns))
    }

    /// The nearest singularity and how close it is.
    #[must_use]
    pub fn singularity(&self, axes: &[f64; 6]) -> Singularity {
        self.joint_singularity(&self.joints(axes))
    }

    fn joint_singularity(&self, q: &[f64; 6]) -> Singularity {
        match &self.family {
            Family::Pedestal(_) => Pedestal::singularity(q),
            Family::Hexapod(chain) => {
                let margin = chain.stiffness(&chain.platform(&chain.forward(q)));
                Pedestal::singularity(q).nearer(Singularity {
                    name: "legs of the platform",
                    margin,
                })
            }
            Family::Arm(chain) => chain.singularity(q),
            Family::Scara(_) => Scara::singularity(q),
        }
    }

    /// Yoshikawa's manipulability |det J| with rotations times `length_mm`, so that all rows are millimetres, and rotary
    /// columns over it: dimensionless, 0 at a singularity. For a hexapod it is that of the map from its outward axes to its
    /// legs, |det| of [`Couch::leg_jacobian`] times |det J|: 0 where the legs do not hold the platform.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for numbers that cannot be axis values or a length that is not positive.
    pub fn manipulability(&self, axes: &[f64; 6], length_mm: f64) -> Result<f64, MotionError> {
        check_length(length_mm)?;
        let kinds = self.axis_kinds();
        let mut rows = self.jacobian(axes)?;
        for (index, row) in rows.iter_mut().enumerate() {
            for (entry, kind) in row.iter_mut().zip(kinds) {
                let row_scale = if index >= 3 { length_mm } else { 1.0 };
                let column_scale = if kind == AxisKind::Rotary {
                    1.0 / length_mm
                } else {
                    1.0
                };
                *entry *= row_scale * column_scale;
            }
        }
        let outward = nalgebra::Matrix6::from(rows).determinant().abs();
        let Some(mut legs) = self.leg_jacobian(axes) else {
            return Ok(outward);
        };
        for entry in legs.iter_mut().flat_map(|row| row.iter_mut().skip(3)) {
            *entry /= length_mm;
        }
        let held = nalgebra::Matrix6::from(legs).determinant().abs();
        // Legs of no length have no direction.
        Ok(if held.is_finite() {
            outward * held
        } else {
            0.0
        })
    }

    /// Change of a hexapod's legs per motion of its table top in the fixed frame, the base couch at rest: a row per leg
    /// (mm), columns per mm along x, y, z and per radian about x, y, z through the table-top origin, as the rows of
    /// [`Couch::jacobian`]. `None` for other families.
    #[must_use]
    pub fn leg_jacobian(&self, axes: &[f64; 6]) -> Option<[[f64; 6]; 6]> {
        let Family::Hexapod(hexapod) = &self.family else {
            return None;
        };
        let chain = hexapod.forward(&self.joints(axes));
        let neutral = self.base.then(&hexapod.on_base(&Rigid::IDENTITY));
        let platform = self.base.then(&chain);
        let top = self.mounted(&chain).p;
        let (base_joints, platform_joints) = hexapod.joints_mm();
        let mut rows = [[0.0; 6]; 6];
        for ((row, base), joint) in rows.iter_mut().zip(&base_joints).zip(&platform_joints) {
            let head = platform.apply(joint);
            let leg = sub(&head, &neutral.apply(base));
            let length = dot(&leg, &leg).sqrt();
            let [x, y, z] = leg.map(|part| part / length);
            let [a, b, c] = cross(&sub(&head, &top), &[x, y, z]);
            *row = [x, y, z, a, b, c];
        }
        Some(rows)
    }

    /// Whether the family has legs: a hexapod.
    pub(crate) fn has_legs(&self) -> bool {
        matches!(self.family, Family::Hexapod(_))
    }

    /// Leg lengths of a hexapod at these axes, with the base couch where it stands; `None` for other families.
    #[must_use]
    pub fn leg_lengths(&self, axes: &[f64; 6]) -> Option<[f64; 6]> {
        let Family::Hexapod(hexapod) = &self.family else {
            return None;
        };
        Some(hexapod.legs(&hexapod.platform(&hexapod.forward(&self.joints(axes)))))
    }

    /// Pose of the table top from the leg lengths of a hexapod, by Newton from `seed` (axes), else from neutral.
    ///
    /// Lengths outside the range of the legs are answered: a couch is where it is. The answer is within half a radian of
    /// neutral and on neutral's side of every singularity of the legs, and stiff enough that lengths reproduced to 1e-9 mm
    /// mean a pose within 1e-6 mm and 1e-9 rad.
    ///
    /// # Errors
    /// [`MotionError::NotConverged`] past the iteration bound, in another assembly or too near a singularity of the legs,
    /// [`MotionError::Geometry`] for a couch
    /// without legs or numbers that cannot be lengths.
    pub fn forward_from_legs(
        &self,
        lengths_mm: &[f64; 6],
        seed: Option<&[f64; 6]>,
    ) -> Result<Pose<Fixed, TableTop>, MotionError> {
        let Family::Hexapod(hexapod) = &self.family else {
            return geometry(format!(
                "a couch of family {} has no legs",
                self.family_name()
            ));
        };
        if let Some(axes) = seed {
            self.check_axes(axes)?;
        }
        let start = seed.map(|axes| hexapod.forward(&self.joints(axes)));
        let chain = hexapod.forward_from_legs(lengths_mm, start.as_ref())?;
        Ok(Pose::of(self.mounted(&chain)))
    }

    /// The same hexapod with its base couch standing elsewhere: lateral, longitudinal, vertical (mm), rotation (radians).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a couch without a base couch, or numbers that cannot be axis values.
    pub fn with_base_axes(mut self, base_axes: [f64; 4]) -> Result<Self, MotionError> {
        let Family::Hexapod(hexapod) = self.family else {
            return geometry(format!(
                "a couch of family {} has no separate base couch",
                self.family_name()
            ));
        };
        self.family = Family::Hexapod(hexapod.with_base_axes(base_axes)?);
        Ok(self)
    }
}

/// Refuses a characteristic length that is not one.
pub(crate) fn check_length(length_mm: f64) -> Result<(), MotionError> {
    if length_mm > 0.0 && length_mm.is_finite() {
        return Ok(());
    }
    geometry(format!(
        "characteristic length {length_mm} mm is not positive"
    ))
}

pub(crate) fn nearest(
    kinds: [AxisKind; 6],
    branches: &[[f64; 6]],
    seed: &[f64; 6],
) -> Option<[f64; 6]> {
    let distance = |axes: &[f64; 6]| {
        let weighed = axes.iter().zip(seed).zip(kinds).map(|((a, s), kind)| {
            let step = if kind == AxisKind::Rotary {
                (a - s) * ARM_MM_PER_RAD
            } else {
                a - s
            };
            step * step
        });
        weighed.sum::<f64>()
    };
    branches
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .copied()
}

#[allow(
    clippy::indexing_slicing,
    reason = "constant bounds of a 6 x 6 transpose"
)]
fn transpose6(columns: &[[f64; 6]; 6]) -> [[f64; 6]; 6] {
    let mut rows = [[0.0; 6]; 6];
    for i in 0..6 {
        for j in 0..6 {
            rows[i][j] = columns[j][i];
        }
    }
    rows
}
