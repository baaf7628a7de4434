//! The one clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bridge_core::Millis;

/// Wall-clock time that is read once and then advanced by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| millis(past.as_millis()));
        Self { wall, started: Instant::now() }
    }
}

impl Clock {
    /// This moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(self.wall + millis(self.started.elapsed().as_millis()))
    }
}

/// `at` as ISO-8601 with milliseconds and `Z`.
#[must_use]
pub fn iso(at: Millis) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{at:.3}")
}

fn millis(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}
