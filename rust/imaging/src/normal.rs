//! Normal equations of the registration: weighted sums of products of six derivative images.

use nalgebra::{Matrix6, Vector6};

use crate::kernel::Isa;

const LANES: usize = 16;
/// 21 products of two derivatives, then six of a derivative and the residual.
const SUMS: usize = 27;

/// The sums, in the order (0,0), (1,0), (1,1), (2,0), ... then the six right-hand sides.
#[derive(Debug, Clone)]
pub(crate) struct NormalSums([f64; SUMS]);

impl Default for NormalSums {
    fn default() -> Self {
        Self([0.0; SUMS])
    }
}

impl NormalSums {
    pub fn into_system(self, hessian: &mut Matrix6<f64>, gradient: &mut Vector6<f64>) {
        let mut sums = self.0.into_iter();
        for i in 0..6 {
            for l in 0..=i {
                let s = sums.next().unwrap_or(0.0);
                hessian[(i, l)] = s;
                hessian[(l, i)] = s;
            }
        }
        for i in 0..6 {
            gradient[i] = sums.next().unwrap_or(0.0);
        }
    }
}

/// Add `sum w (scale J_i)(scale J_l)` and `sum w (scale J_i) r` over an image, row by row.
pub(crate) fn accumulate_normal(
    isa: Isa,
    cols: usize,
    weight: &[f32],
    residual: &[f32],
    scale: &[f32],
    columns: [&[f32]; 6],
    sums: &mut NormalSums,
) {
    for start in (0..weight.len()).step_by(cols.max(1)) {
        let end = (start + cols).min(weight.len());
        let j = columns.map(|x| row_of(x, start, end));
        let [w, r, s] = [weight, residual, scale].map(|x| row_of(x, start, end));
        add_row(isa, w, r, s, j, sums);
    }
}

fn row_of(image: &[f32], start: usize, end: usize) -> &[f32] {
    image.get(start..end).unwrap_or(&[])
}

fn add_row(isa: Isa, w: &[f32], r: &[f32], s: &[f32], j: [&[f32]; 6], sums: &mut NormalSums) {
    match isa {
        // SAFETY: `Isa` values beyond the scalar one exist only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { add_row_avx512(w, r, s, j, sums) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { add_row_avx2(w, r, s, j, sums) },
        _ => add_row_portable(w, r, s, j, sums),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add_row_avx512(w: &[f32], r: &[f32], s: &[f32], j: [&[f32]; 6], sums: &mut NormalSums) {
    add_row_portable(w, r, s, j, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_row_avx2(w: &[f32], r: &[f32], s: &[f32], j: [&[f32]; 6], sums: &mut NormalSums) {
    add_row_portable(w, r, s, j, sums);
}

/// Sixteen partial sums side by side, so that the compiler may keep them in vector registers.
#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; all rows have the length of the first, checked at the top"
)]
fn add_row_portable(w: &[f32], r: &[f32], s: &[f32], j: [&[f32]; 6], sums: &mut NormalSums) {
    let n = w.len();
    if r.len() != n || s.len() != n || j.iter().any(|x| x.len() != n) {
        debug_assert!(false, "rows of different length");
        return;
    }
    let mut acc = [[0f32; LANES]; SUMS];
    let mut tile = [[0f32; LANES]; 6];
    let mut start = 0;
    while start < n {
        let len = LANES.min(n - start);
        let mut weight = [0f32; LANES];
        let mut residual = [0f32; LANES];
        let mut scale = [0f32; LANES];
        weight[..len].copy_from_slice(&w[start..start + len]);
        residual[..len].copy_from_slice(&r[start..start + len]);
        scale[..len].copy_from_slice(&s[start..start + len]);
        for (t, column) in tile.iter_mut().zip(j) {
            *t = [0.0; LANES];
            t[..len].copy_from_slice(&column[start..start + len]);
            for lane in 0..LANES {
                t[lane] *= scale[lane];
            }
        }
        let mut at = 0;
        for i in 0..6 {
            let mut weighted = [0f32; LANES];
            for lane in 0..LANES {
                weighted[lane] = weight[lane] * tile[i][lane];
            }
            for other in tile.iter().take(i + 1) {
                for lane in 0..LANES {
                    acc[at][lane] += weighted[lane] * other[lane];
                }
                at += 1;
            }
            for lane in 0..LANES {
                acc[21 + i][lane] += weighted[lane] * residual[lane];
            }
        }
        start += LANES;
    }
    for (sum, lanes) in sums.0.iter_mut().zip(&acc) {
        *sum += lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
}
