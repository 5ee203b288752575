//! Many poses at once, with the bits of single calls.
//!
//! The kernels of the families have no branches, so that a plain loop over a block of poses (arrays by component) becomes
//! vector code. The same loop is compiled for the instruction sets that matter and chosen at run time. Nothing is
//! contracted into fused operations, so every instruction set gives the same bits.

use crate::arm::Arm;
use crate::couch::{AxisKind, Branches, Couch, Family, SINGULAR};
use crate::error::MotionError;
use crate::frame::{Fixed, TableTop};
use crate::hexapod::Hexapod;
use crate::pedestal::Pedestal;
use crate::pose::Pose;
use crate::rigid::Rigid;
use crate::scara::Scara;

/// Poses per block: enough to fill the widest vectors several times, small enough to stay in the first cache.
const LANES: usize = 32;

/// Numbers by component, then by lane.
type Block<const N: usize, const W: usize = LANES> = [[f64; W]; N];

/// Legs per block: Newton runs until the last lane has settled, so that fewer lanes wait less, and one 512-bit vector
/// of lanes keeps the elimination in the first cache.
const LEG_LANES: usize = 8;

/// `I` numbers in, `O` numbers out, without branches.
trait Kernel<const I: usize, const O: usize> {
    fn lane(&self, input: [f64; I]) -> [f64; O];
}

#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "constant bounds; the loop the compiler vectorises"
)]
fn over_lanes<K: Kernel<I, O>, const I: usize, const O: usize, const W: usize>(
    kernel: &K,
    input: &Block<I, W>,
    output: &mut Block<O, W>,
) {
    for lane in 0..W {
        let mut x = [0.0; I];
        for i in 0..I {
            x[i] = input[i][lane];
        }
        let y = kernel.lane(x);
        for o in 0..O {
            output[o][lane] = y[o];
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn over_lanes_avx512<K: Kernel<I, O>, const I: usize, const O: usize, const W: usize>(
    kernel: &K,
    input: &Block<I, W>,
    output: &mut Block<O, W>,
) {
    over_lanes(kernel, input, output);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn over_lanes_avx2<K: Kernel<I, O>, const I: usize, const O: usize, const W: usize>(
    kernel: &K,
    input: &Block<I, W>,
    output: &mut Block<O, W>,
) {
    over_lanes(kernel, input, output);
}

/// Runs a kernel over a block with the widest vectors of this machine. Arm64 has NEON in its baseline.
#[inline]
fn run<K: Kernel<I, O>, const I: usize, const O: usize, const W: usize>(
    unit: VectorUnit,
    kernel: &K,
    input: &Block<I, W>,
    output: &mut Block<O, W>,
) {
    match unit {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `VectorUnit::best` gives this unit only where the machine has it.
        VectorUnit::Avx512 => unsafe { over_lanes_avx512(kernel, input, output) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        VectorUnit::Avx2 => unsafe { over_lanes_avx2(kernel, input, output) },
        _ => over_lanes(kernel, input, output),
    }
}

/// The instruction set a batch runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VectorUnit {
    Portable,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx2,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx512,
}

impl VectorUnit {
    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512dq") && has!("avx512vl") && has!("avx512bw") {
            Self::Avx512
        } else if has!("avx2") {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Portable
    }
}

/// The chain of a family: joints to pose, no branches.
trait Chain {
    fn chain_forward(&self, joints: &[f64; 6]) -> Rigid;
}

macro_rules! chains {
    ($($family:ty),*) => {$(
        impl Chain for $family {
            #[inline(always)]
            fn chain_forward(&self, joints: &[f64; 6]) -> Rigid {
                self.forward(joints)
            }
        }
    )*};
}

chains!(Pedestal, Hexapod, Arm, Scara);

struct Forward<'a, C> {
    couch: &'a Couch,
    chain: &'a C,
}

impl<C: Chain> Kernel<6, 12> for Forward<'_, C> {
    #[inline(always)]
    fn lane(&self, axes: [f64; 6]) -> [f64; 12] {
        let chain = self.chain.chain_forward(&self.couch.joints(&axes));
        flat(&self.couch.mounted(&chain))
    }
}

/// How an axis set stands to the pose after it: squared misfits, and 1 where it needs no turn and is within the limits.
struct Verify<'a, C> {
    couch: &'a Couch,
    chain: &'a C,
}

