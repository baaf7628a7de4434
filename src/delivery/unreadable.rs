//! Updates that cannot be read: the first ten a minute are logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge_core::Millis;
use bridge_core::update::ReadError;
use parking_lot::Mutex;
use tracing::warn;

const A_MINUTE: u64 = 10;

#[derive(Default)]
pub(super) struct Unreadable {
    minute: Mutex<(u64, u64)>,
    number: AtomicU64,
}

impl Unreadable {
    pub(super) fn log(&self, routing_key: &Arc<str>, error: &ReadError, now: Millis) {
        let mut minute = self.minute.lock();
        if minute.0 != now.0 / 60_000 {
            *minute = (now.0 / 60_000, 0);
        }
        minute.1 += 1;
        if minute.1 <= A_MINUTE {
            warn!(routing_key = %routing_key.escape_debug(), %error, "rejected an update that cannot be read");
        }
    }

    /// A number that no other update of this instance has.
    pub(super) fn unique(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}
