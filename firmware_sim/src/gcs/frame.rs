//! X, Y, Z, U, V, W: what the six numbers of a hexapod mean, the pivot point, and coordinate systems.
//!
//! Manuals of PI's hexapods (H-820 MS207E and H-850 MS202E, section 3, "Motion"): translations are along the axes of the fixed, right-handed
//! coordinate system; the rotational axes meet at the centre of rotation and move with the platform; a rotation is built in the order
//! U -> V -> W. Rotations about axes that move with the platform multiply from the right: R = Rx(U) Ry(V) Rz(W).
//!
//! A work coordinate system W and a tool coordinate system T turn the platform's pose P into the numbers of W^-1 P T.
//! - ZERO with a pivot point p: W = T = translation to p.
//! - KSD: W = T = the system, so that both agree at the zero position only.
//! - KSF: W = where the platform stood when it was defined, T = the platform.
//! - KSW and KST: one of each.

use super::error::Error;
use crate::limits::AXES;
use crate::pose::{Pose, Six, Vector};

/// Names of the axes, in order.
pub const AXIS_NAMES: [&str; AXES] = ["X", "Y", "Z", "U", "V", "W"];
/// Names of the coordinates of the pivot point.
pub const PIVOT_NAMES: [&str; 3] = ["R", "S", "T"];
/// Name of the root coordinate system.
pub const ROOT: &str = "ZERO";
/// Coordinate systems that may be defined.
pub const SYSTEMS_MAX: usize = 8;
/// Octets of a name.
pub const NAME_MAX: usize = 20;

/// T(X, Y, Z) Rx(U) Ry(V) Rz(W): millimetres and degrees.
pub fn pose(six: &Six) -> Pose {
    let [x, y, z, u, v, w] = *six;
    Pose::translation([x, y, z])
        .then(&Pose::rx(u))
        .then(&Pose::ry(v))
        .then(&Pose::rz(w))
}

/// The six numbers of a pose (inverse of [`pose`]); V within +-90 degrees.
pub fn six(pose: &Pose) -> Six {
    let [[r00, r01, r02], [_, _, r12], [_, _, r22]] = pose.rotation();
    let [x, y, z] = pose.origin();
    [
        x,
        y,
        z,
        libm::atan2(-r12, r22).to_degrees(),
        libm::asin(r02.clamp(-1.0, 1.0)).to_degrees(),
        libm::atan2(-r01, r00).to_degrees(),
    ]
}

/// Kinds of coordinate systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the commands")]
pub enum Kind {
    Ksd,
    Ksf,
    Ksw,
    Kst,
}

impl Kind {
    /// As `KEN?` and `KLS?` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ksd => "KSD",
            Self::Ksf => "KSF",
            Self::Ksw => "KSW",
            Self::Kst => "KST",
        }
    }
}

/// Name of a coordinate system.
pub type Name = heapless::String<NAME_MAX>;

#[derive(Debug, Clone)]
struct System {
    name: Name,
    kind: Kind,
    place: Six,
    parent: Option<Name>,
}

/// All coordinate systems, which are enabled, and the pivot point.
#[derive(Debug, Default)]
pub struct Systems {
    systems: heapless::Vec<System, SYSTEMS_MAX>,
    work: Option<Name>,
    tool: Option<Name>,
    pivot: Vector,
}

/// What `KLS?` says of one coordinate system.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Where it is in its parent.
    pub place: &'a Six,
    /// Name of the parent.
    pub parent: &'a str,
}

