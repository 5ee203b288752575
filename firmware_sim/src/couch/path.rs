//! A path in axis space and the jerk-limited motion along it.
//!
//! One scalar drives all six axes, so that the stop stays on the approved line too. Between waypoints the line has corners, where the couch
//! comes to rest: no jerk-limited motion can pass a corner without leaving the line.

use crate::limits::{AXES, Limits};
use crate::profile::{self, Profile, State};

/// Points of the longest path: homing goes out and back on each axis.
pub const POINTS_MAX: usize = 2 * AXES + 1;

/// A position of all axes in micro-units.
pub type Position = [f64; AXES];

/// A straight piece of the path: the scalar u runs from 0 to 1.
#[derive(Debug, Clone)]
struct Piece {
    /// Index of the waypoint that it leads to; pieces without a way are left out.
    leg: usize,
    from: Position,
    step: Position,
    limits: profile::Limits,
    /// Seconds at top speed: the weight of the piece in the progress of the whole.
    weight: f64,
}

/// A path from rest to rest.
#[derive(Debug, Clone, Default)]
pub struct Path {
    pieces: heapless::Vec<Piece, POINTS_MAX>,
    weight: f64,
    end: Position,
}

/// Set-point along the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetPoint {
    /// Position of the axes.
    pub position: Position,
    /// Speed of the axes.
    pub speed: Position,
}

fn piece(
    from: &Position,
    to: &Position,
    limits: &Limits,
    speed_share: f64,
    cap: impl Fn(usize) -> f64,
) -> Option<Piece> {
    let mut step = [0.0; AXES];
    let mut scalar = profile::Limits {
        speed: f64::INFINITY,
        accel: f64::INFINITY,
        jerk: f64::INFINITY,
    };
    for (k, ((step, axis), (from, to))) in step
        .iter_mut()
        .zip(limits)
        .zip(from.iter().zip(to))
        .enumerate()
    {
        *step = to - from;
        let length = step.abs();
        if length > 0.0 {
            scalar.speed = scalar
                .speed
                .min((f64::from(axis.speed_max) * speed_share).min(cap(k)) / length);
            scalar.accel = scalar.accel.min(f64::from(axis.accel_max) / length);
            scalar.jerk = scalar.jerk.min(f64::from(axis.jerk_max) / length);
        }
    }
    scalar.speed.is_finite().then(|| Piece {
        leg: 0,
        from: *from,
        step,
        limits: scalar,
        weight: 1.0 / scalar.speed,
    })
}

impl Path {
    /// The path from `start` through `points`. `speed_share` scales the speed limits, `cap` bounds the speed of each axis.
    pub fn new(
        start: &Position,
        points: &[Position],
        limits: &Limits,
        speed_share: f64,
        cap: impl Fn(usize) -> f64,
    ) -> Self {
        let mut path = Self {
            end: *start,
            ..Self::default()
        };
        for (leg, to) in points.iter().enumerate() {
            if let Some(mut piece) = piece(&path.end, to, limits, speed_share, &cap) {
                piece.leg = leg;
                path.weight += piece.weight;
                let _ = path.pieces.push(piece);
            }
            path.end = *to;
        }
        path
    }

    /// Both ends of what leads to the waypoint of this index; `None` where nothing does.
    pub fn leg(&self, index: usize) -> Option<(Position, Position)> {
        let piece = self.pieces.iter().find(|piece| piece.leg == index)?;
        Some((piece.position(0.0), piece.position(1.0)))
    }

    /// Whether any sampled position on the way to the waypoint of this index fails `test`; gives what it says.
    pub fn find_on<T>(&self, index: usize, test: impl FnMut(&Position) -> Option<T>) -> Option<T> {
        let piece = self.pieces.iter().find(|piece| piece.leg == index)?;
        piece.find(test)
    }

    /// Whether any sampled position of the path fails `test`; gives what it says.
    pub fn find<T>(&self, mut test: impl FnMut(&Position) -> Option<T>) -> Option<T> {
        self.pieces.iter().find_map(|piece| piece.find(&mut test))
    }

