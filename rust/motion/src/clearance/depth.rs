//! How deep a surface reaches into a convex solid, once they are known to be in contact.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::lanes::Block;
use super::rigid::{Rigid, V3};
use super::solid::{Sample, Solid};
use super::tree::{Child, Tree};

/// The deepest point: the least signed distance over the surface lies in `[lower, upper]`, and `point` (in the solid's
/// frame) attains `upper`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    pub lower: f64,
    pub upper: f64,
    pub point: V3,
    pub gradient: V3,
}

/// Evaluations after which the bound is returned as wide as it then is.
const EVALUATIONS_MAX: u32 = 400_000;

/// A part of the surface that may hold a deeper point than the best one known.
struct Region {
    lower: f64,
    /// Order of arrival: ties are settled the same way everywhere.
    arrival: u32,
    what: What,
}

enum What {
    Child(Child),
    /// In the solid's frame.
    Triangle([V3; 3]),
}

impl Ord for Region {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .lower
            .total_cmp(&self.lower)
            .then(other.arrival.cmp(&self.arrival))
    }
}

impl PartialOrd for Region {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Region {}

struct Descent<'a> {
    tree: &'a Tree,
    solid: &'a Solid,
    pose: &'a Rigid,
    tolerance: f64,
    evaluations: u32,
    open: BinaryHeap<Region>,
    best: Depth,
}

/// Best-first branch and bound in double precision; the signed distance is convex inside the solid too.
pub(crate) fn deepest(tree: &Tree, solid: &Solid, pose: &Rigid, tolerance: f64) -> Depth {
    let best = Depth {
        lower: f64::INFINITY,
        upper: f64::INFINITY,
        point: V3::zeros(),
        gradient: V3::z(),
    };
    let mut descent = Descent {
        tree,
        solid,
        pose,
        tolerance,
        evaluations: 0,
        open: BinaryHeap::new(),
        best,
    };
    descent.push(f64::NEG_INFINITY, What::Child(Child::Node(0)));
    let mut lower = f64::INFINITY;
    while let Some(region) = descent.open.pop() {
        if region.lower >= descent.best.upper - tolerance || descent.evaluations >= EVALUATIONS_MAX
        {
            lower = region.lower;
            break;
        }
        match region.what {
            What::Child(child) => descent.visit(child),
            What::Triangle(corners) => descent.cut(&corners),
        }
    }
    let best = descent.best;
    Depth {
        lower: lower.min(best.upper - tolerance),
        ..best
    }
}

impl Descent<'_> {
    fn push(&mut self, lower: f64, what: What) {
        if lower < self.best.upper - self.tolerance {
            let arrival = self.evaluations;
            self.open.push(Region {
                lower,
                arrival,
                what,
            });
        }
    }

    fn sample(&mut self, point: &V3) -> Sample {
        self.evaluations += 1;
        let sample = self.solid.signed_distance(point);
        if sample.value < self.best.upper {
            self.best.upper = sample.value;
            self.best.point = *point;
            self.best.gradient = sample.gradient;
        }
        sample
    }

    fn visit(&mut self, child: Child) {
        let tree = self.tree;
        match child {
            Child::None => {}
            Child::Leaf(at) => {
                let Some(leaf) = tree.leaves.get(at as usize) else {
                    return;
                };
                for index in leaf.triangle.iter().take(leaf.used.count_ones() as usize) {
                    if let Some(corners) = tree.triangles.get(*index as usize) {
                        let moved = corners.map(|p| self.pose.point(&p));
                        self.weigh(&moved);
                    }
                }
            }
            Child::Node(at) => {
                let Some(node) = tree.nodes.get(at as usize) else {
                    return;
                };
                let children = node.child.iter().enumerate();
                for (lane, &child) in children.take(node.used.count_ones() as usize) {
                    let pick = |block: &Block| block.0.get(lane).map_or(0.0, |x| f64::from(*x));
                    let [cx, cy, cz] = &node.centre;
                    let [ex, ey, ez] = &node.half;
                    let centre = self.pose.point(&V3::new(pick(cx), pick(cy), pick(cz)));
                    let half = V3::new(pick(ex), pick(ey), pick(ez));
                    let sample = self.solid.signed_distance(&centre);
                    self.evaluations += 1;
                    let slope = self.pose.rotation.tr_mul(&sample.gradient).abs();
                    self.push(sample.value - slope.dot(&half), What::Child(child));
                }
            }
        }
    }

    /// Bounds a triangle and keeps it if it may matter.
    fn weigh(&mut self, triangle: &[V3; 3]) {
        let [sa, sb, sc] = triangle.map(|p| self.sample(&p));
        let [a, b, c] = triangle;
        let over = |s: &Sample, here: &V3| triangle.map(|p| s.value + s.gradient.dot(&(p - here)));
        let lower = least_of_largest(&[over(&sa, a), over(&sb, b), over(&sc, c)]);
        if lower < self.best.upper - self.tolerance {
            for (from, to) in [((a, sa), (b, sb)), ((b, sb), (c, sc)), ((c, sc), (a, sa))] {
                self.sample_crease(from, to);
            }
        }
        self.push(lower, What::Triangle(*triangle));
    }

    /// Where the tangents at the ends of an edge cross: the bottom of a crease between two planes, met exactly.
    fn sample_crease(&mut self, from: (&V3, Sample), to: (&V3, Sample)) {
        let edge = to.0 - from.0;
        let (down, up) = (from.1.gradient.dot(&edge), to.1.gradient.dot(&edge));
        if down < 0.0 && up > 0.0 {
            let t = (to.1.value - from.1.value - up) / (down - up);
            self.sample(&(from.0 + edge * t.clamp(0.0, 1.0)));
        }
    }

    fn cut(&mut self, [a, b, c]: &[V3; 3]) {
        let (ab, bc, ca) = ((a + b) * 0.5, (b + c) * 0.5, (c + a) * 0.5);
        for part in [[*a, ab, ca], [ab, *b, bc], [ca, bc, *c], [ab, bc, ca]] {
            self.weigh(&part);
        }
    }
}

/// A lower bound on the least value over a triangle of the largest of three affine functions, given by their values at the
/// corners. Any mixture of them is below the largest; the best mixtures of two are tried, so that a crease between two
/// planes (the middle of a slab) is bounded exactly.
fn least_of_largest(functions: &[[f64; 3]; 3]) -> f64 {
    let [p, q, r] = functions;
    let least = |v: [f64; 3]| v.into_iter().fold(f64::INFINITY, f64::min);
    let mut bound = least(*p).max(least(*q)).max(least(*r));
    for (a, b) in [(p, q), (q, r), (r, p)] {
        let mix = |k: f64| {
            let ([a0, a1, a2], [b0, b1, b2]) = (a, b);
            least([a0 + (b0 - a0) * k, a1 + (b1 - a1) * k, a2 + (b2 - a2) * k])
        };
        let ([a0, a1, a2], [b0, b1, b2]) = (a, b);
        for ((x, dx), (y, dy)) in [
            ((a0, b0 - a0), (a1, b1 - a1)),
            ((a1, b1 - a1), (a2, b2 - a2)),
            ((a2, b2 - a2), (a0, b0 - a0)),
        ] {
            // Where two corners of the mixture are level.
            let k = (y - x) / (dx - dy);
            if k > 0.0 && k < 1.0 {
                bound = bound.max(mix(k));
            }
        }
    }
    bound
}
