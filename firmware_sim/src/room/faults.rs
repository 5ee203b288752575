//! Faults: of devices in PX4's words (off, stuck, garbage, wrong, slow, delayed, intermittent), and of the octets on a line.
//!
//! A fault that the model does not have is refused by name, never ignored. Every random fault draws from a stream of its own.

use super::{LINES, LineName, Room};
use crate::limits::{AXES, NAMES};
use crate::plant::{AxisFault, BrakeFault, ChannelFault, Faults as PlantFaults, SwitchFault};
use crate::random::Stream;
use std::collections::VecDeque;

/// A request for a fault. `value` is in the unit that [`TABLE`] names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// What fails, as in [`TABLE`].
    pub target: String,
    /// How it fails.
    pub kind: String,
    /// Axis name or index, where the target has axes.
    pub axis: Option<usize>,
    /// How much.
    pub value: Option<f64>,
    /// `to_device`, `to_host` or both, where the target is a line.
    pub direction: Option<String>,
}

/// Everything the model can do: target, kind, what `value` means (empty: no value).
pub const TABLE: &[(&str, &str, &str)] = &[
    ("encoder", "off", ""),
    ("encoder", "stuck", ""),
    ("encoder", "garbage", "times the usual noise"),
    ("encoder", "wrong", "offset in mm or deg"),
    ("encoder", "slow", "drift in mm/s or deg/s"),
    ("second_channel", "stuck", ""),
    ("second_channel", "garbage", "times the usual noise"),
    ("second_channel", "wrong", "offset in mm or deg"),
    ("second_channel", "slow", "drift in mm/s or deg/s"),
    ("axis", "stuck", ""),
    ("axis", "slow", "share of its speed, 0 to 1"),
    (
        "axis",
        "wrong",
        "creep of the load against the motor in mm/s or deg/s",
    ),
    (
        "axis",
        "garbage",
        "runaway while it is driven in mm/s or deg/s",
    ),
    ("lower_limit", "off", ""),
    ("lower_limit", "stuck", ""),
    ("upper_limit", "off", ""),
    ("upper_limit", "stuck", ""),
    ("brake", "off", ""),
    ("brake", "stuck", ""),
    ("brake", "slow", "slip downwards while engaged in mm/s"),
    ("brake", "delayed", "ms until it engages"),
    ("drive", "off", ""),
    ("touch_guard", "off", ""),
    ("touch_guard", "stuck", ""),
    ("touch_guard", "intermittent", "half period in ms"),
    ("estop", "off", ""),
    ("estop", "stuck", ""),
    ("enable_contact_a", "off", ""),
    ("enable_contact_a", "stuck", ""),
    ("enable_contact_a", "intermittent", "half period in ms"),
    ("enable_contact_b", "off", ""),
    ("enable_contact_b", "stuck", ""),
    ("enable_contact_b", "intermittent", "half period in ms"),
    ("source_arm", "stuck", ""),
    ("panel_arm", "stuck", ""),
    ("generator", "off", ""),
    ("panel", "off", ""),
    ("pendant_supply", "off", ""),
    ("power.couch", "off", ""),
    ("power.imager", "off", ""),
    ("power.pendant", "off", ""),
    ("clock.couch", "wrong", "skew in parts per million"),
    ("clock.imager", "wrong", "skew in parts per million"),
    ("clock.pendant", "wrong", "skew in parts per million"),
    ("line.couch", "*", "see line kinds"),
    ("line.imager", "*", "see line kinds"),
    ("line.pendant", "*", "see line kinds"),
];

/// Kinds of faults of a line and what `value` means.
pub const LINE_KINDS: &[(&str, &str)] = &[
    ("flip", "probability that a bit of an octet flips"),
    ("drop", "probability that an octet is lost"),
    (
        "garbage",
        "probability that noise octets come before a chunk",
    ),
    ("duplicate", "probability that a chunk comes twice"),
    ("reorder", "probability that a chunk comes after the next"),
    ("delayed", "ms by which everything is late"),
    ("jitter", "ms by which a chunk is late at most"),
    ("split", "octets that pass in a millisecond"),
    ("merge", "ms for which octets are collected"),
    ("stall", ""),
    ("off", ""),
    ("echo", ""),
    ("baud", ""),
];

