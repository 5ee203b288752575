//! Is a pair clear, or in contact, everywhere in a block of poses? And how near can it come anywhere in it?
//!
//! The block is given by its middle and by the joints that move within it (`Mover`). Let p be a point of the surface in the
//! solid's frame at the middle. Joint after joint, the innermost first, moves it to p + d. With r_k the vector from axis k to p
//! and |t_k| <= amount_k its turn,
//!
//! d = sum of sin(t_k) a_k x r_k  +  e,   |e| <= E = sum of amount_k D_(k-1) + amount_k^2 / 2 |a_k x r_k|,
//!
//! where D_k = D_(k-1) + amount_k (|a_k x r_k| + D_(k-1)) bounds the travel by the first k joints: turning a vector v by t
//! adds sin(t) a x v + (1 - cos t) a x (a x v), and changes one of length D by at most t D. A slide adds its travel along its
//! direction and nothing to E. From the value f and slope g of the convex distance at any point c,
//!
//! f(p + d) >= f + g . (p - c) - sum of amount_k |g . (a_k x r_k)| - E.
//!
//! The sum is small where parts pass by one another, as a head does that turns round a patient, although they travel far:
//! that is what lets whole degrees be certified at once. All of it but E is affine in p for given turns, so over a triangle
//! it is least at a corner, and over a box its change is bounded by amount_k times half the diagonal.

use super::kernel::{AnyKernel, Kernel, TOO_CLOSE};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Backend, Lanes, Portable, dot, height, load3, minus};
use super::linkage::Mover;
use super::rigid::{Rigid, V3};
use super::search::{
    Convex, INSIDE, Motion, NOTHING_KNOWN, Scratch, UNIT_ROUNDOFF, rounding_allowance,
};
use super::tree::{Child, Leaf, Node, Tree};

/// What holds everywhere in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The clearance is at least the margin asked for.
    Clear,
    /// The parts are in contact.
    Contact,
    /// Neither was shown.
    Open,
}

/// What a verdict asks of the surface in the tree, mm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Margins {
    /// Clear: every point of it at least this far outside.
    pub clear: f64,
    /// Contact: a point of it more than this deep inside.
    pub contact: f64,
}

/// After this many leaves that cannot be cleared the block is left open: it will be cut anyway.
const OPEN_LEAVES_MAX: usize = 3;

/// With more joints than this the corners of what a point can reach are too many; a ball holds them.
const REACHED_CORNERS_MAX: usize = 4;

/// What a block question needs of a pair, whatever is asked.
#[derive(Clone, Copy)]
pub(crate) struct BlockQuestion<'a> {
    pub tree: &'a Tree,
    pub convex: &'a Convex,
    /// `solid <- tree origin` at the middle.
    pub pose: &'a Rigid,
    /// The innermost first.
    pub movers: &'a [Mover],
    /// f(x) >= n . x + k for every x in the solid's frame, if such a plane is known.
    pub plane: Option<(V3, f64)>,
    pub backend: Backend,
}

/// Certifies one block. The search begins at `scratch.frontier`, and leaves there what a part of the block must look at.
pub(crate) fn certify(
    question: &BlockQuestion,
    margins: Margins,
    scratch: &mut Scratch,
) -> Verdict {
    let mut lines = std::mem::take(&mut scratch.lines);
    let wobble = Wobble::of(question, &mut lines);
    let certifier = Certifier {
        tree: question.tree,
        motion: Motion::of(question.pose),
        lines: &lines,
        spread: wobble.spread,
        plane: question.plane.map(single_plane),
        threshold: up(margins.clear + wobble.rest + wobble.allowance),
        inside: up(margins.contact + wobble.rest + wobble.allowance),
    };
    let verdict = match &question.convex.kernel {
        AnyKernel::Cuboid(kernel) => certifier.decide(kernel, question.backend, scratch),
        AnyKernel::Cylinder(kernel) => certifier.decide(kernel, question.backend, scratch),
        AnyKernel::Capsule(kernel) => certifier.decide(kernel, question.backend, scratch),
        AnyKernel::Hull(kernel) => certifier.decide(kernel, question.backend, scratch),
    };
    scratch.lines = lines;
    verdict
}

