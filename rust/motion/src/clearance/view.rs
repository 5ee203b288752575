//! A picture of the room: every pixel is one exact ray cast on the very parts whose clearance is measured.
//!
//! Convex solids are met in closed form, surfaces through their search tree in double precision. Nothing is drawn that is
//! not measured, and nothing is simplified for the picture: what it shows is what a clearance was computed for.

use super::body::Body;
use super::error::ClearanceError;
use super::rigid::{Rigid, V3};
use super::room::{Part, Room, Shape, solid_box};
use super::solid::Solid;
use super::tree::{Child, Node, Tree};

/// A picture has at most so many pixels.
pub const PIXELS_MAX: usize = 1_000_000;

/// Rays begin this far in front of the eye, mm.
const NEAR_MM: f64 = 1e-3;

/// A step in depth of more than this between neighbours is drawn as an edge, mm.
const STEP_MM: f64 = 45.0;

/// How much light comes from everywhere, from the lamp and from the eye; together one.
const LIGHT: (f64, f64, f64) = (0.28, 0.52, 0.20);

/// Edges are drawn with this part of their light.
const EDGE: f64 = 0.45;

/// Where a picture is taken from. Vectors in the fixed frame, mm; `right`, `up` and `towards` are orthonormal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// The eye, or the middle of the picture's plane for parallel rays.
    pub eye: V3,
    /// To the right of the picture.
    pub right: V3,
    /// To the top of the picture.
    pub up: V3,
    /// Into the picture.
    pub towards: V3,
    /// Side of a pixel at the focus, mm.
    pub pixel_mm: f64,
    /// How far the focus is from the eye, mm; `None` for parallel rays.
    pub focus_mm: Option<f64>,
}

/// A picture, row by row from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Number of the part in each pixel plus one; 0 where there is nothing.
    pub part: Vec<u16>,
    /// Brightness of each pixel, 0 to 255.
    pub shade: Vec<u8>,
    /// How far along its ray each pixel is, mm; infinite where there is nothing.
    pub depth_mm: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Ray {
    from: V3,
    along: V3,
}

#[derive(Clone, Copy, Debug)]
struct Hit {
    at: f64,
    normal: V3,
}

impl Camera {
    fn check(&self) -> Result<(), ClearanceError> {
        let refuse = |reason: String| Err(ClearanceError::Question(format!("camera: {reason}")));
        let axes = [self.right, self.up, self.towards];
        let numbers = [self.eye, self.right, self.up, self.towards];
        if numbers.iter().flatten().any(|x| !x.is_finite()) {
            return refuse("a number that is not finite".to_owned());
        }
        let skew = |a: &V3, b: &V3| a.dot(b).abs();
        let lengths = axes.iter().map(|a| (a.norm() - 1.0).abs());
        let [right, up, towards] = &axes;
        let off = lengths
            .chain([skew(right, up), skew(up, towards), skew(towards, right)])
            .fold(0.0, f64::max);
        if off > 1e-6 {
            return refuse(format!("its axes are not orthonormal (off by {off:.1e})"));
        }
        let size = |x: f64| x.is_finite() && x > 0.0 && x <= 1e6;
        if !size(self.pixel_mm) || !self.focus_mm.is_none_or(size) {
            return refuse("pixel and focus must be above 0 mm and at most 1e6 mm".to_owned());
        }
        Ok(())
    }

    /// The ray through a place of the picture, in pixels from its middle, to the right and up.
    fn ray(&self, right: f64, up: f64) -> Ray {
        let aside = (self.right * right + self.up * up) * self.pixel_mm;
        match self.focus_mm {
            None => Ray {
                from: self.eye + aside,
                along: self.towards,
            },
            Some(focus) => Ray {
                from: self.eye,
                along: (self.towards * focus + aside).normalize(),
            },
        }
    }
}

/// A part where it stands, ready for rays.
struct Standing<'a> {
    number: u16,
    shape_from_fixed: Rigid,
    rotation: nalgebra::Matrix3<f64>,
    middle: V3,
    radius_squared: f64,
    part: &'a Part,
}

