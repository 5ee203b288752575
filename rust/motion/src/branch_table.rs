//! The inverse of many poses at once, every branch or the nearest, with the results of single calls.
//!
//! The closed form, the check against the pose and the limits run in vectors; what is left to a scalar look is a branch
//! that may be meant by another turn, and a row that no branch solves.

use crate::arm::Arm;
use crate::batch::{Chain, Matrix, Outcome, flat, solid};
use crate::couch::{AxisKind, Branches, Couch, Family, NO_TURN, SINGULAR, nearest, verified};
use crate::error::MotionError;
use crate::frame::{Fixed, TableTop};
use crate::pedestal::Pedestal;
use crate::pose::Pose;
use crate::rigid::Rigid;
use crate::scara::Scara;
use crate::vector::{Block, Kernel, LANES, VectorUnit, pick, run};

/// Out of reach: not a number.
const ABSENT: f64 = 0.0;
/// Reproduces the pose, principal, and within the limits: kept as it is.
const PLAIN: f64 = 1.0;
/// Reproduces the pose, but no turn of its axes is within the limits.
const OUTSIDE: f64 = 2.0;
/// Anything else: a turn to choose, a limit within round-off, a pose missed.
const OPEN: f64 = 3.0;

/// Rows of one branch in a table of solutions: six axes and the state.
const BRANCH_ROWS: usize = 7;

impl Couch {
    /// How many axis sets may reach one pose: 2, 2, 8, 4 for pedestal, hexapod, arm, scara.
    #[must_use]
    pub fn branches_max(&self) -> usize {
        match self.family() {
            Family::Pedestal(_) | Family::Hexapod(_) => 2,
            Family::Arm(_) => 8,
            Family::Scara(_) => 4,
        }
    }

    #[inline(always)]
    fn branch_state<C: Chain>(&self, chain: &C, axes: &[f64; 6], pose: &Rigid) -> f64 {
        let end = chain.chain_forward(&self.joints(axes));
        let (mm2, chord2) = self.mounted(&end).misfit(pose);
        self.state_of(
            axes,
            verified(mm2, chord2),
            chain.allows(&end),
            chain.holds(&end),
        )
    }

    /// The state of axes that are `right` (reproduce the pose), `allowed` and `held` by what the axes do not show.
    #[inline(always)]
    fn state_of(&self, axes: &[f64; 6], right: bool, allowed: bool, held: bool) -> f64 {
        let [a, b, c, d, e, f] = axes;
        let sum = (a + b + c) + (d + e + f);
        let finite = sum * 0.0 == 0.0;
        let plain = self.plainly_allowed(axes);
        let outside = self.plainly_outside(axes) | (plain & !allowed);
        let state = if finite { OPEN } else { ABSENT };
        let state = if right & outside { OUTSIDE } else { state };
        if right & plain & allowed & held {
            PLAIN
        } else {
            state
        }
    }
}

/// The one branch of a pedestal or hexapod whose pitch cannot pass 90 degrees.
struct SolveUpright<'a, C> {
    couch: &'a Couch,
    base: Pedestal,
    chain: &'a C,
}

impl<C: Chain> Kernel<12, 8> for SolveUpright<'_, C> {
    #[inline(always)]
    fn lane(&self, pose: [f64; 12]) -> [f64; 8] {
        let pose = solid(pose);
        let ([joints, _], singular) = self.base.solve(&self.couch.chain_pose(&pose));
        let axes = self.couch.axes(&joints);
        let state = self.couch.branch_state(self.chain, &axes, &pose);
        let [a, b, c, d, e, f] = axes;
        [a, b, c, d, e, f, state, singular]
    }
}

/// Both elbows of a SCARA arm whose pitch cannot pass 90 degrees.
struct SolveScara<'a> {
    couch: &'a Couch,
    chain: &'a Scara,
}

impl Kernel<12, 15> for SolveScara<'_> {
    #[inline(always)]
    fn lane(&self, pose: [f64; 12]) -> [f64; 15] {
        let pose = solid(pose);
        let ([left, right, ..], singular) = self.chain.solve(&self.couch.chain_pose(&pose));
        let (left, right) = (self.couch.axes(&left), self.couch.axes(&right));
        let [a, b, c, d, e, f] = left;
        let [g, h, i, j, k, l] = right;
        let first = self.couch.branch_state(self.chain, &left, &pose);
        let second = self.couch.branch_state(self.chain, &right, &pose);
        [a, b, c, d, e, f, first, g, h, i, j, k, l, second, singular]
    }
}

