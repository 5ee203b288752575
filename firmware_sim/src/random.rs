//! Randomness from one seed with named sub-streams, so that one more consumer never shifts the others.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Standard deviation of a value of [`Stream::raw_four`]: the variance of four digits is 4 (16^2 - 1) / 12 = 85.
pub const SIGMA_RAW: f64 = 9.219_544_457_292_887;

/// One named stream of a seed. Same seed and name, same numbers, on every machine.
#[derive(Debug, Clone)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream `name` of `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a spreads the name over 64 bits; SplitMix64 inside `seed_from_u64` does the rest.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ hash))
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 32 random bits, never 0.
    pub fn nonzero_u32(&mut self) -> u32 {
        loop {
            let value = (self.bits() >> 32) as u32;
            if value != 0 {
                return value;
            }
        }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Zero mean, unit variance: the sum of four uniforms (Irwin-Hall), bounded at 3.46 sigma. A sensor's noise is bounded
    /// as well, and this costs one draw in the control cycle.
    #[inline]
    pub fn noise(&mut self) -> f64 {
        let bits = self.bits();
        let sum =
            (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        // Each 16-bit term has variance (2^32 - 1) / 12.
        (sum as f64 - 131_070.0) * (1.732_050_807_568_877_2 / 65_536.0)
    }

    /// Four independent values of one draw, each the sum of four hexadecimal digits about its mean: integers of standard deviation
    /// [`SIGMA_RAW`], bounded at 3.25 of it. Steps of 0.11 sigma are finer than the resolution of any channel they are put on, and every
    /// control cycle needs a dozen.
    #[inline]
    pub fn raw_four(&mut self) -> [f64; 4] {
        const DIGITS: u64 = 0x0f0f_0f0f_0f0f_0f0f;
        const OCTETS: u64 = 0x00ff_00ff_00ff_00ff;
        // An integer below 2^52 in the low bits of 2^52 is that many above 2^52; four digits have the mean 30.
        const BASE: u64 = 0x4330_0000_0000_0000;
        const MEAN: f64 = 4_503_599_627_370_496.0 + 30.0;
        let bits = self.bits();
        let pairs = (bits & DIGITS) + ((bits >> 4) & DIGITS);
        let sums = (pairs & OCTETS) + ((pairs >> 8) & OCTETS);
        [0, 16, 32, 48].map(|shift| f64::from_bits(BASE | ((sums >> shift) & 0xffff)) - MEAN)
    }

    /// Standard normal by Box and Muller, unbounded; with `libm`, so that every machine gives the same bits.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(core::f64::consts::TAU * self.uniform())
    }

    /// A Poisson number of mean `mean`: by inversion below 30, by the normal limit above (relative error of a tail
    /// probability there is far below the electronic noise of a panel).
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 30.0 {
            let value = mean + libm::sqrt(mean) * self.normal();
            return libm::floor(value + 0.5).max(0.0);
        }
        let limit = libm::exp(-mean);
        let mut product = self.uniform();
        let mut count = 0.0;
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }

    /// A direction, uniform on the sphere.
    pub fn direction(&mut self) -> [f64; 3] {
        let z = 2.0 * self.uniform() - 1.0;
        let angle = core::f64::consts::TAU * self.uniform();
        let radius = libm::sqrt((1.0 - z * z).max(0.0));
        [radius * libm::cos(angle), radius * libm::sin(angle), z]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_are_independent_and_repeatable() {
        let (mut a, mut b, mut c) = (
            Stream::new(7, "encoder"),
            Stream::new(7, "panel"),
            Stream::new(7, "encoder"),
        );
        let first = a.bits();
        assert_ne!(first, b.bits());
        assert_eq!(first, c.bits());
    }

    #[test]
    fn noise_poisson_and_normal_have_the_mean_and_variance_they_claim() {
        let mut stream = Stream::new(1, "test");
        let mut check = |mean: f64, variance: f64, draw: &mut dyn FnMut(&mut Stream) -> f64| {
            let n = 40_000;
            let values: Vec<f64> = (0..n).map(|_| draw(&mut stream)).collect();
            let got = values.iter().sum::<f64>() / n as f64;
            let spread = values.iter().map(|v| (v - got) * (v - got)).sum::<f64>() / n as f64;
            assert!(
                (got - mean).abs() < 5.0 * (variance / n as f64).sqrt(),
                "mean {got} against {mean}"
            );
            assert!(
                (spread / variance - 1.0).abs() < 0.05,
                "variance {spread} against {variance}"
            );
        };
        check(0.0, 1.0, &mut Stream::noise);
        for k in 0..4 {
            check(0.0, 1.0, &mut |s| s.raw_four()[k] / SIGMA_RAW);
        }
        check(0.0, 1.0, &mut Stream::normal);
        check(4.0, 4.0, &mut |s| s.poisson(4.0));
        check(900.0, 900.0, &mut |s| s.poisson(900.0));
    }
}
