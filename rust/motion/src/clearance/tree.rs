//! The search tree over a surface: sixteen boxes to a node, sixteen triangles to a leaf, one lane each.

use super::lanes::Block;
use super::rigid::V3;

/// A child of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    Node(u32),
    Leaf(u32),
    None,
}

/// Sixteen boxes by centre and half lengths. Unused lanes hold the first child's box and no child.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub centre: [Block; 3],
    pub half: [Block; 3],
    pub child: [Child; 16],
    /// Lanes that hold a child.
    pub used: u32,
}

/// Sixteen triangles: x, y, z of the first corner, then of the second and third. Unused lanes repeat the last triangle.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub corner: [[Block; 3]; 3],
    pub triangle: [u32; 16],
    pub used: u32,
}

/// A surface ready to be searched. Coordinates are relative to `origin`, which keeps single precision fine.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub origin: V3,
    pub nodes: Vec<Node>,
    pub leaves: Vec<Leaf>,
    /// The triangles in double precision, relative to `origin`.
    pub triangles: Vec<[V3; 3]>,
    /// Radius about `origin` of a ball that holds the surface, mm.
    pub radius: f64,
    /// Half lengths of the surface's box about `origin`, mm.
    pub half: V3,
    /// Half diagonal of the largest box of a node's child, mm.
    pub widest_half_diagonal: f64,
}

const WIDTH: usize = 16;

impl Tree {
    /// Builds the tree; `triangles` must not be empty and holds finite numbers only.
    pub(crate) fn build(triangles: &[[V3; 3]]) -> Self {
        let start = (V3::repeat(f64::INFINITY), V3::repeat(f64::NEG_INFINITY));
        let (low, high) = triangles
            .iter()
            .flatten()
            .fold(start, |(l, h), p| (l.inf(p), h.sup(p)));
        let origin = (low + high) * 0.5;
        let local: Vec<[V3; 3]> = triangles.iter().map(|t| t.map(|p| p - origin)).collect();
        let radius = local.iter().flatten().map(V3::norm).fold(0.0, f64::max);
        let mut tree = Self {
            origin,
            nodes: Vec::new(),
            leaves: Vec::new(),
            triangles: local,
            radius,
            half: (high - low) * 0.5,
            widest_half_diagonal: 0.0,
        };
        let mut items: Vec<Item> = tree
            .triangles
            .iter()
            .enumerate()
            .map(|(index, t)| Item {
                index: index as u32,
                middle: t.iter().sum(),
                low: t.iter().fold(start.0, |l, p| l.inf(p)),
                high: t.iter().fold(start.1, |h, p| h.sup(p)),
            })
            .collect();
        if !items.is_empty() {
            tree.add_node(&mut items);
        }
        tree
    }

    /// How often a ray from `from` passes through the surface; `None` if it comes so near to an edge that arithmetic cannot
    /// tell. `direction` has no zero component.
    pub(crate) fn crossings(&self, from: &V3, direction: &V3) -> Option<u32> {
        let inverse = direction.map(|x| 1.0 / x);
        let mut count = 0;
        let mut open = vec![Child::Node(0)];
        while let Some(child) = open.pop() {
            match child {
                Child::None => {}
                Child::Node(at) => {
                    let Some(node) = self.nodes.get(at as usize) else {
                        continue;
                    };
                    for (lane, child) in node.child.iter().enumerate() {
                        if node.used >> lane & 1 == 1 && meets(node, lane, from, &inverse) {
                            open.push(*child);
                        }
                    }
                }
                Child::Leaf(at) => {
                    let Some(leaf) = self.leaves.get(at as usize) else {
                        continue;
                    };
                    for index in leaf.triangle.iter().take(leaf.used.count_ones() as usize) {
                        if let Some(triangle) = self.triangles.get(*index as usize) {
                            count += u32::from(passes(triangle, from, direction)?);
                        }
                    }
                }
            }
        }
        Some(count)
    }

