//! Two surfaces of any shape: their least distance, and how deep one reaches into the other.
//!
//! Both trees are descended together. A box of the one is a cuboid, and its distance to sixteen boxes of the other is
//! bounded as that of any convex solid is; pairs of triangles that are left are solved exactly in double precision. The
//! witness plane works here too: with n along the shortest connection known, |p - q| >= n . p - n . q for every pair of
//! points.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::body::Body;
use super::facing::triangle_distance;
use super::kernel::CuboidKernel;
use super::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Backend, Block, Lanes, Portable, dot, height, load3};
use super::rigid::{Rigid, V3};
use super::search::{
    Convex, FAST_SLACK_MM, FAST_TOLERANCE_MM, Found, Motion, NOTHING_KNOWN, Options, Scratch,
    UNIT_ROUNDOFF, bound_over_boxes, bound_over_triangles, search,
};
use super::solid::Solid;
use super::tree::{Child, Leaf, Node, Tree};

/// A node or leaf with its box, in the frame of its own tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boxed {
    child: Child,
    centre: [f32; 3],
    half: [f32; 3],
}

impl Boxed {
    fn root(tree: &Tree) -> Self {
        let size = tree.half.map(|x| (x as f32).next_up());
        Self {
            child: Child::Node(0),
            centre: [0.0; 3],
            half: [size.x, size.y, size.z],
        }
    }

    /// A lane of a node.
    #[inline(always)]
    fn of(node: &Node, lane: usize) -> Self {
        let pick = |blocks: &[Block; 3]| {
            let [x, y, z] = blocks;
            [x, y, z].map(|block| block.0.get(lane & 15).copied().unwrap_or(0.0))
        };
        Self {
            child: node.child.get(lane & 15).copied().unwrap_or(Child::None),
            centre: pick(&node.centre),
            half: pick(&node.half),
        }
    }

    fn size(&self) -> f32 {
        let [x, y, z] = self.half;
        x * x + y * y + z * z
    }
}

/// A box of each tree that may hold the nearest points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxPair {
    bound: f32,
    one: Boxed,
    other: Boxed,
}

/// The least distance between the surfaces of `tree` and `other`, where `pose` is `other <- tree`. The point found lies on
/// the first surface, in the frame of the other; against the gradient lies its counterpart.
pub(crate) fn nearest_between(
    tree: &Tree,
    other: &Tree,
    pose: &Rigid,
    options: &Options,
    scratch: &mut Scratch,
) -> Found {
    let mut descent = Descent::new(tree, other, pose, options);
    let hint = options.hint.filter(|at| (*at as usize) < tree.leaves.len());
    let stack = &mut scratch.box_pairs;
    match options.backend.or_portable() {
        // SAFETY: `or_portable` names a path only after the processor was found to run it.
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => unsafe { descent.run_avx512(hint, stack) },
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => unsafe { descent.run_avx2(hint, stack) },
        _ => descent.run::<Portable>(hint, stack),
    }
    Found {
        distance: descent.distance,
        lower: descent.distance - Options::slack(options.exact),
        point: descent.point,
        gradient: descent.gradient,
        leaf: descent.leaf,
    }
}

struct Descent<'a> {
    tree: &'a Tree,
    other: &'a Tree,
    pose: &'a Rigid,
    /// `other <- tree` and back.
    there: Motion,
    back: Motion,
    /// What a single-precision bound must reach beyond the best distance to pass a pair over.
    margin: f64,
    distance: f64,
    point: V3,
    gradient: V3,
    leaf: Option<u32>,
    /// n . p + k >= distance of p from a plane between the surfaces, for p in the tree's frame; n . q in the other's.
    plane: [f32; 4],
    facing: [f32; 3],
}