    /// Seconds of an uninterrupted motion.
    pub fn duration(&self) -> f64 {
        self.pieces
            .iter()
            .map(|piece| Profile::rest_to_rest(0.0, 1.0, &piece.limits).duration())
            .sum()
    }
}

impl Piece {
    fn find<T>(&self, mut test: impl FnMut(&Position) -> Option<T>) -> Option<T> {
        const SAMPLES: u32 = 64;
        (0..=SAMPLES).find_map(|k| test(&self.position(f64::from(k) / f64::from(SAMPLES))))
    }

    fn position(&self, u: f64) -> Position {
        let mut position = self.from;
        for (value, step) in position.iter_mut().zip(&self.step) {
            *value += u * step;
        }
        position
    }

    fn set_point(&self, state: &State) -> SetPoint {
        SetPoint {
            position: self.position(state.position),
            speed: self.step.map(|step| step * state.speed),
        }
    }
}

/// A motion under way: where on the path, and the profile of the piece at hand.
#[derive(Debug, Clone)]
pub struct Travel {
    path: Path,
    piece: usize,
    profile: Profile,
    began_us: u64,
    stopping: bool,
    done_weight: f64,
}

impl Travel {
    /// At rest at the begin of the path.
    pub fn new(path: Path) -> Self {
        Self {
            path,
            piece: 0,
            profile: Profile::rest_to_rest(0.0, 0.0, &UNIT),
            began_us: 0,
            stopping: false,
            done_weight: 0.0,
        }
    }

    #[inline]
    fn elapsed(&self, now_us: u64) -> f64 {
        // Signed, as processors convert signed integers in one step.
        now_us.saturating_sub(self.began_us) as i64 as f64 * 1e-6
    }

    fn state(&self, now_us: u64) -> State {
        self.profile.at(self.elapsed(now_us))
    }

    /// Index of the waypoint that is on the way to; `None` at the end.
    pub fn leg(&self) -> Option<usize> {
        self.path.pieces.get(self.piece).map(|piece| piece.leg)
    }

    /// Goes on from rest towards the end.
    pub fn start(&mut self, now_us: u64) {
        let at = self.profile.end();
        if let Some(piece) = self.path.pieces.get(self.piece) {
            self.profile = Profile::rest_to_rest(at, 1.0, &piece.limits);
        }
        self.began_us = now_us;
        self.stopping = false;
    }

    /// Comes to rest on the path as soon as the jerk limits allow. A stop under way is not begun anew.
    pub fn stop(&mut self, now_us: u64) {
        if self.stopping {
            return;
        }
        if let Some(piece) = self.path.pieces.get(self.piece) {
            self.profile = Profile::stop(self.state(now_us), &piece.limits);
            self.began_us = now_us;
        }
        self.stopping = true;
    }

    /// Set-point at `now_us`; goes over to the next piece when one is done.
    #[inline]
    pub fn advance(&mut self, now_us: u64) -> SetPoint {
        if !self.stopping && self.elapsed(now_us) >= self.profile.duration() {
            self.next_piece();
        }
        match self.path.pieces.get(self.piece) {
            Some(piece) => piece.set_point(&self.state(now_us)),
            None => SetPoint {
                position: self.path.end,
                speed: [0.0; AXES],
            },
        }
    }

    fn next_piece(&mut self) {
        let Some(piece) = self.path.pieces.get(self.piece) else {
            return;
        };
        if self.profile.end() < 1.0 {
            return;
        }
        self.done_weight += piece.weight;
        self.piece += 1;
        // The next begins exactly when this one ended, so that cycles do not add up to a delay.
        self.began_us += (self.profile.duration() * 1e6) as u64;
        if let Some(piece) = self.path.pieces.get(self.piece) {
            self.profile = Profile::rest_to_rest(0.0, 1.0, &piece.limits);
        }
    }

