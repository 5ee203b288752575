//! Convex hulls: the planes and faces of a set of points.

use super::error::ClearanceError;
use super::rigid::V3;
use super::solid::Sample;

/// More points than this make hull building slow; a part needs no more.
pub const HULL_POINTS_MAX: usize = 256;

/// Points closer to a face plane than this belong to the face, mm.
const COPLANAR_MM: f64 = 1e-6;

/// A hull thinner than this is refused as flat, mm.
const FLAT_MM: f64 = 0.01;

/// A face plane: `normal . p <= offset` for every point of the hull.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plane {
    /// Outward unit normal.
    pub normal: V3,
    /// Largest `normal . p` over the hull, mm.
    pub offset: f64,
}

impl Plane {
    fn height(&self, p: &V3) -> f64 {
        self.normal.dot(p) - self.offset
    }
}

/// A convex polytope by its corners, face planes and triangulated faces.
#[derive(Clone, Debug, PartialEq)]
pub struct Hull {
    corners: Vec<V3>,
    planes: Vec<Plane>,
    faces: Vec<[V3; 3]>,
    centre: V3,
    radius: f64,
}

impl Hull {
    /// The convex hull of at least four points that do not lie in a plane.
    pub fn of_points(points: &[V3], name: &str) -> Result<Self, ClearanceError> {
        let refuse = |reason: String| {
            Err(ClearanceError::Shape {
                name: name.to_owned(),
                reason,
            })
        };
        if points.len() < 4 || points.len() > HULL_POINTS_MAX {
            return refuse(format!(
                "a hull needs 4 to {HULL_POINTS_MAX} points, not {}",
                points.len()
            ));
        }
        if !points.iter().flatten().all(|x| x.abs() <= 10_000.0) {
            return refuse("a hull point is not finite or lies beyond 10000 mm".to_owned());
        }
        let planes = face_planes(points);
        let thickness = planes
            .iter()
            .map(|plane| {
                -points
                    .iter()
                    .map(|p| plane.height(p))
                    .fold(f64::INFINITY, f64::min)
            })
            .fold(f64::INFINITY, f64::min);
        if planes.len() < 4 || thickness < FLAT_MM {
            return refuse(format!(
                "its hull is flat (below {FLAT_MM} mm thick); give it a thickness"
            ));
        }
        let faces = planes
            .iter()
            .flat_map(|plane| face_triangles(points, plane))
            .collect();
        Ok(Self::assemble(points.to_vec(), planes, faces))
    }

    fn assemble(corners: Vec<V3>, planes: Vec<Plane>, faces: Vec<[V3; 3]>) -> Self {
        let centre = corners.iter().sum::<V3>() / corners.len() as f64;
        let radius = corners.iter().map(V3::norm).fold(0.0, f64::max);
        Self {
            corners,
            planes,
            faces,
            centre,
            radius,
        }
    }

    /// The face planes.
    #[must_use]
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// The points it was built from.
    #[must_use]
    pub fn corners(&self) -> &[V3] {
        &self.corners
    }

    /// Its faces as outward triangles.
    #[must_use]
    pub fn faces(&self) -> &[[V3; 3]] {
        &self.faces
    }

    pub(crate) fn centre(&self) -> V3 {
        self.centre
    }

    pub(crate) fn radius(&self) -> f64 {
        self.radius
    }

    pub(crate) fn support(&self, direction: &V3) -> V3 {
        let mut best = (f64::NEG_INFINITY, V3::zeros());
        for corner in &self.corners {
            let along = corner.dot(direction);
            if along > best.0 {
                best = (along, *corner);
            }
        }
        best.1
    }

    pub(crate) fn signed_distance(&self, p: &V3) -> Sample {
        let mut inner = Sample {
            value: f64::NEG_INFINITY,
            gradient: V3::z(),
        };
        for plane in &self.planes {
            let height = plane.height(p);
            if height > inner.value {
                inner = Sample {
                    value: height,
                    gradient: plane.normal,
                };
            }
        }
        if inner.value <= 0.0 {
            return inner;
        }
        let mut nearest = (f64::INFINITY, *p);
        for face in &self.faces {
            let q = nearest_on_triangle(p, face);
            let squared = (p - q).norm_squared();
            if squared < nearest.0 {
                nearest = (squared, q);
            }
        }
        let distance = nearest.0.sqrt();
        if distance > 1e-12 {
            Sample {
                value: distance,
                gradient: (p - nearest.1) / distance,
            }
        } else {
            inner
        }
    }
}