/// Four branches of an arm: both elbows and both flips of the wrist for one sign of the shoulder.
struct SolveShoulder<'a> {
    couch: &'a Couch,
    arm: &'a Arm,
    sign: f64,
}

impl SolveShoulder<'_> {
    /// Both flips of one wrist as axes, each with its state; one check against the pose for both (see [`SolvePosture`]).
    #[inline(always)]
    fn pair(
        &self,
        first: &[f64; 6],
        second: &[f64; 6],
        pose: &Rigid,
    ) -> ([f64; 6], f64, [f64; 6], f64) {
        let (first, second) = (self.couch.axes(first), self.couch.axes(second));
        let end = self.arm.forward(&self.couch.joints(&first));
        let (mm2, chord2) = self.couch.mounted(&end).misfit(pose);
        let right = verified(mm2, chord2);
        let states = [
            self.couch.state_of(&first, right, true, true),
            self.couch.state_of(&second, right, true, true),
        ];
        (first, states[0], second, states[1])
    }
}

impl Kernel<12, 29> for SolveShoulder<'_> {
    #[inline(always)]
    fn lane(&self, pose: [f64; 12]) -> [f64; 29] {
        let pose = solid(pose);
        let chain = self.couch.chain_pose(&pose);
        let at = self.arm.shoulder(&chain, self.sign);
        let ([a, b], up) = self.arm.wrists(&chain, &at, 1.0);
        let ([c, d], down) = self.arm.wrists(&chain, &at, -1.0);
        let ([a0, a1, a2, a3, a4, a5], a6, [b0, b1, b2, b3, b4, b5], b6) = self.pair(&a, &b, &pose);
        let ([c0, c1, c2, c3, c4, c5], c6, [d0, d1, d2, d3, d4, d5], d6) = self.pair(&c, &d, &pose);
        [
            a0,
            a1,
            a2,
            a3,
            a4,
            a5,
            a6,
            b0,
            b1,
            b2,
            b3,
            b4,
            b5,
            b6,
            c0,
            c1,
            c2,
            c3,
            c4,
            c5,
            c6,
            d0,
            d1,
            d2,
            d3,
            d4,
            d5,
            d6,
            up.min(down),
        ]
    }
}

/// The pose part of homogeneous matrices brought onto the nearest rotation, and how wrong they were.
struct Rigidity;

impl Kernel<12, 15> for Rigidity {
    #[inline(always)]
    fn lane(&self, input: [f64; 12]) -> [f64; 15] {
        let Rigid { r, p } = solid(input);
        let error = crate::pose::rigidity_error(&r);
        let determinant = crate::pose::determinant(&r);
        let length = crate::pose::length(&p);
        let r = crate::pose::nearest_rotation(&r);
        let [a, b, c, d, e, f, g, h, i, x, y, z] = flat(&Rigid { r, p });
        [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i,
            x,
            y,
            z,
            error,
            determinant,
            length,
        ]
    }
}

/// Poses of a block on the nearest rotation, with what the checks of [`Pose::from_matrix`] need.
struct RigidBlock {
    poses: Block<12>,
    checks: Block<3>,
}

impl RigidBlock {
    #[allow(clippy::indexing_slicing, reason = "constant bounds")]
    fn of(unit: VectorUnit, matrices: &[Matrix]) -> Self {
        let mut input = [[0.0; LANES]; 12];
        for (lane, rows) in matrices.iter().enumerate() {
            let [[a, b, c, x], [d, e, f, y], [g, h, i, z], _] = *rows;
            for (row, value) in input.iter_mut().zip([a, b, c, d, e, f, g, h, i, x, y, z]) {
                if let Some(slot) = row.get_mut(lane) {
                    *slot = value;
                }
            }
        }
        let mut output = [[0.0; LANES]; 15];
        run(unit, &Rigidity, &input, &mut output);
        let mut block = Self {
            poses: [[0.0; LANES]; 12],
            checks: [[0.0; LANES]; 3],
        };
        block.poses.copy_from_slice(&output[..12]);
        block.checks.copy_from_slice(&output[12..]);
        block
    }

    /// Whether [`Pose::from_matrix`] takes the matrix; where it does, its numbers are in `poses`.
    #[inline]
    fn good(&self, lane: usize, rows: &Matrix) -> bool {
        let [error, determinant, length] = pick(&self.checks, lane);
        let [.., last] = rows;
        error <= crate::pose::RIGIDITY_TOLERANCE
            && determinant >= 0.0
            && length <= crate::pose::SCALE_MAX_MM
            && *last == [0.0, 0.0, 0.0, 1.0]
    }
}

