//! The treatment room: three firmwares, the wires between them, the couch, the patient and the X-rays, under one clock.
//!
//! Nothing here reads a clock or a file. Time advances by [`Room::advance`] in control cycles of 1 ms; octets of the lines go in and out
//! by [`Room::write`] and [`Room::read`]. Same seed, same calls, same trace hash, on every machine.

pub mod controller;
pub mod faults;
pub mod frames;

use crate::breathing::Breathing;
use crate::couch;
use crate::couch::TOUCH_GUARDS;
use crate::couch::enable::Contacts;
use crate::generator::Generator;
use crate::imager::{self, Imager};
use crate::kinematics::Family;
use crate::limits::{AXES, Kind, Limits};
use crate::line::Counters;
use crate::pendant::{self, Pendant};
use crate::plant::{CYCLE_US, Drive, Plant, Sensors};
use crate::pose::{Pose, Six, Vector};
use crate::random::Stream;
use crate::xray::lag::Residue;
use crate::xray::phantom;
use crate::xray::physics::Physics;
use crate::xray::solids::Solid;
use crate::xray::volume::Volume;
use crate::xray::{Frame, Job, Scene, View};
use controller::{Controller, Dialect};
use faults::{PanelFault, RoomFaults};
use frames::Frames;
use std::sync::Arc;

/// The three serial lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named for its device")]
pub enum LineName {
    Couch = 0,
    Imager = 1,
    Pendant = 2,
}

/// All lines in order.
pub const LINES: [LineName; 3] = [LineName::Couch, LineName::Imager, LineName::Pendant];

/// Position of the three-position switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    missing_docs,
    reason = "the names are those of docs/simulator_control.md"
)]
pub enum EnablePosition {
    #[default]
    Released,
    Enabled,
    Squeezed,
}

/// How a room is made.
#[derive(Debug)]
pub struct Config {
    /// One seed for everything.
    pub seed: u64,
    /// Couch family.
    pub family: Family,
    /// Limits of its axes; those of the family where none are given.
    pub limits: Option<Limits>,
    /// What the couch's line speaks.
    pub dialect: Dialect,
    /// Axes at the start, micro-units.
    pub axes: [f64; AXES],
    /// Whether the couch is referenced at power-up.
    pub referenced: bool,
    /// Kilograms on the top.
    pub load_kg: f64,
    /// Isocentre of the plan in DICOM patient coordinates, mm.
    pub isocentre: Vector,
    /// Setup error: six numbers of the transform in the fixed frame about the isocentre that displaces the patient from the plan.
    pub setup_error: Six,
    /// Who or what lies on the couch.
    pub lies: Lies,
    /// Gold markers implanted in the patient within [`Config::marker_spread_mm`] of the isocentre.
    pub markers: usize,
    /// See [`Config::markers`].
    pub marker_spread_mm: f64,
    /// Strength of every effect of the X-rays.
    pub physics: Physics,
    /// Whether frames are rendered inside [`Room::advance`]. Otherwise the runner takes jobs and delivers frames.
    pub renders: bool,
}

/// Who or what lies on the couch.
#[derive(Debug)]
pub enum Lies {
    /// Nobody: the X-rays see the couch top alone.
    Nothing,
    /// A patient of voxels.
    Patient(Volume),
    /// The cube with a central ball ([`phantom::cube`]).
    Cube,
    /// The tube with a helix of balls ([`phantom::balls`]).
    Balls,
}

/// A seeded setup error: a shift of uniform direction and length up to `max_mm`, a turn of uniform axis and angle up to `max_deg`.
pub fn seeded_setup_error(seed: u64, max_mm: f64, max_deg: f64) -> Six {
    let mut stream = Stream::new(seed, "patient.setup");
    let (direction, length) = (stream.direction(), max_mm * stream.uniform());
    let (axis, angle) = (stream.direction(), max_deg * stream.uniform());
    let shift = direction.map(|part| part * length);
    Pose::translation(shift)
        .then(&Pose::about(&axis, angle))
        .six()
}

/// `table top from DICOM` for a patient who, with the top at `fixed_from_table`, lies `error` away from the plan.
pub fn table_from_dicom(isocentre: &Vector, fixed_from_table: &Pose, error: &Pose) -> Pose {
    fixed_from_table
        .inverse()
        .then(error)
        .then(&planned_fixed_from_dicom(isocentre))
}

