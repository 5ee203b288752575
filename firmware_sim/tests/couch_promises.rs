//! What the couch promises, in virtual time over octets: nothing here looks inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod host;

use host::{Host, START, code, framed, refusal, room};
use igrt_firmware::kinematics::Family;
use igrt_firmware::limits::PEDESTAL;
use igrt_firmware::room::faults::Request;
use igrt_firmware::room::{EnablePosition, LineName};
use igrt_firmware::wire::message::reply;
use proptest::prelude::*;

const MOVING: u8 = 4;
const STOPPING: u8 = 5;
const HELD: u8 = 6;
const ARRIVED: u8 = 7;
const LATCHED: u8 = 10;
const SHIFT: [i32; 6] = [3000, -8000, 2500, 700_000, -400_000, 300_000];

fn fault(target: &str, kind: &str, axis: Option<usize>, value: Option<f64>) -> Request {
    Request {
        target: target.into(),
        kind: kind.into(),
        axis,
        value,
        direction: None,
    }
}

fn moving(seed: u64) -> Host {
    let mut host = Host::new(seed);
    host.run_us(100_000);
    let (answer, _) = host.execute(SHIFT);
    assert_eq!(answer.0.kind, reply::EXECUTE, "{}", refusal(&answer));
    host.enable(true);
    host.wait_for(MOVING, 100_000);
    host
}

#[test]
fn an_approved_plan_moves_while_held_and_arrives_where_it_was_approved() {
    let mut host = moving(1);
    let before = host.room.truth().primary;
    host.wait_for(ARRIVED, 5_000_000);
    let truth = host.room.truth();
    for ((at, from), (by, limit)) in truth
        .axes
        .iter()
        .zip(before)
        .zip(SHIFT.iter().zip(&PEDESTAL))
    {
        let off = at - f64::from(from) - f64::from(*by);
        assert!(off.abs() < limit.kind.pick(80.0, 20_000.0), "off by {off}");
    }
    assert!(truth.brakes_engaged && host.speed() == 0.0);
    assert_eq!(truth.stop_cause, 8);
}

#[test]
fn execute_waits_armed_with_brakes_on_until_the_enable_is_held() {
    let mut host = Host::new(2);
    host.run_us(100_000);
    host.execute(SHIFT);
    host.run_us(3_000_000);
    assert_eq!(host.state(), 3);
    assert!(host.room.truth().brakes_engaged);
    host.enable(true);
    host.wait_for(ARRIVED, 6_000_000);
}

#[test]
fn the_same_plan_executes_at_most_once() {
    let mut host = Host::new(3);
    host.run_us(100_000);
    let (_, body) = host.execute(SHIFT);
    let copy = framed(&host.header(0x24, host.last_seq()), &body);
    host.enable(true);
    for _ in 0..200 {
        host.send(&copy);
        host.run_us(40_000);
    }
    assert_eq!(host.state(), ARRIVED);
    assert!(host.room.truth().counters[0].replayed >= 200);
    let again = host.command(0x24, &body);
    assert_eq!(code(&again), 9, "{}", refusal(&again));
    let at = host.room.truth().axes;
    host.run_us(1_000_000);
    assert!(
        host.room
            .truth()
            .axes
            .iter()
            .zip(at)
            .all(|(a, b)| (a - b).abs() < 1.0)
    );
}

#[test]
fn releasing_the_enable_stops_on_the_path_and_holding_again_resumes() {
    let mut host = moving(4);
    let from = host.room.truth().primary;
    host.run_us(700_000);
    host.enable(false);
    host.wait_for(STOPPING, 10_000);
    host.wait_for(HELD, 1_500_000);
    let held = host.room.truth();
    assert_eq!((held.stop_cause, held.beam_gate), (2, false));
    let share = (held.axes[1] - f64::from(from[1])) / f64::from(SHIFT[1]);
    assert!((0.05..0.95).contains(&share), "{share}");
    for k in 0..6 {
        let off = held.axes[k] - f64::from(from[k]) - share * f64::from(SHIFT[k]);
        assert!(
            off.abs() < if k < 3 { 60.0 } else { 12_000.0 },
            "axis {k} left the line by {off}"
        );
    }
    host.run_us(500_000);
    host.enable(true);
    host.wait_for(ARRIVED, 6_000_000);
}