/// State of a contact, or of anything that reports yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwitchState {
    /// Works.
    #[default]
    Ok,
    /// Never closes (never reports).
    Off,
    /// Always closed (always reports).
    Stuck,
    /// Opens for every other half period of so many microseconds.
    Intermittent(u64),
}

impl SwitchState {
    /// What comes through of a contact that is `closed`.
    pub fn applied(self, closed: bool, now_us: u64) -> bool {
        match self {
            Self::Ok => closed,
            Self::Off => false,
            Self::Stuck => true,
            Self::Intermittent(half_us) => closed && (now_us / half_us.max(1)).is_multiple_of(2),
        }
    }
}

/// Octets that wait on a stalled line at most; older ones are lost, as in a full UART buffer.
const QUEUE_MAX: usize = 65_536;

/// Faults of one direction of one line.
#[derive(Debug)]
struct Pipe {
    stream: [Stream; 6],
    flip: f64,
    drop: f64,
    garbage: f64,
    duplicate: f64,
    reorder: f64,
    delay_us: u64,
    jitter_us: u64,
    split: usize,
    merge_us: u64,
    stall: bool,
    off: bool,
    baud: bool,
    /// The two ends run at different rates: no fault to be cleared, but how the port is set.
    rates_differ: bool,
    held: Vec<u8>,
    queue: VecDeque<(u64, Vec<u8>)>,
    queued: usize,
    touched: u64,
}

impl Pipe {
    fn new(seed: u64, name: &str) -> Self {
        let stream = ["flip", "drop", "garbage", "duplicate", "reorder", "jitter"]
            .map(|kind| Stream::new(seed, &format!("line.{name}.{kind}")));
        Self {
            stream,
            flip: 0.0,
            drop: 0.0,
            garbage: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            delay_us: 0,
            jitter_us: 0,
            split: 0,
            merge_us: 0,
            stall: false,
            off: false,
            baud: false,
            rates_differ: false,
            held: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            touched: 0,
        }
    }

