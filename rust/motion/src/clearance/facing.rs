//! The nearest points of two triangles, in double precision.

use super::hull::nearest_on_triangle;
use super::rigid::V3;

/// The nearest points of two triangles; the same point twice if they meet.
///
/// Two triangles that do not meet are nearest at a corner of one and a point of the other, or at points of two edges.
pub(crate) fn triangle_distance(one: &[V3; 3], other: &[V3; 3]) -> (V3, V3) {
    if let Some(meeting) = meet(one, other).or_else(|| meet(other, one)) {
        return (meeting, meeting);
    }
    let [first, ..] = one;
    let mut best = (f64::INFINITY, *first, *first);
    let mut offer = |p: V3, q: V3| {
        let squared = (p - q).norm_squared();
        if squared < best.0 {
            best = (squared, p, q);
        }
    };
    for p in one {
        offer(*p, nearest_on_triangle(p, other));
    }
    for q in other {
        offer(nearest_on_triangle(q, one), *q);
    }
    for (a, b) in edges(one) {
        for (c, d) in edges(other) {
            let (p, q) = nearest_on_segments(a, b, c, d);
            offer(p, q);
        }
    }
    (best.1, best.2)
}

fn edges([a, b, c]: &[V3; 3]) -> [(&V3, &V3); 3] {
    [(a, b), (b, c), (c, a)]
}

/// Where an edge of `one` passes through `other`, if one does.
fn meet(one: &[V3; 3], other: &[V3; 3]) -> Option<V3> {
    let [a, b, c] = other;
    let normal = (b - a).cross(&(c - a));
    let heights = one.map(|p| normal.dot(&(p - a)));
    if heights.iter().all(|h| *h > 0.0) || heights.iter().all(|h| *h < 0.0) {
        return None;
    }
    let [ha, hb, hc] = heights;
    for ((p, q), (hp, hq)) in edges(one).into_iter().zip([(ha, hb), (hb, hc), (hc, ha)]) {
        if hp * hq > 0.0 || hp == hq {
            continue;
        }
        let at = p + (q - p) * (hp / (hp - hq)).clamp(0.0, 1.0);
        let inside = |x: &V3, y: &V3| (y - x).cross(&(at - x)).dot(&normal) >= 0.0;
        if inside(a, b) && inside(b, c) && inside(c, a) {
            return Some(at);
        }
    }
    None
}

/// The nearest points of the segments a b and c d (Ericson 2005, section 5.1.9), each brought once more onto the other's:
/// where they are nearly parallel the first solution is ill-conditioned along both.
fn nearest_on_segments(a: &V3, b: &V3, c: &V3, d: &V3) -> (V3, V3) {
    let (u, v, r) = (b - a, d - c, a - c);
    let (uu, vv, uv) = (u.norm_squared(), v.norm_squared(), u.dot(&v));
    let (ur, vr) = (u.dot(&r), v.dot(&r));
    let unit = |part: f64, whole: f64| {
        if whole > 0.0 {
            (part / whole).clamp(0.0, 1.0)
        } else {
            0.0
        }
    };
    let determinant = uu * vv - uv * uv;
    let s = unit(uv * vr - ur * vv, determinant);
    let t = unit(uv * s + vr, vv);
    let s = unit(uv * t - ur, uu);
    let t = unit(uv * s + vr, vv);
    (a + u * s, c + v * t)
}
