//! The paced runner: a thread that keeps a room at real time and pumps octets between its lines and open files (ptys, sockets).
//!
//! The thread owns no interpreter lock, so that no Python code can make a lease late. Frames are rendered beside it; the read-out lasts until they
//! are done. When the machine starves the thread for longer than [`BEHIND_MAX_US`], the room's clock slips instead of running through
//! cycles whose octets still wait in the files: a hiccup of this computer is none of the device. The slip is counted and shown.

use crate::room::{LINES, LineName, Room};
use crate::xray::{Frame, Job};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest stretch that is caught up cycle by cycle.
pub const BEHIND_MAX_US: u64 = 20_000;
/// Octets that were found later than this may have come before the cycles that are due: they are heard first.
const WAITED_US: u64 = 2_000;
/// A poll lasts no longer than a control cycle.
const POLL_NS: i64 = 1_000_000;
/// So long after octets came, the pump looks for more before it sleeps: to wake a sleeping core costs a virtual machine more than the
/// whole answer (docs/line.md, figures). It yields the core at every look.
const AWAKE_US: u128 = 60;
/// Notes that may wait: minutes of a busy line.
const NOTES_MAX: usize = 1 << 20;
/// How often a held pump looks whether it may go on.
const HELD_LOOK: Duration = Duration::from_micros(200);
/// How often at least a port is asked for its baud rate.
const RATE_US: u128 = 1000;
/// Octets that wait for a host that does not read; more are lost, as in a UART without flow control.
const BACKLOG_MAX: usize = 262_144;

/// The room behind its lock. A thread that died with the lock held leaves a room that is still whole between calls.
pub fn locked(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the pump has seen, for the bench.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Microseconds by which the room's clock has slipped behind real time.
    pub slipped_us: AtomicU64,
    /// Octets lost because the host did not read.
    pub overrun: AtomicU64,
}

struct Port {
    line: LineName,
    file: Option<OwnedFd>,
    /// Baud rate of the device, where the port is to be held to it.
    baud: Option<u32>,
    backlog: Vec<u8>,
    /// Whether the last look found octets, or an end.
    readable: bool,
    /// Whether the client's baud rate was another one when it was last looked at.
    differ: bool,
}

/// A file to be attached: its line, and the baud rate that the device has on it.
type Attached = (LineName, OwnedFd, Option<u32>);

/// What the pump did to its room. Done again in this order and at these times of the room's clock, the room does the same again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Octets of the host reached a device.
    Write(LineName, Vec<u8>),
    /// A device's octets were taken to be given to the host.
    Read(LineName, Vec<u8>),
    /// The host's end of a line was set to another baud rate than the device, or to the same again.
    RatesDiffer(LineName, bool),
    /// The frame of this number reached the imager.
    Deliver(u32),
}

/// A deed with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The room's clock.
    pub at_us: u64,
    /// What was done.
    pub deed: Deed,
}

/// The notes of a pump, if they are wanted.
#[derive(Debug, Default)]
struct Notes {
    wanted: bool,
    /// More than [`NOTES_MAX`] waited, and some are gone.
    lost: bool,
    taken: Vec<Note>,
}

impl Notes {
    fn add(&mut self, at_us: u64, deed: impl FnOnce() -> Deed) {
        if !self.wanted {
            return;
        }
        if self.taken.len() >= NOTES_MAX {
            self.lost = true;
            return;
        }
        let deed = deed();
        self.taken.push(Note { at_us, deed });
    }
}

/// Frames that are rendered and wait for the pump.
type Rendered = Arc<Mutex<Vec<(Job, Frame)>>>;

