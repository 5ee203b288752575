//! How one part moves as seen from another: the joints between them, in a row, each driven by one of two parameters.
//!
//! From the solid to the surface: the solid's joints backwards and inverted, then the surface's. Joints that both share
//! (panels that ride on one gantry) drop out, so parts that move together are known to stand still to each other.

use super::chain::{Joint, Swept};
use super::rigid::{Rigid, V3};

/// Which of two path parameters drives a joint: the rows or the columns of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapAxis {
    /// The rows; also the one parameter of a path.
    Row,
    /// The columns.
    Column,
}

/// An interval of each parameter.
pub(crate) type Spans = [(f64, f64); 2];

/// Both parameters over all they can be.
pub(crate) const EVERYWHERE: Spans = [(0.0, 1.0), (0.0, 1.0)];

/// The joints between a solid and a surface.
#[derive(Clone, Debug)]
pub(crate) struct Linkage {
    joints: Vec<(MapAxis, Joint)>,
}

impl Linkage {
    /// `solid_place` is `solid's frame <- solid`, `tree_place` is `surface's frame <- tree origin`; joints outermost first.
    pub(crate) fn between(
        solid_place: &Rigid,
        solid_joints: &[(MapAxis, Joint)],
        surface_joints: &[(MapAxis, Joint)],
        tree_place: &Rigid,
    ) -> Self {
        let shared = solid_joints
            .iter()
            .zip(surface_joints)
            .take_while(|(a, b)| a == b || (a.1 == b.1 && !a.1.moves()))
            .count();
        let solid = solid_joints.iter().skip(shared).rev();
        let all = std::iter::once((MapAxis::Row, Joint::Fixed(solid_place.inverse())))
            .chain(solid.map(|(axis, joint)| (*axis, joint.inverse())))
            .chain(surface_joints.iter().skip(shared).copied())
            .chain(std::iter::once((MapAxis::Row, Joint::Fixed(*tree_place))));
        let mut joints: Vec<(MapAxis, Joint)> = Vec::new();
        for (axis, joint) in all {
            if joint.moves() {
                joints.push((axis, joint));
            } else if let Some((_, Joint::Fixed(pose))) = joints.last_mut() {
                *pose = pose.then(&joint.at(0.0));
            } else {
                joints.push((axis, Joint::Fixed(joint.at(0.0))));
            }
        }
        Self { joints }
    }

    /// `solid <- tree origin` for one value of the row parameter, when nothing hangs on the columns.
    pub(crate) fn pose(&self, s: f64) -> Rigid {
        let mut joints = self.joints.iter();
        let first = joints
            .next()
            .map_or_else(Rigid::identity, |(_, joint)| joint.at(s));
        joints.fold(first, |pose, (_, joint)| pose.then(&joint.at(s)))
    }

    /// The pose at the middle of an interval of a path and what moves within it, the innermost first.
    pub(crate) fn block(&self, start: f64, end: f64, movers: &mut Vec<Mover>) -> Rigid {
        self.around(0.5 * (start + end), 0.5 * (end - start), movers)
    }

    /// The same from the middle of the interval and half its length.
    pub(crate) fn around(&self, middle: f64, half: f64, movers: &mut Vec<Mover>) -> Rigid {
        movers.clear();
        let mut prefix = Rigid::identity();
        for (at, (_, joint)) in self.joints.iter().enumerate() {
            let moving = match joint {
                Joint::Fixed(_) => None,
                Joint::Turn { axis, from, to } => {
                    Some((true, axis * 1f64.copysign(to - from), (to - from).abs()))
                }
                Joint::Slide { from, to } => {
                    let way = to - from;
                    let length = way.norm();
                    Some((false, way / length.max(f64::MIN_POSITIVE), length))
                }
            };
            if let Some((turns, direction, rate)) = moving {
                movers.push(Mover {
                    origin: prefix.translation,
                    direction: prefix.rotation * direction,
                    amount: rate * half,
                    turns,
                });
            }
            let pose = joint.at(middle);
            prefix = if at == 0 { pose } else { prefix.then(&pose) };
        }
        movers.reverse();
        prefix
    }

