//! The clearance of a whole continuous motion.
//!
//! An interval of the path is certified by what its joints can take from the distance at its middle (`certify.rs`); where
//! that does not settle it, by the distance measured there less the most that can be lost to either end. What is open is
//! halved, until the bound is within the tolerance of a clearance that is attained.
//!
//! The first contact of a pair is approached from the start: the distance and the slope at its nearest point say how far
//! the motion can go on, and that interval is certified before the step is taken. The guess decides how many steps are
//! needed, never what is certified.

use super::certify::Verdict;
use super::chain::{Chain, Joint};
use super::couple::{Block, Couple};
use super::error::ClearanceError;
use super::linkage::{Linkage, MapAxis, Mover};
use super::rigid::{Rigid, V3};
use super::room::{Measured, Precision, Room, Separation};
use super::search::Scratch;
use super::tree::Child;

/// Clearance at or below this is contact: nothing nearer can be told from touching by the fast search, mm.
pub const CONTACT_MM: f64 = 0.02;

/// Intervals in which nothing moves further than this are not halved again, mm.
const FINEST_MM: f64 = 0.002;

/// On the approach to the first contact what the joints cannot settle is measured only where the parts are nearer than
/// this, mm: about the size of a triangle. Further away a shorter step is cheaper.
const NEAR_MM: f64 = 10.0;

/// Intervals that the approach to the first contact looks at before the rest is halved instead: enough for every motion
/// that does not slide along a part within hundredths of a millimetre of it.
const ADVANCES_MAX: u32 = 64;

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

impl Station {
    /// For measurements that no profile asks for.
    fn ignored(s: f64, pair: usize) -> Self {
        Self {
            lower_mm: 0.0,
            upper_mm: 0.0,
            s,
            pair,
        }
    }
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
    /// The first place at which the parts are nearer than `CONTACT_MM`, or cannot be told from that; they are certified to
    /// be apart everywhere before it.
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
    /// The pair is certified to be apart from the start of the motion to here.
    clear_until: f64,
}

impl Track<'_> {
    /// The distance changes by no more than this from the middle of an interval to either end, mm.
    fn half_travel(&self, interval: &Interval) -> f64 {
        let (start, end) = (interval.start, interval.end);
        let spans = [(start, end), (0.0, 0.0)];
        0.5 * (end - start) * self.couple.speed(&self.linkage, MapAxis::Row, spans)
    }
}

/// A pair measured at one place.
#[derive(Clone, Copy)]
struct Known {
    s: f64,
    lower: f64,
    upper: f64,
    /// The nearest point of the surface in the tree, its distance and the slope of that, in the solid's frame.
    point: V3,
    distance: f64,
    gradient: V3,
}

impl Known {
    /// Normal and height of the plane that the distance of the solid is nowhere below.
    fn plane(&self) -> (V3, f64) {
        let at_point = self.gradient.dot(&self.point);
        (self.gradient, self.distance - at_point)
    }

    /// What the nearest point keeps of its distance while joints move by their amounts either way, to first order.
    fn left(&self, movers: &[Mover]) -> f64 {
        let taken =
            |mover: &Mover| mover.amount * self.gradient.dot(&mover.flow(&self.point)).abs();
        self.upper - movers.iter().map(taken).sum::<f64>()
    }

