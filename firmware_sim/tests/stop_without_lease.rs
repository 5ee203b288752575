//! A STOP from full speed takes longer than the 500 ms after which a lease counts as lost: it must not end in a fault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod host;

use host::Host;

const MOVING: u8 = 4;
const STOPPING: u8 = 5;
const LONG: [i32; 6] = [0, -60_000, 0, 0, 0, 0];

fn at_full_speed(seed: u64) -> Host {
    let mut host = Host::new(seed);
    host.run_us(100_000);
    host.execute(LONG);
    host.enable(true);
    host.wait_for(MOVING, 100_000);
    host.run_us(1_500_000);
    host
}

#[test]
fn a_stop_whose_host_gives_no_lease_any_more_comes_to_rest_without_a_fault() {
    let mut host = at_full_speed(1);
    host.stop();
    host.leases = false;
    host.run_us(490_000);
    assert_eq!(
        host.state(),
        STOPPING,
        "the stop takes longer than the lease lives"
    );
    host.run_us(1_500_000);
    let truth = host.room.truth();
    assert_eq!((truth.couch_faults, truth.stop_cause), (0, 1));
    assert!(truth.brakes_engaged && host.speed() == 0.0);
}

#[test]
fn a_stop_for_a_late_lease_still_latches_when_the_lease_is_lost() {
    let mut host = at_full_speed(2);
    host.leases = false;
    host.run_us(600_000);
    assert_eq!(
        host.room.truth().couch_faults,
        1,
        "resumable: the lease still matters"
    );
}
