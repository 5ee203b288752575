//! The projectors against each other and against closed forms, through the public face of the crate.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use igrt_imaging::{Isa, PanelGeometry, Projection, Volume, project_exact, project_fast_with};
use nalgebra::{Isometry3, Matrix4, Vector3};
use proptest::prelude::*;

const SIZE: [usize; 3] = [61, 53, 37];

/// Columns to the right, rows downwards, slices towards the head, centred on the patient origin.
fn affine(spacing: [f64; 3]) -> Matrix4<f64> {
    let [dx, dy, dz] = spacing;
    let half: Vec<f64> = SIZE
        .iter()
        .zip(spacing)
        .map(|(n, s)| (*n as f64 - 1.0) / 2.0 * s)
        .collect();
    Matrix4::new(
        dx, 0.0, 0.0, -half[0], //
        0.0, 0.0, dz, -half[2], //
        0.0, -dy, 0.0, half[1], //
        0.0, 0.0, 0.0, 1.0,
    )
}

/// A smooth body with an off-centre insert.
fn body() -> Volume {
    let mut mu = Vec::new();
    for z in 0..SIZE[2] {
        for y in 0..SIZE[1] {
            for x in 0..SIZE[0] {
                let (x, y, z) = (x as f32, y as f32, z as f32);
                let r = ((x - 30.0) / 24.0).powi(2)
                    + ((y - 27.0) / 20.0).powi(2)
                    + ((z - 18.0) / 15.0).powi(2);
                let insert = (x - 40.0).powi(2) + (y - 20.0).powi(2) + (z - 22.0).powi(2);
                let tissue = if r < 1.0 {
                    0.02 * (1.0 - r).sqrt()
                } else {
                    0.0
                };
                mu.push(
                    tissue + 0.03 * (-insert / 20.0).exp() * f32::from(u8::from(insert < 120.0)),
                );
            }
        }
    }
    Volume::from_attenuation(mu, SIZE, affine([2.0, 2.0, 3.0])).unwrap()
}

fn panel(angle: f64) -> Projection {
    PanelGeometry {
        source_angle_deg: angle,
        sad_mm: 1000.0,
        sid_mm: 1500.0,
        panel_lateral_mm: 0.0,
        panel_longitudinal_mm: 0.0,
        panel_rotation_deg: 0.0,
        panel_pitch_deg: 0.0,
        panel_roll_deg: 0.0,
        source_lateral_mm: 0.0,
        source_longitudinal_mm: 0.0,
        rows: 70,
        cols: 90,
        pixel_pitch_mm: 3.0,
    }
    .projection()
    .unwrap()
}

fn rms(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn every_instruction_set_draws_the_same_picture() {
    let volume = body();
    let pose = Isometry3::new(
        Vector3::new(4.0, -7.0, 2.0),
        Vector3::new(0.03, -0.05, 0.04),
    );
    for angle in [0.0, 33.0, 90.0, -145.0] {
        let reference = project_fast_with(&volume, &panel(angle), &pose, Isa::Scalar).unwrap();
        let largest = reference.iter().copied().fold(0.0, f32::max);
        assert!(largest > 1.0);
        for isa in Isa::available() {
            let image = project_fast_with(&volume, &panel(angle), &pose, isa).unwrap();
            let worst = reference
                .iter()
                .zip(&image)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst < 1e-4 * largest, "{isa:?} at {angle}: {worst}");
        }
    }
}

#[test]
fn a_uniform_box_is_measured_exactly() {
    let mu = vec![0.02f32; SIZE.iter().product()];
    let volume = Volume::from_attenuation(mu, SIZE, affine([2.0, 2.0, 3.0])).unwrap();
    let projection = panel(0.0);
    let image = project_exact(&volume, &projection, &Isometry3::identity()).unwrap();
    for row in [10usize, 35, 60] {
        for col in [20usize, 45, 70] {
            // The box is 122 x 111 x 106 mm (left, head, front); the path by slabs of the fixed frame.
            let d = projection.ray(col as f64, row as f64);
            let (mut enter, mut leave) = (0.0f64, 1.0f64);
            for (axis, half) in [(0, 61.0), (1, 55.5), (2, 53.0)] {
                let s = projection.source[axis];
                let (a, b) = ((-half - s) / d[axis], (half - s) / d[axis]);
                enter = enter.max(a.min(b));
                leave = leave.min(a.max(b));
            }
            let expected = 0.02 * (leave - enter).max(0.0) * d.norm();
            let found = f64::from(image[row * 90 + col]);
            assert!(
                (found - expected).abs() < 1e-5,
                "row {row} col {col}: {found} for {expected}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fast_follows_exact_from_every_side(
        angle in -180.0..180.0f64,
        shift in prop::array::uniform3(-30.0..30.0f64),
        turn in prop::array::uniform3(-0.3..0.3f64),
    ) {
        let volume = body();
        let pose = Isometry3::new(Vector3::from(shift), Vector3::from(turn));
        let exact = project_exact(&volume, &panel(angle), &pose).unwrap();
        let fast = project_fast_with(&volume, &panel(angle), &pose, Isa::best()).unwrap();
        let largest = exact.iter().copied().fold(0.0, f32::max);
        prop_assert!(rms(&exact, &fast) < 0.01 * largest, "rms {} of {largest}", rms(&exact, &fast));
    }

    #[test]
    fn moving_patient_and_room_together_changes_nothing(
        angle in -180.0..180.0f64,
        more in -90.0..90.0f64,
    ) {
        let volume = body();
        let turn = Isometry3::rotation(Vector3::new(0.0, more.to_radians(), 0.0));
        let a = project_exact(&volume, &panel(angle), &Isometry3::identity()).unwrap();
        let b = project_exact(&volume, &panel(angle + more), &turn).unwrap();
        prop_assert!(rms(&a, &b) < 1e-4);
    }
}