    fn set(&mut self, kind: &str, value: Option<f64>) -> Result<(), String> {
        let meaning = LINE_KINDS
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| {
                let known: Vec<&str> = LINE_KINDS.iter().map(|(name, _)| *name).collect();
                format!("a line has no fault {kind:?}; it has {}", known.join(", "))
            })?;
        let number = demanded("line", kind, meaning, value)?;
        if meaning.starts_with("probability") && !(0.0..=1.0).contains(&number) {
            return Err(format!(
                "line {kind}: {number} is not a probability within 0 to 1"
            ));
        }
        if number < 0.0 {
            return Err(format!("line {kind}: {number} must not be negative"));
        }
        let micros = (number * 1e3) as u64;
        match kind {
            "flip" => self.flip = number,
            "drop" => self.drop = number,
            "garbage" => self.garbage = number,
            "duplicate" => self.duplicate = number,
            "reorder" => self.reorder = number,
            "delayed" => self.delay_us = micros,
            "jitter" => self.jitter_us = micros,
            "split" => self.split = (number as usize).max(1),
            "merge" => self.merge_us = micros,
            "stall" => self.stall = true,
            "off" => self.off = true,
            "baud" => self.baud = true,
            _ => {}
        }
        Ok(())
    }

    fn idle(&self) -> bool {
        let random = self.flip + self.drop + self.garbage + self.duplicate + self.reorder;
        random == 0.0
            && !self.queues()
            && !self.off
            && !self.baud
            && !self.rates_differ
            && self.queue.is_empty()
            && self.held.is_empty()
    }

    fn queues(&self) -> bool {
        self.stall || self.delay_us + self.jitter_us + self.merge_us > 0 || self.split > 0
    }

    /// Takes a chunk; `None` if it passes untouched, else what passes now.
    fn pass(&mut self, now_us: u64, chunk: &[u8]) -> Option<Vec<u8>> {
        if self.idle() {
            return None;
        }
        self.touched += chunk.len() as u64;
        if self.off {
            return Some(Vec::new());
        }
        let damaged = self.damage(chunk);
        if !self.queues() && self.queue.is_empty() {
            return Some(damaged);
        }
        let [.., jitter] = &mut self.stream;
        let late =
            self.delay_us + (self.jitter_us as f64 * jitter.uniform()) as u64 + self.merge_us;
        let mut due = now_us + late;
        if let Some((last, waiting)) = self.queue.back_mut() {
            // A serial line keeps its order; a chunk within the merging time joins the one that waits.
            if self.merge_us > 0 && *last > now_us {
                waiting.extend_from_slice(&damaged);
                self.queued += damaged.len();
                return Some(Vec::new());
            }
            due = due.max(*last);
        }
        self.queued += damaged.len();
        self.queue.push_back((due, damaged));
        while self.queued > QUEUE_MAX {
            if let Some((_, lost)) = self.queue.pop_front() {
                self.queued -= lost.len();
            }
        }
        Some(Vec::new())
    }

    fn damage(&mut self, chunk: &[u8]) -> Vec<u8> {
        let [flips, drops, noise, twice, order, _] = &mut self.stream;
        let mut out = Vec::with_capacity(chunk.len() + 8);
        if self.garbage > 0.0 && noise.uniform() < self.garbage {
            let count = 1 + noise.bits() % 16;
            out.extend((0..count).map(|_| noise.bits() as u8));
        }
        for octet in chunk {
            if self.baud || self.rates_differ {
                // At a wrong rate the receiver samples other bits, and sees about twice or half as many octets.
                let bits = flips.bits();
                out.extend(
                    [bits as u8, (bits >> 8) as u8]
                        .iter()
                        .take((bits >> 16) as usize % 3),
                );
                continue;
            }
            if self.drop > 0.0 && drops.uniform() < self.drop {
                continue;
            }
            let flipped = self.flip > 0.0 && flips.uniform() < self.flip;
            out.push(if flipped {
                octet ^ (1 << (flips.bits() % 8))
            } else {
                *octet
            });
        }
        if self.duplicate > 0.0 && twice.uniform() < self.duplicate {
            out.extend_from_within(..);
        }
        if self.reorder > 0.0 && self.held.is_empty() && order.uniform() < self.reorder {
            self.held = out;
            return Vec::new();
        }
        out.append(&mut self.held);
        out
    }

    /// What has waited long enough.
    fn due(&mut self, now_us: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if self.stall {
            return out;
        }
        let mut room = if self.split > 0 {
            self.split
        } else {
            usize::MAX
        };
        while let Some((due, chunk)) = self.queue.front_mut() {
            if *due > now_us || room == 0 {
                break;
            }
            let count = chunk.len().min(room);
            out.extend(chunk.drain(..count));
            room -= count;
            if chunk.is_empty() {
                self.queue.pop_front();
            }
        }
        self.queued -= out.len().min(self.queued);
        out
    }

    /// Ends all faults; what waited arrives, what was held back is lost.
    fn clear(&mut self) {
        self.flip = 0.0;
        self.drop = 0.0;
        self.garbage = 0.0;
        self.duplicate = 0.0;
        self.reorder = 0.0;
        self.delay_us = 0;
        self.jitter_us = 0;
        self.split = 0;
        self.merge_us = 0;
        self.stall = false;
        self.off = false;
        self.baud = false;
    }
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    base_us: u64,
    device_base_us: u64,
    skew_ppm: f64,
}

/// Faults of the room outside the mechanics of the couch.
#[derive(Debug)]
#[allow(missing_docs, reason = "each field is named for its part")]
pub struct RoomFaults {
    pub contact_a: SwitchState,
    pub contact_b: SwitchState,
    pub estop: SwitchState,
    pub touch_guard: SwitchState,
    pub source_arm: SwitchState,
    pub panel_arm: SwitchState,
    pub generator: SwitchState,
    pub panel: SwitchState,
    pub pendant_supply: SwitchState,
    to_device: [Pipe; 3],
    to_host: [Pipe; 3],
    echo: [bool; 3],
    clocks: [Clock; 3],
}

