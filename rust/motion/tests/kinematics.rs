//! What the couch families promise: round trips over the whole workspace, every branch, true Jacobians, no panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use std::f64::consts::PI;

use igrt_motion::{
    Arm, AxisKind, Base, Branches, Correction, Couch, Family, Fixed, Flange, Hexapod, Limits,
    MotionError, Pedestal, Pose, Scara, TableTop, VERIFIED_MM, VERIFIED_RAD, wrap_rad,
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

/// As many cases as a promise of this file asks for, or as `PROPTEST_CASES` says, for a campaign.
fn cases(usual: u32) -> ProptestConfig {
    let said = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig::with_cases(said.and_then(|text| text.parse().ok()).unwrap_or(usual))
}

fn fractions() -> impl Strategy<Value = [f64; 6]> {
    prop::array::uniform6(0.0..=1.0)
}

proptest! {
    #![proptest_config(cases(3000))]

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
    fn inverse_returns_only_what_the_limits_allow_and_always_the_axes_that_are_allowed(f in fractions()) {
        for (name, couch) in couches() {
            // A hexapod's travel is about where its base stands; most of its outward range is out of its legs' reach.
            let axes = match couch.family() {
                Family::Hexapod(platform) => {
                    let [x, y, z, turn] = platform.base_axes();
                    let middle = [x, y, z, turn, 0.0, 0.0];
                    std::array::from_fn(|i| middle[i] + (f[i] - 0.5) * if i < 3 { 100.0 } else { 0.12 })
                }
                _ => at(&couch, f),
            };
            let pose = couch.forward(&axes).unwrap();
            let found = couch.inverse(&pose);
            if couch.check_limits(&axes).is_ok() && couch.singularity(&axes).margin > 1e-5 {
                let found = found.as_ref().map_err(|e| TestCaseError::fail(format!("{name}: {axes:?} refused: {e}")))?;
                let nearest = found.as_slice().iter().map(|b| distance(&couch, b, &axes)).fold(f64::INFINITY, f64::min);
                prop_assert!(nearest < 1e-6, "{name}: {axes:?} is allowed and not among {found:?}");
            }
            if let Ok(found) = found {
                for branch in found.as_slice() {
                    prop_assert!(couch.check_limits(branch).is_ok(), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_nearest_of_random_seeds_is_the_least_weighed_distance_among_all(f in fractions(), s in fractions()) {
        for (name, couch) in couches() {
            let (axes, seed) = (at(&couch, f), at(&couch, s));
            let pose = couch.forward(&axes).unwrap();
            let (Ok(every), Ok(nearest)) = (couch.inverse(&pose), couch.inverse_nearest(&pose, &seed)) else {
                prop_assert_eq!(couch.inverse(&pose).is_ok(), couch.inverse_nearest(&pose, &seed).is_ok(), "{}", name);
                continue;
            };
            // Every whole turn of every branch that the limits allow, by brute force; a radian counts as 500 mm.
            let weighed = |a: &[f64; 6]| {
                (0..6).map(|i| {
                    let rotary = couch.axis_kinds()[i] == AxisKind::Rotary;
                    let (low, high) = couch.limits().pairs()[i];
                    let turns = if rotary { [-1.0, 0.0, 1.0] } else { [0.0; 3] };
                    let steps = turns.map(|n| a[i] + n * 2.0 * PI).into_iter().filter(|x| *x >= low - 1e-9 && *x <= high + 1e-9);
                    let least = steps.map(|x| (x - seed[i]).abs()).fold(f64::INFINITY, f64::min);
                    (least * if rotary { 500.0 } else { 1.0 }).powi(2)
                }).sum::<f64>()
            };
            let best = every.as_slice().iter().map(weighed).fold(f64::INFINITY, f64::min);
            let got = (0..6).map(|i| {
                let weight = if couch.axis_kinds()[i] == AxisKind::Rotary { 500.0 } else { 1.0 };
                ((nearest[i] - seed[i]) * weight).powi(2)
            }).sum::<f64>();
            prop_assert!((got - best).abs() <= 1e-6 * (1.0 + best), "{name}: {got} where {best} is least");
        }
    }

    #[test]
    fn the_leg_jacobian_agrees_with_finite_differences(f in fractions()) {
        let couch = hexapod().with_mounts(&foot(), &hand());
        let axes = [-20.0 + 60.0 * (f[0] - 0.5), -350.0 + 60.0 * (f[1] - 0.5), -122.5 + 60.0 * (f[2] - 0.5),
            0.4 + 0.1 * (f[3] - 0.5), 0.1 * (f[4] - 0.5), 0.1 * (f[5] - 0.5)];
        let (legs, outward) = (couch.leg_jacobian(&axes).unwrap(), couch.jacobian(&axes).unwrap());
        for column in 0..6 {
            let h = if column < 3 { 1e-3 } else { 1e-6 };
            let moved = |sign: f64| {
                let mut there = axes;
                there[column] += sign * h;
                couch.leg_lengths(&there).unwrap()
            };
            let (ahead, behind) = (moved(1.0), moved(-1.0));
            for leg in 0..6 {
                let found = (ahead[leg] - behind[leg]) / (2.0 * h);
                let said = (0..6).map(|k| legs[leg][k] * outward[k][column]).sum::<f64>();
                prop_assert!((found - said).abs() < 1e-5 * (1.0 + said.abs()), "leg {leg} axis {column}: {said} {found}");
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
            let _ = couch.leg_jacobian(&v);
            let _ = couch.correction_window(&v, 1.0, 0.002);
            let _ = couch.correction_window(&at(&couch, [0.5; 6]), v[0], w[0]);
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
/// It goes on to at least 100 starts after it has found as many as the closed form says there are, so that it can find more.
fn brute_force(
    couch: &Couch,
    pose: &Pose<Fixed, TableTop>,
    closed: &Branches,
    starts: usize,
) -> Vec<[f64; 6]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut found: Vec<[f64; 6]> = Vec::new();
    for start in 0..starts {
        if start >= 100 && found.len() >= closed.as_slice().len() {
            break;
        }
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
        for place in 0..20_u32 {
            // A rank-one lattice: spread over the ranges, the same every time, never at a singularity.
            let f = [
                0.245_122, 0.491_344, 0.618_034, 0.754_878, 0.324_717, 0.569_840,
            ]
            .map(|step| 0.1 + 0.8 * (f64::from(place + 1) * step).fract());
            let pose = couch.forward(&at(&couch, f)).unwrap();
            let closed = couch.branches(&pose).unwrap();
            let brute = brute_force(&couch, &pose, &closed, 4000);
            assert_eq!(
                brute.len(),
                closed.as_slice().len(),
                "{name} place {place}: brute force {brute:?}, closed form {closed:?}"
            );
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
            matches!(&refusal, MotionError::Unreachable(why) if why.contains("reaches")
                && (couch.family_name() != "arm" || why.contains("to the back"))),
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

/// Platform and base are flat rings: the platform's mirror image below the base has the same legs, untilted.
#[test]
fn the_mirrored_assembly_of_the_legs_is_refused_from_every_low_seed() {
    let couch = hexapod();
    let neutral = [-20.0, -350.0, -122.5, 0.4, 0.0, 0.0];
    let tilted = [-12.0, -361.0, -110.0, 0.43, 0.03, -0.02];
    let mut refused = 0;
    for axes in [neutral, tilted] {
        let legs = couch.leg_lengths(&axes).unwrap();
        let pose = couch.forward(&axes).unwrap();
        for low in (300..=800).step_by(10) {
            let mut seed = axes;
            seed[2] -= f64::from(low);
            match couch.forward_from_legs(&legs, Some(&seed)) {
                Ok(found) => {
                    let (mm, rad) = found.deviation(&pose);
                    assert!(
                        mm < 1e-6 && rad < 1e-9,
                        "{low} mm low: {mm} mm {rad} rad off"
                    );
                }
                Err(refusal) => {
                    refused += 1;
                    assert!(
                        matches!(&refusal, MotionError::NotConverged(_)),
                        "{refusal}"
                    );
                }
            }
        }
    }
    assert!(
        refused > 60,
        "only {refused} of 102 seeds led astray: the test shows nothing"
    );
    let mut seed = neutral;
    seed[2] -= 520.0;
    let legs = couch.leg_lengths(&neutral).unwrap();
    let refusal = couch.forward_from_legs(&legs, Some(&seed)).unwrap_err();
    assert!(
        refusal.to_string().contains("another assembly"),
        "{refusal}"
    );
}

#[test]
fn legs_far_from_neutral_give_the_pose_or_a_refusal_and_a_batch_likewise() {
    let couch = hexapod();
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
    };
    let (mut rows, mut poses) = (Vec::new(), Vec::new());
    while rows.len() < 3000 {
        let axes = [
            -20.0 + 150.0 * next(),
            -350.0 + 150.0 * next(),
            -122.5 + 150.0 * next(),
            0.4 + 0.28 * next(),
            0.28 * next(),
            0.28 * next(),
        ];
        if couch.leg_margins(&axes).unwrap().iter().all(|m| *m >= 0.0)
            && !matches!(couch.check_limits(&axes), Err(MotionError::Singular(_)))
        {
            rows.push(couch.leg_lengths(&axes).unwrap());
            poses.push(couch.forward(&axes).unwrap());
        }
    }
    let batch = couch.forward_from_legs_batch(&rows).unwrap();
    let mut wrong = 0;
    let mut refused = 0;
    for ((legs, pose), matrix) in rows.iter().zip(&poses).zip(&batch.poses) {
        match couch.forward_from_legs(legs, None) {
            Ok(found) => {
                wrong += usize::from(found.deviation(pose).0 > 1e-6);
                assert_eq!(*matrix, found.to_matrix());
            }
            Err(_) => {
                refused += 1;
                assert!(matrix.as_flattened().iter().all(|x| x.is_nan()));
            }
        }
    }
    assert_eq!(wrong, 0, "of 3000, {refused} refused");
    assert!(refused < 100, "{refused} of 3000 refused");
}

/// The platform turned 90 degrees on its base: the classical singularity of such legs.
#[test]
fn a_leg_singularity_is_singular_and_not_out_of_limits_and_manipulability_vanishes_with_it() {
    let Family::Hexapod(old) = *hexapod().family() else {
        unreachable!()
    };
    let (base, platform) = old.joints_mm();
    let centred = |joints: [[f64; 3]; 6]| joints.map(|[x, y, z]| [x, y + 200.0, z]);
    let wide = [
        (-250.0, 250.0),
        (-1000.0, 400.0),
        (-450.0, 50.0),
        (-1.7, 1.7),
        (-0.6, 0.6),
        (-0.6, 0.6),
    ];
    let legs = Hexapod::new(
        centred(base),
        centred(platform),
        (100.0, 900.0),
        Pedestal::PLAIN,
        [0.0; 4],
    )
    .unwrap();
    let couch = Couch::new(Family::Hexapod(legs), limits(wide));
    let turned = |degrees: f64| [0.0, 0.0, 0.0, degrees.to_radians(), 0.0, 0.0];
    let able = |degrees| couch.manipulability(&turned(degrees), 500.0).unwrap();
    assert!(
        able(0.0) > able(45.0) && able(45.0) > able(80.0) && able(80.0) > able(89.0),
        "{}",
        able(0.0)
    );
    assert!(able(90.0) < 1e-9 * able(0.0));
    assert!(couch.singularity(&turned(90.0)).margin < 1e-9);
    assert!(couch.check_limits(&turned(60.0)).is_ok());
    for degrees in [90.0, 90.0001, 95.0] {
        let axes = turned(degrees);
        let pose = couch.forward(&axes).unwrap();
        let refusals = [
            couch.check_limits(&axes).unwrap_err(),
            couch.inverse(&pose).unwrap_err(),
            couch.inverse_nearest(&pose, &axes).unwrap_err(),
        ];
        for refusal in refusals {
            assert!(
                matches!(&refusal, MotionError::Singular(why) if why.contains("legs")),
                "{degrees}: {refusal}"
            );
        }
        let batch = couch.inverse_batch(&[pose.to_matrix()]);
        assert_eq!(batch.outcomes, [igrt_motion::Outcome::Singular]);
        assert!(
            couch
                .forward_from_legs(&couch.leg_lengths(&axes).unwrap(), Some(&axes))
                .is_err()
        );
    }
    // Limits first: a leg out of its range is said as that.
    let far = [0.0, 0.0, 0.0, PI / 2.0, 0.0, 0.7];
    assert!(matches!(
        couch.check_limits(&far),
        Err(MotionError::Limit(_))
    ));
}

/// `tests/vectors/golden_poses.json`, as this crate's own promise.
#[test]
fn the_golden_vectors_a_to_g_hold() {
    let degrees = |six: [f64; 6]| {
        std::array::from_fn::<f64, 6, _>(|i| if i < 3 { six[i] } else { six[i].to_radians() })
    };
    let text = include_str!("../../../tests/vectors/golden_poses.json");
    let numbers = |line: &str, key: &str| -> [f64; 6] {
        let rest = line.split(&format!("\"{key}\": [")).nth(1).unwrap();
        let inside = rest.split(']').next().unwrap();
        let found: Vec<f64> = inside
            .split(',')
            .map(|word| word.trim().parse().unwrap())
            .collect();
        found.try_into().unwrap()
    };
    let couch = pedestal();
    let mut names = String::new();
    for line in text.lines().filter(|line| line.contains("\"case\"")) {
        names += line.split('"').nth(3).unwrap();
        let start = degrees(numbers(line, "start"));
        let correction = Correction::from_array(degrees(numbers(line, "correction")));
        let want = numbers(line, "result");
        let target = correction.to_pose().unwrap() * couch.forward(&start).unwrap();
        let got = couch.inverse_nearest(&target, &start).unwrap();
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let got = if i < 3 { *got } else { got.to_degrees() };
            assert!(
                (got - want).abs() <= 6e-5,
                "{names} axis {i}: {got} instead of {want}"
            );
        }
    }
    assert_eq!(names, "ABCDEFG");
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
                if end.abs() >= reach {
                    continue;
                }
                // Where the couch stands at the end of the window, followed there in small steps.
                let target = |value: f64| {
                    let mut six = [0.0; 6];
                    six[index] = value;
                    Correction::from_array(six).to_pose().unwrap() * pose
                };
                let mut stands = axes;
                for step in 1..=1000 {
                    let value = end * (1.0 - 1e-9) * f64::from(step) / 1000.0;
                    stands = couch.inverse_nearest(&target(value), &stands).unwrap();
                }
                let beyond = couch.inverse_nearest(&target(end + slack * end.signum()), &stands);
                let jumped = beyond.as_ref().is_ok_and(|next| {
                    (0..6).any(|i| {
                        let far = if couch.axis_kinds()[i] == AxisKind::Rotary {
                            0.1
                        } else {
                            50.0
                        };
                        (next[i] - stands[i]).abs() > far
                    })
                });
                assert!(
                    beyond.is_err() || jumped,
                    "{name} {index}: {end} is not the end: {beyond:?} follows {stands:?}"
                );
            }
        }
    }
}
