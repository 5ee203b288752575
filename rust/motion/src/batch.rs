//! Many poses at once, with the bits of single calls.
//!
//! The kernels of the families have no branches, so that a plain loop over a block of poses (arrays by component) becomes
//! vector code. The same loop is compiled for the instruction sets that matter and chosen at run time. Nothing is
//! contracted into fused operations, so every instruction set gives the same bits.

use crate::arm::Arm;
use crate::couch::{Couch, Family};
use crate::error::MotionError;
use crate::hexapod::{Hexapod, LEGS_SINGULAR};
use crate::pedestal::Pedestal;
use crate::rigid::Rigid;
use crate::scara::Scara;
use crate::vector::{Kernel, LANES, VectorUnit, pick, run, spread};

/// The chain of a family: joints to pose, no branches.
pub(crate) trait Chain {
    fn chain_forward(&self, joints: &[f64; 6]) -> Rigid;

    /// Whether what the axes do not show (the legs of a hexapod) is within its limits at a pose of the chain's end.
    #[inline(always)]
    fn allows(&self, _end: &Rigid) -> bool {
        true
    }

    /// Whether the legs of a hexapod certainly hold it there; where not, a single call has to say.
    #[inline(always)]
    fn holds(&self, _end: &Rigid) -> bool {
        true
    }
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

chains!(Pedestal, Arm, Scara);

impl Chain for Hexapod {
    #[inline(always)]
    fn chain_forward(&self, joints: &[f64; 6]) -> Rigid {
        self.forward(joints)
    }

    #[inline(always)]
    fn allows(&self, end: &Rigid) -> bool {
        self.legs_within_limits(end)
    }

    #[inline(always)]
    fn holds(&self, end: &Rigid) -> bool {
        self.hold(&self.platform(end)).is_clear(LEGS_SINGULAR)
    }
}

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

#[inline(always)]
pub(crate) fn flat(m: &Rigid) -> [f64; 12] {
    let Rigid {
        r: [[a, b, c], [d, e, f], [g, h, i]],
        p: [x, y, z],
    } = *m;
    [a, b, c, d, e, f, g, h, i, x, y, z]
}

#[inline(always)]
pub(crate) fn solid([a, b, c, d, e, f, g, h, i, x, y, z]: [f64; 12]) -> Rigid {
    Rigid {
        r: [[a, b, c], [d, e, f], [g, h, i]],
        p: [x, y, z],
    }
}

/// The homogeneous matrix of a pose.
#[inline(always)]
pub(crate) fn matrix([a, b, c, d, e, f, g, h, i, x, y, z]: &[f64; 12]) -> Matrix {
    [
        [*a, *b, *c, *x],
        [*d, *e, *f, *y],
        [*g, *h, *i, *z],
        [0.0, 0.0, 0.0, 1.0],
    ]
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
    /// [`MotionError::NotReproduced`].
    NotReproduced = 6,
}

impl Outcome {
    /// Names of the outcomes, by code.
    pub const NAMES: [&'static str; 7] = [
        "ok",
        "unreachable",
        "singular",
        "limit",
        "geometry",
        "not_converged",
        "not_reproduced",
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
            MotionError::NotReproduced(_) => Self::NotReproduced,
        }
    }
}

/// A homogeneous 4 x 4 matrix by rows, mm.
pub type Matrix = [[f64; 4]; 4];

impl Couch {
    /// Matrices `fixed <- table top` for many axis sets; the same bits as [`Couch::forward`].
    ///
    /// # Errors
    /// [`MotionError::Geometry`] with the row of numbers that cannot be axis values.
    pub fn forward_batch(&self, axes: &[[f64; 6]]) -> Result<Vec<Matrix>, MotionError> {
        self.forward_batch_on(VectorUnit::best(), axes)
    }

    /// Refuses a table with a row of numbers that cannot be axis values, naming the first.
    pub(crate) fn check_rows(&self, axes: &[[f64; 6]]) -> Result<(), MotionError> {
        let refused = |(row, axes)| Some((row, self.check_axes(axes).err()?));
        match axes.iter().enumerate().find_map(refused) {
            None => Ok(()),
            Some((row, error)) => Err(MotionError::Geometry(format!("row {row}: {error}"))),
        }
    }

