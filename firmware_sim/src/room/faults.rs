//! Faults: of devices in PX4's words (off, stuck, garbage, wrong, slow, delayed, intermittent), and of the octets on a line.
//!
//! A fault that the model does not have is refused by name, never ignored. Every random fault draws from a stream of its own.

mod clock;
mod panel;
mod pipe;
mod words;

use super::{LINES, LineName, Room};
use crate::contact::{Contact, ContactFault};
use crate::couch::TOUCH_GUARDS;
use crate::generator::GeneratorFault;
use crate::limits::AXES;
use crate::plant::faults::{DELAY_MAX, cycles_of_ms};
use crate::plant::{AxisFault, BrakeFault, ChannelFault, DriveFault, Faults as PlantFaults};
use crate::random::Stream;
use clock::{Clock, ClockFault};
pub use panel::PanelFault;
use pipe::Pipe;
pub use words::{LINE_KINDS, MEANINGLESS, TABLE, WORDS};

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

/// Faults of the room outside the mechanics of the couch.
#[derive(Debug)]
#[allow(missing_docs, reason = "each field is named for its part")]
pub struct RoomFaults {
    pub contact_a: Contact,
    pub contact_b: Contact,
    pub estop: Contact,
    pub touch_guards: [Contact; TOUCH_GUARDS.len()],
    /// No contact has a fault.
    pub contacts_work: bool,
    pub source_arm: Contact,
    pub panel_arm: Contact,
    pub panel: PanelFault,
    pub panel_noise: Stream,
    pub pendant_supply: bool,
    /// What is injected and not cleared, for the truth.
    injected: Vec<Request>,
    to_device: [Pipe; 3],
    to_host: [Pipe; 3],
    echo: [bool; 3],
    clocks: [Clock; 3],
    /// No clock has ever had a fault.
    clocks_true: bool,
}

impl RoomFaults {
    /// No faults.
    pub fn new(seed: u64) -> Self {
        let names = ["couch", "imager", "pendant"];
        let contact = |name: &str| Contact::new(seed, &format!("fault.{name}"));
        Self {
            contact_a: contact("enable_contact_a"),
            contact_b: contact("enable_contact_b"),
            estop: contact("estop"),
            touch_guards: TOUCH_GUARDS.map(contact),
            contacts_work: true,
            source_arm: contact("source_arm"),
            panel_arm: contact("panel_arm"),
            panel: PanelFault::None,
            panel_noise: Stream::new(seed, "fault.panel"),
            pendant_supply: false,
            injected: Vec::new(),
            to_device: names.map(|name| Pipe::new(seed, &format!("{name}.to_device"))),
            to_host: names.map(|name| Pipe::new(seed, &format!("{name}.to_host"))),
            echo: [false; 3],
            clocks: names.map(|name| Clock {
                base_us: 0,
                device_base_us: 0,
                fault: ClockFault::Rate(1.0),
                jumps: Stream::new(seed, &format!("fault.clock.{name}")),
            }),
            clocks_true: true,
        }
    }

    /// A device's own clock.
    #[inline]
    pub fn device_us(&self, line: LineName, now_us: u64) -> u64 {
        if self.clocks_true {
            return now_us;
        }
        self.clocks
            .get(line as usize)
            .map_or(now_us, |clock| clock.at(now_us))
    }

    /// Clocks that jump do so once a control cycle.
    #[inline]
    pub fn step_clocks(&mut self) {
        if self.clocks_true {
            return;
        }
        for clock in &mut self.clocks {
            if let ClockFault::Garbage(most_us) = clock.fault {
                clock.device_base_us += (most_us * clock.jumps.uniform()) as u64;
            }
        }
    }

    fn set_clock(&mut self, line: LineName, now_us: u64, fault: ClockFault) {
        self.clocks_true = false;
        if let Some(clock) = self.clocks.get_mut(line as usize) {
            clock.set(now_us, fault);
        }
    }

