//! The clearance of a whole continuous motion.
//!
//! Between two measured places the distance of a pair cannot change faster than `chain::closing_speed`, so two measured
//! values bound everything between them. Intervals are halved until the bound is within the tolerance asked for, or certainly
//! above what another pair or place already has.

use super::chain::{Chain, Swept, closing_speed};
use super::error::ClearanceError;
use super::rigid::Rigid;
use super::room::{Measured, Pair, Precision, Room, Separation};
use super::search::Scratch;

/// Clearance at or below this is contact: nothing nearer can be told from touching by the fast search, mm.
pub const CONTACT_MM: f64 = 0.02;

/// Intervals in which nothing moves further than this are not halved again, mm.
const FINEST_MM: f64 = 0.002;

/// A station of the path and what was found over its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Station {
    /// The clearance at every s of the interval is at least this, mm; zero for contact.
    pub lower_mm: f64,
    /// The clearance somewhere in the interval is at most this, mm.
    pub upper_mm: f64,
    /// Path parameter of the nearest measured place.
    pub s: f64,
    /// Number of the nearest pair (in the order of `Room::pairs`).
    pub pair: usize,
}

/// A place on the path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Path parameter.
    pub s: f64,
    /// Number of the pair.
    pub pair: usize,
    /// The pair there.
    pub separation: Separation,
}

/// The clearance of a continuous motion: at every s it is at least `lower_mm`, and at `nearest` it is attained within
/// the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Lower bound over the whole motion, mm; zero if there is contact.
    pub lower_mm: f64,
    /// The nearest place found; `None` if the room has no pairs.
    pub nearest: Option<Place>,
    /// The first place at which the parts cannot be shown to be apart.
    pub contact: Option<Place>,
    /// Bounds interval by interval.
    pub stations: Vec<Station>,
    /// How many distances were measured.
    pub measured: u64,
}

/// How a sweep is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// The path is cut into this many equal intervals for the profile.
    pub stations: usize,
    /// Lower bounds are within this of a clearance that is attained, mm.
    pub tolerance_mm: f64,
    /// How lanes are computed.
    pub precision: Precision,
}

/// Measurements after which a sweep gives up and says so: far beyond any real question.
const MEASURED_MAX: u64 = 5_000_000;

impl Room {
    /// Certifies the motion of `chains` (one a frame, `fixed <- frame`) for s from 0 to 1.
    pub fn sweep(&self, chains: &[Chain], options: &SweepOptions) -> Result<Sweep, ClearanceError> {
        if chains.len() != self.frame_count() {
            return Err(ClearanceError::Question(format!(
                "{} motions were given for {} frames",
                chains.len(),
                self.frame_count()
            )));
        }
        if options.stations == 0 || options.stations > 100_000 {
            return Err(ClearanceError::Question(format!(
                "{} stations; ask for 1 to 100000",
                options.stations
            )));
        }
        if !(options.tolerance_mm >= 0.05 && options.tolerance_mm <= 1000.0) {
            return Err(ClearanceError::Question(format!(
                "a tolerance of {} mm; ask for 0.05 to 1000",
                options.tolerance_mm
            )));
        }
        Sweeper::new(self, chains, options).run()
    }
}

/// A pair measured at one place.
#[derive(Clone, Copy)]
struct Known {
    s: f64,
    lower: f64,
    upper: f64,
}

struct Sweeper<'a> {
    room: &'a Room,
    chains: &'a [Chain],
    options: &'a SweepOptions,
    scratch: Scratch,
    hints: Vec<Option<u32>>,
    known: Vec<Option<Known>>,
    measured: u64,
}

impl<'a> Sweeper<'a> {
    fn new(room: &'a Room, chains: &'a [Chain], options: &'a SweepOptions) -> Self {
        let count = room.pairs().len();
        Self {
            room,
            chains,
            options,
            scratch: Scratch::default(),
            hints: vec![None; count],
            known: vec![None; count],
            measured: 0,
        }
    }

