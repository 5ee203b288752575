//! Triangle meshes: what is accepted as the surface of a solid.

use std::collections::HashMap;

use super::error::{ClearanceError, MeshFault};
use super::rigid::V3;

/// The most triangles a mesh may have.
pub const TRIANGLES_MAX: usize = 4_000_000;

const SMALLEST_MM: f64 = 10.0;
const LARGEST_MM: f64 = 5_000.0;

/// A closed, outward-facing surface in its own frame, mm.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    pub(crate) vertices: Vec<V3>,
    pub(crate) triangles: Vec<[u32; 3]>,
}

impl Mesh {
    /// Welds equal vertices and checks everything that makes a mesh the surface of a solid: finite, of a size that belongs in
    /// a treatment room, closed, facing outwards, not passing through itself.
    pub fn new(
        name: &str,
        vertices: &[[f64; 3]],
        triangles: &[[u32; 3]],
    ) -> Result<Self, ClearanceError> {
        Self::build(vertices, triangles).map_err(|fault| ClearanceError::Mesh {
            name: name.to_owned(),
            fault,
        })
    }

    fn build(vertices: &[[f64; 3]], triangles: &[[u32; 3]]) -> Result<Self, MeshFault> {
        if triangles.is_empty() {
            return Err(MeshFault::Empty);
        }
        if triangles.len() > TRIANGLES_MAX {
            return Err(MeshFault::TooLarge(triangles.len()));
        }
        if let Some(bad) = vertices
            .iter()
            .position(|v| v.iter().any(|x| !x.is_finite()))
        {
            return Err(MeshFault::NotFinite(bad));
        }
        let mesh = weld(vertices, triangles)?;
        mesh.check_size()?;
        mesh.check_closed()?;
        let volume = mesh.volume();
        if volume <= 0.0 {
            return Err(MeshFault::InsideOut(volume));
        }
        super::crossing::refuse_crossings(&mesh)?;
        Ok(mesh)
    }

    /// Number of vertices after welding.
    #[must_use]
    pub fn vertex_count(&self) -> usize {
        self.vertices.len()
    }

    /// Number of triangles.
    #[must_use]
    pub fn triangle_count(&self) -> usize {
        self.triangles.len()
    }

    /// The corners of triangle `index`; the origin three times if there is no such triangle.
    #[must_use]
    pub fn corners(&self, index: usize) -> [V3; 3] {
        self.triangles.get(index).map_or([V3::zeros(); 3], |t| {
            t.map(|v| {
                self.vertices
                    .get(v as usize)
                    .copied()
                    .unwrap_or_else(V3::zeros)
            })
        })
    }

    /// Enclosed volume, mm3; negative if the triangles face inwards.
    #[must_use]
    pub fn volume(&self) -> f64 {
        let origin = self.vertices.first().copied().unwrap_or_else(V3::zeros);
        (0..self.triangles.len())
            .map(|index| {
                let [a, b, c] = self.corners(index).map(|p| p - origin);
                a.dot(&b.cross(&c)) / 6.0
            })
            .sum()
    }

    /// Whether `p` lies inside, by the solid angle under which it sees the surface (van Oosterom and Strackee 1983).
    #[must_use]
    pub fn encloses(&self, p: &V3) -> bool {
        let mut angle = 0.0;
        for index in 0..self.triangles.len() {
            let [a, b, c] = self.corners(index).map(|v| v - p);
            let (la, lb, lc) = (a.norm(), b.norm(), c.norm());
            let below = la * lb * lc + a.dot(&b) * lc + b.dot(&c) * la + c.dot(&a) * lb;
            angle += 2.0 * a.dot(&b.cross(&c)).atan2(below);
        }
        angle > 2.0 * std::f64::consts::PI
    }

