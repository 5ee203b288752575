//! A pair of parts as maps and sweeps ask about it: a surface, what it is searched against, and how they are linked.

use super::body::Body;
use super::certify::{BlockQuestion, Margins, Verdict, certify, lowest};
use super::chain::{Joint, Swept};
use super::lanes::Backend;
use super::linkage::{Linkage, MapAxis, Mover, Spans};
use super::rigid::{Rigid, V3};
use super::room::{Precision, Room, Shape, solid_box};
use super::search::{Convex, Found, Options, Scratch, search};
use super::surfaces::{inside_depth, nearest_between, one_inside_other};
use super::sweep::CONTACT_MM;

/// What a surface is searched against.
#[derive(Clone, Copy)]
enum Target<'a> {
    Convex(&'a Convex),
    /// Another surface, in the frame of its tree.
    Surface(&'a Body),
}

/// A surface and its target.
#[derive(Clone, Copy)]
pub(crate) struct Couple<'a> {
    body: &'a Body,
    target: Target<'a>,
    /// The boxes that hold the two, each in its own frame.
    outer: Swept,
    inner: Swept,
}

/// A block of poses.
pub(crate) struct Block<'a> {
    /// At its middle.
    pub pose: &'a Rigid,
    /// What moves in it, the innermost first.
    pub movers: &'a [Mover],
    /// A plane that the solid's distance is nowhere below, if one is known: normal and height, in the solid's frame.
    pub plane: Option<(V3, f64)>,
}

/// An answer for one place, mm; zero for contact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub lower: f64,
    pub upper: f64,
    pub leaf: Option<u32>,
}

impl<'a> Couple<'a> {
    /// A measured pair of the room and its linkage, `target <- tree origin`; `joints` are those of every frame.
    pub(crate) fn of(
        room: &'a Room,
        joints: &[Vec<(MapAxis, Joint)>],
        number: usize,
    ) -> Option<(Self, Linkage)> {
        let pair = *room.pairs().get(number)?;
        let (surface, solid) = room.roles_of(pair);
        let (surface, solid) = (room.parts.get(surface)?, room.parts.get(solid)?);
        let body = surface.body.as_ref()?;
        let (target, place, outer) = match &solid.shape {
            Shape::Convex(convex) => {
                let (middle, half) = solid_box(&convex.solid);
                (
                    Target::Convex(convex),
                    Rigid::identity(),
                    Swept::of_box(Rigid::slide(middle), half),
                )
            }
            Shape::Surface => {
                let other = solid.body.as_ref()?;
                (
                    Target::Surface(other),
                    Rigid::slide(other.tree.origin),
                    Swept::of_box(Rigid::identity(), other.tree.half),
                )
            }
        };
        let linkage = Linkage::between(
            &solid.placement.then(&place),
            joints.get(solid.frame)?,
            joints.get(surface.frame)?,
            &surface.placement.then(&Rigid::slide(body.tree.origin)),
        );
        let couple = Self {
            body,
            target,
            outer,
            inner: Swept::of_box(Rigid::identity(), body.tree.half),
        };
        Some((couple, linkage))
    }

    /// No point of the surface is further from the target's origin than this, mm.
    pub(crate) fn reach(&self, pose: &Rigid) -> f64 {
        self.body.tree.radius + pose.translation.norm()
    }

    /// Whether a plane helps to certify a block.
    pub(crate) fn takes_planes(&self) -> bool {
        matches!(self.target, Target::Convex(_))
    }

    /// How fast the distance can change along an axis, mm per unit of its parameter.
    pub(crate) fn speed(&self, linkage: &Linkage, axis: MapAxis, spans: Spans) -> f64 {
        linkage.speed(axis, spans, self.outer, self.inner)
    }

    /// The distance at one pose, as far as it is nearer than `below`. Distances of `below` and more may be reported lower
    /// than they are, but not below `below` less the slack.
    #[inline]
    pub(crate) fn ask(
        &self,
        pose: &Rigid,
        below: f64,
        hint: Option<u32>,
        precision: Precision,
        scratch: &mut Scratch,
    ) -> Asked {
        self.ask_where(pose, below, hint, precision, scratch).0
    }

