//! Updates that cannot be read, or are for somebody else: the first ten a minute of each kind are logged.

use std::sync::atomic::{AtomicU64, Ordering};

use bridge_core::update::ReadError;
use bridge_core::{Millis, UserId};
use tracing::warn;

use crate::ration::Ration;

const A_MINUTE: u64 = 10;

pub(super) struct Unreadable {
    ration: Ration,
    number: AtomicU64,
}

impl Default for Unreadable {
    fn default() -> Self {
        Self { ration: Ration::new(A_MINUTE), number: AtomicU64::new(0) }
    }
}

impl Unreadable {
    pub(super) fn log(&self, routing_key: &str, error: &ReadError, now: Millis) {
        if let Some(left_out) = self.ration.take(error.name(), now) {
            let routing_key = routing_key.escape_debug();
            warn!(%routing_key, %error, left_out, "rejected an update that cannot be read");
        }
    }

    /// One that can be read and names another user than its routing key or queue.
    pub(super) fn leaked(&self, routing_key: &str, named: &str, reached: &UserId, now: Millis) {
        if let Some(left_out) = self.ration.take("leak", now) {
            let routing_key = routing_key.escape_debug();
            let named = named.escape_debug();
            warn!(%routing_key, %named, %reached, left_out,
                "update named another user than its routing key or queue: dropped");
        }
    }

    /// A number that no other update of this instance has.
    pub(super) fn unique(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}
