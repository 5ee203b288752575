//! Same seed, same trace hash, on every machine: the hashes of one scripted run of every family, written down.
//!
//! A hash changes when anything changes that goes over a line or moves an axis, by one bit. Where that is meant, the new one is written here,
//! and the commit and docs/simulator_control.md say so. The hash of the dictionary goes over the line in HELLO, so that every new dictionary makes
//! new ones; with the octets of the old dictionary in their place the run gives the old ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod host;

use host::{Host, START, room};
use igrt_firmware::kinematics::{ARM, Family, HEXAPOD, SCARA};

/// What needs no geometry: rest, a jog under a lease, a STOP in it, the brakes; both encoders' noise all the time.
fn hash(family: Family, axes: [f64; 6]) -> String {
    let mut host = Host::with(room(2026, family, axes));
    host.run_us(200_000);
    host.enable(true);
    host.run_us(20_000);
    let mut jog = vec![1, 0, 0, 0];
    jog.extend(1_000i32.to_le_bytes());
    for _ in 0..10 {
        host.command(0x28, &jog);
        host.run_us(100_000);
    }
    host.stop();
    host.run_us(1_500_000);
    host.enable(false);
    host.run_us(5_000_000);
    format!("{:016x}", host.room.trace_hash())
}

#[test]
fn the_trace_of_every_family_is_the_one_that_was_written_down() {
    let families = [
        ("pedestal", Family::Pedestal, START, "1534e5ad52352c59"),
        ("hexapod", HEXAPOD, START, "8a629d030ca6232f"),
        ("arm", ARM, [0.0; 6], "73c15d43873ada44"),
        ("scara", SCARA, [0.0; 6], "852a7cd300c2b9ed"),
    ];
    let mut changed = Vec::new();
    for (name, family, axes, blessed) in families {
        let now = hash(family, axes);
        if now != blessed {
            changed.push(format!("{name}: {now}, was {blessed}"));
        }
    }
    assert!(changed.is_empty(), "{changed:#?}");
}
