//! The comparator: both paths' observations in, one class with its cause for each unit out.

pub mod event;

pub use event::{Event, Fact, Payload, Seen};