impl<C: Chain> Kernel<18, 3> for Verify<'_, C> {
    #[inline(always)]
    fn lane(&self, input: [f64; 18]) -> [f64; 3] {
        let [a, b, c, d, e, f, pose @ ..] = input;
        let axes = [a, b, c, d, e, f];
        let chain = self.chain.chain_forward(&self.couch.joints(&axes));
        let (mm2, chord2) = self.couch.mounted(&chain).misfit(&solid(pose));
        [mm2, chord2, self.couch.plainly_allowed(&axes)]
    }
}

/// One posture of an arm (signs of shoulder and elbow before the pose): two axis sets and the singular margin.
struct SolveArm<'a> {
    couch: &'a Couch,
    arm: &'a Arm,
}

impl Kernel<14, 13> for SolveArm<'_> {
    #[inline(always)]
    fn lane(&self, input: [f64; 14]) -> [f64; 13] {
        let [shoulder, elbow, pose @ ..] = input;
        let chain = self.couch.chain_pose(&solid(pose));
        let ([first, second], singular) = self.arm.solve_posture(&chain, (shoulder, elbow));
        let [a, b, c, d, e, f] = self.couch.axes(&first);
        let [g, h, i, j, k, l] = self.couch.axes(&second);
        [a, b, c, d, e, f, g, h, i, j, k, l, singular]
    }
}

struct SolvePedestal<'a> {
    couch: &'a Couch,
    chain: Pedestal,
}

impl Kernel<12, 10> for SolvePedestal<'_> {
    #[inline(always)]
    fn lane(&self, pose: [f64; 12]) -> [f64; 10] {
        let pose = solid(pose);
        let ([joints, _], singular) = self.chain.solve(&self.couch.chain_pose(&pose));
        let axes = self.couch.axes(&joints);
        let (mm2, chord2) = self
            .couch
            .mounted(&self.chain.forward(&self.couch.joints(&axes)))
            .misfit(&pose);
        let allowed = self.couch.plainly_allowed(&axes);
        let [a, b, c, d, e, f] = axes;
        [a, b, c, d, e, f, singular, mm2, chord2, allowed]
    }
}

/// Newton's first step, from neutral.
struct StartPlatform<'a> {
    hexapod: &'a Hexapod,
}

impl Kernel<6, 12> for StartPlatform<'_> {
    #[inline(always)]
    fn lane(&self, lengths: [f64; 6]) -> [f64; 12] {
        flat(&self.hexapod.first_step(&lengths))
    }
}

/// One Newton step of the platform and what is left after it; both as [`Hexapod::settle`] does them.
struct StepPlatform<'a> {
    hexapod: &'a Hexapod,
}

impl Kernel<18, 13> for StepPlatform<'_> {
    #[inline(always)]
    fn lane(&self, input: [f64; 18]) -> [f64; 13] {
        let [a, b, c, d, e, f, platform @ ..] = input;
        let lengths = [a, b, c, d, e, f];
        let next = self.hexapod.step(&solid(platform), &lengths);
        let residual = self.hexapod.residual(&next, &lengths);
        let [r0, r1, r2, r3, r4, r5, r6, r7, r8, x, y, z] = flat(&next);
        [r0, r1, r2, r3, r4, r5, r6, r7, r8, x, y, z, residual]
    }
}

#[inline(always)]
fn flat(m: &Rigid) -> [f64; 12] {
    let Rigid {
        r: [[a, b, c], [d, e, f], [g, h, i]],
        p: [x, y, z],
    } = *m;
    [a, b, c, d, e, f, g, h, i, x, y, z]
}

