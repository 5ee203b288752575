//! Every word of every target of the couch: its effect is seen from outside, in telemetry, and in the truth. The imager's are tested in
//! `tests/unit/test_sim_faults.py`, where frames are fetched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod host;

use host::Host;
use igrt_firmware::room::Truth;
use igrt_firmware::room::faults::{MEANINGLESS, Request, TABLE, WORDS};

const LATCHED: u8 = 10;
const MOVING: u8 = 4;
const FOLLOWING: u32 = 1 << 1;
const DISAGREE: u32 = 1 << 2;
const TOUCH_GUARD: u32 = 1 << 3;
const EMERGENCY_STOP: u32 = 1 << 4;
const DISCREPANCY: u32 = 1 << 5;
const LIMIT_SWITCH: u32 = 1 << 6;
const BRAKE_SLIP: u32 = 1 << 7;
const DRIVE: u32 = 1 << 8;
const ENCODER: u32 = 1 << 10;
const OVER_SPEED: u32 = 1 << 11;
const SELF_TEST: u32 = 1 << 14;
/// A long way along the second axis at its full 10 mm/s.
const LONG: [i32; 6] = [0, 60_000, 0, 0, 0, 0];

fn fault(target: &str, kind: &str, value: Option<f64>) -> Request {
    let axes = ["encoder", "second_channel", "axis"];
    Request {
        target: target.into(),
        kind: kind.into(),
        axis: axes.contains(&target).then_some(1),
        value,
        direction: None,
    }
}

fn resting() -> Host {
    let mut host = Host::new(1);
    host.run_us(100_000);
    host
}

fn moving() -> Host {
    let mut host = resting();
    host.execute(LONG);
    host.enable(true);
    host.wait_for(MOVING, 100_000);
    host.run_us(1_500_000);
    host
}

/// `faults` of the last COUCH_STATUS: what a host sees.
fn told(host: &Host) -> u32 {
    u32::from_le_bytes(host.status[16..20].try_into().unwrap())
}

fn flags(host: &Host) -> u32 {
    u32::from_le_bytes(host.status[12..16].try_into().unwrap())
}

/// Injects while the couch moves; what latches within 3 s, as telemetry tells it, and the truth then.
fn latches_in_motion(target: &str, kind: &str, value: Option<f64>) -> (u32, Truth) {
    let mut host = moving();
    host.room.inject(&fault(target, kind, value)).unwrap();
    let name = format!("{target} {kind}");
    assert!(
        host.room.truth().injected[0].starts_with(&name),
        "the truth names it: {:?}",
        host.room.truth().injected
    );
    for _ in 0..3000 {
        host.run_us(1000);
        if host.state() == LATCHED {
            break;
        }
    }
    host.run_us(200_000);
    assert!(
        host.speed() == 0.0 || kind == "off" && target == "brake",
        "{name} moves on"
    );
    (told(&host), host.room.truth())
}

