//! Clearance against an independent brute force: nested ternary search over every triangle, with distances written anew.

#![allow(clippy::expect_used, reason = "a broken scene ends the test")]

mod clearance_scenes;

use clearance_scenes::{Random, bumpy_tube, random_pose, random_solid, rounds};
use igrt_motion::clearance::{
    Backend, EXACT_SLACK_MM, FAST_SLACK_MM, Geometry, Hull, Mesh, Pair, PartSpec, Precision, Rigid,
    Room, Solid, V3,
};

/// Distance of a point from a solid, written without the library's formulas: by the nearest point.
fn oracle_point(solid: &Solid, p: &V3) -> f64 {
    let nearest = match solid {
        Solid::Cuboid { half } => V3::from_fn(|i, _| p[i].clamp(-half[i], half[i])),
        Solid::Cylinder {
            radius,
            half_length,
        } => {
            let rho = (p.x * p.x + p.y * p.y).sqrt();
            let k = if rho > *radius { radius / rho } else { 1.0 };
            V3::new(p.x * k, p.y * k, p.z.clamp(-half_length, *half_length))
        }
        Solid::Capsule {
            radius,
            half_length,
        } => {
            let on_axis = V3::new(0.0, 0.0, p.z.clamp(-half_length, *half_length));
            let away = p - on_axis;
            let k = if away.norm() > *radius {
                radius / away.norm()
            } else {
                1.0
            };
            on_axis + away * k
        }
        Solid::Hull(hull) => return oracle_hull(hull, p),
    };
    (p - nearest).norm()
}

/// Over all faces: the foot on the plane if it lies inside the face, otherwise the nearest point of an edge.
fn oracle_hull(hull: &Hull, p: &V3) -> f64 {
    if hull
        .planes()
        .iter()
        .all(|plane| plane.normal.dot(p) <= plane.offset)
    {
        return 0.0;
    }
    let mut best = f64::INFINITY;
    for [a, b, c] in hull.faces() {
        for (x, y) in [(a, b), (b, c), (c, a)] {
            let along = y - x;
            let t = (along.dot(&(p - x)) / along.norm_squared()).clamp(0.0, 1.0);
            best = best.min((x + along * t - p).norm());
        }
        let n = (b - a).cross(&(c - a)).normalize();
        let foot = p - n * n.dot(&(p - a));
        let inside = |x: &V3, y: &V3| (y - x).cross(&(foot - x)).dot(&n) >= 0.0;
        if inside(a, b) && inside(b, c) && inside(c, a) {
            best = best.min((foot - p).norm());
        }
    }
    best
}

fn ternary(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..70 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if f(a) <= f(b) { high = b } else { low = a }
    }
    f(0.5 * (low + high)).min(f(low)).min(f(high))
}

fn oracle_triangle(solid: &Solid, [a, b, c]: &[V3; 3]) -> f64 {
    ternary(0.0, 1.0, |u| {
        ternary(0.0, 1.0 - u, |v| {
            oracle_point(solid, &(a + (b - a) * u + (c - a) * v))
        })
    })
}

fn oracle(mesh: &Mesh, solid: &Solid, solid_from_mesh: &Rigid) -> f64 {
    let mut best = f64::INFINITY;
    for index in 0..mesh.triangle_count() {
        let corners = mesh.corners(index).map(|p| solid_from_mesh.point(&p));
        let middle = (corners[0] + corners[1] + corners[2]) / 3.0;
        let reach = corners
            .iter()
            .map(|p| (p - middle).norm())
            .fold(0.0, f64::max);
        if oracle_point(solid, &middle) - reach <= best {
            best = best.min(oracle_triangle(solid, &corners));
        }
    }
    best
}