/// A lower bound on the distance to the surface in the tree anywhere in the block, mm, or `below` if it is that at least;
/// very low if they may touch.
pub(crate) fn lowest(
    question: &BlockQuestion,
    below: f64,
    hint: Option<u32>,
    scratch: &mut Scratch,
) -> f64 {
    let mut lines = std::mem::take(&mut scratch.lines);
    let wobble = Wobble::of(question, &mut lines);
    let loss = wobble.rest + wobble.allowance;
    let certifier = Certifier {
        tree: question.tree,
        motion: Motion::of(question.pose),
        lines: &lines,
        spread: wobble.spread,
        plane: question.plane.map(single_plane),
        threshold: up(below.min(1e9) + loss),
        inside: 0.0,
    };
    let start = (certifier.threshold, hint);
    let least = match &question.convex.kernel {
        AnyKernel::Cuboid(kernel) => certifier.least(kernel, question.backend, start, scratch),
        AnyKernel::Cylinder(kernel) => certifier.least(kernel, question.backend, start, scratch),
        AnyKernel::Capsule(kernel) => certifier.least(kernel, question.backend, start, scratch),
        AnyKernel::Hull(kernel) => certifier.least(kernel, question.backend, start, scratch),
    };
    scratch.lines = lines;
    (f64::from(least) - f64::from(up(loss))).min(below)
}

/// Rounded to single precision upwards, with a part in a million to spare for sums that follow.
fn up(x: f64) -> f32 {
    ((x * (1.0 + 1e-6)) as f32).next_up()
}

fn single_plane((normal, height): (V3, f64)) -> [f32; 4] {
    [
        normal.x as f32,
        normal.y as f32,
        normal.z as f32,
        height as f32,
    ]
}

/// How a block strays, but for what every point has by itself.
struct Wobble {
    /// E above, mm.
    rest: f64,
    /// How much faster than a box's middle its other points can move, mm per mm.
    spread: f32,
    allowance: f64,
}

impl Wobble {
    /// Fills `lines` with the joints in single precision.
    fn of(question: &BlockQuestion, lines: &mut Vec<Line>) -> Self {
        let BlockQuestion {
            tree, convex, pose, ..
        } = question;
        lines.clear();
        let stretch = tree.radius + pose.translation.norm();
        let (mut rest, mut travel, mut spread, mut rounding) = (0.0, 0.0, 0.0, 0.0);
        for mover in question.movers {
            lines.push(Line::of(mover));
            let amount = mover.amount;
            if mover.turns {
                let to_middle = mover.direction.cross(&(pose.translation - mover.origin));
                let mut reach = to_middle.norm();
                for (side, half) in pose.rotation.column_iter().zip(tree.half.iter()) {
                    reach += mover.direction.cross(&side).norm() * half;
                }
                rest += amount * (travel + 0.5 * amount * reach);
                travel += amount * (reach + travel);
                spread += amount;
                rounding += amount * (stretch + mover.origin.norm());
            } else {
                travel += amount;
                rounding += amount;
            }
        }
        // Depths count dimensions in full, and they are read here too.
        let shape = rounding_allowance(tree, convex, &pose.translation)
            + convex.radius * 4.0 * f64::from(f32::EPSILON);
        Self {
            rest,
            spread: up(spread),
            allowance: shape + 64.0 * UNIT_ROUNDOFF * (rounding + travel),
        }
    }
}

/// A joint in single precision: a point p moves by `turn` x p + `shift` for a unit of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    turn: [f32; 3],
    shift: [f32; 3],
    amount: f32,
}