fn supporting(normal: V3, points: &[V3]) -> Plane {
    let offset = points
        .iter()
        .map(|p| normal.dot(p))
        .fold(f64::NEG_INFINITY, f64::max);
    Plane { normal, offset }
}

/// Every plane through three of the points that has all others on one side. Cubic, but parts have few points.
fn face_planes(points: &[V3]) -> Vec<Plane> {
    let mut planes: Vec<Plane> = Vec::new();
    for (i, a) in points.iter().enumerate() {
        for (j, b) in points.iter().enumerate().skip(i + 1) {
            for c in points.iter().skip(j + 1) {
                let cross = (b - a).cross(&(c - a));
                let Some(normal) = cross.try_normalize(1e-9) else {
                    continue;
                };
                for normal in [normal, -normal] {
                    let level = normal.dot(a);
                    let holds_all = points.iter().all(|p| normal.dot(p) <= level + COPLANAR_MM);
                    let known = planes.iter().any(|q| (q.normal - normal).amax() < 1e-9);
                    if holds_all && !known {
                        planes.push(supporting(normal, points));
                    }
                }
            }
        }
    }
    planes
}

/// The face's corners in order round its middle, as a fan.
fn face_triangles(points: &[V3], plane: &Plane) -> Vec<[V3; 3]> {
    let on_face: Vec<V3> = points
        .iter()
        .filter(|p| plane.height(p) > -2.0 * COPLANAR_MM)
        .copied()
        .collect();
    let middle = on_face.iter().sum::<V3>() / on_face.len().max(1) as f64;
    let Some(u) = on_face
        .iter()
        .find_map(|p| (p - middle).try_normalize(1e-9))
    else {
        return vec![];
    };
    let v = plane.normal.cross(&u);
    let mut ring: Vec<(f64, V3)> = on_face
        .iter()
        .map(|p| ((p - middle).dot(&v).atan2((p - middle).dot(&u)), *p))
        .collect();
    ring.sort_by(|a, b| a.0.total_cmp(&b.0));
    let next = ring.iter().cycle().skip(1);
    ring.iter()
        .zip(next)
        .map(|(a, b)| [middle, a.1, b.1])
        .collect()
}

/// The point of a triangle nearest to `p` (by the regions of its corners, edges and inside; Ericson 2005, section 5.1.5).
#[must_use]
pub fn nearest_on_triangle(p: &V3, triangle: &[V3; 3]) -> V3 {
    let [a, b, c] = triangle;
    let (ab, ac, ap) = (b - a, c - a, p - a);
    let (d1, d2) = (ab.dot(&ap), ac.dot(&ap));
    if d1 <= 0.0 && d2 <= 0.0 {
        return *a;
    }
    let bp = p - b;
    let (d3, d4) = (ab.dot(&bp), ac.dot(&bp));
    if d3 >= 0.0 && d4 <= d3 {
        return *b;
    }
    let vc = d1 * d4 - d3 * d2;
    if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 {
        return a + ab * ratio(d1, d1 - d3);
    }
    let cp = p - c;
    let (d5, d6) = (ab.dot(&cp), ac.dot(&cp));
    if d6 >= 0.0 && d5 <= d6 {
        return *c;
    }
    let vb = d5 * d2 - d1 * d6;
    if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 {
        return a + ac * ratio(d2, d2 - d6);
    }
    let va = d3 * d6 - d5 * d4;
    if va <= 0.0 && d4 - d3 >= 0.0 && d5 - d6 >= 0.0 {
        return b + (c - b) * ratio(d4 - d3, (d4 - d3) + (d5 - d6));
    }
    let sum = va + vb + vc;
    a + ab * ratio(vb, sum) + ac * ratio(vc, sum)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (part / whole).clamp(0.0, 1.0)
    } else {
        0.0
    }
}
