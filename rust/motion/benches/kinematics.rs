//! Nanoseconds per call and per pose of every family.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark may stop at the first surprise"
)]

use std::hint::black_box;

use divan::Bencher;
use igrt_motion::{Arm, Couch, Family, Hexapod, Limits, Matrix, Pedestal, Pose, Scara};

const ROWS: usize = 4096;
const FAMILIES: [&str; 4] = ["pedestal", "hexapod", "arm", "scara"];

fn main() {
    divan::main();
}

fn couch(family: &str) -> Couch {
    let cartesian = [
        (-250.0, 250.0),
        (-1000.0, 400.0),
        (-450.0, 50.0),
        (-1.6, 1.6),
        (-0.06, 0.06),
        (-0.06, 0.06),
    ];
    let (family, ranges) = match family {
        "pedestal" => (Family::Pedestal(Pedestal::PLAIN), cartesian),
        "hexapod" => (Family::Hexapod(platform()), cartesian),
        "arm" => {
            let arm = Arm::new([350.0, -41.0, 0.0], [675.0, 1150.0, 1220.0, 215.0]).unwrap();
            (
                Family::Arm(arm),
                [
                    (-3.1, 3.1),
                    (-1.4, 1.6),
                    (-1.2, 1.9),
                    (-3.1, 3.1),
                    (-2.1, 2.1),
                    (-3.1, 3.1),
                ],
            )
        }
        _ => {
            let scara = Scara::new(900.0, 700.0, [150.0, 0.0, 80.0]).unwrap();
            (
                Family::Scara(scara),
                [
                    (0.0, 800.0),
                    (-2.9, 2.9),
                    (-2.6, 2.6),
                    (-3.1, 3.1),
                    (-0.3, 0.3),
                    (-0.3, 0.3),
                ],
            )
        }
    };
    Couch::new(family, Limits::new(ranges).unwrap())
}

fn platform() -> Hexapod {
    let ring = |radius: f64, degrees: [f64; 6], z: f64| {
        degrees.map(|d| {
            [
                radius * d.to_radians().cos(),
                radius * d.to_radians().sin() - 200.0,
                z,
            ]
        })
    };
    let base = ring(340.0, [-10.0, 10.0, 110.0, 130.0, 230.0, 250.0], -360.0);
    let joints = ring(240.0, [-50.0, 50.0, 70.0, 170.0, 190.0, 290.0], -100.0);
    Hexapod::new(base, joints, (240.0, 440.0), Pedestal::PLAIN, [0.0; 4]).unwrap()
}

fn uniform() -> impl FnMut() -> f64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn axes(couch: &Couch) -> Vec<[f64; 6]> {
    let mut next = uniform();
    (0..ROWS)
        .map(|_| {
            couch
                .limits()
                .pairs()
                .map(|(low, high)| low + (high - low) * next())
        })
        .collect()
}

fn legs(couch: &Couch) -> Vec<[f64; 6]> {
    let mut next = uniform();
    let travel = [30.0, 30.0, 30.0, 0.05, 0.05, 0.05];
    (0..ROWS)
        .map(|_| {
            couch
                .leg_lengths(&travel.map(|t| t * (2.0 * next() - 1.0)))
                .unwrap()
        })
        .collect()
}

/// Calls `work` on one input after another.
fn each<T: Sync, R>(bencher: Bencher, inputs: &[T], work: impl Fn(&T) -> R + Sync) {
    let mut index = 0;
    bencher.bench_local(|| {
        index = (index + 1) % inputs.len();
        black_box(work(black_box(&inputs[index])))
    });
}

#[divan::bench(args = FAMILIES)]
fn forward(bencher: Bencher, family: &str) {
    let couch = couch(family);
    each(bencher, &axes(&couch), |a| couch.forward(a));
}

#[divan::bench(args = FAMILIES)]
fn jacobian(bencher: Bencher, family: &str) {
    let couch = couch(family);
    each(bencher, &axes(&couch), |a| couch.jacobian(a));
}

#[divan::bench(args = FAMILIES)]
fn inverse_every_branch(bencher: Bencher, family: &str) {
    let couch = couch(family);
    let poses: Vec<_> = axes(&couch)
        .iter()
        .map(|a| couch.forward(a).unwrap())
        .collect();
    each(bencher, &poses, |pose| couch.branches(pose));
}

#[divan::bench]
fn hexapod_forward_from_legs(bencher: Bencher) {
    let couch = couch("hexapod");
    each(bencher, &legs(&couch), |lengths| {
        couch.forward_from_legs(lengths, None)
    });
}

#[divan::bench(args = FAMILIES)]
fn forward_batch_4096(bencher: Bencher, family: &str) {
    let couch = couch(family);
    let axes = axes(&couch);
    bencher
        .counter(ROWS)
        .bench(|| couch.forward_batch(black_box(&axes)));
}

/// Poses that the couch reaches: within the limits, and within the legs of a hexapod.
fn reached(couch: &Couch) -> Vec<Matrix> {
    let mut next = uniform();
    let travel = [30.0, 30.0, 30.0, 0.05, 0.05, 0.05];
    let axes: Vec<[f64; 6]> = if matches!(couch.family(), Family::Hexapod(_)) {
        (0..ROWS)
            .map(|_| travel.map(|t| t * (2.0 * next() - 1.0)))
            .collect()
    } else {
        axes(couch)
    };
    couch.forward_batch(&axes).unwrap()
}

#[divan::bench(args = FAMILIES)]
fn inverse_nearest_batch_4096(bencher: Bencher, family: &str) {
    let couch = couch(family);
    let poses = reached(&couch);
    bencher
        .counter(ROWS)
        .bench(|| couch.inverse_nearest_batch(black_box(&poses), &[0.0; 6]));
}

#[divan::bench(args = FAMILIES)]
fn inverse_every_branch_batch_4096(bencher: Bencher, family: &str) {
    let couch = couch(family);
    let poses = reached(&couch);
    bencher
        .counter(ROWS)
        .bench(|| couch.inverse_batch(black_box(&poses)));
}

#[divan::bench]
fn hexapod_forward_from_legs_batch_4096(bencher: Bencher) {
    let couch = couch("hexapod");
    let legs = legs(&couch);
    bencher
        .counter(ROWS)
        .bench(|| couch.forward_from_legs_batch(black_box(&legs)));
}

#[divan::bench]
fn pose_compose(bencher: Bencher) {
    let couch = couch("pedestal");
    let poses: Vec<_> = axes(&couch)
        .iter()
        .map(|a| couch.forward(a).unwrap())
        .collect();
    each(bencher, &poses, |pose| {
        *pose * Pose::<igrt_motion::TableTop, igrt_motion::Patient>::identity()
    });
}
