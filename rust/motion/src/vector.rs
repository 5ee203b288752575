//! Many lanes at once: one scalar kernel, compiled for the instruction sets that matter and chosen at run time.
//!
//! The kernels of the families have no branches, so that a plain loop over a block of inputs (arrays by component) becomes
//! vector code. Nothing is contracted into fused operations, so every instruction set gives the same bits. On x86-64 there
//! are AVX2 and AVX-512 besides the baseline; on Arm64 the baseline has NEON, and the portable loop is what runs.

/// Poses per block: enough to fill the widest vectors several times, small enough to stay in the first cache.
pub(crate) const LANES: usize = 32;

/// Numbers by component, then by lane.
pub(crate) type Block<const N: usize, const W: usize = LANES> = [[f64; W]; N];

/// `I` numbers in, `O` numbers out, without branches.
pub(crate) trait Kernel<const I: usize, const O: usize> {
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
pub(crate) fn run<K: Kernel<I, O>, const I: usize, const O: usize, const W: usize>(
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
pub(crate) enum VectorUnit {
    Portable,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx2,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx512,
}

impl VectorUnit {
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn best() -> Self {
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
    pub(crate) fn best() -> Self {
        Self::Portable
    }
}

pub(crate) fn spread<const N: usize, const W: usize>(rows: &[[f64; N]], block: &mut Block<N, W>) {
    for (lane, values) in rows.iter().enumerate() {
        for (row, value) in block.iter_mut().zip(values) {
            if let Some(slot) = row.get_mut(lane) {
                *slot = *value;
            }
        }
    }
}

#[inline(always)]
pub(crate) fn pick<const N: usize, const W: usize>(block: &Block<N, W>, lane: usize) -> [f64; N] {
    let mut values = [f64::NAN; N];
    for (value, row) in values.iter_mut().zip(block) {
        if let Some(x) = row.get(lane) {
            *value = *x;
        }
    }
    values
}
