//! Clearance: how far the patient and the couch are from the machine, for a pose, along a path, over a whole map.
//!
//! Lengths in millimetres. A reported clearance is never above the true one; how far it can be below is part of the answer.

mod body;
mod certify;
mod chain;
mod couple;
mod crossing;
mod depth;
mod error;
mod facing;
mod hull;
mod kernel;
mod lanes;
mod linkage;
mod map;
mod mesh;
mod rigid;
mod room;
mod search;
mod solid;
mod surfaces;
mod sweep;
mod tree;
mod triangle;
mod view;

pub use chain::{Chain, Joint};
pub use error::{ClearanceError, MeshFault};
pub use hull::{HULL_POINTS_MAX, Hull, nearest_on_triangle};
pub use lanes::Backend;
pub use linkage::MapAxis;
pub use map::{AXIS_CELLS_MAX, CELLS_MAX, CellFloor, CellState, Drive, Grid, MapCell};
pub use mesh::{Mesh, TRIANGLES_MAX};
pub use rigid::{Rigid, V3};
pub use room::{Geometry, Pair, PartSpec, Precision, Room, Separation};
pub use search::{EXACT_SLACK_MM, FAST_SLACK_MM};
pub use solid::{Sample, Solid};
pub use sweep::{CONTACT_MM, Place, Station, Sweep, SweepOptions};
pub use view::{Camera, PIXELS_MAX, View};