impl RoomFaults {
    /// No faults.
    pub fn new(seed: u64) -> Self {
        let names = ["couch", "imager", "pendant"];
        Self {
            contact_a: SwitchState::Ok,
            contact_b: SwitchState::Ok,
            estop: SwitchState::Ok,
            touch_guard: SwitchState::Ok,
            source_arm: SwitchState::Ok,
            panel_arm: SwitchState::Ok,
            generator: SwitchState::Ok,
            panel: SwitchState::Ok,
            pendant_supply: SwitchState::Ok,
            to_device: names.map(|name| Pipe::new(seed, &format!("{name}.to_device"))),
            to_host: names.map(|name| Pipe::new(seed, &format!("{name}.to_host"))),
            echo: [false; 3],
            clocks: [Clock {
                base_us: 0,
                device_base_us: 0,
                skew_ppm: 0.0,
            }; 3],
        }
    }

    /// A device's own clock.
    pub fn device_us(&self, line: LineName, now_us: u64) -> u64 {
        let Some(clock) = self
            .clocks
            .get(line as usize)
            .filter(|clock| clock.skew_ppm != 0.0 || clock.device_base_us != clock.base_us)
        else {
            return now_us;
        };
        let passed = (now_us - clock.base_us) as f64;
        clock.device_base_us + (passed * (1.0 + clock.skew_ppm * 1e-6)) as u64
    }

    fn skew(&mut self, line: LineName, now_us: u64, skew_ppm: f64) {
        let device_base_us = self.device_us(line, now_us);
        if let Some(clock) = self.clocks.get_mut(line as usize) {
            *clock = Clock {
                base_us: now_us,
                device_base_us,
                skew_ppm,
            };
        }
    }

    /// Octets from the host on their way; `None` if untouched.
    pub fn to_device(&mut self, line: LineName, now_us: u64, octets: &[u8]) -> Option<Vec<u8>> {
        let echoes = self.echo.get(line as usize).copied().unwrap_or(false);
        if let Some(pipe) = self.to_host.get_mut(line as usize).filter(|_| echoes) {
            pipe.touched += octets.len() as u64;
            pipe.queued += octets.len();
            pipe.queue.push_back((now_us, octets.to_vec()));
        }
        self.to_device.get_mut(line as usize)?.pass(now_us, octets)
    }

    /// Octets from a device on their way; `None` if untouched.
    pub fn to_host(&mut self, line: LineName, now_us: u64, octets: &[u8]) -> Option<Vec<u8>> {
        self.to_host.get_mut(line as usize)?.pass(now_us, octets)
    }

    /// Late octets that reach the device now.
    pub fn due_to_device(&mut self, line: LineName, now_us: u64) -> Vec<u8> {
        self.to_device
            .get_mut(line as usize)
            .map(|pipe| pipe.due(now_us))
            .unwrap_or_default()
    }

    /// Late octets that reach the host now.
    pub fn due_to_host(&mut self, line: LineName, now_us: u64) -> Vec<u8> {
        self.to_host
            .get_mut(line as usize)
            .map(|pipe| pipe.due(now_us))
            .unwrap_or_default()
    }

    /// The two ends of a line run at different rates, or at the same again.
    pub fn set_rates_differ(&mut self, line: LineName, differ: bool) {
        for pipes in [&mut self.to_device, &mut self.to_host] {
            if let Some(pipe) = pipes.get_mut(line as usize) {
                pipe.rates_differ = differ;
            }
        }
    }

    /// Whether octets may be waiting anywhere.
    pub fn lines_active(&self) -> bool {
        self.to_device
            .iter()
            .chain(&self.to_host)
            .any(|pipe| !pipe.queue.is_empty())
    }

    /// Octets that went through a faulty line.
    pub fn octets_touched(&self) -> u64 {
        self.to_device
            .iter()
            .chain(&self.to_host)
            .map(|pipe| pipe.touched)
            .sum()
    }
}

fn demanded(target: &str, kind: &str, meaning: &str, value: Option<f64>) -> Result<f64, String> {
    match value {
        _ if meaning.is_empty() => Ok(0.0),
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{target} {kind} needs a value: {meaning}")),
    }
}

fn line_of(target: &str) -> Option<LineName> {
    let name = target.split_once('.')?.1;
    LINES
        .into_iter()
        .find(|line| format!("{line:?}").eq_ignore_ascii_case(name))
}

