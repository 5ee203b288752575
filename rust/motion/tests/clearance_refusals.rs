//! What is refused as a mesh, a shape or a pose, and that no numbers whatever make the core panic.

#![allow(clippy::panic, reason = "a mesh that is accepted ends the test")]

mod clearance_scenes;

use clearance_scenes::{Random, bumpy_tube};
use igrt_motion::clearance::{
    Chain, ClearanceError, Drive, Geometry, Grid, Hull, Joint, MapAxis, Mesh, MeshFault, Pair,
    PartSpec, Precision, Rigid, Room, Solid, SweepOptions, V3,
};
use proptest::prelude::*;

/// A cube with outward triangles, `size` mm wide.
fn cube(size: f64) -> (Vec<[f64; 3]>, Vec<[u32; 3]>) {
    let vertices = (0..8u32)
        .map(|k| [0, 1, 2].map(|bit| if k >> bit & 1 == 1 { size } else { 0.0 }))
        .collect();
    let quads = [
        [0, 2, 3, 1],
        [4, 5, 7, 6],
        [0, 1, 5, 4],
        [2, 6, 7, 3],
        [0, 4, 6, 2],
        [1, 3, 7, 5],
    ];
    let triangles = quads
        .iter()
        .flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]])
        .collect();
    (vertices, triangles)
}

fn fault(vertices: &[[f64; 3]], triangles: &[[u32; 3]]) -> MeshFault {
    match Mesh::new("part", vertices, triangles) {
        Err(ClearanceError::Mesh { fault, .. }) => fault,
        other => panic!("accepted or refused otherwise: {other:?}"),
    }
}

#[test]
fn a_good_cube_is_accepted_and_has_its_volume() {
    let (vertices, triangles) = cube(100.0);
    let mesh = Mesh::new("cube", &vertices, &triangles).unwrap();
    assert!((mesh.volume() - 1e6).abs() < 1e-6);
    assert!(mesh.encloses(&V3::repeat(50.0)) && !mesh.encloses(&V3::repeat(150.0)));
}

#[test]
fn triangle_soup_is_welded() {
    let (vertices, triangles) = cube(100.0);
    let soup: Vec<[f64; 3]> = triangles
        .iter()
        .flatten()
        .map(|&v| vertices[v as usize])
        .collect();
    let loose: Vec<[u32; 3]> = (0..12).map(|t| [3 * t, 3 * t + 1, 3 * t + 2]).collect();
    assert_eq!(Mesh::new("soup", &soup, &loose).unwrap().vertex_count(), 8);
}

#[test]
fn an_empty_mesh_is_refused() {
    assert_eq!(fault(&[], &[]), MeshFault::Empty);
}

#[test]
fn a_mesh_with_a_hole_is_refused_with_the_place() {
    let (vertices, triangles) = cube(100.0);
    assert!(matches!(
        fault(&vertices, &triangles[1..]),
        MeshFault::Open { .. }
    ));
}

#[test]
fn an_inside_out_mesh_is_refused() {
    let (vertices, triangles) = cube(100.0);
    let inwards: Vec<_> = triangles.iter().map(|&[a, b, c]| [a, c, b]).collect();
    assert!(matches!(fault(&vertices, &inwards), MeshFault::InsideOut(v) if v < 0.0));
}

#[test]
fn triangles_that_face_both_ways_are_refused() {
    let (vertices, mut triangles) = cube(100.0);
    let [a, b, c] = triangles[0];
    triangles[0] = [a, c, b];
    assert!(matches!(
        fault(&vertices, &triangles),
        MeshFault::NotOrientable { .. }
    ));
}

#[test]
fn metres_for_millimetres_are_refused_and_the_message_says_so() {
    let (vertices, triangles) = cube(1.8);
    let refused = fault(&vertices, &triangles);
    assert!(matches!(refused, MeshFault::TooSmall(_)));
    assert!(refused.to_string().contains("metres"));
    let (vertices, triangles) = cube(6_000.0);
    assert!(matches!(fault(&vertices, &triangles), MeshFault::TooBig(_)));
}

#[test]
fn numbers_that_are_none_are_refused() {
    for bad in [f64::NAN, f64::INFINITY] {
        let (mut vertices, triangles) = cube(100.0);
        vertices[3][1] = bad;
        assert_eq!(fault(&vertices, &triangles), MeshFault::NotFinite(3));
    }
    let (vertices, mut triangles) = cube(100.0);
    triangles[5] = [0, 1, 9];
    assert!(matches!(
        fault(&vertices, &triangles),
        MeshFault::NoSuchVertex {
            triangle: 5,
            vertex: 9,
            count: 8
        }
    ));
    triangles[5] = [0, 1, 1];
    assert_eq!(fault(&vertices, &triangles), MeshFault::Degenerate(5));
}