#[test]
fn every_word_of_both_channels_the_axis_the_drive_and_the_clock_latches_in_motion() {
    let cases: &[(&str, &str, Option<f64>, u32)] = &[
        ("encoder", "off", None, ENCODER),
        ("encoder", "stuck", None, FOLLOWING),
        ("encoder", "garbage", Some(2000.0), FOLLOWING | DISAGREE),
        ("encoder", "wrong", Some(3.0), FOLLOWING | DISAGREE),
        ("encoder", "slow", Some(20.0), FOLLOWING | DISAGREE),
        ("encoder", "delayed", Some(200.0), FOLLOWING),
        ("encoder", "intermittent", Some(100.0), ENCODER),
        ("second_channel", "off", None, ENCODER),
        ("second_channel", "stuck", None, DISAGREE),
        ("second_channel", "garbage", Some(3000.0), DISAGREE),
        ("second_channel", "wrong", Some(3.0), DISAGREE),
        ("second_channel", "slow", Some(20.0), DISAGREE),
        ("second_channel", "delayed", Some(250.0), DISAGREE),
        ("second_channel", "intermittent", Some(100.0), ENCODER),
        ("axis", "off", None, FOLLOWING),
        ("axis", "stuck", None, FOLLOWING),
        ("axis", "garbage", Some(60.0), FOLLOWING),
        ("axis", "wrong", Some(8.0), DISAGREE),
        ("axis", "slow", Some(0.2), FOLLOWING),
        ("axis", "delayed", Some(250.0), FOLLOWING),
        ("axis", "intermittent", Some(400.0), FOLLOWING),
        ("drive", "off", None, DRIVE),
        ("drive", "stuck", None, FOLLOWING),
        ("drive", "garbage", Some(30.0), FOLLOWING | OVER_SPEED),
        ("drive", "wrong", None, FOLLOWING),
        ("drive", "slow", Some(0.2), FOLLOWING),
        ("drive", "delayed", Some(250.0), FOLLOWING),
        ("drive", "intermittent", Some(400.0), DRIVE),
        ("clock.couch", "stuck", None, SELF_TEST),
        ("clock.couch", "garbage", Some(5.0), SELF_TEST),
        ("clock.couch", "slow", Some(0.5), SELF_TEST),
        ("clock.couch", "intermittent", Some(200.0), SELF_TEST),
    ];
    for (target, kind, value, any_of) in cases {
        let (faults, truth) = latches_in_motion(target, kind, *value);
        assert!(faults & any_of != 0, "{target} {kind}: told {faults:b}");
        assert!(
            truth.couch_faults & any_of != 0 && truth.brakes_engaged,
            "{target} {kind}: {truth:?}"
        );
    }
}

#[test]
fn a_clock_that_is_wrong_shows_in_the_devices_time() {
    let mut host = resting();
    host.room
        .inject(&fault("clock.couch", "wrong", Some(50_000.0)))
        .unwrap();
    host.run_us(2_000_000);
    let device_us = u64::from_le_bytes(host.status[..8].try_into().unwrap());
    let ahead = device_us as f64 - host.room.now_us() as f64;
    assert!((60_000.0..=110_000.0).contains(&ahead), "{ahead}");
    assert_eq!(told(&host), 0, "five per cent is no reason to latch");
}

/// Pushes the table by hand 4 mm beyond the soft limit, over the switch (2 mm) and short of the hard end; what is told over a second.
fn at_the_upper_switch(kind: &str, value: Option<f64>) -> (Vec<u32>, Truth) {
    let start = [-20e3, 399e3, -122.5e3, 0.0, 0.0, 0.0];
    let mut host = Host::with(host::room(
        1,
        igrt_firmware::kinematics::Family::Pedestal,
        start,
    ));
    host.run_us(100_000);
    if !kind.is_empty() {
        host.room
            .inject(&fault("upper_limit", kind, value))
            .unwrap();
    }
    host.room.set_manual_release(true);
    host.run_us(10_000);
    host.room.push(1, 4.0).unwrap();
    let seen = (0..100)
        .map(|_| {
            host.run_us(10_000);
            host.room.truth().couch_faults
        })
        .collect();
    (seen, host.room.truth())
}

#[test]
fn every_word_of_a_limit_switch_changes_when_it_is_seen() {
    let first = |kind: &str, value| {
        let (seen, truth) = at_the_upper_switch(kind, value);
        assert!(
            truth.axes[1] > 402e3,
            "{kind}: the table is over the switch"
        );
        seen.iter().position(|faults| faults & LIMIT_SWITCH != 0)
    };
    assert_eq!(first("", None), Some(0));
    assert_eq!(first("off", None), None);
    assert_eq!(
        first("wrong", None),
        Some(0),
        "closed before the push already"
    );
    assert!(first("delayed", Some(300.0)).unwrap() >= 29);
    assert!(first("intermittent", Some(10_000.0)).unwrap() <= 1);
    assert!(first("garbage", None).is_some());
    for (target, kind) in [
        ("lower_limit", "stuck"),
        ("upper_limit", "stuck"),
        ("lower_limit", "wrong"),
        ("lower_limit", "garbage"),
    ] {
        let mut host = resting();
        host.room.inject(&fault(target, kind, None)).unwrap();
        host.run_us(100_000);
        let truth = host.room.truth();
        assert!(told(&host) & LIMIT_SWITCH != 0, "{target} {kind}");
        assert!(truth.axes[1] < 0.0, "{target} {kind}: no switch is near");
    }
    for kind in ["off", "delayed", "intermittent"] {
        let mut host = resting();
        let value = (kind != "off").then_some(50.0);
        host.room
            .inject(&fault("lower_limit", kind, value))
            .unwrap();
        host.run_us(100_000);
        assert_eq!(told(&host), 0, "{kind}: nothing closes");
    }
}

