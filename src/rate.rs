//! How often something may be done: buckets that fill at a steady rate and hold ten seconds of it.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Seconds of a rate that may come at once.
const BURST: u32 = 10;
/// Between two looks for buckets that are full again, in events.
const LOOK: u32 = 4_096;

type Middleware = NoOpMiddleware<std::time::Instant>;

/// One bucket.
pub(crate) struct Rate(RateLimiter<NotKeyed, InMemoryState, MonotonicClock, Middleware>);

/// A bucket for each of many.
pub(crate) struct Rates<K: Hash + Eq + Clone> {
    buckets: RateLimiter<K, DashMapStateStore<K>, MonotonicClock, Middleware>,
    taken: AtomicU32,
}

fn quota(a_second: u32) -> Quota {
    let at_least = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least(a_second)).allow_burst(at_least(a_second.saturating_mul(BURST)))
}

impl Rate {
    /// `a_second`, and ten times as many at once.
    pub(crate) fn new(a_second: u32) -> Self {
        Self(RateLimiter::direct_with_clock(quota(a_second), MonotonicClock))
    }

    /// Whether one more may be done now.
    pub(crate) fn take(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// `a_second` for each, and ten times as many at once.
    pub(crate) fn new(a_second: u32) -> Self {
        let buckets = RateLimiter::new(quota(a_second), DashMapStateStore::default(), MonotonicClock);
        Self { buckets, taken: AtomicU32::new(0) }
    }

    /// Whether `key` may do one more now.
    pub(crate) fn take(&self, key: &K) -> bool {
        // Whoever is back at a full bucket is as good as new.
        if self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK) {
            self.buckets.retain_recent();
        }
        self.buckets.check_key(key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_of_its_own_of_ten_seconds() {
        let (rate, rates) = (Rate::new(2), Rates::new(2));
        let taken = |take: &dyn Fn() -> bool| (0..100).filter(|_| take()).count();
        assert!((20..22).contains(&taken(&|| rate.take())));
        for user in ["a", "b"] {
            assert!((20..22).contains(&taken(&|| rates.take(&user))), "{user}");
        }
    }
}
