//! How fast the room runs in virtual time: `cargo run --release -p igrt-firmware --example speed`. A number behind it repeats the whole
//! so many times, for a profiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement may fail"
)]

#[path = "../tests/host/mod.rs"]
mod host;

use host::Host;
use std::time::Instant;

fn factor(host: &mut Host, stretch_us: u64, rounds: u32) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..rounds {
        host.lease();
        let begin = Instant::now();
        host.room.advance(host.room.now_us() + stretch_us);
        best = best.max(stretch_us as f64 * 1e-6 / begin.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let repeats = std::env::args()
        .nth(1)
        .map_or(1, |text| text.parse().unwrap());
    for _ in 0..repeats {
        measure();
    }
}

fn measure() {
    let mut host = Host::new(1);
    host.run_us(100_000);
    println!(
        "at rest  {:8.0} x real time",
        factor(&mut host, 140_000, 100)
    );
    host.execute([0, 300_000, 0, 0, 0, 0]);
    host.enable(true);
    host.run_us(1_000_000);
    println!(
        "moving   {:8.0} x real time",
        factor(&mut host, 140_000, 180)
    );
    assert_eq!(host.state(), 4, "the couch was moving all the time");
}
