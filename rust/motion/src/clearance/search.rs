//! The least distance between a surface and a convex solid.
//!
//! Single precision steers, double precision answers. A box of the tree is passed over only if a bound, less the proven
//! rounding allowance of `Query::allowance`, shows that it cannot hold a nearer point than the best one known; what is left is
//! solved exactly (`triangle.rs`). Two bounds are used:
//! - of the box: f(p) >= f(c) + g . (p - c) over the box, from the distance f and slope g at its centre c;
//! - of the witness plane: the same from the nearest point known. It holds for every p, costs no square root, and leaves
//!   little of a body that is locally convex.

use super::certify::Line;
use super::kernel::{AnyKernel, Field, Kernel, TOO_CLOSE};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Backend, Lanes, Portable, dot, height, load3, minus};
use super::linkage::Mover;
use super::rigid::{Rigid, V3};
use super::solid::Solid;
use super::surfaces::BoxPair;
use super::tree::{Child, Leaf, Node, Tree};
use super::triangle::{Nearest, improve};

/// A fast answer is at most this far below the truth, mm.
pub const FAST_SLACK_MM: f64 = 0.018;
/// An exact answer is at most this far below the truth (rounding in double precision), mm.
pub const EXACT_SLACK_MM: f64 = 2e-7;

pub(crate) const FAST_TOLERANCE_MM: f64 = 1e-4;
const EXACT_TOLERANCE_MM: f64 = 1e-8;

/// Half the distance from 1 to the next single-precision number.
pub(crate) const UNIT_ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// No bound at all.
pub(crate) const NOTHING_KNOWN: f32 = -1e30;

/// Added to the depth of a box or corner inside the solid: no bound, but the deepest come first.
pub(crate) const INSIDE: f32 = -1e6;

/// A convex solid with its single-precision kernel.
#[derive(Clone, Debug)]
pub(crate) struct Convex {
    pub solid: Solid,
    pub kernel: AnyKernel,
    pub radius: f64,
    pub least_width: f64,
    pub centre: V3,
}

impl Convex {
    pub(crate) fn new(solid: Solid) -> Self {
        let kernel = AnyKernel::of(&solid);
        let (radius, least_width, centre) = (solid.radius(), solid.least_width(), solid.centre());
        Self {
            solid,
            kernel,
            radius,
            least_width,
            centre,
        }
    }
}

/// How a question is to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Only distances below this are of interest, mm.
    pub below: f64,
    /// Agree with exact arithmetic to rounding instead of `FAST_SLACK_MM`.
    pub exact: bool,
    /// The leaf that held the nearest point of a similar question.
    pub hint: Option<u32>,
    pub backend: Backend,
}

impl Options {
    pub(crate) fn slack(exact: bool) -> f64 {
        if exact { EXACT_SLACK_MM } else { FAST_SLACK_MM }
    }
}

/// The answer: the least distance lies in `[distance - slack, distance]`, where `distance` is `below` if `leaf` is `None`.
/// Zero or less means contact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub distance: f64,
    /// Never above the least distance, mm; for a surface that is far away it may lie above `below`.
    pub lower: f64,
    /// The nearest point of the surface, in the solid's frame.
    pub point: V3,
    /// The direction from the solid's nearest point to it.
    pub gradient: V3,
    /// Where it was.
    pub leaf: Option<u32>,
}

/// A node of which some boxes are still to be looked at.
#[derive(Clone, Debug)]
struct Opened {
    /// What bounds each of its boxes, as far as that is known.
    bounds: [f32; 16],
    node: u32,
    /// The boxes that are left, a bit each.
    left: u32,
    /// Which witness plane the bounds know of.
    plane: u32,
}

/// Nodes that a search seldom has open at once.
const OPEN_USUAL: usize = 24;

/// Working memory of a search, kept from one to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    pub stack: Vec<(f32, Child)>,
    open: Vec<Opened>,
    /// Where a block's certification starts, and what it leaves to its parts.
    pub frontier: Vec<Child>,
    /// The joints that move within a block.
    pub lines: Vec<Line>,
    pub movers: Vec<Mover>,
    /// Boxes of two surfaces that are still to be looked at.
    pub box_pairs: Vec<BoxPair>,
}

