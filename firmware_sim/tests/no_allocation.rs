//! The firmware's step allocates nothing: couch in motion, imager through an exposure, pendant held, for seconds, under a counting allocator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod host;

use host::{Host, START};
use igrt_firmware::couch::enable::Contacts;
use igrt_firmware::couch::{Config, Couch, Wires};
use igrt_firmware::imager::{self, Imager};
use igrt_firmware::kinematics::Family;
use igrt_firmware::line::Sink;
use igrt_firmware::pendant::{Keys, Pendant};
use igrt_firmware::plant::{Drive, Plant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    // Of this thread alone: the test harness allocates on its own.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's own promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a UART is: it takes octets and keeps none.
#[derive(Default)]
struct Uart {
    octets: usize,
}

impl Sink for Uart {
    fn put(&mut self, frame: &[u8]) {
        self.octets += frame.len();
    }
}

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))) > 0);
}

/// Everything that a host says to a couch in 5 s of motion, and when; the couch in the test below is the same couch of the same seed.
fn said() -> Vec<(u64, Vec<u8>)> {
    let mut host = Host::new(1);
    host.enable(true);
    host.run_us(100_000);
    host.execute([0, 60_000, 0, 0, 0, 0]);
    host.run_us(5_000_000);
    host.told
}

#[test]
fn a_moving_couch_and_its_mechanics_step_for_seconds_without_an_allocation() {
    let family = Family::Pedestal;
    let limits = family.limits();
    let mut plant = Plant::new(&family, &limits, START, 75.0, 1);
    let config = Config {
        family,
        limits,
        referenced: true,
        power_was_lost: false,
    };
    let mut couch = Couch::new(&config, plant.sensors(), 1, 0);
    let wires = Wires {
        enable: Contacts {
            a: true,
            b: true,
            squeezed: false,
        },
        arms_parked: true,
        ..Wires::default()
    };
    let said = said();
    let mut uart = Uart::default();
    let mut drive = Drive {
        position: START,
        ..Drive::default()
    };
    let (mut now, mut next, mut moved) = (0, 0, false);
    let count = allocations(|| {
        couch.receive(said[0].0, &said[0].1, &(), &mut uart);
        next += 1;
        while now < 5_000_000 {
            now += 1000;
            plant.cycle(now, &drive);
            drive = couch.tick(now, &wires, plant.sensors(), &mut uart);
            while next < said.len() && said[next].0 < now + 1000 {
                couch.receive(said[next].0, &said[next].1, &(), &mut uart);
                next += 1;
            }
            moved |= plant.speeds()[1] > 5e3;
        }
    });
    assert!(moved && uart.octets > 10_000, "it moved and spoke");
    assert_eq!(count, 0);
}

#[test]
fn an_imager_and_a_pendant_step_for_seconds_without_an_allocation() {
    let mut imager = Imager::new(1, 0);
    let mut pendant = Pendant::new(1, 0);
    let wires = imager::Wires {
        door_closed: true,
        couch_at_rest: true,
        exposure_switch: true,
        ..imager::Wires::default()
    };
    let held = Keys {
        enable: Contacts {
            a: true,
            b: true,
            squeezed: false,
        },
        jog: 1,
        ..Keys::default()
    };
    let mut uart = Uart::default();
    let count = allocations(|| {
        for k in 1..5000 {
            let now = k * 1000;
            imager.tick(now, &wires, &mut uart);
            let keys = if k % 700 < 350 { held } else { Keys::default() };
            pendant.tick(now, &keys, &mut uart);
        }
    });
    assert!(uart.octets > 10_000, "they spoke");
    assert_eq!(count, 0);
}
