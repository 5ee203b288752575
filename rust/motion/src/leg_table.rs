//! Many tables of leg lengths at once: Newton side by side, with the bits of single calls.

use crate::batch::{Matrix, Outcome, flat, matrix, solid};
use crate::couch::{Couch, Family};
use crate::error::MotionError;
use crate::hexapod::{ASSEMBLY_CHORD2_MAX, Hexapod, ITERATIONS_MAX, SETTLED_MM};
use crate::vector::{Block, Kernel, VectorUnit, pick, run, spread};

/// Legs per block: Newton runs until the last lane has settled, so that fewer lanes wait less.
const LEG_LANES: usize = 8;

/// So many steps are as good as always needed: the legs are not looked at before them, but on the way.
const STEPS_EXPECTED: usize = 2;

type LegBlock<const N: usize> = Block<N, LEG_LANES>;

/// Poses of the table top from leg lengths, row by row.
#[derive(Clone, Debug, Default)]
pub struct LegTable {
    /// Matrices `fixed <- table top`; not a number in a refused row.
    pub poses: Vec<Matrix>,
    /// What became of the row.
    pub outcomes: Vec<Outcome>,
}

/// [`Hexapod::first_guess`].
struct Guess<'a>(&'a Hexapod);

impl Kernel<6, 12> for Guess<'_> {
    #[inline(always)]
    fn lane(&self, lengths: [f64; 6]) -> [f64; 12] {
        flat(&self.0.first_guess(&lengths))
    }
}

/// What is left to do at a pose of the platform: lengths wanted and platform in, the residual out.
struct Left<'a>(&'a Hexapod);

impl Kernel<18, 1> for Left<'_> {
    #[inline(always)]
    fn lane(&self, input: [f64; 18]) -> [f64; 1] {
        let [a, b, c, d, e, f, platform @ ..] = input;
        let stance = self.0.stance(&solid(platform));
        [stance.residual(&[a, b, c, d, e, f])]
    }
}

/// [`Hexapod::step`]: lengths wanted and platform in, the next platform out, and the residual of the one that came in.
struct Step<'a>(&'a Hexapod);

impl Kernel<18, 13> for Step<'_> {
    #[inline(always)]
    fn lane(&self, input: [f64; 18]) -> [f64; 13] {
        let [a, b, c, d, e, f, platform @ ..] = input;
        let lengths = [a, b, c, d, e, f];
        let platform = solid(platform);
        let stance = self.0.stance(&platform);
        let next = flat(&self.0.step(&platform, &stance, &lengths));
        let [a, b, c, d, e, f, g, h, i, x, y, z] = next;
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
            stance.residual(&lengths),
        ]
    }
}

/// From the settled platform to the table top, and 1 where it is certainly in neutral's assembly and held by its legs.
struct Finish<'a> {
    couch: &'a Couch,
    hexapod: &'a Hexapod,
}

impl Kernel<12, 13> for Finish<'_> {
    #[inline(always)]
    fn lane(&self, platform: [f64; 12]) -> [f64; 13] {
        let platform = solid(platform);
        let top = self.couch.mounted(&self.hexapod.on_base(&platform));
        let [a, b, c, d, e, f, g, h, i, x, y, z] = flat(&top);
        let near = crate::hexapod::tilt_chord2(&platform) <= ASSEMBLY_CHORD2_MAX;
        let held = self
            .hexapod
            .hold(&platform)
            .is_clear(self.hexapod.stiffness_needed());
        let clear = if near & held { 1.0 } else { 0.0 };
        [a, b, c, d, e, f, g, h, i, x, y, z, clear]
    }
}

impl Couch {
    /// [`Couch::forward_from_legs`] from neutral for many leg tables; the same bits. Failed rows are not a number.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a couch without legs; a row's own refusal is its [`Outcome`].
    pub fn forward_from_legs_batch(
        &self,
        lengths_mm: &[[f64; 6]],
    ) -> Result<LegTable, MotionError> {
        self.forward_from_legs_batch_on(VectorUnit::best(), lengths_mm)
    }

    pub(crate) fn forward_from_legs_batch_on(
        &self,
        unit: VectorUnit,
        lengths_mm: &[[f64; 6]],
    ) -> Result<LegTable, MotionError> {
        let Family::Hexapod(hexapod) = self.family() else {
            return crate::error::geometry(format!(
                "a couch of family {} has no legs",
                self.family_name()
            ));
        };
        let mut table = LegTable {
            poses: Vec::with_capacity(lengths_mm.len()),
            outcomes: Vec::with_capacity(lengths_mm.len()),
        };
        let finish = Finish {
            couch: self,
            hexapod,
        };
        let mut tops = [[0.0; LEG_LANES]; 13];
        for block in lengths_mm.chunks(LEG_LANES) {
            let settled = settle_block(unit, hexapod, block);
            run(unit, &finish, &settled, &mut tops);
            for (lane, lengths) in block.iter().enumerate() {
                let [top @ .., clear] = pick(&tops, lane);
                // Did not settle, in another assembly, hardly held, or not lengths at all: the single call says which.
                let (pose, outcome) = if clear == 1.0 {
                    (matrix(&top), Outcome::Ok)
                } else {
                    match self.forward_from_legs(lengths, None) {
                        Ok(pose) => (pose.to_matrix(), Outcome::Ok),
                        Err(error) => ([[f64::NAN; 4]; 4], Outcome::from(&error)),
                    }
                };
                table.poses.push(pose);
                table.outcomes.push(outcome);
            }
        }
        Ok(table)
    }
}

/// Platform poses relative to neutral that reproduce the legs; not a number where Newton did not settle.
#[allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "constant bounds; a loop over lanes"
)]
fn settle_block(unit: VectorUnit, hexapod: &Hexapod, lengths: &[[f64; 6]]) -> LegBlock<12> {
    let mut wanted = [[0.0; LEG_LANES]; 6];
    spread(lengths, &mut wanted);
    let mut platform = [[0.0; LEG_LANES]; 12];
    run(unit, &Guess(hexapod), &wanted, &mut platform);
    let mut input = [[0.0; LEG_LANES]; 18];
    input[..6].copy_from_slice(&wanted);
    let mut left = [[0.0; LEG_LANES]; 1];
    let mut stepped = [[0.0; LEG_LANES]; 13];
    let mut settled = [[f64::NAN; LEG_LANES]; 12];
    let mut done = [false; LEG_LANES];
    // Lanes past the end of the table have nothing to wait for.
    done[lengths.len()..].fill(true);
    for step in 0..=ITERATIONS_MAX {
        input[6..].copy_from_slice(&platform);
        if step < STEPS_EXPECTED {
            run(unit, &Step(hexapod), &input, &mut stepped);
            left[0] = stepped[12];
        } else {
            run(unit, &Left(hexapod), &input, &mut left);
        }
        for lane in 0..LEG_LANES {
            if !done[lane] && left[0][lane] < SETTLED_MM {
                done[lane] = true;
                for i in 0..12 {
                    settled[i][lane] = platform[i][lane];
                }
            }
        }
        if step == ITERATIONS_MAX || done.iter().all(|d| *d) {
            break;
        }
        if step >= STEPS_EXPECTED {
            run(unit, &Step(hexapod), &input, &mut stepped);
        }
        platform.copy_from_slice(&stepped[..12]);
    }
    settled
}