/// What the closed forms found over a block of poses.
struct Solved<'a> {
    tables: &'a [&'a [[f64; LANES]]],
    /// Whether the tables hold every branch, those that no limits of this couch allow included.
    complete: bool,
}

/// Every branch of many poses, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BranchTable {
    /// Axis sets per row, [`Couch::branches_max`].
    pub width: usize,
    /// `width` axis sets per row, mm and radians; not a number beyond the count.
    pub axes: Vec<[f64; 6]>,
    /// How many axis sets of the row are valid.
    pub counts: Vec<u8>,
    /// Why there are none.
    pub outcomes: Vec<Outcome>,
}

/// The nearest branch of many poses, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NearestTable {
    /// Axes, mm and radians; not a number in a refused row.
    pub axes: Vec<[f64; 6]>,
    /// What became of the row.
    pub outcomes: Vec<Outcome>,
}

impl BranchTable {
    fn with_capacity(width: usize, rows: usize) -> Self {
        Self {
            width,
            axes: Vec::with_capacity(rows * width),
            counts: Vec::with_capacity(rows),
            outcomes: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, found: &[[f64; 6]], outcome: Outcome) {
        let end = self.axes.len() + self.width;
        let found = found.get(..self.width).unwrap_or(found);
        self.axes.extend_from_slice(found);
        self.axes.resize(end, [f64::NAN; 6]);
        self.counts.push(u8::try_from(found.len()).unwrap_or(0));
        self.outcomes.push(outcome);
    }

    /// The axis sets of each row, invalid ones left out.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [[f64; 6]]> {
        let rows = self.axes.chunks_mut(self.width.max(1));
        rows.zip(&self.counts)
            .filter_map(|(row, count)| row.get_mut(..usize::from(*count)))
    }
}

impl Couch {
    /// [`Couch::inverse_nearest`] for many matrices and one seed; the same results. Rows without one are not a number.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a seed that cannot be axis values; a row's own refusal is its [`Outcome`].
    pub fn inverse_nearest_batch(
        &self,
        poses: &[Matrix],
        seed: &[f64; 6],
    ) -> Result<NearestTable, MotionError> {
        self.inverse_nearest_batch_on(VectorUnit::best(), poses, seed)
    }

    pub(crate) fn inverse_nearest_batch_on(
        &self,
        unit: VectorUnit,
        poses: &[Matrix],
        seed: &[f64; 6],
    ) -> Result<NearestTable, MotionError> {
        self.check_axes(seed)?;
        let kinds = self.axis_kinds();
        let mut table = NearestTable {
            axes: Vec::with_capacity(poses.len()),
            outcomes: Vec::with_capacity(poses.len()),
        };
        self.each_solved(unit, poses, Some(seed), |found| {
            let (axes, outcome) = match found {
                Ok([axes]) => (Some(*axes), Outcome::Ok),
                Ok(several) => (nearest(kinds, several, seed), Outcome::Ok),
                Err(outcome) => (None, outcome),
            };
            table.axes.push(axes.unwrap_or([f64::NAN; 6]));
            table.outcomes.push(outcome);
        });
        Ok(table)
    }

    /// [`Couch::inverse`] for many matrices; the same results.
    #[must_use]
    pub fn inverse_batch(&self, poses: &[Matrix]) -> BranchTable {
        self.inverse_batch_on(VectorUnit::best(), poses)
    }

    pub(crate) fn inverse_batch_on(&self, unit: VectorUnit, poses: &[Matrix]) -> BranchTable {
        let mut table = BranchTable::with_capacity(self.branches_max(), poses.len());
        self.each_solved(unit, poses, None, |found| match found {
            Ok(branches) => table.push(branches, Outcome::Ok),
            Err(outcome) => table.push(&[], outcome),
        });
        table
    }

