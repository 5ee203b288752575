//! Is a pair clear, or in contact, everywhere in a block of poses?
//!
//! The block is given by its middle and by how it strays from it: up to two turns about lines that stand still, and a rest.
//! A point at distance r from the line of a turn by at most a moves by at most a r; so every box of the tree and every
//! corner has its own bound, small near the isocentre, where the patient is.

use super::kernel::{AnyKernel, Kernel, TOO_CLOSE};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Backend, Block, Lanes, Portable};
use super::rigid::{Rigid, V3};
use super::search::{
    Convex, Motion, NOTHING_KNOWN, Scratch, bound_over_boxes, bound_over_triangles,
    rounding_allowance,
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

/// A turn of at most `angle` either way about a line, given in the solid's frame at the middle of the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub origin: V3,
    /// Unit.
    pub axis: V3,
    pub angle: f64,
}

/// How far a block strays from its middle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stray {
    pub turns: [Turn; 2],
    /// Everything else, mm.
    pub rest: f64,
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
const OPEN_LEAVES_MAX: u32 = 3;

/// Certifies one block. `pose` is `solid <- tree origin` at its middle.
pub(crate) fn certify(
    tree: &Tree,
    convex: &Convex,
    pose: &Rigid,
    stray: &Stray,
    margins: Margins,
    backend: Backend,
    scratch: &mut Scratch,
) -> Verdict {
    let allowance = rounding_allowance(tree, convex, &pose.translation);
    // Depths count dimensions in full, and they are read here too.
    let allowance = allowance + convex.radius * 4.0 * f64::from(f32::EPSILON);
    let certifier = Certifier {
        tree,
        motion: Motion::of(pose),
        lines: stray.turns.map(|turn| Line::of(&turn)),
        threshold: up(margins.clear + stray.rest + allowance),
        inside: up(margins.contact + stray.rest + allowance),
        allowance: up(allowance),
    };
    match &convex.kernel {
        AnyKernel::Cuboid(kernel) => certifier.dispatch(kernel, backend, scratch),
        AnyKernel::Cylinder(kernel) => certifier.dispatch(kernel, backend, scratch),
        AnyKernel::Capsule(kernel) => certifier.dispatch(kernel, backend, scratch),
        AnyKernel::Hull(kernel) => certifier.dispatch(kernel, backend, scratch),
    }
}

/// Rounded to single precision upwards, with a part in a million to spare for sums that follow.
fn up(x: f64) -> f32 {
    ((x * (1.0 + 1e-6)) as f32).next_up()
}

/// A turn in single precision.
#[derive(Clone, Copy)]
struct Line {
    origin: [f32; 3],
    axis: [f32; 3],
    angle: f32,
}

impl Line {
    fn of(turn: &Turn) -> Self {
        Self {
            origin: [
                turn.origin.x as f32,
                turn.origin.y as f32,
                turn.origin.z as f32,
            ],
            axis: [turn.axis.x as f32, turn.axis.y as f32, turn.axis.z as f32],
            angle: up(turn.angle),
        }
    }

    /// Distance of points from the line.
    #[inline(always)]
    fn reach<L: Lanes>(&self, [x, y, z]: [L; 3]) -> L {
        let [ox, oy, oz] = self.origin.map(L::splat);
        let [ax, ay, az] = self.axis.map(L::splat);
        let (dx, dy, dz) = (x.sub(ox), y.sub(oy), z.sub(oz));
        let cx = dy.mul(az).sub(dz.mul(ay));
        let cy = dz.mul(ax).sub(dx.mul(az));
        let cz = dx.mul(ay).sub(dy.mul(ax));
        cx.mul_add(cx, cy.mul_add(cy, cz.mul(cz))).sqrt()
    }
}

struct Certifier<'a> {
    tree: &'a Tree,
    motion: Motion,
    lines: [Line; 2],
    /// A bound must reach this beyond the stray by turns.
    threshold: f32,
    inside: f32,
    allowance: f32,
}

