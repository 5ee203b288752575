//! The three inner loops of the fast projector, each in three instruction sets with the scalar one as the reference.
//!
//! Voxels are 15-bit words and interpolation weights 15-bit fractions, so that one multiply-add of word pairs interpolates a voxel
//! row: the horizontal pass is integer arithmetic and gives the same bits in every instruction set. The vertical pass is f32.

/// Outputs per block: one AVX-512 register of f32.
pub(crate) const LANES: usize = 16;
/// Fixed-point one of the interpolation weights.
pub(crate) const WEIGHT_ONE: f32 = 32767.0;
/// The largest step between outputs, in voxels, for which a block of 16 outputs reads at most 32 voxels.
pub(crate) const STEP_MAX: f64 = 1.9;

/// Instruction set of the projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Portable Rust; the reference.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
}

impl Isa {
    /// The instruction sets this processor has, the best last.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut, reason = "other processors have the scalar path only")]
        let mut found = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa::Avx2);
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    found.push(Isa::Avx512);
                }
            }
        }
        found
    }

    /// The fastest this processor has.
    #[must_use]
    pub fn best() -> Isa {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Isa::available().last().copied().unwrap_or(Isa::Scalar))
    }
}

/// Where 16 neighbouring outputs read their two voxels each, and how they weigh them.
///
/// `index` holds word pairs for AVX-512 and the scalar path (from `base[0]`), byte shuffles per group of four outputs for AVX2
/// (from `base[group]`).
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Taps {
    index: [u16; 32],
    weight: [i16; 32],
    base: [i32; 4],
}

impl Taps {
    pub const EMPTY: Taps = Taps {
        index: [0; 32],
        weight: [0; 32],
        base: [0; 4],
    };
}

/// Taps of the blocks `block0..block0 + taps.len()`: output `i` reads voxel `offset + step * i` of a row.
pub(crate) fn prepare(isa: Isa, taps: &mut [Taps], block0: usize, offset: f64, step: f64) {
    for (n, t) in taps.iter_mut().enumerate() {
        let x0 = offset + step * ((block0 + n) * LANES) as f64;
        let base = x0.floor();
        let (fraction, step) = ((x0 - base) as f32, step as f32);
        match isa {
            // SAFETY: `Isa::available` names these only after the processor was asked.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::taps_avx512(t, base as i32, fraction, step) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::taps_avx2(t, base as i32, fraction, step) },
            _ => taps_scalar(t, base as i32, fraction, step),
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "32 words, 16 lanes")]
fn taps_scalar(t: &mut Taps, base: i32, fraction: f32, step: f32) {
    t.base = [base; 4];
    for lane in 0..LANES {
        let x = fraction + step * lane as f32;
        let whole = x.floor();
        let weight = ((x - whole) * WEIGHT_ONE).round_ties_even() as i16;
        t.index[2 * lane] = whole as u16;
        t.index[2 * lane + 1] = whole as u16 + 1;
        t.weight[2 * lane] = WEIGHT_ONE as i16 - weight;
        t.weight[2 * lane + 1] = weight;
    }
}

/// Interpolate one voxel row into `taps.len() * 16` outputs. `origin` is the place of voxel 0 in `words`.
pub(crate) fn interpolate_row(
    isa: Isa,
    words: &[i16],
    origin: usize,
    taps: &[Taps],
    out: &mut [f32],
) {
    debug_assert!(out.len() >= taps.len() * LANES);
    // Every window is checked here, once a row, so that the vector loads below stay inside the words.
    let (first, last) = (taps.first(), taps.last());
    let (Some(first), Some(last)) = (first, last) else {
        return;
    };
    let low = origin as i64 + i64::from(first.base[0]);
    let high = origin as i64 + i64::from(last.base[3].max(last.base[0])) + 32;
    if low < 0 || high > words.len() as i64 || out.len() < taps.len() * LANES {
        debug_assert!(
            false,
            "taps outside the voxel rows: {low} to {high} of {}",
            words.len()
        );
        return;
    }
    match isa {
        // SAFETY: the instruction set was detected; bases rise with the block, and the windows were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::row_avx512(words, origin, taps, out) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::row_avx2(words, origin, taps, out) },
        _ => row_scalar(words, origin, taps, out),
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; the caller checks the windows"
)]
fn row_scalar(words: &[i16], origin: usize, taps: &[Taps], out: &mut [f32]) {
    for (t, o) in taps.iter().zip(out.chunks_exact_mut(LANES)) {
        let start = (origin as i64 + i64::from(t.base[0])) as usize;
        let window = &words[start..start + 32];
        for (lane, value) in o.iter_mut().enumerate() {
            let a = i32::from(window[usize::from(t.index[2 * lane]) & 31])
                * i32::from(t.weight[2 * lane]);
            let b = i32::from(window[usize::from(t.index[2 * lane + 1]) & 31])
                * i32::from(t.weight[2 * lane + 1]);
            *value = (a + b) as f32;
        }
    }
}

/// Slabs whose interpolated rows are added to a row of the image at once.
pub(crate) const GROUP: usize = 4;

/// What one slab adds to a row of the image: a value between two interpolated voxel rows, `fraction` of the way to the second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Part<'a> {
    pub upper: &'a [f32],
    pub lower: &'a [f32],
    pub fraction: f32,
    pub depth_weight: f32,
}

