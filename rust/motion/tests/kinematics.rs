//! What the couch families promise: round trips over the whole workspace, every branch, true Jacobians, no panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use std::f64::consts::PI;

use igrt_motion::{
    Arm, AxisKind, Base, Correction, Couch, Family, Fixed, Flange, Hexapod, Limits, MotionError,
    Pedestal, Pose, Scara, TableTop, VERIFIED_MM, VERIFIED_RAD, wrap_rad,
};
use proptest::prelude::*;

const CARTESIAN: [(f64, f64); 6] = [
    (-250.0, 250.0),
    (-1000.0, 400.0),
    (-450.0, 50.0),
    (-1.6, 1.6),
    (-0.06, 0.06),
    (-0.06, 0.06),
];

fn limits(pairs: [(f64, f64); 6]) -> Limits {
    Limits::new(pairs).unwrap()
}

fn pedestal() -> Couch {
    Couch::new(Family::Pedestal(Pedestal::PLAIN), limits(CARTESIAN))
}

fn eccentric() -> Couch {
    let wide = [
        (-500.0, 500.0),
        (-1500.0, 900.0),
        (-900.0, 900.0),
        (-3.1, 3.1),
        (-1.5, 1.5),
        (-3.1, 3.1),
    ];
    let chain = Pedestal::new(123.4, 0.7).unwrap();
    Couch::new(Family::Pedestal(chain), limits(wide)).with_mounts(&foot(), &hand())
}

fn foot() -> Pose<Fixed, Base> {
    let six = Correction::from_array([-900.0, -1200.0, -1300.0, 0.8, 0.02, -0.01]);
    six.to_pose::<Fixed>().unwrap().with_frames()
}

fn hand() -> Pose<Flange, TableTop> {
    let six = Correction::from_array([40.0, 10.0, 1070.0, PI / 2.0, 1.2, 0.3]);
    six.to_pose::<Fixed>().unwrap().with_frames()
}

fn hexapod() -> Couch {
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
    let platform = ring(240.0, [-50.0, 50.0, 70.0, 170.0, 190.0, 290.0], -100.0);
    let stands = [-20.0, -350.0, -122.5, 0.4];
    let hexapod = Hexapod::new(base, platform, (240.0, 440.0), Pedestal::PLAIN, stands).unwrap();
    Couch::new(Family::Hexapod(hexapod), limits(CARTESIAN))
}

fn arm(b: f64) -> Couch {
    let arm = Arm::new([350.0, -41.0, b], [675.0, 1150.0, 1220.0, 215.0]).unwrap();
    let ranges = [
        (-2.96, 2.96),
        (-1.6, 1.9),
        (-2.0, 2.6),
        (-PI, PI),
        (-2.2, 2.2),
        (-6.1, 6.1),
    ];
    Couch::new(Family::Arm(arm), limits(ranges))
        .with_mounts(&foot(), &hand())
        .with_axis_map(
            [1.0, -1.0, 1.0, -1.0, 1.0, -1.0],
            [0.1, -0.2, 0.3, 0.0, 0.0, 0.5],
        )
        .unwrap()
}

fn scara() -> Couch {
    let ranges = [
        (0.0, 800.0),
        (-2.9, 2.9),
        (-2.6, 2.6),
        (-6.1, 6.1),
        (-0.3, 0.3),
        (-0.3, 0.3),
    ];
    let scara = Scara::new(900.0, 700.0, [150.0, -20.0, 80.0]).unwrap();
    Couch::new(Family::Scara(scara), limits(ranges)).with_mounts(&foot(), &hand())
}

fn couches() -> Vec<(&'static str, Couch)> {
    vec![
        ("pedestal", pedestal()),
        ("eccentric pedestal", eccentric()),
        ("hexapod", hexapod()),
        ("arm", arm(0.0)),
        ("arm with shoulder offset", arm(60.0)),
        ("scara", scara()),
    ]
}