/// `fixed from DICOM` of a head-first supine patient exactly as planned: the isocentre of the plan at the isocentre of the machine.
fn planned_fixed_from_dicom(isocentre: &Vector) -> Pose {
    let to_patient = Pose::patient_from_dicom();
    let isocentre = to_patient.point(isocentre);
    Pose::translation(isocentre.map(|part| -part)).then(&to_patient)
}

/// What no host may know.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "fields are those of docs/simulator_control.md")]
pub struct Truth {
    pub now_us: u64,
    pub axes: [f64; AXES],
    pub speeds: [f64; AXES],
    pub primary: [i32; AXES],
    pub secondary: [i32; AXES],
    pub commanded: [f64; AXES],
    pub brakes_engaged: bool,
    pub couch_state: u8,
    /// One of [`couch::DRIVE_STATES`].
    pub drive_state: &'static str,
    /// Guards that are truly pressed, of [`TOUCH_GUARDS`].
    pub touch_guards: Vec<&'static str>,
    /// Faults that are injected, in words.
    pub injected: Vec<String>,
    pub couch_faults: u32,
    pub stop_cause: u8,
    pub epoch: u16,
    pub beam_gate: bool,
    pub radiates: bool,
    /// What the tube has truly given since power-up, mAs.
    pub tube_mas: f64,
    pub imager_faults: u32,
    pub pendant_faults: u32,
    pub gantry_deg: f64,
    pub arms_parked: bool,
    pub sag_mm: f64,
    pub table_top: Six,
    pub base: Option<[f64; 4]>,
    pub legs_mm: Option<[f64; 6]>,
    pub patient: Six,
    pub residual: Six,
    pub distance_mm: f64,
    pub angle_deg: f64,
    pub counters: [Counters; 3],
    pub dropped_by_line_faults: u64,
}

/// The couch in motion at one instant, as it truly is: micro-units, mm/s and deg/s.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "as in `Truth`")]
pub struct MotionSample {
    pub now_us: u64,
    pub axes: [f64; AXES],
    pub speed_mm_s: f64,
    pub speed_deg_s: f64,
}

/// Records every motion that is faster than a threshold, so that nobody has to look at every millisecond.
#[derive(Debug)]
struct Watch {
    every_us: u64,
    next_us: u64,
    mm_s: f64,
    deg_s: f64,
    /// The instant before: speed is what the axes did since, whatever made them.
    last: MotionSample,
    seen: Vec<MotionSample>,
}

/// Samples that are kept until they are taken; a watch that nobody reads forgets the newest.
const WATCHED_MAX: usize = 65_536;

#[derive(Debug, Default)]
struct Hands {
    position: EnablePosition,
    before: EnablePosition,
    changed_us: u64,
    release_us: Option<u64>,
    estop: bool,
    touch_guards: u8,
    exposure_switch: bool,
    door_closed: bool,
    jog_keys: u16,
}

/// Contact B of the enable follows contact A by this: no two contacts are alike.
const CONTACT_SKEW_US: u64 = 3000;

/// The room.
#[derive(Debug)]
pub struct Room {
    seed: u64,
    boots: u64,
    now_us: u64,
    next_cycle_us: u64,
    couch: Option<Controller>,
    dialect: Dialect,
    imager: Option<Box<Imager>>,
    generator: Generator,
    pendant: Option<Box<Pendant>>,
    couch_config: couch::Config,
    plant: Plant,
    drive: Drive,
    family: Family,
    limits: Limits,
    hands: Hands,
    contacts: Contacts,
    couch_wires: couch::Wires,
    faults: RoomFaults,
    to_host: [Vec<u8>; 3],
    imager_wires: imager::Wires,
    keys: pendant::Keys,
    isocentre: Vector,
    table_from_dicom: Pose,
    /// How the patient breathes, and since when.
    breathing: Option<(Breathing, u64)>,
    scene: Arc<Scene>,
    /// A phantom's bodies, then the markers.
    solids: Arc<Vec<Solid>>,
    /// Where the markers were when the planning CT was taken.
    markers: Vec<Solid>,
    residue: Arc<Residue>,
    /// Frames that a slow panel has not delivered yet, and when it will.
    late_frames: Vec<(u64, imager::Exposure, Frame)>,
    frames: Frames,
    renders: bool,
    jobs: Vec<Job>,
    watch: Option<Watch>,
    trace: u64,
}

#[inline]
fn mixed(hash: u64, value: u64) -> u64 {
    // One multiplication a word (the step of wyhash without its table): quick enough for every axis of every cycle.
    let product = u128::from(hash ^ value) * 0x9E37_79B9_7F4A_7C15_u128;
    (product as u64) ^ ((product >> 64) as u64).rotate_left(23)
}