impl Room {
    /// Draws the room with its frames at `poses` (`fixed <- frame`). Parts for which `hidden` holds true are left out.
    ///
    /// One thread, no locks; some milliseconds for ten thousand pixels.
    pub fn view(
        &self,
        poses: &[Rigid],
        camera: &Camera,
        (width, height): (usize, usize),
        hidden: &[bool],
    ) -> Result<View, ClearanceError> {
        self.check_poses(poses)?;
        camera.check()?;
        let pixels = width.saturating_mul(height);
        if pixels == 0 || pixels > PIXELS_MAX {
            return Err(ClearanceError::Question(format!(
                "a picture of {width} x {height} pixels; it has at least one and at most {PIXELS_MAX}"
            )));
        }
        let standing = self.standing(poses, hidden);
        let lamp = (camera.up * 0.8 - camera.right * 0.45 - camera.towards * 0.4).normalize();
        let mut view = View {
            part: Vec::with_capacity(pixels),
            shade: Vec::with_capacity(pixels),
            depth_mm: Vec::with_capacity(pixels),
        };
        let mut open = Vec::new();
        for row in 0..height {
            for column in 0..width {
                let right = column as f64 + 0.5 - 0.5 * width as f64;
                let up = 0.5 * height as f64 - row as f64 - 0.5;
                let ray = camera.ray(right, up);
                view.push(&ray, &lamp, nearest(&standing, &ray, &mut open));
            }
        }
        view.draw_edges(width);
        Ok(view)
    }

    fn standing(&self, poses: &[Rigid], hidden: &[bool]) -> Vec<Standing<'_>> {
        let shown = |index: &usize| !hidden.get(*index).copied().unwrap_or(false);
        self.parts
            .iter()
            .enumerate()
            .filter(|(index, _)| shown(index))
            .filter_map(|(index, part)| {
                let pose = poses.get(part.frame)?.then(&part.placement);
                let (middle, half) = extent(part)?;
                Some(Standing {
                    number: u16::try_from(index + 1).ok()?,
                    shape_from_fixed: pose.inverse(),
                    rotation: pose.rotation,
                    middle: pose.point(&middle),
                    radius_squared: half.norm_squared(),
                    part,
                })
            })
            .collect()
    }
}

/// A box that holds the part, in the frame of its shape: middle and half lengths.
fn extent(part: &Part) -> Option<(V3, V3)> {
    match (&part.shape, &part.body) {
        (Shape::Convex(convex), _) => Some(solid_box(&convex.solid)),
        (Shape::Surface, Some(body)) => Some((body.tree.origin, body.tree.half)),
        (Shape::Surface, None) => None,
    }
}