#[test]
fn squeezing_through_stops_and_needs_a_release_before_it_resumes() {
    let mut host = moving(5);
    host.run_us(600_000);
    host.room.set_enable(EnablePosition::Squeezed, None);
    host.wait_for(HELD, 2_000_000);
    host.room.set_enable(EnablePosition::Enabled, None);
    host.run_us(1_000_000);
    assert_eq!(
        host.state(),
        HELD,
        "easing back from a squeeze must not resume"
    );
    host.enable(false);
    host.run_us(50_000);
    host.enable(true);
    host.wait_for(ARRIVED, 6_000_000);
}

#[test]
fn a_late_lease_stops_a_lost_one_latches() {
    let mut host = moving(6);
    host.run_us(500_000);
    host.leases = false;
    host.wait_for(STOPPING, 200_000);
    assert_eq!(host.room.truth().stop_cause, 3);
    host.wait_for(LATCHED, 400_000);
    let truth = host.room.truth();
    assert_eq!((truth.stop_cause, truth.couch_faults), (4, 1));
    host.run_us(200_000);
    assert!(host.room.truth().brakes_engaged && host.speed() == 0.0);
    host.leases = true;
    host.run_us(500_000);
    assert_eq!(
        host.state(),
        LATCHED,
        "a fault stays until it is reset by name"
    );
    let reset = host.command(0x26, &1u32.to_le_bytes());
    assert_eq!(
        (reset.0.kind, &reset.1[..]),
        (reply::FAULT_RESET, &[0, 0, 0, 0][..])
    );
    assert_eq!(host.state(), 1);
}

#[test]
fn a_lease_that_comes_back_in_time_lets_the_motion_go_on() {
    let mut host = moving(7);
    host.run_us(500_000);
    host.leases = false;
    host.run_us(250_000);
    assert_eq!(host.state(), STOPPING);
    host.leases = true;
    host.wait_for(ARRIVED, 6_000_000);
}

#[test]
fn stop_in_any_state_bumps_the_epoch_and_bars_what_was_made_before() {
    let mut host = moving(8);
    host.run_us(300_000);
    let epoch = host.epoch;
    let ack = host.stop();
    assert_eq!(ack.0.kind, reply::STOP_ACK);
    assert_eq!(host.epoch, epoch + 1);
    host.wait_for(1, 2_000_000);
    let fresh = host.epoch;
    host.epoch = epoch;
    let start = host.room.truth().primary;
    let body = host.plan_body(start, &[start]);
    let answer = host.upload(&body);
    assert_eq!(code(&answer), 6, "{}", refusal(&answer));
    host.epoch = fresh;
    let (answer, _) = host.execute([1000, 0, 0, 0, 0, 0]);
    assert_eq!(answer.0.kind, reply::EXECUTE);
}

#[test]
fn a_break_on_the_line_stops_like_a_stop() {
    let mut host = moving(9);
    host.run_us(300_000);
    host.room.line_break(LineName::Couch);
    host.wait_for(1, 2_000_000);
    assert_eq!(
        (host.room.truth().stop_cause, host.room.truth().epoch),
        (1, 1)
    );
}

#[test]
fn a_new_session_ends_the_motion_and_voids_the_plan() {
    let mut host = moving(10);
    host.run_us(300_000);
    host.hello();
    host.wait_for(1, 2_000_000);
    assert_eq!(host.room.truth().stop_cause, 7);
    host.run_us(1_000_000);
    assert_eq!(
        host.state(),
        1,
        "the enable is still held, and nothing moves"
    );
}

#[test]
fn a_hello_that_comes_twice_is_answered_with_the_session_that_it_opened_and_ends_nothing() {
    let mut host = moving(10);
    let session = host.session;
    host.run_us(300_000);
    let ack = host.hello_again();
    assert_eq!(ack, session);
    host.run_us(100_000);
    assert_eq!(host.state(), 4, "the couch moves on");
}

#[test]
fn limits_are_the_devices_own_and_are_named_in_the_refusal() {
    let mut host = Host::new(11);
    let start = host.room.truth().primary;
    let mut out = start;
    out[0] = 260_000;
    let body = host.plan_body(start, &[out]);
    let answer = host.upload(&body);
    assert_eq!(code(&answer), 7);
    assert!(
        refusal(&answer).contains("lateral 260.000 mm is above its limit of 250.000 mm"),
        "{}",
        refusal(&answer)
    );
    let mut other = host.plan_body(start, &[start]);
    other[32] ^= 1;
    let answer = host.upload(&other);
    assert_eq!(code(&answer), 10);
}

