//! Convex solids: signed distance with gradient, support points, sizes.
//!
//! The signed distance f of a convex solid is a convex function of slope one. So at any point c
//! f(p) >= f(c) + g(c) . (p - c) for every p: one evaluation bounds f over a whole box. Everything here rests on that.

use super::error::ClearanceError;
use super::hull::Hull;
use super::rigid::V3;

/// A convex solid about its own origin, mm.
#[derive(Clone, Debug, PartialEq)]
pub enum Solid {
    /// A cuboid given by half its lengths along x, y and z.
    Cuboid {
        /// Half lengths, mm.
        half: V3,
    },
    /// A cylinder about the z axis.
    Cylinder {
        /// Radius, mm.
        radius: f64,
        /// Half its length, mm.
        half_length: f64,
    },
    /// All points within `radius` of a segment of the z axis; a ball if the segment has no length.
    Capsule {
        /// Radius, mm.
        radius: f64,
        /// Half the segment's length, mm.
        half_length: f64,
    },
    /// The convex hull of points.
    Hull(Hull),
}

/// Signed distance and a subgradient of it at one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Distance outside, minus the depth inside, mm.
    pub value: f64,
    /// Direction of steepest growth; zero only on the axis of a capsule.
    pub gradient: V3,
}

impl Solid {
    /// Refuses dimensions that make no solid.
    pub fn check(&self, name: &str) -> Result<(), ClearanceError> {
        let (lengths, axis) = match self {
            Self::Cuboid { half } => (vec![half.x, half.y, half.z], 0.0),
            Self::Cylinder {
                radius,
                half_length,
            } => (vec![*radius, *half_length], 0.0),
            // A capsule whose axis has no length is a ball; the least negative length is none.
            Self::Capsule {
                radius,
                half_length,
            } => (vec![*radius], *half_length),
            Self::Hull(_) => (vec![], 0.0),
        };
        if !(0.0..=10_000.0).contains(&axis) {
            return Err(ClearanceError::Shape {
                name: name.to_owned(),
                reason: format!(
                    "half an axis of {axis} mm; it must be 0 (a ball) or more and at most 10000"
                ),
            });
        }
        if let Some(bad) = lengths
            .iter()
            .find(|x| !(x.is_finite() && **x > 0.0 && **x <= 10_000.0))
        {
            return Err(ClearanceError::Shape {
                name: name.to_owned(),
                reason: format!(
                    "a half length or radius of {bad} mm; it must be above 0 and at most 10000"
                ),
            });
        }
        Ok(())
    }

    /// Signed distance at `p` with a subgradient. Outside it is the exact distance, inside the exact depth.
    #[must_use]
    pub fn signed_distance(&self, p: &V3) -> Sample {
        match self {
            Self::Cuboid { half } => cuboid_distance(half, p),
            Self::Cylinder {
                radius,
                half_length,
            } => cylinder_distance(*radius, *half_length, p),
            Self::Capsule {
                radius,
                half_length,
            } => {
                let from_axis = V3::new(p.x, p.y, p.z - p.z.clamp(-half_length, *half_length));
                let n = from_axis.norm();
                let gradient = if n > 0.0 { from_axis / n } else { V3::zeros() };
                Sample {
                    value: n - radius,
                    gradient,
                }
            }
            Self::Hull(hull) => hull.signed_distance(p),
        }
    }

    /// A point of the solid that lies furthest along `direction`.
    #[must_use]
    pub fn support(&self, direction: &V3) -> V3 {
        match self {
            Self::Cuboid { half } => half.zip_map(direction, f64::copysign),
            Self::Cylinder {
                radius,
                half_length,
            } => {
                let across = (direction.x * direction.x + direction.y * direction.y).sqrt();
                let k = if across > 0.0 { radius / across } else { 0.0 };
                V3::new(
                    direction.x * k,
                    direction.y * k,
                    half_length.copysign(direction.z),
                )
            }
            Self::Capsule {
                radius,
                half_length,
            } => {
                let n = direction.norm();
                let k = if n > 0.0 { radius / n } else { 0.0 };
                direction * k + V3::new(0.0, 0.0, half_length.copysign(direction.z))
            }
            Self::Hull(hull) => hull.support(direction),
        }
    }

    /// Radius of a ball about the origin that holds the solid, mm.
    #[must_use]
    pub fn radius(&self) -> f64 {
        match self {
            Self::Cuboid { half } => half.norm(),
            Self::Cylinder {
                radius,
                half_length,
            } => radius.hypot(*half_length),
            Self::Capsule {
                radius,
                half_length,
            } => radius + half_length,
            Self::Hull(hull) => hull.radius(),
        }
    }

    /// A lower bound on the width of the solid in every direction, mm.
    #[must_use]
    pub fn least_width(&self) -> f64 {
        match self {
            Self::Cuboid { half } => 2.0 * half.min(),
            Self::Cylinder {
                radius,
                half_length,
            } => 2.0 * radius.min(*half_length),
            Self::Capsule { radius, .. } => 2.0 * radius,
            Self::Hull(_) => 0.0,
        }
    }

    /// A point well inside.
    #[must_use]
    pub fn centre(&self) -> V3 {
        match self {
            Self::Hull(hull) => hull.centre(),
            _ => V3::zeros(),
        }
    }
}

#[inline(always)]
pub(crate) fn cuboid_distance(half: &V3, p: &V3) -> Sample {
    let q = p.abs() - half;
    let out = q.sup(&V3::zeros());
    let n = out.norm();
    if n > 0.0 {
        return Sample {
            value: n,
            gradient: (out / n).zip_map(p, f64::copysign),
        };
    }
    let axis = q.imax();
    let mut gradient = V3::zeros();
    if let (Some(g), Some(side)) = (gradient.get_mut(axis), p.get(axis)) {
        *g = 1f64.copysign(*side);
    }
    Sample {
        value: q.max(),
        gradient,
    }
}

#[inline(always)]
pub(crate) fn cylinder_distance(radius: f64, half_length: f64, p: &V3) -> Sample {
    let rho = (p.x * p.x + p.y * p.y).sqrt();
    let (across, along) = (rho - radius, p.z.abs() - half_length);
    let axial = 1f64.copysign(p.z);
    if across <= 0.0 && (along > 0.0 || along >= across) {
        return Sample {
            value: along,
            gradient: V3::new(0.0, 0.0, axial),
        };
    }
    let (x, y) = if rho > 0.0 {
        (p.x / rho, p.y / rho)
    } else {
        (1.0, 0.0)
    };
    if along <= 0.0 {
        return Sample {
            value: across,
            gradient: V3::new(x, y, 0.0),
        };
    }
    let n = (across * across + along * along).sqrt();
    let (a, b) = (across / n, along / n);
    Sample {
        value: n,
        gradient: V3::new(x * a, y * a, axial * b),
    }
}