/// What the pump's thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Read under the lock of the room: while it is set, the pump leaves the room alone.
    held: AtomicBool,
    ports: Mutex<Vec<Attached>>,
    gauges: Gauges,
    notes: Mutex<Notes>,
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running pump; it ends when it is closed or dropped.
#[derive(Debug)]
pub struct Pump {
    room: Arc<Mutex<Room>>,
    shared: Arc<Shared>,
    waker: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts pumping; with `noting` it keeps notes of all it does. Files are attached by [`Pump::attach`].
    pub fn start(room: Arc<Mutex<Room>>, noting: bool) -> std::io::Result<Self> {
        let (woken, waker) = rustix::pipe::pipe()?;
        let shared = Arc::new(Shared::default());
        shared.notes().wanted = noting;
        let thread = {
            let (room, shared) = (Arc::clone(&room), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("igrt-sim-pump".to_owned())
                .spawn(move || run(&room, &woken, &shared))?
        };
        Ok(Self {
            room,
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Attaches an open, non-blocking file to a line; it replaces the one before. With `baud`, octets become garbage while the port
    /// is set to another rate, as on hardware; a file without a rate is not held to one.
    pub fn attach(&self, line: LineName, file: OwnedFd, baud: Option<u32>) {
        self.shared
            .ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((line, file, baud));
        self.wake();
    }

    /// What the pump has seen.
    pub fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }

    /// From here to [`Pump::release`] the pump leaves the room alone: its clock stands, so that whatever is done to it has one time.
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
        drop(locked(&self.room)); // a turn that had begun is over
    }

    /// The pump goes on.
    pub fn release(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
        self.wake();
    }

    /// Takes the notes since the last call; `None` if some were lost because nobody took them.
    pub fn take_notes(&self) -> Option<Vec<Note>> {
        let mut notes = self.shared.notes();
        (!notes.lost).then(|| std::mem::take(&mut notes.taken))
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.waker, &[1]);
    }

    /// Ends the thread and waits for it.
    pub fn close(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.close();
    }
}

/// The pump's own view of time, and when it last heard something.
struct Pace {
    base_us: u64,
    begin: Instant,
    slipped_us: u64,
    heard: Instant,
    rates_seen: Instant,
}

impl Pace {
    fn begin(room: &Room) -> Self {
        let begin = Instant::now();
        Self {
            base_us: room.now_us(),
            begin,
            slipped_us: 0,
            heard: begin,
            rates_seen: begin,
        }
    }

    /// How far the room is behind, and to when it is to be advanced now.
    fn due(&mut self, room: &Room, gauges: &Gauges) -> (u64, u64) {
        let real_us = self.base_us + self.begin.elapsed().as_micros() as u64 - self.slipped_us;
        let behind_us = real_us.saturating_sub(room.now_us());
        if behind_us > BEHIND_MAX_US {
            self.slipped_us += behind_us - BEHIND_MAX_US;
            gauges.slipped_us.store(self.slipped_us, Ordering::Relaxed);
        }
        (behind_us, room.now_us() + behind_us.min(BEHIND_MAX_US))
    }

    fn rates_due(&mut self) -> bool {
        let due = self.rates_seen.elapsed().as_micros() >= RATE_US;
        if due {
            self.rates_seen = Instant::now();
        }
        due
    }
}

fn run(room: &Arc<Mutex<Room>>, woken: &OwnedFd, shared: &Shared) {
    let mut ports = LINES.map(Port::new);
    let mut pace = Pace::begin(&locked(room));
    let pool = render_pool();
    let rendered = Rendered::default();
    while !shared.stop.load(Ordering::SeqCst) {
        attach(&mut ports, &shared.ports);
        wait(woken, &mut ports, pace.heard);
        let mut room_now = locked(room);
        if shared.held.load(Ordering::SeqCst) {
            drop(room_now);
            std::thread::sleep(HELD_LOOK);
            continue;
        }
        let jobs = turn(&mut room_now, &mut ports, &mut pace, &rendered, shared);
        drop(room_now);
        for port in &mut ports {
            port.give_out();
        }
        for job in jobs {
            let rendered = Arc::clone(&rendered);
            let render = move || {
                let frame = job.render();
                rendered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((job, frame));
            };
            match &pool {
                Some(pool) => pool.spawn(render),
                None => render(),
            }
        }
    }
}

/// One turn under the lock of the room: frames and octets in, time, octets out. Gives what is to be rendered.
fn turn(
    room: &mut Room,
    ports: &mut [Port],
    pace: &mut Pace,
    rendered: &Rendered,
    shared: &Shared,
) -> Vec<Job> {
    let mut notes = shared.notes();
    let (behind_us, until_us) = pace.due(room, &shared.gauges);
    for (job, frame) in rendered
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        notes.add(room.now_us(), || Deed::Deliver(job.exposure.frame));
        room.deliver(&job, frame);
    }
    let rates_due = pace.rates_due();
    for port in ports.iter_mut() {
        if rates_due || port.readable {
            port.judge_rates(room, &mut notes);
        }
    }
    if behind_us <= WAITED_US {
        room.advance(until_us); // so that octets are heard at the time at which they came
    }
    for port in ports.iter_mut() {
        if port.readable {
            port.take_in(room, &mut notes);
            pace.heard = Instant::now();
        }
    }
    room.advance(until_us);
    for port in ports.iter_mut() {
        port.take_out(room, &shared.gauges, &mut notes);
    }
    room.take_jobs()
}

fn attach(ports: &mut [Port], attached: &Mutex<Vec<Attached>>) {
    for (line, file, baud) in attached
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        if let Some(port) = ports.iter_mut().find(|port| port.line == line) {
            port.file = Some(file);
            port.baud = baud;
            port.backlog.clear();
        }
    }
}

