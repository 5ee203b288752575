//! From Hounsfield units to linear attenuation, by a curve that is stated and can be replaced.

use crate::error::{ImagingError, Result};

/// Linear attenuation of water at 60 keV, per mm: 0.2059 cm2/g at 1 g/cm3 (NIST XCOM). 60 keV is close to the mean of a
/// filtered 100 kV beam.
pub const MU_WATER_PER_MM: f64 = 0.02059;

/// A piecewise linear, non-decreasing curve from HU to attenuation per mm.
///
/// Below its first point the curve holds the first value; above its last point it goes on with the last slope, so that
/// metal is not made into bone.
#[derive(Debug, Clone, PartialEq)]
pub struct AttenuationCurve {
    points: Vec<(f64, f64)>,
}

impl Default for AttenuationCurve {
    /// Air at -1000 HU, water at 0 HU, and the same slope above: `mu = mu_water (1 + HU / 1000)`.
    fn default() -> Self {
        Self {
            points: vec![
                (-1000.0, 0.0),
                (0.0, MU_WATER_PER_MM),
                (3000.0, 4.0 * MU_WATER_PER_MM),
            ],
        }
    }
}

impl AttenuationCurve {
    /// A curve through `(HU, attenuation per mm)` points.
    ///
    /// # Errors
    /// `Curve` when there are fewer than two points, HU does not increase, or attenuation decreases or is negative.
    pub fn new(points: &[(f64, f64)]) -> Result<Self> {
        if points.len() < 2 {
            return Err(ImagingError::Curve(format!(
                "needs two points or more, has {}",
                points.len()
            )));
        }
        if points
            .iter()
            .any(|(hu, mu)| !hu.is_finite() || !mu.is_finite() || *mu < 0.0)
        {
            return Err(ImagingError::Curve(
                "points must be finite, and attenuation zero or more".into(),
            ));
        }
        for (a, b) in points.iter().zip(points.iter().skip(1)) {
            if b.0 <= a.0 || b.1 < a.1 {
                return Err(ImagingError::Curve(format!(
                    "HU must increase and attenuation must not decrease: ({}, {}) then ({}, {})",
                    a.0, a.1, b.0, b.1
                )));
            }
        }
        Ok(Self {
            points: points.to_vec(),
        })
    }

    /// Attenuation per mm at one HU value.
    #[must_use]
    pub fn at(&self, hu: f64) -> f64 {
        let mut segment = None;
        for pair in self.points.iter().zip(self.points.iter().skip(1)) {
            segment = Some(pair);
            if hu <= pair.1.0 {
                break;
            }
        }
        let Some((a, b)) = segment else { return 0.0 };
        if hu <= a.0 {
            a.1
        } else {
            a.1 + (b.1 - a.1) * (hu - a.0) / (b.0 - a.0)
        }
    }

    /// Attenuation of every voxel. HU are rounded to a table of whole HU first: a CT has no finer steps.
    pub(crate) fn table(&self, hu_min: i32, hu_max: i32) -> Vec<f32> {
        (hu_min..=hu_max)
            .map(|hu| self.at(f64::from(hu)) as f32)
            .collect()
    }
}