#[inline(always)]
fn solid([a, b, c, d, e, f, g, h, i, x, y, z]: [f64; 12]) -> Rigid {
    Rigid {
        r: [[a, b, c], [d, e, f], [g, h, i]],
        p: [x, y, z],
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
        let [a, b, c, d, e, f, g, h, i, x, y, z] = flat(&Rigid {
            r: crate::pose::nearest_rotation(&r),
            p,
        });
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

/// What became of one row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Solved.
    Ok = 0,
    /// [`MotionError::Unreachable`].
    Unreachable = 1,
    /// [`MotionError::Singular`].
    Singular = 2,
    /// [`MotionError::Limit`].
    Limit = 3,
    /// [`MotionError::Geometry`].
    Geometry = 4,
    /// [`MotionError::NotConverged`].
    NotConverged = 5,
}

impl Outcome {
    /// Names of the outcomes, by code.
    pub const NAMES: [&'static str; 6] = [
        "ok",
        "unreachable",
        "singular",
        "limit",
        "geometry",
        "not_converged",
    ];
}

impl From<&MotionError> for Outcome {
    fn from(error: &MotionError) -> Self {
        match error {
            MotionError::Unreachable(_) => Self::Unreachable,
            MotionError::Singular(_) => Self::Singular,
            MotionError::Limit(_) => Self::Limit,
            MotionError::Geometry(_) => Self::Geometry,
            MotionError::NotConverged(_) => Self::NotConverged,
        }
    }
}

/// A homogeneous 4 x 4 matrix by rows, mm.
pub type Matrix = [[f64; 4]; 4];

/// Every branch of many poses, row by row.
#[derive(Clone, Debug, Default)]
pub struct BranchTable {
    /// Axis sets, mm and radians; not a number beyond the count.
    pub axes: Vec<[[f64; 6]; 8]>,
    /// How many axis sets are valid.
    pub counts: Vec<u8>,
    /// Why there are none.
    pub outcomes: Vec<Outcome>,
}

impl BranchTable {
    fn with_capacity(rows: usize) -> Self {
        Self {
            axes: Vec::with_capacity(rows),
            counts: Vec::with_capacity(rows),
            outcomes: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, result: Result<Branches, MotionError>) {
        let (branches, outcome) = match result {
            Ok(branches) => (branches, Outcome::Ok),
            Err(error) => (Branches::default(), Outcome::from(&error)),
        };
        let mut row = [[f64::NAN; 6]; 8];
        let mut count = 0;
        for (slot, axes) in row.iter_mut().zip(branches.as_slice()) {
            *slot = *axes;
            count += 1;
        }
        self.axes.push(row);
        self.counts.push(count);
        self.outcomes.push(outcome);
    }
}

impl Couch {
    /// Matrices `fixed <- table top` for many axis sets; the same bits as [`Couch::forward`].
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values.
    pub fn forward_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<Matrix>, MotionError> {
        self.forward_batch_on(VectorUnit::best(), axes)
    }

    fn forward_batch_on(
        &self,
        unit: VectorUnit,
        axes: &[[f64; 6]],
    ) -> Result<Vec<Matrix>, MotionError> {
        if let Some((row, error)) = axes
            .iter()
            .enumerate()
            .find_map(|(i, a)| Some((i, self.check_axes(a).err()?)))
        {
            return Err(MotionError::Geometry(format!("row {row}: {error}")));
        }
        let mut out = Vec::with_capacity(axes.len());
        match self.family() {
            Family::Pedestal(chain) => {
                forward_blocks(unit, &Forward { couch: self, chain }, axes, &mut out)
            }
            Family::Hexapod(chain) => {
                forward_blocks(unit, &Forward { couch: self, chain }, axes, &mut out)
            }
            Family::Arm(chain) => {
                forward_blocks(unit, &Forward { couch: self, chain }, axes, &mut out)
            }
            Family::Scara(chain) => {
                forward_blocks(unit, &Forward { couch: self, chain }, axes, &mut out)
            }
        }
        Ok(out)
    }

    /// [`Couch::inverse_nearest`] for many matrices and one seed; the same bits. Rows without a solution are not a number.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a seed that cannot be axis values; a row's own refusal is its [`Outcome`].
    pub fn inverse_nearest_batch(
        &self,
        poses: &[Matrix],
        seed: &[f64; 6],
    ) -> Result<Vec<([f64; 6], Outcome)>, MotionError> {
        self.inverse_nearest_batch_on(VectorUnit::best(), poses, seed)
    }

    fn inverse_nearest_batch_on(
        &self,
        unit: VectorUnit,
        poses: &[Matrix],
        seed: &[f64; 6],
    ) -> Result<Vec<([f64; 6], Outcome)>, MotionError> {
        self.check_axes(seed)?;
        let single = |rows: &Matrix| {
            let found = Pose::from_matrix(*rows).and_then(|pose| self.inverse_nearest(&pose, seed));
            found.map_or_else(
                |error| ([f64::NAN; 6], Outcome::from(&error)),
                |axes| (axes, Outcome::Ok),
            )
        };
        let Some(chain) = self.upright_pedestal() else {
            return Ok(poses.iter().map(single).collect());
        };
        let kernel = SolvePedestal { couch: self, chain };
        let mut out = Vec::with_capacity(poses.len());
        let mut solved = [[0.0; LANES]; 10];
        for block in poses.chunks(LANES) {
            let rigid = rigid_block(unit, block);
            run(unit, &kernel, &rigid.poses, &mut solved);
            for (lane, rows) in block.iter().enumerate() {
                let [a, b, c, d, e, f, singular, mm2, chord2, allowed] = pick(&solved, lane);
                let axes = [a, b, c, d, e, f];
                let plain = allowed == 1.0
                    && singular >= SINGULAR
                    && crate::couch::verified(mm2, chord2)
                    && self.no_turn_from(&axes, seed)
                    && rigid.good(lane, rows);
                out.push(if plain {
                    (axes, Outcome::Ok)
                } else {
                    single(rows)
                });
            }
        }
        Ok(out)
    }

    /// [`Couch::inverse`] for many matrices; the same bits.
    #[must_use]
    pub fn inverse_batch(&self, poses: &[Matrix]) -> BranchTable {
        self.inverse_batch_on(VectorUnit::best(), poses)
    }

    fn inverse_batch_on(&self, unit: VectorUnit, poses: &[Matrix]) -> BranchTable {
        let mut table = BranchTable::with_capacity(poses.len());
        let single = |rows: &Matrix| {
            Pose::<Fixed, TableTop>::from_matrix(*rows).and_then(|pose| self.inverse(&pose))
        };
        let Family::Arm(arm) = self.family() else {
            poses.iter().for_each(|rows| table.push(single(rows)));
            return table;
        };
        let mut postures = [Posture::EMPTY; 4];
        for block in poses.chunks(LANES) {
            let rigid = rigid_block(unit, block);
            for (found, signs) in postures.iter_mut().zip(Arm::POSTURES) {
                self.solve_postures(unit, arm, signs.into(), &rigid.poses, found);
            }
            for (lane, rows) in block.iter().enumerate() {
                let gathered = if rigid.good(lane, rows) {
                    self.gather(lane, &rigid.poses, &postures)
                } else {
                    None
                };
                table.push(gathered.map_or_else(|| single(rows), Ok));
            }
        }
        table
    }

    fn solve_postures(
        &self,
        unit: VectorUnit,
        arm: &Arm,
        signs: [f64; 2],
        poses: &Block<12>,
        found: &mut Posture,
    ) {
        let signs = signs.map(|sign| [sign; LANES]);
        run(
            unit,
            &SolveArm { couch: self, arm },
            &joined(&signs, poses),
            &mut found.solved,
        );
        let verify = Verify {
            couch: self,
            chain: arm,
        };
        for (branch, checked) in found
            .solved
            .as_chunks::<6>()
            .0
            .iter()
            .zip(&mut found.checks)
        {
            run(unit, &verify, &joined(branch, poses), checked);
        }
    }

    /// The branches of one lane as [`Couch::inverse`] would give them, or `None` where there are none to give.
    fn gather(&self, lane: usize, poses: &Block<12>, postures: &[Posture; 4]) -> Option<Branches> {
        let mut kept = Branches::default();
        for found in postures {
            let [singular] = pick(found.solved.last_chunk::<1>()?, lane);
            if singular < SINGULAR {
                return None;
            }
            for (branch, checked) in found.solved.as_chunks::<6>().0.iter().zip(&found.checks) {
                let (axes, [mm2, chord2, allowed]) = (pick(branch, lane), pick(checked, lane));
                if allowed == 1.0 {
                    if crate::couch::verified(mm2, chord2) {
                        kept.push_new(&axes);
                    }
                } else if axes.iter().all(|q| q.is_finite()) {
                    self.gather_turned(&axes, &solid(pick(poses, lane)), &mut kept);
                }
            }
        }
        (!kept.as_slice().is_empty()).then_some(kept)
    }

    /// A branch that is outside the limits as it stands: kept if another turn brings it inside.
    #[cold]
    fn gather_turned(&self, axes: &[f64; 6], pose: &Rigid, kept: &mut Branches) {
        let turned = self.choose_turns(axes, None);
        if self.limits().contain(&turned) {
            let (mm2, chord2) = self.forward_unchecked(&turned).misfit(pose);
            if crate::couch::verified(mm2, chord2) {
                kept.push_new(&turned);
            }
        }
    }

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
        let mut solved = [[0.0; 4]; 13];
        run(unit, &SolveArm { couch: self, arm }, &input, &mut solved);
        let mut solution = ArmSolution {
            axes: [[0.0; 6]; 8],
            checks: [[0.0; 3]; 8],
            singular: f64::INFINITY,
        };
        let mut side_by_side = [[0.0; 8]; 18];
        for (branch, axes) in solution.axes.iter_mut().enumerate() {
            let (lane, flip) = (branch / 2, branch % 2);
            let both: [f64; 13] = pick(&solved, lane);
            let chosen = both
                .as_chunks::<6>()
                .0
                .get(flip)
                .copied()
                .unwrap_or([f64::NAN; 6]);
            *axes = chosen;
            solution.singular = solution.singular.min(both[12]);
            for (row, value) in side_by_side
                .iter_mut()
                .zip(chosen.into_iter().chain(flat(pose)))
            {
                if let Some(slot) = row.get_mut(branch) {
                    *slot = value;
                }
            }
        }
        let mut checks = [[0.0; 8]; 3];
        run(
            unit,
            &Verify {
                couch: self,
                chain: arm,
            },
            &side_by_side,
            &mut checks,
        );
        for (branch, check) in solution.checks.iter_mut().enumerate() {
            *check = pick(&checks, branch);
        }
        solution
    }

    /// 1 where an axis set needs no turn to be principal and is within the limits, else 0 (not a number included).
    #[inline(always)]
    fn plainly_allowed(&self, axes: &[f64; 6]) -> f64 {
        let mut inside = true;
        for ((q, low), high) in axes.iter().zip(self.inner_lower()).zip(self.inner_upper()) {
            inside &= (*q >= *low) & (*q <= *high);
        }
        if inside { 1.0 } else { 0.0 }
    }

    /// Whether every rotary axis is less than half a turn from the seed, so that no other turn is nearer.
    fn no_turn_from(&self, axes: &[f64; 6], seed: &[f64; 6]) -> bool {
        const NO_TURN: f64 = std::f64::consts::PI - 1e-3;
        let pairs = axes.iter().zip(seed).zip(self.axis_kinds());
        pairs
            .into_iter()
            .all(|((q, s), kind)| kind == AxisKind::Linear || (q - s).abs() < NO_TURN)
    }

    /// The chain of a pedestal whose pitch cannot pass 90 degrees, so that one branch is all there is within limits.
    fn upright_pedestal(&self) -> Option<Pedestal> {
        let Family::Pedestal(chain) = self.family() else {
            return None;
        };
        let [.., (low, high), _] = self.limits().pairs();
        (low > -1.5 && high < 1.5).then_some(*chain)
    }

    /// [`Couch::forward_from_legs`] from neutral for many leg tables; the same bits. Failed rows are not a number.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a couch without legs; a row's own refusal is its [`Outcome`].
    pub fn forward_from_legs_batch(
        &self,
        lengths_mm: &[[f64; 6]],
    ) -> Result<Vec<(Matrix, Outcome)>, MotionError> {
        self.forward_from_legs_batch_on(VectorUnit::best(), lengths_mm)
    }

    fn forward_from_legs_batch_on(
        &self,
        unit: VectorUnit,
        lengths_mm: &[[f64; 6]],
    ) -> Result<Vec<(Matrix, Outcome)>, MotionError> {
        let Family::Hexapod(hexapod) = self.family() else {
            return crate::error::geometry(format!(
                "a couch of family {} has no legs",
                self.family_name()
            ));
        };
        let mut out = Vec::with_capacity(lengths_mm.len());
        for block in lengths_mm.chunks(LEG_LANES) {
            let settled = settle_block(unit, hexapod, block);
            for (lane, lengths) in block.iter().enumerate() {
                let pose = match pick(&settled, lane) {
                    platform if platform.iter().all(|x| x.is_finite()) => {
                        let platform = solid(platform);
                        hexapod
                            .check_assembly(&platform)
                            .map(|()| self.mounted(&hexapod.on_base(&platform)))
                    }
                    // Did not settle, or not lengths at all: the single call says which.
                    _ => self.forward_from_legs(lengths, None).map(|pose| pose.rigid),
                };
                out.push(match pose {
                    Ok(rigid) => (Pose::<Fixed, TableTop>::of(rigid).to_matrix(), Outcome::Ok),
                    Err(error) => ([[f64::NAN; 4]; 4], Outcome::from(&error)),
                });
            }
        }
        Ok(out)
    }
}

/// The eight branches of an arm for one pose.
pub(crate) struct ArmSolution {
    pub axes: [[f64; 6]; 8],
    /// Squared misfits, and 1 where the axes are plainly allowed.
    pub checks: [[f64; 3]; 8],
    pub singular: f64,
}

/// What the kernels found for one posture of an arm over a block.
#[derive(Clone, Copy)]
struct Posture {
    solved: Block<13>,
    checks: [Block<3>; 2],
}

impl Posture {
    const EMPTY: Self = Self {
        solved: [[0.0; LANES]; 13],
        checks: [[[0.0; LANES]; 3]; 2],
    };
}

fn forward_blocks<K: Kernel<6, 12>>(
    unit: VectorUnit,
    kernel: &K,
    axes: &[[f64; 6]],
    out: &mut Vec<Matrix>,
) {
    let mut input = [[0.0; LANES]; 6];
    let mut output = [[0.0; LANES]; 12];
    for block in axes.chunks(LANES) {
        spread(block, &mut input);
        run(unit, kernel, &input, &mut output);
        out.extend((0..block.len()).map(|lane| {
            let [a, b, c, d, e, f, g, h, i, x, y, z] = pick(&output, lane);
            [
                [a, b, c, x],
                [d, e, f, y],
                [g, h, i, z],
                [0.0, 0.0, 0.0, 1.0],
            ]
        }));
    }
}

/// Platform poses relative to neutral that reproduce the legs; not a number where Newton did not settle.
#[allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "constant bounds; a loop over lanes"
)]
fn settle_block(unit: VectorUnit, hexapod: &Hexapod, lengths: &[[f64; 6]]) -> Block<12, LEG_LANES> {
    let mut input = [[0.0; LEG_LANES]; 18];
    let mut table = [[0.0; LEG_LANES]; 6];
    spread(lengths, &mut table);
    input[..6].copy_from_slice(&table);
    let mut started = [[0.0; LEG_LANES]; 12];
    run(unit, &StartPlatform { hexapod }, &table, &mut started);
    input[6..].copy_from_slice(&started);
    let mut settled = [[f64::NAN; LEG_LANES]; 12];
    let mut done = [false; LEG_LANES];
    // Lanes past the end of the table have nothing to wait for.
    done[lengths.len()..].fill(true);
    let mut stepped = [[0.0; LEG_LANES]; 13];
    for _ in 0..crate::hexapod::ITERATIONS_MAX {
        run(unit, &StepPlatform { hexapod }, &input, &mut stepped);
        for lane in 0..LEG_LANES {
            if !done[lane] && stepped[12][lane] < crate::hexapod::SETTLED_MM {
                done[lane] = true;
                for i in 0..12 {
                    settled[i][lane] = stepped[i][lane];
                }
            }
        }
        if done.iter().all(|d| *d) {
            break;
        }
        input[6..].copy_from_slice(&stepped[..12]);
    }
    settled
}

