//! A Stewart platform on a base couch, shown to the outside as the six Cartesian couch axes.

use crate::couch::{Solutions, VERIFIED_MM, VERIFIED_RAD};
use crate::error::{MotionError, geometry};
use crate::pedestal::Pedestal;
use crate::rigid::{Mat3, Rigid, Vec3, cross, dot, rotate, sub};

/// Writes the body once per index. A loop would stop the compiler from turning the loop over poses around it into vectors.
macro_rules! unrolled {
    ($i:ident in [$($value:literal)*] $body:block) => {$({
        const $i: usize = $value;
        $body
    })*};
}

/// Newton settles in two or three steps inside the travel of a couch; more than this is a failure, and is said.
pub(crate) const ITERATIONS_MAX: usize = 20;
/// Leg residual at which Newton stops; the next step would change the pose by round-off only.
pub(crate) const SETTLED_MM: f64 = 1e-9;
/// Beyond this tilt from neutral the platform has gone through to another assembly of the same leg lengths.
/// Half a radian, as the square of its chord: 4 sin^2(0.25).
pub(crate) const ASSEMBLY_CHORD2_MAX: f64 = 0.244_834_876_219_254_4;
/// Smallest singular value of the leg Jacobian below which a pose counts as a singularity of the legs: a leg's error of
/// 1 um would be 1 mm of the table top.
pub(crate) const LEGS_SINGULAR: f64 = 1e-3;
/// Multipliers of the elimination above this may have cost the digits that a quick look rests on.
const GROWTH_MAX: f64 = 1e4;

/// Squared chord of the platform's turn from neutral.
#[inline(always)]
pub(crate) fn tilt_chord2(platform: &Rigid) -> f64 {
    platform.misfit(&Rigid::IDENTITY).1
}

/// The six legs at one pose of the platform: joints from its centre, legs as vectors, their lengths; mm.
#[derive(Clone, Copy)]
pub(crate) struct Stance {
    pub arms: [Vec3; 6],
    pub legs: [Vec3; 6],
    pub lengths: [f64; 6],
}

impl Stance {
    /// Largest difference from the lengths asked for, mm.
    #[inline(always)]
    pub(crate) fn residual(&self, lengths: &[f64; 6]) -> f64 {
        let mut worst = 0.0_f64;
        unrolled!(LEG in [0 1 2 3 4 5] {
            let size = (lengths[LEG] - self.lengths[LEG]).abs();
            // A comparison that keeps not-a-number: `max` would drop it and call a broken pose settled.
            worst = if size <= worst { worst } else { size };
        });
        worst
    }
}

/// How the legs hold the platform at one pose, from an elimination without pivoting in an order that suits neutral.
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    /// Determinant of the legs over that at neutral: negative beyond a singularity, in another assembly.
    side: f64,
    /// Squared Frobenius norm of the inverse of the leg Jacobian; the smallest singular value is at least 1 / sqrt(give2).
    give2: f64,
    /// Largest multiplier of the elimination.
    growth: f64,
}

impl Hold {
    /// Whether the pose is certainly in neutral's assembly with every singular value at least `stiffness`; false for not a
    /// number. Where it is false, [`Hexapod::assembly_refusal`] decides.
    #[inline(always)]
    pub(crate) fn is_clear(&self, stiffness: f64) -> bool {
        (self.side > 0.0)
            & (self.give2 * (stiffness * stiffness) <= 1.0)
            & (self.growth <= GROWTH_MAX)
    }
}

/// Six legs between a base couch (lateral, longitudinal, vertical, rotation) and the table top.
///
/// Joints are given in the table-top frame with the platform at neutral, where the base couch's axes and the outward
/// axes are equal. The platform's own motion P is relative to neutral: M = B . P, with B the pose of the base couch, and
/// leg i is |P . platform_i - base_i|.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hexapod {
    base_joints: [Vec3; 6],
    platform_joints: [Vec3; 6],
    leg_limits: (f64, f64),
    base_axes: [f64; 4],
    base: Rigid,
    base_inverse: Rigid,
    /// Mean radius of the platform joints, mm: makes the rotary unknowns of Newton comparable with the linear ones.
    radius: f64,
    /// Leg lengths at neutral, and the inverse of the leg Jacobian there: Newton's first step without its work.
    neutral_legs: [f64; 6],
    neutral_inverse: [[f64; 6]; 6],
    /// The legs (base, platform joint) in an order in which eliminating them at neutral needs no pivoting, and
    /// 1 / determinant there.
    ordered: [(Vec3, Vec3); 6],
    neutral_side: f64,
    chain: Pedestal,
}

