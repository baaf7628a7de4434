//! Where the comparison listens.

use bridge_core::Millis;
use bridge_core::compare::{Event, Fact};

/// Takes what the comparator is told. Implementations never block and shed what they can't take, counted.
pub trait Tap: Send + Sync + 'static {
    /// One event, in the order in which things happened.
    fn event(&self, event: Event);

    /// One fact.
    fn fact(&self, at: Millis, fact: Fact) {
        self.event(Event::Fact(at, fact));
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn event(&self, _event: Event) {}
}