#[test]
fn a_mesh_that_passes_through_itself_is_refused() {
    let (mut vertices, mut triangles) = cube(100.0);
    let (other, more) = cube(100.0);
    vertices.extend(
        other
            .iter()
            .map(|v| [v[0] + 50.0, v[1] + 31.0, v[2] + 27.0]),
    );
    triangles.extend(more.iter().map(|t| t.map(|v| v + 8)));
    assert!(matches!(
        fault(&vertices, &triangles),
        MeshFault::SelfIntersecting { .. }
    ));
    // Pulled apart they are two solids, which is fine.
    let far: Vec<_> = vertices
        .iter()
        .enumerate()
        .map(|(i, v)| {
            if i < 8 {
                *v
            } else {
                [v[0] + 200.0, v[1], v[2]]
            }
        })
        .collect();
    assert!(Mesh::new("two", &far, &triangles).is_ok());
}

#[test]
fn flat_and_lopsided_hulls_are_refused() {
    let flat: Vec<V3> = (0..6)
        .map(|k| V3::new(f64::from(k), f64::from(k * k), 0.0))
        .collect();
    assert!(Hull::of_points(&flat, "flat").is_err());
    assert!(Hull::of_points(&flat[..3], "three").is_err());
    assert!(Hull::of_points(&[V3::repeat(f64::NAN); 5], "nan").is_err());
}

#[test]
fn a_capsule_of_negative_length_is_refused_however_short_and_a_ball_is_not() {
    let capsule = |half_length| Solid::Capsule {
        radius: 30.0,
        half_length,
    };
    for bad in [-7e-309, -1.0, f64::NAN, f64::INFINITY, 10_001.0] {
        assert!(capsule(bad).check("capsule").is_err(), "{bad}");
    }
    for ball in [0.0, -0.0] {
        assert!(capsule(ball).check("ball").is_ok());
        let inside = capsule(ball).signed_distance(&V3::new(0.0, 0.0, 40.0));
        assert!((inside.value - 10.0).abs() < 1e-12);
    }
}

#[test]
fn one_nan_among_numbers_is_refused() {
    let half = V3::new(0.0, f64::NAN, 0.0);
    assert!(Joint::slide(half, V3::zeros()).is_err());
    assert!(Joint::slide(V3::zeros(), half).is_err());
    assert!(Joint::turn(half, 0.0, 1.0).is_err());
    let mut points = [V3::zeros(), V3::x(), V3::y(), V3::z()].map(|p| p * 100.0);
    assert!(Hull::of_points(&points, "whole").is_ok());
    points[2] = half;
    assert!(Hull::of_points(&points, "holed").is_err());
}

#[test]
fn poses_that_are_no_motion_are_refused() {
    let good = [1.0, 0.0, 0.0, 5.0, 0.0, 1.0, 0.0, 6.0, 0.0, 0.0, 1.0, 7.0];
    assert!(Rigid::from_rows(&good, "couch").is_ok());
    for (at, value) in [(0, 1.001), (0, -1.0), (3, f64::NAN), (7, 1e9)] {
        let mut bad = good;
        bad[at] = value;
        assert!(Rigid::from_rows(&bad, "couch").is_err(), "{at} {value}");
    }
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -1e4..1e4,
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(1e-320),
        Just(-1e-320)
    ]
}

fn any_point() -> impl Strategy<Value = [f64; 3]> {
    [any_number(), any_number(), any_number()]
}

fn any_solid() -> impl Strategy<Value = Solid> {
    prop_oneof![
        any_point().prop_map(|p| Solid::Cuboid { half: V3::from(p) }),
        (any_number(), any_number()).prop_map(|(radius, half_length)| Solid::Cylinder {
            radius,
            half_length
        }),
        (any_number(), any_number()).prop_map(|(radius, half_length)| Solid::Capsule {
            radius,
            half_length
        }),
        prop::collection::vec((-300.0..300.0, -300.0..300.0, -300.0..300.0), 4..9).prop_filter_map(
            "flat",
            |points| {
                let points: Vec<V3> = points
                    .into_iter()
                    .map(|(x, y, z)| V3::new(x, y, z))
                    .collect();
                Hull::of_points(&points, "any").ok().map(Solid::Hull)
            }
        ),
    ]
}