fn nearest(
    standing: &[Standing<'_>],
    ray: &Ray,
    open: &mut Vec<(f64, Child)>,
) -> Option<(u16, Hit)> {
    let mut best: Option<(u16, Hit)> = None;
    for one in standing {
        let to_middle = one.middle - ray.from;
        let along = to_middle.dot(&ray.along);
        let aside = to_middle.norm_squared() - along * along;
        if aside > one.radius_squared {
            continue;
        }
        let below = best.map_or(f64::INFINITY, |(_, hit)| hit.at);
        let local = Ray {
            from: one.shape_from_fixed.point(&ray.from),
            along: one.shape_from_fixed.rotation * ray.along,
        };
        if let Some(hit) = one.part.meets(&local, below, open) {
            let normal = one.rotation * hit.normal;
            best = Some((one.number, Hit { at: hit.at, normal }));
        }
    }
    best
}

impl Part {
    /// Where a ray in the frame of the shape enters it, if that is nearer than `below`.
    fn meets(&self, ray: &Ray, below: f64, open: &mut Vec<(f64, Child)>) -> Option<Hit> {
        let hit = match (&self.shape, &self.body) {
            (Shape::Convex(convex), _) => enters(&convex.solid, ray),
            (Shape::Surface, Some(body)) => pierces(body, ray, below, open),
            (Shape::Surface, None) => None,
        }?;
        (hit.at > NEAR_MM && hit.at < below).then_some(hit)
    }
}

fn enters(solid: &Solid, ray: &Ray) -> Option<Hit> {
    match solid {
        Solid::Cuboid { half } => {
            let planes = [V3::x(), V3::y(), V3::z()];
            let sides = planes.iter().zip(half.iter());
            clip(ray, sides.flat_map(|(n, h)| [(*n, *h), (-n, *h)]))
        }
        Solid::Hull(hull) => clip(ray, hull.planes().iter().map(|p| (p.normal, p.offset))),
        Solid::Cylinder {
            radius,
            half_length,
        } => enters_cylinder(ray, *radius, *half_length),
        Solid::Capsule {
            radius,
            half_length,
        } => enters_capsule(ray, *radius, *half_length),
    }
}

/// Where a ray enters the body that lies below all planes (unit normal, offset).
fn clip(ray: &Ray, planes: impl Iterator<Item = (V3, f64)>) -> Option<Hit> {
    let mut enter = Hit {
        at: f64::NEG_INFINITY,
        normal: V3::z(),
    };
    let mut leave = f64::INFINITY;
    for (normal, offset) in planes {
        let (speed, gap) = (normal.dot(&ray.along), offset - normal.dot(&ray.from));
        if speed == 0.0 {
            if gap < 0.0 {
                return None;
            }
            continue;
        }
        let at = gap / speed;
        if speed < 0.0 && at > enter.at {
            enter = Hit { at, normal };
        } else if speed > 0.0 {
            leave = leave.min(at);
        }
    }
    (enter.at <= leave && enter.at > NEAR_MM).then_some(enter)
}

/// Where a ray enters and leaves a round of `radius`: `across` are its start and direction less the round's axis.
fn round((from, along): (V3, V3), radius: f64) -> Option<(f64, f64)> {
    let square = along.norm_squared();
    if square <= 0.0 {
        let inside = from.norm_squared() <= radius * radius;
        return inside.then_some((f64::NEG_INFINITY, f64::INFINITY));
    }
    let middle = -from.dot(&along) / square;
    let left = radius * radius - (from + along * middle).norm_squared();
    let reach = (left >= 0.0).then(|| (left / square).sqrt())?;
    Some((middle - reach, middle + reach))
}

fn flat(v: &V3) -> V3 {
    V3::new(v.x, v.y, 0.0)
}

fn enters_cylinder(ray: &Ray, radius: f64, half_length: f64) -> Option<Hit> {
    let (in_round, out_round) = round((flat(&ray.from), flat(&ray.along)), radius)?;
    let cap = V3::z() * 1f64.copysign(-ray.along.z);
    let (in_cap, out_cap) = if ray.along.z == 0.0 {
        if ray.from.z.abs() > half_length {
            return None;
        }
        (f64::NEG_INFINITY, f64::INFINITY)
    } else {
        let ends = [half_length, -half_length].map(|z| (z - ray.from.z) / ray.along.z);
        let [a, b] = ends;
        (a.min(b), a.max(b))
    };
    let at = in_round.max(in_cap);
    if at > out_round.min(out_cap) || at <= NEAR_MM {
        return None;
    }
    let normal = if in_cap >= in_round {
        cap
    } else {
        flat(&(ray.from + ray.along * at)) / radius
    };
    Some(Hit { at, normal })
}

fn enters_capsule(ray: &Ray, radius: f64, half_length: f64) -> Option<Hit> {
    let mut best: Option<f64> = None;
    let mut offer = |at: f64| {
        if at > NEAR_MM && best.is_none_or(|known| at < known) {
            best = Some(at);
        }
    };
    if let Some((at, _)) = round((flat(&ray.from), flat(&ray.along)), radius)
        && (ray.from.z + ray.along.z * at).abs() <= half_length
    {
        offer(at);
    }
    for end in [half_length, -half_length] {
        let from = ray.from - V3::z() * end;
        if let Some((at, _)) = round((from, ray.along), radius)
            && (from.z + ray.along.z * at) * end.signum() >= 0.0
        {
            offer(at);
        }
    }
    let at = best?;
    let p = ray.from + ray.along * at;
    let axis = V3::z() * p.z.clamp(-half_length, half_length);
    Some(Hit {
        at,
        normal: (p - axis) / radius,
    })
}

/// The first triangle of a surface that a ray meets nearer than `below`, boxes nearest first.
fn pierces(body: &Body, ray: &Ray, below: f64, open: &mut Vec<(f64, Child)>) -> Option<Hit> {
    let tree = &body.tree;
    let ray = Ray {
        from: ray.from - tree.origin,
        along: ray.along,
    };
    // A direction component of nothing would make a distance of nothing times infinity.
    let inverse = ray.along.map(|x| 1.0 / if x == 0.0 { 1e-300 } else { x });
    let mut best: Option<Hit> = None;
    open.clear();
    open.push((0.0, Child::Node(0)));
    while let Some((enter, child)) = open.pop() {
        let limit = best.map_or(below, |hit| hit.at);
        if enter >= limit {
            continue;
        }
        match child {
            Child::None => {}
            Child::Node(at) => {
                if let Some(node) = tree.nodes.get(at as usize) {
                    open_boxes(node, &ray, &inverse, limit, open);
                }
            }
            Child::Leaf(at) => {
                if let Some(hit) = pierces_leaf(tree, at, &ray, limit) {
                    best = Some(hit);
                }
            }
        }
    }
    best
}

fn open_boxes(node: &Node, ray: &Ray, inverse: &V3, limit: f64, open: &mut Vec<(f64, Child)>) {
    let first = open.len();
    for (lane, child) in node.child.iter().enumerate() {
        if node.used >> lane & 1 == 0 {
            continue;
        }
        let (mut enter, mut leave) = (0.0_f64, limit);
        let blocks = node.centre.iter().zip(&node.half);
        for ((centre, half), (start, factor)) in blocks.zip(ray.from.iter().zip(inverse.iter())) {
            let pick = |cells: &[f32]| cells.get(lane).map_or(0.0, |x| f64::from(*x));
            let (middle, size) = (pick(&centre.0) - start, pick(&half.0) + 1e-6);
            let (a, b) = ((middle - size) * factor, (middle + size) * factor);
            enter = enter.max(a.min(b));
            leave = leave.min(a.max(b));
        }
        if enter <= leave {
            open.push((enter, *child));
        }
    }
    if let Some(fresh) = open.get_mut(first..) {
        fresh.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    }
}

fn pierces_leaf(tree: &Tree, leaf: u32, ray: &Ray, below: f64) -> Option<Hit> {
    let leaf = tree.leaves.get(leaf as usize)?;
    let mut best: Option<Hit> = None;
    for index in leaf.triangle.iter().take(leaf.used.count_ones() as usize) {
        let Some([a, b, c]) = tree.triangles.get(*index as usize) else {
            continue;
        };
        let limit = best.map_or(below, |hit| hit.at);
        let (u, v, start) = (b - a, c - a, ray.from - a);
        let across = ray.along.cross(&v);
        let determinant = u.dot(&across);
        if determinant == 0.0 {
            continue;
        }
        let first = start.dot(&across) / determinant;
        let turned = start.cross(&u);
        let second = ray.along.dot(&turned) / determinant;
        let at = v.dot(&turned) / determinant;
        // A hair beyond the edges, so that no ray slips between two triangles.
        if first.min(second).min(1.0 - first - second) >= -1e-9 && at > NEAR_MM && at < limit {
            let normal = u.cross(&v).normalize();
            best = Some(Hit { at, normal });
        }
    }
    best
}

impl View {
    fn push(&mut self, ray: &Ray, lamp: &V3, found: Option<(u16, Hit)>) {
        let Some((number, hit)) = found else {
            self.part.push(0);
            self.shade.push(0);
            self.depth_mm.push(f32::INFINITY);
            return;
        };
        let (everywhere, of_lamp, of_eye) = LIGHT;
        let light = everywhere
            + of_lamp * hit.normal.dot(lamp).max(0.0)
            + of_eye * (-hit.normal.dot(&ray.along)).max(0.0);
        self.part.push(number);
        self.shade
            .push((light.clamp(0.0, 1.0) * 255.0).round() as u8);
        self.depth_mm.push(hit.at as f32);
    }

    /// Darkens the pixels whose left or upper neighbour is another part, or much further or nearer.
    fn draw_edges(&mut self, width: usize) {
        let differs = |here: usize, there: usize| {
            let at = |index: usize| Some((self.part.get(index)?, self.depth_mm.get(index)?));
            match (at(here), at(there)) {
                (Some((p, d)), Some((q, e))) => {
                    p != q || (*p != 0 && f64::from((d - e).abs()) > STEP_MM)
                }
                _ => false,
            }
        };
        let edges: Vec<usize> = (0..self.part.len())
            .filter(|&here| {
                let left = !here.is_multiple_of(width) && differs(here, here - 1);
                left || (here >= width && differs(here, here - width))
            })
            .collect();
        for here in edges {
            if let Some(shade) = self.shade.get_mut(here) {
                *shade = (f64::from(*shade) * EDGE).round() as u8;
            }
        }
    }
}