impl Hexapod {
    /// From the joints (mm, table-top frame at neutral), the shortest and longest leg (mm), the base couch, and where it
    /// stands: lateral, longitudinal, vertical in mm and rotation in radians.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] if a number is not finite, legs are outside their range at neutral, or the platform is
    /// singular at neutral (for instance similar hexagons over each other).
    #[allow(
        clippy::indexing_slicing,
        reason = "an order of six by partial pivoting"
    )]
    pub fn new(
        base_joints: [[f64; 3]; 6],
        platform_joints: [[f64; 3]; 6],
        leg_limits: (f64, f64),
        chain: Pedestal,
        base_axes: [f64; 4],
    ) -> Result<Self, MotionError> {
        if !base_joints
            .iter()
            .chain(&platform_joints)
            .flatten()
            .all(|x| x.abs() <= 1.0e4)
        {
            return geometry(
                "joints of a hexapod are finite and within 10 m of the table-top origin",
            );
        }
        if !(leg_limits.0 > 0.0 && leg_limits.0 < leg_limits.1 && leg_limits.1.is_finite()) {
            return geometry(format!(
                "leg limits {leg_limits:?} mm are not a positive range"
            ));
        }
        let radius = platform_joints
            .iter()
            .map(|j| (j[0] * j[0] + j[1] * j[1]).sqrt())
            .sum::<f64>()
            / 6.0;
        let unset = Rigid::IDENTITY;
        let mut hexapod = Self {
            base_joints,
            platform_joints,
            leg_limits,
            base_axes: [0.0; 4],
            base: unset,
            base_inverse: unset,
            radius,
            neutral_legs: [0.0; 6],
            neutral_inverse: [[0.0; 6]; 6],
            ordered: [([0.0; 3], [0.0; 3]); 6],
            neutral_side: 1.0,
            chain,
        };
        hexapod.neutral_legs = hexapod.legs(&Rigid::IDENTITY);
        for (index, length) in hexapod.neutral_legs.iter().enumerate() {
            if !(leg_limits.0..=leg_limits.1).contains(length) {
                let (low, high) = leg_limits;
                return geometry(format!(
                    "leg {} is {length:.2} mm at neutral, outside {low} to {high} mm",
                    index + 1
                ));
            }
        }
        let inverse = hexapod.leg_jacobian(&Rigid::IDENTITY).try_inverse();
        match inverse {
            Some(inverse) if hexapod.stiffness(&Rigid::IDENTITY) > LEGS_SINGULAR => {
                hexapod.neutral_inverse = inverse.transpose().into();
                hexapod.ordered = pivot_order(hexapod.leg_jacobian(&Rigid::IDENTITY))
                    .map(|leg| (base_joints[leg], platform_joints[leg]));
                hexapod.neutral_side = 1.0 / hexapod.hold(&Rigid::IDENTITY).side;
            }
            _ => {
                return geometry(
                    "the platform is singular at neutral: the legs do not hold it; check the joint table",
                );
            }
        }
        hexapod.with_base_axes(base_axes)
    }

    /// The same platform with the base couch standing elsewhere (mm, radians).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] if an axis is not finite or absurdly large.
    pub fn with_base_axes(mut self, base_axes: [f64; 4]) -> Result<Self, MotionError> {
        let [x, y, z, rotation] = base_axes;
        if !base_axes
            .iter()
            .all(|a| a.abs() <= crate::pose::SCALE_MAX_MM)
        {
            return geometry(format!(
                "base couch axes {base_axes:?} are not finite or absurdly large"
            ));
        }
        self.base_axes = base_axes;
        self.base = self.chain.forward(&[x, y, z, rotation, 0.0, 0.0]);
        self.base_inverse = self.base.inverse();
        Ok(self)
    }

    /// Where the base couch stands: lateral, longitudinal, vertical (mm), rotation (radians).
    #[must_use]
    pub fn base_axes(&self) -> [f64; 4] {
        self.base_axes
    }

    /// Shortest and longest leg, mm.
    #[must_use]
    pub fn leg_limits_mm(&self) -> (f64, f64) {
        self.leg_limits
    }

    /// Base and platform joints, mm, in the table-top frame at neutral.
    #[must_use]
    pub fn joints_mm(&self) -> ([[f64; 3]; 6], [[f64; 3]; 6]) {
        (self.base_joints, self.platform_joints)
    }

    /// The base couch's chain.
    #[must_use]
    pub fn chain(&self) -> Pedestal {
        self.chain
    }

    #[inline(always)]
    pub(crate) fn platform(&self, m: &Rigid) -> Rigid {
        self.base_inverse.then(m)
    }

    #[inline(always)]
    pub(crate) fn forward(&self, q: &[f64; 6]) -> Rigid {
        self.chain.forward(q)
    }

    pub(crate) fn solutions(&self, m: &Rigid) -> Solutions {
        self.chain.solutions(m)
    }

    /// Leg lengths at a pose of the platform relative to neutral, mm.
    #[inline(always)]
    pub(crate) fn legs(&self, platform: &Rigid) -> [f64; 6] {
        let mut lengths = [0.0; 6];
        unrolled!(LEG in [0 1 2 3 4 5] {
            let leg = sub(&platform.apply(&self.platform_joints[LEG]), &self.base_joints[LEG]);
            lengths[LEG] = dot(&leg, &leg).sqrt();
        });
        lengths
    }

    /// Where the legs are with the platform at a pose relative to neutral, for a test and a step.
    #[inline(always)]
    pub(crate) fn stance(&self, platform: &Rigid) -> Stance {
        let mut stance = Stance {
            arms: [[0.0; 3]; 6],
            legs: [[0.0; 3]; 6],
            lengths: [0.0; 6],
        };
        unrolled!(LEG in [0 1 2 3 4 5] {
            let arm = rotate(&platform.r, &self.platform_joints[LEG]);
            let leg = sub(&[platform.p[0] + arm[0], platform.p[1] + arm[1], platform.p[2] + arm[2]], &self.base_joints[LEG]);
            stance.arms[LEG] = arm;
            stance.legs[LEG] = leg;
            stance.lengths[LEG] = dot(&leg, &leg).sqrt();
        });
        stance
    }

    /// One Newton step from `platform`, whose legs stand as in `stance`, towards the leg lengths.
    ///
    /// Normal equations with LDL^T, without branches, so that a loop over poses vectorises; Newton corrects what the
    /// squared condition number costs. Cayley's map keeps the rotation orthogonal to round-off.
    #[inline(always)]
    pub(crate) fn step(&self, platform: &Rigid, stance: &Stance, lengths: &[f64; 6]) -> Rigid {
        let unit = 1.0 / self.radius;
        let mut rows = [[0.0_f64; 7]; 6];
        unrolled!(LEG in [0 1 2 3 4 5] {
            let v = stance.legs[LEG];
            let scale = 1.0 / stance.lengths[LEG];
            let u = [v[0] * scale, v[1] * scale, v[2] * scale];
            let turn = cross(&stance.arms[LEG], &u);
            rows[LEG] = [
                u[0], u[1], u[2], turn[0] * unit, turn[1] * unit, turn[2] * unit,
                lengths[LEG] - stance.lengths[LEG],
            ];
        });
        self.moved(platform, &solve_normal(&rows))
    }

    /// A first guess from neutral: two steps with the inverse of the Jacobian there, which is known beforehand. The
    /// second costs a fifth of a Newton step and saves one.
    #[inline(always)]
    pub(crate) fn first_guess(&self, lengths: &[f64; 6]) -> Rigid {
        let near = self.neutral_step(&Rigid::IDENTITY, &self.neutral_legs, lengths);
        self.neutral_step(&near, &self.legs(&near), lengths)
    }

    #[inline(always)]
    fn neutral_step(&self, platform: &Rigid, have: &[f64; 6], lengths: &[f64; 6]) -> Rigid {
        let mut x = [0.0_f64; 6];
        unrolled!(LEG in [0 1 2 3 4 5] {
            let change = lengths[LEG] - have[LEG];
            unrolled!(I in [0 1 2 3 4 5] {
                x[I] += self.neutral_inverse[I][LEG] * change;
            });
        });
        self.moved(platform, &x)
    }

    /// A pose moved by a solution of Newton: x, y, z in mm, then rotations times the platform radius.
    #[inline(always)]
    fn moved(&self, platform: &Rigid, x: &[f64; 6]) -> Rigid {
        let half = 0.5 / self.radius;
        Rigid {
            r: cayley(&platform.r, [x[3] * half, x[4] * half, x[5] * half]),
            p: [
                platform.p[0] + x[0],
                platform.p[1] + x[1],
                platform.p[2] + x[2],
            ],
        }
    }

    /// Pose of the platform relative to neutral from leg lengths, by Newton from `start`, else from neutral.
    fn settle(&self, lengths: &[f64; 6], start: Option<&Rigid>) -> Result<Rigid, MotionError> {
        let mut platform = start.copied().unwrap_or_else(|| self.first_guess(lengths));
        let mut stance = self.stance(&platform);
        for _ in 0..ITERATIONS_MAX {
            if stance.residual(lengths) < SETTLED_MM {
                return self.check_assembly(&platform).map(|()| platform);
            }
            platform = self.step(&platform, &stance, lengths);
            stance = self.stance(&platform);
        }
        let worst = stance.residual(lengths);
        if worst < SETTLED_MM {
            return self.check_assembly(&platform).map(|()| platform);
        }
        Err(MotionError::NotConverged(format!(
            "hexapod forward from legs {lengths:.3?} mm still has {worst:.3e} mm after {ITERATIONS_MAX} Newton steps; \
             the lengths may fit no pose: check the leg encoders and the joint table"
        )))
    }

    /// The pose of the chain's end with the platform at a pose relative to neutral.
    #[inline(always)]
    pub(crate) fn on_base(&self, platform: &Rigid) -> Rigid {
        self.base.then(platform)
    }

    /// The least singular value of the leg Jacobian at which legs known to [`SETTLED_MM`] give the pose within 1e-6 mm and
    /// 1e-9 rad.
    #[inline(always)]
    pub(crate) fn stiffness_needed(&self) -> f64 {
        let allowed = VERIFIED_MM.min(VERIFIED_RAD * self.radius);
        // Six legs, each off by as much.
        2.449_489_742_783_178 * SETTLED_MM / allowed
    }

    /// How the legs hold the platform at a pose relative to neutral. No branches, so that a loop over poses vectorises.
    #[inline(always)]
    #[allow(
        clippy::absurd_extreme_comparisons,
        clippy::indexing_slicing,
        reason = "indices of unrolled triangles"
    )]
    pub(crate) fn hold(&self, platform: &Rigid) -> Hold {
        let unit = 1.0 / self.radius;
        let mut rows = [[0.0_f64; 6]; 6];
        let mut squares = [0.0_f64; 6];
        unrolled!(ROW in [0 1 2 3 4 5] {
            let (base, joint) = &self.ordered[ROW];
            let arm = rotate(&platform.r, joint);
            let v = sub(&[platform.p[0] + arm[0], platform.p[1] + arm[1], platform.p[2] + arm[2]], base);
            let turn = cross(&arm, &v);
            squares[ROW] = dot(&v, &v);
            rows[ROW] = [v[0], v[1], v[2], turn[0] * unit, turn[1] * unit, turn[2] * unit];
        });
        let mut inverse = [0.0_f64; 6];
        let (mut side, mut growth) = (self.neutral_side, 0.0_f64);
        unrolled!(C in [0 1 2 3 4 5] {
            inverse[C] = 1.0 / rows[C][C];
            side *= rows[C][C];
            unrolled!(I in [1 2 3 4 5] {
                if I > C {
                    let factor = rows[I][C] * inverse[C];
                    growth = if factor.abs() <= growth { growth } else { factor.abs() };
                    rows[I][C] = factor;
                    unrolled!(J in [1 2 3 4 5] {
                        if J > C {
                            rows[I][J] -= factor * rows[C][J];
                        }
                    });
                }
            });
        });
        // Columns of the inverse one by one; a leg's length scales its column, since the rows above were not scaled.
        let mut give2 = 0.0;
        unrolled!(COLUMN in [0 1 2 3 4 5] {
            let mut x = [0.0_f64; 6];
            x[COLUMN] = 1.0;
            unrolled!(I in [1 2 3 4 5] {
                unrolled!(J in [0 1 2 3 4] {
                    if I > COLUMN && J >= COLUMN && J < I {
                        x[I] -= rows[I][J] * x[J];
                    }
                });
            });
            unrolled!(I in [5 4 3 2 1 0] {
                unrolled!(J in [1 2 3 4 5] {
                    if J > I {
                        x[I] -= rows[I][J] * x[J];
                    }
                });
                x[I] *= inverse[I];
            });
            let square = (x[0] * x[0] + x[1] * x[1]) + (x[2] * x[2] + x[3] * x[3]) + (x[4] * x[4] + x[5] * x[5]);
            give2 += square * squares[COLUMN];
        });
        Hold {
            side,
            give2,
            growth,
        }
    }

    /// Why a pose relative to neutral is not held by the legs as at neutral, to this stiffness; `None` where it is.
    pub(crate) fn assembly_refusal(&self, platform: &Rigid, stiffness: f64) -> Option<String> {
        if self.hold(platform).is_clear(stiffness) {
            return None;
        }
        let (here, neutral) = (
            self.leg_jacobian(platform).determinant(),
            self.leg_jacobian(&Rigid::IDENTITY).determinant(),
        );
        if !(here * neutral > 0.0) {
            return Some(
                "the platform would stand beyond a singularity of its legs, in another assembly of the same lengths"
                    .into(),
            );
        }
        let found = self.stiffness(platform);
        (!(found >= stiffness)).then(|| {
            format!(
                "the legs of the platform are within {found:.2e} of a singularity; {stiffness:.2e} is needed"
            )
        })
    }

    pub(crate) fn check_assembly(&self, platform: &Rigid) -> Result<(), MotionError> {
        if tilt_chord2(platform) > ASSEMBLY_CHORD2_MAX {
            let (_, tilt) = platform.deviation(&Rigid::IDENTITY);
            let degrees = tilt.to_degrees();
            return Err(MotionError::NotConverged(format!(
                "hexapod forward settled {degrees:.1} degrees from neutral, in another assembly of the same legs; \
                 give a start nearer to the platform's pose"
            )));
        }
        match self.assembly_refusal(platform, self.stiffness_needed()) {
            None => Ok(()),
            Some(why) => Err(MotionError::NotConverged(format!(
                "hexapod forward settled where {why}; give a start nearer to the platform's pose, or none"
            ))),
        }
    }

    /// Forward from measured leg lengths; the start is a guess of the platform's pose in the chain's frame, else neutral.
    pub(crate) fn forward_from_legs(
        &self,
        lengths: &[f64; 6],
        start: Option<&Rigid>,
    ) -> Result<Rigid, MotionError> {
        if !lengths.iter().all(|l| *l > 0.0 && l.is_finite()) {
            return geometry(format!(
                "leg lengths {lengths:?} mm are not all positive and finite"
            ));
        }
        let start = start.map(|m| self.platform(m));
        let platform = self.settle(lengths, start.as_ref())?;
        Ok(self.on_base(&platform))
    }

    /// Change of the legs per motion of the platform: columns x, y, z (mm), then rotations times the platform radius.
    fn leg_jacobian(&self, platform: &Rigid) -> nalgebra::Matrix6<f64> {
        let rows = self
            .base_joints
            .iter()
            .zip(&self.platform_joints)
            .map(|(base, joint)| {
                let arm = rotate(&platform.r, joint);
                let v = sub(
                    &[
                        platform.p[0] + arm[0],
                        platform.p[1] + arm[1],
                        platform.p[2] + arm[2],
                    ],
                    base,
                );
                let length = dot(&v, &v).sqrt();
                let u = [v[0] / length, v[1] / length, v[2] / length];
                let t = cross(&arm, &u);
                nalgebra::RowVector6::new(
                    u[0],
                    u[1],
                    u[2],
                    t[0] / self.radius,
                    t[1] / self.radius,
                    t[2] / self.radius,
                )
            });
        nalgebra::Matrix6::from_rows(&rows.collect::<Vec<_>>())
    }

    /// Smallest singular value of the leg Jacobian, 0 where a direction is free.
    pub(crate) fn stiffness(&self, platform: &Rigid) -> f64 {
        let jacobian = self.leg_jacobian(platform);
        if jacobian.iter().all(|x| x.is_finite()) {
            jacobian.singular_values().min()
        } else {
            0.0
        }
    }

    /// Whether every leg is within its range at a pose of the chain's end, round-off allowed; as [`Hexapod::leg_violation`].
    #[inline(always)]
    pub(crate) fn legs_within_limits(&self, m: &Rigid) -> bool {
        let (low, high) = self.leg_limits;
        let lengths = self.legs(&self.platform(m));
        let mut within = true;
        unrolled!(LEG in [0 1 2 3 4 5] {
            let beyond = if lengths[LEG] < low { low - lengths[LEG] } else { lengths[LEG] - high };
            within &= !(beyond > crate::limits::ROUND_OFF);
        });
        within
    }

    pub(crate) fn leg_violation(&self, m: &Rigid) -> Option<String> {
        let (low, high) = self.leg_limits;
        let lengths = self.legs(&self.platform(m));
        lengths.iter().enumerate().find_map(|(index, length)| {
            let (end, name) = if *length < low {
                (low, "shortest")
            } else {
                (high, "longest")
            };
            let beyond = if *length < low {
                low - length
            } else {
                length - high
            };
            (beyond > crate::limits::ROUND_OFF).then(|| {
                format!(
                    "leg {} would be {length:.2} mm, {beyond:.2} mm past its {name} {end:.2} mm",
                    index + 1
                )
            })
        })
    }
}

