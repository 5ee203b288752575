//! The exact least distance from one triangle to one convex solid, in double precision.

use super::rigid::V3;
use super::solid::{Sample, Solid, cuboid_distance, cylinder_distance};

/// The nearest point found so far, in the solid's frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nearest {
    /// Distance of `point` from the solid; zero or less on contact, mm.
    pub distance: f64,
    /// A point of the surface.
    pub point: V3,
    /// A subgradient of the distance there.
    pub gradient: V3,
}

impl Nearest {
    pub(crate) fn none(bound: f64) -> Self {
        Self {
            distance: bound,
            point: V3::zeros(),
            gradient: V3::zeros(),
        }
    }

    /// Takes a point of the surface if it is nearer.
    #[inline]
    pub(crate) fn offer(&mut self, point: &V3, sample: &Sample) -> bool {
        if sample.value < self.distance {
            *self = Self {
                distance: sample.value,
                point: *point,
                gradient: sample.gradient,
            };
            true
        } else {
            false
        }
    }
}

/// Enough halvings to shrink any edge below a millionth of a tolerance.
const STEPS_MAX: u32 = 120;

/// Improves `nearest` with the nearest point of `corners` (in the solid's frame) unless that gains less than `tolerance`.
/// Returns whether it did. On contact the search ends with a distance of zero or less, not the deepest point.
///
/// The distance is convex, so on the triangle its least value is at a corner, on an edge where its slope changes sign, or
/// inside, where its gradient is normal to the triangle: there the support point of the solid lies opposite.
pub(crate) fn improve(
    solid: &Solid,
    corners: &[V3; 3],
    tolerance: f64,
    nearest: &mut Nearest,
) -> bool {
    // One copy of the loops for each shape, with its distance in line.
    match solid {
        Solid::Cuboid { half } => {
            let distance = |p: &V3| cuboid_distance(half, p);
            improve_by(solid, distance, corners, tolerance, nearest)
        }
        Solid::Cylinder {
            radius,
            half_length,
        } => {
            let distance = |p: &V3| cylinder_distance(*radius, *half_length, p);
            improve_by(solid, distance, corners, tolerance, nearest)
        }
        Solid::Capsule { .. } | Solid::Hull(_) => {
            let distance = |p: &V3| solid.signed_distance(p);
            improve_by(solid, distance, corners, tolerance, nearest)
        }
    }
}

#[inline(always)]
fn improve_by(
    solid: &Solid,
    distance: impl Fn(&V3) -> Sample,
    corners: &[V3; 3],
    tolerance: f64,
    nearest: &mut Nearest,
) -> bool {
    let [a, b, c] = corners;
    let [sa, sb, sc] = &[distance(a), distance(b), distance(c)];
    let mut improved = nearest.offer(a, sa) | nearest.offer(b, sb) | nearest.offer(c, sc);
    for (p, sp, q, sq) in [(a, sa, b, sb), (b, sb, c, sc), (c, sc, a, sa)] {
        if nearest.distance <= 0.0 {
            return improved;
        }
        improved |= along_edge(&distance, (p, sp), (q, sq), tolerance, nearest);
    }
    if nearest.distance <= 0.0 {
        return improved;
    }
    improved | inside_face(solid, corners, nearest)
}

/// Safeguarded search for the least value on an edge; the crossing of the two end tangents bounds what is left to gain.
#[inline(always)]
fn along_edge(
    distance: &impl Fn(&V3) -> Sample,
    from: (&V3, &Sample),
    to: (&V3, &Sample),
    tolerance: f64,
    nearest: &mut Nearest,
) -> bool {
    let edge = to.0 - from.0;
    let (mut ta, mut fa, mut ga) = (0.0, from.1.value, from.1.gradient.dot(&edge));
    let (mut tb, mut fb, mut gb) = (1.0, to.1.value, to.1.gradient.dot(&edge));
    let mut improved = false;
    if !(ga < 0.0 && gb > 0.0) {
        return false;
    }
    for step in 0..STEPS_MAX {
        let meet = (fb - fa + ga * ta - gb * tb) / (ga - gb);
        if fa + ga * (meet - ta) >= nearest.distance - tolerance {
            break;
        }
        let secant = ta - ga * (tb - ta) / (gb - ga);
        // Every third step halves, so that the bracket shrinks whatever the shape.
        let t = if step % 3 != 2 && secant > ta && secant < tb {
            secant
        } else {
            0.5 * (ta + tb)
        };
        if t <= ta || t >= tb {
            break;
        }
        let p = from.0 + edge * t;
        let sample = distance(&p);
        improved |= nearest.offer(&p, &sample);
        if nearest.distance <= 0.0 {
            return improved;
        }
        let slope = sample.gradient.dot(&edge);
        if slope < 0.0 {
            (ta, fa, ga) = (t, sample.value, slope);
        } else {
            (tb, fb, gb) = (t, sample.value, slope);
        }
        if gb <= 0.0 {
            break;
        }
    }
    improved
}

/// The case of a nearest point inside the triangle, once all three edges are known to be clear.
fn inside_face(solid: &Solid, corners: &[V3; 3], nearest: &mut Nearest) -> bool {
    let [a, b, c] = corners;
    let cross = (b - a).cross(&(c - a));
    let length = cross.norm();
    // A triangle thinner than this has its inside within rounding of its edges.
    if length < 1e-9 {
        return false;
    }
    let normal = cross / length;
    let centre = solid.centre();
    let towards = if normal.dot(&(a - centre)) > 0.0 {
        normal
    } else {
        -normal
    };
    let offset = towards.dot(a);
    let near = solid.support(&towards);
    let gap = offset - towards.dot(&near);
    if gap > 0.0 {
        let foot = near + towards * gap;
        return gap < nearest.distance
            && holds(corners, &normal, &foot)
            && nearest.offer(
                &foot,
                &Sample {
                    value: gap,
                    gradient: towards,
                },
            );
    }
    // The plane cuts the solid and no edge does: either the cut lies wholly inside the triangle, or wholly outside.
    let far = solid.support(&-towards);
    let (high, low) = (towards.dot(&near), towards.dot(&far));
    let share = if high > low {
        ((offset - low) / (high - low)).clamp(0.0, 1.0)
    } else {
        0.5
    };
    let cut = far + (near - far) * share;
    holds(corners, &normal, &cut)
        && nearest.offer(
            &cut,
            &Sample {
                value: 0.0,
                gradient: V3::zeros(),
            },
        )
}

fn holds(corners: &[V3; 3], normal: &V3, p: &V3) -> bool {
    let [a, b, c] = corners;
    let inside = |x: &V3, y: &V3| (y - x).cross(&(p - x)).dot(normal) >= 0.0;
    inside(a, b) && inside(b, c) && inside(c, a)
}