impl Room {
    /// A room at time 0: couch at rest, arms parked, door closed, exposure switch held, enable released. A sentence if it cannot be made.
    pub fn new(config: Config) -> Result<Self, String> {
        let limits = config.limits.unwrap_or_else(|| config.family.limits());
        let plant = Plant::new(
            &config.family,
            &limits,
            config.axes,
            config.load_kg,
            config.seed,
        );
        let couch_config = couch::Config {
            family: config.family,
            limits,
            referenced: config.referenced,
            power_was_lost: false,
        };
        let couch = Controller::new(
            config.dialect,
            &couch_config,
            plant.sensors(),
            config.seed,
            0,
        );
        let true_table = true_table(&config.family, &limits, &plant);
        let (patient, mut solids) = match config.lies {
            Lies::Nothing => (None, Vec::new()),
            Lies::Patient(volume) => (Some(volume), Vec::new()),
            Lies::Cube => (None, phantom::cube()),
            Lies::Balls => (None, phantom::balls()),
        };
        if config.markers > 0 && patient.is_none() {
            return Err("markers are implanted in a patient; there is none".to_owned());
        }
        let markers = phantom::markers(
            config.markers,
            &config.isocentre,
            config.marker_spread_mm,
            patient.as_ref(),
            config.seed,
        )?;
        solids.extend(&markers);
        let scene = Arc::new(Scene::new(patient, config.physics, config.seed));
        Ok(Self {
            seed: config.seed,
            boots: 0,
            now_us: 0,
            // The first cycle comes with the first advance of time, never with none: a replay depends on it.
            next_cycle_us: CYCLE_US,
            couch: Some(couch),
            dialect: config.dialect,
            imager: Some(Box::new(Imager::new(config.seed, 0))),
            generator: Generator::new(config.seed),
            pendant: Some(Box::new(Pendant::new(config.seed, 0))),
            couch_config,
            drive: Drive {
                position: config.axes,
                ..Drive::default()
            },
            plant,
            family: config.family,
            limits,
            hands: Hands {
                exposure_switch: true,
                door_closed: true,
                ..Hands::default()
            },
            contacts: Contacts::default(),
            couch_wires: couch::Wires::default(),
            faults: RoomFaults::new(config.seed),
            to_host: [Vec::new(), Vec::new(), Vec::new()],
            imager_wires: imager::Wires::default(),
            keys: pendant::Keys::default(),
            isocentre: config.isocentre,
            table_from_dicom: table_from_dicom(
                &config.isocentre,
                &true_table,
                &Pose::correction(&config.setup_error),
            ),
            breathing: None,
            frames: if config.renders {
                Frames::of(&scene)
            } else {
                // Real time: nobody may wait for a flood while telemetry and leases are due.
                Frames::with_floods(&scene)
            },
            scene,
            solids: Arc::new(solids),
            markers,
            residue: Arc::default(),
            late_frames: Vec::new(),
            renders: config.renders,
            jobs: Vec::new(),
            watch: None,
            trace: mixed(0, config.seed),
        })
    }

    /// The room's clock.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Hash of everything that went over the lines and every true position so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// Advances the clock to `to_us`, control cycle by control cycle. The past is not an error: nothing happens.
    pub fn advance(&mut self, to_us: u64) {
        while self.next_cycle_us <= to_us {
            self.now_us = self.next_cycle_us;
            self.next_cycle_us += CYCLE_US;
            self.cycle();
        }
        self.now_us = self.now_us.max(to_us);
    }

    /// Advances until a device has sent something, but not beyond `to_us`; the same cycles as [`Room::advance`].
    pub fn advance_to_octets(&mut self, to_us: u64) {
        while self.to_host.iter().all(Vec::is_empty) {
            if self.next_cycle_us > to_us {
                self.now_us = self.now_us.max(to_us);
                return;
            }
            self.now_us = self.next_cycle_us;
            self.next_cycle_us += CYCLE_US;
            self.cycle();
        }
    }

    /// From now on, records where the couch is every `every_us` while it is faster than `mm_s` or `deg_s`.
    pub fn watch_motion(&mut self, every_us: u64, mm_s: f64, deg_s: f64) {
        self.watch = Some(Watch {
            every_us,
            next_us: self.now_us,
            mm_s,
            deg_s,
            last: self.motion_since(None),
            seen: Vec::new(),
        });
    }