    fn add_node(&mut self, items: &mut [Item]) -> Child {
        let id = self.nodes.len();
        self.nodes.push(Node {
            centre: [Block::splat(0.0); 3],
            half: [Block::splat(0.0); 3],
            child: [Child::None; WIDTH],
            used: 0,
        });
        let parts = split(items);
        let mut boxes = Vec::with_capacity(WIDTH);
        let mut children = [Child::None; WIDTH];
        let count = parts.len();
        for (part, child) in parts.into_iter().zip(&mut children) {
            boxes.push(bounds(part));
            *child = if part.len() <= WIDTH {
                self.add_leaf(part)
            } else {
                self.add_node(part)
            };
        }
        let widest = boxes
            .iter()
            .map(|(l, h)| (h - l).norm() * 0.5)
            .fold(0.0, f64::max);
        self.widest_half_diagonal = self.widest_half_diagonal.max(widest);
        if let Some(node) = self.nodes.get_mut(id) {
            fill(node, &boxes);
            node.child = children;
            node.used = lanes_below(count);
        }
        Child::Node(id as u32)
    }

    fn add_leaf(&mut self, items: &[Item]) -> Child {
        let mut leaf = Leaf {
            corner: [[Block::splat(0.0); 3]; 3],
            triangle: [0; WIDTH],
            used: lanes_below(items.len()),
        };
        for (lane, slot) in leaf.triangle.iter_mut().enumerate() {
            let index = items
                .get(lane)
                .or(items.last())
                .map_or(0, |item| item.index);
            *slot = index;
            let Some(triangle) = self.triangles.get(index as usize) else {
                continue;
            };
            for (blocks, p) in leaf.corner.iter_mut().zip(triangle) {
                for (block, x) in blocks.iter_mut().zip(p.iter()) {
                    if let Some(cell) = block.0.get_mut(lane) {
                        *cell = *x as f32;
                    }
                }
            }
        }
        self.leaves.push(leaf);
        Child::Leaf((self.leaves.len() - 1) as u32)
    }
}

/// Whether a ray meets the box in a lane, grown by a little.
fn meets(node: &Node, lane: usize, from: &V3, inverse: &V3) -> bool {
    let (mut enter, mut leave) = (0.0, f64::INFINITY);
    let blocks = node.centre.iter().zip(&node.half);
    for ((centre, half), (start, factor)) in blocks.zip(from.iter().zip(inverse.iter())) {
        let pick = |block: &Block| block.0.get(lane).map_or(0.0, |x| f64::from(*x));
        let (middle, size) = (pick(centre) - start, pick(half) + 1e-6);
        let (near, far) = ((middle - size) * factor, (middle + size) * factor);
        enter = near.min(far).max(enter);
        leave = near.max(far).min(leave);
    }
    enter <= leave
}

/// Whether a ray passes through a triangle; `None` too near to its edge, its plane or its start to tell.
fn passes([a, b, c]: &[V3; 3], from: &V3, direction: &V3) -> Option<bool> {
    const UNSURE: f64 = 1e-9;
    let (u, v, start) = (b - a, c - a, from - a);
    let across = direction.cross(&v);
    let determinant = u.dot(&across);
    if determinant.abs() <= UNSURE * u.norm() * v.norm() {
        // Along its plane: unsure only where the ray lies in it.
        let normal = u.cross(&v);
        let off = normal.dot(&start).abs() > 1e-6 * normal.norm();
        return if off { Some(false) } else { None };
    }
    let first = start.dot(&across) / determinant;
    let turned = start.cross(&u);
    let second = direction.dot(&turned) / determinant;
    let along = v.dot(&turned) / determinant;
    let inner = first.min(second).min(1.0 - first - second);
    if inner < -UNSURE || along < -UNSURE {
        return Some(false);
    }
    if inner > UNSURE && along > UNSURE {
        return Some(true);
    }
    None
}

struct Item {
    index: u32,
    middle: V3,
    low: V3,
    high: V3,
}

fn lanes_below(count: usize) -> u32 {
    if count >= WIDTH {
        0xFFFF
    } else {
        (1 << count) - 1
    }
}

fn bounds(items: &[Item]) -> (V3, V3) {
    let start = (V3::repeat(f64::INFINITY), V3::repeat(f64::NEG_INFINITY));
    items
        .iter()
        .fold(start, |(l, h), item| (l.inf(&item.low), h.sup(&item.high)))
}

