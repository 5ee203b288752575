//! What the picture promises: every pixel is the first place where its ray meets a part, and nothing stands before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use igrt_motion::clearance::{
    Camera, ClearanceError, Geometry, Hull, Mesh, Pair, PartSpec, Rigid, Room, Solid, V3,
};

const SIZE: (usize, usize) = (48, 36);

fn solids() -> Vec<(Solid, Rigid)> {
    let corners: Vec<V3> = [(0.0, 0.0), (140.0, 10.0), (60.0, 150.0)]
        .iter()
        .flat_map(|&(x, y)| [V3::new(x, y, -70.0), V3::new(x - 9.0, y, 80.0)])
        .collect();
    let turned = |x: f64, y: f64, z: f64, angle: f64| Rigid {
        translation: V3::new(x, y, z),
        ..Rigid::turn(&V3::new(0.6, 0.0, 0.8), angle)
    };
    let half = V3::new(120.0, 40.0, 75.0);
    vec![
        (Solid::Cuboid { half }, turned(-300.0, 50.0, 30.0, 0.7)),
        (
            Solid::Cylinder {
                radius: 90.0,
                half_length: 160.0,
            },
            turned(40.0, 0.0, 120.0, 1.1),
        ),
        (
            Solid::Capsule {
                radius: 60.0,
                half_length: 110.0,
            },
            turned(330.0, -90.0, -80.0, -0.4),
        ),
        (
            Solid::Hull(Hull::of_points(&corners, "wedge").unwrap()),
            turned(0.0, 60.0, -240.0, 0.3),
        ),
    ]
}

fn room(solids: &[(Solid, Rigid)]) -> Room {
    let parts: Vec<PartSpec> = solids
        .iter()
        .enumerate()
        .map(|(index, (solid, placement))| PartSpec {
            name: format!("part {index}"),
            frame: 0,
            placement: *placement,
            geometry: Geometry::Solid(solid.clone()),
        })
        .collect();
    Room::new(1, parts, vec![Pair { a: 0, b: 1 }]).unwrap()
}

fn camera(focus_mm: Option<f64>) -> Camera {
    let towards = V3::new(0.3, 1.0, -0.2).normalize();
    let right = towards.cross(&V3::z()).normalize();
    Camera {
        eye: towards * -1500.0,
        right,
        up: right.cross(&towards),
        towards,
        pixel_mm: 22.0,
        focus_mm,
    }
}

fn ray(camera: &Camera, column: usize, row: usize) -> (V3, V3) {
    let right = column as f64 + 0.5 - 0.5 * SIZE.0 as f64;
    let up = 0.5 * SIZE.1 as f64 - row as f64 - 0.5;
    let aside = (camera.right * right + camera.up * up) * camera.pixel_mm;
    match camera.focus_mm {
        None => (camera.eye + aside, camera.towards),
        Some(focus) => (camera.eye, (camera.towards * focus + aside).normalize()),
    }
}

/// The first place with a distance below a hundredth of a millimetre, by steps of the distance itself.
fn traced(solids: &[(Solid, Rigid)], from: &V3, along: &V3) -> Option<(f64, usize)> {
    let mut at = 0.0;
    for _ in 0..4000 {
        let p = from + along * at;
        let (number, gap) = solids
            .iter()
            .map(|(solid, pose)| solid.signed_distance(&pose.inverse().point(&p)).value)
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        if gap < 0.01 {
            return Some((at, number));
        }
        at += gap;
        if at > 5000.0 {
            return None;
        }
    }
    None
}

#[test]
fn every_pixel_agrees_with_sphere_tracing_of_the_measured_distance() {
    let solids = solids();
    let room = room(&solids);
    for focus in [None, Some(1500.0)] {
        let camera = camera(focus);
        let view = room.view(&[Rigid::identity()], &camera, SIZE, &[]).unwrap();
        let (mut met, mut grazing) = (0, 0);
        for row in 0..SIZE.1 {
            for column in 0..SIZE.0 {
                let (from, along) = ray(&camera, column, row);
                let index = row * SIZE.0 + column;
                match (traced(&solids, &from, &along), view.part[index]) {
                    (None, 0) => {}
                    (Some((at, number)), part) if usize::from(part) == number + 1 => {
                        // Sphere tracing stops a hundredth before the surface, further along a grazing ray.
                        let depth = f64::from(view.depth_mm[index]);
                        assert!(depth >= at - 0.01, "{depth} {at}");
                        assert!(depth - at < 3.0, "{depth} {at}");
                        met += 1;
                    }
                    _ => grazing += 1,
                }
            }
        }
        assert!(met > 250, "{met} pixels show a part");
        assert!(grazing <= 2, "{grazing} pixels disagree");
    }
}