#[test]
fn faults_latch_by_name_with_brakes_on() {
    let cases = [
        ("encoder", "off", Some(0), None, 1 << 10),
        ("encoder", "stuck", Some(1), None, 1 << 1),
        ("second_channel", "wrong", Some(2), Some(3.0), 1 << 2),
        ("axis", "stuck", Some(1), None, 1 << 1),
        ("axis", "wrong", Some(0), Some(8.0), 1 << 2),
        ("drive", "off", None, None, 1 << 8),
        ("upper_limit", "stuck", None, None, 1 << 6),
        ("touch_guard", "stuck", None, None, 1 << 3),
        ("enable_contact_b", "off", None, None, 1 << 5),
    ];
    for (target, kind, axis, value, bit) in cases {
        let mut host = moving(12);
        host.run_us(400_000);
        host.room.inject(&fault(target, kind, axis, value)).unwrap();
        host.wait_for(LATCHED, 2_000_000);
        assert_eq!(
            host.room.truth().couch_faults & bit,
            bit,
            "{target} {kind}: {:?}",
            host.room.truth()
        );
        host.run_us(300_000);
        assert!(
            host.room.truth().brakes_engaged && host.speed() == 0.0,
            "{target} {kind}"
        );
        let start = host.room.truth().primary;
        let body = host.plan_body(start, &[start]);
        assert_eq!(code(&host.upload(&body)), 15, "{target} {kind}");
    }
}

#[test]
fn a_brake_that_does_not_release_and_one_that_slips_are_found() {
    let mut host = Host::new(13);
    host.run_us(100_000);
    host.room
        .inject(&fault("brake", "stuck", None, None))
        .unwrap();
    host.execute(SHIFT);
    host.enable(true);
    host.wait_for(LATCHED, 1_000_000);
    assert_eq!(host.room.truth().couch_faults, 1 << 13);
    let mut host = Host::new(13);
    host.run_us(100_000);
    host.room
        .inject(&fault("brake", "slow", None, Some(1.0)))
        .unwrap();
    host.wait_for(LATCHED, 1_000_000);
    assert_eq!(host.room.truth().couch_faults, 1 << 7);
}

#[test]
fn brakes_that_never_engage_leave_the_motors_holding_and_without_power_the_couch_sinks() {
    let mut host = moving(13);
    host.room
        .inject(&fault("brake", "off", None, None))
        .unwrap();
    host.wait_for(LATCHED, 8_000_000);
    assert_eq!(host.room.truth().couch_faults & (1 << 7), 1 << 7);
    let before = host.room.truth().axes[2];
    host.run_us(2_000_000);
    assert!(
        (host.room.truth().axes[2] - before).abs() < 50.0,
        "the motors hold"
    );
    host.room.set_estop(true);
    host.run_us(2_000_000);
    assert!(
        host.room.truth().axes[2] < before - 5e3,
        "nothing holds: {}",
        host.room.truth().axes[2] - before
    );
}

#[test]
fn a_couch_moved_by_hand_wants_a_reference_run_before_a_plan() {
    let mut host = Host::new(14);
    host.run_us(100_000);
    assert!(host.room.push(0, 2.0).is_err(), "the brakes hold");
    host.room.set_manual_release(true);
    host.run_us(10_000);
    host.room.push(0, 2.0).unwrap();
    host.run_us(10_000);
    host.room.set_manual_release(false);
    host.run_us(10_000);
    let start = host.room.truth().primary;
    let body = host.plan_body(start, &[start]);
    assert_eq!(code(&host.upload(&body)), 16);
    host.enable(true);
    host.run_us(10_000);
    let home = host.command(0x27, &[]);
    assert_eq!(home.0.kind, reply::HOME, "{}", refusal(&home));
    host.wait_for(9, 10_000);
    host.wait_for(1, 60_000_000);
    assert_eq!(host.upload(&body).0.kind, reply::PLAN);
}