impl<'a> Descent<'a> {
    fn new(tree: &'a Tree, other: &'a Tree, pose: &'a Rigid, options: &Options) -> Self {
        // As `rounding_allowance`, with one surface's radius as the solid's: every box of it is a cuboid that lies in it,
        // and its centre is subtracted once more (2u of the reach), which the larger factors cover.
        let reach = tree.radius + other.radius + pose.translation.norm();
        let widest = tree.widest_half_diagonal.max(other.widest_half_diagonal);
        let allowance = UNIT_ROUNDOFF * (60.0 * reach + 40.0 * widest);
        let usable = if options.exact {
            0.0
        } else {
            FAST_SLACK_MM - 2.0 * FAST_TOLERANCE_MM
        };
        Self {
            tree,
            other,
            pose,
            there: Motion::of(pose),
            back: Motion::of(&pose.inverse()),
            margin: allowance - usable,
            distance: options.below,
            point: V3::zeros(),
            gradient: V3::zeros(),
            leaf: None,
            plane: [0.0; 4],
            facing: [0.0; 3],
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn run_avx512(&mut self, hint: Option<u32>, stack: &mut Vec<BoxPair>) {
        self.run::<Avx512>(hint, stack);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&mut self, hint: Option<u32>, stack: &mut Vec<BoxPair>) {
        self.run::<Avx2>(hint, stack);
    }

    #[inline(always)]
    fn cut(&self) -> f32 {
        (self.distance + self.margin) as f32
    }

    #[inline(always)]
    fn run<L: Lanes>(&mut self, hint: Option<u32>, stack: &mut Vec<BoxPair>) {
        stack.clear();
        let all = BoxPair {
            bound: NOTHING_KNOWN,
            one: Boxed::root(self.tree),
            other: Boxed::root(self.other),
        };
        stack.push(all);
        if let Some(at) = hint {
            let one = Boxed {
                child: Child::Leaf(at),
                centre: [0.0; 3],
                half: all.one.half,
            };
            stack.push(BoxPair { one, ..all });
        }
        while let Some(pair) = stack.pop() {
            if self.distance <= 0.0 {
                break;
            }
            if pair.bound >= self.cut() {
                continue;
            }
            match (pair.one.child, pair.other.child) {
                (Child::Leaf(one), Child::Leaf(other)) => self.leaves::<L>(one, other),
                (Child::Node(at), other) => {
                    let second =
                        matches!(other, Child::Node(_)) && pair.other.size() > pair.one.size();
                    if second {
                        self.open_other::<L>(&pair, stack);
                    } else if let Some(node) = self.tree.nodes.get(at as usize) {
                        self.open_one::<L>(node, &pair.other, stack);
                    }
                }
                (Child::Leaf(_), Child::Node(_)) => self.open_other::<L>(&pair, stack),
                _ => {}
            }
        }
    }

    /// Boxes of a node of the tree against one of the other.
    #[inline(always)]
    fn open_one<L: Lanes>(&self, node: &Node, other: &Boxed, stack: &mut Vec<BoxPair>) {
        let (centre, half) = (load3::<L>(&node.centre), load3::<L>(&node.half));
        let far = self.far_side(other);
        let [a, b, c, _] = self.plane;
        let sizes = [L::splat(a.abs()), L::splat(b.abs()), L::splat(c.abs())];
        let by_plane = height(self.plane, centre)
            .sub(dot(sizes, half))
            .sub(L::splat(far));
        let cut = L::splat(self.cut());
        let mut open = self.planed(by_plane.lt(cut)) & node.used;
        if open == 0 {
            return;
        }
        let kernel = CuboidKernel { half: other.half };
        let bound = bound_over_boxes(&kernel, &self.there.less(other.centre), centre, half);
        open &= bound.lt(cut);
        let bounds = bound.store().0;
        push_sorted(open, &bounds, stack, |lane, bound| BoxPair {
            bound,
            one: Boxed::of(node, lane),
            other: *other,
        });
    }

    /// Boxes of a node of the other tree against one of the first.
    #[inline(always)]
    fn open_other<L: Lanes>(&self, pair: &BoxPair, stack: &mut Vec<BoxPair>) {
        let Child::Node(at) = pair.other.child else {
            return;
        };
        let Some(node) = self.other.nodes.get(at as usize) else {
            return;
        };
        let (centre, half) = (load3::<L>(&node.centre), load3::<L>(&node.half));
        let kernel = CuboidKernel {
            half: pair.one.half,
        };
        let bound = bound_over_boxes(&kernel, &self.back.less(pair.one.centre), centre, half);
        let open = bound.lt(L::splat(self.cut())) & node.used;
        let bounds = bound.store().0;
        push_sorted(open, &bounds, stack, |lane, bound| BoxPair {
            bound,
            one: pair.one,
            other: Boxed::of(node, lane),
        });
    }

    /// Masks by the witness plane count only once there is one.
    #[inline(always)]
    fn planed(&self, mask: u32) -> u32 {
        if self.leaf.is_some() { mask } else { 0xFFFF }
    }

    /// The furthest that a box of the other tree reaches towards the first surface.
    #[inline(always)]
    fn far_side(&self, other: &Boxed) -> f32 {
        let ([a, b, c], [x, y, z], [p, q, r]) = (self.facing, other.centre, other.half);
        (a * x + b * y + c * z) + (a.abs() * p + b.abs() * q + c.abs() * r)
    }

    #[inline(always)]
    fn leaves<L: Lanes>(&mut self, one: u32, other: u32) {
        let (tree, second) = (self.tree, self.other);
        let (Some(leaf), Some(against)) = (
            tree.leaves.get(one as usize),
            second.leaves.get(other as usize),
        ) else {
            return;
        };
        let [c0, c1, c2] = &leaf.corner;
        let corner = [load3::<L>(c0), load3::<L>(c1), load3::<L>(c2)];
        let [p, q, r] = corner;
        for lane in 0..against.used.count_ones() {
            let Some(triangle) = against
                .triangle
                .get(lane as usize)
                .and_then(|at| second.triangles.get(*at as usize))
            else {
                continue;
            };
            let boxed = box_of(triangle);
            let cut = L::splat(self.cut());
            let plane = self.plane;
            let near = height(plane, p).min(height(plane, q)).min(height(plane, r));
            let by_plane = near.sub(L::splat(self.far_side(&boxed)));
            let mut open = self.planed(by_plane.lt(cut)) & leaf.used;
            if open == 0 {
                continue;
            }
            let kernel = CuboidKernel { half: boxed.half };
            let motion = self.there.less(boxed.centre);
            let moved = [
                motion.move_points(p),
                motion.move_points(q),
                motion.move_points(r),
            ];
            let [mp, mq, mr] = moved;
            let fields = [kernel.field(mp), kernel.field(mq), kernel.field(mr)];
            let bound = bound_over_triangles(&moved, &fields);
            open &= bound.lt(cut);
            if open != 0 {
                self.solve(leaf, one, triangle, &bound.store().0, open);
                if self.distance <= 0.0 {
                    return;
                }
            }
        }
    }

    /// Solves the open triangles of a leaf against one of the other surface, the most promising first.
    #[inline(never)]
    fn solve(
        &mut self,
        leaf: &Leaf,
        id: u32,
        triangle: &[V3; 3],
        bounds: &[f32; 16],
        mut open: u32,
    ) {
        while open != 0 {
            let mut best = (f32::INFINITY, 0u32);
            for (lane, bound) in bounds.iter().enumerate() {
                if open >> lane & 1 == 1 && *bound < best.0 {
                    best = (*bound, lane as u32);
                }
            }
            open &= !(1 << best.1);
            if best.0 >= self.cut() {
                return;
            }
            let Some(corners) = leaf
                .triangle
                .get(best.1 as usize)
                .and_then(|at| self.tree.triangles.get(*at as usize))
            else {
                continue;
            };
            let moved = corners.map(|p| self.pose.point(&p));
            let (p, q) = triangle_distance(&moved, triangle);
            let gap = (p - q).norm();
            if gap < self.distance {
                self.take(&p, &q, gap, id);
                if gap <= 0.0 {
                    return;
                }
            }
        }
    }

    fn take(&mut self, p: &V3, q: &V3, gap: f64, leaf: u32) {
        let n = if gap > 0.0 {
            (p - q) / gap
        } else {
            V3::zeros()
        };
        (self.distance, self.point, self.gradient, self.leaf) = (gap, *p, n, Some(leaf));
        let turned = self.pose.rotation.tr_mul(&n);
        let shift = n.dot(&self.pose.translation);
        self.plane = [
            turned.x as f32,
            turned.y as f32,
            turned.z as f32,
            shift as f32,
        ];
        self.facing = [n.x as f32, n.y as f32, n.z as f32];
    }
}

fn box_of(triangle: &[V3; 3]) -> Boxed {
    let [a, b, c] = triangle;
    let (low, high) = (a.inf(b).inf(c), a.sup(b).sup(c));
    let centre = ((low + high) * 0.5).map(|x| x as f32);
    let wide = centre.map(f64::from);
    let half = (high - wide)
        .sup(&(wide - low))
        .map(|x| (x as f32).next_up());
    Boxed {
        child: Child::None,
        centre: [centre.x, centre.y, centre.z],
        half: [half.x, half.y, half.z],
    }
}

/// Pushes the pairs of the open lanes, the nearest on top.
#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    reason = "lanes come from a 16-bit mask; the stack is walked from its own length"
)]
fn push_sorted(
    mut open: u32,
    bounds: &[f32; 16],
    stack: &mut Vec<BoxPair>,
    pair: impl Fn(usize, f32) -> BoxPair,
) {
    let base = stack.len();
    while open != 0 {
        let lane = open.trailing_zeros() as usize & 15;
        open &= open - 1;
        let entry = pair(lane, bounds[lane]);
        let mut at = stack.len();
        stack.push(entry);
        while at > base && stack[at - 1].bound < entry.bound {
            stack[at] = stack[at - 1];
            at -= 1;
        }
        stack[at] = entry;
    }
}