/// Cuts the items into at most sixteen groups that each fill a subtree: the largest by count times area first, across its
/// longest direction, at a multiple of a full subtree's size.
fn split(items: &mut [Item]) -> Vec<&mut [Item]> {
    let mut full = WIDTH;
    while full * WIDTH < items.len() {
        full *= WIDTH;
    }
    let mut groups: Vec<&mut [Item]> = vec![items];
    while groups.len() < WIDTH {
        let weight = |group: &[Item]| {
            let (low, high) = bounds(group);
            let e = high - low;
            let area = e.x * e.y + e.y * e.z + e.z * e.x;
            let overfull = if group.len() > full { 1e12 } else { 0.0 };
            (area + 1e-9) * group.len() as f64 + overfull
        };
        let heaviest = groups
            .iter()
            .enumerate()
            .filter(|(_, group)| group.len() > WIDTH)
            .map(|(at, group)| (weight(group), at))
            .fold(None, |best: Option<(f64, usize)>, (w, at)| match best {
                Some((most, _)) if most >= w => best,
                _ => Some((w, at)),
            });
        let Some((_, at)) = heaviest else { break };
        let group = groups.swap_remove(at);
        let (left, right) = cut(group, full);
        groups.push(left);
        groups.push(right);
    }
    groups
}

fn cut(group: &mut [Item], full: usize) -> (&mut [Item], &mut [Item]) {
    let start = (V3::repeat(f64::INFINITY), V3::repeat(f64::NEG_INFINITY));
    let (low, high) = group.iter().fold(start, |(l, h), item| {
        (l.inf(&item.middle), h.sup(&item.middle))
    });
    let axis = (high - low).imax();
    let count = group.len();
    let unit = if count > full { full } else { WIDTH };
    let middle = ((count / 2).div_ceil(unit) * unit).clamp(1, count - 1);
    let key = |item: &Item| item.middle.get(axis).copied().unwrap_or(0.0);
    group.select_nth_unstable_by(middle, |a, b| {
        key(a).total_cmp(&key(b)).then(a.index.cmp(&b.index))
    });
    group.split_at_mut(middle)
}

/// Writes boxes into the lanes, grown so that the single-precision box holds the double-precision one.
fn fill(node: &mut Node, boxes: &[(V3, V3)]) {
    for lane in 0..WIDTH {
        let Some((low, high)) = boxes.get(lane).or(boxes.first()) else {
            continue;
        };
        let bounds = low.iter().zip(high.iter());
        for ((centres, halves), (l, h)) in node.centre.iter_mut().zip(&mut node.half).zip(bounds) {
            let centre = ((l + h) * 0.5) as f32;
            let wide = f64::from(centre);
            let half = ((h - wide).max(wide - l)) as f32;
            if let (Some(c), Some(e)) = (centres.0.get_mut(lane), halves.0.get_mut(lane)) {
                *c = centre;
                *e = half.next_up();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(count: usize) -> Vec<[V3; 3]> {
        (0..count)
            .map(|i| {
                let x = (i as f64 * 0.7).sin() * 300.0 + i as f64 * 0.01;
                [
                    V3::new(x, 0.1, -3.3),
                    V3::new(x + 5.0, 1.7, 0.3),
                    V3::new(x, 6.1, f64::from(i as u32) * 0.003),
                ]
            })
            .collect()
    }

    fn check_box(tree: &Tree, child: Child, low: V3, high: V3, seen: &mut Vec<u32>) {
        match child {
            Child::None => {}
            Child::Leaf(id) => {
                let leaf = &tree.leaves[id as usize];
                for lane in 0..leaf.used.count_ones() as usize {
                    let index = leaf.triangle[lane];
                    seen.push(index);
                    for p in tree.triangles[index as usize] {
                        assert!((low - p).max() <= 0.0 && (p - high).max() <= 0.0);
                    }
                }
            }
            Child::Node(id) => {
                let node = &tree.nodes[id as usize];
                for lane in 0..node.used.count_ones() as usize {
                    let c = V3::from_fn(|i, _| f64::from(node.centre[i].0[lane]));
                    let e = V3::from_fn(|i, _| f64::from(node.half[i].0[lane]));
                    check_box(tree, node.child[lane], c - e, c + e, seen);
                }
            }
        }
    }

    #[test]
    fn every_triangle_lies_in_the_boxes_above_it_and_is_found_once() {
        for count in [1, 2, 15, 16, 17, 255, 256, 257, 1000, 5000] {
            let triangles = strip(count);
            let tree = Tree::build(&triangles);
            let mut seen = Vec::new();
            let everywhere = V3::repeat(1e9);
            check_box(&tree, Child::Node(0), -everywhere, everywhere, &mut seen);
            seen.sort_unstable();
            assert_eq!(seen, (0..count as u32).collect::<Vec<_>>());
        }
    }
}