    /// Gives `take` the branches within the limits of one pose after the other, or why there are none.
    fn each_solved(
        &self,
        unit: VectorUnit,
        poses: &[Matrix],
        seed: Option<&[f64; 6]>,
        mut take: impl FnMut(Result<&[[f64; 6]], Outcome>),
    ) {
        let mut kept = Branches::default();
        let mut one = [[0.0; LANES]; 8];
        let mut two = [[0.0; LANES]; 15];
        let mut four = [[[0.0; LANES]; 29]; 2];
        for block in poses.chunks(LANES) {
            let rigid = RigidBlock::of(unit, block);
            let [front, back] = &mut four;
            let tables: [&[[f64; LANES]]; 2] = match self.family() {
                Family::Pedestal(chain) if self.is_upright() => {
                    let kernel = SolveUpright {
                        couch: self,
                        base: *chain,
                        chain,
                    };
                    run(unit, &kernel, &rigid.poses, &mut one);
                    [&one, &[]]
                }
                Family::Hexapod(chain) if self.is_upright() => {
                    let kernel = SolveUpright {
                        couch: self,
                        base: chain.chain(),
                        chain,
                    };
                    run(unit, &kernel, &rigid.poses, &mut one);
                    [&one, &[]]
                }
                Family::Scara(chain) if self.is_upright() => {
                    let kernel = SolveScara { couch: self, chain };
                    run(unit, &kernel, &rigid.poses, &mut two);
                    [&two, &[]]
                }
                Family::Arm(arm) => {
                    for (sign, table) in [(1.0, &mut *front), (-1.0, &mut *back)] {
                        let kernel = SolveShoulder {
                            couch: self,
                            arm,
                            sign,
                        };
                        run(unit, &kernel, &rigid.poses, table);
                    }
                    [&*front, &*back]
                }
                _ => [&[], &[]],
            };
            let solved = Solved {
                tables: &tables,
                complete: matches!(self.family(), Family::Arm(_)),
            };
            for (lane, rows) in block.iter().enumerate() {
                let known = if rigid.good(lane, rows) {
                    self.gather(lane, &solved, &rigid.poses, seed, &mut kept)
                } else {
                    None
                };
                match known.unwrap_or_else(|| self.solve_alone(rows, seed, &mut kept)) {
                    Outcome::Ok => take(Ok(kept.as_slice())),
                    refused => take(Err(refused)),
                }
            }
        }
    }

    /// The single call's answer for one matrix.
    #[cold]
    fn solve_alone(&self, rows: &Matrix, seed: Option<&[f64; 6]>, kept: &mut Branches) -> Outcome {
        let pose = Pose::<Fixed, TableTop>::from_matrix(*rows);
        let found = pose.and_then(|pose| match seed {
            None => self.inverse(&pose),
            Some(seed) => self.inverse_nearest(&pose, seed).map(|axes| {
                let mut one = Branches::default();
                one.push(axes);
                one
            }),
        });
        match found {
            Ok(branches) => {
                *kept = branches;
                Outcome::Ok
            }
            Err(error) => Outcome::from(&error),
        }
    }

    /// The branches of one lane as the single call would give them, in `kept`; `None` where a single call has to say.
    fn gather(
        &self,
        lane: usize,
        solved: &Solved,
        poses: &Block<12>,
        seed: Option<&[f64; 6]>,
        kept: &mut Branches,
    ) -> Option<Outcome> {
        kept.clear();
        for table in solved.tables.iter().filter_map(|table| table.last()) {
            if *table.get(lane)? < SINGULAR {
                // A seed that stands there already is an answer; the single call looks.
                return seed.is_none().then_some(Outcome::Singular);
            }
        }
        let (mut any_outside, mut any_open) = (false, false);
        for branch in solved
            .tables
            .iter()
            .flat_map(|t| t.as_chunks::<BRANCH_ROWS>().0)
        {
            let state = *branch.last()?.get(lane)?;
            if state == ABSENT {
                continue;
            }
            if state == OUTSIDE {
                any_outside = true;
                continue;
            }
            let [axes @ .., _] = pick(branch, lane);
            if state == PLAIN && seed.is_none_or(|seed| self.no_turn_from(&axes, seed)) {
                kept.push_new(&axes);
            } else if let Some(turned) = self.turned(&axes, &solid(pick(poses, lane)), seed) {
                kept.push_new(&turned);
            } else {
                any_open = true;
            }
        }
        if !kept.as_slice().is_empty() {
            Some(Outcome::Ok)
        } else if any_open {
            None
        } else if any_outside {
            Some(Outcome::Limit)
        } else {
            solved.complete.then_some(Outcome::Unreachable)
        }
    }

    /// A branch on the turns that the seed or the limits ask for, if it is then within the limits and right.
    #[cold]
    fn turned(&self, axes: &[f64; 6], pose: &Rigid, seed: Option<&[f64; 6]>) -> Option<[f64; 6]> {
        let turned = self.choose_turns(axes, seed);
        if !self.within_limits(&turned) {
            return None;
        }
        let (mm2, chord2) = self.forward_unchecked(&turned).misfit(pose);
        verified(mm2, chord2).then_some(turned)
    }