    /// What [`Room::watch_motion`] has recorded since the last call.
    pub fn take_motion(&mut self) -> Vec<MotionSample> {
        self.watch
            .as_mut()
            .map(|watch| std::mem::take(&mut watch.seen))
            .unwrap_or_default()
    }

    /// Where the couch is, and how fast it was in the last control cycle; without a watch the speed is 0.
    pub fn motion(&self) -> MotionSample {
        let last = self.watch.as_ref().map(|watch| watch.last);
        last.unwrap_or_else(|| self.motion_since(None))
    }

    fn motion_since(&self, before: Option<&MotionSample>) -> MotionSample {
        let axes = self.plant.axes();
        let (mut square, mut turning) = (0.0, 0.0_f64);
        if let Some(before) = before {
            let seconds = (self.now_us - before.now_us).max(1) as f64 * 1e-6;
            for ((to, from), limit) in axes.iter().zip(&before.axes).zip(&self.limits) {
                let speed = (to - from) / limit.kind.scale() / seconds;
                match limit.kind {
                    Kind::Linear => square += speed * speed,
                    Kind::Rotary => turning = turning.max(speed.abs()),
                }
            }
        }
        MotionSample {
            now_us: self.now_us,
            axes,
            speed_mm_s: square.sqrt(),
            speed_deg_s: turning,
        }
    }

    fn run_watch(&mut self) {
        let Some(last) = self.watch.as_ref().map(|watch| watch.last) else {
            return;
        };
        let sample = self.motion_since(Some(&last));
        let now_us = self.now_us;
        let Some(watch) = &mut self.watch else { return };
        watch.last = sample;
        let fast = sample.speed_mm_s > watch.mm_s || sample.speed_deg_s > watch.deg_s;
        if fast && now_us >= watch.next_us {
            watch.next_us = now_us + watch.every_us;
            if watch.seen.len() < WATCHED_MAX {
                watch.seen.push(sample);
            }
        }
    }

    fn device_us(&self, line: LineName) -> u64 {
        self.faults.device_us(line, self.now_us)
    }

    /// Octets from the host arrive on a line now.
    pub fn write(&mut self, line: LineName, octets: &[u8]) {
        self.trace_octets(line, 0, octets);
        match self.faults.to_device(line, self.now_us, octets) {
            Some(passed) => self.deliver_to_device(line, &passed),
            None => self.deliver_to_device(line, octets),
        }
    }

    fn deliver_to_device(&mut self, line: LineName, octets: &[u8]) {
        let now_us = self.device_us(line);
        let mut out = Vec::new();
        match line {
            LineName::Couch => {
                if let Some(couch) = &mut self.couch {
                    couch.receive(now_us, octets, &mut out);
                }
            }
            LineName::Imager => {
                if let Some(imager) = &mut self.imager {
                    imager.receive(now_us, octets, &self.frames, &mut out);
                }
            }
            LineName::Pendant => {
                if let Some(pendant) = &mut self.pendant {
                    pendant.receive(now_us, octets, &(), &mut out);
                }
            }
        }
        self.send(line, &out);
    }

    /// Whether the host's end of a line runs at another baud rate than the device: octets then arrive as garbage, both ways.
    pub fn set_rates_differ(&mut self, line: LineName, differ: bool) {
        self.faults.set_rates_differ(line, differ);
    }

    /// A BREAK condition on a line.
    pub fn line_break(&mut self, line: LineName) {
        self.trace_octets(line, 2, &[]);
        let now_us = self.device_us(line);
        match line {
            LineName::Couch => {
                if let Some(couch) = &mut self.couch {
                    couch.line_break(now_us);
                }
            }
            LineName::Imager => {
                if let Some(imager) = &mut self.imager {
                    imager.line_break(now_us);
                }
            }
            LineName::Pendant => {
                if let Some(pendant) = &mut self.pendant {
                    pendant.line_break(now_us);
                }
            }
        }
    }

    fn send(&mut self, line: LineName, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.trace_octets(line, 1, octets);
        let passed = self.faults.to_host(line, self.now_us, octets);
        if let Some(buffer) = self.to_host.get_mut(line as usize) {
            buffer.extend_from_slice(passed.as_deref().unwrap_or(octets));
        }
    }

    /// Takes what the devices have sent on a line.
    pub fn read(&mut self, line: LineName) -> Vec<u8> {
        self.to_host
            .get_mut(line as usize)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn trace_octets(&mut self, line: LineName, way: u64, octets: &[u8]) {
        let mut hash = mixed(self.trace, self.now_us << 4 | (line as u64) << 2 | way);
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            hash = mixed(hash, u64::from_le_bytes(word));
        }
        self.trace = mixed(hash, octets.len() as u64);
    }