    /// A bound on how fast the distance of the two parts changes while `axis` moves, mm per unit of its parameter.
    ///
    /// The distance between the nearest points x and y changes with n . v, n along x - y and v their relative velocity: the
    /// sum over the joints of w x (x - o) for a turn, which along n is also w x (y - o). So every turn counts with the reach
    /// of the part that is nearer to its axis, and every slide with its length.
    pub(crate) fn speed(&self, axis: MapAxis, spans: Spans, solid: Swept, tree: Swept) -> f64 {
        let span = |which: MapAxis| {
            let [rows, columns] = spans;
            let (start, end) = match which {
                MapAxis::Row => rows,
                MapAxis::Column => columns,
            };
            (0.5 * (start + end), end - start)
        };
        let mut inner = Vec::with_capacity(self.joints.len());
        let mut swept = tree;
        for (on, joint) in self.joints.iter().rev() {
            inner.push(swept);
            let (middle, length) = span(*on);
            swept = swept.outside(joint, middle, length);
        }
        let mut speed = 0.0;
        let mut swept = solid;
        for ((on, joint), inner) in self.joints.iter().zip(inner.iter().rev()) {
            if *on == axis {
                speed += match joint {
                    Joint::Fixed(_) => 0.0,
                    Joint::Slide { from, to } => (to - from).norm(),
                    Joint::Turn { axis, from, to } => {
                        let zero = V3::zeros();
                        (to - from).abs() * inner.reach(&zero, axis).min(swept.reach(&zero, axis))
                    }
                };
            }
            let (middle, length) = span(*on);
            swept = swept.outside(&joint.inverse(), middle, length);
        }
        // Rounding in the sums above is below a part in 1e12; this covers it many times over.
        speed * (1.0 + 1e-9) + 1e-9
    }
}

/// A joint that moves within a block, seen from the solid at the middle of the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mover {
    /// A point on the axis of a turn.
    pub origin: V3,
    /// Unit; along a path it is the way of growing s.
    pub direction: V3,
    /// It turns by at most this either way, radians, or slides, mm.
    pub amount: f64,
    pub turns: bool,
}

impl Mover {
    /// How fast a point moves, for a unit of the turn or slide.
    #[inline]
    pub(crate) fn flow(&self, at: &V3) -> V3 {
        if self.turns {
            self.direction.cross(&(at - self.origin))
        } else {
            self.direction
        }
    }
}

/// A linkage at every half step of a grid: the middles of cells and of blocks of cells.
#[derive(Clone, Debug)]
pub(crate) struct Stepped {
    factors: Vec<Factor>,
    movers: Vec<SteppedMover>,
    counts: [usize; 2],
}

/// Neighbouring joints on one axis, multiplied out for every half step; a single pose if none of them moves.
#[derive(Clone, Debug)]
struct Factor {
    axis: MapAxis,
    poses: Vec<Rigid>,
}

#[derive(Clone, Debug)]
struct SteppedMover {
    factor: usize,
    axis: MapAxis,
    turns: bool,
    /// Turn or slide over the whole of the axis.
    rate: f64,
    /// Point and direction, in the frame that the factor leads to, for every half step or once.
    lines: Vec<(V3, V3)>,
}

fn at_step<T>(table: &[T], step: usize) -> Option<&T> {
    if table.len() == 1 {
        table.first()
    } else {
        table.get(step)
    }
}

impl Stepped {
    /// Steps 0 to `2 * count` of each axis.
    pub(crate) fn new(linkage: &Linkage, rows: usize, columns: usize) -> Self {
        let mut groups: Vec<(MapAxis, Vec<Joint>)> = Vec::new();
        for (axis, joint) in &linkage.joints {
            match groups.last_mut() {
                Some((on, group)) if !joint.moves() || on == axis => group.push(*joint),
                // What came before stands still: it belongs to the first axis that moves.
                Some((on, group)) if !group.iter().any(Joint::moves) => {
                    *on = *axis;
                    group.push(*joint);
                }
                _ => groups.push((*axis, vec![*joint])),
            }
        }
        let mut stepped = Self {
            factors: Vec::with_capacity(groups.len()),
            movers: Vec::new(),
            counts: [rows, columns],
        };
        for (axis, group) in &groups {
            stepped.add_factor(*axis, group);
        }
        stepped
    }

