//! Does a surface pass through itself? Every pair of triangles whose boxes overlap is tested, found by a sorted sweep.

use super::error::MeshFault;
use super::mesh::Mesh;
use super::rigid::V3;

struct Boxed {
    low: V3,
    high: V3,
    index: usize,
}

/// Refuses the mesh if two of its triangles cross. Triangles that only touch at a shared corner or edge do not.
pub(crate) fn refuse_crossings(mesh: &Mesh) -> Result<(), MeshFault> {
    let (low, high) = mesh.bounds();
    let axis = (high - low).imax();
    let mut boxes: Vec<Boxed> = (0..mesh.triangle_count())
        .map(|index| {
            let [a, b, c] = mesh.corners(index);
            Boxed {
                low: a.inf(&b).inf(&c),
                high: a.sup(&b).sup(&c),
                index,
            }
        })
        .collect();
    let along = |v: &V3| v.get(axis).copied().unwrap_or(0.0);
    boxes.sort_by(|a, b| {
        along(&a.low)
            .total_cmp(&along(&b.low))
            .then(a.index.cmp(&b.index))
    });
    for (at, first) in boxes.iter().enumerate() {
        for second in boxes
            .iter()
            .skip(at + 1)
            .take_while(|b| along(&b.low) <= along(&first.high))
        {
            if boxes_overlap(first, second) && triangles_cross(mesh, first.index, second.index) {
                let [corner, ..] = mesh.corners(first.index);
                return Err(MeshFault::SelfIntersecting {
                    first: first.index,
                    second: second.index,
                    near: [corner.x, corner.y, corner.z],
                });
            }
        }
    }
    Ok(())
}

fn boxes_overlap(a: &Boxed, b: &Boxed) -> bool {
    let gap = (a.low - b.high).sup(&(b.low - a.high));
    gap.max() <= 0.0
}

fn triangles_cross(mesh: &Mesh, first: usize, second: usize) -> bool {
    let (Some(a), Some(b)) = (mesh.triangles.get(first), mesh.triangles.get(second)) else {
        return false;
    };
    let shared = |v: &u32| a.contains(v) && b.contains(v);
    let count = a.iter().filter(|v| shared(v)).count();
    if count >= 2 {
        return false;
    }
    let (ta, tb) = (mesh.corners(first), mesh.corners(second));
    let pierces = |ids: &[u32; 3], from: &[V3; 3], through: &[V3; 3]| {
        let ([i, j, k], [p, q, r]) = (ids, from);
        // With one shared corner only the edge opposite to it can pierce the other triangle.
        [(i, j, p, q), (j, k, q, r), (k, i, r, p)]
            .into_iter()
            .any(|(u, v, x, y)| !shared(u) && !shared(v) && segment_pierces(x, y, through))
    };
    pierces(a, &ta, &tb) || pierces(b, &tb, &ta)
}

/// Whether a segment passes through the inside of a triangle (strictly; touching counts as not passing through).
fn segment_pierces(from: &V3, to: &V3, triangle: &[V3; 3]) -> bool {
    let [a, b, c] = triangle;
    let side = |p: &V3, q: &V3, r: &V3, s: &V3| (q - p).cross(&(r - p)).dot(&(s - p));
    let (above, below) = (side(a, b, c, from), side(a, b, c, to));
    if above * below >= 0.0 {
        return false;
    }
    let (x, y, z) = (
        side(from, to, a, b),
        side(from, to, b, c),
        side(from, to, c, a),
    );
    (x > 0.0 && y > 0.0 && z > 0.0) || (x < 0.0 && y < 0.0 && z < 0.0)
}