    /// One corner of every connected piece of the surface.
    pub(crate) fn anchors(&self) -> Vec<V3> {
        let mut root: Vec<u32> = (0..self.vertices.len() as u32).collect();
        fn find(root: &mut [u32], mut at: u32) -> u32 {
            while let Some(&up) = root.get(at as usize)
                && up != at
            {
                let above = root.get(up as usize).copied().unwrap_or(up);
                if let Some(slot) = root.get_mut(at as usize) {
                    *slot = above;
                }
                at = above;
            }
            at
        }
        for &[a, b, c] in &self.triangles {
            for (p, q) in [(a, b), (b, c)] {
                let (p, q) = (find(&mut root, p), find(&mut root, q));
                if let Some(slot) = root.get_mut(p.max(q) as usize) {
                    *slot = p.min(q);
                }
            }
        }
        let mut seen = vec![false; self.vertices.len()];
        let mut anchors = Vec::new();
        for &[a, ..] in &self.triangles {
            let piece = find(&mut root, a) as usize;
            if let (Some(known), Some(p)) = (seen.get_mut(piece), self.vertices.get(a as usize))
                && !*known
            {
                *known = true;
                anchors.push(*p);
            }
        }
        anchors
    }

    /// Smallest and largest coordinates.
    #[must_use]
    pub fn bounds(&self) -> (V3, V3) {
        let start = (V3::repeat(f64::INFINITY), V3::repeat(f64::NEG_INFINITY));
        self.vertices
            .iter()
            .fold(start, |(low, high), v| (low.inf(v), high.sup(v)))
    }

    fn check_size(&self) -> Result<(), MeshFault> {
        let (low, high) = self.bounds();
        let length = (high - low).max();
        if length < SMALLEST_MM {
            return Err(MeshFault::TooSmall(length));
        }
        if length > LARGEST_MM {
            return Err(MeshFault::TooBig(length));
        }
        if low.inf(&-high).min() < -10.0 * LARGEST_MM {
            return Err(MeshFault::TooBig(low.abs().sup(&high.abs()).max()));
        }
        Ok(())
    }

    /// Every edge has exactly one triangle on each side.
    fn check_closed(&self) -> Result<(), MeshFault> {
        let place = |v: u32| {
            self.vertices
                .get(v as usize)
                .map_or([0.0; 3], |p| [p.x, p.y, p.z])
        };
        let mut edges: Vec<(u32, u32)> = Vec::with_capacity(3 * self.triangles.len());
        for &[a, b, c] in &self.triangles {
            edges.extend([(a, b), (b, c), (c, a)]);
        }
        edges.sort_unstable();
        for pair in edges.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                return Err(MeshFault::NotOrientable {
                    from: place(first.0),
                    to: place(first.1),
                });
            }
        }
        for &(from, to) in &edges {
            if edges.binary_search(&(to, from)).is_err() {
                return Err(MeshFault::Open {
                    from: place(from),
                    to: place(to),
                });
            }
        }
        Ok(())
    }
}

/// Gives equal vertices one number, so that triangle soup (STL) becomes a surface.
fn weld(vertices: &[[f64; 3]], triangles: &[[u32; 3]]) -> Result<Mesh, MeshFault> {
    let mut number: HashMap<[u64; 3], u32> = HashMap::with_capacity(vertices.len());
    let mut kept: Vec<V3> = Vec::with_capacity(vertices.len());
    let mut new_of_old: Vec<u32> = Vec::with_capacity(vertices.len());
    for v in vertices {
        // Adding zero makes -0.0 and 0.0 the same place.
        let next = kept.len() as u32;
        let id = *number.entry(v.map(|x| (x + 0.0).to_bits())).or_insert(next);
        if id == next {
            kept.push(V3::new(v[0], v[1], v[2]));
        }
        new_of_old.push(id);
    }
    let mut welded = Vec::with_capacity(triangles.len());
    for (index, triangle) in triangles.iter().enumerate() {
        let mut corners = [0u32; 3];
        for (corner, &old) in corners.iter_mut().zip(triangle) {
            *corner = *new_of_old
                .get(old as usize)
                .ok_or(MeshFault::NoSuchVertex {
                    triangle: index,
                    vertex: old,
                    count: vertices.len(),
                })?;
        }
        let [a, b, c] = corners;
        if a == b || b == c || c == a {
            return Err(MeshFault::Degenerate(index));
        }
        welded.push(corners);
    }
    Ok(Mesh {
        vertices: kept,
        triangles: welded,
    })
}