fn room(mesh: &Mesh, solid: &Solid) -> Room {
    let part = |name: &str, frame, geometry| PartSpec {
        name: name.to_owned(),
        frame,
        placement: Rigid::identity(),
        geometry,
    };
    Room::new(
        2,
        vec![
            part("body", 0, Geometry::Surface(mesh.clone())),
            part("machine", 1, Geometry::Solid(solid.clone())),
        ],
        vec![Pair { a: 0, b: 1 }],
    )
    .expect("the scene is valid")
}

#[test]
fn exact_distances_agree_with_brute_force_to_a_nanometre_scale_and_fast_ones_stay_below() {
    let mut random = Random(7);
    let mut apart = 0;
    let mut touching = 0;
    for round in 0..rounds(60) {
        let mesh = bumpy_tube(&mut random, 10, 12);
        let solid = random_solid(&mut random, round % 4);
        let room = room(&mesh, &solid);
        let reach = if round % 3 == 0 { 250.0 } else { 600.0 };
        let poses = [
            random_pose(&mut random, 50.0),
            random_pose(&mut random, reach),
        ];
        let truth = oracle(&mesh, &solid, &poses[1].inverse().then(&poses[0]));
        let exact = room.separations(&poses, Precision::exact()).unwrap()[0];
        let fast = room.separations(&poses, Precision::fast()).unwrap()[0];
        if truth > 1e-5 {
            apart += 1;
            if exact.upper_mm < 0.0 {
                continue; // The solid lies inside the body; `enclosed` below proves that case.
            }
            let tolerance = 1e-6;
            assert!(
                (exact.upper_mm - truth).abs() < tolerance,
                "round {round}: {exact:?} against {truth}"
            );
            assert!(
                exact.lower_mm <= truth + tolerance
                    && exact.lower_mm >= truth - tolerance - EXACT_SLACK_MM
            );
            assert!(
                fast.lower_mm <= truth + tolerance,
                "round {round}: {fast:?} above {truth}"
            );
            assert!(
                fast.lower_mm >= truth - 0.02,
                "round {round}: {fast:?} too far below {truth}"
            );
            assert!(
                fast.upper_mm >= truth - tolerance
                    && fast.upper_mm - fast.lower_mm <= FAST_SLACK_MM + 1e-9
            );
            let gap = (V3::from(exact.on_a) - V3::from(exact.on_b)).norm();
            assert!(
                (gap - exact.upper_mm).abs() < 1e-6,
                "the witness points are not that far apart: {gap}"
            );
        } else {
            touching += 1;
            assert!(
                exact.upper_mm < 1e-4,
                "round {round}: {exact:?} but they touch"
            );
            assert!(
                fast.lower_mm <= 0.0,
                "round {round}: {fast:?} but they touch"
            );
        }
    }
    assert!(
        apart > 15 && touching > 8,
        "{apart} apart, {touching} in contact"
    );
}

#[test]
fn depth_in_contact_agrees_with_a_dense_sample_of_the_surface() {
    let mut random = Random(99);
    let mut deep = 0;
    for round in 0..rounds(60) {
        let mesh = bumpy_tube(&mut random, 8, 10);
        let solid = random_solid(&mut random, round % 3);
        let room = room(&mesh, &solid);
        let poses = [Rigid::identity(), random_pose(&mut random, 150.0)];
        let exact = room.separations(&poses, Precision::exact()).unwrap()[0];
        let to_solid = poses[1].inverse();
        let mut sampled = f64::INFINITY;
        for index in 0..mesh.triangle_count() {
            let [a, b, c] = mesh.corners(index);
            for i in 0..=24 {
                for j in 0..=(24 - i) {
                    let p = a + (b - a) * (f64::from(i) / 24.0) + (c - a) * (f64::from(j) / 24.0);
                    sampled = sampled.min(solid.signed_distance(&to_solid.point(&p)).value);
                }
            }
        }
        if sampled < -1.0 {
            deep += 1;
            assert!(
                exact.lower_mm <= sampled,
                "round {round}: {exact:?} is not as deep as a sample, {sampled}"
            );
            assert!(
                exact.upper_mm >= sampled - 12.0,
                "round {round}: {exact:?} far from {sampled}"
            );
            assert!(
                exact.upper_mm - exact.lower_mm < 1e-6,
                "round {round}: {exact:?} {solid:?} {poses:?}"
            );
            let fast = room.separations(&poses, Precision::fast()).unwrap()[0];
            assert!((fast.lower_mm - exact.lower_mm).abs() < 0.02);
        }
    }
    assert!(deep > 20);
}