    /// The same, and where it was found.
    #[inline]
    pub(crate) fn ask_where(
        &self,
        pose: &Rigid,
        below: f64,
        hint: Option<u32>,
        precision: Precision,
        scratch: &mut Scratch,
    ) -> (Asked, Found) {
        let body = self.body;
        let rounding = body.rounding;
        let options = Options {
            below: below + rounding,
            exact: precision.exact,
            hint,
            backend: precision.backend,
        };
        let (found, inside) = match self.target {
            Target::Convex(convex) => {
                let found = search(&body.tree, convex, pose, &options, scratch);
                let inside = found.distance > rounding && body.encloses(convex, pose);
                (found, inside)
            }
            Target::Surface(other) => {
                let found = nearest_between(&body.tree, &other.tree, pose, &options, scratch);
                let inside = found.distance > 0.0 && one_inside_other(body, other, pose);
                (found, inside)
            }
        };
        let leaf = found.leaf.or(hint);
        let asked = if inside || found.distance <= rounding {
            Asked {
                lower: 0.0,
                upper: 0.0,
                leaf,
            }
        } else {
            Asked {
                lower: (found.lower - rounding).max(0.0),
                upper: found.distance - rounding + body.looseness,
                leaf,
            }
        };
        (asked, found)
    }

    /// What is certain all over a block, given by the pose at its middle and what moves in it. `travel` bounds how much the
    /// distance changes from the middle, where nothing better is known. Continues at `scratch.frontier`.
    pub(crate) fn certify(
        &self,
        block: &Block,
        travel: impl FnOnce() -> f64,
        margin_mm: f64,
        backend: Backend,
        scratch: &mut Scratch,
    ) -> Verdict {
        let body = self.body;
        match self.target {
            Target::Convex(convex) => {
                let question = BlockQuestion {
                    tree: &body.tree,
                    convex,
                    pose: block.pose,
                    movers: block.movers,
                    plane: block.plane,
                    backend,
                };
                let margins = Margins {
                    clear: margin_mm + body.rounding,
                    contact: body.looseness - body.rounding,
                };
                let verdict = certify(&question, margins, scratch);
                // A surface that stays clear of the solid keeps it inside or outside all over the block.
                if verdict == Verdict::Clear && body.encloses(convex, block.pose) {
                    return Verdict::Contact;
                }
                verdict
            }
            Target::Surface(other) => between_surfaces(
                (body, other),
                block.pose,
                travel(),
                margin_mm,
                backend,
                scratch,
            ),
        }
    }

    /// A lower bound of the distance all over a block, as far as it is below `below`; very low where contact cannot be
    /// excluded, or where only the travel bounds it.
    pub(crate) fn lowest(
        &self,
        (pose, movers): (&Rigid, &[Mover]),
        below: f64,
        hint: Option<u32>,
        precision: Precision,
        scratch: &mut Scratch,
    ) -> f64 {
        let Target::Convex(convex) = self.target else {
            return f64::NEG_INFINITY;
        };
        let question = BlockQuestion {
            tree: &self.body.tree,
            convex,
            pose,
            movers,
            plane: None,
            backend: precision.backend,
        };
        let rounding = self.body.rounding;
        lowest(&question, below + rounding, hint, scratch) - rounding
    }
}

/// Two surfaces: apart or deep enough at the middle for all the travel in the block.
fn between_surfaces(
    (body, other): (&Body, &Body),
    pose: &Rigid,
    travel: f64,
    margin_mm: f64,
    backend: Backend,
    scratch: &mut Scratch,
) -> Verdict {
    let options = Options {
        below: margin_mm + travel + CONTACT_MM,
        exact: false,
        hint: None,
        backend,
    };
    scratch.frontier.clear();
    let found = nearest_between(&body.tree, &other.tree, pose, &options, scratch);
    let (certain, verdict) = if found.distance <= 0.0 {
        let deep = inside_depth(body, other, pose, scratch) > travel;
        (deep, Verdict::Contact)
    } else if one_inside_other(body, other, pose) {
        (found.lower > travel, Verdict::Contact)
    } else {
        (found.lower >= margin_mm + travel, Verdict::Clear)
    };
    if certain { verdict } else { Verdict::Open }
}