/// Least distance from the surface of `tree` to `convex`, where `pose` is `solid <- tree origin`.
pub(crate) fn search(
    tree: &Tree,
    convex: &Convex,
    pose: &Rigid,
    options: &Options,
    scratch: &mut Scratch,
) -> Found {
    let mut query = Query::new(tree, convex, pose, options, scratch);
    match &convex.kernel {
        AnyKernel::Cuboid(kernel) => query.dispatch(kernel, options),
        AnyKernel::Cylinder(kernel) => query.dispatch(kernel, options),
        AnyKernel::Capsule(kernel) => query.dispatch(kernel, options),
        AnyKernel::Hull(kernel) => query.dispatch(kernel, options),
    }
    let reached = query.nearest.distance - Options::slack(options.exact);
    Found {
        distance: query.nearest.distance,
        lower: if query.leaf.is_some() || query.solved {
            reached
        } else {
            reached.max(f64::from(query.passed) - query.allowance)
        },
        point: query.nearest.point,
        gradient: query.nearest.gradient,
        leaf: query.leaf,
    }
}

/// The single-precision motion `solid <- tree origin` and how wrong it can be.
#[derive(Clone, Copy)]
pub(crate) struct Motion {
    pub rotation: [[f32; 3]; 3],
    pub translation: [f32; 3],
}

impl Motion {
    pub(crate) fn of(pose: &Rigid) -> Self {
        let r = &pose.rotation;
        let t = &pose.translation;
        Self {
            rotation: [
                [r.m11 as f32, r.m12 as f32, r.m13 as f32],
                [r.m21 as f32, r.m22 as f32, r.m23 as f32],
                [r.m31 as f32, r.m32 as f32, r.m33 as f32],
            ],
            translation: [t.x as f32, t.y as f32, t.z as f32],
        }
    }

    /// The same motion, seen from a place `centre` in the frame it leads to.
    #[inline(always)]
    pub(crate) fn less(&self, [x, y, z]: [f32; 3]) -> Self {
        let [a, b, c] = self.translation;
        Self {
            rotation: self.rotation,
            translation: [a - x, b - y, c - z],
        }
    }

    #[inline(always)]
    pub(crate) fn move_points<L: Lanes>(&self, [x, y, z]: [L; 3]) -> [L; 3] {
        let [tx, ty, tz] = self.translation;
        let [[a, b, c], [d, e, f], [g, h, i]] = self.rotation;
        [
            height([a, b, c, tx], [x, y, z]),
            height([d, e, f, ty], [x, y, z]),
            height([g, h, i, tz], [x, y, z]),
        ]
    }

    /// The sizes of the components of slopes, turned back into the tree's frame.
    #[inline(always)]
    pub(crate) fn turned_back_sizes<L: Lanes>(&self, slope: [L; 3]) -> [L; 3] {
        let [[a, b, c], [d, e, f], [g, h, i]] = self.rotation;
        [
            dot([L::splat(a), L::splat(d), L::splat(g)], slope).abs(),
            dot([L::splat(b), L::splat(e), L::splat(h)], slope).abs(),
            dot([L::splat(c), L::splat(f), L::splat(i)], slope).abs(),
        ]
    }
}

/// A bound on the error of every single-precision bound computed for this surface, solid and pose, mm.
///
/// With u the unit roundoff, S the radius of the surface plus the translation (no moved point lies further from the
/// solid's origin), A the solid's radius, and E the half diagonal of the largest box: a moved point is within 8u S, the
/// distance at it within 7u S + 4u A, the slope is within 9u the exact slope at a point as near, which costs 27u E over a
/// box or a triangle, the witness plane 21u S + 4u A + 5u E, comparing 2u S. No bound uses more than 23u S + 4u A + 28u E;
/// `docs/adr/0007-how-clearance-is-bounded.md` has the table. A dimension beyond S counts as S: only where a point lies
/// beyond it does its rounding show, and no point does (faces of a hull may lie anywhere, there A counts in full). The tests
/// below hold the bounds against double precision.
pub(crate) fn rounding_allowance(tree: &Tree, solid: &Convex, translation: &V3) -> f64 {
    let reach = tree.radius + translation.norm();
    let size = match solid.solid {
        Solid::Hull(_) => solid.radius,
        _ => solid.radius.min(reach),
    };
    UNIT_ROUNDOFF * (42.0 * reach + 6.0 * size + 32.0 * tree.widest_half_diagonal)
}

struct Query<'a> {
    tree: &'a Tree,
    solid: &'a Solid,
    pose: &'a Rigid,
    motion: Motion,
    /// What a single-precision bound must reach beyond the best distance to pass a box over.
    margin: f64,
    allowance: f64,
    tolerance: f64,
    nearest: Nearest,
    leaf: Option<u32>,
    /// The least bound of what was passed over while nothing was found.
    passed: f32,
    /// A triangle was solved: it is bounded by the question's own limit only.
    solved: bool,
    /// The witness plane n, k in the tree's frame: f(p) >= n . p + k.
    plane: [f32; 4],
    /// How many planes there were before it.
    planes: u32,
    scratch: &'a mut Scratch,
}

