//! The bend of source arm and panel arm under their weight, by gantry angle.
//!
//! Weight pulls a turned arm sideways with the sine and inwards or outwards with the cosine of its angle; a slower second harmonic stands for the
//! bearing. Millimetres and degrees in the gantry frame (docs/conventions.md). Order of magnitude: a compensated ring keeps 0 to 0.22 mm
//! between its axes, open arms bend by some tenths of a millimetre to a millimetre.

use crate::pose::{Pose, Vector};
use crate::random::Stream;

/// How far the arms are bent at one angle, in the gantry frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bend {
    /// Displacement of the source.
    pub source_mm: Vector,
    /// Displacement of the panel's centre.
    pub panel_mm: Vector,
    /// Turn of the panel about its own X, Y and Z axes.
    pub panel_deg: Vector,
}

/// The arms of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Flex {
    strength: f64,
    /// No two machines are alike: each amplitude is within 20 % of the drawing's.
    parts: [f64; 8],
    bearing_deg: f64,
}

impl Flex {
    /// The arms of the machine of a seed; `strength` 0 for rigid arms.
    pub fn new(seed: u64, strength: f64) -> Self {
        let mut stream = Stream::new(seed, "imager.flex");
        let mut part = || 0.8 + 0.4 * stream.uniform();
        let parts = [
            part(),
            part(),
            part(),
            part(),
            part(),
            part(),
            part(),
            part(),
        ];
        Self {
            strength,
            parts,
            bearing_deg: 360.0 * stream.uniform(),
        }
    }

    /// The bend with the source at an angle.
    pub fn at(&self, source_deg: f64) -> Bend {
        let (s, c) = libm::sincos(source_deg.to_radians());
        let second = libm::sin((2.0 * source_deg + self.bearing_deg).to_radians());
        let [a, b, d, e, f, g, h, k] = self.parts.map(|part| part * self.strength);
        Bend {
            source_mm: [-0.15 * a * s, 0.12 * b * c, -0.10 * d * c],
            panel_mm: [
                0.45 * e * s + 0.05 * self.strength * second,
                0.35 * f * c,
                -0.50 * g * c,
            ],
            panel_deg: [0.05 * h * c, 0.06 * k * s, 0.04 * a * s],
        }
    }
}

impl Bend {
    /// `panel from its nominal place` as a pose in the gantry frame, about the panel's centre.
    pub fn turn(&self) -> Pose {
        let [x, y, z] = self.panel_deg;
        Pose::rx(x).then(&Pose::ry(y)).then(&Pose::rz(z))
    }
}