/// Renders on all cores but one, so that the pump has one left.
fn render_pool() -> Option<rayon::ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    rayon::ThreadPoolBuilder::new()
        .num_threads(cores.saturating_sub(1).max(1))
        .thread_name(|_| "igrt-sim-xray".to_owned())
        .build()
        .ok()
}

/// Waits for octets, a new file or the next cycle; without sleep while octets came lately.
fn wait(woken: &OwnedFd, ports: &mut [Port], heard: Instant) {
    loop {
        let awake = heard.elapsed().as_micros() < AWAKE_US;
        let found = look(woken, ports, if awake { 0 } else { POLL_NS });
        if found || !awake {
            return;
        }
        rustix::thread::sched_yield();
    }
}

/// One poll over all files; whether it found anything.
fn look(woken: &OwnedFd, ports: &mut [Port], ns: i64) -> bool {
    let told = polled(woken, ports, ns);
    let mut told = told.iter().copied();
    if told.next() == Some(true) {
        drain(woken.as_fd());
    }
    let mut found = false;
    for port in ports.iter_mut() {
        port.readable = port.file.is_some() && told.next() == Some(true);
        found |= port.readable;
    }
    found
}

/// What a poll tells of the waker and of every open file, in order.
fn polled(woken: &OwnedFd, ports: &[Port], ns: i64) -> heapless::Vec<bool, 4> {
    let mut fds: heapless::Vec<PollFd<'_>, 4> = heapless::Vec::new();
    let _ = fds.push(PollFd::new(woken, PollFlags::IN));
    for file in ports.iter().filter_map(|port| port.file.as_ref()) {
        let _ = fds.push(PollFd::new(file, PollFlags::IN));
    }
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: ns,
    };
    // An error here is an interruption by a signal: the loop comes round.
    let count = poll(&mut fds, Some(&timeout)).unwrap_or(0);
    fds.iter()
        .map(|fd| count > 0 && !fd.revents().is_empty())
        .collect()
}

fn drain(woken: BorrowedFd<'_>) {
    let mut octets = [0; 64];
    let _ = rustix::io::read(woken, &mut octets);
}

impl Port {
    fn new(line: LineName) -> Self {
        Self {
            line,
            file: None,
            baud: None,
            backlog: Vec::new(),
            readable: false,
            differ: false,
        }
    }

    /// Whether the client has set the port to another rate than the device's. A pty shows the master what was set on its slave.
    fn rates_differ(&self) -> bool {
        let (Some(file), Some(baud)) = (&self.file, self.baud) else {
            return false;
        };
        rustix::termios::tcgetattr(file)
            .is_ok_and(|set| set.output_speed() != baud || set.input_speed() != baud)
    }

    fn judge_rates(&mut self, room: &mut Room, notes: &mut Notes) {
        let differ = self.rates_differ();
        if differ != self.differ {
            self.differ = differ;
            room.set_rates_differ(self.line, differ);
            notes.add(room.now_us(), || Deed::RatesDiffer(self.line, differ));
        }
    }

    fn take_in(&mut self, room: &mut Room, notes: &mut Notes) {
        let Some(file) = &self.file else { return };
        let mut octets = [0; 8192];
        loop {
            match rustix::io::read(file, &mut octets) {
                Ok(0) => return self.file = None,
                Ok(count) => {
                    let taken = octets.get(..count).unwrap_or(&[]);
                    notes.add(room.now_us(), || Deed::Write(self.line, taken.to_vec()));
                    room.write(self.line, taken);
                    if count < octets.len() {
                        return; // that was all; the next look finds what comes meanwhile
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The other end is gone; a pty says EIO while nobody has it open.
                Err(Errno::IO) => return,
                Err(_) => return self.file = None,
            }
        }
    }

    fn take_out(&mut self, room: &mut Room, gauges: &Gauges, notes: &mut Notes) {
        let octets = room.read(self.line);
        if octets.is_empty() {
            return;
        }
        notes.add(room.now_us(), || Deed::Read(self.line, octets.clone()));
        if self.backlog.len() + octets.len() > BACKLOG_MAX {
            let lost = octets.len() as u64;
            gauges.overrun.fetch_add(lost, Ordering::Relaxed);
        } else {
            self.backlog.extend_from_slice(&octets);
        }
    }

    fn give_out(&mut self) {
        let Some(file) = &self.file else {
            return self.backlog.clear();
        };
        while !self.backlog.is_empty() {
            match rustix::io::write(file, &self.backlog) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(_) => return,
            }
        }
    }
}