/// Whether a piece of one of two surfaces that do not touch lies inside the other; `pose` is `other <- body`, tree to tree.
pub(crate) fn one_inside_other(body: &Body, other: &Body, pose: &Rigid) -> bool {
    let back = pose.inverse();
    let first = body.anchors.iter().any(|p| other.holds(&pose.point(p)));
    first || other.anchors.iter().any(|q| body.holds(&back.point(q)))
}

/// How deep the deepest point of either surface lies inside the other solid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Penetration {
    /// A point lies this deep, mm; zero if none was found.
    pub found: f64,
    /// None lies deeper than this, mm.
    pub bound: f64,
    /// The point found, in the other's frame.
    pub point: V3,
}

/// Distances measured for the depth of one surface in the other.
const DEPTHS_MAX: u32 = 400;
/// And to certify contact in a block.
const QUICK_DEPTHS_MAX: u32 = 48;

/// Depth of two surfaces in contact; `pose` is `other <- body`, tree to tree.
pub(crate) fn penetration(
    body: &Body,
    other: &Body,
    pose: &Rigid,
    tolerance: f64,
    scratch: &mut Scratch,
) -> Penetration {
    let a = deepest_in(body, other, pose, tolerance, DEPTHS_MAX, scratch);
    let back = pose.inverse();
    let b = deepest_in(other, body, &back, tolerance, DEPTHS_MAX, scratch);
    let (deeper, point) = if a.found >= b.found {
        (a.found, a.point)
    } else {
        (b.found, pose.point(&back.point(&b.point)))
    };
    Penetration {
        found: deeper,
        bound: a.bound.max(b.bound),
        point,
    }
}

