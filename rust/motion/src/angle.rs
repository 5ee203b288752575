//! Wrapping of angles to (-180, 180] degrees, which happens before any comparison.

use std::f64::consts::{PI, TAU};

/// Wraps an angle in degrees to (-180, 180]. Exact: the result differs from the argument by a whole number of turns.
#[must_use]
pub fn wrap_deg(angle_deg: f64) -> f64 {
    wrap(angle_deg, 180.0, 360.0)
}

/// Wraps an angle in radians to (-pi, pi].
#[must_use]
pub fn wrap_rad(angle: f64) -> f64 {
    wrap(angle, PI, TAU)
}

#[inline(always)]
fn wrap(angle: f64, half: f64, turn: f64) -> f64 {
    // The usual case first: a modulo would cost the last bit of an angle that needs none.
    if angle > -half && angle <= half {
        return angle;
    }
    let folded = angle % turn;
    if folded > half {
        folded - turn
    } else if folded <= -half {
        folded + turn
    } else {
        folded
    }
}

/// The angle less the whole turns nearest to it, without branches, for a kernel; not above half a turn but for round-off.
#[inline(always)]
pub(crate) fn less_turns(angle: f64) -> f64 {
    /// 1.5 * 2^52: adding it rounds to the nearest integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    angle - TAU * ((angle * (1.0 / TAU) + ROUND) - ROUND)
}

/// The angle `base + k turns` inside `[lower, upper]` that lies nearest to `near`; `None` where no turn fits.
/// `slack` is the round-off allowed at the ends of the range.
pub(crate) fn turn_within(base: f64, near: f64, lower: f64, upper: f64, slack: f64) -> Option<f64> {
    // The usual case without the rounding below, which costs more than the rest of a solution.
    if (near - base).abs() < PI && base >= lower - slack && base <= upper + slack {
        return Some(base);
    }
    let lowest = ((lower - slack - base) / TAU).ceil();
    let highest = ((upper + slack - base) / TAU).floor();
    if lowest > highest {
        return None;
    }
    let wanted = ((near - base) / TAU).round().max(lowest).min(highest);
    Some(base + wanted * TAU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_wrap_to_the_half_open_interval() {
        assert_eq!(wrap_deg(359.0), -1.0);
        assert_eq!(wrap_deg(180.0), 180.0);
        assert_eq!(wrap_deg(-180.0), 180.0);
        assert_eq!(wrap_deg(-540.0), 180.0);
        assert_eq!(wrap_deg(0.1), 0.1);
        assert!(wrap_deg(f64::NAN).is_nan());
    }

    #[test]
    fn whole_turns_are_taken_off_and_nothing_else() {
        for angle in [0.0, -0.0, 3.1, -3.1, PI, 1e-300] {
            assert_eq!(less_turns(angle), angle);
        }
        for angle in [-6.0, -3.2, 3.2, 7.0, 12.0, -12.0] {
            let got = less_turns(angle);
            assert!(
                got.abs() <= PI && (wrap_rad(angle) - got).abs() < 4e-15,
                "{angle}: {got}"
            );
        }
        assert!(less_turns(f64::NAN).is_nan());
    }

    #[test]
    fn the_turn_nearest_to_the_seed_is_taken_when_it_is_allowed() {
        let near = turn_within(0.5, 6.0, -7.0, 7.0, 0.0);
        assert!((near.unwrap_or(0.0) - (0.5 + TAU)).abs() < 1e-12);
        assert_eq!(turn_within(3.0, 0.0, -1.0, 1.0, 0.0), None);
    }
}
