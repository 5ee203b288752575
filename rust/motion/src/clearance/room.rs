//! A room: named parts on frames, which pairs of them are measured, and the distance of each pair for one set of poses.

use super::body::Body;
use super::depth::deepest;
use super::error::ClearanceError;
use super::lanes::Backend;
use super::mesh::Mesh;
use super::rigid::{Rigid, V3};
use super::search::{Convex, Found, Options, Scratch, search};
use super::solid::Solid;
use super::surfaces::{nearest_between, one_inside_other, penetration};

/// The shape of a part.
#[derive(Clone, Debug)]
pub enum Geometry {
    /// A convex solid.
    Solid(Solid),
    /// The surface of a solid of any shape.
    Surface(Mesh),
}

/// The depth of two surfaces in contact is searched to this, as far as effort allows, mm.
const DEPTH_TOLERANCE_MM: f64 = 0.1;

/// A part as it is given to a room.
#[derive(Clone, Debug)]
pub struct PartSpec {
    /// Its name in messages; pieces of one thing may share it.
    pub name: String,
    /// Number of the frame it is fixed to.
    pub frame: usize,
    /// `frame <- shape`.
    pub placement: Rigid,
    /// Its shape.
    pub geometry: Geometry,
}

#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub name: String,
    pub frame: usize,
    pub placement: Rigid,
    pub shape: Shape,
    pub body: Option<Body>,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Convex(Convex),
    Surface,
}

/// Two parts to be measured against each other, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The first part.
    pub a: usize,
    /// The second part.
    pub b: usize,
}

/// Which of a pair is searched as a surface; the other is the convex solid.
#[derive(Clone, Copy, Debug)]
struct Roles {
    surface: usize,
    solid: usize,
}

/// The distance of a pair of parts: the truth lies in `[lower_mm, upper_mm]`.
///
/// Apart, it is the least distance between their points. In contact, it is minus the depth: how deep the deepest point
/// of the surface of one of them lies inside the other (for an enclosed part: how deep it lies below the surface).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Separation {
    /// Never above the true value, mm.
    pub lower_mm: f64,
    /// Never below the true value, mm.
    pub upper_mm: f64,
    /// The nearest (or deepest) point of part a, fixed frame, mm.
    pub on_a: [f64; 3],
    /// Its counterpart on part b, fixed frame, mm.
    pub on_b: [f64; 3],
}

/// How distances are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Precision {
    /// Agree with exact arithmetic to `EXACT_SLACK_MM` instead of `FAST_SLACK_MM`.
    pub exact: bool,
    /// How lanes are computed; `Backend::best()` unless a test says otherwise.
    pub backend: Backend,
}

impl Precision {
    /// The fast answer.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            exact: false,
            backend: Backend::best(),
        }
    }

    /// The exact answer.
    #[must_use]
    pub fn exact() -> Self {
        Self {
            exact: true,
            backend: Backend::best(),
        }
    }
}

/// Parts on frames and the pairs that are measured.
#[derive(Clone, Debug)]
pub struct Room {
    frame_count: usize,
    pub(crate) parts: Vec<Part>,
    pub(crate) pairs: Vec<Pair>,
}

/// The nearest pair so far of one search, before it is explained in the fixed frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub lower: f64,
    pub upper: f64,
    found: Found,
    solid_pose: Rigid,
}

impl Room {
    /// Checks the parts and builds their search trees.
    pub fn new(
        frame_count: usize,
        parts: Vec<PartSpec>,
        pairs: Vec<Pair>,
    ) -> Result<Self, ClearanceError> {
        let mut built = Vec::with_capacity(parts.len());
        for spec in parts {
            if spec.frame >= frame_count {
                return Err(ClearanceError::Unknown(format!(
                    "part {:?} stands on frame {}, but there are only {frame_count}",
                    spec.name, spec.frame
                )));
            }
            built.push(Part::new(spec)?);
        }
        let count = built.len();
        if let Some(bad) = pairs
            .iter()
            .find(|p| p.a >= count || p.b >= count || p.a == p.b)
        {
            return Err(ClearanceError::Unknown(format!(
                "pair ({}, {}) does not name two of the {count} parts",
                bad.a, bad.b
            )));
        }
        let mut room = Self {
            frame_count,
            parts: built,
            pairs,
        };
        room.grow_trees();
        Ok(room)
    }

    /// Builds the surfaces that the pairs need.
    fn grow_trees(&mut self) {
        for pair in self.pairs.clone() {
            let roles = self.roles(pair);
            if let Some(part) = self.parts.get_mut(roles.surface) {
                part.need_body();
            }
            if let Some(part) = self.parts.get_mut(roles.solid)
                && matches!(part.shape, Shape::Surface)
            {
                part.need_body();
            }
        }
    }