/// Add parts to a row of sums, and weighted by their depth to another. All rows are of one length, a multiple of 16.
pub(crate) fn add_parts(
    isa: Isa,
    parts: &[Part<'_>],
    sum: &mut [f32],
    weighted: Option<&mut [f32]>,
) {
    let width = sum.len();
    let fits = width.is_multiple_of(LANES)
        && weighted.as_ref().is_none_or(|w| w.len() == width)
        && parts
            .iter()
            .all(|p| p.upper.len() == width && p.lower.len() == width);
    if !fits {
        debug_assert!(false, "vertical pass over rows of different lengths");
        return;
    }
    match isa {
        // SAFETY: the instruction set was detected, and every row was checked above to be of one length.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::add_avx512(parts, sum, weighted) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::add_avx2(parts, sum, weighted) },
        _ => add_scalar(parts, sum, weighted),
    }
}

fn add_scalar(parts: &[Part<'_>], sum: &mut [f32], mut weighted: Option<&mut [f32]>) {
    for part in parts {
        let f = part.fraction;
        let between = |(a, b): (&f32, &f32)| a + f * (b - a);
        let rows = part.upper.iter().zip(part.lower);
        for (s, ab) in sum.iter_mut().zip(rows.clone()) {
            *s += between(ab);
        }
        if let Some(weighted) = weighted.as_deref_mut() {
            for (s, ab) in weighted.iter_mut().zip(rows) {
                *s += part.depth_weight * between(ab);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! AVX2 and AVX-512. Every function is unsafe twice over: the processor must have the instruction set, and the caller must have
    //! checked that the windows and rows lie inside the slices.

    use std::arch::x86_64::*;

    use super::{LANES, Part, Taps, WEIGHT_ONE};

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub fn taps_avx512(t: &mut Taps, base: i32, fraction: f32, step: f32) {
        let lane = _mm512_setr_ps(
            0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.,
        );
        let x = _mm512_add_ps(
            _mm512_set1_ps(fraction),
            _mm512_mul_ps(_mm512_set1_ps(step), lane),
        );
        let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
        let weight = _mm512_cvtps_epi32(_mm512_mul_ps(
            _mm512_sub_ps(x, whole),
            _mm512_set1_ps(WEIGHT_ONE),
        ));
        let first = _mm512_cvttps_epi32(whole);
        let second = _mm512_slli_epi32::<16>(_mm512_add_epi32(first, _mm512_set1_epi32(1)));
        let rest = _mm512_sub_epi32(_mm512_set1_epi32(WEIGHT_ONE as i32), weight);
        t.base = [base; 4];
        // SAFETY: both arrays hold 64 bytes and are aligned to 64.
        unsafe {
            _mm512_store_si512(t.index.as_mut_ptr().cast(), _mm512_or_si512(first, second));
            _mm512_store_si512(
                t.weight.as_mut_ptr().cast(),
                _mm512_or_si512(rest, _mm512_slli_epi32::<16>(weight)),
            );
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub unsafe fn row_avx512(words: &[i16], origin: usize, taps: &[Taps], out: &mut [f32]) {
        let row = words.as_ptr().wrapping_add(origin);
        for (n, t) in taps.iter().enumerate() {
            // SAFETY: the caller checked that 32 words from each base lie inside, and that out holds 16 per tap.
            unsafe {
                let window = _mm512_loadu_si512(row.wrapping_offset(t.base[0] as isize).cast());
                let pairs =
                    _mm512_permutexvar_epi16(_mm512_load_si512(t.index.as_ptr().cast()), window);
                let value = _mm512_madd_epi16(pairs, _mm512_load_si512(t.weight.as_ptr().cast()));
                _mm512_storeu_ps(out.as_mut_ptr().add(n * LANES), _mm512_cvtepi32_ps(value));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub unsafe fn add_avx512(parts: &[Part<'_>], sum: &mut [f32], weighted: Option<&mut [f32]>) {
        // The number of parts is made a constant, so that pointers and fractions stay in registers.
        // SAFETY: as for this function.
        unsafe {
            match *parts {
                [a] => add_avx512_of([a], sum, weighted),
                [a, b] => add_avx512_of([a, b], sum, weighted),
                [a, b, c] => add_avx512_of([a, b, c], sum, weighted),
                [a, b, c, d] => add_avx512_of([a, b, c, d], sum, weighted),
                _ => debug_assert!(parts.is_empty(), "more parts than a group has"),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn add_avx512_of<const N: usize>(
        parts: [Part<'_>; N],
        sum: &mut [f32],
        weighted: Option<&mut [f32]>,
    ) {
        let rows = parts.map(|p| (p.upper.as_ptr(), p.lower.as_ptr()));
        let factors = parts.map(|p| (_mm512_set1_ps(p.fraction), _mm512_set1_ps(p.depth_weight)));
        let weighted = weighted.map(|w| w.as_mut_ptr());
        let width = sum.len();
        let sum = sum.as_mut_ptr();
        for o in (0..width).step_by(LANES) {
            // SAFETY: the caller checked that all rows are as wide as the sums, a multiple of 16.
            unsafe {
                let mut s = _mm512_loadu_ps(sum.add(o));
                let mut w = weighted.map_or(_mm512_setzero_ps(), |w| _mm512_loadu_ps(w.add(o)));
                for ((upper, lower), (fraction, depth)) in rows.into_iter().zip(factors) {
                    let a = _mm512_loadu_ps(upper.add(o));
                    let b = _mm512_loadu_ps(lower.add(o));
                    let v = _mm512_fmadd_ps(fraction, _mm512_sub_ps(b, a), a);
                    s = _mm512_add_ps(s, v);
                    w = _mm512_fmadd_ps(depth, v, w);
                }
                _mm512_storeu_ps(sum.add(o), s);
                if let Some(weighted) = weighted {
                    _mm512_storeu_ps(weighted.add(o), w);
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn taps_avx2(t: &mut Taps, base: i32, fraction: f32, step: f32) {
        for half in 0..2 {
            let lane = _mm256_add_ps(
                _mm256_setr_ps(0., 1., 2., 3., 4., 5., 6., 7.),
                _mm256_set1_ps((half * 8) as f32),
            );
            let x = _mm256_add_ps(
                _mm256_set1_ps(fraction),
                _mm256_mul_ps(_mm256_set1_ps(step), lane),
            );
            let whole = _mm256_floor_ps(x);
            let weight = _mm256_cvtps_epi32(_mm256_mul_ps(
                _mm256_sub_ps(x, whole),
                _mm256_set1_ps(WEIGHT_ONE),
            ));
            let index = _mm256_cvttps_epi32(whole);
            let group = _mm256_shuffle_epi32::<0>(index);
            let byte = _mm256_slli_epi32::<1>(_mm256_sub_epi32(index, group));
            let bytes = _mm256_add_epi32(
                _mm256_mullo_epi32(byte, _mm256_set1_epi32(0x0101_0101)),
                _mm256_set1_epi32(0x0302_0100),
            );
            let rest = _mm256_sub_epi32(_mm256_set1_epi32(WEIGHT_ONE as i32), weight);
            let weights = _mm256_or_si256(rest, _mm256_slli_epi32::<16>(weight));
            // SAFETY: 16 words from half * 16 lie inside arrays of 32.
            unsafe {
                _mm256_storeu_si256(t.index.as_mut_ptr().add(half * 16).cast(), bytes);
                _mm256_storeu_si256(t.weight.as_mut_ptr().add(half * 16).cast(), weights);
            }
            let (low, high) = (
                _mm256_extract_epi32::<0>(group),
                _mm256_extract_epi32::<4>(group),
            );
            if half == 0 {
                t.base[0] = base + low;
                t.base[1] = base + high;
            } else {
                t.base[2] = base + low;
                t.base[3] = base + high;
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn row_avx2(words: &[i16], origin: usize, taps: &[Taps], out: &mut [f32]) {
        let row = words.as_ptr().wrapping_add(origin);
        for (n, t) in taps.iter().enumerate() {
            // SAFETY: the caller checked that 32 words from the last base lie inside; each load takes 8.
            unsafe {
                let load = |g: i32| _mm_loadu_si128(row.wrapping_offset(g as isize).cast());
                let low = _mm256_set_m128i(load(t.base[1]), load(t.base[0]));
                let high = _mm256_set_m128i(load(t.base[3]), load(t.base[2]));
                let index: *const __m256i = t.index.as_ptr().cast();
                let weight: *const __m256i = t.weight.as_ptr().cast();
                let a = _mm256_madd_epi16(
                    _mm256_shuffle_epi8(low, _mm256_loadu_si256(index)),
                    _mm256_loadu_si256(weight),
                );
                let b = _mm256_madd_epi16(
                    _mm256_shuffle_epi8(high, _mm256_loadu_si256(index.add(1))),
                    _mm256_loadu_si256(weight.add(1)),
                );
                let o = out.as_mut_ptr().add(n * LANES);
                _mm256_storeu_ps(o, _mm256_cvtepi32_ps(a));
                _mm256_storeu_ps(o.add(8), _mm256_cvtepi32_ps(b));
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn add_avx2(parts: &[Part<'_>], sum: &mut [f32], weighted: Option<&mut [f32]>) {
        // The number of parts is made a constant, so that pointers and fractions stay in registers.
        // SAFETY: as for this function.
        unsafe {
            match *parts {
                [a] => add_avx2_of([a], sum, weighted),
                [a, b] => add_avx2_of([a, b], sum, weighted),
                [a, b, c] => add_avx2_of([a, b, c], sum, weighted),
                [a, b, c, d] => add_avx2_of([a, b, c, d], sum, weighted),
                _ => debug_assert!(parts.is_empty(), "more parts than a group has"),
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn add_avx2_of<const N: usize>(
        parts: [Part<'_>; N],
        sum: &mut [f32],
        weighted: Option<&mut [f32]>,
    ) {
        let rows = parts.map(|p| (p.upper.as_ptr(), p.lower.as_ptr()));
        let factors = parts.map(|p| (_mm256_set1_ps(p.fraction), _mm256_set1_ps(p.depth_weight)));
        let weighted = weighted.map(|w| w.as_mut_ptr());
        let width = sum.len();
        let sum = sum.as_mut_ptr();
        for o in (0..width).step_by(8) {
            // SAFETY: the caller checked that all rows are as wide as the sums, a multiple of 16.
            unsafe {
                let mut s = _mm256_loadu_ps(sum.add(o));
                let mut w = weighted.map_or(_mm256_setzero_ps(), |w| _mm256_loadu_ps(w.add(o)));
                for ((upper, lower), (fraction, depth)) in rows.into_iter().zip(factors) {
                    let a = _mm256_loadu_ps(upper.add(o));
                    let b = _mm256_loadu_ps(lower.add(o));
                    let v = _mm256_fmadd_ps(fraction, _mm256_sub_ps(b, a), a);
                    s = _mm256_add_ps(s, v);
                    w = _mm256_fmadd_ps(depth, v, w);
                }
                _mm256_storeu_ps(sum.add(o), s);
                if let Some(weighted) = weighted {
                    _mm256_storeu_ps(weighted.add(o), w);
                }
            }
        }
    }
}