/// Axes at fractions of their ranges.
fn at(couch: &Couch, fractions: [f64; 6]) -> [f64; 6] {
    let mut axes = [0.0; 6];
    for ((axis, (low, high)), f) in axes.iter_mut().zip(couch.limits().pairs()).zip(fractions) {
        *axis = low + (high - low) * f;
    }
    axes
}

fn distance(couch: &Couch, a: &[f64; 6], b: &[f64; 6]) -> f64 {
    let kinds = couch.axis_kinds();
    let step = |i: usize| {
        if kinds[i] == AxisKind::Rotary {
            wrap_rad(a[i] - b[i]).abs()
        } else {
            (a[i] - b[i]).abs()
        }
    };
    (0..6).map(step).fold(0.0, f64::max)
}

fn fractions() -> impl Strategy<Value = [f64; 6]> {
    prop::array::uniform6(0.0..=1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_inverse_result_reproduces_the_pose_and_the_original_axes_are_among_them(f in fractions()) {
        for (name, couch) in couches() {
            let axes = at(&couch, f);
            if couch.singularity(&axes).margin < 1e-5 {
                continue;
            }
            let pose = couch.forward(&axes).unwrap();
            // Legs of the hexapod do not reach every combination of couch axes; its closed form still does.
            let found = couch.branches(&pose).unwrap();
            for branch in found.as_slice() {
                let (mm, rad) = couch.forward(branch).unwrap().deviation(&pose);
                prop_assert!(mm <= VERIFIED_MM && rad <= VERIFIED_RAD, "{name}: {mm} {rad}");
            }
            let nearest = found.as_slice().iter().map(|b| distance(&couch, b, &axes)).fold(f64::INFINITY, f64::min);
            prop_assert!(nearest < 1e-6, "{name}: {axes:?} not recovered, off by {nearest}");
            let kept = couch.nearest_branch(&pose, &axes).unwrap();
            prop_assert!(kept.iter().zip(&axes).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: turns follow the seed");
        }
    }

    #[test]
    fn what_inverse_returns_is_within_the_limits(f in fractions()) {
        for (name, couch) in couches() {
            let pose = couch.forward(&at(&couch, f)).unwrap();
            if let Ok(found) = couch.inverse(&pose) {
                for branch in found.as_slice() {
                    prop_assert!(couch.check_limits(branch).is_ok(), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_jacobian_agrees_with_finite_differences(f in fractions()) {
        for (name, couch) in couches() {
            let axes = at(&couch, f);
            let jacobian = couch.jacobian(&axes).unwrap();
            for column in 0..6 {
                let h = if couch.axis_kinds()[column] == AxisKind::Rotary { 1e-6 } else { 1e-3 };
                let moved = |sign: f64| {
                    let mut there = axes;
                    there[column] += sign * h;
                    couch.forward(&there).unwrap()
                };
                let (ahead, behind) = (moved(1.0), moved(-1.0));
                let turn = ahead.rotation();
                let back = behind.rotation();
                // Skew part of R(+h) R(-h)^T: the rotation over 2 h.
                let product = |i: usize, j: usize| (0..3).map(|k| turn[i][k] * back[j][k]).sum::<f64>();
                let angular = [product(2, 1) - product(1, 2), product(0, 2) - product(2, 0), product(1, 0) - product(0, 1)];
                for row in 0..3 {
                    let linear = (ahead.translation_mm()[row] - behind.translation_mm()[row]) / (2.0 * h);
                    prop_assert!((jacobian[row][column] - linear).abs() < 2e-5, "{name} row {row} column {column}");
                    let about = angular[row] / (4.0 * h);
                    prop_assert!((jacobian[row + 3][column] - about).abs() < 1e-8, "{name} rotation {row} {column}");
                }
            }
        }
    }

    #[test]
    fn hexapod_forward_inverts_the_legs_over_its_travel(f in fractions(), warm in prop::array::uniform6(-1.0..=1.0)) {
        let couch = hexapod();
        let Family::Hexapod(platform) = *couch.family() else { unreachable!() };
        let [x, y, z, rotation] = platform.base_axes();
        let travel = [30.0, 30.0, 30.0, 0.0524, 0.0524, 0.0524];
        let centre = [x, y, z, rotation, 0.0, 0.0];
        let place = |f: &[f64; 6], scale: f64| {
            let mut axes = centre;
            for i in 0..6 {
                axes[i] += travel[i] * f[i] * scale;
            }
            axes
        };
        let axes = place(&f.map(|x| 2.0 * x - 1.0), 1.0);
        let pose = couch.forward(&axes).unwrap();
        let legs = couch.leg_lengths(&axes).unwrap();
        for seed in [None, Some(place(&warm, 1.0))] {
            let (mm, rad) = couch.forward_from_legs(&legs, seed.as_ref()).unwrap().deviation(&pose);
            prop_assert!(mm < 1e-7 && rad < 1e-10, "{mm} {rad}");
        }
    }

    #[test]
    fn raw_numbers_never_panic(v in prop::array::uniform6(any::<f64>()), w in prop::array::uniform6(any::<f64>())) {
        for (_, couch) in couches() {
            let _ = couch.jacobian(&v);
            let _ = couch.check_limits(&v);
            let _ = couch.manipulability(&v, w[0]);
            let _ = couch.singularity(&v);
            let _ = couch.margins(&v);
            let _ = couch.leg_margins(&v);
            let _ = couch.forward_from_legs(&v, Some(&w));
            let _ = couch.with_base_axes([v[0], v[1], v[2], v[3]]);
            let _ = couch.with_axis_map(v, w);
            let _ = couch.with_dimensions(&v);
            let _ = couch.inverse_nearest_batch(&[[[v[0], v[1], v[2], v[3]], [v[4], v[5], w[0], w[1]], [w[2], w[3], w[4], w[5]], [0.0, 0.0, 0.0, 1.0]]], &w);
            let _ = couch.forward_batch(&[v, w]);
            let _ = couch.forward_from_legs_batch(&[v, w]);
            if let Ok(pose) = couch.forward(&v) {
                let _ = couch.inverse(&pose);
                let _ = couch.inverse_nearest(&pose, &w);
                let _ = couch.branches(&pose);
            }
            let rows = [[v[0], v[1], v[2], v[3]], [v[4], v[5], w[0], w[1]], [w[2], w[3], w[4], w[5]], [0.0, 0.0, 0.0, 1.0]];
            let _ = Pose::<Fixed, TableTop>::from_matrix(rows);
            let _ = Correction::from_array(v).to_pose::<Fixed>().map(|p| Correction::from_pose(&p));
        }
        let _ = Arm::new([v[0], v[1], v[2]], [w[0], w[1], w[2], w[3]]);
        let _ = Scara::new(v[0], v[1], [w[0], w[1], w[2]]);
        let _ = Pedestal::new(v[0], v[1]);
        let _ = Hexapod::new([[v[0]; 3]; 6], [[w[0]; 3]; 6], (v[1], v[2]), Pedestal::PLAIN, [w[0], w[1], w[2], w[3]]);
        let _ = Limits::new([(v[0], w[0]); 6]);
    }
}

/// Newton on the pose error from many starts: finds branches without knowing any closed form.
fn brute_force(couch: &Couch, pose: &Pose<Fixed, TableTop>, starts: usize) -> Vec<[f64; 6]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut found: Vec<[f64; 6]> = Vec::new();
    for _ in 0..starts {
        let mut axes = [0.0; 6];
        for (axis, kind) in axes.iter_mut().zip(couch.axis_kinds()) {
            *axis = if kind == AxisKind::Rotary {
                (next() * 2.0 - 1.0) * PI
            } else {
                (next() * 2.0 - 1.0) * 1500.0
            };
        }
        for _ in 0..60 {
            let here = couch.forward(&axes).unwrap();
            let (mm, rad) = here.deviation(pose);
            if mm < 1e-7 && rad < 1e-10 {
                let wrapped = |mut a: [f64; 6]| {
                    for (x, kind) in a.iter_mut().zip(couch.axis_kinds()) {
                        *x = if kind == AxisKind::Rotary {
                            wrap_rad(*x)
                        } else {
                            *x
                        };
                    }
                    a
                };
                let axes = wrapped(axes);
                if !found.iter().any(|f| distance(couch, f, &axes) < 1e-4) {
                    found.push(axes);
                }
                break;
            }
            let (a, b) = (pose.rotation(), here.rotation());
            let product = |i: usize, j: usize| (0..3).map(|k| a[i][k] * b[j][k]).sum::<f64>();
            let skew = [
                product(2, 1) - product(1, 2),
                product(0, 2) - product(2, 0),
                product(1, 0) - product(0, 1),
            ];
            let step: Vec<f64> = (0..3)
                .map(|k| pose.translation_mm()[k] - here.translation_mm()[k])
                .chain(skew.map(|s| 0.5 * s))
                .collect();
            let jacobian = nalgebra::Matrix6::from(couch.jacobian(&axes).unwrap());
            // `Matrix6::from` takes columns: transpose back to rows.
            let Some(delta) = jacobian
                .transpose()
                .lu()
                .solve(&nalgebra::Vector6::from_vec(step))
            else {
                break;
            };
            let largest = delta.amax();
            let scale = if largest > 0.5 && couch.axis_kinds()[0] == AxisKind::Rotary {
                0.5 / largest
            } else {
                1.0
            };
            for (axis, d) in axes.iter_mut().zip(delta.iter()) {
                *axis += d * scale;
            }
            if !axes.iter().all(|a| a.abs() < 1e4) {
                break;
            }
        }
    }
    found
}

#[test]
fn no_branch_is_missed_that_brute_force_finds() {
    for (name, couch) in couches() {
        for f in [
            [0.3, 0.6, 0.7, 0.4, 0.7, 0.55],
            [0.6, 0.4, 0.55, 0.7, 0.2, 0.45],
        ] {
            let pose = couch.forward(&at(&couch, f)).unwrap();
            let closed = couch.branches(&pose).unwrap();
            let brute = brute_force(&couch, &pose, 400);
            assert!(!brute.is_empty(), "{name}: brute force found nothing");
            for axes in &brute {
                let known = closed
                    .as_slice()
                    .iter()
                    .any(|b| distance(&couch, b, axes) < 1e-4);
                assert!(
                    known,
                    "{name}: brute force found {axes:?}, not among {:?}",
                    closed.as_slice()
                );
            }
            if name.starts_with("arm") {
                assert!(
                    brute.len() >= 4,
                    "{name}: the search is too weak to prove anything: {}",
                    brute.len()
                );
            }
        }
    }
}

#[test]
fn a_six_joint_arm_shows_all_eight_branches_where_they_exist() {
    let couch = arm(0.0);
    let pose = couch.forward(&[0.3, 0.4, 0.7, 0.5, 0.9, -0.7]).unwrap();
    let most = (0..200)
        .filter_map(|i| {
            let x = f64::from(i) / 200.0;
            let pose = couch
                .forward(&at(&couch, [x, 0.5, 0.6, x, 0.8, 0.3]))
                .ok()?;
            couch.branches(&pose).ok().map(|b| b.as_slice().len())
        })
        .max();
    assert_eq!(most, Some(8));
    assert!(couch.branches(&pose).unwrap().as_slice().len() >= 4);
}

#[test]
fn out_of_reach_is_said_with_the_reach() {
    let far = Correction::from_array([0.0, 9000.0, 0.0, 0.0, 0.0, 0.0])
        .to_pose::<Fixed>()
        .unwrap()
        .with_frames();
    for couch in [arm(0.0), scara()] {
        let refusal = couch.inverse(&far).unwrap_err();
        assert!(
            matches!(&refusal, MotionError::Unreachable(why) if why.contains("reaches")),
            "{refusal}"
        );
    }
}

#[test]
fn outside_the_limits_is_not_unreachable_and_names_the_axis() {
    let couch = pedestal();
    let pose = couch.forward(&[0.0, 500.0, 0.0, 0.0, 0.0, 0.1]).unwrap();
    let refusal = couch.inverse(&pose).unwrap_err();
    let MotionError::Limit(why) = &refusal else {
        panic!("{refusal}")
    };
    assert!(
        why.contains("longitudinal") && why.contains("100.000 mm past its upper limit"),
        "{why}"
    );
    assert!(why.contains("roll") && why.contains("deg"), "{why}");
    assert!(couch.branches(&pose).is_ok());
}

#[test]
fn a_hexapod_leg_out_of_range_is_named() {
    let couch = hexapod();
    let axes = [-20.0, -350.0, 0.0, 0.4, 0.0, 0.0];
    let refusal = couch.check_limits(&axes).unwrap_err();
    assert!(
        matches!(&refusal, MotionError::Limit(why) if why.contains("leg ")),
        "{refusal}"
    );
    assert!(
        couch
            .with_base_axes([-20.0, -350.0, 0.0, 0.4])
            .unwrap()
            .check_limits(&axes)
            .is_ok()
    );
}

#[test]
fn singular_poses_are_said_to_be_singular() {
    let straight = arm(0.0).with_axis_map([1.0; 6], [0.0; 6]).unwrap();
    let wrist = straight.forward(&[0.3, 0.4, 0.7, 0.5, 0.0, 0.2]).unwrap();
    let refusal = straight.inverse(&wrist).unwrap_err();
    assert!(
        matches!(&refusal, MotionError::Singular(why) if why.contains("wrist")),
        "{refusal}"
    );

    // No move is no choice: where the couch stands already is an answer, a millimetre away is not.
    let seed = [0.3, 0.4, 0.7, 0.5, 0.0, 0.2];
    assert_eq!(straight.inverse_nearest(&wrist, &seed), Ok(seed));
    let batch = straight
        .inverse_nearest_batch(&[wrist.to_matrix()], &seed)
        .unwrap();
    assert_eq!(batch.axes, [seed]);
    let elsewhere = [0.301, 0.4, 0.7, 0.5, 0.0, 0.2];
    assert!(matches!(
        straight.inverse_nearest(&wrist, &elsewhere),
        Err(MotionError::Singular(_))
    ));

    let wide = [
        (-1000.0, 1000.0),
        (-1000.0, 1000.0),
        (-1000.0, 1000.0),
        (-3.0, 3.0),
        (-2.0, 2.0),
        (-3.0, 3.0),
    ];
    let tipped = Couch::new(Family::Pedestal(Pedestal::PLAIN), limits(wide));
    let upright = tipped
        .forward(&[0.0, 0.0, 0.0, 0.3, PI / 2.0, 0.2])
        .unwrap();
    let refusal = tipped.inverse(&upright).unwrap_err();
    assert!(
        matches!(&refusal, MotionError::Singular(why) if why.contains("pitch")),
        "{refusal}"
    );
}

#[test]
fn impossible_leg_lengths_are_a_failure_and_not_a_pose() {
    let couch = hexapod();
    let refusal = couch
        .forward_from_legs(&[100.0, 900.0, 100.0, 900.0, 100.0, 900.0], None)
        .unwrap_err();
    assert!(matches!(refusal, MotionError::NotConverged(_)), "{refusal}");
    assert!(matches!(
        couch.forward_from_legs(&[-1.0; 6], None),
        Err(MotionError::Geometry(_))
    ));
    assert!(matches!(
        pedestal().forward_from_legs(&[300.0; 6], None),
        Err(MotionError::Geometry(_))
    ));
}

#[test]
fn a_platform_that_its_legs_do_not_hold_is_refused() {
    let hexagon: [[f64; 3]; 6] = [0.0_f64, 60.0, 120.0, 180.0, 240.0, 300.0].map(|d| {
        [
            300.0 * d.to_radians().cos(),
            300.0 * d.to_radians().sin(),
            0.0,
        ]
    });
    let above = hexagon.map(|[x, y, _]| [0.8 * x, 0.8 * y, 300.0]);
    let refusal =
        Hexapod::new(hexagon, above, (100.0, 500.0), Pedestal::PLAIN, [0.0; 4]).unwrap_err();
    assert!(refusal.to_string().contains("singular"), "{refusal}");
}

#[test]
fn manipulability_vanishes_towards_the_singularity() {
    let couch = arm(0.0).with_axis_map([1.0; 6], [0.0; 6]).unwrap();
    let at_bend = |q5: f64| {
        couch
            .manipulability(&[0.3, 0.4, 0.7, 0.5, q5, 0.2], 500.0)
            .unwrap()
    };
    assert!(at_bend(0.5) > at_bend(0.05) && at_bend(0.05) > at_bend(0.0));
    assert!(at_bend(0.0) < 1e-12);
    assert!((pedestal().manipulability(&[0.0; 6], 500.0).unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn the_window_of_a_pedestal_without_rotation_is_its_margins() {
    let couch = pedestal();
    let axes = [-20.0, -350.0, -122.5, 0.0, 0.0, 0.0];
    let window = couch.correction_window(&axes, 100.0, 0.05).unwrap();
    let close = |(low, high): (f64, f64), want: (f64, f64)| {
        (low - want.0).abs() < 1e-6 && (high - want.1).abs() < 1e-6
    };
    assert!(close(window[0], (-100.0, 100.0)), "{window:?}");
    assert!(close(window[2], (-100.0, 100.0)), "{window:?}");
    let near_top = couch
        .correction_window(&[-20.0, -350.0, 40.0, 0.0, 0.0, 0.0], 100.0, 0.05)
        .unwrap();
    assert!(close(near_top[2], (-100.0, 10.0)), "{near_top:?}");
    // Pitch about the isocentre lifts the table-top origin: the vertical limit closes the window before the pitch does.
    assert!(
        (near_top[4].0 + 0.0286).abs() < 1e-3 && near_top[4].1 == 0.05,
        "{near_top:?}"
    );
    assert!(matches!(
        couch.correction_window(&[900.0; 6], 10.0, 0.05),
        Err(MotionError::Limit(_))
    ));
}

#[test]
fn just_inside_the_window_is_reachable_and_just_outside_is_not() {
    for (name, couch) in couches() {
        let axes = match couch.family() {
            Family::Hexapod(platform) => {
                let [x, y, z, rotation] = platform.base_axes();
                [x, y, z, rotation, 0.0, 0.0]
            }
            _ => at(&couch, [0.5, 0.55, 0.6, 0.45, 0.6, 0.5]),
        };
        let (reach_mm, reach_rad) = (400.0, 0.2);
        let window = couch.correction_window(&axes, reach_mm, reach_rad).unwrap();
        let pose = couch.forward(&axes).unwrap();
        for (index, (low, high)) in window.into_iter().enumerate() {
            let reach = if index < 3 { reach_mm } else { reach_rad };
            let slack = if index < 3 { 1e-4 } else { 1e-7 };
            for end in [low, high] {
                let at = |value: f64| {
                    let mut six = [0.0; 6];
                    six[index] = value;
                    couch.inverse(&(Correction::from_array(six).to_pose().unwrap() * pose))
                };
                assert!(
                    at(end * (1.0 - 1e-9)).is_ok(),
                    "{name} {index}: {end} is not reachable"
                );
                let beyond = at(end + slack * end.signum());
                let other_branch =
                    matches!(couch.family(), Family::Arm(_) | Family::Scara(_)) && beyond.is_ok();
                assert!(
                    end.abs() >= reach || beyond.is_err() || other_branch,
                    "{name} {index}: {end} is not the end"
                );
            }
        }
    }
}