    fn forward_batch_on(
        &self,
        unit: VectorUnit,
        axes: &[[f64; 6]],
    ) -> Result<Vec<Matrix>, MotionError> {
        self.check_rows(axes)?;
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
        out.extend((0..block.len()).map(|lane| matrix(&pick(&output, lane))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch_table::BranchTable;
    use crate::correction::Correction;
    use crate::frame::{Fixed, TableTop};
    use crate::limits::Limits;
    use crate::pose::Pose;

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

    fn compare_every_branch(
        couch: &Couch,
        table: &BranchTable,
        poses: impl Iterator<Item = Pose<Fixed, TableTop>>,
    ) {
        let rows = table.axes.chunks(couch.branches_max());
        for ((row, pose), (count, outcome)) in rows
            .zip(poses)
            .zip(table.counts.iter().zip(&table.outcomes))
        {
            let (valid, rest) = row.split_at(usize::from(*count));
            match couch.inverse(&pose) {
                Ok(single) => {
                    assert_eq!(*outcome, Outcome::Ok);
                    assert_eq!(
                        bits(valid.as_flattened()),
                        bits(single.as_slice().as_flattened())
                    );
                }
                Err(error) => assert_eq!((*outcome, *count), (Outcome::from(&error), 0), "{error}"),
            }
            assert!(rest.as_flattened().iter().all(|x| x.is_nan()));
        }
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
                compare_every_branch(&couch, &table, singles.iter().map(as_pose));
                let nearest = couch.inverse_nearest_batch_on(unit, &poses, &seed).unwrap();
                let rows = nearest.axes.iter().zip(&nearest.outcomes);
                for ((axes, outcome), m) in rows.zip(&singles) {
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

    fn sixes(rows: &[[f64; 6]]) -> Vec<u64> {
        bits(rows.as_flattened())
    }

    #[test]
    fn measures_of_a_batch_have_the_bits_of_single_calls() {
        for couch in couches() {
            let axes = table(&couch, 211);
            let jacobians = couch.jacobian_batch(&axes).unwrap();
            let margins = couch.margins_batch(&axes).unwrap();
            let singular = couch.singularity_batch(&axes).unwrap();
            let able = couch.manipulability_batch(&axes, 350.0).unwrap();
            assert_eq!(
                [jacobians.len(), margins.len(), singular.len(), able.len()],
                [211; 4]
            );
            for (row, at) in axes.iter().enumerate() {
                assert_eq!(sixes(&jacobians[row]), sixes(&couch.jacobian(at).unwrap()));
                assert_eq!(bits(&margins[row]), bits(&couch.margins(at)));
                assert_eq!(singular[row], couch.singularity(at));
                assert_eq!(able[row], couch.manipulability(at, 350.0).unwrap());
            }
            let (legs, left) = (
                couch.leg_lengths_batch(&axes),
                couch.leg_margins_batch(&axes),
            );
            if couch.family_name() == "hexapod" {
                let (legs, left) = (legs.unwrap(), left.unwrap());
                for (row, at) in axes.iter().enumerate() {
                    assert_eq!(bits(&legs[row]), bits(&couch.leg_lengths(at).unwrap()));
                    assert_eq!(bits(&left[row]), bits(&couch.leg_margins(at).unwrap()));
                }
            } else {
                assert!(legs.unwrap_err().to_string().contains("has no legs"));
                assert!(couch.leg_margins_batch(&[]).is_err());
                assert!(left.is_err());
            }
        }
    }

    #[test]
    fn windows_of_a_batch_are_those_of_single_calls_and_a_row_is_refused_alone() {
        let (mut refused, mut found) = (0, 0);
        for couch in couches() {
            let mut axes = table(&couch, 12);
            axes[5] = couch.limits().pairs().map(|(_, high)| high + 1.0);
            let windows = couch.correction_window_batch(&axes, 2.0, 0.004).unwrap();
            for ((at, window), outcome) in axes.iter().zip(&windows.windows).zip(&windows.outcomes)
            {
                match couch.correction_window(at, 2.0, 0.004) {
                    Ok(single) => {
                        found += 1;
                        assert_eq!((*window, *outcome), (single, Outcome::Ok));
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(*outcome, Outcome::from(&error));
                        assert!(
                            window
                                .iter()
                                .all(|(low, high)| low.is_nan() && high.is_nan())
                        );
                    }
                }
            }
            assert!(couch.correction_window_batch(&[], 0.0, 0.1).is_err());
        }
        assert!(
            refused >= 4 && found >= 4,
            "{refused} refused, {found} found"
        );
    }

    #[test]
    fn measures_name_the_row_that_cannot_be_axis_values() {
        for couch in couches() {
            let mut axes = table(&couch, 5);
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
                axes[3][4] = bad;
                let errors = [
                    couch.jacobian_batch(&axes).unwrap_err(),
                    couch.margins_batch(&axes).unwrap_err(),
                    couch.leg_lengths_batch(&axes).unwrap_err(),
                    couch.leg_margins_batch(&axes).unwrap_err(),
                    couch.singularity_batch(&axes).unwrap_err(),
                    couch.manipulability_batch(&axes, 500.0).unwrap_err(),
                    couch.correction_window_batch(&axes, 2.0, 0.1).unwrap_err(),
                ];
                for error in errors {
                    assert!(error.to_string().starts_with("row 3: axis "), "{error}");
                }
            }
            let length = couch.manipulability_batch(&[], 0.0).unwrap_err();
            assert!(length.to_string().contains("characteristic length"));
        }
    }

    /// FNV-1a over the bits, one pattern for every not-a-number.
    fn fingerprint(hash: u64, values: &[f64]) -> u64 {
        bits(values).into_iter().fold(hash, |hash, word| {
            (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// A platform in plain numbers: the platform's own cosine must not decide what is compared.
    fn plain_hexapod() -> Couch {
        let ring = |x: [f64; 3], y: [f64; 3], z: f64| {
            let [a, b, c] = x;
            let [d, e, f] = y;
            [
                [a, d, z],
                [a, -d, z],
                [b, -e, z],
                [c, -f, z],
                [c, f, z],
                [b, e, z],
            ]
        };
        let base = ring([334.0, -116.0, -218.0], [59.0, 319.0, 260.0], -360.0);
        let platform = ring([154.0, 82.0, -236.0], [183.0, 225.0, 41.0], -100.0);
        let stands = [-20.0, -350.0, -122.5, 0.4];
        let hexapod =
            Hexapod::new(base, platform, (200.0, 500.0), Pedestal::PLAIN, stands).unwrap();
        Couch::new(Family::Hexapod(hexapod), limits(CARTESIAN))
    }

    /// Computed on x86-64; every other machine and every vector unit must give it too.
    const FINGERPRINT: u64 = 0x41ee_7da7_a15e_afaa;

    #[test]
    fn every_machine_and_vector_unit_gives_the_same_bits() {
        let mut couches = couches();
        couches[1] = plain_hexapod();
        for unit in units() {
            let mut hash = 0xcbf2_9ce4_8422_2325;
            for couch in &couches {
                let axes = table(couch, 400);
                let poses = couch.forward_batch_on(unit, &axes).unwrap();
                hash = fingerprint(hash, poses.as_flattened().as_flattened());
                let every = couch.inverse_batch_on(unit, &poses);
                hash = fingerprint(hash, every.axes.as_flattened());
                let near = couch
                    .inverse_nearest_batch_on(unit, &poses, &axes[3])
                    .unwrap();
                hash = fingerprint(hash, near.axes.as_flattened());
                for row in &axes {
                    hash = fingerprint(hash, couch.jacobian(row).unwrap().as_flattened());
                }
            }
            let couch = &couches[1];
            let legs: Vec<[f64; 6]> = table(couch, 200)
                .iter()
                .map(|[a, b, c, d, e, f]| {
                    let near = [
                        a * 0.1 - 20.0,
                        b * 0.02 - 350.0,
                        c * 0.05 - 110.0,
                        d * 0.02 + 0.4,
                        *e,
                        *f,
                    ];
                    couch.leg_lengths(&near).unwrap()
                })
                .collect();
            let tops = couch.forward_from_legs_batch_on(unit, &legs).unwrap();
            assert!(tops.outcomes.iter().all(|o| *o == Outcome::Ok));
            hash = fingerprint(hash, tops.poses.as_flattened().as_flattened());
            assert_eq!(hash, FINGERPRINT, "{unit:?} {hash:#x}");
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
            for ((matrix, outcome), lengths) in batch.poses.iter().zip(&batch.outcomes).zip(&legs) {
                match couch.forward_from_legs(lengths, None) {
                    Ok(pose) => {
                        let single = pose.to_matrix();
                        assert_eq!(*outcome, Outcome::Ok);
                        assert_eq!(bits(matrix.as_flattened()), bits(single.as_flattened()));
                    }
                    Err(error) => assert_eq!(*outcome, Outcome::from(&error)),
                }
            }
            let failed = &batch.outcomes[7..10];
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
        assert_eq!(
            found.outcomes,
            [
                Outcome::Ok,
                Outcome::Geometry,
                Outcome::Geometry,
                Outcome::Geometry
            ]
        );
    }
}
