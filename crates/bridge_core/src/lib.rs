//! The pure core of `updates-bridge`: what an Update says, when two copies are the same message, who gets
//! which copy, and what a comparison proves.
//!
//! Nothing here reads a clock, a socket or a file. Time comes in as [`Millis`]; everything else as plain values.
//! That is what lets the gate be searched exhaustively and the comparator be tested by properties.

pub mod compare;
pub mod form;
pub mod gate;
pub mod guard;
pub mod id;
pub mod json;
pub mod key;
pub mod message;
pub mod recipient;
pub mod stage;
pub mod time;
pub mod update;
pub mod verdict;

pub use id::{DialogId, InvalidId, SocketId, UserId};
pub use json::Json;
pub use key::{Key, MessageId};
pub use stage::{Path, Rollout, Stage};
pub use time::Millis;