    fn count(&self, axis: MapAxis) -> usize {
        let [rows, columns] = self.counts;
        match axis {
            MapAxis::Row => rows,
            MapAxis::Column => columns,
        }
    }

    fn add_factor(&mut self, axis: MapAxis, group: &[Joint]) {
        let count = self.count(axis);
        let table = |joints: &[Joint]| -> Vec<Rigid> {
            let steps = if joints.iter().any(Joint::moves) {
                2 * count
            } else {
                0
            };
            (0..=steps)
                .map(|step| {
                    let s = step as f64 / (2 * count) as f64;
                    let mut joints = joints.iter();
                    let first = joints
                        .next()
                        .map_or_else(Rigid::identity, |joint| joint.at(s));
                    joints.fold(first, |pose, joint| pose.then(&joint.at(s)))
                })
                .collect()
        };
        for (at, joint) in group.iter().enumerate() {
            let (turns, direction, rate) = match joint {
                Joint::Fixed(_) => continue,
                Joint::Turn { axis, from, to } => (true, *axis, (to - from).abs()),
                Joint::Slide { from, to } => {
                    let way = to - from;
                    let length = way.norm();
                    (false, way / length.max(f64::MIN_POSITIVE), length)
                }
            };
            let before = group.get(..at).unwrap_or(&[]);
            let lines = table(before)
                .iter()
                .map(|pose| (pose.translation, pose.rotation * direction))
                .collect();
            self.movers.push(SteppedMover {
                factor: self.factors.len(),
                axis,
                turns,
                rate,
                lines,
            });
        }
        self.factors.push(Factor {
            axis,
            poses: table(group),
        });
    }

    /// `solid <- tree origin` at a pair of half steps.
    #[inline]
    pub(crate) fn pose(&self, row: usize, column: usize) -> Rigid {
        let mut factors = self.factors.iter();
        let pick = |factor: &Factor| {
            let step = match factor.axis {
                MapAxis::Row => row,
                MapAxis::Column => column,
            };
            at_step(&factor.poses, step)
                .copied()
                .unwrap_or_else(Rigid::identity)
        };
        let first = factors.next().map_or_else(Rigid::identity, pick);
        factors.fold(first, |pose, factor| pose.then(&pick(factor)))
    }

    /// The pose at the middle of a block and what moves within it, the innermost first.
    pub(crate) fn block(
        &self,
        rows: (usize, usize),
        columns: (usize, usize),
        movers: &mut Vec<Mover>,
    ) -> Rigid {
        let step_of = |axis| match axis {
            MapAxis::Row => rows.0 + rows.1,
            MapAxis::Column => columns.0 + columns.1,
        };
        let half_of = |axis| {
            let (first, last) = match axis {
                MapAxis::Row => rows,
                MapAxis::Column => columns,
            };
            0.5 * (last - first) as f64 / self.count(axis) as f64
        };
        movers.clear();
        let mut prefix = Rigid::identity();
        for (at, factor) in self.factors.iter().enumerate() {
            for mover in self.movers.iter().filter(|mover| mover.factor == at) {
                let Some((origin, direction)) = at_step(&mover.lines, step_of(mover.axis)) else {
                    continue;
                };
                movers.push(Mover {
                    origin: prefix.point(origin),
                    direction: prefix.rotation * direction,
                    amount: mover.rate * half_of(mover.axis),
                    turns: mover.turns,
                });
            }
            if let Some(pose) = at_step(&factor.poses, step_of(factor.axis)) {
                prefix = if at == 0 { *pose } else { prefix.then(pose) };
            }
        }
        movers.reverse();
        prefix
    }
}