#[test]
fn a_solid_inside_the_body_is_no_clearance() {
    let mut random = Random(3);
    let mesh = bumpy_tube(&mut random, 20, 24);
    for kind in 0..3 {
        let solid = match kind {
            0 => Solid::Cuboid {
                half: V3::new(5.0, 6.0, 7.0),
            },
            1 => Solid::Cylinder {
                radius: 8.0,
                half_length: 4.0,
            },
            _ => Solid::Capsule {
                radius: 3.0,
                half_length: 0.0,
            },
        };
        let room = room(&mesh, &solid);
        let found = room
            .separations(&[Rigid::identity(), Rigid::identity()], Precision::fast())
            .unwrap()[0];
        assert!(found.upper_mm < 0.0, "{found:?}");
    }
}

#[test]
fn every_path_gives_the_same_bits() {
    let mut random = Random(11);
    for round in 0..rounds(40) {
        let mesh = bumpy_tube(&mut random, 16, 20);
        let room = room(&mesh, &random_solid(&mut random, round % 4));
        let poses = [
            random_pose(&mut random, 50.0),
            random_pose(&mut random, 700.0),
        ];
        for exact in [false, true] {
            let answers: Vec<_> = Backend::all_here()
                .map(|backend| {
                    room.separations(&poses, Precision { exact, backend })
                        .unwrap()
                })
                .collect();
            for answer in &answers {
                assert_eq!(answer, &answers[0]);
            }
        }
    }
}

#[test]
fn roles_do_not_matter_between_two_solids() {
    let mut random = Random(21);
    for round in 0..rounds(120) {
        let solids = [
            random_solid(&mut random, round % 4),
            random_solid(&mut random, (round / 4) % 4),
        ];
        let part = |i: usize| PartSpec {
            name: format!("solid {i}"),
            frame: i,
            placement: Rigid::identity(),
            geometry: Geometry::Solid(solids[i].clone()),
        };
        let poses = [
            random_pose(&mut random, 200.0),
            random_pose(&mut random, 500.0),
        ];
        let mut answers = vec![];
        for pair in [Pair { a: 0, b: 1 }, Pair { a: 1, b: 0 }] {
            let room = Room::new(2, vec![part(0), part(1)], vec![pair]).unwrap();
            answers.push(room.separations(&poses, Precision::exact()).unwrap()[0]);
        }
        let both_round = solids.iter().all(|s| matches!(s, Solid::Cylinder { .. }));
        let tolerance = if both_round { 2e-3 } else { 1e-6 };
        let off = (answers[0].upper_mm - answers[1].upper_mm).abs();
        assert!(
            off < tolerance || answers[0].upper_mm < 0.0,
            "round {round}: {answers:?}"
        );
        // The support-mapping duality gives an independent check: no plane separates them by more than the distance.
        if answers[0].lower_mm > 0.0 {
            let (x, y) = (V3::from(answers[0].on_a), V3::from(answers[0].on_b));
            let n = (y - x).normalize();
            let far_a = poses[0].point(&solids[0].support(&poses[0].rotation.tr_mul(&n)));
            let far_b = poses[1].point(&solids[1].support(&poses[1].rotation.tr_mul(&-n)));
            let separated = n.dot(&(far_b - far_a));
            assert!(
                (separated - answers[0].upper_mm).abs() < 2e-3,
                "round {round}: {separated} against {:?}",
                answers[0]
            );
        }
    }
}