/// A depth that is certainly reached at this pose, mm; zero if none was found.
pub(crate) fn inside_depth(body: &Body, other: &Body, pose: &Rigid, scratch: &mut Scratch) -> f64 {
    let back = pose.inverse();
    let a = deepest_in(body, other, pose, 1.0, QUICK_DEPTHS_MAX, scratch);
    let b = deepest_in(other, body, &back, 1.0, QUICK_DEPTHS_MAX, scratch);
    a.found.max(b.found)
}

struct Region {
    bound: f64,
    arrival: u32,
    child: Child,
}

impl Ord for Region {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_bound = self.bound.total_cmp(&other.bound);
        by_bound.then(other.arrival.cmp(&self.arrival))
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

/// Measures depths of single points of space in one solid.
struct Sounding<'a> {
    solid: &'a Body,
    ball: Convex,
    scratch: &'a mut Scratch,
    left: u32,
}

/// A ball this small stands for a point, mm.
const POINT_MM: f64 = 1e-3;

impl Sounding<'_> {
    /// Depth of a point below the surface, at least and at most; negative outside.
    fn depth(&mut self, p: &V3) -> (f64, f64) {
        self.left = self.left.saturating_sub(1);
        let options = Options {
            below: f64::INFINITY,
            exact: false,
            hint: None,
            backend: Backend::best(),
        };
        let pose = Rigid::slide(-p);
        let found = search(&self.solid.tree, &self.ball, &pose, &options, self.scratch);
        let (least, most) = if found.distance <= 0.0 {
            (0.0, POINT_MM)
        } else {
            (found.lower + POINT_MM, found.distance + POINT_MM)
        };
        if self.solid.holds(p) {
            (least, most)
        } else {
            (-most, -least)
        }
    }
}

