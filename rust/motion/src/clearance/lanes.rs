//! Sixteen single-precision lanes, three ways: AVX-512, AVX2 with FMA, and portable code for everything else.
//!
//! All three give the same bits: every operation is a correctly rounded IEEE 754 one (fused multiply-add included), and
//! `min`, `max` and the comparisons are defined by ordered comparisons on every path. The choice is made at run time.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// Sixteen numbers side by side, aligned to a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Block(pub [f32; 16]);

impl Block {
    pub(crate) const fn splat(x: f32) -> Self {
        Self([x; 16])
    }
}

/// How sixteen lanes are computed on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Plain Rust: any processor. Fast where fused multiply-add is part of the baseline (Arm64).
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
}

impl Backend {
    /// The fastest path this processor can run.
    #[must_use]
    pub fn best() -> Self {
        [Self::Avx512, Self::Avx2]
            .into_iter()
            .find(|backend| backend.runs_here())
            .unwrap_or(Self::Portable)
    }

    /// Whether this processor can run the path.
    #[must_use]
    pub fn runs_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// This path if the processor can run it, otherwise the portable one.
    #[must_use]
    pub fn or_portable(self) -> Self {
        if self.runs_here() {
            self
        } else {
            Self::Portable
        }
    }

    /// Every path this processor can run.
    pub fn all_here() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(|backend| backend.runs_here())
    }
}

/// Sixteen f32 lanes. Comparison masks have lane i in bit i.
pub(crate) trait Lanes: Copy {
    fn splat(x: f32) -> Self;
    fn load(block: &Block) -> Self;
    fn store(self) -> Block;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    /// The smaller of two; `other` if they compare equal.
    fn min(self, other: Self) -> Self;
    /// The larger of two; `other` if they compare equal.
    fn max(self, other: Self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    fn lt(self, other: Self) -> u32;
    /// `then` in the lanes where `self < other`, `otherwise` elsewhere.
    fn if_lt(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// The smallest lane.
    fn least(self) -> f32;
}

/// Sixteen points or directions, loaded. Written without closures: a closure is compiled for the base processor, and what it
/// calls is then called, not inlined.
#[inline(always)]
pub(crate) fn load3<L: Lanes>(blocks: &[Block; 3]) -> [L; 3] {
    let [x, y, z] = blocks;
    [L::load(x), L::load(y), L::load(z)]
}

/// `n . p + k` for one plane and sixteen points.
#[inline(always)]
pub(crate) fn height<L: Lanes>([a, b, c, k]: [f32; 4], [x, y, z]: [L; 3]) -> L {
    L::splat(a).mul_add(
        x,
        L::splat(b).mul_add(y, L::splat(c).mul_add(z, L::splat(k))),
    )
}

/// Sixteen dot products.
#[inline(always)]
pub(crate) fn dot<L: Lanes>([a, b, c]: [L; 3], [x, y, z]: [L; 3]) -> L {
    a.mul_add(x, b.mul_add(y, c.mul(z)))
}

/// Sixteen differences.
#[inline(always)]
pub(crate) fn minus<L: Lanes>([a, b, c]: [L; 3], [x, y, z]: [L; 3]) -> [L; 3] {
    [a.sub(x), b.sub(y), c.sub(z)]
}

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 16]);

#[inline(always)]
fn zip(a: [f32; 16], b: [f32; 16], f: impl Fn(f32, f32) -> f32) -> Portable {
    let mut out = a;
    for (x, y) in out.iter_mut().zip(b) {
        *x = f(*x, y);
    }
    Portable(out)
}

impl Lanes for Portable {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 16])
    }
    #[inline(always)]
    fn load(block: &Block) -> Self {
        Self(block.0)
    }
    #[inline(always)]
    fn store(self) -> Block {
        Block(self.0)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| a / b)
    }
    // Where fused multiply-add is no part of the baseline it is sixteen calls: kept in one place, or the code of every
    // kernel is made of them.
    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        let mut out = self.0;
        for ((x, f), t) in out.iter_mut().zip(factor.0).zip(term.0) {
            *x = x.mul_add(f, t);
        }
        Self(out)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        zip(self.0, other.0, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        zip(self.0, sign.0, f32::copysign)
    }
    #[inline(always)]
    fn lt(self, other: Self) -> u32 {
        let mut mask = 0;
        for (lane, (a, b)) in self.0.iter().zip(other.0).enumerate() {
            mask |= u32::from(*a < b) << lane;
        }
        mask
    }
    #[inline(always)]
    fn if_lt(self, other: Self, then: Self, otherwise: Self) -> Self {
        let mut out = otherwise.0;
        for (x, ((a, b), t)) in out.iter_mut().zip(self.0.iter().zip(other.0).zip(then.0)) {
            if *a < b {
                *x = t;
            }
        }
        Self(out)
    }
    #[inline(always)]
    fn least(self) -> f32 {
        self.0
            .into_iter()
            .fold(f32::INFINITY, |a, b| if a < b { a } else { b })
    }
}