#[test]
fn every_word_of_the_brakes_is_seen_in_their_feedback_or_in_the_way_of_the_couch() {
    let at_rest = |kind: &str, value: Option<f64>| {
        let mut host = resting();
        let before = host.room.truth().axes[2];
        host.room.inject(&fault("brake", kind, value)).unwrap();
        let mut engaged = Vec::new();
        for _ in 0..40 {
            host.run_us(50_000);
            engaged.push(flags(&host) & 8 != 0);
        }
        let truth = host.room.truth();
        (told(&host), engaged, truth.axes[2] - before, truth)
    };
    let (_, engaged, sunk, truth) = at_rest("off", None);
    assert!(
        !engaged[39] && sunk < -1000.0 && !truth.brakes_engaged,
        "{sunk}"
    );
    let (_, engaged, sunk, truth) = at_rest("wrong", None);
    assert!(!engaged[39] && sunk.abs() < 100.0 && truth.brakes_engaged);
    let (_, engaged, sunk, _) = at_rest("garbage", None);
    assert!(engaged.contains(&true) && engaged.contains(&false) && sunk.abs() < 100.0);
    let (faults, _, sunk, _) = at_rest("slow", Some(1.0));
    assert!(faults & BRAKE_SLIP != 0 && sunk < -500.0);
    let (faults, _, sunk, _) = at_rest("intermittent", Some(300.0));
    assert!(
        faults & BRAKE_SLIP != 0 && sunk < -500.0,
        "{faults:b} {sunk}"
    );
    let (faults, _, _, truth) = at_rest("stuck", None);
    assert!(
        faults == 0 && truth.brakes_engaged,
        "at rest that is where they are"
    );
    let stops_in = |value: Option<f64>| {
        let mut host = moving();
        if value.is_some() {
            host.room.inject(&fault("brake", "delayed", value)).unwrap();
        }
        host.room.set_estop(true);
        let mut ms = 0;
        while !host.room.truth().brakes_engaged && ms < 1000 {
            host.run_us(1000);
            ms += 1;
        }
        ms
    };
    assert!(stops_in(Some(300.0)) >= stops_in(None) + 290);
}

/// Target, word, value: whether it was seen before the press, and when after it.
type See = dyn Fn(&str, &str, Option<f64>) -> (bool, Option<usize>);

/// Presses for a second what a contact watches; when it was seen (ms), and whether before.
fn pressed(
    target: &str,
    kind: &str,
    value: Option<f64>,
    bit: u32,
    press: impl Fn(&mut Host),
) -> (bool, Option<usize>) {
    let mut host = resting();
    if !kind.is_empty() {
        host.room.inject(&fault(target, kind, value)).unwrap();
    }
    host.run_us(100_000);
    let before = told(&host) & bit != 0;
    press(&mut host);
    let seen = (0..1000).position(|_| {
        host.run_us(1000);
        host.room.truth().couch_faults & bit != 0
    });
    (before, seen)
}