    /// Whether every rotary axis is less than half a turn from the seed, so that no other turn is nearer.
    fn no_turn_from(&self, axes: &[f64; 6], seed: &[f64; 6]) -> bool {
        let pairs = axes.iter().zip(seed).zip(self.axis_kinds());
        pairs
            .into_iter()
            .all(|((q, s), kind)| kind == AxisKind::Linear || (q - s).abs() < NO_TURN)
    }

    /// Whether the pitch of a couch cannot pass 90 degrees, so that the other solution of its angles is never allowed.
    fn is_upright(&self) -> bool {
        let [.., (low, high), _] = self.limits().pairs();
        let (gain, offset) = self.axis_map();
        let [.., gain, _] = gain;
        let [.., offset, _] = offset;
        (gain * low + offset).abs() < 1.5 && (gain * high + offset).abs() < 1.5
    }
}

/// One posture of an arm (signs of shoulder and elbow before the pose): two axis sets, their squared misfit, 1 for each that needs no turn
/// and is within the limits, and the singular margin.
struct SolvePosture<'a> {
    couch: &'a Couch,
    arm: &'a Arm,
}

impl Kernel<14, 17> for SolvePosture<'_> {
    #[inline(always)]
    fn lane(&self, input: [f64; 14]) -> [f64; 17] {
        let [shoulder, elbow, pose @ ..] = input;
        let pose = solid(pose);
        let chain = self.couch.chain_pose(&pose);
        let ([first, second], singular) = self.arm.solve_posture(&chain, (shoulder, elbow));
        let (first, second) = (self.couch.axes(&first), self.couch.axes(&second));
        // One check for both flips of the wrist: half a turn of joints 4 and 6 with joint 5 mirrored changes the sign of sines and cosines in
        // pairs, which leaves the wrist as it is but for the rounding of half a turn, 1e-15 rad.
        let end = self.arm.forward(&self.couch.joints(&first));
        let (mm2, chord2) = self.couch.mounted(&end).misfit(&pose);
        let allowed = [&first, &second].map(|axes| {
            if self.couch.plainly_allowed(axes) {
                1.0
            } else {
                0.0
            }
        });
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (first, second);
        let [m, n] = allowed;
        [
            a, b, c, d, e, f, g, h, i, j, k, l, mm2, chord2, m, n, singular,
        ]
    }
}

/// The eight branches of an arm for one pose.
pub(crate) struct ArmSolution {
    pub axes: [[f64; 6]; 8],
    /// Squared misfits, and 1 where the axes are plainly allowed.
    pub checks: [[f64; 3]; 8],
    pub singular: f64,
}

impl Couch {
    /// The closed form of an arm for one pose, its branches side by side in vectors: joints as axes, and misfits.
    pub(crate) fn solve_arm(&self, arm: &Arm, pose: &Rigid) -> ArmSolution {
        let unit = VectorUnit::best();
        let mut input = [[0.0; 4]; 14];
        for (lane, (shoulder, elbow)) in Arm::POSTURES.into_iter().enumerate() {
            let column = [shoulder, elbow].into_iter().chain(flat(pose));
            for (row, value) in input.iter_mut().zip(column) {
                if let Some(slot) = row.get_mut(lane) {
                    *slot = value;
                }
            }
        }
        let mut solved = [[0.0; 4]; 17];
        run(
            unit,
            &SolvePosture { couch: self, arm },
            &input,
            &mut solved,
        );
        let mut solution = ArmSolution {
            axes: [[0.0; 6]; 8],
            checks: [[0.0; 3]; 8],
            singular: f64::INFINITY,
        };
        let branches = solution.axes.iter_mut().zip(&mut solution.checks);
        for (branch, (axes, check)) in branches.enumerate() {
            let (lane, second) = (branch / 2, branch % 2 == 1);
            let [
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                h,
                i,
                j,
                k,
                l,
                mm2,
                chord2,
                m,
                n,
                singular,
            ] = pick(&solved, lane);
            (*axes, *check) = if second {
                ([g, h, i, j, k, l], [mm2, chord2, n])
            } else {
                ([a, b, c, d, e, f], [mm2, chord2, m])
            };
            solution.singular = solution.singular.min(singular);
        }
        solution
    }
}