    fn cycle(&mut self) {
        // What hands and the imager do is put on the wires before the mechanics move, and the trace is taken before the couch thinks: what
        // was written octet by octet has then left the processor's store buffer, where a wider read would have to wait for it.
        self.faults.step_clocks();
        self.run_hands();
        self.couch_wires = self.wires_to_couch();
        self.plant.cycle(self.now_us, &self.drive);
        self.trace_axes();
        self.run_couch();
        self.run_imager();
        self.run_pendant();
        if self.faults.lines_active() {
            self.run_line_faults();
        }
        if !self.late_frames.is_empty() {
            self.run_late_frames();
        }
        self.run_watch();
    }

    #[inline]
    fn trace_axes(&mut self) {
        // Three pairs beside each other, then one chain: a third of the waiting for products.
        let [a, b, c, d, e, f] = self.plant.axes().map(f64::to_bits);
        let (first, second, third) = (mixed(a, b), mixed(c, d), mixed(e, f));
        let pairs = first ^ second.rotate_left(21) ^ third.rotate_left(42);
        self.trace = mixed(self.trace, pairs);
    }

    #[cold]
    #[inline(never)]
    fn run_line_faults(&mut self) {
        for line in LINES {
            let late = self.faults.due_to_device(line, self.now_us);
            if !late.is_empty() {
                self.deliver_to_device(line, &late);
            }
            let late = self.faults.due_to_host(line, self.now_us);
            if let Some(buffer) = self.to_host.get_mut(line as usize) {
                buffer.extend_from_slice(&late);
            }
        }
    }

    fn run_hands(&mut self) {
        if self.hands.release_us.is_some_and(|at| self.now_us >= at) {
            self.set_enable(EnablePosition::Released, None);
        }
        self.contacts = self.touched_contacts();
    }

    /// The contacts of the enable, as both the couch and the pendant have them.
    fn touched_contacts(&mut self) -> Contacts {
        let closed = self.hands.position == EnablePosition::Enabled;
        let settled = self.now_us - self.hands.changed_us >= CONTACT_SKEW_US;
        let b = if settled {
            closed
        } else {
            self.hands.before == EnablePosition::Enabled
        };
        let squeezed = self.hands.position == EnablePosition::Squeezed;
        if self.faults.contacts_work {
            return Contacts {
                a: closed,
                b,
                squeezed,
            };
        }
        Contacts {
            a: self.faults.contact_a.applied(closed, self.now_us),
            b: self.faults.contact_b.applied(b, self.now_us),
            squeezed,
        }
    }

    #[inline]
    fn wires_to_couch(&mut self) -> couch::Wires {
        couch::Wires {
            enable: self.contacts,
            estop: if self.faults.contacts_work {
                self.hands.estop
            } else {
                self.faults.estop.applied(self.hands.estop, self.now_us)
            },
            touch_guards: self.pressed_guards(),
            arms_parked: self
                .imager
                .as_ref()
                .is_some_and(|imager| imager.arms_parked()),
            manual_release: self.plant.manual_release,
        }
    }

    fn run_couch(&mut self) {
        let now_us = self.device_us(LineName::Couch);
        let Some(couch) = &mut self.couch else {
            self.drive = Drive {
                position: self.drive.position,
                ..Drive::default()
            };
            return;
        };
        let mut out = Vec::new();
        self.drive = couch.tick(now_us, &self.couch_wires, self.plant.sensors(), &mut out);
        self.send(LineName::Couch, &out);
    }

    /// Touch-guards as they come through, a bit each.
    #[inline]
    fn pressed_guards(&mut self) -> u8 {
        let (pressed, now_us) = (self.hands.touch_guards, self.now_us);
        if self.faults.contacts_work {
            return pressed;
        }
        let guards = self.faults.touch_guards.iter_mut().enumerate();
        guards.fold(0, |seen, (bit, guard)| {
            seen | u8::from(guard.applied(pressed >> bit & 1 == 1, now_us)) << bit
        })
    }

    #[inline]
    fn run_generator(&mut self) {
        let asked = self.imager.as_ref().is_some_and(|imager| imager.exposes());
        if asked || !self.generator.sleeps() {
            let command = self
                .imager
                .as_ref()
                .map(|imager| imager.generator_command());
            self.generator
                .cycle(self.now_us, &command.unwrap_or_default());
        }
    }

