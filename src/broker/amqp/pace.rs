//! Whether so much comes that it is read at ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// It is looked at over so long at least.
const SPAN: Duration = Duration::from_millis(8);
/// From so many deliveries a second on it is much: half a dozen come in a tick, which costs each a millisecond and saves
/// being woken for most.
const MUCH: u32 = 5_000;
/// With fewer it is no more: that a client has it a millisecond earlier is worth more then.
const LITTLE: u32 = 3_000;
/// Somebody to whom the broker may send nothing more until it is acknowledged would get no more than that at each tick: for
/// so long nobody waits for ticks.
const BUSY: Duration = Duration::from_millis(250);

/// Told by who takes deliveries, asked by who reads the socket.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicBool);

impl Pace {
    pub(super) fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn begins(&self, much: bool) {
        self.0.store(much, Ordering::Relaxed);
    }

    /// It is no more.
    pub(super) fn is_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Counts what comes, and sets the pace.
pub(super) struct Count {
    pace: Arc<Pace>,
    since: Instant,
    deliveries: u32,
    /// Somebody's updates come faster than ticks until then.
    busy: Instant,
}

impl Count {
    pub(super) fn new(pace: Arc<Pace>, now: Instant) -> Self {
        Self { pace, since: now, deliveries: 0, busy: now }
    }

    /// So many came with a read; `exhausted`: among them all that the broker may send to somebody.
    pub(super) fn took(&mut self, deliveries: u32, exhausted: bool, now: Instant) {
        self.deliveries = self.deliveries.saturating_add(deliveries);
        if exhausted {
            self.busy = now + BUSY;
            self.pace.is_over();
        }
        let span = now.duration_since(self.since);
        if span < SPAN {
            return;
        }
        let least = if self.pace.is_much() { LITTLE } else { MUCH };
        let enough = f64::from(self.deliveries) >= f64::from(least) * span.as_secs_f64();
        self.pace.0.store(enough && now >= self.busy, Ordering::Relaxed);
        (self.since, self.deliveries) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of `deliveries` at even distances, `at_once` of them together; how often the pace changed.
    fn second(count: &mut Count, begin: Instant, deliveries: u32, at_once: u32) -> u32 {
        let (mut changes, mut was) = (0, count.pace.is_much());
        let times = deliveries / at_once;
        for n in 0..times {
            count.took(at_once, false, begin + Duration::from_secs(1) * n / times);
            changes += u32::from(count.pace.is_much() != was);
            was = count.pace.is_much();
        }
        changes
    }

    #[test]
    fn much_begins_and_ends_at_different_rates_so_that_it_does_not_change_to_and_fro() {
        let (pace, begin) = (Arc::new(Pace::default()), Instant::now());
        let mut count = Count::new(Arc::clone(&pace), begin);
        for (n, (deliveries, at_once, much, changes)) in [
            (2_000, 1, false, 0),
            (2_000, 10, false, 0),
            (4_500, 1, false, 0),
            (9_000, 1, true, 1),
            (9_000, 5, true, 0),
            (4_500, 2, true, 0),
            (2_000, 1, false, 1),
            (10, 1, false, 0),
        ]
        .into_iter()
        .enumerate()
        {
            let from = begin + Duration::from_secs(1) * u32::try_from(n).unwrap();
            assert_eq!(second(&mut count, from, deliveries, at_once), changes, "{n}");
            assert_eq!(pace.is_much(), much, "{n}");
        }
    }

    #[test]
    fn it_ends_where_reads_bring_no_delivery_and_begins_soon_after_a_pause() {
        let (pace, begin) = (Arc::new(Pace::default()), Instant::now());
        let mut count = Count::new(Arc::clone(&pace), begin);
        second(&mut count, begin, 9_000, 1);
        assert!(pace.is_much());
        // Answers to requests are read too.
        let after = begin + Duration::from_secs(1);
        (0..30).for_each(|ms| count.took(0, false, after + Duration::from_millis(ms)));
        assert!(!pace.is_much());
        let later = begin + Duration::from_secs(60);
        (0..200).for_each(|n| count.took(1, false, later + Duration::from_micros(100) * n));
        assert!(pace.is_much());
    }

    #[test]
    fn who_gets_all_that_the_broker_may_send_does_not_wait_for_ticks() {
        let (pace, begin) = (Arc::new(Pace::default()), Instant::now());
        let mut count = Count::new(Arc::clone(&pace), begin);
        second(&mut count, begin, 9_000, 1);
        let busy = begin + Duration::from_secs(1);
        count.took(5, true, busy);
        assert!(!pace.is_much(), "at once");
        let mut at = |ms: u64| {
            let end = busy + Duration::from_millis(ms);
            (0..100).for_each(|n| count.took(1, false, end - Duration::from_micros(100) * (100 - n)));
            pace.is_much()
        };
        assert!(!at(100) && !at(240), "the others are many, and it may have more");
        assert!(at(300));
    }
}