    /// A step after which about `CONTACT_MM` may be left, given what moves for a unit of s: at the pace at which the nearest
    /// point comes nearer, less what the turn may add. A guess.
    fn step(&self, movers: &[Mover], reach: f64) -> f64 {
        let aim = 0.9 * CONTACT_MM + 0.5 * (self.upper - self.lower);
        let (mut opening, mut bend) = (0.0, 0.0);
        for mover in movers {
            opening += mover.amount * self.gradient.dot(&mover.flow(&self.point));
            if mover.turns {
                bend += 0.25 * mover.amount * mover.amount * reach;
            }
        }
        let (closing, left) = ((-opening).max(0.0), self.upper - aim);
        2.0 * left / (closing + (closing * closing + 4.0 * bend * left).sqrt())
    }
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

/// How an approach to the first contact ended.
enum Advance {
    /// Nothing nearer than `CONTACT_MM` before this place, and not more than that there.
    Contact(f64),
    Apart,
    /// Apart until here; beyond, its steps are too short.
    Slow(f64),
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
                    clear_until: 0.0,
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
            match self.look(pair, &interval, margin, true, station)? {
                Found::Clear(least) => {
                    station.lower_mm = station.lower_mm.min(least);
                    self.cleared(pair, &interval);
                }
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

    fn cleared(&mut self, pair: usize, interval: &Interval) {
        if let Some(track) = self.tracks.get_mut(pair)
            && interval.start <= track.clear_until
        {
            track.clear_until = track.clear_until.max(interval.end);
        }
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

    /// Looks at one pair over one interval: certified by what its joints can take from its clearance. Where the triangles
    /// are too large for that it is measured at the middle, if `measures`, and certified by the plane through the nearest
    /// point, or by the distance less the travel to either end.
    fn look(
        &mut self,
        pair: usize,
        interval: &Interval,
        margin: f64,
        measures: bool,
        station: &mut Station,
    ) -> Result<Found, ClearanceError> {
        let middle = 0.5 * (interval.start + interval.end);
        let Some(track) = self.tracks.get(pair) else {
            return Ok(Found::Clear(f64::INFINITY));
        };
        let mut movers = std::mem::take(&mut self.scratch.movers);
        let pose = track
            .linkage
            .block(interval.start, interval.end, &mut movers);
        let found = if movers.is_empty() {
            // Nothing moves: one distance is the distance everywhere.
            let known = self.measure(pair, middle, station)?;
            if known.lower > CONTACT_MM {
                Found::Clear(known.lower)
            } else {
                Found::Contact
            }
        } else {
            self.scratch.frontier.clear();
            let begin = self.frontiers.get(interval.from..interval.to);
            self.scratch
                .frontier
                .extend_from_slice(begin.unwrap_or(&[Child::Node(0)]));
            let block = (&pose, movers.as_slice());
            let found = self.weigh(pair, interval, block, margin, measures, station)?;
            if let Found::Open { .. } = found {
                let left = self.scratch.frontier.as_slice();
                if left.is_empty() {
                    self.frontiers.push(Child::Node(0));
                } else {
                    self.frontiers.extend_from_slice(left);
                }
            }
            found
        };
        self.scratch.movers = movers;
        Ok(found)
    }

    /// `look`, once it is known what moves.
    fn weigh(
        &mut self,
        pair: usize,
        interval: &Interval,
        (pose, movers): (&Rigid, &[Mover]),
        margin: f64,
        measures: bool,
        station: &mut Station,
    ) -> Result<Found, ClearanceError> {
        match self.certify(pair, interval, (pose, movers), None, margin) {
            Verdict::Clear => return Ok(Found::Clear(margin)),
            Verdict::Contact => return Ok(Found::Contact),
            Verdict::Open if !measures => return Ok(Found::Open { fine: false }),
            Verdict::Open => {}
        }
        let known = self.measure(pair, 0.5 * (interval.start + interval.end), station)?;
        if self.takes_planes(pair)
            && known.left(movers) >= margin
            && known.upper > CONTACT_MM
            && self.certify(pair, interval, (pose, movers), Some(&known), margin) == Verdict::Clear
        {
            return Ok(Found::Clear(margin));
        }
        let travel = self.half_travel(pair, interval);
        let fine = 2.0 * travel <= FINEST_MM;
        let least = known.lower - travel;
        // Finer than this nothing can be told: further than `CONTACT_MM` is clear, for all of the interval.
        if least >= margin || fine && known.lower > CONTACT_MM {
            return Ok(Found::Clear(least));
        }
        Ok(Found::Open { fine })
    }

    fn certify(
        &mut self,
        pair: usize,
        interval: &Interval,
        (pose, movers): (&Rigid, &[Mover]),
        known: Option<&Known>,
        margin: f64,
    ) -> Verdict {
        let Some(track) = self.tracks.get(pair) else {
            return Verdict::Open;
        };
        let travel = || track.half_travel(interval);
        let block = Block {
            pose,
            movers,
            plane: known.map(Known::plane),
        };
        let (backend, scratch) = (self.options.precision.backend, &mut self.scratch);
        track
            .couple
            .certify(&block, travel, margin, backend, scratch)
    }

    fn takes_planes(&self, pair: usize) -> bool {
        let track = self.tracks.get(pair);
        track.is_some_and(|track| track.couple.takes_planes())
    }

    fn half_travel(&self, pair: usize, interval: &Interval) -> f64 {
        let track = self.tracks.get(pair);
        track.map_or(f64::INFINITY, |track| track.half_travel(interval))
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
                let (asked, found) =
                    track
                        .couple
                        .ask_where(&pose, f64::INFINITY, track.hint, precision, scratch);
                track.hint = asked.leaf;
                Known {
                    s,
                    lower: asked.lower,
                    upper: asked.upper,
                    point: found.point,
                    distance: found.distance,
                    gradient: found.gradient,
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
            let clear_until = self.tracks.get(pair).map_or(0.0, |track| track.clear_until);
            let start = clear_until.max(from as f64 / count);
            if let Some(s) = self.first_of_pair(pair, start, limit)?
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

    /// The first place of one pair that cannot be shown to be clear.
    fn first_of_pair(
        &mut self,
        pair: usize,
        start: f64,
        limit: f64,
    ) -> Result<Option<f64>, ClearanceError> {
        if start >= limit && start > 0.0 {
            return Ok(None);
        }
        match self.advance(pair, start, limit)? {
            Advance::Contact(s) => Ok(Some(s)),
            Advance::Apart => Ok(None),
            Advance::Slow(s) => self.halve_until_first(pair, s, limit),
        }
    }

    /// Steps from `start` on, each certified to be clear before it is taken.
    fn advance(&mut self, pair: usize, start: f64, limit: f64) -> Result<Advance, ClearanceError> {
        let mut ignored = Station::ignored(start, pair);
        let (mut s, mut share) = (start, 1.0);
        let mut known = self.measure(pair, s, &mut ignored)?;
        let bottom = self.frontiers.len();
        let mut end = s;
        for _ in 0..ADVANCES_MAX {
            if known.lower <= CONTACT_MM {
                return Ok(Advance::Contact(s));
            }
            if end <= s {
                end = (s + share * self.step(pair, &known)).min(limit);
                self.frontiers.truncate(bottom);
                self.frontiers.push(Child::Node(0));
            }
            let from = bottom;
            let interval = Interval {
                start: s,
                end,
                from,
                to: self.frontiers.len(),
            };
            let near = known.upper < NEAR_MM;
            match self.look(pair, &interval, 0.0, near, &mut ignored)? {
                Found::Clear(_) if end >= limit => {
                    self.frontiers.truncate(bottom);
                    return Ok(Advance::Apart);
                }
                Found::Clear(_) => {
                    s = end;
                    share = (2.0 * share).min(1.0);
                    known = self.measure(pair, s, &mut ignored)?;
                }
                Found::Contact => break,
                Found::Open { .. } => {
                    share *= 0.5;
                    end = s + 0.5 * (end - s);
                    self.frontiers.drain(from..interval.to);
                }
            }
        }
        self.frontiers.truncate(bottom);
        Ok(Advance::Slow(s))
    }

    /// How far the pair may go on from where it was measured: a guess.
    fn step(&mut self, pair: usize, known: &Known) -> f64 {
        let Some(track) = self.tracks.get(pair) else {
            return 0.0;
        };
        let movers = &mut self.scratch.movers;
        let pose = track.linkage.around(known.s, 1.0, movers);
        known.step(movers, track.couple.reach(&pose))
    }

    /// Intervals from the start on, halved where they are open.
    fn halve_until_first(
        &mut self,
        pair: usize,
        start: f64,
        limit: f64,
    ) -> Result<Option<f64>, ClearanceError> {
        let mut ignored = Station::ignored(start, pair);
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
            match self.look(pair, &interval, 0.0, true, &mut ignored)? {
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
