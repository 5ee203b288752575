//! Two surfaces, neither convex: distance against an independent brute force, depth within its bounds, containment.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken scene ends the test"
)]

mod clearance_scenes;

use clearance_scenes::{Random, bumpy_tube, random_pose, rounds, tube};
use igrt_motion::clearance::{
    Backend, FAST_SLACK_MM, Geometry, Mesh, Pair, PartSpec, Precision, Rigid, Room, V3,
};

fn room(one: &Mesh, other: &Mesh) -> Room {
    let part = |name: &str, frame, mesh: &Mesh| PartSpec {
        name: name.to_owned(),
        frame,
        placement: Rigid::identity(),
        geometry: Geometry::Surface(mesh.clone()),
    };
    Room::new(
        2,
        vec![part("one", 0, one), part("other", 1, other)],
        vec![Pair { a: 0, b: 1 }],
    )
    .unwrap()
}

/// Distance of a point from a triangle, written anew: the foot on its plane if that lies inside, otherwise an edge.
fn from_triangle(p: &V3, [a, b, c]: &[V3; 3]) -> f64 {
    let n = (b - a).cross(&(c - a)).normalize();
    let height = n.dot(&(p - a));
    let foot = p - n * height;
    let inside = |x: &V3, y: &V3| (y - x).cross(&(foot - x)).dot(&n) >= 0.0;
    if inside(a, b) && inside(b, c) && inside(c, a) {
        return height.abs();
    }
    let along = |x: &V3, y: &V3| {
        let e = y - x;
        let t = (e.dot(&(p - x)) / e.norm_squared()).clamp(0.0, 1.0);
        (x + e * t - p).norm()
    };
    along(a, b).min(along(b, c)).min(along(c, a))
}

fn ternary(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..60 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if f(a) <= f(b) { high = b } else { low = a }
    }
    f(0.5 * (low + high)).min(f(low)).min(f(high))
}

/// The distance from a triangle is convex, so nested ternary searches over another triangle find its least value.
fn between(one: &[V3; 3], other: &[V3; 3]) -> f64 {
    let [a, b, c] = one;
    ternary(0.0, 1.0, |u| {
        ternary(0.0, 1.0 - u, |v| {
            from_triangle(&(a + (b - a) * u + (c - a) * v), other)
        })
    })
}