fn known(target: &str, kind: &str) -> Result<&'static str, String> {
    let kinds: Vec<&(&str, &str, &str)> = TABLE
        .iter()
        .filter(|(name, _, _)| *name == target)
        .collect();
    if kinds.is_empty() {
        let mut targets: Vec<&str> = TABLE.iter().map(|(name, _, _)| *name).collect();
        targets.dedup();
        return Err(format!(
            "the model has no target {target:?}; it has {}",
            targets.join(", ")
        ));
    }
    kinds
        .iter()
        .find(|(_, name, _)| *name == kind || *name == "*")
        .map(|(_, _, meaning)| *meaning)
        .ok_or_else(|| {
            let names: Vec<&str> = kinds.iter().map(|(_, name, _)| *name).collect();
            format!(
                "the model has no fault {kind:?} of {target}; it has {}",
                names.join(", ")
            )
        })
}

/// Injects a fault into a room; a sentence if the model does not have it.
pub fn inject(room: &mut Room, request: &Request) -> Result<(), String> {
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    let meaning = known(target, kind)?;
    if let Some(line) = line_of(target) {
        let now_us = room.now_us;
        return match target.split_once('.').map(|(group, _)| group) {
            Some("power") => {
                room.set_power(line, false);
                Ok(())
            }
            Some("clock") => {
                let skew = demanded(target, kind, meaning, request.value)?;
                if skew.abs() > 100_000.0 {
                    return Err(format!("clock skew of {skew} ppm is beyond 100000 ppm"));
                }
                room.faults.skew(line, now_us, skew);
                Ok(())
            }
            _ => inject_line(&mut room.faults, line, request),
        };
    }
    let value = demanded(target, kind, meaning, request.value)?;
    let switch = match kind {
        "off" => SwitchState::Off,
        "stuck" => SwitchState::Stuck,
        "intermittent" => SwitchState::Intermittent((value * 1e3).max(1.0) as u64),
        _ => SwitchState::Ok,
    };
    let faults = &mut room.faults;
    match target {
        "touch_guard" => faults.touch_guard = switch,
        "estop" => faults.estop = switch,
        "enable_contact_a" => faults.contact_a = switch,
        "enable_contact_b" => faults.contact_b = switch,
        "source_arm" => faults.source_arm = switch,
        "panel_arm" => faults.panel_arm = switch,
        "generator" => faults.generator = switch,
        "panel" => faults.panel = switch,
        "pendant_supply" => faults.pendant_supply = switch,
        _ => return inject_plant(room, request, value),
    }
    Ok(())
}

fn inject_line(faults: &mut RoomFaults, line: LineName, request: &Request) -> Result<(), String> {
    let (down, up) = match request.direction.as_deref() {
        None | Some("both") => (true, true),
        Some("to_device") => (true, false),
        Some("to_host") => (false, true),
        Some(other) => {
            return Err(format!(
                "direction {other:?} is none of to_device, to_host, both"
            ));
        }
    };
    if request.kind == "echo" {
        if let Some(echo) = faults.echo.get_mut(line as usize) {
            *echo = true;
        }
        return Ok(());
    }
    if let Some(pipe) = faults.to_device.get_mut(line as usize).filter(|_| down) {
        pipe.set(&request.kind, request.value)?;
    }
    if let Some(pipe) = faults.to_host.get_mut(line as usize).filter(|_| up) {
        pipe.set(&request.kind, request.value)?;
    }
    Ok(())
}

fn inject_plant(room: &mut Room, request: &Request, value: f64) -> Result<(), String> {
    let mut faults = room.plant.faults();
    let switch = if request.kind == "off" {
        SwitchFault::Off
    } else {
        SwitchFault::Stuck
    };
    match request.target.as_str() {
        "lower_limit" => faults.lower_switch = switch,
        "upper_limit" => faults.upper_switch = switch,
        "drive" => faults.drive_off = true,
        "brake" => {
            faults.brake = match request.kind.as_str() {
                "off" => BrakeFault::Off,
                "stuck" => BrakeFault::Stuck,
                "slow" => BrakeFault::Slip(value * 1e3),
                _ => BrakeFault::Delayed((value.max(0.0) * 1e3) as u64),
            }
        }
        _ => inject_axis(room, request, value, &mut faults)?,
    }
    room.plant.set_faults(faults);
    Ok(())
}

