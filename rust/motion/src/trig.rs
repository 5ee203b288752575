//! Sine, cosine and arc tangent from IEEE 754 basic operations only.
//!
//! The functions of the C library differ between platforms in the last bit, and a compiler cannot vectorise a call. These
//! have no branches and no calls, so that a loop over many poses becomes vector code on its own, and a single call, a
//! batch, AVX-512 and NEON give the same bits. Error below 2 units in the last place (checked against the platform in the
//! tests). Polynomials: the minimax coefficients published with fdlibm (sine, cosine) and Cephes (arc tangent).

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4, PI};

/// 1.5 * 2^52: adding it rounds to the nearest integer and leaves that integer in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

// pi/2 in three parts of 33 bits, so that n * part is exact for |n| < 2^20.
#[allow(
    clippy::approx_constant,
    reason = "the leading 33 bits of pi/2, not pi/2"
)]
const PIO2_1: f64 = 1.570_796_326_734_125_6;
const PIO2_2: f64 = 6.077_100_506_303_966e-11;
const PIO2_3: f64 = 2.022_266_248_795_950_6e-21;

/// The largest angle for which the reduction keeps its accuracy, far beyond any couch axis.
pub(crate) const ANGLE_MAX: f64 = 1.0e5;

/// Sine and cosine of an angle in radians, |angle| <= [`ANGLE_MAX`].
#[inline(always)]
pub(crate) fn sin_cos(angle: f64) -> (f64, f64) {
    let shifted = angle * FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let quadrant = shifted.to_bits();
    let x = ((angle - n * PIO2_1) - n * PIO2_2) - n * PIO2_3;
    let z = x * x;

    let s = z
        * (2.755_731_370_707_006_8e-6
            + z * (-2.505_076_025_340_686_3e-8 + z * 1.589_690_995_211_55e-10));
    let s = -1.666_666_666_666_663_2e-1
        + z * (8.333_333_333_322_49e-3 + z * (-1.984_126_982_985_795e-4 + s));
    let sine = x + x * z * s;

    let c = z
        * (-2.755_731_435_139_066_3e-7
            + z * (2.087_572_321_298_175e-9 - z * 1.135_964_755_778_819_5e-11));
    let c = 4.166_666_666_666_66e-2
        + z * (-1.388_888_888_887_411e-3 + z * (2.480_158_728_947_673e-5 + c));
    let half = 0.5 * z;
    let w = 1.0 - half;
    let cosine = w + (((1.0 - w) - half) + z * z * c);

    let odd = quadrant & 1 == 1;
    let (a, b) = if odd { (cosine, sine) } else { (sine, cosine) };
    let sin_sign = (quadrant & 2) << 62;
    let cos_sign = (quadrant.wrapping_add(1) & 2) << 62;
    (
        f64::from_bits(a.to_bits() ^ sin_sign),
        f64::from_bits(b.to_bits() ^ cos_sign),
    )
}

/// Angle of the vector (x, y) in (-pi, pi]; zero for the zero vector.
#[inline(always)]
pub(crate) fn atan2(y: f64, x: f64) -> f64 {
    const TAN_3PI_8: f64 = 2.414_213_562_373_095;
    const LOW: f64 = 6.123_233_995_736_766e-17; // pi/2 minus its nearest double
    let (a, b) = (y.abs(), x.abs());
    let steep = a > TAN_3PI_8 * b;
    let flat = a <= 0.66 * b;
    let middle = (a - b, a + b, FRAC_PI_4, 0.5 * LOW);
    let (num, den, base, low) = if flat { (a, b, 0.0, 0.0) } else { middle };
    let (num, den, base, low) = if steep {
        (-b, a, FRAC_PI_2, LOW)
    } else {
        (num, den, base, low)
    };
    let t = num / if den == 0.0 { 1.0 } else { den };
    let z = t * t;
    let p = -1.615_753_718_733_365_2e1 + z * -8.750_608_600_031_904e-1;
    let p = -6.485_021_904_942_025e1
        + z * (-1.228_866_684_490_136_2e2 + z * (-7.500_855_792_314_705e1 + z * p));
    let q = 4.853_903_996_359_137e2
        + z * (4.328_810_604_912_903e2
            + z * (1.650_270_098_316_988_5e2 + z * (2.485_846_490_142_306_3e1 + z)));
    let q = 1.945_506_571_482_614e2 + z * q;
    let first = base + (t + (t * (z * p / q) + low));
    // The sign of x by its bit, not by a comparison: a wrist that stands at -0.0 must not jump by half a turn.
    let angle = if x.is_sign_negative() {
        (PI - first) + 2.0 * LOW
    } else {
        first
    };
    angle.copysign(y)
}

/// Arc sine of a value in [-1, 1]; not a number outside.
#[inline(always)]
pub(crate) fn asin(x: f64) -> f64 {
    atan2(x, ((1.0 - x) * (1.0 + x)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = f64> {
        (-400_000..400_000).map(|i| f64::from(i) * 3.7e-5)
    }

    #[test]
    fn sine_and_cosine_agree_with_the_platform() {
        for angle in samples() {
            let (s, c) = sin_cos(angle);
            assert!((s - angle.sin()).abs() <= 2.3e-16, "sin {angle}");
            assert!((c - angle.cos()).abs() <= 2.3e-16, "cos {angle}");
        }
        for turns in [-3000.0_f64, 3000.0, 15000.0] {
            let angle = turns + 0.1;
            assert!(
                (sin_cos(angle).0 - angle.sin()).abs() <= 2.3e-16,
                "sin {angle}"
            );
        }
    }

    #[test]
    fn quarter_turns_are_exact_to_the_representation_of_the_angle() {
        let (s, c) = sin_cos(FRAC_PI_2);
        assert_eq!(s, 1.0);
        assert!((c - FRAC_PI_2.cos()).abs() < 1e-30);
    }

    #[test]
    fn arc_tangent_agrees_with_the_platform_in_all_quadrants() {
        for angle in samples().map(|a| a * 0.212) {
            let (y, x) = (angle.sin() * 731.0, angle.cos() * 731.0);
            let (got, want) = (atan2(y, x), y.atan2(x));
            assert!(
                (got - want).abs() <= 4.5e-16 * want.abs().max(1e-300),
                "{angle}: {got} {want}"
            );
        }
        for (y, x) in [
            (0.0, 0.0),
            (1.0, 0.0),
            (-1.0, 0.0),
            (0.0, -1.0),
            (-0.0, 1.0),
        ] {
            assert_eq!(atan2(y, x), f64::atan2(y, x), "{y} {x}");
        }
    }

    #[test]
    fn arc_sine_agrees_with_the_platform_up_to_the_ends() {
        for i in -1000..=1000 {
            let x = f64::from(i) / 1000.0;
            assert!((asin(x) - x.asin()).abs() < 4e-16, "{x}");
        }
        assert!(asin(1.1).is_nan());
    }
}
