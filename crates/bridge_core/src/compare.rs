//! The comparator: both paths' observations in, one class with its cause for each unit out.

mod ages;
mod audience;
mod class;
mod comparator;
mod decide;
mod describe;
pub mod event;
mod known;
mod lone;
mod order;
mod posts;
mod recent;
mod record;
mod summary;
mod told;
mod unit;
mod units;

pub use class::{Cause, Class, Modifier};
pub use comparator::{Comparator, Limits};
pub use event::{Event, Fact, Payload, Seen};
pub use record::{Closed, Payloads, Record, SideRecord};
pub use summary::Summary;
pub use told::Told;

pub use crate::message::IgnoreRule;