    fn run(mut self) -> Result<Sweep, ClearanceError> {
        let count = self.options.stations;
        let mut stations = Vec::with_capacity(count);
        let mut first = 0;
        for at in 0..count {
            let (start, end) = (at as f64 / count as f64, (at + 1) as f64 / count as f64);
            let station = self.station(start, end, first)?;
            first = station.pair;
            stations.push(station);
        }
        let lower_mm = stations
            .iter()
            .map(|s| s.lower_mm)
            .fold(f64::INFINITY, f64::min);
        let nearest = stations
            .iter()
            .min_by(|a, b| a.upper_mm.total_cmp(&b.upper_mm))
            .filter(|_| !self.room.pairs().is_empty())
            .copied();
        let contact = if lower_mm <= 0.0 {
            self.first_contact(&stations)?
        } else {
            None
        };
        Ok(Sweep {
            lower_mm,
            nearest: nearest.and_then(|station| self.explain(station.s, station.pair)),
            contact,
            stations,
            measured: self.measured,
        })
    }

    /// Bounds the clearance over [start, end], the pair that was nearest before first.
    fn station(&mut self, start: f64, end: f64, first: usize) -> Result<Station, ClearanceError> {
        let mut station = Station {
            lower_mm: f64::INFINITY,
            upper_mm: f64::INFINITY,
            s: start,
            pair: first,
        };
        let others = (0..self.room.pairs().len()).filter(|&pair| pair != first);
        let order: Vec<usize> = std::iter::once(first).chain(others).collect();
        for pair in order {
            if pair >= self.room.pairs().len() || station.upper_mm <= 0.0 {
                break;
            }
            self.bound_pair(pair, start, end, &mut station)?;
        }
        Ok(station)
    }

    /// Lowers the station's bound to what this pair may reach.
    fn bound_pair(
        &mut self,
        pair: usize,
        start: f64,
        end: f64,
        station: &mut Station,
    ) -> Result<(), ClearanceError> {
        let speed = self.speed(pair, start, end);
        if let Some(known) = self.known.get(pair).copied().flatten() {
            // Still far from what is nearest, whatever it did since it was last measured. The speed must hold from there on.
            let (since, until) = (known.s.min(start), known.s.max(end));
            let fastest = self.speed(pair, since, until);
            let least = known.lower - fastest * (until - since);
            if least >= station.upper_mm {
                station.lower_mm = station.lower_mm.min(least);
                return Ok(());
            }
        }
        let a = self.measure(pair, start, station)?;
        let b = self.measure(pair, end, station)?;
        let mut open = vec![(a, b)];
        while let Some((a, b)) = open.pop() {
            let length = b.s - a.s;
            let least = 0.5 * (a.lower + b.lower - speed * length);
            let fine = speed * length <= FINEST_MM;
            if least >= station.upper_mm - self.options.tolerance_mm && least > CONTACT_MM {
                station.lower_mm = station.lower_mm.min(least);
            } else if station.upper_mm <= CONTACT_MM || fine {
                station.lower_mm = station.lower_mm.min(least.max(0.0));
                if least <= CONTACT_MM {
                    station.lower_mm = 0.0;
                    return Ok(());
                }
            } else {
                let middle = self.measure(pair, a.s + 0.5 * length, station)?;
                open.push((middle, b));
                open.push((a, middle));
            }
        }
        Ok(())
    }

    fn speed(&self, pair: usize, start: f64, end: f64) -> f64 {
        let Some(&Pair { a, b }) = self.room.pairs().get(pair) else {
            return f64::INFINITY;
        };
        let side = |part| {
            let (frame, pose, half) = self.room.part_box(part)?;
            Some((self.chains.get(frame)?, Swept::of_box(pose, half)))
        };
        match (side(a), side(b)) {
            (Some((ca, pa)), Some((cb, pb))) => closing_speed((ca, &pa), (cb, &pb), start, end),
            _ => f64::INFINITY,
        }
    }

    fn poses(&self, s: f64) -> Vec<Rigid> {
        self.chains.iter().map(|chain| chain.pose(s)).collect()
    }

