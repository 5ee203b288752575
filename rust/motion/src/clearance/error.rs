//! What can be wrong with a room, a mesh or a question.

use thiserror::Error;

/// Every refusal of the clearance core: what, where, and what to do.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ClearanceError {
    /// A mesh that cannot stand for a solid.
    #[error("mesh {name:?}: {fault}")]
    Mesh {
        /// The mesh's name.
        name: String,
        /// What is wrong with it.
        fault: MeshFault,
    },
    /// A shape whose dimensions make no solid.
    #[error("part {name:?}: {reason}")]
    Shape {
        /// The part's name.
        name: String,
        /// Why it is no solid.
        reason: String,
    },
    /// Twelve numbers that are no rigid motion.
    #[error("pose of {what}: {reason}")]
    Pose {
        /// Whose pose.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name or number that the room does not have.
    #[error("{0}")]
    Unknown(String),
    /// A question that has no answer as asked.
    #[error("{0}")]
    Question(String),
}

/// Why a mesh is refused. Vertex and triangle numbers count from zero.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MeshFault {
    /// No triangles.
    #[error("is empty; a surface needs at least four triangles")]
    Empty,
    /// More than the tree can number.
    #[error("has {0} triangles, more than {limit}; decimate it", limit = super::mesh::TRIANGLES_MAX)]
    TooLarge(usize),
    /// NaN or infinity.
    #[error("vertex {0} is not finite")]
    NotFinite(usize),
    /// A triangle naming a vertex that is not there.
    #[error("triangle {triangle} names vertex {vertex}, but there are only {count}")]
    NoSuchVertex {
        /// The triangle.
        triangle: usize,
        /// The vertex it names.
        vertex: u32,
        /// How many there are.
        count: usize,
    },
    /// A triangle with a repeated corner.
    #[error("triangle {0} repeats a corner")]
    Degenerate(usize),
    /// Too small to be anything in a treatment room.
    #[error(
        "is {0:.3} mm long; below 10 mm it is no part of a treatment room. Is it in metres? Lengths are in millimetres"
    )]
    TooSmall(f64),
    /// Too large to be anything in a treatment room.
    #[error(
        "is {0:.0} mm long; above 5 m it is no part of a treatment room. Lengths are in millimetres"
    )]
    TooBig(f64),
    /// A boundary edge.
    #[error(
        "is open: the edge between {from:?} and {to:?} (mm) has a triangle on one side only; close the surface"
    )]
    Open {
        /// One end.
        from: [f64; 3],
        /// The other end.
        to: [f64; 3],
    },
    /// An edge with more than two triangles, or two that disagree about which side is out.
    #[error(
        "the edge between {from:?} and {to:?} (mm) is used twice in the same direction: triangles face both ways or more than two meet there"
    )]
    NotOrientable {
        /// One end.
        from: [f64; 3],
        /// The other end.
        to: [f64; 3],
    },
    /// The triangles face inwards.
    #[error("is inside out (volume {0:.1} mm3); reverse its triangles")]
    InsideOut(f64),
    /// It passes through itself.
    #[error("passes through itself: triangles {first} and {second} cross near {near:?} (mm)")]
    SelfIntersecting {
        /// One triangle.
        first: usize,
        /// The other triangle.
        second: usize,
        /// A corner of the first.
        near: [f64; 3],
    },
}