impl Line {
    fn of(mover: &Mover) -> Self {
        let single = |v: V3| [v.x as f32, v.y as f32, v.z as f32];
        let (turn, shift) = if mover.turns {
            (mover.direction, -mover.direction.cross(&mover.origin))
        } else {
            (V3::zeros(), mover.direction)
        };
        Self {
            turn: single(turn),
            shift: single(shift),
            amount: up(mover.amount),
        }
    }

    #[inline(always)]
    fn flow<L: Lanes>(&self, at: [L; 3]) -> [L; 3] {
        let ([a, b, c], [p, q, r]) = (self.turn, self.shift);
        [
            height([0.0, -c, b, p], at),
            height([c, 0.0, -a, q], at),
            height([-b, a, 0.0, r], at),
        ]
    }
}

#[inline(always)]
fn normal<L: Lanes>([a, b, c, _]: [f32; 4]) -> [L; 3] {
    [L::splat(a), L::splat(b), L::splat(c)]
}

struct Certifier<'a> {
    tree: &'a Tree,
    motion: Motion,
    lines: &'a [Line],
    spread: f32,
    plane: Option<[f32; 4]>,
    /// A bound must reach this beyond what the movers take from it.
    threshold: f32,
    /// A corner must lie deeper than this.
    inside: f32,
}

