//! What is searched: a surface, or the triangulated surface of a convex solid.

use super::mesh::Mesh;
use super::rigid::{Rigid, V3};
use super::search::Convex;
use super::solid::Solid;
use super::tree::Tree;

/// How far outside the true cylinder a prism that stands for one may be, mm.
const PRISM_LOOSENESS_MM: f64 = 0.001;

/// Long edges are cut to about this, so that a box of the tree is small where it matters, mm.
const FACET_MM: f64 = 60.0;

/// A direction that no machine or patient is built along.
const RAY: V3 = V3::new(0.358_979, 0.811_463, 0.461_125);

/// A surface with its search tree.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub tree: Tree,
    /// The solid is this much thicker all round than the surface in the tree, mm.
    pub rounding: f64,
    /// The surface in the tree may lie this much outside the true one, mm.
    pub looseness: f64,
    /// A corner of every connected piece, in the tree's frame.
    pub anchors: Vec<V3>,
    enclosure: Enclosure,
}

#[derive(Clone, Debug)]
enum Enclosure {
    Mesh(Mesh),
    Solid(Solid),
}

impl Body {
    pub(crate) fn of_mesh(mesh: Mesh) -> Self {
        let triangles: Vec<[V3; 3]> = (0..mesh.triangle_count())
            .map(|index| mesh.corners(index))
            .collect();
        let tree = Tree::build(&triangles);
        let anchors = mesh.anchors().iter().map(|p| p - tree.origin).collect();
        Self {
            tree,
            rounding: 0.0,
            looseness: 0.0,
            anchors,
            enclosure: Enclosure::Mesh(mesh),
        }
    }

    pub(crate) fn of_solid(solid: &Solid) -> Self {
        let (triangles, rounding, looseness) = match solid {
            Solid::Cuboid { half } => (cuboid_triangles(half), 0.0, 0.0),
            Solid::Hull(hull) => (hull.faces().to_vec(), 0.0, 0.0),
            Solid::Capsule {
                radius,
                half_length,
            } => {
                let end = V3::new(0.0, 0.0, *half_length);
                (vec![[-end, end, end]], *radius, 0.0)
            }
            Solid::Cylinder {
                radius,
                half_length,
            } => (
                prism_triangles(*radius, *half_length),
                0.0,
                PRISM_LOOSENESS_MM,
            ),
        };
        let tree = Tree::build(&triangles);
        let anchors = tree.triangles.iter().take(1).map(|[p, ..]| *p).collect();
        Self {
            tree,
            rounding,
            looseness,
            anchors,
            enclosure: Enclosure::Solid(solid.clone()),
        }
    }

    /// Whether a convex solid that does not touch the surface lies inside it. `pose` is `solid <- tree origin`.
    pub(crate) fn encloses(&self, convex: &Convex, pose: &Rigid) -> bool {
        if convex.least_width > 2.0 * self.tree.half.min() {
            return false;
        }
        let middle = pose.rotation.tr_mul(&(convex.centre - pose.translation));
        if (middle.abs() - self.tree.half).max() > 0.0 {
            return false;
        }
        // Inside the surface means inside its box, with everything that sticks out.
        for (axis, half) in pose.rotation.column_iter().zip(self.tree.half.iter()) {
            let axis: V3 = axis.into_owned();
            let level = |p: V3| axis.dot(&(p - pose.translation));
            let (high, low) = (
                level(convex.solid.support(&axis)),
                level(convex.solid.support(&-axis)),
            );
            if high > *half || low < -half {
                return false;
            }
        }
        self.holds(&middle)
    }

    /// Whether a point in the tree's frame lies inside: by the parity of a ray, or where that cannot tell by solid angle.
    pub(crate) fn holds(&self, p: &V3) -> bool {
        if (p.abs() - self.tree.half).max() > 0.0 {
            return false;
        }
        match &self.enclosure {
            Enclosure::Mesh(mesh) => match self.tree.crossings(p, &RAY) {
                Some(count) => count % 2 == 1,
                None => mesh.encloses(&(p + self.tree.origin)),
            },
            Enclosure::Solid(solid) => solid.signed_distance(&(p + self.tree.origin)).value < 0.0,
        }
    }
}

/// The six faces of a cuboid, cut into tiles.
fn cuboid_triangles(half: &V3) -> Vec<[V3; 3]> {
    let (x, y, z) = (V3::x() * half.x, V3::y() * half.y, V3::z() * half.z);
    let mut triangles = Vec::new();
    for (u, v, w) in [(x, y, z), (y, z, x), (z, x, y)] {
        for side in [1.0, -1.0] {
            tile(&(w * side), &(u * side), &v, &mut triangles);
        }
    }
    triangles
}

/// Tiles the parallelogram `middle` +- `u` +- `v`, facing along u x v.
fn tile(middle: &V3, u: &V3, v: &V3, triangles: &mut Vec<[V3; 3]>) {
    let count = |side: &V3| ((2.0 * side.norm() / FACET_MM).ceil() as usize).clamp(1, 64);
    let (columns, rows) = (count(u), count(v));
    // Fractions of the whole, so that both ends are met exactly and neighbours share their corners.
    let place = |i: usize, j: usize| {
        let (a, b) = (
            2.0 * i as f64 / columns as f64 - 1.0,
            2.0 * j as f64 / rows as f64 - 1.0,
        );
        middle + u * a + v * b
    };
    for i in 0..columns {
        for j in 0..rows {
            let (p, q, r, s) = (
                place(i, j),
                place(i + 1, j),
                place(i + 1, j + 1),
                place(i, j + 1),
            );
            triangles.extend([[p, q, r], [p, r, s]]);
        }
    }
}

/// A prism that holds the cylinder and lies within `PRISM_LOOSENESS_MM` of it.
fn prism_triangles(radius: f64, half_length: f64) -> Vec<[V3; 3]> {
    let sides = ((std::f64::consts::PI / (2.0 * PRISM_LOOSENESS_MM / radius).sqrt()).ceil()
        as usize)
        .max(8);
    let step = 2.0 * std::f64::consts::PI / sides as f64;
    let outer = radius / (0.5 * step).cos();
    let top = V3::new(0.0, 0.0, half_length);
    let rim = |k: usize| {
        let (sine, cosine) = crate::trig::sin_cos(step * (k % sides) as f64);
        V3::new(outer * cosine, outer * sine, 0.0)
    };
    let mut triangles = Vec::with_capacity(4 * sides);
    for k in 0..sides {
        let (a, b) = (rim(k), rim(k + 1));
        triangles.extend([
            [a - top, b - top, b + top],
            [a - top, b + top, a + top],
            [top, a + top, b + top],
            [-top, b - top, a - top],
        ]);
    }
    triangles
}