#[test]
fn a_jog_ends_by_itself_and_at_the_limit() {
    let mut host = Host::with(room(15, Family::Pedestal, [0.0, 0.0, 49e3, 0.0, 0.0, 0.0]));
    host.run_us(100_000);
    host.enable(true);
    host.run_us(10_000);
    let mut body = vec![2, 0, 0, 0];
    body.extend(10_000i32.to_le_bytes());
    assert_eq!(host.command(0x28, &body).0.kind, reply::JOG);
    host.run_us(150_000);
    host.run_us(1_500_000);
    assert_eq!((host.state(), host.room.truth().stop_cause), (1, 11));
    for _ in 0..40 {
        host.command(0x28, &body);
        host.run_us(100_000);
    }
    assert!(
        host.room.truth().axes[2] <= 50e3 + 30.0,
        "{}",
        host.room.truth().axes[2]
    );
    host.wait_for(1, 3_000_000);
    let mut fast = vec![2, 0, 0, 0];
    fast.extend(10_001i32.to_le_bytes());
    assert_eq!(code(&host.command(0x28, &fast)), 7);
}

#[test]
fn the_gate_holds_the_beam_unless_everything_is_at_rest() {
    let mut host = Host::new(16);
    host.run_us(100_000);
    assert_eq!(host.command(0x29, &[1]).1, vec![1]);
    assert!(host.room.truth().beam_gate);
    host.leases = false;
    host.run_us(600_000);
    assert!(!host.room.truth().beam_gate, "falls with the lease");
    host.leases = true;
    host.run_us(100_000);
    host.command(0x29, &[1]);
    host.room.set_touch_guard(0, true).unwrap();
    host.run_us(2_000);
    assert!(!host.room.truth().beam_gate, "falls with the touch guard");
}

#[test]
fn power_lost_in_mid_move_stops_by_brakes_and_boots_into_a_latched_fault() {
    let mut host = moving(17);
    host.run_us(700_000);
    host.room
        .inject(&fault("power.couch", "off", None, None))
        .unwrap();
    host.run_us(300_000);
    assert!(host.speed() == 0.0 && host.room.truth().brakes_engaged);
    host.room.clear("power.couch").unwrap();
    host.run_us(10_000);
    host.hello();
    assert_eq!(
        (host.state(), host.room.truth().couch_faults),
        (LATCHED, 1 << 9)
    );
}

fn hexapod(seed: u64) -> (Host, [i32; 6]) {
    let mut host = Host::with(room(seed, igrt_firmware::kinematics::HEXAPOD, START));
    host.run_us(100_000);
    let start = host.room.truth().primary;
    (host, start)
}

fn hexapod_plan(host: &mut Host, start: [i32; 6], by: &[[i32; 6]]) -> Vec<u8> {
    let waypoints: Vec<[i32; 6]> = by
        .iter()
        .map(|by| std::array::from_fn(|k| start[k] + by[k]))
        .collect();
    let mut plan = host.plan_body(start, &waypoints);
    plan[32..40].copy_from_slice(&igrt_firmware::limits::short_digest(
        &igrt_firmware::limits::HEXAPOD,
    ));
    plan
}

#[test]
fn a_hexapod_refuses_a_way_that_a_leg_cannot_go() {
    let (mut host, start) = hexapod(18);
    let plan = hexapod_plan(&mut host, start, &[[0, 0, 130_000, 0, 0, 0]]);
    let answer = host.upload(&plan);
    assert_eq!(code(&answer), 7);
    assert!(refusal(&answer).contains("leg"), "{}", refusal(&answer));
    let beyond = hexapod_plan(&mut host, start, &[[0, 0, 31_000, 0, 0, 0]]);
    assert!(refusal(&host.upload(&beyond)).contains("beyond its travel"));
    let small = [5_000, -5_000, 3_000, 1_000_000, 500_000, -500_000];
    let plan = hexapod_plan(&mut host, start, &[small]);
    assert_eq!(host.upload(&plan).0.kind, reply::PLAN);
}

