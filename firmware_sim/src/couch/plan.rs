//! A plan as the firmware decoded it: its own working values, checked against its own limits, and their digest.

use crate::couch::path::{Path, Position};
use crate::kinematics::{Base, Family, carried};
use crate::limits::{self, AXES, AxisLimits, Kind, Limits};
use crate::refusal::Refusal;
use crate::refuse;
use crate::wire::message::{PlanUpload, WAYPOINTS_MAX};
use sha2::{Digest, Sha256};

/// Longest life of a plan.
pub const TTL_MAX_MS: u32 = 600_000;
/// Widest start tolerances: 2 mm and 2 deg.
const START_TOLERANCE_MAX: (u32, u32) = (2000, 2_000_000);

/// Pitch and roll may differ by so much where the base couch carries the platform: what measuring and the line round off.
const CARRIED_UDEG: f64 = 2_000.0;

/// Decoded working values of a plan, positions in micro-units.
#[derive(Debug, Clone)]
pub struct Plan {
    proposal: [u8; 32],
    limits: [u8; 8],
    ttl_ms: u32,
    speed_share: f64,
    start: Position,
    start_tolerance: (f64, f64),
    waypoints: heapless::Vec<Position, WAYPOINTS_MAX>,
    /// Names this upload; random, not 0.
    pub nonce: u32,
    /// Device time after which it neither starts nor resumes.
    pub expires_us: u64,
    /// SHA-256 over the decoded values encoded again.
    pub digest: [u8; 32],
}

/// The couch that a plan is decoded for, and where its base stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Limits that the firmware enforces.
    pub limits: &'a Limits,
    /// Its geometry.
    pub family: &'a Family,
    /// The couch below a hexapod.
    pub base: &'a Base,
}

/// An axis position for people: `lateral 12.345 mm`.
pub fn described(limits: &AxisLimits, value: f64) -> heapless::String<48> {
    use core::fmt::Write;
    let mut text = heapless::String::new();
    let _ = write!(
        text,
        "{} {:.3} {}",
        limits.name,
        value / limits.kind.scale(),
        limits.kind.unit()
    );
    text
}

fn to_wire(value: f64) -> i32 {
    libm::round(value) as i32
}

fn within_limits(what: &str, position: &Position, limits: &Limits) -> Result<(), Refusal> {
    for (value, axis) in position.iter().zip(limits) {
        let (min, max) = (f64::from(axis.min), f64::from(axis.max));
        let (scale, unit) = (axis.kind.scale(), axis.kind.unit());
        if *value > max {
            return refuse!(
                OutsideLimits,
                "{what}: {} is above its limit of {:.3} {unit}; plan inside the limits",
                described(axis, *value),
                max / scale
            );
        }
        if *value < min {
            return refuse!(
                OutsideLimits,
                "{what}: {} is below its limit of {:.3} {unit}; plan inside the limits",
                described(axis, *value),
                min / scale
            );
        }
    }
    Ok(())
}

impl Plan {
    /// Decodes an upload and checks it against the device's own limits along the whole path.
    pub fn decode(
        upload: &PlanUpload,
        couch: &Standing<'_>,
        nonce: u32,
        now_us: u64,
    ) -> Result<Self, Refusal> {
        let limits = couch.limits;
        if upload.limits != limits::short_digest(limits) {
            return refuse!(
                DigestDiffers,
                "the limits of this couch are others than the plan was made for; read them with LIMITS_READ and plan anew"
            );
        }
        if usize::from(upload.axis_count) != AXES {
            return refuse!(
                Malformed,
                "axis_count {} is not the {AXES} of this couch",
                upload.axis_count
            );
        }
        if upload.waypoint_count == 0 || usize::from(upload.waypoint_count) > WAYPOINTS_MAX {
            return refuse!(
                Malformed,
                "{} waypoints are not within 1 to {WAYPOINTS_MAX}",
                upload.waypoint_count
            );
        }
        if !(1..=TTL_MAX_MS).contains(&upload.ttl_ms) {
            return refuse!(
                Malformed,
                "ttl {} ms is not within 1 to {TTL_MAX_MS} ms",
                upload.ttl_ms
            );
        }
        if !(1..=1_000_000).contains(&upload.speed_ppm) {
            return refuse!(
                Malformed,
                "speed_ppm {} is not within 1 to 1000000",
                upload.speed_ppm
            );
        }
        let (linear, rotary) = (
            upload.start_tolerance_linear_um,
            upload.start_tolerance_rotary_udeg,
        );
        if !(1..=START_TOLERANCE_MAX.0).contains(&linear)
            || !(1..=START_TOLERANCE_MAX.1).contains(&rotary)
        {
            return refuse!(
                Malformed,
                "start tolerances {linear} um and {rotary} udeg are not within 1 to 2000 um and 1 to 2000000 udeg"
            );
        }
        let mut plan = Self {
            proposal: upload.proposal,
            limits: upload.limits,
            ttl_ms: upload.ttl_ms,
            speed_share: f64::from(upload.speed_ppm) * 1e-6,
            start: upload.start.map(f64::from),
            start_tolerance: (f64::from(linear), f64::from(rotary)),
            waypoints: upload.waypoints.iter().map(|w| w.map(f64::from)).collect(),
            nonce,
            expires_us: now_us + u64::from(upload.ttl_ms) * 1000,
            digest: [0; 32],
        };
        plan.check(couch)?;
        plan.digest = plan.canonical_digest();
        Ok(plan)
    }