    fn measure_raw(&mut self, pair: usize, s: f64, depth: bool) -> Option<Measured> {
        let poses = self.poses(s);
        let &which = self.room.pairs().get(pair)?;
        let hint = self.hints.get(pair).copied().flatten();
        let precision = self.options.precision;
        let measured = self.room.measure(
            which,
            &poses,
            f64::INFINITY,
            precision,
            hint,
            depth,
            &mut self.scratch,
        )?;
        if let Some(slot) = self.hints.get_mut(pair) {
            *slot = measured.hint;
        }
        self.measured += 1;
        Some(measured)
    }

    fn measure(
        &mut self,
        pair: usize,
        s: f64,
        station: &mut Station,
    ) -> Result<Known, ClearanceError> {
        if let Some(known) = self.known.get(pair).copied().flatten()
            && known.s == s
        {
            Self::note(station, pair, &known);
            return Ok(known);
        }
        if self.measured >= MEASURED_MAX {
            return Err(ClearanceError::Question(format!(
                "the motion needs more than {MEASURED_MAX} measurements; cut it into shorter ones or raise the tolerance"
            )));
        }
        let measured = self
            .measure_raw(pair, s, false)
            .ok_or_else(|| ClearanceError::Unknown(format!("pair {pair} is not in the room")))?;
        let known = Known {
            s,
            lower: measured.lower,
            upper: measured.upper,
        };
        if let Some(slot) = self.known.get_mut(pair) {
            *slot = Some(known);
        }
        Self::note(station, pair, &known);
        Ok(known)
    }

    fn note(station: &mut Station, pair: usize, known: &Known) {
        if known.upper < station.upper_mm {
            station.upper_mm = known.upper.max(0.0);
            station.s = known.s;
            station.pair = pair;
        }
    }

    fn explain(&mut self, s: f64, pair: usize) -> Option<Place> {
        let measured = self.measure_raw(pair, s, true)?;
        let &which = self.room.pairs().get(pair)?;
        Some(Place {
            s,
            pair,
            separation: self.room.explain(which, &measured),
        })
    }

    /// The first place, over all pairs, that cannot be shown to be clear, by conservative advancement.
    fn first_contact(&mut self, stations: &[Station]) -> Result<Option<Place>, ClearanceError> {
        let count = stations.len() as f64;
        let Some(from) = stations.iter().position(|station| station.lower_mm <= 0.0) else {
            return Ok(None);
        };
        let mut first: Option<(f64, usize)> = None;
        for pair in 0..self.room.pairs().len() {
            let limit = first.map_or(1.0, |(s, _)| s);
            if let Some(s) = self.advance(pair, from as f64 / count, limit)?
                && first.is_none_or(|(earliest, _)| s < earliest)
            {
                first = Some((s, pair));
            }
        }
        // The profile and the advancement may differ by `FINEST_MM`; then the profile's word stands.
        let suspect = stations.get(from).map(|station| (station.s, station.pair));
        Ok(first
            .or(suspect)
            .and_then(|(s, pair)| self.explain(s, pair)))
    }

    /// Advances a pair from `start` by no more than its clearance allows; returns where the clearance is used up.
    fn advance(
        &mut self,
        pair: usize,
        start: f64,
        limit: f64,
    ) -> Result<Option<f64>, ClearanceError> {
        let speed = self.speed(pair, start, limit);
        let mut s = start;
        let mut ignored = Station {
            lower_mm: 0.0,
            upper_mm: 0.0,
            s,
            pair,
        };
        loop {
            let known = self.measure(pair, s, &mut ignored)?;
            if known.lower <= CONTACT_MM {
                return Ok(Some(s));
            }
            if s >= limit {
                return Ok(None);
            }
            // What is left at the end of the step is above zero: the parts are apart all the way.
            let step = known.lower / speed;
            s = if step.is_finite() {
                (s + step * (1.0 - 1e-9)).min(limit)
            } else {
                limit
            };
        }
    }
}