impl Systems {
    fn find(&self, name: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// Whether the root coordinate system is enabled.
    pub fn root(&self) -> bool {
        self.work.is_none() && self.tool.is_none()
    }

    fn enabled(&self, name: &str) -> bool {
        [&self.work, &self.tool]
            .iter()
            .any(|slot| slot.as_deref() == Some(name))
    }

    /// Whether `name` is enabled or an ancestor of one that is.
    fn in_use(&self, name: &str) -> bool {
        [&self.work, &self.tool]
            .iter()
            .filter_map(|slot| slot.as_deref())
            .any(|start| self.chain(start).any(|system| system.name == name))
    }

    /// A system and its ancestors.
    fn chain<'a>(&'a self, start: &str) -> impl Iterator<Item = &'a System> {
        let first = self.find(start);
        core::iter::successors(first, |system| {
            system.parent.as_deref().and_then(|name| self.find(name))
        })
        .take(SYSTEMS_MAX)
    }

    /// `root from system`.
    fn pose_of(&self, name: &str) -> Pose {
        self.chain(name).fold(Pose::IDENTITY, |inner, system| {
            pose(&system.place).then(&inner)
        })
    }

    /// Defines a coordinate system; one of the name is replaced unless it is in use.
    pub fn define(&mut self, name: &str, kind: Kind, place: Six) -> Result<(), Error> {
        let sound = name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        let Some(name) = Name::try_from(name)
            .ok()
            .filter(|name| sound && !name.is_empty() && name != ROOT)
        else {
            return Err(Error::SystemName);
        };
        if self.in_use(&name) {
            return Err(Error::SystemInUse);
        }
        self.systems.retain(|system| system.name != name);
        self.systems
            .push(System {
                name,
                kind,
                place,
                parent: None,
            })
            .map_err(|_| Error::SystemsFull)
    }

    /// `KRM`: deletes a coordinate system.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        if self.find(name).is_none() {
            return Err(Error::NoSuchSystem);
        }
        let is_parent = self
            .systems
            .iter()
            .any(|system| system.parent.as_deref() == Some(name));
        if self.in_use(name) || is_parent {
            return Err(Error::SystemInUse);
        }
        self.systems.retain(|system| system.name != name);
        Ok(())
    }

    /// `KLN`: makes `parent` the parent of `child`.
    pub fn link(&mut self, child: &str, parent: &str) -> Result<(), Error> {
        if child == parent {
            return Err(Error::SystemOwnParent);
        }
        if self.find(child).is_none() || (parent != ROOT && self.find(parent).is_none()) {
            return Err(Error::NoSuchSystem);
        }
        if self.in_use(child) {
            return Err(Error::SystemInUse);
        }
        if self.chain(parent).any(|system| system.name == child) {
            return Err(Error::SystemCyclic);
        }
        let parent = Name::try_from(parent).ok().filter(|parent| parent != ROOT);
        if let Some(system) = self.systems.iter_mut().find(|system| system.name == child) {
            system.parent = parent;
        }
        Ok(())
    }

    /// `KEN`: enables a coordinate system; ZERO (or 0) goes back to the root.
    pub fn enable(&mut self, name: &str) -> Result<(), Error> {
        if name == ROOT || name == "0" {
            self.work = None;
            self.tool = None;
            return Ok(());
        }
        let system = self.find(name).ok_or(Error::NoSuchSystem)?;
        let (kind, name) = (system.kind, system.name.clone());
        let keeps = |slot: &Option<Name>, wanted: Kind| {
            slot.as_deref()
                .and_then(|name| self.find(name))
                .filter(|system| system.kind == wanted)
                .map(|system| system.name.clone())
        };
        let (work, tool) = match kind {
            Kind::Ksd | Kind::Ksf => (Some(name), None),
            Kind::Ksw => (Some(name), keeps(&self.tool, Kind::Kst)),
            Kind::Kst => (keeps(&self.work, Kind::Ksw), Some(name)),
        };
        self.work = work;
        self.tool = tool;
        Ok(())
    }

    /// Every defined system.
    pub fn list(&self) -> impl Iterator<Item = Description<'_>> {
        self.systems.iter().map(|system| Description {
            name: &system.name,
            kind: system.kind,
            place: &system.place,
            parent: system.parent.as_deref().unwrap_or(ROOT),
        })
    }

    /// Names and kinds of what is enabled besides the root.
    pub fn list_enabled(&self) -> impl Iterator<Item = Description<'_>> {
        self.list().filter(|system| self.enabled(system.name))
    }

    /// The pivot point.
    pub fn pivot(&self) -> Vector {
        self.pivot
    }

    /// `SPI`: sets the pivot point; only in the root system and with U, V, W at 0.
    pub fn set_pivot(&mut self, pivot: Vector, at: &Six) -> Result<(), Error> {
        const LEVEL_DEG: f64 = 1e-3;
        if !self.root() {
            return Err(Error::PivotNotSupported);
        }
        let [_, _, _, rotations @ ..] = at;
        if rotations.iter().any(|angle| angle.abs() > LEVEL_DEG) {
            return Err(Error::PivotNotPossible);
        }
        self.pivot = pivot;
        Ok(())
    }

    /// Work and tool coordinate system as poses: `base from work`, `platform from tool`.
    fn work_and_tool(&self) -> (Pose, Pose) {
        if self.root() {
            let pivot = Pose::translation(self.pivot);
            return (pivot, pivot);
        }
        let place = |slot: &Option<Name>| slot.as_deref().map(|name| self.pose_of(name));
        let work = place(&self.work).unwrap_or(Pose::IDENTITY);
        let both = self
            .work
            .as_deref()
            .and_then(|name| self.find(name))
            .is_some_and(|system| system.kind == Kind::Ksd);
        let tool = if both {
            work
        } else {
            place(&self.tool).unwrap_or(Pose::IDENTITY)
        };
        (work, tool)
    }

    /// The six numbers that the line shows for a pose of the platform.
    pub fn shown(&self, platform: &Pose) -> Six {
        let (work, tool) = self.work_and_tool();
        six(&work.inverse().then(platform).then(&tool))
    }

    /// The pose of the platform that six numbers on the line mean.
    pub fn meant(&self, numbers: &Six) -> Pose {
        let (work, tool) = self.work_and_tool();
        work.then(&pose(numbers)).then(&tool.inverse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &Six, b: &Six) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn six_numbers_and_pose_are_inverse_to_each_other() {
        let numbers = [1.0, -2.0, 3.0, 2.5, -1.5, 3.0];
        close(&six(&pose(&numbers)), &numbers);
    }

    #[test]
    fn second_rotation_turns_about_the_axis_that_the_first_has_turned() {
        // U 90 takes the platform's Y axis to +Z; a V then turns about that: the platform's X axis goes towards ... +Y, not -Z.
        let x_axis = pose(&[0.0, 0.0, 0.0, 90.0, 90.0, 0.0]).direction(&[1.0, 0.0, 0.0]);
        assert!((x_axis[1] - 1.0).abs() < 1e-12, "{x_axis:?}");
    }

    #[test]
    fn platform_turned_about_a_pivot_keeps_that_point_where_it_is() {
        let mut systems = Systems::default();
        let pivot = [10.0, -20.0, 120.0];
        systems.set_pivot(pivot, &[0.0; 6]).unwrap();
        let moved = systems.meant(&[0.0, 0.0, 0.0, 2.0, -1.0, 3.0]);
        for (got, want) in moved.point(&pivot).iter().zip(&pivot) {
            assert!((got - want).abs() < 1e-9);
        }
        close(&systems.shown(&moved), &[0.0, 0.0, 0.0, 2.0, -1.0, 3.0]);
        assert_eq!(
            systems.set_pivot(pivot, &[0.0, 0.0, 0.0, 2.0, 0.0, 0.0]),
            Err(Error::PivotNotPossible)
        );
    }

    #[test]
    fn work_system_where_the_platform_stands_shows_zero_there() {
        let mut systems = Systems::default();
        let stands = pose(&[3.0, 4.0, -5.0, 1.0, 2.0, -0.5]);
        systems.define("HERE", Kind::Ksf, six(&stands)).unwrap();
        systems.enable("HERE").unwrap();
        close(&systems.shown(&stands), &[0.0; 6]);
        assert_eq!(systems.remove("HERE"), Err(Error::SystemInUse));
        systems.enable(ROOT).unwrap();
        close(&systems.shown(&stands), &[3.0, 4.0, -5.0, 1.0, 2.0, -0.5]);
        systems.remove("HERE").unwrap();
    }

    #[test]
    fn child_of_a_turned_parent_moves_along_the_turned_axes() {
        let mut systems = Systems::default();
        systems
            .define("A", Kind::Ksd, [0.0, 0.0, 0.0, 0.0, 0.0, 90.0])
            .unwrap();
        systems
            .define("B", Kind::Ksd, [10.0, 0.0, 0.0, 0.0, 0.0, 0.0])
            .unwrap();
        systems.link("B", "A").unwrap();
        assert_eq!(systems.link("A", "B"), Err(Error::SystemCyclic));
        systems.enable("B").unwrap();
        let moved = systems.meant(&[5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        close(&six(&moved), &[0.0, 5.0, 0.0, 0.0, 0.0, 0.0]);
        systems.define("C", Kind::Ksw, [0.0; 6]).unwrap();
        assert_eq!(systems.link("C", "NOWHERE"), Err(Error::NoSuchSystem));
    }
}