/// PROPTEST_CASES, or what suits every run. The campaign is a million with debug assertions and overflow checks:
/// `PROPTEST_CASES=1000000 cargo test --profile checked -p igrt-motion --test clearance_refusals core_panic`.
fn cases(usual: u32) -> ProptestConfig {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => usual,
    };
    ProptestConfig {
        cases,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_mesh_makes_the_core_panic(
        vertices in prop::collection::vec(any_point(), 0..12),
        triangles in prop::collection::vec([0u32..14, 0u32..14, 0u32..14], 0..24),
    ) {
        let _ = Mesh::new("any", &vertices, &triangles);
    }

    #[test]
    fn no_hull_makes_the_core_panic(points in prop::collection::vec(any_point(), 0..10)) {
        let points: Vec<V3> = points.into_iter().map(V3::from).collect();
        let _ = Hull::of_points(&points, "any");
    }

    #[test]
    fn no_solid_or_pose_makes_the_core_panic_and_bounds_keep_their_order(
        solid in any_solid(),
        rows in [any_number(), any_number(), any_number(), any_number(), any_number(), any_number(),
                 any_number(), any_number(), any_number(), any_number(), any_number(), any_number()],
        shift in any_point(),
        seed in 1u64..1000,
    ) {
        let _ = Rigid::from_rows(&rows, "any");
        let mesh = bumpy_tube(&mut Random(seed), 5, 6);
        let part = |frame, geometry| PartSpec { name: "x".to_owned(), frame, placement: Rigid::identity(), geometry };
        let parts = vec![part(0, Geometry::Surface(mesh)), part(1, Geometry::Solid(solid))];
        let Ok(room) = Room::new(2, parts, vec![Pair { a: 0, b: 1 }]) else { return Ok(()) };
        let [x, y, z] = shift;
        let moved = Rigid::from_rows(&[1.0, 0.0, 0.0, x, 0.0, 1.0, 0.0, y, 0.0, 0.0, 1.0, z], "any");
        let Ok(moved) = moved else { return Ok(()) };
        let found = room.separations(&[Rigid::identity(), moved], Precision::fast()).unwrap();
        prop_assert!(found[0].lower_mm <= found[0].upper_mm);
        prop_assert!(found[0].lower_mm.is_finite());
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn no_motion_makes_the_core_panic_and_bounds_stay_finite(
        solid in any_solid(),
        joints in prop::collection::vec((any_point(), any_point(), any_number(), any_number(), 0..3u8), 0..4),
        stations in 0usize..5,
        tolerance_mm in any_number(),
        (rows, columns) in (0usize..5, 0usize..5),
        margin_mm in any_number(),
        seed in 1u64..1000,
    ) {
        let part = |frame, geometry| PartSpec { name: "x".to_owned(), frame, placement: Rigid::identity(), geometry };
        let mesh = || Geometry::Surface(bumpy_tube(&mut Random(seed), 4, 5));
        let target = if seed % 3 == 0 { mesh() } else { Geometry::Solid(solid) };
        let Ok(room) = Room::new(2, vec![part(0, mesh()), part(1, target)], vec![Pair { a: 0, b: 1 }]) else { return Ok(()) };
        let joints: Vec<Joint> = joints
            .into_iter()
            .filter_map(|(p, q, from, to, kind)| match kind {
                0 => Joint::turn(V3::from(p), from, to).ok(),
                1 => Joint::slide(V3::from(p), V3::from(q)).ok(),
                _ => Some(Joint::Fixed(Rigid::turn(&V3::z(), 0.3))),
            })
            .collect();
        let chains = [Chain::default(), Chain { joints: joints.clone() }];
        // A fine tolerance over a hundred metres takes as long as it takes; what is no tolerance is asked for as it is.
        let usable = (0.05..500.0).contains(&tolerance_mm);
        let options = SweepOptions {
            stations,
            tolerance_mm: if usable { 500.0 } else { tolerance_mm },
            precision: Precision::fast(),
        };
        if let Ok(sweep) = room.sweep(&chains, &options) {
            prop_assert!(sweep.lower_mm.is_finite() && sweep.lower_mm >= 0.0);
        }
        let axes = [MapAxis::Row, MapAxis::Column].into_iter().cycle();
        let drives = vec![Drive::Row(Chain::default()), Drive::Both(axes.zip(joints).collect())];
        let grid = Grid { rows, columns };
        for cell in room.map(&drives, grid, Precision::fast()).unwrap_or_default() {
            prop_assert!(cell.lower_mm.is_finite());
        }
        for floor in room.floor_map(&drives, grid, Precision::fast()).unwrap_or_default() {
            prop_assert!(floor.lower_mm.is_finite());
        }
        let _ = room.certified_map(&drives, grid, margin_mm, Precision::fast());
        let _ = room.contact_map(&drives, grid, margin_mm, Precision::fast());
        let _ = room.pairs_map(&drives, grid, Precision::fast());
    }
}