impl<'a> Query<'a> {
    fn new(
        tree: &'a Tree,
        convex: &'a Convex,
        pose: &'a Rigid,
        options: &Options,
        scratch: &'a mut Scratch,
    ) -> Self {
        let allowance = rounding_allowance(tree, convex, &pose.translation);
        let tolerance = if options.exact {
            EXACT_TOLERANCE_MM
        } else {
            FAST_TOLERANCE_MM
        };
        let usable = if options.exact {
            0.0
        } else {
            FAST_SLACK_MM - 2.0 * FAST_TOLERANCE_MM
        };
        Self {
            tree,
            solid: &convex.solid,
            pose,
            motion: Motion::of(pose),
            margin: allowance - usable,
            allowance,
            tolerance,
            nearest: Nearest::none(options.below),
            leaf: None,
            passed: f32::MAX,
            solved: false,
            plane: [0.0, 0.0, 0.0, NOTHING_KNOWN],
            planes: 0,
            scratch,
        }
    }

    fn dispatch<K: Kernel>(&mut self, kernel: &K, options: &Options) {
        match options.backend.or_portable() {
            // SAFETY: `or_portable` names a path only after the processor was found to run it.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => unsafe { self.run_avx512(kernel, options.hint) },
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => unsafe { self.run_avx2(kernel, options.hint) },
            _ => self.run::<Portable, K>(kernel, options.hint),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn run_avx512<K: Kernel>(&mut self, kernel: &K, hint: Option<u32>) {
        self.run::<Avx512, K>(kernel, hint);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2<K: Kernel>(&mut self, kernel: &K, hint: Option<u32>) {
        self.run::<Avx2, K>(kernel, hint);
    }

    /// A bound at or above this cannot lead to a better answer.
    #[inline(always)]
    fn cut(&self) -> f32 {
        (self.nearest.distance + self.margin) as f32
    }

    #[inline(always)]
    fn run<L: Lanes, K: Kernel>(&mut self, kernel: &K, hint: Option<u32>) {
        let tree = self.tree;
        if let Some(leaf) = hint.and_then(|at| tree.leaves.get(at as usize)) {
            self.search_leaf::<L, K>(kernel, leaf, hint);
        }
        let mut stack = std::mem::take(&mut self.scratch.open);
        stack.clear();
        stack.reserve(OPEN_USUAL);
        if let Some(root) = tree.nodes.first() {
            self.open_node::<L, K>(kernel, root, 0, &mut stack);
        }
        while self.nearest.distance > 0.0
            && let Some(top) = stack.last_mut()
        {
            let Some(node) = tree.nodes.get(top.node as usize) else {
                break;
            };
            self.close_behind_plane::<L>(node, top);
            match self.take_nearest(node, top) {
                Some(Child::Node(at)) => {
                    if let Some(node) = tree.nodes.get(at as usize) {
                        self.open_node::<L, K>(kernel, node, at, &mut stack);
                    }
                }
                Some(Child::Leaf(at)) => {
                    if let Some(leaf) = tree.leaves.get(at as usize) {
                        self.search_leaf::<L, K>(kernel, leaf, Some(at));
                    }
                }
                Some(Child::None) => {}
                None => {
                    stack.pop();
                }
            }
        }
        self.scratch.open = stack;
    }

    /// Closes what the witness plane, if it has moved since the node was opened, leaves nothing of: cheaper than fetching
    /// what it holds.
    #[inline(always)]
    fn close_behind_plane<L: Lanes>(&self, node: &Node, opened: &mut Opened) {
        if opened.plane == self.planes {
            return;
        }
        opened.plane = self.planes;
        let by_plane = self.plane_over_boxes(load3::<L>(&node.centre), load3::<L>(&node.half));
        opened.left &= by_plane.lt(L::splat(self.cut()));
    }

    /// The box that is left with the least bound, if one may hold a better answer.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "lanes come from a 16-bit mask")]
    fn take_nearest(&self, node: &Node, opened: &mut Opened) -> Option<Child> {
        let (mut least, mut nearest) = (self.cut(), None);
        let mut left = opened.left;
        while left != 0 {
            let lane = left.trailing_zeros() as usize & 15;
            left &= left - 1;
            let bound = opened.bounds[lane];
            if bound < least {
                (least, nearest) = (bound, Some(lane));
            }
        }
        let lane = nearest?;
        opened.left &= !(1 << lane);
        Some(node.child[lane])
    }

    /// Remembers the least bound of what is passed over while nothing is found: then it bounds the whole surface.
    #[inline(always)]
    fn pass_over<L: Lanes>(&mut self, bound: L) {
        if self.leaf.is_none() {
            let beyond = bound.if_lt(L::splat(self.cut()), L::splat(f32::MAX), bound);
            self.passed = self.passed.min(beyond.least());
        }
    }

    /// Puts the node on the stack if a box of it may hold a better answer.
    #[inline(always)]
    fn open_node<L: Lanes, K: Kernel>(
        &mut self,
        kernel: &K,
        node: &Node,
        number: u32,
        stack: &mut Vec<Opened>,
    ) {
        let (centre, half) = (load3::<L>(&node.centre), load3::<L>(&node.half));
        let cut = L::splat(self.cut());
        let by_plane = self.plane_over_boxes(centre, half);
        let open = by_plane.lt(cut) & node.used;
        if open == 0 {
            return;
        }
        let by_slope = bound_over_boxes(kernel, &self.motion, centre, half);
        let bound = by_plane.max(by_slope);
        self.pass_over(bound);
        let left = open & bound.lt(cut);
        if left != 0 {
            stack.push(Opened {
                bounds: bound.store().0,
                node: number,
                left,
                plane: self.planes,
            });
        }
    }

    #[inline(always)]
    fn plane_over_boxes<L: Lanes>(&self, centre: [L; 3], half: [L; 3]) -> L {
        let [a, b, c, _] = self.plane;
        let sizes = [L::splat(a.abs()), L::splat(b.abs()), L::splat(c.abs())];
        height(self.plane, centre).sub(dot(sizes, half))
    }

    /// Lanes whose triangle reaches below the cut by the witness plane.
    #[inline(always)]
    fn plane_mask<L: Lanes>(&self, corner: &[[L; 3]; 3]) -> u32 {
        let [p, q, r] = *corner;
        let plane = self.plane;
        height(plane, p)
            .min(height(plane, q))
            .min(height(plane, r))
            .lt(L::splat(self.cut()))
    }

    #[inline(always)]
    fn search_leaf<L: Lanes, K: Kernel>(&mut self, kernel: &K, leaf: &Leaf, id: Option<u32>) {
        let [c0, c1, c2] = &leaf.corner;
        let corner = [load3::<L>(c0), load3::<L>(c1), load3::<L>(c2)];
        let mut open = self.plane_mask(&corner) & leaf.used;
        if open == 0 {
            return;
        }
        let [p, q, r] = corner;
        let moved = [
            self.motion.move_points(p),
            self.motion.move_points(q),
            self.motion.move_points(r),
        ];
        let [mp, mq, mr] = moved;
        // One corner rules most leaves out: nothing of a triangle, its other corners included, is below its bound.
        let first = kernel.field(mp);
        let by_first = corner_bound(&moved, &first, 0);
        if by_first.lt(L::splat(self.cut())) & open == 0 {
            self.pass_over(by_first);
            return;
        }
        let fields = [first, kernel.field(mq), kernel.field(mr)];
        let [fp, fq, fr] = &fields;
        if K::EXACT {
            let lowest = fp.value.min(fq.value).min(fr.value);
            let least = lowest.least();
            // A corner may be the new best: take it in double precision.
            if f64::from(least) - self.allowance < self.nearest.distance {
                let lane = (lowest.lt(L::splat(least.next_up())) & leaf.used).trailing_zeros() & 15;
                if self.offer_corners(leaf, lane, id) {
                    if self.nearest.distance <= 0.0 {
                        return;
                    }
                    open &= self.plane_mask(&corner);
                }
            }
            if open == 0 {
                return;
            }
        }
        let bound = bound_over_triangles(&moved, &fields);
        self.pass_over(bound);
        open &= bound.lt(L::splat(self.cut()));
        if open != 0 {
            self.solve_triangles::<L>(leaf, id, &corner, bound, open);
        }
    }

    /// Offers the corners of one triangle in double precision.
    #[inline(never)]
    fn offer_corners(&mut self, leaf: &Leaf, lane: u32, id: Option<u32>) -> bool {
        let Some(corners) = self.corners(leaf, lane) else {
            return false;
        };
        let mut improved = false;
        for p in &corners {
            improved |= self.nearest.offer(p, &self.solid.signed_distance(p));
        }
        if improved {
            self.leaf = id;
            self.set_plane();
        }
        improved
    }

    /// Solves the open triangles exactly, the most promising first.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "lanes come from a 16-bit mask")]
    fn solve_triangles<L: Lanes>(
        &mut self,
        leaf: &Leaf,
        id: Option<u32>,
        corner: &[[L; 3]; 3],
        bound: L,
        mut open: u32,
    ) {
        let bounds = bound.store().0;
        while open != 0 {
            let mut lane = open.trailing_zeros() as usize & 15;
            let mut others = open & (open - 1);
            while others != 0 {
                let other = others.trailing_zeros() as usize & 15;
                others &= others - 1;
                if bounds[other] < bounds[lane] {
                    lane = other;
                }
            }
            open &= !(1 << lane);
            if bounds[lane] >= self.cut() {
                return;
            }
            if self.solve_one(leaf, lane as u32, id) {
                if self.nearest.distance <= 0.0 {
                    return;
                }
                open &= self.plane_mask(corner);
            }
        }
    }

    #[inline(never)]
    fn solve_one(&mut self, leaf: &Leaf, lane: u32, id: Option<u32>) -> bool {
        let Some(corners) = self.corners(leaf, lane) else {
            return false;
        };
        self.solved = true;
        let improved = improve(self.solid, &corners, self.tolerance, &mut self.nearest);
        if improved {
            self.leaf = id;
            self.set_plane();
        }
        improved
    }

    #[inline]
    fn corners(&self, leaf: &Leaf, lane: u32) -> Option<[V3; 3]> {
        let index = *leaf.triangle.get(lane as usize)?;
        let corners = self.tree.triangles.get(index as usize)?;
        Some(corners.map(|p| self.pose.point(&p)))
    }

    /// The plane that supports the distance at the nearest point, in the tree's frame.
    #[inline]
    fn set_plane(&mut self) {
        let Nearest {
            distance,
            point,
            gradient,
        } = self.nearest;
        if distance <= 0.0 {
            return;
        }
        let n = self.pose.rotation.tr_mul(&gradient);
        let k = distance - gradient.dot(&point) + gradient.dot(&self.pose.translation);
        self.plane = [n.x as f32, n.y as f32, n.z as f32, k as f32];
        self.planes += 1;
    }
}

/// A lower bound over each box from the distance and slope at its centre.
#[inline(always)]
pub(crate) fn bound_over_boxes<L: Lanes, K: Kernel>(
    kernel: &K,
    motion: &Motion,
    centre: [L; 3],
    half: [L; 3],
) -> L {
    let Field { value, slope } = kernel.field(motion.move_points(centre));
    let [hx, hy, hz] = motion.turned_back_sizes(slope);
    let [ex, ey, ez] = half;
    let drop = hx.mul_add(ex, hy.mul_add(ey, hz.mul(ez)));
    value.if_lt(
        L::splat(TOO_CLOSE),
        value.add(L::splat(INSIDE)),
        value.sub(drop),
    )
}

/// A lower bound over each triangle: the best of those of its corners.
#[inline(always)]
pub(crate) fn bound_over_triangles<L: Lanes>(moved: &[[L; 3]; 3], [p, q, r]: &[Field<L>; 3]) -> L {
    corner_bound(moved, p, 0)
        .max(corner_bound(moved, q, 1))
        .max(corner_bound(moved, r, 2))
}

/// A lower bound over each triangle from the distance and slope at corner `at`.
#[inline(always)]
fn corner_bound<L: Lanes>(moved: &[[L; 3]; 3], field: &Field<L>, at: usize) -> L {
    let [p, q, r] = *moved;
    let (here, one, other) = match at {
        0 => (p, q, r),
        1 => (q, r, p),
        _ => (r, p, q),
    };
    let drop = dot(field.slope, minus(one, here))
        .min(dot(field.slope, minus(other, here)))
        .min(L::splat(0.0));
    field.value.if_lt(
        L::splat(TOO_CLOSE),
        field.value.add(L::splat(INSIDE)),
        field.value.add(drop),
    )
}

#[cfg(test)]
mod tests {
    use super::super::hull::Hull;
    use super::*;

    /// A small generator (xorshift).
    struct Random(u64);

    impl Random {
        fn between(&mut self, low: f64, high: f64) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            low + (high - low) * ((self.0 >> 11) as f64 / (1u64 << 53) as f64)
        }

        fn vector(&mut self, size: f64) -> V3 {
            V3::from_fn(|_, _| self.between(-size, size))
        }
    }

    fn patch(random: &mut Random, count: usize) -> Vec<[V3; 3]> {
        (0..count)
            .map(|_| {
                let a = random.vector(900.0);
                [a, a + random.vector(60.0), a + random.vector(60.0)]
            })
            .collect()
    }

    fn solids(random: &mut Random) -> Vec<Solid> {
        let points: Vec<V3> = (0..12).map(|_| random.vector(300.0)).collect();
        vec![
            Solid::Cuboid {
                half: random.vector(400.0).abs(),
            },
            Solid::Cylinder {
                radius: random.between(1.0, 500.0),
                half_length: random.between(1.0, 500.0),
            },
            Solid::Capsule {
                radius: random.between(1.0, 200.0),
                half_length: random.between(0.0, 500.0),
            },
            Solid::Hull(Hull::of_points(&points, "hull").unwrap()),
        ]
    }

    /// The largest excess of single-precision bounds over double-precision distances, as a share of the allowance.
    fn worst_share<K: Kernel>(
        random: &mut Random,
        tree: &Tree,
        convex: &Convex,
        kernel: &K,
        pose: &Rigid,
    ) -> f64 {
        let allowance = rounding_allowance(tree, convex, &pose.translation);
        let motion = Motion::of(pose);
        let mut worst = f64::NEG_INFINITY;
        let mut hold = |bound: f32, p: &V3| {
            let truth = convex.solid.signed_distance(&pose.point(p)).value;
            worst = worst.max((f64::from(bound) - truth) / allowance);
        };
        for node in &tree.nodes {
            let load =
                |blocks: &[super::super::lanes::Block; 3]| blocks.each_ref().map(Portable::load);
            let bounds = bound_over_boxes(kernel, &motion, load(&node.centre), load(&node.half))
                .store()
                .0;
            for (lane, bound) in bounds.into_iter().enumerate() {
                let centre = V3::from_fn(|i, _| f64::from(node.centre[i].0[lane]));
                let half = V3::from_fn(|i, _| f64::from(node.half[i].0[lane]));
                for corner in 0..8 {
                    let sign = V3::from_fn(|i, _| if corner >> i & 1 == 0 { 1.0 } else { -1.0 });
                    hold(bound, &(centre + half.component_mul(&sign)));
                }
                hold(bound, &(centre + half.component_mul(&random.vector(1.0))));
            }
        }
        for leaf in &tree.leaves {
            let moved = leaf
                .corner
                .each_ref()
                .map(|c| motion.move_points(c.each_ref().map(Portable::load)));
            let fields = moved.map(|at| kernel.field(at));
            let bounds = bound_over_triangles(&moved, &fields).store().0;
            for (lane, bound) in bounds.into_iter().enumerate() {
                let [a, b, c] = tree.triangles[leaf.triangle[lane] as usize];
                let (u, v) = (random.between(0.0, 1.0), random.between(0.0, 1.0));
                for p in [a, b, c, a + (b - a) * u * v + (c - a) * u * (1.0 - v)] {
                    hold(bound, &p);
                }
            }
        }
        worst
    }

    #[test]
    fn single_precision_bounds_stay_within_the_proven_allowance() {
        let mut random = Random(0x5EED);
        let mut worst = f64::NEG_INFINITY;
        for round in 0..300 {
            let tree = Tree::build(&patch(&mut random, 200));
            let axis = random.vector(1.0).normalize();
            let turn = Rigid::turn(&axis, random.between(-3.0, 3.0));
            let reach = if round % 2 == 0 { 300.0 } else { 2500.0 };
            let pose = Rigid::slide(random.vector(reach)).then(&turn);
            for solid in solids(&mut random) {
                let convex = Convex::new(solid);
                let share = match &convex.kernel {
                    AnyKernel::Cuboid(k) => worst_share(&mut random, &tree, &convex, k, &pose),
                    AnyKernel::Cylinder(k) => worst_share(&mut random, &tree, &convex, k, &pose),
                    AnyKernel::Capsule(k) => worst_share(&mut random, &tree, &convex, k, &pose),
                    AnyKernel::Hull(k) => worst_share(&mut random, &tree, &convex, k, &pose),
                };
                worst = worst.max(share);
            }
        }
        assert!(worst < 1.0, "a bound exceeded its allowance {worst} times");
        assert!(
            worst > 0.0,
            "no rounding at all was seen: the test does not test"
        );
    }
}