fn ball(radius: f64) -> Mesh {
    let (rings, spokes) = (24, 48);
    let mut vertices = vec![[0.0, 0.0, radius], [0.0, 0.0, -radius]];
    for ring in 1..rings {
        let polar = std::f64::consts::PI * f64::from(ring) / f64::from(rings);
        for spoke in 0..spokes {
            let turn = std::f64::consts::TAU * f64::from(spoke) / f64::from(spokes);
            let across = radius * polar.sin();
            vertices.push([
                across * turn.cos(),
                across * turn.sin(),
                radius * polar.cos(),
            ]);
        }
    }
    let at = |ring: i32, spoke: i32| (2 + (ring - 1) * spokes + spoke.rem_euclid(spokes)) as u32;
    let mut triangles = Vec::new();
    for spoke in 0..spokes {
        triangles.push([0, at(1, spoke), at(1, spoke + 1)]);
        triangles.push([1, at(rings - 1, spoke + 1), at(rings - 1, spoke)]);
        for ring in 1..rings - 1 {
            let (a, b) = (at(ring, spoke), at(ring, spoke + 1));
            let (c, d) = (at(ring + 1, spoke + 1), at(ring + 1, spoke));
            triangles.extend([[a, d, c], [a, c, b]]);
        }
    }
    Mesh::new("ball", &vertices, &triangles).unwrap()
}

#[test]
fn a_surface_is_seen_where_it_is_and_has_no_holes() {
    let parts = vec![
        PartSpec {
            name: "ball".to_owned(),
            frame: 0,
            placement: Rigid::slide(V3::new(20.0, -40.0, 10.0)),
            geometry: Geometry::Surface(ball(200.0)),
        },
        PartSpec {
            name: "far".to_owned(),
            frame: 0,
            placement: Rigid::slide(V3::new(5000.0, 0.0, 0.0)),
            geometry: Geometry::Solid(Solid::Cuboid {
                half: V3::repeat(5.0),
            }),
        },
    ];
    let room = Room::new(1, parts, vec![Pair { a: 0, b: 1 }]).unwrap();
    let camera = camera(None);
    let view = room.view(&[Rigid::identity()], &camera, SIZE, &[]).unwrap();
    let middle = V3::new(20.0, -40.0, 10.0);
    let mut inside = 0;
    for row in 0..SIZE.1 {
        for column in 0..SIZE.0 {
            let (from, along) = ray(&camera, column, row);
            let (index, to) = (row * SIZE.0 + column, middle - from);
            let aside = (to - along * to.dot(&along)).norm();
            if aside < 198.0 {
                assert_eq!(view.part[index], 1);
                let off = (from + along * f64::from(view.depth_mm[index]) - middle).norm();
                assert!((198.5..=200.01).contains(&off), "{off}");
                inside += 1;
            } else if aside > 200.0 {
                assert_eq!(view.part[index], 0);
            }
        }
    }
    assert!(inside > 200);
}

#[test]
fn a_hidden_part_is_not_drawn_and_hides_nothing() {
    let solids = solids();
    let room = room(&solids);
    let all = room
        .view(&[Rigid::identity()], &camera(None), SIZE, &[])
        .unwrap();
    let without = room
        .view(&[Rigid::identity()], &camera(None), SIZE, &[false, true])
        .unwrap();
    assert!(all.part.contains(&2));
    assert!(!without.part.contains(&2));
    assert!(without.part.contains(&1));
}

#[test]
fn a_camera_that_is_none_is_refused_in_words() {
    let room = room(&solids());
    let still = [Rigid::identity()];
    let skewed = Camera {
        up: V3::new(0.0, 0.0, 1.0),
        ..camera(None)
    };
    let endless = Camera {
        pixel_mm: f64::NAN,
        ..camera(None)
    };
    for (camera, size) in [
        (skewed, SIZE),
        (endless, SIZE),
        (camera(None), (0, 4)),
        (camera(None), (4000, 4000)),
    ] {
        let refused = room.view(&still, &camera, size, &[]);
        assert!(
            matches!(refused, Err(ClearanceError::Question(_))),
            "{refused:?}"
        );
    }
    assert!(room.view(&[], &camera(None), SIZE, &[]).is_err());
}
