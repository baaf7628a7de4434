//! The one clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bridge_core::Millis;

/// Wall-clock time that is read once in the process and then advanced by the monotonic clock: no window and no age jumps
/// when the clock on the wall is set. What comes from outside and what is said outside is in the time of the wall:
/// [`Clock::from_wall`], [`iso`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    started: Instant,
}

static PROCESS: LazyLock<Clock> = LazyLock::new(|| Clock { wall: wall(), started: Instant::now() });
/// Milliseconds by which the clock on the wall is ahead by now.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// A clock that is corrected in small steps is not set, in milliseconds.
const SET: u64 = 1_000;

impl Default for Clock {
    fn default() -> Self {
        *PROCESS
    }
}

impl Clock {
    /// This moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(self.wall + millis(self.started.elapsed().as_millis()))
    }

    /// A moment of another process, `at` by the clock on the wall, as this process counts.
    #[must_use]
    pub fn from_wall(at: Millis) -> Millis {
        Millis(at.0.saturating_add_signed(AHEAD.load(Ordering::Relaxed).saturating_neg()))
    }

    /// Looks at the clock on the wall; says once when it was set.
    pub fn look(&self) {
        let before = AHEAD.load(Ordering::Relaxed);
        let now = ahead(before, wall(), self.now().0);
        if now != before {
            AHEAD.store(now, Ordering::Relaxed);
            tracing::warn!(
                by_ms = now - before,
                "the clock of the machine was set: times are said by it from now on"
            );
        }
    }
}

/// `at` as ISO-8601 with milliseconds and `Z`, by the clock on the wall.
#[must_use]
pub fn iso(at: Millis) -> String {
    let at = at.0.saturating_add_signed(AHEAD.load(Ordering::Relaxed));
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{at:.3}")
}

/// By how much `wall` is ahead of what is counted, where it was set; else as `before`.
fn ahead(before: i64, wall: u64, counted: u64) -> i64 {
    let now = i64::try_from(i128::from(wall) - i128::from(counted)).unwrap_or(before);
    if now.abs_diff(before) > SET { now } else { before }
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| millis(past.as_millis()))
}

fn millis(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::ahead;

    #[test]
    fn a_clock_that_is_set_is_followed_either_way_and_one_that_drifts_is_not() {
        const HOUR: i64 = 3_600_000;
        let at = |hours: i64, ms: i64| u64::try_from(hours * HOUR + ms).unwrap();
        assert_eq!(ahead(0, at(10, 900), at(10, 0)), 0);
        assert_eq!(ahead(0, at(11, 0), at(10, 0)), HOUR);
        assert_eq!(ahead(0, at(9, 0), at(10, 0)), -HOUR);
        assert_eq!(ahead(HOUR, at(11, -900), at(10, 0)), HOUR);
        assert_eq!(ahead(HOUR, at(10, 0), at(10, 0)), 0, "and set back");
    }
}
