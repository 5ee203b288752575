//! The clearance of a whole continuous motion.
//!
//! An interval of the path is certified by what its joints can take from the distance at its middle (`certify.rs`); where
//! that does not settle it, by the distance measured there less the most that can be lost to either end. What is open is
//! halved, until the bound is within the tolerance of a clearance that is attained.

use super::certify::Verdict;
use super::chain::{Chain, Joint};
use super::couple::Couple;
use super::error::ClearanceError;
use super::linkage::{Linkage, MapAxis};
use super::rigid::Rigid;
use super::room::{Measured, Precision, Room, Separation};
use super::search::Scratch;
use super::tree::Child;

/// Clearance at or below this is contact: nothing nearer can be told from touching by the fast search, mm.
pub const CONTACT_MM: f64 = 0.02;

/// Intervals in which nothing moves further than this are not halved again, mm.
const FINEST_MM: f64 = 0.002;

/// In search of the first contact, distances are measured only where nothing moves further than this from the middle, mm.
const MEASURED_TRAVEL_MM: f64 = 0.5;

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

/// A pair with everything that a sweep asks of it again and again.
struct Track<'a> {
    couple: Couple<'a>,
    linkage: Linkage,
    hint: Option<u32>,
    known: Option<Known>,
}

/// A pair measured at one place.
#[derive(Clone, Copy)]
struct Known {
    s: f64,
    lower: f64,
    upper: f64,
}

/// An interval of the path and where its certification goes on: a range of `Sweeper::frontiers`.
#[derive(Clone, Copy)]
struct Interval {
    start: f64,
    end: f64,
    from: usize,
    to: usize,
}

/// What is known of an interval once it was looked at.
enum Found {
    /// The clearance is at least this all over it, mm.
    Clear(f64),
    Contact,
    /// It must be halved, or nothing in it moves enough to be halved.
    Open {
        fine: bool,
    },
}

struct Sweeper<'a> {
    room: &'a Room,
    chains: &'a [Chain],
    options: &'a SweepOptions,
    tracks: Vec<Track<'a>>,
    scratch: Scratch,
    /// A stack: what an interval leaves to its halves is dropped when they are done.
    frontiers: Vec<Child>,
    measured: u64,
}

