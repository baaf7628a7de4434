//! How many units of each class closed in each minute of the last day.

use std::collections::{BTreeMap, VecDeque};

use bridge_core::Millis;
use bridge_core::compare::Class;
use serde::Serialize;

use crate::clock::iso;

/// Length of a bucket, in ms.
const BUCKET: u64 = 60_000;
/// A day of them.
pub const BUCKETS: usize = 24 * 60;

/// Counts of one minute. Minutes in which nothing closed have none.
#[derive(Clone, Debug)]
struct Bucket {
    minute: u64,
    classes: [u32; Class::ALL.len()],
    /// Largest skew either way, in ms.
    skew: u64,
}

/// The last day, one bucket a minute. A unit stays where it closed, whatever amends it later.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    buckets: VecDeque<Bucket>,
}

/// `GET /admin/shadow/timeline`.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineView {
    /// Length of a bucket in seconds.
    pub bucket_seconds: u64,
    /// Oldest first; minutes in which nothing closed are left out.
    pub buckets: Vec<BucketView>,
}

/// One minute.
#[derive(Clone, Debug, Serialize)]
pub struct BucketView {
    /// Its beginning, ISO-8601.
    pub at: String,
    /// Units that closed in it, by class; classes without any are left out.
    pub classes: BTreeMap<&'static str, u32>,
    /// Largest distance of the two copies of a pair, in ms.
    pub skew_max_ms: u64,
}

impl Timeline {
    /// A unit closed at `now`.
    pub(super) fn closed(&mut self, now: Millis, class: Class, skew: Option<i64>) {
        let minute = now.0 / BUCKET;
        // A clock that was set back counts into the latest minute.
        if self.buckets.back().is_none_or(|last| last.minute < minute) {
            self.buckets.push_back(Bucket { minute, classes: [0; Class::ALL.len()], skew: 0 });
            let first = minute.saturating_sub(BUCKETS as u64 - 1);
            while self.buckets.front().is_some_and(|bucket| bucket.minute < first) {
                self.buckets.pop_front();
            }
        }
        if let Some(bucket) = self.buckets.back_mut() {
            for (count, other) in bucket.classes.iter_mut().zip(Class::ALL) {
                *count += u32::from(other == class);
            }
            bucket.skew = bucket.skew.max(skew.map_or(0, i64::unsigned_abs));
        }
    }

    /// The last `minutes` of it.
    pub(super) fn view(&self, now: Millis, minutes: usize) -> TimelineView {
        let first = (now.0 / BUCKET).saturating_sub(u64::try_from(minutes).unwrap_or(u64::MAX).saturating_sub(1));
        let recent = self.buckets.iter().filter(|bucket| bucket.minute >= first);
        let bucket = |bucket: &Bucket| {
            let counts = Class::ALL.into_iter().zip(bucket.classes).filter(|(_, count)| *count > 0);
            BucketView {
                at: iso(Millis(bucket.minute * BUCKET)),
                classes: counts.map(|(class, count)| (class.name(), count)).collect(),
                skew_max_ms: bucket.skew,
            }
        };
        TimelineView { bucket_seconds: BUCKET / 1_000, buckets: recent.map(bucket).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKET, BUCKETS, Timeline};
    use bridge_core::Millis;
    use bridge_core::compare::Class;

    #[test]
    fn a_day_of_minutes_is_kept_and_no_more() {
        let mut timeline = Timeline::default();
        let minutes = BUCKETS as u64 * 2;
        for minute in 0..minutes {
            for _ in 0..3 {
                timeline.closed(Millis(minute * BUCKET + 5), Class::Match, Some(-7));
            }
            timeline.closed(Millis(minute * BUCKET + 6), Class::Leak, None);
        }
        let now = Millis(minutes * BUCKET - 1);
        let all = timeline.view(now, usize::MAX);
        assert_eq!(all.buckets.len(), BUCKETS);
        assert!(all.buckets.iter().all(|bucket| bucket.classes["match"] == 3 && bucket.classes["leak"] == 1));
        assert!(all.buckets.iter().all(|bucket| bucket.skew_max_ms == 7));
        assert_eq!(timeline.view(now, 10).buckets.len(), 10);
    }

    #[test]
    fn silent_minutes_have_no_bucket_and_a_clock_that_goes_back_loses_nothing() {
        let mut timeline = Timeline::default();
        timeline.closed(Millis(10 * BUCKET), Class::Match, None);
        timeline.closed(Millis(90 * BUCKET), Class::Match, None);
        timeline.closed(Millis(80 * BUCKET), Class::Duplicate, None);
        let view = timeline.view(Millis(90 * BUCKET), BUCKETS);
        assert_eq!(view.buckets.len(), 2);
        let units: u32 = view.buckets.iter().flat_map(|bucket| bucket.classes.values()).sum();
        assert_eq!(units, 3);
        // A silent day later, nothing of it is shown.
        assert!(timeline.view(Millis(90 * BUCKET + BUCKETS as u64 * BUCKET), BUCKETS).buckets.is_empty());
    }
}