    fn run_imager(&mut self) {
        self.run_generator();
        let works = self.faults.contacts_work;
        let wires = imager::Wires {
            door_closed: self.hands.door_closed,
            couch_at_rest: self.couch.as_ref().is_some_and(|couch| couch.at_rest()),
            exposure_switch: self.hands.exposure_switch,
            source_collision: !works && self.faults.source_arm.applied(false, self.now_us),
            panel_collision: !works && self.faults.panel_arm.applied(false, self.now_us),
            generator: self.generator.readings(),
            panel_fault: self.faults.panel.reported(self.now_us),
        };
        let now_us = self.device_us(LineName::Imager);
        let Some(imager) = &mut self.imager else {
            return;
        };
        if wires == self.imager_wires && now_us < imager.quiet_until_us() {
            return;
        }
        self.imager_wires = wires;
        let mut out = Vec::new();
        let ended = imager.tick(now_us, &wires, &mut out);
        self.send(LineName::Imager, &out);
        if let Some(exposure) = ended {
            let job = self.job(exposure);
            if self.renders {
                let frame = job.render();
                self.deliver(&job, frame);
            } else {
                self.jobs.push(job);
            }
        }
    }

    fn run_pendant(&mut self) {
        let keys = pendant::Keys {
            enable: self.contacts,
            estop: self.hands.estop,
            jog: self.hands.jog_keys,
            supply_fault: self.faults.pendant_supply,
        };
        let now_us = self.device_us(LineName::Pendant);
        let Some(pendant) = &mut self.pendant else {
            return;
        };
        if keys == self.keys && now_us < pendant.quiet_until_us() {
            return;
        }
        self.keys = keys;
        let mut out = Vec::new();
        pendant.tick(now_us, &keys, &mut out);
        self.send(LineName::Pendant, &out);
    }

    fn job(&self, exposure: imager::Exposure) -> Job {
        let fixed_from_table = true_table(&self.family, &self.limits, &self.plant);
        let gantry_deg = self
            .imager
            .as_ref()
            .map_or(0.0, |imager| imager.gantry_deg());
        Job {
            exposure,
            given_uas: self.generator.true_uas(),
            source_deg: gantry_deg + imager::SOURCE_OFFSET_DEG,
            fixed_from_dicom: self.lying(&fixed_from_table),
            fixed_from_table,
            scene: Arc::clone(&self.scene),
            solids: Arc::clone(&self.solids),
            residue: Arc::clone(&self.residue),
        }
    }

    /// Bodies of exact shape, a phantom's and then the markers, where they are in the patient now; and the markers as the planning CT has them.
    pub fn solids(&self) -> (&[Solid], &[Solid]) {
        (&self.solids, &self.markers)
    }

    /// Strength of every effect of the X-rays.
    pub fn physics(&self) -> Physics {
        self.scene.physics
    }

    /// Where source and unbinned panel truly are at a source angle.
    pub fn view(&self, source_deg: f64) -> View {
        View::new(source_deg, 1, &self.scene.flex.at(source_deg))
    }

    /// A marker migrates by millimetres in the DICOM frame; a sentence if there is no such marker.
    pub fn shift_marker(&mut self, index: usize, by: &Vector) -> Result<(), String> {
        let count = self.markers.len();
        let first = self.solids.len() - count;
        let solids = Arc::make_mut(&mut self.solids);
        let marker = solids
            .get_mut(first + index)
            .filter(|_| index < count)
            .ok_or_else(|| format!("marker {index} does not exist; there are {count}"))?;
        for (at, by) in marker.centre.iter_mut().zip(by) {
            *at += by;
        }
        Ok(())
    }

    /// Takes the frames that are to be rendered.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// A rendered frame reaches the imager.
    pub fn deliver(&mut self, job: &Job, mut frame: Frame) {
        self.residue = Arc::clone(&frame.residue);
        let read_out_us = job
            .exposure
            .mode
            .read_out_us(job.exposure.technique.binning);
        let late_us = self.faults.panel.late_us(read_out_us);
        match self.faults.panel {
            PanelFault::Stuck => {
                if let Some(octets) = self.frames.newest(frame.octets.len()) {
                    frame.octets = octets.to_vec();
                }
            }
            fault => fault.distort(&mut frame.octets, &mut self.faults.panel_noise),
        }
        if late_us > 0 {
            self.late_frames
                .push((self.now_us + late_us, job.exposure, frame));
        } else {
            self.hand_over(job.exposure, frame);
        }
    }