    /// The pairs that are measured.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// How many frames need a pose.
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.frame_count
    }

    /// The name of a part.
    #[must_use]
    pub fn part_name(&self, part: usize) -> &str {
        self.parts.get(part).map_or("", |p| &p.name)
    }

    /// A surface is searched; of two solids the one with flat faces is, and a cylinder only if nothing else is there.
    fn roles(&self, pair: Pair) -> Roles {
        let rank = |part: usize| match self.parts.get(part).map(|p| &p.shape) {
            Some(Shape::Surface) => 0,
            Some(Shape::Convex(c)) => match c.solid {
                Solid::Cuboid { .. } => 1,
                Solid::Hull(_) => 2,
                Solid::Capsule { .. } => 3,
                Solid::Cylinder { .. } => 4,
            },
            None => 5,
        };
        if rank(pair.a) <= rank(pair.b) {
            Roles {
                surface: pair.a,
                solid: pair.b,
            }
        } else {
            Roles {
                surface: pair.b,
                solid: pair.a,
            }
        }
    }

    /// The numbers of the part that is searched as a surface and of the solid it is searched against.
    pub(crate) fn roles_of(&self, pair: Pair) -> (usize, usize) {
        let Roles { surface, solid } = self.roles(pair);
        (surface, solid)
    }

    pub(crate) fn check_poses(&self, poses: &[Rigid]) -> Result<(), ClearanceError> {
        if poses.len() == self.frame_count {
            return Ok(());
        }
        Err(ClearanceError::Question(format!(
            "{} poses were given for {} frames",
            poses.len(),
            self.frame_count
        )))
    }

    /// The distance of every measured pair, in the order of `pairs`. `poses` are `fixed <- frame`.
    pub fn separations(
        &self,
        poses: &[Rigid],
        precision: Precision,
    ) -> Result<Vec<Separation>, ClearanceError> {
        self.check_poses(poses)?;
        let mut found = Vec::with_capacity(self.pairs.len());
        self.separate(poses, precision, &mut Scratch::default(), &mut found);
        Ok(found)
    }

    /// The same for many sets of poses, one after the other, each measured by itself.
    pub fn separations_many(
        &self,
        poses: &[Rigid],
        precision: Precision,
    ) -> Result<Vec<Separation>, ClearanceError> {
        let sets = poses.chunks(self.frame_count.max(1));
        let mut found = Vec::with_capacity(sets.len() * self.pairs.len());
        let mut scratch = Scratch::default();
        for set in sets {
            self.check_poses(set)?;
            self.separate(set, precision, &mut scratch, &mut found);
        }
        Ok(found)
    }

    fn separate(
        &self,
        poses: &[Rigid],
        precision: Precision,
        scratch: &mut Scratch,
        found: &mut Vec<Separation>,
    ) {
        for &pair in &self.pairs {
            let below = f64::INFINITY;
            if let Some(measured) = self.measure(pair, poses, below, precision, None, true, scratch)
            {
                found.push(self.explain(pair, &measured));
            }
        }
    }

    /// Measures one pair. `None` only if a number is out of range, which `new` and `check_poses` exclude.
    ///
    /// Distances of `below` and more are reported as `below`. Without `depth`, contact is reported as zero at once.
    #[allow(
        clippy::too_many_arguments,
        reason = "the inner call of every loop; a struct would only rename the list"
    )]
    pub(crate) fn measure(
        &self,
        pair: Pair,
        poses: &[Rigid],
        below: f64,
        precision: Precision,
        hint: Option<u32>,
        depth: bool,
        scratch: &mut Scratch,
    ) -> Option<Measured> {
        let roles = self.roles(pair);
        let (surface, solid) = (self.parts.get(roles.surface)?, self.parts.get(roles.solid)?);
        let body = surface.body.as_ref()?;
        let surface_pose = poses.get(surface.frame)?.then(&surface.placement);
        let solid_pose = poses.get(solid.frame)?.then(&solid.placement);
        let tree_pose = surface_pose.then(&Rigid::slide(body.tree.origin));
        let options = Options {
            below: below + body.rounding,
            exact: precision.exact,
            hint,
            backend: precision.backend,
        };
        match &solid.shape {
            Shape::Convex(convex) => Some(measure_convex(
                body,
                &tree_pose,
                convex,
                &solid_pose,
                &options,
                depth,
                scratch,
            )),
            Shape::Surface => {
                let other = solid.body.as_ref()?;
                let other_pose = solid_pose.then(&Rigid::slide(other.tree.origin));
                Some(measure_surfaces(
                    (body, &tree_pose),
                    (other, &other_pose),
                    &options,
                    depth,
                    scratch,
                ))
            }
        }
    }

    pub(crate) fn explain(&self, pair: Pair, measured: &Measured) -> Separation {
        let roles = self.roles(pair);
        let Found {
            point, gradient, ..
        } = measured.found;
        let rounding = self
            .parts
            .get(roles.surface)
            .and_then(|p| p.body.as_ref())
            .map_or(0.0, |b| b.rounding);
        let on_surface = measured.solid_pose.point(&(point - gradient * rounding));
        let on_solid = measured
            .solid_pose
            .point(&(point - gradient * measured.found.distance));
        let (on_a, on_b) = if roles.surface == pair.a {
            (on_surface, on_solid)
        } else {
            (on_solid, on_surface)
        };
        Separation {
            lower_mm: measured.lower,
            upper_mm: measured.upper,
            on_a: on_a.into(),
            on_b: on_b.into(),
        }
    }
}