impl Certifier<'_> {
    fn dispatch<K: Kernel>(&self, kernel: &K, backend: Backend, scratch: &mut Scratch) -> Verdict {
        match backend.or_portable() {
            // SAFETY: `or_portable` names a path only after the processor was found to run it.
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => unsafe { self.run_avx512(kernel, scratch) },
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => unsafe { self.run_avx2(kernel, scratch) },
            _ => self.run::<Portable, K>(kernel, scratch),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn run_avx512<K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        self.run::<Avx512, K>(kernel, scratch)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2<K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        self.run::<Avx2, K>(kernel, scratch)
    }

    #[inline(always)]
    fn run<L: Lanes, K: Kernel>(&self, kernel: &K, scratch: &mut Scratch) -> Verdict {
        let stack = &mut scratch.stack;
        stack.clear();
        stack.push((NOTHING_KNOWN, Child::Node(0)));
        let mut open_leaves = 0;
        while let Some((_, child)) = stack.pop() {
            match child {
                Child::Node(at) => {
                    if let Some(node) = self.tree.nodes.get(at as usize) {
                        self.open_node::<L, K>(kernel, node, stack);
                    }
                }
                Child::Leaf(at) => {
                    let Some(leaf) = self.tree.leaves.get(at as usize) else {
                        continue;
                    };
                    match self.leaf::<L, K>(kernel, leaf) {
                        Verdict::Contact => return Verdict::Contact,
                        Verdict::Clear => {}
                        Verdict::Open => {
                            open_leaves += 1;
                            if open_leaves >= OPEN_LEAVES_MAX {
                                return Verdict::Open;
                            }
                        }
                    }
                }
                Child::None => {}
            }
        }
        if open_leaves == 0 {
            Verdict::Clear
        } else {
            Verdict::Open
        }
    }

    /// How far points of these reaches may stray by the turns: the second turn acts on what the first has moved.
    #[inline(always)]
    fn stray<L: Lanes>(&self, moved: [L; 3], beyond: L) -> L {
        let [first, second] = &self.lines;
        let spare = beyond.add(L::splat(self.allowance));
        let one = first.reach(moved).add(spare).mul(L::splat(first.angle));
        let two = second
            .reach(moved)
            .add(spare)
            .add(one)
            .mul(L::splat(second.angle));
        one.add(two)
    }

    #[inline(always)]
    #[allow(
        clippy::indexing_slicing,
        reason = "lanes come from a 16-bit mask; the stack is walked from its own length"
    )]
    fn open_node<L: Lanes, K: Kernel>(
        &self,
        kernel: &K,
        node: &Node,
        stack: &mut Vec<(f32, Child)>,
    ) {
        let load = |blocks: &[Block; 3]| blocks.each_ref().map(L::load);
        let (centre, half) = (load(&node.centre), load(&node.half));
        let bound = bound_over_boxes(kernel, &self.motion, centre, half);
        let [ex, ey, ez] = half;
        let diagonal = ex.mul_add(ex, ey.mul_add(ey, ez.mul(ez))).sqrt();
        let left = bound.sub(self.stray(self.motion.move_points(centre), diagonal));
        let mut open = left.lt(L::splat(self.threshold)) & node.used;
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
        let moved = leaf
            .corner
            .each_ref()
            .map(|blocks| self.motion.move_points(blocks.each_ref().map(L::load)));
        let fields = moved.map(|at| kernel.field(at));
        let [sp, sq, sr] = moved.map(|at| self.stray(at, L::splat(0.0)));
        let [fp, fq, fr] = &fields;
        // A corner that stays inside whatever the block does. Below `TOO_CLOSE` the value is the depth.
        let deepest = fp.value.add(sp).min(fq.value.add(sq)).min(fr.value.add(sr));
        if deepest.least() + self.inside <= -TOO_CLOSE {
            return Verdict::Contact;
        }
        let bound = bound_over_triangles(&moved, &fields);
        let left = bound.sub(sp.max(sq).max(sr));
        if left.lt(L::splat(self.threshold)) & leaf.used == 0 {
            Verdict::Clear
        } else {
            Verdict::Open
        }
    }
}