#[test]
fn a_hexapods_base_goes_to_all_waypoints_but_the_last_and_carries_the_platform_as_it_stands() {
    let (mut host, start) = hexapod(19);
    // What the platform cannot do alone: the base slides and turns, then the platform tilts.
    let carried = [32_000, -40_000, 12_000, 1_500_000, 0, 0];
    let target = [34_000, -41_000, 12_000, 1_500_000, 1_200_000, -600_000];
    let alone = hexapod_plan(&mut host, start, &[target]);
    assert_eq!(code(&host.upload(&alone)), 7);
    let tilting = hexapod_plan(&mut host, start, &[target, target]);
    let answer = host.upload(&tilting);
    assert!(
        refusal(&answer).contains("neither pitches nor rolls"),
        "{}",
        refusal(&answer)
    );
    let staged = hexapod_plan(&mut host, start, &[carried, target]);
    let before = host.room.truth();
    let receipt = host.upload(&staged);
    assert_eq!(receipt.0.kind, reply::PLAN, "{}", refusal(&receipt));
    let mut body = receipt.1[..36].to_vec();
    body.extend([9; 16]);
    host.command(0x24, &body);
    host.enable(true);
    let (mut legs_moved, mut base_moved, mut now) = (0.0_f64, 0.0_f64, 0);
    let mut both = 0;
    let (mut legs, mut base) = (before.legs_mm.unwrap(), before.base.unwrap());
    while host.state() != 7 && now < 20_000_000 {
        host.run_us(50_000);
        now += 50_000;
        let truth = host.room.truth();
        let (legs_now, base_now) = (truth.legs_mm.unwrap(), truth.base.unwrap());
        let legs_by = (0..6).fold(0.0_f64, |most, k| most.max((legs_now[k] - legs[k]).abs()));
        let base_by = (0..4).fold(0.0_f64, |most, k| most.max((base_now[k] - base[k]).abs()));
        both += usize::from(legs_by > 0.02 && base_by > 50.0);
        legs_moved += legs_by;
        base_moved += base_by;
        (legs, base) = (legs_now, base_now);
    }
    assert_eq!(host.state(), 7, "arrived");
    // The watch's step may see the end of one stage and the begin of the other.
    assert!(both <= 1, "{both} moments at which both moved");
    assert!(legs_moved > 3.0 && base_moved > 40e3);
    let truth = host.room.truth();
    for k in 0..6 {
        let off = f64::from(truth.primary[k] - start[k] - target[k]).abs();
        assert!(off < if k < 3 { 100.0 } else { 10e3 }, "axis {k}: {off}");
    }
    for (at, want) in base.iter().zip([12e3, -390e3, -110.5e3, 1.5e6]) {
        assert!(
            (at - want).abs() < 60e3_f64.min(want.abs() * 0.01 + 500.0),
            "{base:?}"
        );
    }
    let back = hexapod_plan(
        &mut host,
        truth.primary,
        &[[-32_000, 0, 0, 0, 0, 0], [-32_000, 0, 0, 0, 0, 0]],
    );
    assert_eq!(host.upload(&back).0.kind, reply::PLAN);
}

#[test]
fn a_jog_of_a_hexapod_ends_before_the_platform_does_and_latches_nothing() {
    let (mut host, _) = hexapod(20);
    host.enable(true);
    host.run_us(10_000);
    for _ in 0..80 {
        let mut body = vec![2, 0, 0, 0];
        body.extend(i32::to_le_bytes(9_000));
        host.command(0x28, &body);
        host.run_us(80_000);
    }
    let truth = host.room.truth();
    assert_eq!(truth.couch_faults, 0);
    let lifted = truth.axes[2] / 1e3 + 122.5;
    assert!((29.0..30.0).contains(&lifted), "{lifted}");
}