/// The deepest point of the surface of `body` in `other`: best-first over its boxes. Depth changes by at most the length of
/// a step, so a box is bounded from its middle. Ends when nothing deeper by `tolerance` is left, or after `most` soundings.
fn deepest_in(
    body: &Body,
    other: &Body,
    pose: &Rigid,
    tolerance: f64,
    most: u32,
    scratch: &mut Scratch,
) -> Penetration {
    let mut sounding = Sounding {
        solid: other,
        ball: Convex::new(Solid::Capsule {
            radius: POINT_MM,
            half_length: 0.0,
        }),
        scratch,
        left: most,
    };
    let mut best = Penetration {
        found: 0.0,
        bound: 0.0,
        point: pose.translation,
    };
    let mut open = BinaryHeap::new();
    let start = (other.tree.radius * 2.0, 0);
    open.push(Region {
        bound: start.0,
        arrival: start.1,
        child: Child::Node(0),
    });
    let mut arrival = 0;
    while let Some(region) = open.pop() {
        if region.bound <= best.found + tolerance || sounding.left == 0 {
            best.bound = best.bound.max(region.bound);
            break;
        }
        match region.child {
            Child::Leaf(at) => {
                let reached = sound_leaf(&body.tree, at, pose, &mut sounding, &mut best);
                // What a leaf's triangles may hold between their corners stays in the answer.
                best.bound = best.bound.max(reached);
            }
            Child::Node(at) => {
                let Some(node) = body.tree.nodes.get(at as usize) else {
                    continue;
                };
                for lane in 0..node.used.count_ones() as usize {
                    let boxed = Boxed::of(node, lane);
                    let centre = V3::from(boxed.centre.map(f64::from));
                    let (_, depth) = sounding.depth(&pose.point(&centre));
                    let reach = V3::from(boxed.half.map(f64::from)).norm();
                    arrival += 1;
                    open.push(Region {
                        bound: (depth + reach).min(region.bound),
                        arrival,
                        child: boxed.child,
                    });
                }
            }
            Child::None => {}
        }
    }
    best.bound = best.bound.max(best.found);
    best
}

/// Sounds the corners of a leaf's triangles; returns how deep any of its points can be.
fn sound_leaf(
    tree: &Tree,
    at: u32,
    pose: &Rigid,
    sounding: &mut Sounding,
    best: &mut Penetration,
) -> f64 {
    let Some(leaf) = tree.leaves.get(at as usize) else {
        return 0.0;
    };
    let mut reached = 0f64;
    for index in leaf.triangle.iter().take(leaf.used.count_ones() as usize) {
        let Some(corners) = tree.triangles.get(*index as usize) else {
            continue;
        };
        let [a, b, c] = corners.map(|p| pose.point(&p));
        let (least, most) = sounding.depth(&a);
        if least > best.found {
            (best.found, best.point) = (least, a);
        }
        reached = reached.max(most + (b - a).norm().max((c - a).norm()));
    }
    reached
}