    fn check(&self, couch: &Standing<'_>) -> Result<(), Refusal> {
        let limits = couch.limits;
        within_limits("start", &self.start, limits)?;
        for (k, waypoint) in self.waypoints.iter().enumerate() {
            let mut name = heapless::String::<16>::new();
            let _ = core::fmt::Write::write_fmt(&mut name, format_args!("waypoint {}", k + 1));
            within_limits(&name, waypoint, limits)?;
        }
        if couch.family.has_legs() {
            return self.check_stages(couch);
        }
        Ok(())
    }

    /// A hexapod: the base couch goes to every waypoint but the last and carries the platform as it stands; the last is the platform's.
    fn check_stages(&self, couch: &Standing<'_>) -> Result<(), Refusal> {
        let (limits, family) = (couch.limits, couch.family);
        let path = self.path(&self.start, limits);
        let mut base = *couch.base;
        for leg in 0..self.last_leg() {
            let Some((from, to)) = path.leg(leg) else {
                continue;
            };
            let tilts = from.iter().zip(&to).skip(4);
            if tilts
                .clone()
                .any(|(from, to)| (to - from).abs() > CARRIED_UDEG)
            {
                return refuse!(
                    OutsideLimits,
                    "waypoint {}: the base couch goes there, which neither pitches nor rolls; only the last waypoint is the platform's",
                    leg + 1
                );
            }
            base = carried(&base, &from, &to);
            if let Some(axis) = family.base_outside(&base) {
                return refuse!(
                    OutsideLimits,
                    "waypoint {}: {} of the base couch would be outside its range; plan a smaller move",
                    leg + 1,
                    limits::NAMES.get(axis).copied().unwrap_or("an axis")
                );
            }
        }
        let last = self.last_leg();
        if let Some((leg, length)) = path.find_on(last, |at| family.leg_outside(&base, at)) {
            return refuse!(
                OutsideLimits,
                "leg {leg} would be {length:.1} mm long on the way, outside its limits; plan a smaller move, or let the base couch move first"
            );
        }
        let Some(target) = self.waypoints.last() else {
            return Ok(());
        };
        if let Some((axis, value)) = family.travel_outside(&base, target) {
            return refuse!(
                OutsideLimits,
                "{} of the platform would be {value:.2} from neutral, beyond its travel; plan a smaller move, or let the base couch move first",
                limits::NAMES.get(axis).copied().unwrap_or("an axis")
            );
        }
        Ok(())
    }

    /// Index of the last waypoint.
    pub fn last_leg(&self) -> usize {
        self.waypoints.len().saturating_sub(1)
    }

    /// The digest of protocol.md section 6, from the working values.
    fn canonical_digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"CLP1-PLAN");
        hash.update(self.proposal);
        hash.update(self.limits);
        hash.update(self.ttl_ms.to_le_bytes());
        hash.update((libm::round(self.speed_share * 1e6) as u32).to_le_bytes());
        hash.update([AXES as u8, self.waypoints.len() as u8]);
        for value in self.start {
            hash.update(to_wire(value).to_le_bytes());
        }
        hash.update((self.start_tolerance.0 as u32).to_le_bytes());
        hash.update((self.start_tolerance.1 as u32).to_le_bytes());
        for value in self.waypoints.iter().flatten() {
            hash.update(to_wire(*value).to_le_bytes());
        }
        hash.finalize().into()
    }

    /// The path from where the couch stands through the waypoints.
    pub fn path(&self, from: &Position, limits: &Limits) -> Path {
        Path::new(from, &self.waypoints, limits, self.speed_share, |_| {
            f64::INFINITY
        })
    }

    /// Refuses unless `position` is the start of the plan within its tolerances.
    pub fn stands_at_start(&self, position: &[i32; AXES], limits: &Limits) -> Result<(), Refusal> {
        for ((at, start), axis) in position.iter().zip(&self.start).zip(limits) {
            let off = f64::from(*at) - start;
            let tolerance = axis
                .kind
                .pick(self.start_tolerance.0, self.start_tolerance.1);
            if off.abs() > tolerance {
                let (scale, unit) = (axis.kind.scale(), axis.kind.unit());
                return refuse!(
                    NotAtStart,
                    "{} is {:+.3} {unit} from the start of the plan, more than {:.3} {unit}; plan anew from here",
                    described(axis, f64::from(*at)),
                    off / scale,
                    tolerance / scale
                );
            }
        }
        Ok(())
    }
}

/// Tolerance of an axis kind: linear micrometres, rotary microdegrees.
pub fn tolerance(kind: Kind, pair: (f64, f64)) -> f64 {
    kind.pick(pair.0, pair.1)
}