/// A box that holds a solid, in its frame: its middle and half lengths.
pub(crate) fn solid_box(solid: &Solid) -> (V3, V3) {
    match solid {
        Solid::Cuboid { half } => (V3::zeros(), *half),
        Solid::Cylinder {
            radius,
            half_length,
        } => (V3::zeros(), V3::new(*radius, *radius, *half_length)),
        Solid::Capsule {
            radius,
            half_length,
        } => (V3::zeros(), V3::new(*radius, *radius, radius + half_length)),
        Solid::Hull(hull) => {
            let start = (V3::repeat(f64::INFINITY), V3::repeat(f64::NEG_INFINITY));
            let (low, high) = hull
                .corners()
                .iter()
                .fold(start, |(l, h), p| (l.inf(p), h.sup(p)));
            ((low + high) * 0.5, (high - low) * 0.5)
        }
    }
}

impl Part {
    fn new(spec: PartSpec) -> Result<Self, ClearanceError> {
        let (shape, body) = match spec.geometry {
            Geometry::Solid(solid) => {
                solid.check(&spec.name)?;
                (Shape::Convex(Convex::new(solid)), None)
            }
            Geometry::Surface(mesh) => (Shape::Surface, Some(Body::of_mesh(mesh))),
        };
        Ok(Self {
            name: spec.name,
            frame: spec.frame,
            placement: spec.placement,
            shape,
            body,
        })
    }

    fn need_body(&mut self) {
        if let (None, Shape::Convex(convex)) = (&self.body, &self.shape) {
            self.body = Some(Body::of_solid(&convex.solid));
        }
    }
}

fn measure_convex(
    body: &Body,
    tree_pose: &Rigid,
    convex: &Convex,
    solid_pose: &Rigid,
    options: &Options,
    depth: bool,
    scratch: &mut Scratch,
) -> Measured {
    let pose = solid_pose.inverse().then(tree_pose);
    let mut found = search(&body.tree, convex, &pose, options, scratch);
    let slack = Options::slack(options.exact);
    let mut bounds = (found.lower, found.distance);
    let enclosed = found.distance > 0.0 && body.encloses(convex, &pose);
    if enclosed {
        if depth && found.leaf.is_none() {
            let all = Options {
                below: f64::INFINITY,
                ..*options
            };
            found = search(&body.tree, convex, &pose, &all, scratch);
        }
        let below_surface = if depth { found.distance } else { 0.0 };
        bounds = (-below_surface, -below_surface + slack);
    } else if found.distance <= 0.0 && depth {
        let tolerance = if options.exact { 1e-7 } else { 5e-3 };
        let deep = deepest(&body.tree, &convex.solid, &pose, tolerance);
        found = Found {
            lower: deep.lower,
            distance: deep.upper,
            point: deep.point,
            gradient: deep.gradient,
            leaf: found.leaf,
        };
        bounds = (deep.lower, deep.upper);
    } else if found.distance <= 0.0 {
        bounds = (found.distance.min(0.0), 0.0);
    }
    Measured {
        lower: bounds.0 - body.rounding,
        upper: bounds.1 - body.rounding + body.looseness,
        found,
        solid_pose: *solid_pose,
    }
}

fn measure_surfaces(
    (body, tree_pose): (&Body, &Rigid),
    (other, other_pose): (&Body, &Rigid),
    options: &Options,
    depth: bool,
    scratch: &mut Scratch,
) -> Measured {
    let pose = other_pose.inverse().then(tree_pose);
    let mut found = nearest_between(&body.tree, &other.tree, &pose, options, scratch);
    let mut bounds = (found.lower, found.distance);
    if found.distance <= 0.0 || one_inside_other(body, other, &pose) {
        bounds = (0.0, 0.0);
        if depth {
            let deep = penetration(body, other, &pose, DEPTH_TOLERANCE_MM, scratch);
            bounds = (-deep.bound, -deep.found);
            found.point = deep.point;
            (found.distance, found.gradient) = (0.0, V3::zeros());
        }
    }
    Measured {
        lower: bounds.0,
        upper: bounds.1,
        found,
        solid_pose: *other_pose,
    }
}