    /// Whether the set-point is at rest: at the end of the path or of a stop.
    pub fn at_rest(&self, now_us: u64) -> bool {
        self.finished()
            || self.elapsed(now_us) >= self.profile.duration()
                && (self.stopping || self.profile.end() < 1.0)
    }

    /// Whether the end of the path is reached.
    pub fn finished(&self) -> bool {
        self.piece >= self.path.pieces.len()
    }

    /// Progress in parts per million of the whole path, weighted by the time at top speed.
    pub fn progress_ppm(&self, now_us: u64) -> u32 {
        if self.finished() || self.path.weight <= 0.0 {
            return 1_000_000;
        }
        let here = self
            .path
            .pieces
            .get(self.piece)
            .map_or(0.0, |piece| piece.weight * self.state(now_us).position);
        (((self.done_weight + here) / self.path.weight).clamp(0.0, 1.0) * 1e6) as u32
    }
}

const UNIT: profile::Limits = profile::Limits {
    speed: 1.0,
    accel: 1.0,
    jerk: 1.0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PEDESTAL;
    use proptest::prelude::*;

    fn travel(points: &[Position]) -> Travel {
        let mut travel = Travel::new(Path::new(&[0.0; 6], points, &PEDESTAL, 1.0, |_| {
            f64::INFINITY
        }));
        travel.start(0);
        travel
    }

    #[test]
    fn path_through_waypoints_rests_at_each_and_ends_exactly_at_the_last() {
        let points = [
            [10e3, 0.0, 0.0, 0.0, 0.0, 0.0],
            [10e3, 5e3, -3e3, 1e6, 0.0, 0.5e6],
        ];
        let mut motion = travel(&points);
        let (mut now, mut corner) = (0, f64::INFINITY);
        while !motion.finished() {
            now += 1000;
            let set = motion.advance(now);
            let off: f64 = set
                .position
                .iter()
                .zip(&points[0])
                .map(|(a, b)| (a - b).abs())
                .sum();
            if off < 1.0 {
                corner = corner.min(set.speed.iter().map(|s| s.abs()).sum());
            }
            assert!(now < 60_000_000);
        }
        assert!(corner < 200.0, "passes the corner at {corner} um/s");
        assert_eq!(motion.advance(now).position, points[1]);
        assert_eq!(motion.progress_ppm(now), 1_000_000);
    }

    proptest! {
        #[test]
        fn stop_and_resume_never_leave_the_line(
            target in prop::array::uniform6(-1.0..1.0f64),
            stops in prop::collection::vec((1u64..2_000_000, 0u64..1_000_000), 0..4),
        ) {
            let scale = [40e3, 40e3, 40e3, 3e6, 3e6, 3e6];
            let mut target = target;
            for (t, s) in target.iter_mut().zip(scale) { *t *= s; }
            prop_assume!(target.iter().any(|t| t.abs() > 100.0));
            let mut motion = travel(&[target]);
            let mut now = 0;
            let on_line = |set: &SetPoint| {
                let (k, longest) = target.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
                let u = set.position[k] / longest;
                (-1e-9..=1.0 + 1e-9).contains(&u) && set.position.iter().zip(&target).all(|(p, t)| (p - u * t).abs() < 1e-3)
            };
            for (run, rest) in stops {
                let until = now + run;
                while now < until { now += 1000; prop_assert!(on_line(&motion.advance(now))); }
                motion.stop(now);
                while !motion.at_rest(now) { now += 1000; prop_assert!(on_line(&motion.advance(now))); }
                let held = motion.advance(now);
                prop_assert_eq!(held.speed.iter().map(|s| s.abs()).sum::<f64>(), 0.0);
                now += rest;
                prop_assert_eq!(motion.advance(now).position, held.position);
                motion.start(now);
            }
            while !motion.finished() { now += 1000; prop_assert!(on_line(&motion.advance(now))); }
            prop_assert_eq!(motion.advance(now).position, target);
        }
    }
}