    fn hand_over(&mut self, exposure: imager::Exposure, frame: Frame) {
        self.frames.store(exposure, frame);
        if let Some(imager) = &mut self.imager {
            imager.frame_delivered(&exposure);
        }
    }

    #[cold]
    #[inline(never)]
    fn run_late_frames(&mut self) {
        let now_us = self.now_us;
        let (due, waiting) = std::mem::take(&mut self.late_frames)
            .into_iter()
            .partition(|(at, _, _)| *at <= now_us);
        self.late_frames = waiting;
        let due: Vec<(u64, imager::Exposure, Frame)> = due;
        for (_, exposure, frame) in due {
            self.hand_over(exposure, frame);
        }
    }

    /// Puts the three-position switch somewhere; with `for_us` it is released by itself after that time unless renewed.
    pub fn set_enable(&mut self, position: EnablePosition, for_us: Option<u64>) {
        if position != self.hands.position {
            self.hands.before = self.hands.position;
            self.hands.position = position;
            self.hands.changed_us = self.now_us;
        }
        self.hands.release_us = for_us.map(|time| self.now_us + time);
    }

    /// The E-stop button.
    pub fn set_estop(&mut self, pressed: bool) {
        self.hands.estop = pressed;
    }

    /// Somebody leans on a touch-guard, one of [`TOUCH_GUARDS`] by its index; a sentence if there is no such guard.
    pub fn set_touch_guard(&mut self, guard: usize, pressed: bool) -> Result<(), String> {
        if guard >= TOUCH_GUARDS.len() {
            return Err(format!(
                "touch-guard {guard} does not exist; there are {}",
                TOUCH_GUARDS.join(", ")
            ));
        }
        self.hands.touch_guards &= !(1 << guard);
        self.hands.touch_guards |= u8::from(pressed) << guard;
        Ok(())
    }

    /// The exposure switch.
    pub fn set_exposure_switch(&mut self, closed: bool) {
        self.hands.exposure_switch = closed;
    }

    /// The room door.
    pub fn set_door(&mut self, closed: bool) {
        self.hands.door_closed = closed;
    }

    /// Jog keys of the pendant, two bits an axis.
    pub fn set_jog_keys(&mut self, keys: u16) {
        self.hands.jog_keys = keys;
    }

    /// The manual brake release.
    pub fn set_manual_release(&mut self, released: bool) {
        self.plant.manual_release = released;
    }

    /// A hand pushes an axis by millimetres or degrees; only with the brakes released by hand.
    pub fn push(&mut self, axis: usize, by: f64) -> Result<(), String> {
        let limit = self
            .limits
            .get(axis)
            .ok_or_else(|| format!("axis {axis} does not exist; there are {AXES}"))?;
        if self.plant.push(axis, by * limit.kind.scale()) {
            Ok(())
        } else {
            Err("the brakes hold; release them by hand first (hand.brake_release)".to_owned())
        }
    }

    /// The patient moves on the couch: six numbers of a transform in the fixed frame about the isocentre.
    pub fn shift_patient(&mut self, by: &Six) {
        let table = true_table(&self.family, &self.limits, &self.plant);
        let moved = Pose::correction(by).then(&table.then(&self.table_from_dicom));
        self.table_from_dicom = table.inverse().then(&moved);
    }

    /// From now on the patient breathes like this, or not any more; then he lies as he was laid.
    pub fn breathe(&mut self, how: Option<Breathing>) {
        self.breathing = how.map(|how| (how, self.now_us));
    }

    /// `fixed from DICOM` at this instant, with the top at `fixed_from_table`.
    fn lying(&self, fixed_from_table: &Pose) -> Pose {
        let Some((how, since_us)) = &self.breathing else {
            return fixed_from_table.then(&self.table_from_dicom);
        };
        let shift = how.shift_mm(self.now_us.saturating_sub(*since_us), self.seed);
        fixed_from_table
            .then(&Pose::translation(shift))
            .then(&self.table_from_dicom)
    }