    /// What is injected and not cleared, in words: target, kind, axis, value, direction.
    pub fn injected(&self, axis_names: &[&'static str; AXES]) -> Vec<String> {
        let worded = |request: &Request| {
            let mut words = vec![request.target.clone(), request.kind.clone()];
            let axis = request.axis.and_then(|axis| axis_names.get(axis));
            words.extend(axis.map(|name| (*name).to_owned()));
            words.extend(request.value.map(|value| value.to_string()));
            words.extend(request.direction.clone());
            words.join(" ")
        };
        self.injected.iter().map(worded).collect()
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

/// Words in a table that are told apart: the target itself, and what its parts share (`touch_guard.table_left` is a `touch_guard`).
fn family_of(target: &str) -> &str {
    match target.split_once('.') {
        Some(("touch_guard", name)) if TOUCH_GUARDS.contains(&name) => "touch_guard",
        _ => target,
    }
}

fn known(target: &str, kind: &str) -> Result<&'static str, String> {
    let family = family_of(target);
    let kinds: Vec<&(&str, &str, &str)> = TABLE
        .iter()
        .filter(|(name, _, _)| *name == family)
        .collect();
    if kinds.is_empty() {
        let mut targets: Vec<&str> = TABLE.iter().map(|(name, _, _)| *name).collect();
        targets.dedup();
        return Err(format!(
            "the model has no target {target:?}; it has {}, and touch_guard.NAME of {}",
            targets.join(", "),
            TOUCH_GUARDS.join(", ")
        ));
    }
    let found = kinds
        .iter()
        .find(|(_, name, _)| *name == kind || *name == "*")
        .map(|(_, _, meaning)| *meaning);
    found.ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|(_, name, _)| *name).collect();
        let why = MEANINGLESS
            .iter()
            .find(|(name, word, _)| {
                *name == family && (*word == kind || *word == "*" && WORDS.contains(&kind))
            })
            .map(|(_, _, reason)| format!(": {reason}"))
            .unwrap_or_default();
        format!(
            "the model has no fault {kind:?} of {target}{why}; it has {}",
            names.join(", ")
        )
    })
}

fn positive_ms(target: &str, kind: &str, value: f64) -> Result<u64, String> {
    if value > 0.0 && value <= 1e9 {
        Ok(((value * 1e3) as u64).max(1))
    } else {
        Err(format!("{target} {kind}: {value} ms is not above 0"))
    }
}

fn share(target: &str, kind: &str, value: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!(
            "{target} {kind}: {value} is not a share within 0 to 1"
        ))
    }
}

fn cycles(target: &str, kind: &str, value: f64) -> Result<u16, String> {
    let ms = positive_ms(target, kind, value)?.div_ceil(1000);
    cycles_of_ms(ms).ok_or_else(|| {
        format!("{target} {kind}: {value} ms is beyond the {DELAY_MAX} ms that are remembered")
    })
}

