//! Phantoms that lie on the couch instead of a patient, and markers implanted in one.
//!
//! Positions are DICOM patient millimetres (x left, y posterior, z superior) about the phantom's centre, which is its isocentre.

use crate::pose::Vector;
use crate::random::Stream;
use crate::xray::solids::{ACRYLIC, AIR, ALUMINIUM, GOLD, STEEL, Shape, Solid, WATER};
use crate::xray::volume::Volume;

/// Half an edge of the cube.
pub const CUBE_HALF_MM: f64 = 60.0;
/// Radius of the tube that carries the balls.
pub const TUBE_RADIUS_MM: f64 = 70.0;
const TUBE_INNER_MM: f64 = 64.0;
const TUBE_HALF_LENGTH_MM: f64 = 100.0;
const BALLS: usize = 16;
/// Balls that are larger than the others, so that a ball can be named: no turn of the helix maps these three onto each other.
const LARGE_BALLS: [usize; 3] = [0, 5, 11];
/// Gold seeds as they are implanted: 1.2 mm x 3 mm.
const SEED_RADIUS_MM: f64 = 0.6;
const SEED_HALF_LENGTH_MM: f64 = 1.5;
/// Seeds are no nearer to each other than this, as a surgeon would place them.
const SEED_APART_MM: f64 = 10.0;
/// A seed sits in tissue, a lung's included, and not in air.
const TISSUE_HU: i16 = -950;
const TRIES: usize = 20_000;
/// Most markers.
pub const MARKERS_MAX: usize = 8;

fn ball(centre: Vector, radius: f64) -> Solid {
    Solid {
        shape: Shape::Ball { radius },
        centre,
        material: STEEL,
        displaces: ACRYLIC,
    }
}

/// An acrylic cube of 120 mm with a steel ball of 6 mm in its centre, and four bodies off centre by which its turn shows: three air
/// bubbles of 14 mm and one aluminium ball of 10 mm. No turn of the cube maps them onto each other.
pub fn cube() -> Vec<Solid> {
    let bubble = |centre, radius, material| Solid {
        shape: Shape::Ball { radius },
        centre,
        material,
        displaces: ACRYLIC,
    };
    vec![
        Solid {
            shape: Shape::Block {
                half: [CUBE_HALF_MM; 3],
            },
            centre: [0.0; 3],
            material: ACRYLIC,
            displaces: AIR,
        },
        ball([0.0; 3], 3.0),
        bubble([30.0, -25.0, 20.0], 7.0, AIR),
        bubble([-35.0, 20.0, 28.0], 7.0, AIR),
        bubble([-22.0, -30.0, -33.0], 7.0, AIR),
        bubble([28.0, 33.0, -24.0], 5.0, ALUMINIUM),
    ]
}

/// Centres of the balls of [`balls`]: a helix of 16 about z, 50.625 degrees and 10 mm apart, from z = -75 mm on a radius of 67 mm.
pub fn ball_centres() -> Vec<Vector> {
    (0..BALLS)
        .map(|k| {
            let (s, c) = libm::sincos((50.625 * k as f64).to_radians());
            [67.0 * c, 67.0 * s, -75.0 + 10.0 * k as f64]
        })
        .collect()
}

/// The calibration phantom: an acrylic tube of 140 mm x 200 mm with a wall of 6 mm, and in the wall a helix of steel balls of 4 mm (the first,
/// the sixth and the twelfth 6 mm).
pub fn balls() -> Vec<Solid> {
    let tube = |radius, material, displaces| Solid {
        shape: Shape::Cylinder {
            axis: [0.0, 0.0, 1.0],
            half_length: TUBE_HALF_LENGTH_MM,
            radius,
        },
        centre: [0.0; 3],
        material,
        displaces,
    };
    let mut solids = vec![
        tube(TUBE_RADIUS_MM, ACRYLIC, AIR),
        tube(TUBE_INNER_MM, AIR, ACRYLIC),
    ];
    solids.extend(
        ball_centres()
            .into_iter()
            .enumerate()
            .map(|(k, centre)| ball(centre, if LARGE_BALLS.contains(&k) { 3.0 } else { 2.0 })),
    );
    solids
}

/// Gold seeds within `spread_mm` of a point, in tissue, at least 10 mm apart, each in a direction of its own. A sentence if they do not fit.
pub fn markers(
    count: usize,
    about: &Vector,
    spread_mm: f64,
    patient: Option<&Volume>,
    seed: u64,
) -> Result<Vec<Solid>, String> {
    if count > MARKERS_MAX {
        return Err(format!("{count} markers are more than {MARKERS_MAX}"));
    }
    let mut stream = Stream::new(seed, "patient.markers");
    let mut placed: Vec<Solid> = Vec::new();
    for _ in 0..TRIES {
        if placed.len() == count {
            return Ok(placed);
        }
        let (direction, part) = (stream.direction(), libm::cbrt(stream.uniform()));
        let axis = stream.direction();
        let [x, y, z] = direction.map(|component| component * part * spread_mm);
        let [ax, ay, az] = *about;
        let centre = [ax + x, ay + y, az + z];
        let apart = placed.iter().all(|other| {
            let square: f64 = other
                .centre
                .iter()
                .zip(&centre)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            square >= SEED_APART_MM * SEED_APART_MM
        });
        let in_tissue = patient.is_none_or(|volume| volume.hu_at(&centre) > TISSUE_HU);
        if apart && in_tissue {
            placed.push(Solid {
                shape: Shape::Cylinder {
                    axis,
                    half_length: SEED_HALF_LENGTH_MM,
                    radius: SEED_RADIUS_MM,
                },
                centre,
                material: GOLD,
                displaces: WATER,
            });
        }
    }
    Err(format!(
        "{count} markers do not fit into tissue within {spread_mm} mm of the isocentre, {SEED_APART_MM} mm apart"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ball_of_the_tube_lies_in_its_wall_and_apart_from_the_others() {
        let centres = ball_centres();
        for (k, a) in centres.iter().enumerate() {
            let radius = a[0].hypot(a[1]);
            assert!(radius + 3.0 <= TUBE_RADIUS_MM + 1e-9 && radius - 3.0 >= TUBE_INNER_MM - 1e-9);
            assert!(a[2].abs() + 3.0 < TUBE_HALF_LENGTH_MM);
            for b in &centres[..k] {
                let apart: f64 = (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt();
                assert!(apart > 20.0, "{apart}");
            }
        }
    }

    #[test]
    fn markers_are_those_of_their_seed_within_the_spread_and_apart() {
        let of = |seed| markers(4, &[10.0, 20.0, 30.0], 15.0, None, seed).unwrap();
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        for seed in 0..200 {
            for marker in of(seed) {
                let [x, y, z] = marker.centre;
                let far = ((x - 10.0).powi(2) + (y - 20.0).powi(2) + (z - 30.0).powi(2)).sqrt();
                assert!(far <= 15.0);
            }
        }
    }

    #[test]
    fn markers_that_do_not_fit_are_refused() {
        assert!(
            markers(8, &[0.0; 3], 3.0, None, 1)
                .unwrap_err()
                .contains("do not fit")
        );
        assert!(
            markers(9, &[0.0; 3], 40.0, None, 1)
                .unwrap_err()
                .contains("more than 8")
        );
        let air = Volume::new(vec![-990; 8], [2, 2, 2], [50.0; 3], [0.0; 3]).unwrap();
        assert!(markers(1, &[25.0; 3], 15.0, Some(&air), 1).is_err());
    }
}