    /// Cuts or restores the power of a device. Restored, it boots: new boot id, no session.
    pub fn set_power(&mut self, line: LineName, on: bool) {
        let is_on = match line {
            LineName::Couch => self.couch.is_some(),
            LineName::Imager => self.imager.is_some(),
            LineName::Pendant => self.pendant.is_some(),
        };
        if is_on == on {
            return;
        }
        self.boots += 1;
        let (seed, now_us) = (self.seed.wrapping_add(self.boots), self.device_us(line));
        match line {
            LineName::Couch => {
                let config = couch::Config {
                    power_was_lost: true,
                    ..self.couch_config.clone()
                };
                self.couch = on.then(|| {
                    Controller::new(self.dialect, &config, self.plant.sensors(), seed, now_us)
                });
            }
            LineName::Imager => self.imager = on.then(|| Box::new(Imager::new(seed, now_us))),
            LineName::Pendant => self.pendant = on.then(|| Box::new(Pendant::new(seed, now_us))),
        }
    }

    /// Whether a device has power.
    pub fn powered(&self, line: LineName) -> bool {
        match line {
            LineName::Couch => self.couch.is_some(),
            LineName::Imager => self.imager.is_some(),
            LineName::Pendant => self.pendant.is_some(),
        }
    }

    /// What is true.
    pub fn truth(&self) -> Truth {
        let table = true_table(&self.family, &self.limits, &self.plant);
        let now = self.lying(&table);
        let residual = planned_fixed_from_dicom(&self.isocentre).then(&now.inverse());
        let [x, y, z] = residual.origin();
        let sensors: &Sensors = self.plant.sensors();
        let couch = self.couch.as_ref();
        Truth {
            now_us: self.now_us,
            axes: self.plant.axes(),
            speeds: self.plant.speeds(),
            primary: sensors.primary,
            secondary: sensors.secondary,
            commanded: self.drive.position,
            brakes_engaged: self.plant.brakes_hold(),
            couch_state: couch.map_or(couch::State::PoweredOff, Controller::state) as u8,
            couch_faults: couch.map_or(0, Controller::faults),
            stop_cause: couch.map_or(0, |couch| couch.stop_cause() as u8),
            epoch: couch.map_or(0, Controller::epoch),
            beam_gate: couch.is_some_and(Controller::beam_gate),
            drive_state: couch
                .and_then(|couch| couch::DRIVE_STATES.get(usize::from(couch.drive_state())))
                .unwrap_or(&couch::DRIVE_STATES[0]),
            touch_guards: TOUCH_GUARDS
                .into_iter()
                .enumerate()
                .filter(|(bit, _)| self.hands.touch_guards >> bit & 1 == 1)
                .map(|(_, guard)| guard)
                .collect(),
            injected: self.faults.injected(&self.limits.map(|axis| axis.name)),
            radiates: self.generator.radiates(),
            tube_mas: self.generator.total_mas(),
            imager_faults: self.imager.as_ref().map_or(0, |imager| imager.faults()),
            pendant_faults: self.pendant.as_ref().map_or(0, |pendant| pendant.faults()),
            gantry_deg: self
                .imager
                .as_ref()
                .map_or(0.0, |imager| imager.gantry_deg()),
            arms_parked: self
                .imager
                .as_ref()
                .is_some_and(|imager| imager.arms_parked()),
            table_top: self.family.table_top(&self.plant.axes()).six(),
            base: self.family.has_base().then(|| self.plant.base()),
            legs_mm: self.family.legs_mm(&self.plant.base(), &self.plant.axes()),
            sag_mm: self.plant.sag(&self.family, &self.limits).0,
            patient: now.six(),
            residual: residual.six(),
            distance_mm: (x * x + y * y + z * z).sqrt(),
            angle_deg: residual.angle_deg(),
            counters: [
                couch.map(Controller::counters).unwrap_or_default(),
                self.imager
                    .as_ref()
                    .map(|imager| imager.counters())
                    .unwrap_or_default(),
                self.pendant
                    .as_ref()
                    .map(|pendant| pendant.counters())
                    .unwrap_or_default(),
            ],
            dropped_by_line_faults: self.faults.octets_touched(),
        }
    }

    /// Injects a fault; a sentence if the model does not have it.
    pub fn inject(&mut self, fault: &faults::Request) -> Result<(), String> {
        faults::inject(self, fault)
    }

    /// Ends the faults of a target, or of all with `all`; a sentence if there is no such target.
    pub fn clear(&mut self, target: &str) -> Result<(), String> {
        faults::clear(self, target)
    }
}

/// `fixed from table top` as it truly is: axes with creep, and the top bent by its load.
fn true_table(family: &Family, limits: &Limits, plant: &Plant) -> Pose {
    let (sag_mm, sag_deg) = plant.sag(family, limits);
    Pose::translation([0.0, 0.0, sag_mm])
        .then(&family.table_top(&plant.axes()))
        .then(&Pose::rx(sag_deg))
}