impl<'a> Sweeper<'a> {
    fn new(room: &'a Room, chains: &'a [Chain], options: &'a SweepOptions) -> Self {
        let joints: Vec<Vec<(MapAxis, Joint)>> = chains
            .iter()
            .map(|chain| chain.joints.iter().map(|j| (MapAxis::Row, *j)).collect())
            .collect();
        let tracks = (0..room.pairs().len())
            .filter_map(|number| {
                let (couple, linkage) = Couple::of(room, &joints, number)?;
                Some(Track {
                    couple,
                    linkage,
                    hint: None,
                    known: None,
                })
            })
            .collect();
        Self {
            room,
            chains,
            options,
            tracks,
            scratch: Scratch::default(),
            frontiers: Vec::new(),
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
            .filter(|_| !self.tracks.is_empty())
            .copied();
        let contact = if lower_mm <= 0.0 {
            self.first_contact(&stations)?
        } else {
            None
        };
        // Nothing is nearer than contact, and its depth further on is not asked for.
        let nearest = match &contact {
            Some(place) => Some(*place),
            None => nearest.and_then(|station| self.explain(station.s, station.pair)),
        };
        Ok(Sweep {
            lower_mm,
            nearest,
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
        let others = (0..self.tracks.len()).filter(|&pair| pair != first);
        let order: Vec<usize> = std::iter::once(first).chain(others).collect();
        for pair in order {
            if pair >= self.tracks.len() || station.upper_mm <= 0.0 {
                break;
            }
            self.bound_pair(pair, (start, end), &mut station)?;
        }
        Ok(station)
    }

    /// Lowers the station's bound to what this pair may reach.
    fn bound_pair(
        &mut self,
        pair: usize,
        (start, end): (f64, f64),
        station: &mut Station,
    ) -> Result<(), ClearanceError> {
        if station.upper_mm == f64::INFINITY {
            self.measure(pair, start, station)?;
        }
        let bottom = self.frontiers.len();
        self.frontiers.push(Child::Node(0));
        let mut open = vec![Interval {
            start,
            end,
            from: bottom,
            to: bottom + 1,
        }];
        while let Some(interval) = open.pop() {
            self.frontiers.truncate(interval.to);
            if station.upper_mm <= CONTACT_MM {
                station.lower_mm = 0.0;
                break;
            }
            let margin = (station.upper_mm - self.options.tolerance_mm).max(CONTACT_MM);
            match self.look(pair, &interval, margin, f64::INFINITY, station)? {
                Found::Clear(least) => station.lower_mm = station.lower_mm.min(least),
                Found::Contact => {
                    (station.lower_mm, station.upper_mm) = (0.0, 0.0);
                    (station.s, station.pair) = (0.5 * (interval.start + interval.end), pair);
                }
                Found::Open { fine: true } => station.lower_mm = 0.0,
                Found::Open { fine: false } => self.halve(&interval, &mut open),
            }
        }
        self.frontiers.truncate(bottom);
        Ok(())
    }

    /// Puts both halves of an interval on the stack, the first on top; what it left open is on top of `frontiers`.
    fn halve(&self, interval: &Interval, open: &mut Vec<Interval>) {
        let middle = 0.5 * (interval.start + interval.end);
        let (from, to) = (interval.to, self.frontiers.len());
        for (start, end) in [(middle, interval.end), (interval.start, middle)] {
            open.push(Interval {
                start,
                end,
                from,
                to,
            });
        }
    }

    /// Looks at one pair over one interval: certified by the joints' travel, or by the distance at its middle less what
    /// that can lose, which is measured once nothing travels further than `measured_below`.
    fn look(
        &mut self,
        pair: usize,
        interval: &Interval,
        margin: f64,
        measured_below: f64,
        station: &mut Station,
    ) -> Result<Found, ClearanceError> {
        let backend = self.options.precision.backend;
        let (start, end) = (interval.start, interval.end);
        let Some(track) = self.tracks.get(pair) else {
            return Ok(Found::Clear(f64::INFINITY));
        };
        let half_travel = || {
            let spans = [(start, end), (0.0, 0.0)];
            let speed = track.couple.speed(&track.linkage, MapAxis::Row, spans);
            0.5 * (end - start) * speed
        };
        let mut movers = std::mem::take(&mut self.scratch.movers);
        let pose = track.linkage.block(start, end, &mut movers);
        if movers.is_empty() {
            // Nothing moves: one distance is the distance everywhere.
            self.scratch.movers = movers;
            let known = self.measure(pair, 0.5 * (start + end), station)?;
            return Ok(if known.lower > CONTACT_MM {
                Found::Clear(known.lower)
            } else {
                Found::Contact
            });
        }
        self.scratch.frontier.clear();
        let begin = self.frontiers.get(interval.from..interval.to);
        self.scratch
            .frontier
            .extend_from_slice(begin.unwrap_or(&[Child::Node(0)]));
        let scratch = &mut self.scratch;
        let verdict = track
            .couple
            .certify((&pose, &movers), half_travel, margin, backend, scratch);
        self.scratch.movers = movers;
        match verdict {
            Verdict::Clear => return Ok(Found::Clear(margin)),
            Verdict::Contact => return Ok(Found::Contact),
            Verdict::Open => {}
        }
        let travel = half_travel();
        let fine = 2.0 * travel <= FINEST_MM;
        if fine || travel <= measured_below {
            let known = self.measure(pair, 0.5 * (start + end), station)?;
            let least = known.lower - travel;
            // Finer than this nothing can be told: further than `CONTACT_MM` is clear, for all of the interval.
            if least >= margin || fine && known.lower > CONTACT_MM {
                return Ok(Found::Clear(least));
            }
        }
        let left = self.scratch.frontier.as_slice();
        if left.is_empty() {
            self.frontiers.push(Child::Node(0));
        } else {
            self.frontiers.extend_from_slice(left);
        }
        Ok(Found::Open { fine })
    }

    fn measure_raw(&mut self, pair: usize, s: f64) -> Option<Measured> {
        let poses: Vec<Rigid> = self.chains.iter().map(|chain| chain.pose(s)).collect();
        let &which = self.room.pairs().get(pair)?;
        self.measured += 1;
        let hint = self.tracks.get(pair)?.hint;
        let (precision, scratch) = (self.options.precision, &mut self.scratch);
        self.room
            .measure(which, &poses, f64::INFINITY, precision, hint, true, scratch)
    }

    fn measure(
        &mut self,
        pair: usize,
        s: f64,
        station: &mut Station,
    ) -> Result<Known, ClearanceError> {
        if self.measured >= MEASURED_MAX {
            return Err(ClearanceError::Question(format!(
                "the motion needs more than {MEASURED_MAX} measurements; cut it into shorter ones or raise the tolerance"
            )));
        }
        let Some(track) = self.tracks.get_mut(pair) else {
            return Err(ClearanceError::Unknown(format!(
                "pair {pair} is not in the room"
            )));
        };
        let known = match track.known {
            Some(known) if known.s == s => known,
            _ => {
                self.measured += 1;
                let pose = track.linkage.pose(s);
                let (precision, scratch) = (self.options.precision, &mut self.scratch);
                let asked = track
                    .couple
                    .ask(&pose, f64::INFINITY, track.hint, precision, scratch);
                track.hint = asked.leaf;
                Known {
                    s,
                    lower: asked.lower,
                    upper: asked.upper,
                }
            }
        };
        track.known = Some(known);
        if known.upper < station.upper_mm {
            station.upper_mm = known.upper.max(0.0);
            (station.s, station.pair) = (s, pair);
        }
        Ok(known)
    }

    fn explain(&mut self, s: f64, pair: usize) -> Option<Place> {
        let measured = self.measure_raw(pair, s)?;
        let &which = self.room.pairs().get(pair)?;
        Some(Place {
            s,
            pair,
            separation: self.room.explain(which, &measured),
        })
    }

    /// The first place, over all pairs, that cannot be shown to be clear.
    fn first_contact(&mut self, stations: &[Station]) -> Result<Option<Place>, ClearanceError> {
        let count = stations.len() as f64;
        let Some(from) = stations.iter().position(|station| station.lower_mm <= 0.0) else {
            return Ok(None);
        };
        let mut first: Option<(f64, usize)> = None;
        for pair in 0..self.tracks.len() {
            let limit = first.map_or(1.0, |(s, _)| s);
            if let Some(s) = self.first_of_pair(pair, from as f64 / count, limit)?
                && first.is_none_or(|(earliest, _)| s < earliest)
            {
                first = Some((s, pair));
            }
        }
        // The profile counts `CONTACT_MM` as contact; where no pair comes nearer than that its word stands.
        let suspect = stations.get(from).map(|station| (station.s, station.pair));
        Ok(first
            .or(suspect)
            .and_then(|(s, pair)| self.explain(s, pair)))
    }

    /// The first place of one pair that cannot be shown to be clear: intervals from the start on, halved where they are open.
    fn first_of_pair(
        &mut self,
        pair: usize,
        start: f64,
        limit: f64,
    ) -> Result<Option<f64>, ClearanceError> {
        if start >= limit && start > 0.0 {
            return Ok(None);
        }
        let mut ignored = Station {
            lower_mm: 0.0,
            upper_mm: 0.0,
            s: start,
            pair,
        };
        let bottom = self.frontiers.len();
        self.frontiers.push(Child::Node(0));
        let mut open = vec![Interval {
            start,
            end: limit,
            from: bottom,
            to: bottom + 1,
        }];
        let mut first = None;
        while let Some(interval) = open.pop() {
            self.frontiers.truncate(interval.to);
            match self.look(pair, &interval, 0.0, MEASURED_TRAVEL_MM, &mut ignored)? {
                Found::Clear(_) => {}
                Found::Contact | Found::Open { fine: true } => {
                    first = Some(interval.start);
                    break;
                }
                Found::Open { fine: false } => self.halve(&interval, &mut open),
            }
        }
        self.frontiers.truncate(bottom);
        Ok(first)
    }
}