/// Poses of a block on the nearest rotation, with what the checks of [`Pose::from_matrix`] need.
struct RigidBlock {
    poses: Block<12>,
    checks: Block<3>,
}

impl RigidBlock {
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

#[allow(clippy::indexing_slicing, reason = "constant bounds")]
fn rigid_block(unit: VectorUnit, matrices: &[Matrix]) -> RigidBlock {
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
    let mut block = RigidBlock {
        poses: [[0.0; LANES]; 12],
        checks: [[0.0; LANES]; 3],
    };
    block.poses.copy_from_slice(&output[..12]);
    block.checks.copy_from_slice(&output[12..]);
    block
}

fn spread<const N: usize, const W: usize>(rows: &[[f64; N]], block: &mut Block<N, W>) {
    for (lane, values) in rows.iter().enumerate() {
        for (row, value) in block.iter_mut().zip(values) {
            if let Some(slot) = row.get_mut(lane) {
                *slot = *value;
            }
        }
    }
}

#[inline(always)]
fn pick<const N: usize, const W: usize>(block: &Block<N, W>, lane: usize) -> [f64; N] {
    let mut values = [f64::NAN; N];
    for (value, row) in values.iter_mut().zip(block) {
        if let Some(x) = row.get(lane) {
            *value = *x;
        }
    }
    values
}

/// Two blocks, the second under the first.
#[inline(always)]
fn joined<const A: usize, const B: usize, const C: usize>(
    first: &Block<A>,
    second: &Block<B>,
) -> Block<C> {
    const { assert!(A + B == C) };
    let mut both = [[0.0; LANES]; C];
    for (row, source) in both.iter_mut().zip(first.iter().chain(second)) {
        *row = *source;
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correction::Correction;
    use crate::limits::Limits;

    fn units() -> Vec<VectorUnit> {
        let mut units = vec![VectorUnit::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                units.push(VectorUnit::Avx2);
            }
            if VectorUnit::best() == VectorUnit::Avx512 {
                units.push(VectorUnit::Avx512);
            }
        }
        units
    }

    fn limits(pairs: [(f64, f64); 6]) -> Limits {
        Limits::new(pairs).unwrap()
    }

    const CARTESIAN: [(f64, f64); 6] = [
        (-250.0, 250.0),
        (-1000.0, 400.0),
        (-450.0, 50.0),
        (-1.6, 1.6),
        (-0.06, 0.06),
        (-0.06, 0.06),
    ];

    fn hexapod() -> Couch {
        let ring = |radius: f64, degrees: [f64; 6], z: f64| {
            degrees.map(|d| {
                [
                    radius * d.to_radians().cos(),
                    radius * d.to_radians().sin() - 200.0,
                    z,
                ]
            })
        };
        let base = ring(340.0, [-10.0, 10.0, 110.0, 130.0, 230.0, 250.0], -360.0);
        let platform = ring(240.0, [-50.0, 50.0, 70.0, 170.0, 190.0, 290.0], -100.0);
        let stands = [-20.0, -350.0, -122.5, 0.4];
        let hexapod =
            Hexapod::new(base, platform, (240.0, 440.0), Pedestal::PLAIN, stands).unwrap();
        Couch::new(Family::Hexapod(hexapod), limits(CARTESIAN))
    }

    fn couches() -> Vec<Couch> {
        let pose = |six| Correction::from_array(six).to_pose::<Fixed>().unwrap();
        let (foot, hand) = (
            pose([-900.0, -1200.0, -1300.0, 0.8, 0.02, -0.01]),
            pose([40.0, 10.0, 1070.0, 1.5, 1.2, 0.3]),
        );
        let arm = Arm::new([350.0, -41.0, 20.0], [675.0, 1150.0, 1220.0, 215.0]).unwrap();
        let joints = [
            (-2.9, 2.9),
            (-1.6, 1.9),
            (-2.0, 2.6),
            (-4.0, 4.0),
            (-2.2, 2.2),
            (-6.1, 6.1),
        ];
        let scara = Scara::new(900.0, 700.0, [150.0, -20.0, 80.0]).unwrap();
        let column = [
            (0.0, 800.0),
            (-2.9, 2.9),
            (-2.6, 2.6),
            (-6.1, 6.1),
            (-0.3, 0.3),
            (-0.3, 0.3),
        ];
        vec![
            Couch::new(
                Family::Pedestal(Pedestal::new(12.0, 0.3).unwrap()),
                limits(CARTESIAN),
            ),
            hexapod(),
            Couch::new(Family::Arm(arm), limits(joints))
                .with_mounts(&foot.with_frames(), &hand.with_frames()),
            Couch::new(Family::Scara(scara), limits(column)),
        ]
    }

    /// Axes over and a little beyond the limits, so that some rows are refused.
    fn table(couch: &Couch, rows: usize) -> Vec<[f64; 6]> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..rows)
            .map(|_| {
                couch
                    .limits()
                    .pairs()
                    .map(|(low, high)| low + (high - low) * (next() * 1.02 - 0.01))
            })
            .collect()
    }

    /// One pattern for every not-a-number: which one comes out is not the promise.
    fn bits(values: &[f64]) -> Vec<u64> {
        values
            .iter()
            .map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() })
            .collect()
    }

    #[test]
    fn a_batch_gives_the_bits_of_single_calls_on_every_vector_unit() {
        for couch in couches() {
            let axes = table(&couch, 1003);
            let seed = axes[0];
            let singles: Vec<Matrix> = axes
                .iter()
                .map(|a| couch.forward(a).unwrap().to_matrix())
                .collect();
            let as_pose = |m: &Matrix| Pose::<Fixed, TableTop>::from_matrix(*m).unwrap();
            let mut refused = 0;
            for unit in units() {
                let poses = couch.forward_batch_on(unit, &axes).unwrap();
                for (a, b) in poses.iter().zip(&singles) {
                    assert_eq!(bits(a.as_flattened()), bits(b.as_flattened()));
                }
                let table = couch.inverse_batch_on(unit, &poses);
                let mut expected = BranchTable::default();
                singles
                    .iter()
                    .for_each(|m| expected.push(couch.inverse(&as_pose(m))));
                assert_eq!(
                    (&table.counts, &table.outcomes),
                    (&expected.counts, &expected.outcomes)
                );
                for (a, b) in table.axes.iter().zip(&expected.axes) {
                    assert_eq!(bits(a.as_flattened()), bits(b.as_flattened()));
                }
                let nearest = couch.inverse_nearest_batch_on(unit, &poses, &seed).unwrap();
                for ((axes, outcome), m) in nearest.iter().zip(&singles) {
                    match couch.inverse_nearest(&as_pose(m), &seed) {
                        Ok(single) => {
                            assert_eq!((bits(axes), *outcome), (bits(&single), Outcome::Ok))
                        }
                        Err(error) => {
                            refused += 1;
                            assert_eq!(*outcome, Outcome::from(&error));
                        }
                    }
                }
            }
            assert!(refused > 0, "the table has rows beyond the limits");
        }
    }

    #[test]
    fn legs_in_a_batch_give_the_bits_of_single_calls_on_every_vector_unit() {
        let couch = hexapod();
        let centre = [-20.0, -350.0, -122.5, 0.4, 0.0, 0.0];
        let travel = [30.0, 30.0, 30.0, 0.05, 0.05, 0.05];
        let place = |raw: &[f64; 6]| {
            let mut axes = centre;
            for (i, axis) in axes.iter_mut().enumerate() {
                *axis += travel[i] * (raw[i] * 37.3).sin();
            }
            couch.leg_lengths(&axes).unwrap()
        };
        let mut legs: Vec<[f64; 6]> = table(&couch, 500).iter().map(place).collect();
        legs[7] = [100.0, 900.0, 100.0, 900.0, 100.0, 900.0];
        legs[8] = [f64::NAN; 6];
        legs[9] = [-1.0; 6];
        for unit in units() {
            let batch = couch.forward_from_legs_batch_on(unit, &legs).unwrap();
            for ((matrix, outcome), lengths) in batch.iter().zip(&legs) {
                match couch.forward_from_legs(lengths, None) {
                    Ok(pose) => assert_eq!((matrix, *outcome), (&pose.to_matrix(), Outcome::Ok)),
                    Err(error) => assert_eq!(*outcome, Outcome::from(&error)),
                }
            }
            let failed = [batch[7].1, batch[8].1, batch[9].1];
            assert_eq!(
                failed,
                [Outcome::NotConverged, Outcome::Geometry, Outcome::Geometry]
            );
        }
    }

    #[test]
    fn a_matrix_that_is_not_rigid_is_refused_in_its_row() {
        let couch = &couches()[0];
        let good = couch.forward(&[0.0; 6]).unwrap().to_matrix();
        let mut scaled = good;
        scaled[0][0] = 1.1;
        let mut transposed = good;
        transposed[3][1] = 5.0;
        let nothing = [[f64::NAN; 4]; 4];
        let found = couch
            .inverse_nearest_batch(&[good, scaled, transposed, nothing], &[0.0; 6])
            .unwrap();
        let outcomes: Vec<Outcome> = found.iter().map(|(_, outcome)| *outcome).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Ok,
                Outcome::Geometry,
                Outcome::Geometry,
                Outcome::Geometry
            ]
        );
    }
}