fn contact_fault(target: &str, kind: &str, value: f64) -> Result<ContactFault, String> {
    Ok(match kind {
        "off" => ContactFault::Off,
        "stuck" => ContactFault::Stuck,
        "wrong" => ContactFault::Wrong,
        "garbage" => ContactFault::Garbage,
        "delayed" => ContactFault::Delayed(positive_ms(target, kind, value)?),
        _ => ContactFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

/// Injects a fault into a room; a sentence if the model does not have it.
pub fn inject(room: &mut Room, request: &Request) -> Result<(), String> {
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    let meaning = known(target, kind)?;
    if let Some(line) = line_of(target) {
        match target.split_once('.').map(|(group, _)| group) {
            Some("power") => room.set_power(line, false),
            Some("clock") => {
                let value = demanded(target, kind, meaning, request.value)?;
                let fault = clock_fault(target, kind, value)?;
                let now_us = room.now_us;
                room.faults.set_clock(line, now_us, fault);
            }
            _ => inject_line(&mut room.faults, line, request)?,
        }
    } else {
        let value = demanded(target, kind, meaning, request.value)?;
        inject_device(room, request, value)?;
    }
    room.faults.remember(request);
    Ok(())
}

fn clock_fault(target: &str, kind: &str, value: f64) -> Result<ClockFault, String> {
    Ok(match kind {
        "stuck" => ClockFault::Rate(0.0),
        "slow" => ClockFault::Rate(share(target, kind, value)?),
        "garbage" => ClockFault::Garbage(positive_ms(target, kind, value)? as f64),
        "intermittent" => ClockFault::Intermittent(positive_ms(target, kind, value)?),
        _ if value.abs() > 100_000.0 => {
            return Err(format!("clock skew of {value} ppm is beyond 100000 ppm"));
        }
        _ => ClockFault::Rate(1.0 + value * 1e-6),
    })
}

fn inject_device(room: &mut Room, request: &Request, value: f64) -> Result<(), String> {
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    let faults = &mut room.faults;
    match family_of(target) {
        "generator" => {
            let fault = generator_fault(target, kind, value)?;
            room.generator.set_fault(fault);
        }
        "panel" => faults.panel = panel_fault(target, kind, value)?,
        "pendant_supply" => faults.pendant_supply = true,
        "touch_guard" | "estop" | "enable_contact_a" | "enable_contact_b" | "source_arm"
        | "panel_arm" => {
            let fault = contact_fault(target, kind, value)?;
            faults.set_contacts(target, fault);
        }
        _ => return inject_plant(room, request, value),
    }
    Ok(())
}

fn generator_fault(target: &str, kind: &str, value: f64) -> Result<GeneratorFault, String> {
    Ok(match kind {
        "off" => GeneratorFault::Off,
        "stuck" => GeneratorFault::Stuck,
        "garbage" => GeneratorFault::Garbage(share(target, kind, value)?),
        "wrong" if value > 0.0 && value <= 10.0 => GeneratorFault::Wrong(value),
        "wrong" => {
            return Err(format!(
                "generator wrong: {value} is not a share above 0, 10 at most"
            ));
        }
        "slow" => GeneratorFault::Slow(share(target, kind, value)?),
        "delayed" => GeneratorFault::Delayed(positive_ms(target, kind, value)?),
        _ => GeneratorFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

fn panel_fault(target: &str, kind: &str, value: f64) -> Result<PanelFault, String> {
    Ok(match kind {
        "off" => PanelFault::Off,
        "stuck" => PanelFault::Stuck,
        "garbage" if value >= 0.0 => PanelFault::Garbage(value),
        "garbage" => return Err(format!("panel garbage: {value} counts are below 0")),
        "wrong" => PanelFault::Wrong(value),
        "slow" if value >= 1.0 => PanelFault::Slow(value),
        "slow" => return Err(format!("panel slow: {value} is not 1 or more")),
        "delayed" => PanelFault::Delayed(positive_ms(target, kind, value)?),
        _ => PanelFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

impl RoomFaults {
    /// The contacts of a target; of `touch_guard` all of them.
    fn contacts(&mut self, target: &str) -> Vec<&mut Contact> {
        match target {
            "estop" => vec![&mut self.estop],
            "enable_contact_a" => vec![&mut self.contact_a],
            "enable_contact_b" => vec![&mut self.contact_b],
            "source_arm" => vec![&mut self.source_arm],
            "panel_arm" => vec![&mut self.panel_arm],
            _ => {
                let name = target.split_once('.').map(|(_, name)| name);
                self.touch_guards
                    .iter_mut()
                    .zip(TOUCH_GUARDS)
                    .filter(|(_, guard)| name.is_none_or(|name| name == *guard))
                    .map(|(contact, _)| contact)
                    .collect()
            }
        }
    }

    fn set_contacts(&mut self, target: &str, fault: ContactFault) {
        for contact in self.contacts(target) {
            contact.set(fault);
        }
        let others = [
            &self.contact_a,
            &self.contact_b,
            &self.estop,
            &self.source_arm,
            &self.panel_arm,
        ];
        self.contacts_work =
            self.touch_guards.iter().all(Contact::works) && others.iter().all(|one| one.works());
    }

    fn remember(&mut self, request: &Request) {
        let same = |other: &Request| {
            other.target == request.target
                && other.axis == request.axis
                && (line_of(&request.target).is_none() || other.kind == request.kind)
        };
        self.injected.retain(|other| !same(other));
        self.injected.push(request.clone());
    }

    fn forget(&mut self, target: &str) {
        self.injected
            .retain(|request| request.target != target && family_of(&request.target) != target);
    }
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
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    match target {
        "lower_limit" => faults.lower_switch = contact_fault(target, kind, value)?,
        "upper_limit" => faults.upper_switch = contact_fault(target, kind, value)?,
        "drive" => faults.drive = drive_fault(target, kind, value)?,
        "brake" => faults.brake = brake_fault(target, kind, value)?,
        _ => inject_axis(room, request, value, &mut faults)?,
    }
    room.plant.set_faults(faults);
    Ok(())
}

fn drive_fault(target: &str, kind: &str, value: f64) -> Result<DriveFault, String> {
    Ok(match kind {
        "off" => DriveFault::Off,
        "stuck" => DriveFault::Stuck,
        "garbage" if value >= 0.0 => DriveFault::Garbage(value),
        "garbage" => return Err(format!("drive garbage: {value} is below 0")),
        "wrong" => DriveFault::Wrong,
        "slow" => DriveFault::Slow(share(target, kind, value)?),
        "delayed" => DriveFault::Delayed(cycles(target, kind, value)?),
        _ => DriveFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

fn brake_fault(target: &str, kind: &str, value: f64) -> Result<BrakeFault, String> {
    Ok(match kind {
        "off" => BrakeFault::Off,
        "stuck" => BrakeFault::Stuck,
        "garbage" => BrakeFault::Garbage,
        "wrong" => BrakeFault::Wrong,
        "slow" => BrakeFault::Slip(value * 1e3),
        "delayed" => BrakeFault::Delayed(positive_ms(target, kind, value)?),
        _ => BrakeFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

fn channel_fault(
    request: &Request,
    value: f64,
    scale: f64,
    stuck_at: Option<&i32>,
) -> Result<ChannelFault, String> {
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    Ok(match kind {
        "off" => ChannelFault::Off,
        "stuck" => ChannelFault::Stuck(stuck_at.copied().unwrap_or(0)),
        "garbage" => ChannelFault::Garbage(value),
        "wrong" => ChannelFault::Wrong(value * scale),
        "slow" => ChannelFault::Slow(value * scale),
        "delayed" => ChannelFault::Delayed(cycles(target, kind, value)?),
        _ => ChannelFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

fn axis_fault(request: &Request, value: f64, scale: f64) -> Result<AxisFault, String> {
    let (target, kind) = (request.target.as_str(), request.kind.as_str());
    Ok(match kind {
        "off" => AxisFault::Off,
        "stuck" => AxisFault::Stuck,
        "garbage" => AxisFault::Garbage(value * scale),
        "wrong" => AxisFault::Creep(value * scale),
        "slow" => AxisFault::Slow(share(target, kind, value)?),
        "delayed" => AxisFault::Delayed(cycles(target, kind, value)?),
        _ => AxisFault::Intermittent(positive_ms(target, kind, value)?),
    })
}

fn inject_axis(
    room: &Room,
    request: &Request,
    value: f64,
    faults: &mut PlantFaults,
) -> Result<(), String> {
    let limit = request.axis.and_then(|axis| room.limits.get(axis));
    let (Some(axis), Some(limit)) = (request.axis, limit) else {
        return Err(format!(
            "{} {} needs an axis: {}",
            request.target,
            request.kind,
            room.limits.map(|limit| limit.name).join(", ")
        ));
    };
    let scale = limit.kind.scale();
    let sensors = room.plant.sensors();
    match request.target.as_str() {
        "encoder" => {
            let fault = channel_fault(request, value, scale, sensors.primary.get(axis))?;
            set(&mut faults.encoder, axis, fault);
        }
        "second_channel" => {
            let fault = channel_fault(request, value, scale, sensors.secondary.get(axis))?;
            set(&mut faults.second_channel, axis, fault);
        }
        _ => set(&mut faults.axis, axis, axis_fault(request, value, scale)?),
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
    let family = family_of(target);
    if !TABLE.iter().any(|(name, _, _)| *name == family) {
        return known(target, "").map(|_| ());
    }
    room.faults.forget(target);
    if let Some(line) = line_of(target) {
        match target.split_once('.').map(|(group, _)| group) {
            Some("power") => room.set_power(line, true),
            Some("clock") if room.faults.clocks_true => {}
            Some("clock") => {
                let now_us = room.now_us;
                room.faults.set_clock(line, now_us, ClockFault::Rate(1.0));
            }
            _ => clear_line(&mut room.faults, line),
        }
        return Ok(());
    }
    clear_device(room, target, family);
    Ok(())
}

fn clear_line(faults: &mut RoomFaults, line: LineName) {
    let pipes = faults.to_device.get_mut(line as usize);
    for pipe in pipes
        .into_iter()
        .chain(faults.to_host.get_mut(line as usize))
    {
        pipe.clear();
    }
    if let Some(echo) = faults.echo.get_mut(line as usize) {
        *echo = false;
    }
}

fn clear_device(room: &mut Room, target: &str, family: &str) {
    let mut plant = room.plant.faults();
    match family {
        "generator" => room.generator.set_fault(GeneratorFault::None),
        "panel" => room.faults.panel = PanelFault::None,
        "pendant_supply" => room.faults.pendant_supply = false,
        "encoder" => plant.encoder = Default::default(),
        "second_channel" => plant.second_channel = Default::default(),
        "axis" => plant.axis = Default::default(),
        "lower_limit" => plant.lower_switch = ContactFault::None,
        "upper_limit" => plant.upper_switch = ContactFault::None,
        "brake" => plant.brake = BrakeFault::None,
        "drive" => plant.drive = DriveFault::None,
        _ => room.faults.set_contacts(target, ContactFault::None),
    }
    if plant != room.plant.faults() {
        room.plant.set_faults(plant);
    }
}
