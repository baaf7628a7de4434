//! Updates that cannot be read: the first ten a minute of each kind are logged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge_core::Millis;
use bridge_core::update::ReadError;
use parking_lot::Mutex;
use tracing::warn;

const A_MINUTE: u64 = 10;

#[derive(Default)]
pub(super) struct Unreadable {
    /// The minute, and how many of each kind it had.
    minute: Mutex<(u64, HashMap<&'static str, u64>)>,
    number: AtomicU64,
}

impl Unreadable {
    pub(super) fn log(&self, routing_key: &Arc<str>, error: &ReadError, now: Millis) {
        let mut minute = self.minute.lock();
        if minute.0 != now.0 / 60_000 {
            *minute = (now.0 / 60_000, HashMap::new());
        }
        let count = minute.1.entry(error.name()).or_default();
        *count += 1;
        if *count <= A_MINUTE {
            warn!(routing_key = %routing_key.escape_debug(), %error, "rejected an update that cannot be read");
        }
    }

    /// A number that no other update of this instance has.
    pub(super) fn unique(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}