/// The order in which partial pivoting takes the rows of a matrix.
#[allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "constant bounds of a 6 x 6 elimination, once per machine"
)]
fn pivot_order(mut matrix: nalgebra::Matrix6<f64>) -> [usize; 6] {
    let mut order = [0, 1, 2, 3, 4, 5];
    for column in 0..6 {
        let mut best = column;
        for row in column..6 {
            if matrix[(row, column)].abs() > matrix[(best, column)].abs() {
                best = row;
            }
        }
        matrix.swap_rows(column, best);
        order.swap(column, best);
        for row in column + 1..6 {
            let factor = matrix[(row, column)] / matrix[(column, column)];
            for k in column..6 {
                matrix[(row, k)] -= factor * matrix[(column, k)];
            }
        }
    }
    order
}

/// Least squares of six rows (coefficients and right-hand side) by the normal equations and LDL^T.
#[inline(always)]
#[allow(
    clippy::absurd_extreme_comparisons,
    reason = "the first and last index of an unrolled triangle"
)]
fn solve_normal(rows: &[[f64; 7]; 6]) -> [f64; 6] {
    let mut g = [[0.0_f64; 7]; 6];
    unrolled!(I in [0 1 2 3 4 5] {
        unrolled!(J in [0 1 2 3 4 5 6] {
            if J >= I {
                g[I][J] = (rows[0][I] * rows[0][J] + rows[1][I] * rows[1][J])
                    + (rows[2][I] * rows[2][J] + rows[3][I] * rows[3][J])
                    + (rows[4][I] * rows[4][J] + rows[5][I] * rows[5][J]);
            }
        });
    });
    let mut pivot = [0.0; 6];
    unrolled!(C in [0 1 2 3 4 5] {
        pivot[C] = 1.0 / g[C][C];
        unrolled!(I in [1 2 3 4 5] {
            if I > C {
                let factor = g[C][I] * pivot[C];
                unrolled!(J in [1 2 3 4 5 6] {
                    if J >= I {
                        g[I][J] -= factor * g[C][J];
                    }
                });
            }
        });
    });
    let mut x = [0.0; 6];
    unrolled!(I in [5 4 3 2 1 0] {
        let mut sum = g[I][6];
        unrolled!(J in [1 2 3 4 5] {
            if J > I {
                sum -= g[I][J] * x[J];
            }
        });
        x[I] = sum * pivot[I];
    });
    x
}

/// Cayley rotation of the rows' frame: R <- cay(y) R with y half the small rotation vector; exactly orthogonal.
#[inline(always)]
fn cayley(r: &Mat3, y: Vec3) -> Mat3 {
    let s = 2.0 / (1.0 + dot(&y, &y));
    let turned = |column: Vec3| {
        let t = cross(&y, &column);
        let t2 = cross(&y, &t);
        [
            column[0] + s * (t[0] + t2[0]),
            column[1] + s * (t[1] + t2[1]),
            column[2] + s * (t[2] + t2[2]),
        ]
    };
    let a = turned([r[0][0], r[1][0], r[2][0]]);
    let b = turned([r[0][1], r[1][1], r[2][1]]);
    let c = turned([r[0][2], r[1][2], r[2][2]]);
    [[a[0], b[0], c[0]], [a[1], b[1], c[1]], [a[2], b[2], c[2]]]
}
