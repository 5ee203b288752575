//! The paced runner: a thread that keeps a room at real time and pumps octets between its lines and open files (ptys, sockets).
//!
//! The thread owns no interpreter lock, so that no Python code can make a lease late. Frames are rendered beside it; the read-out lasts until they
//! are done. When the machine starves the thread for longer than [`BEHIND_MAX_US`], the room's clock slips instead of running through
//! cycles whose octets still wait in the files: a hiccup of this computer is none of the device. The slip is counted and shown.

use crate::room::{LINES, LineName, Room};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Longest stretch that is caught up cycle by cycle.
pub const BEHIND_MAX_US: u64 = 20_000;
/// A poll lasts no longer than a control cycle.
const POLL_NS: i64 = 1_000_000;
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
}

/// A file to be attached: its line, and the baud rate that the device has on it.
type Attached = (LineName, OwnedFd, Option<u32>);

/// A running pump; it ends when it is closed or dropped.
#[derive(Debug)]
pub struct Pump {
    stop: Arc<AtomicBool>,
    waker: OwnedFd,
    ports: Arc<Mutex<Vec<Attached>>>,
    gauges: Arc<Gauges>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts pumping. Files are attached by [`Pump::attach`].
    pub fn start(room: Arc<Mutex<Room>>) -> std::io::Result<Self> {
        let (woken, waker) = rustix::pipe::pipe()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ports = Arc::new(Mutex::new(Vec::new()));
        let gauges = Arc::new(Gauges::default());
        let thread = {
            let (stop, ports, gauges) =
                (Arc::clone(&stop), Arc::clone(&ports), Arc::clone(&gauges));
            std::thread::Builder::new()
                .name("igrt-sim-pump".to_owned())
                .spawn(move || run(&room, &woken, &stop, &ports, &gauges))?
        };
        Ok(Self {
            stop,
            waker,
            ports,
            gauges,
            thread: Some(thread),
        })
    }

    /// Attaches an open, non-blocking file to a line; it replaces the one before. With `baud`, octets become garbage while the port
    /// is set to another rate, as on hardware; a file without a rate is not held to one.
    pub fn attach(&self, line: LineName, file: OwnedFd, baud: Option<u32>) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((line, file, baud));
        self.wake();
    }

    /// What the pump has seen.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.waker, &[1]);
    }

    /// Ends the thread and waits for it.
    pub fn close(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
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

fn run(
    room: &Arc<Mutex<Room>>,
    woken: &OwnedFd,
    stop: &AtomicBool,
    attached: &Mutex<Vec<Attached>>,
    gauges: &Gauges,
) {
    let mut ports = LINES.map(|line| Port {
        line,
        file: None,
        baud: None,
        backlog: Vec::new(),
    });
    let base_us = locked(room).now_us();
    let begin = Instant::now();
    let mut slipped_us = 0;
    let pool = render_pool();
    while !stop.load(Ordering::SeqCst) {
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
        wait(woken, &ports);
        let mut room_now = locked(room);
        for port in &mut ports {
            room_now.set_rates_differ(port.line, port.rates_differ());
            port.take_in(&mut room_now);
        }
        let real_us = base_us + begin.elapsed().as_micros() as u64 - slipped_us;
        let behind_us = real_us.saturating_sub(room_now.now_us());
        if behind_us > BEHIND_MAX_US {
            slipped_us += behind_us - BEHIND_MAX_US;
            gauges.slipped_us.store(slipped_us, Ordering::Relaxed);
        }
        let until_us = room_now.now_us() + behind_us.min(BEHIND_MAX_US);
        room_now.advance(until_us);
        let jobs = room_now.take_jobs();
        for port in &mut ports {
            let octets = room_now.read(port.line);
            if port.backlog.len() + octets.len() > BACKLOG_MAX {
                gauges
                    .overrun
                    .fetch_add(octets.len() as u64, Ordering::Relaxed);
            } else {
                port.backlog.extend_from_slice(&octets);
            }
        }
        drop(room_now);
        for port in &mut ports {
            port.give_out();
        }
        for job in jobs {
            let room = Arc::clone(room);
            let render = move || {
                let frame = job.render();
                locked(&room).deliver(&job, frame);
            };
            match &pool {
                Some(pool) => pool.spawn(render),
                None => render(),
            }
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

fn wait(woken: &OwnedFd, ports: &[Port]) {
    let mut polled: heapless::Vec<PollFd<'_>, 4> = heapless::Vec::new();
    let _ = polled.push(PollFd::new(woken, PollFlags::IN));
    for file in ports.iter().filter_map(|port| port.file.as_ref()) {
        let _ = polled.push(PollFd::new(file, PollFlags::IN));
    }
    // An error here is an interruption by a signal: the loop comes round.
    let _ = poll(
        &mut polled,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: POLL_NS,
        }),
    );
    if polled
        .first()
        .is_some_and(|fd| fd.revents().contains(PollFlags::IN))
    {
        drain(woken.as_fd());
    }
}

fn drain(woken: BorrowedFd<'_>) {
    let mut octets = [0; 64];
    let _ = rustix::io::read(woken, &mut octets);
}

impl Port {
    /// Whether the client has set the port to another rate than the device's. A pty shows the master what was set on its slave.
    fn rates_differ(&self) -> bool {
        let (Some(file), Some(baud)) = (&self.file, self.baud) else {
            return false;
        };
        rustix::termios::tcgetattr(file)
            .is_ok_and(|set| set.output_speed() != baud || set.input_speed() != baud)
    }

    fn take_in(&mut self, room: &mut Room) {
        let Some(file) = &self.file else { return };
        let mut octets = [0; 8192];
        loop {
            match rustix::io::read(file, &mut octets) {
                Ok(0) => return self.file = None,
                Ok(count) => room.write(self.line, octets.get(..count).unwrap_or(&[])),
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The other end is gone; a pty says EIO while nobody has it open.
                Err(Errno::IO) => return,
                Err(_) => return self.file = None,
            }
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