#[test]
fn every_word_of_a_touch_guard_and_of_the_emergency_stop_changes_when_it_is_seen() {
    let guard = |target: &str, kind: &str, value| {
        pressed(target, kind, value, TOUCH_GUARD, |host| {
            host.room.set_touch_guard(3, true).unwrap();
            assert_eq!(host.room.truth().touch_guards, ["table_foot"]);
        })
    };
    let estop = |_: &str, kind: &str, value| {
        pressed("estop", kind, value, EMERGENCY_STOP, |host| {
            host.room.set_estop(true);
        })
    };
    let both: [&See; 2] = [&guard, &estop];
    for see in both {
        let target = "touch_guard.table_foot";
        assert_eq!(see(target, "", None), (false, Some(0)));
        assert_eq!(see(target, "off", None), (false, None));
        assert!(see(target, "stuck", None).0);
        assert!(see(target, "wrong", None).0);
        assert!(see(target, "garbage", None).0);
        let (before, late) = see(target, "delayed", Some(300.0));
        assert!(!before && (295..=305).contains(&late.unwrap()), "{late:?}");
        let (before, late) = see(target, "intermittent", Some(150.0));
        assert!(!before && (50..=150).contains(&late.unwrap()), "{late:?}");
    }
    assert_eq!(
        guard("touch_guard.table_left", "off", None),
        (false, Some(0)),
        "one dead guard leaves the others"
    );
    assert_eq!(guard("touch_guard", "off", None), (false, None));
}

#[test]
fn status_names_each_touch_guard_that_is_pressed() {
    for guard in 0..6 {
        let mut host = resting();
        host.room.set_touch_guard(guard, true).unwrap();
        host.run_us(100_000);
        assert_eq!(flags(&host) >> 16, 1 << guard);
        assert_ne!(flags(&host) & 1 << 9, 0);
    }
    let mut host = resting();
    assert!(host.room.set_touch_guard(6, true).is_err());
}

#[test]
fn every_word_of_a_pendant_contact_stops_the_couch_or_is_found_out() {
    for contact in ["enable_contact_a", "enable_contact_b"] {
        for (kind, value, released) in [
            ("off", None, false),
            ("wrong", None, false),
            ("garbage", None, false),
            ("intermittent", Some(400.0), false),
            ("stuck", None, true),
            ("delayed", Some(300.0), true),
        ] {
            let mut host = moving();
            host.room.inject(&fault(contact, kind, value)).unwrap();
            host.run_us(10_000);
            if released {
                host.enable(false);
            }
            host.run_us(2_500_000);
            let truth = host.room.truth();
            assert!(
                host.speed() == 0.0 && truth.brakes_engaged,
                "{contact} {kind}"
            );
            if kind != "garbage" {
                assert_ne!(told(&host) & DISCREPANCY, 0, "{contact} {kind}");
            }
        }
    }
}

#[test]
fn every_word_that_the_table_lacks_is_refused_with_its_reason_or_is_in_the_table() {
    let mut targets: Vec<&str> = TABLE.iter().map(|(target, _, _)| *target).collect();
    targets.dedup();
    for target in targets.into_iter().filter(|t| !t.starts_with("line.")) {
        for word in WORDS {
            let has = TABLE
                .iter()
                .any(|(t, kind, _)| *t == target && *kind == word);
            let why = MEANINGLESS
                .iter()
                .find(|(t, kind, _)| *t == target && (*kind == word || *kind == "*"));
            assert!(has || why.is_some(), "{target} {word} is neither");
            let Some((_, _, why)) = why.filter(|_| !has) else {
                continue;
            };
            let mut host = resting();
            let refusal = host
                .room
                .inject(&fault(target, word, Some(1.0)))
                .unwrap_err();
            assert!(refusal.contains(why), "{target} {word}: {refusal}");
            assert!(host.room.truth().injected.is_empty());
        }
    }
}

#[test]
fn a_cleared_fault_is_gone_from_the_truth_and_the_couch_can_be_reset() {
    let mut host = resting();
    host.room
        .inject(&fault("second_channel", "off", None))
        .unwrap();
    host.room
        .inject(&fault("touch_guard.table_left", "stuck", None))
        .unwrap();
    host.run_us(200_000);
    assert_eq!(host.room.truth().injected.len(), 2);
    host.room.clear("touch_guard").unwrap();
    host.room.clear("second_channel").unwrap();
    assert!(host.room.truth().injected.is_empty());
    host.run_us(100_000);
    host.command(0x26, &u32::MAX.to_le_bytes());
    host.run_us(100_000);
    assert_eq!(told(&host), 0);
}
