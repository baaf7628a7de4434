//! A set that remembers for minutes in a memory that does not grow.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use foldhash::{HashSet, HashSetExt as _};

use crate::Millis;

/// Parts of the time for which it remembers, and one more that is being forgotten.
const PARTS: u64 = 3;
/// Bytes of one place, roughly.
const PLACE: usize = size_of::<Entry>() + 1;
/// The bits of an entry that do not name it, but say something of it.
const SAID: u64 = 3;

/// A digest, and in its lowest bits what is said of it.
#[derive(Clone, Copy, Debug)]
struct Entry(u64);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 | SAID == other.0 | SAID
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 | SAID).hash(state);
    }
}

/// Digests in a few sets, one for each part of the time; the oldest set becomes the newest.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    /// Newest first, each with the moment after which nothing was added.
    sets: VecDeque<(Millis, HashSet<Entry>)>,
    began: Millis,
    keep: u64,
    /// Most entries of one set.
    most: usize,
    lost: Option<Millis>,
    let_go: u64,
}

impl Ages {
    /// Remembers for `keep` ms, if that takes no more than `bytes`.
    pub(super) fn new(keep: u64, bytes: usize) -> Self {
        let sets = usize::try_from(PARTS).unwrap_or(3) + 1;
        // A set has a power of two of places, of which seven eighths are used.
        let places = (bytes / sets / PLACE).max(16);
        let places = if places.is_power_of_two() { places } else { places.next_power_of_two() / 2 };
        let most = places / 8 * 7;
        let set = || (Millis(0), HashSet::with_capacity(most));
        Self {
            sets: std::iter::repeat_with(set).take(sets).collect(),
            began: Millis(0),
            keep,
            most,
            lost: None,
            let_go: 0,
        }
    }

    /// Remembers `digest` but for its two lowest bits, and says `bits` (two of them) of it, beside what was said before.
    pub(super) fn insert(&mut self, now: Millis, digest: u64, bits: u64) {
        self.turn(now);
        let newest = &mut self.sets[0].1;
        let said = newest.get(&Entry(digest)).map_or(0, |entry| entry.0 & SAID);
        newest.replace(Entry(digest & !SAID | bits & SAID | said));
    }

    pub(super) fn contains(&self, digest: u64) -> bool {
        self.said(digest).is_some()
    }

    /// What was said of it; `None` when nobody remembers it.
    pub(super) fn said(&self, digest: u64) -> Option<u64> {
        let entries = self.sets.iter().filter_map(|(_, set)| set.get(&Entry(digest)));
        entries.map(|entry| entry.0 & SAID).reduce(|all, one| all | one)
    }

    /// Whether something added at or after `since` was forgotten.
    pub(super) fn lost_since(&self, since: Millis) -> bool {
        self.lost.is_some_and(|at| at >= since)
    }

    /// Time passes: whole parts are forgotten.
    pub(super) fn turn(&mut self, now: Millis) {
        let part = self.keep / PARTS;
        // Nothing happened for long: all is old, whatever the number of parts.
        if now.since(self.began) >= 2 * self.keep {
            self.sets.iter_mut().for_each(|(_, set)| set.clear());
            self.began = now;
        }
        while now.since(self.began) >= part || self.sets[0].1.len() >= self.most {
            let end = now.min(self.began.plus(part));
            self.forget_oldest(now, end);
            self.began = end;
        }
    }

    /// The newest set ends at `end`, and a new one begins in the place of the oldest.
    fn forget_oldest(&mut self, now: Millis, end: Millis) {
        self.sets[0].0 = end;
        let Some((until, mut set)) = self.sets.pop_back() else { return };
        if !set.is_empty() && now.since(until) < self.keep {
            self.let_go += u64::try_from(set.len()).unwrap_or(u64::MAX);
            self.lost = self.lost.max(Some(until));
        }
        set.clear();
        self.sets.push_front((end, set));
    }

    /// Bytes that it holds, full or empty.
    pub(super) fn bytes(&self) -> usize {
        self.sets.iter().map(|(_, set)| set.capacity() / 7 * 8 * PLACE).sum()
    }

    /// How many were forgotten before their time since the last call.
    pub(super) fn take_let_go(&mut self) -> u64 {
        std::mem::take(&mut self.let_go)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_as_long_as_it_was_asked_to_and_not_much_longer() {
        let mut ages = Ages::new(600, 1 << 20);
        ages.insert(Millis(10_000), 4, 0);
        for now in (10_000..10_600).step_by(10) {
            ages.insert(Millis(now), now << 2, 0);
            assert!(ages.contains(4), "{now}");
        }
        ages.turn(Millis(11_000));
        assert!(!ages.contains(4) && !ages.lost_since(Millis(0)) && ages.take_let_go() == 0);
        ages.insert(Millis(20_000), 28, 0);
        assert!(ages.contains(28) && !ages.contains(10_590 << 2));
        ages.turn(Millis(1_000_000));
        assert!(!ages.contains(28));
    }

    #[test]
    fn what_is_said_of_one_adds_up_and_is_nobody_elses() {
        let mut ages = Ages::new(600, 1 << 20);
        ages.insert(Millis(0), 4, 1);
        ages.insert(Millis(0), 8, 0);
        assert_eq!((ages.said(4), ages.said(8), ages.said(12)), (Some(1), Some(0), None));
        ages.insert(Millis(300), 4, 2);
        assert_eq!((ages.said(4), ages.said(7)), (Some(3), Some(3)), "the lowest bits are no name");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_and_the_memory_stays_the_same() {
        let mut ages = Ages::new(600_000, 64 << 10);
        let bytes = ages.bytes();
        assert!((16 << 10..=64 << 10).contains(&bytes), "{bytes}");
        (0..100_000).for_each(|n| ages.insert(Millis(10 + n), n << 2, 0));
        assert_eq!(ages.bytes(), bytes);
        assert!(ages.contains(99_999 << 2) && !ages.contains(0));
        assert!(ages.lost_since(Millis(90_000)) && !ages.lost_since(Millis(100_010)));
        let kept = (0..100_000).filter(|n| ages.contains(*n << 2)).count();
        assert_eq!(ages.take_let_go() + u64::try_from(kept).unwrap(), 100_000);
    }
}
