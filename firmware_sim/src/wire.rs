//! The octets of CLP/1 (docs/protocol.md sections 1 and 10): integers, frames, messages.

pub mod frame;
pub mod message;
pub mod octets;