/// Two registers of eight lanes.
///
/// SAFETY (every method): values of this type exist only inside functions compiled for, and called after a run-time check
/// of, AVX2 and FMA (`Backend::runs_here`).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx2 {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(block: &Block) -> Self {
        let low = block.0.as_ptr();
        unsafe { Self(_mm256_load_ps(low), _mm256_load_ps(low.add(8))) }
    }
    #[inline(always)]
    fn store(self) -> Block {
        let mut block = Block::splat(0.0);
        let low = block.0.as_mut_ptr();
        unsafe {
            _mm256_store_ps(low, self.0);
            _mm256_store_ps(low.add(8), self.1);
        }
        block
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_add_ps(self.0, other.0),
                _mm256_add_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_sub_ps(self.0, other.0),
                _mm256_sub_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_mul_ps(self.0, other.0),
                _mm256_mul_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_div_ps(self.0, other.0),
                _mm256_div_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        unsafe {
            Self(
                _mm256_fmadd_ps(self.0, factor.0, term.0),
                _mm256_fmadd_ps(self.1, factor.1, term.1),
            )
        }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        unsafe { Self(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)) }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_andnot_ps(sign, self.0),
                _mm256_andnot_ps(sign, self.1),
            )
        }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_min_ps(self.0, other.0),
                _mm256_min_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_max_ps(self.0, other.0),
                _mm256_max_ps(self.1, other.1),
            )
        }
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            Self(
                _mm256_or_ps(_mm256_andnot_ps(bit, self.0), _mm256_and_ps(bit, sign.0)),
                _mm256_or_ps(_mm256_andnot_ps(bit, self.1), _mm256_and_ps(bit, sign.1)),
            )
        }
    }
    #[inline(always)]
    fn lt(self, other: Self) -> u32 {
        unsafe {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)) as u32;
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1)) as u32;
            low | (high << 8)
        }
    }
    #[inline(always)]
    fn if_lt(self, other: Self, then: Self, otherwise: Self) -> Self {
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1);
            Self(
                _mm256_blendv_ps(otherwise.0, then.0, low),
                _mm256_blendv_ps(otherwise.1, then.1, high),
            )
        }
    }
    #[inline(always)]
    fn least(self) -> f32 {
        unsafe {
            let eight = _mm256_min_ps(self.0, self.1);
            let four = _mm_min_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

/// One register of sixteen lanes.
///
/// SAFETY (every method): values of this type exist only inside functions compiled for, and called after a run-time check
/// of, AVX-512F (`Backend::runs_here`).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx512 {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(block: &Block) -> Self {
        unsafe { Self(_mm512_load_ps(block.0.as_ptr())) }
    }
    #[inline(always)]
    fn store(self) -> Block {
        let mut block = Block::splat(0.0);
        unsafe { _mm512_store_ps(block.0.as_mut_ptr(), self.0) };
        block
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        unsafe { Self(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        unsafe {
            let bit = _mm512_set1_epi32(i32::MIN);
            let magnitude = _mm512_andnot_epi32(bit, _mm512_castps_si512(self.0));
            let taken = _mm512_and_epi32(bit, _mm512_castps_si512(sign.0));
            Self(_mm512_castsi512_ps(_mm512_or_epi32(magnitude, taken)))
        }
    }
    #[inline(always)]
    fn lt(self, other: Self) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)) }
    }
    #[inline(always)]
    fn if_lt(self, other: Self, then: Self, otherwise: Self) -> Self {
        unsafe {
            let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(mask, otherwise.0, then.0))
        }
    }
    #[inline(always)]
    fn least(self) -> f32 {
        unsafe { _mm512_reduce_min_ps(self.0) }
    }
}