#[test]
fn a_fault_that_the_model_lacks_is_refused_by_name() {
    let mut host = Host::new(19);
    let refused = host
        .room
        .inject(&fault("touch_guard", "slow", None, None))
        .unwrap_err();
    assert!(
        refused.contains("no speed between") && refused.contains("stuck"),
        "{refused}"
    );
    assert!(
        host.room
            .inject(&fault("gravity", "off", None, None))
            .is_err()
    );
    assert!(
        host.room
            .inject(&fault("encoder", "wrong", Some(0), None))
            .is_err(),
        "a value is demanded"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| {
        let mut host = moving(seed);
        host.run_us(2_000_000);
        host.room.trace_hash()
    };
    assert_eq!(run(20), run(20));
    assert_ne!(run(20), run(21));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_stop_the_speed_falls_along_the_profile_and_nothing_moves_again(seed in 0u64..1000, at_us in 0u64..3_000_000) {
        let mut host = moving(seed);
        host.run_us(at_us);
        host.stop();
        // What is left of the acceleration falls first: v + a^2/2j at most, and the servo lags by some milliseconds.
        let bound = host.speed() + 30e3 * 30e3 / (2.0 * 150e3) + 500.0;
        let (mut falling, mut before) = (false, f64::INFINITY);
        for _ in 0..1500 {
            host.run_us(1000);
            let speed = host.speed();
            prop_assert!(speed <= bound);
            falling |= speed < before;
            if falling && speed > 300.0 { prop_assert!(speed <= before + 60.0, "speed rises from {before} to {speed}"); }
            before = speed;
        }
        prop_assert_eq!(host.speed(), 0.0);
        prop_assert!(host.room.truth().brakes_engaged);
        prop_assert_ne!(host.state(), MOVING);
    }

    #[test]
    fn no_octets_panic_or_move_anything(seed in 0u64..1000, octets in prop::collection::vec(any::<u8>(), 0..2000), held in any::<bool>()) {
        let mut host = Host::new(seed);
        host.enable(held);
        let at = host.room.truth().axes;
        for line in [LineName::Couch, LineName::Imager, LineName::Pendant] {
            for chunk in octets.chunks(97) {
                host.room.write(line, chunk);
                host.run_us(3_000);
            }
        }
        host.run_us(200_000);
        prop_assert_eq!(host.state(), 1);
        prop_assert!(host.room.truth().axes.iter().zip(at).all(|(a, b)| (a - b).abs() < 1e-9));
        prop_assert!(!host.room.truth().beam_gate && !host.room.truth().radiates);
    }

    #[test]
    fn no_command_without_lease_and_enable_moves_anything(seed in 0u64..1000, commands in prop::collection::vec((0x20u8..0x48, prop::collection::vec(any::<u8>(), 0..60)), 1..60)) {
        let mut host = Host::new(seed);
        host.run_us(60_000);
        let at = host.room.truth().axes;
        for (kind, mut body) in commands {
            let len = match kind { 0x24 => 52, 0x25 | 0x29 | 0x43 => 1, 0x26 | 0x41 | 0x45 => 4, 0x27 | 0x22 | 0x2b => 0, 0x28 | 0x44 => 8, 0x2a | 0x40 => 2, _ => body.len() };
            body.resize(len, 1);
            let header = host.header(kind, host.last_seq() + 1);
            host.send(&framed(&header, &body));
            host.run_us(5_000);
        }
        host.run_us(300_000);
        prop_assert!(host.room.truth().axes.iter().zip(at).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn the_couch_stays_inside_its_hard_ends_under_jogs_and_faults(
        seed in 0u64..1000,
        start in prop::array::uniform3(-1.0..1.0f64),
        jogs in prop::collection::vec((0u8..6, any::<bool>(), 1u64..15), 1..12),
        broken in 0usize..6,
    ) {
        let axes = [start[0] * 250e3, -300e3 + start[1] * 700e3, -200e3 + start[2] * 250e3, 0.0, start[0] * 3e6, start[1] * 3e6];
        let mut host = Host::with(room(seed, Family::Pedestal, axes));
        host.enable(true);
        host.run_us(10_000);
        let fault = [None, Some(fault("upper_limit", "off", None, None)), Some(fault("axis", "garbage", Some(1), Some(20.0))),
            Some(fault("encoder", "slow", Some(0), Some(5.0))), Some(fault("brake", "off", None, None)), Some(fault("encoder", "stuck", Some(2), None))][broken].clone();
        if let Some(fault) = fault { host.room.inject(&fault).unwrap(); }
        for (axis, up, times) in jogs {
            let mut body = vec![axis, 0, 0, 0];
            let speed = if axis < 3 { 10_000 } else { 1_000_000 } * if up { 1 } else { -1 };
            body.extend(i32::to_le_bytes(speed));
            for _ in 0..times { host.command(0x28, &body); host.run_us(80_000); }
            for (k, (at, limit)) in host.room.truth().axes.iter().zip(&PEDESTAL).enumerate() {
                let margin = limit.kind.pick(5e3, 1e6);
                prop_assert!((f64::from(limit.min) - margin..=f64::from(limit.max) + margin).contains(at), "axis {k} at {at}");
            }
        }
    }
}

#[test]
fn the_start_position_is_where_the_room_was_told() {
    let host = Host::new(22);
    assert!(
        host.room
            .truth()
            .axes
            .iter()
            .zip(START)
            .all(|(a, b)| (a - b).abs() < 1e-9)
    );
}