impl Certifier<'_> {
    fn decide<K: Kernel>(&self, kernel: &K, backend: Backend, scratch: &mut Scratch) -> Verdict {
        match backend.or_portable() {
            // SAFETY: `or_portable` names a path only after the processor was found to run it.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => unsafe { self.decide_avx512(kernel, scratch) },
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => unsafe { self.decide_avx2(kernel, scratch) },
            _ => self.decide_in::<Portable, K>(kernel, scratch),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn decide_avx512<K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        self.decide_in::<Avx512, K>(kernel, scratch)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn decide_avx2<K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        self.decide_in::<Avx2, K>(kernel, scratch)
    }

    fn least<K: Kernel>(
        &self,
        kernel: &K,
        backend: Backend,
        start: (f32, Option<u32>),
        scratch: &mut Scratch,
    ) -> f32 {
        match backend.or_portable() {
            // SAFETY: as in `decide`.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => unsafe { self.least_avx512(kernel, start, scratch) },
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => unsafe { self.least_avx2(kernel, start, scratch) },
            _ => self.least_in::<Portable, K>(kernel, start, scratch),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn least_avx512<K: Kernel>(
        &self,
        kernel: &K,
        start: (f32, Option<u32>),
        scratch: &mut Scratch,
    ) -> f32 {
        self.least_in::<Avx512, K>(kernel, start, scratch)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn least_avx2<K: Kernel>(
        &self,
        kernel: &K,
        start: (f32, Option<u32>),
        scratch: &mut Scratch,
    ) -> f32 {
        self.least_in::<Avx2, K>(kernel, start, scratch)
    }

    #[inline(always)]
    fn decide_in<L: Lanes, K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        let (stack, frontier) = (&mut scratch.stack, &mut scratch.frontier);
        stack.clear();
        for child in frontier.iter() {
            stack.push((NOTHING_KNOWN, *child));
        }
        frontier.clear();
        let mut verdict = Verdict::Clear;
        while let Some((_, child)) = stack.pop() {
            match child {
                Child::Node(at) => {
                    if let Some(node) = self.tree.nodes.get(at as usize) {
                        self.open_node::<L, K>(kernel, node, self.threshold, stack);
                    }
                }
                Child::Leaf(at) => {
                    let Some(leaf) = self.tree.leaves.get(at as usize) else {
                        continue;
                    };
                    match self.leaf::<L, K>(kernel, leaf) {
                        Verdict::Contact => {
                            verdict = Verdict::Contact;
                            break;
                        }
                        Verdict::Clear => {}
                        Verdict::Open => {
                            frontier.push(child);
                            verdict = Verdict::Open;
                            if frontier.len() >= OPEN_LEAVES_MAX {
                                break;
                            }
                        }
                    }
                }
                Child::None => {}
            }
        }
        if verdict == Verdict::Open {
            // The leaves that were open are looked at first: nearest of all on top.
            let seen = frontier.len();
            for (_, child) in stack.iter() {
                frontier.push(*child);
            }
            frontier.rotate_left(seen);
        }
        verdict
    }

    #[inline(always)]
    fn least_in<L: Lanes, K: Kernel>(
        &self,
        kernel: &K,
        (below, hint): (f32, Option<u32>),
        scratch: &mut Scratch,
    ) -> f32 {
        let mut least = below;
        if let Some(leaf) = hint.and_then(|at| self.tree.leaves.get(at as usize)) {
            least = self.leaf_bound::<L, K>(kernel, leaf).least().min(least);
        }
        let stack = &mut scratch.stack;
        stack.clear();
        stack.push((NOTHING_KNOWN, Child::Node(0)));
        while let Some((bound, child)) = stack.pop() {
            if bound >= least {
                continue;
            }
            match child {
                Child::Node(at) => {
                    if let Some(node) = self.tree.nodes.get(at as usize) {
                        self.open_node::<L, K>(kernel, node, least, stack);
                    }
                }
                Child::Leaf(at) => {
                    if let Some(leaf) = self.tree.leaves.get(at as usize) {
                        least = self.leaf_bound::<L, K>(kernel, leaf).least().min(least);
                        if least <= 0.0 {
                            break;
                        }
                    }
                }
                Child::None => {}
            }
        }
        least
    }

    /// What the movers take from a bound with slope `slope` at points `at`.
    #[inline(always)]
    fn taken<L: Lanes>(&self, slope: [L; 3], at: [L; 3]) -> L {
        let mut sum = L::splat(0.0);
        for line in self.lines {
            let speed = dot(slope, line.flow(at)).abs();
            sum = speed.mul_add(L::splat(line.amount), sum);
        }
        sum
    }

    /// What the movers leave of the height of points over a plane.
    #[inline(always)]
    fn height_left<L: Lanes>(&self, plane: [f32; 4], at: [L; 3]) -> L {
        height(plane, at).sub(self.taken(normal(plane), at))
    }

    /// Pushes the children whose bound is below `threshold`, the nearest on top.
    #[inline(always)]
    #[allow(
        clippy::indexing_slicing,
        reason = "lanes come from a 16-bit mask; the stack is walked from its own length"
    )]
    fn open_node<L: Lanes, K: Kernel>(
        &self,
        kernel: &K,
        node: &Node,
        threshold: f32,
        stack: &mut Vec<(f32, Child)>,
    ) {
        let (centre, half) = (load3::<L>(&node.centre), load3::<L>(&node.half));
        let at = self.motion.move_points(centre);
        let field = kernel.field(at);
        let diagonal = dot(half, half).sqrt();
        let drop = dot(self.motion.turned_back_sizes(field.slope), half);
        let taken = diagonal.mul_add(L::splat(self.spread), self.taken(field.slope, at));
        let outside = field.value.sub(drop).sub(taken);
        let inside = field.value.add(L::splat(INSIDE));
        let mut left = field.value.if_lt(L::splat(TOO_CLOSE), inside, outside);
        if let Some(plane) = self.plane {
            let slope = normal(plane);
            let drop = dot(self.motion.turned_back_sizes(slope), half);
            let taken = diagonal.mul_add(L::splat(self.spread), self.taken(slope, at));
            left = left.max(height(plane, at).sub(drop).sub(taken));
        }
        let mut open = left.lt(L::splat(threshold)) & node.used;
        let bounds = left.store().0;
        let base = stack.len();
        while open != 0 {
            let lane = open.trailing_zeros() as usize & 15;
            open &= open - 1;
            let entry = (bounds[lane], node.child[lane]);
            let mut at = stack.len();
            stack.push(entry);
            while at > base && stack[at - 1].0 < entry.0 {
                stack[at] = stack[at - 1];
                at -= 1;
            }
            stack[at] = entry;
        }
    }

    #[inline(always)]
    fn leaf<L: Lanes, K: Kernel>(&self, kernel: &K, leaf: &Leaf) -> Verdict {
        let moved = self.corners::<L>(leaf);
        let [p, q, r] = moved;
        let [fp, fq, fr] = [kernel.field(p), kernel.field(q), kernel.field(r)];
        if self.stays_inside(kernel, p, fp.value)
            || self.stays_inside(kernel, q, fq.value)
            || self.stays_inside(kernel, r, fr.value)
        {
            return Verdict::Contact;
        }
        let mut bound = self
            .bound_from([p, q, r], fp.value, fp.slope)
            .max(self.bound_from([q, r, p], fq.value, fq.slope))
            .max(self.bound_from([r, p, q], fr.value, fr.slope));
        if let Some(plane) = self.plane {
            let [one, two, three] = [
                self.height_left(plane, p),
                self.height_left(plane, q),
                self.height_left(plane, r),
            ];
            bound = bound.max(one.min(two).min(three));
        }
        if bound.lt(L::splat(self.threshold)) & leaf.used == 0 {
            Verdict::Clear
        } else {
            Verdict::Open
        }
    }

    #[inline(always)]
    fn corners<L: Lanes>(&self, leaf: &Leaf) -> [[L; 3]; 3] {
        let [p, q, r] = &leaf.corner;
        [
            self.motion.move_points(load3::<L>(p)),
            self.motion.move_points(load3::<L>(q)),
            self.motion.move_points(load3::<L>(r)),
        ]
    }

    #[inline(always)]
    fn leaf_bound<L: Lanes, K: Kernel>(&self, kernel: &K, leaf: &Leaf) -> L {
        let [p, q, r] = self.corners::<L>(leaf);
        let [fp, fq, fr] = [kernel.field(p), kernel.field(q), kernel.field(r)];
        self.bound_from([p, q, r], fp.value, fp.slope)
            .max(self.bound_from([q, r, p], fq.value, fq.slope))
            .max(self.bound_from([r, p, q], fr.value, fr.slope))
    }

    /// A lower bound over triangles from value and slope at their first corners.
    #[inline(always)]
    fn bound_from<L: Lanes>(&self, [p, q, r]: [[L; 3]; 3], value: L, slope: [L; 3]) -> L {
        let here = self.taken(slope, p);
        let one = self.taken(slope, q).sub(dot(slope, minus(q, p)));
        let other = self.taken(slope, r).sub(dot(slope, minus(r, p)));
        let outside = value.sub(here.max(one).max(other));
        value.if_lt(L::splat(TOO_CLOSE), value.add(L::splat(INSIDE)), outside)
    }

    /// Whether one of the points lies inside wherever the movers take it. The distance is convex, so it is greatest at a
    /// corner of the box of places that they span; below `TOO_CLOSE` a kernel's value is the depth.
    #[inline(always)]
    fn stays_inside<L: Lanes, K: Kernel>(&self, kernel: &K, at: [L; 3], value: L) -> bool {
        if value.least() + self.inside > -TOO_CLOSE {
            return false;
        }
        let highest = if self.lines.len() > REACHED_CORNERS_MAX {
            let mut sum = value;
            for line in self.lines {
                let flow = line.flow(at);
                sum = dot(flow, flow).sqrt().mul_add(L::splat(line.amount), sum);
            }
            sum
        } else {
            let mut highest = value;
            for corner in 0..1u32 << self.lines.len() {
                let [mut x, mut y, mut z] = at;
                for (number, line) in self.lines.iter().enumerate() {
                    let way = if corner >> number & 1 == 0 { 1.0 } else { -1.0 };
                    let amount = L::splat(way * line.amount);
                    let [a, b, c] = line.flow(at);
                    (x, y, z) = (
                        a.mul_add(amount, x),
                        b.mul_add(amount, y),
                        c.mul_add(amount, z),
                    );
                }
                highest = highest.max(kernel.field([x, y, z]).value);
            }
            highest
        };
        highest.least() + self.inside <= -TOO_CLOSE
    }
}