fn oracle(one: &Mesh, other: &Mesh, other_from_one: &Rigid) -> f64 {
    let ball = |t: &[V3; 3]| {
        let middle = (t[0] + t[1] + t[2]) / 3.0;
        let reach = t.iter().map(|p| (p - middle).norm()).fold(0.0, f64::max);
        (middle, reach)
    };
    let moved: Vec<_> = (0..one.triangle_count())
        .map(|i| one.corners(i).map(|p| other_from_one.point(&p)))
        .collect();
    let mut pairs = vec![];
    for (i, t) in moved.iter().enumerate() {
        let (middle, reach) = ball(t);
        for j in 0..other.triangle_count() {
            let (against, far) = ball(&other.corners(j));
            pairs.push(((middle - against).norm() - reach - far, i, j));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut best = f64::INFINITY;
    for (bound, i, j) in pairs {
        if bound >= best {
            break;
        }
        // The corners first: most pairs need no more.
        let (t, u) = (&moved[i], other.corners(j));
        best = t.iter().map(|p| from_triangle(p, &u)).fold(best, f64::min);
        best = u.iter().map(|p| from_triangle(p, t)).fold(best, f64::min);
        best = best.min(between(t, &u));
    }
    best
}

#[test]
fn distances_of_two_surfaces_agree_with_brute_force() {
    let mut random = Random(0xFACE);
    let (mut apart, mut touching) = (0, 0);
    for round in 0..rounds(12) {
        let one = bumpy_tube(&mut random, 7, 9);
        let other = tube(&mut random, 6, 8, V3::new(90.0, 160.0, 120.0));
        let room = room(&one, &other);
        let reach = if round % 3 == 0 { 200.0 } else { 500.0 };
        let poses = [
            random_pose(&mut random, 50.0),
            random_pose(&mut random, reach),
        ];
        let truth = oracle(&one, &other, &poses[1].inverse().then(&poses[0]));
        let exact = room.separations(&poses, Precision::exact()).unwrap()[0];
        let fast = room.separations(&poses, Precision::fast()).unwrap()[0];
        if exact.upper_mm > 0.0 {
            apart += 1;
            assert!(
                (exact.upper_mm - truth).abs() < 1e-6,
                "round {round}: {exact:?} against {truth}"
            );
            assert!(exact.lower_mm <= truth + 1e-6 && exact.lower_mm > truth - 2e-6);
            assert!(
                fast.lower_mm <= truth + 1e-6 && fast.lower_mm >= truth - 0.02,
                "round {round}: {fast:?} for {truth}"
            );
            assert!(fast.upper_mm - fast.lower_mm <= FAST_SLACK_MM + 1e-9);
            let gap = (V3::from(exact.on_a) - V3::from(exact.on_b)).norm();
            assert!((gap - exact.upper_mm).abs() < 1e-6);
        } else {
            touching += 1;
            assert!(fast.lower_mm <= 0.0 && fast.upper_mm <= 0.0, "{fast:?}");
            // Either the surfaces cross or one lies inside the other.
            let inside = other
                .encloses(&poses[1].inverse().then(&poses[0]).point(&one.corners(0)[0]))
                || one.encloses(
                    &poses[0]
                        .inverse()
                        .then(&poses[1])
                        .point(&other.corners(0)[0]),
                );
            assert!(truth < 1e-5 || inside, "round {round}: {truth} apart");
        }
    }
    assert!(apart > 4 && touching > 2, "{apart} apart, {touching} not");
}

#[test]
fn the_depth_of_two_surfaces_lies_within_its_bounds() {
    let mut random = Random(0xD00D);
    for round in 0..rounds(8) {
        let one = bumpy_tube(&mut random, 12, 14);
        let other = tube(&mut random, 8, 10, V3::new(90.0, 160.0, 120.0));
        let room = room(&one, &other);
        let poses = [Rigid::identity(), random_pose(&mut random, 120.0)];
        let found = room.separations(&poses, Precision::fast()).unwrap()[0];
        // How deep the corners of each lie in the other, by all triangles.
        let depth = |of: &Mesh, inside: &Mesh, to: &Rigid| {
            let mut deepest = 0f64;
            for index in 0..of.triangle_count() {
                for p in of.corners(index).map(|p| to.point(&p)) {
                    if inside.encloses(&p) {
                        let all = (0..inside.triangle_count())
                            .map(|i| from_triangle(&p, &inside.corners(i)));
                        deepest = deepest.max(all.fold(f64::INFINITY, f64::min));
                    }
                }
            }
            deepest
        };
        let to_other = poses[1].inverse();
        let deepest = depth(&one, &other, &to_other).max(depth(&other, &one, &poses[1]));
        assert!(deepest > 1.0, "round {round}: the scene must be in contact");
        assert!(
            found.lower_mm <= -deepest + 0.02 && found.upper_mm <= 0.0,
            "round {round}: {found:?} for a depth of {deepest}"
        );
        assert!(
            found.upper_mm <= -0.5 * deepest,
            "round {round}: {found:?} for a depth of {deepest}"
        );
    }
}

#[test]
fn a_surface_inside_another_is_contact_whichever_piece_it_is() {
    let mut random = Random(5);
    let outer = bumpy_tube(&mut random, 20, 24);
    // Two separate balls in one mesh: the second one lies inside.
    let small = tube(&mut random, 5, 6, V3::new(12.0, 12.0, 12.0));
    let (mut vertices, mut triangles) = (vec![], vec![]);
    for (index, far) in [(0u32, 900.0), (1, 0.0)] {
        let _ = index;
        for t in 0..small.triangle_count() {
            let at = vertices.len() as u32;
            for p in small.corners(t) {
                vertices.push([p.x + far, p.y, p.z]);
            }
            triangles.push([at, at + 1, at + 2]);
        }
    }
    let two = Mesh::new("two", &vertices, &triangles).unwrap();
    for (a, b) in [(&outer, &two), (&two, &outer)] {
        let room = room(a, b);
        let still = [Rigid::identity(); 2];
        let found = room.separations(&still, Precision::fast()).unwrap()[0];
        assert!(found.upper_mm < -5.0, "{found:?}");
        let moved = [Rigid::identity(), Rigid::slide(V3::new(0.0, 2000.0, 0.0))];
        let found = room.separations(&moved, Precision::fast()).unwrap()[0];
        assert!(found.lower_mm > 100.0, "{found:?}");
    }
}

#[test]
fn every_path_gives_the_same_bits_for_two_surfaces() {
    let mut random = Random(12);
    for _ in 0..10 {
        let one = bumpy_tube(&mut random, 14, 16);
        let other = tube(&mut random, 9, 11, V3::new(90.0, 160.0, 120.0));
        let room = room(&one, &other);
        let poses = [
            random_pose(&mut random, 50.0),
            random_pose(&mut random, 500.0),
        ];
        for exact in [false, true] {
            let ask = |backend| {
                let precision = Precision { exact, backend };
                room.separations(&poses, precision).unwrap()
            };
            let portable = ask(Backend::Portable);
            assert!(Backend::all_here().all(|backend| ask(backend) == portable));
        }
    }
}