fn inject_axis(
    room: &Room,
    request: &Request,
    value: f64,
    faults: &mut PlantFaults,
) -> Result<(), String> {
    let Some(axis) = request.axis.filter(|axis| *axis < AXES) else {
        return Err(format!(
            "{} {} needs an axis: {}",
            request.target,
            request.kind,
            NAMES.join(", ")
        ));
    };
    let scale = room
        .limits
        .get(axis)
        .map_or(1.0, |limit| limit.kind.scale());
    let sensors = room.plant.sensors();
    let channel = |stuck_at: Option<&i32>| match request.kind.as_str() {
        "off" => ChannelFault::Off,
        "stuck" => ChannelFault::Stuck(stuck_at.copied().unwrap_or(0)),
        "garbage" => ChannelFault::Garbage(value),
        "wrong" => ChannelFault::Wrong(value * scale),
        _ => ChannelFault::Slow(value * scale),
    };
    match request.target.as_str() {
        "encoder" => set(
            &mut faults.encoder,
            axis,
            channel(sensors.primary.get(axis)),
        ),
        "second_channel" => set(
            &mut faults.second_channel,
            axis,
            channel(sensors.secondary.get(axis)),
        ),
        _ => {
            let fault = match request.kind.as_str() {
                "stuck" => AxisFault::Stuck,
                "slow" if (0.0..=1.0).contains(&value) => AxisFault::Slow(value),
                "slow" => return Err(format!("axis slow: {value} is not a share within 0 to 1")),
                "wrong" => AxisFault::Creep(value * scale),
                _ => AxisFault::Garbage(value * scale),
            };
            set(&mut faults.axis, axis, fault);
        }
    }
    Ok(())
}

fn set<T>(places: &mut [T; AXES], axis: usize, value: T) {
    if let Some(place) = places.get_mut(axis) {
        *place = value;
    }
}

/// Ends the faults of a target, or of everything with `all`.
pub fn clear(room: &mut Room, target: &str) -> Result<(), String> {
    if target == "all" {
        let mut targets: Vec<&str> = TABLE.iter().map(|(name, _, _)| *name).collect();
        targets.dedup();
        return targets.iter().try_for_each(|target| clear(room, target));
    }
    if !TABLE.iter().any(|(name, _, _)| *name == target) {
        return known(target, "").map(|_| ());
    }
    if let Some(line) = line_of(target) {
        match target.split_once('.').map(|(group, _)| group) {
            Some("power") => room.set_power(line, true),
            Some("clock") => {
                let now_us = room.now_us;
                room.faults.skew(line, now_us, 0.0);
            }
            _ => {
                let faults = &mut room.faults;
                for pipe in faults
                    .to_device
                    .get_mut(line as usize)
                    .into_iter()
                    .chain(faults.to_host.get_mut(line as usize))
                {
                    pipe.clear();
                }
                if let Some(echo) = faults.echo.get_mut(line as usize) {
                    *echo = false;
                }
            }
        }
        return Ok(());
    }
    let mut plant = room.plant.faults();
    let faults = &mut room.faults;
    match target {
        "touch_guard" => faults.touch_guard = SwitchState::Ok,
        "estop" => faults.estop = SwitchState::Ok,
        "enable_contact_a" => faults.contact_a = SwitchState::Ok,
        "enable_contact_b" => faults.contact_b = SwitchState::Ok,
        "source_arm" => faults.source_arm = SwitchState::Ok,
        "panel_arm" => faults.panel_arm = SwitchState::Ok,
        "generator" => faults.generator = SwitchState::Ok,
        "panel" => faults.panel = SwitchState::Ok,
        "pendant_supply" => faults.pendant_supply = SwitchState::Ok,
        "encoder" => plant.encoder = Default::default(),
        "second_channel" => plant.second_channel = Default::default(),
        "axis" => plant.axis = Default::default(),
        "lower_limit" => plant.lower_switch = SwitchFault::None,
        "upper_limit" => plant.upper_switch = SwitchFault::None,
        "brake" => plant.brake = BrakeFault::None,
        _ => plant.drive_off = false,
    }
    room.plant.set_faults(plant);
    Ok(())
}
