//! Log lines that grow with kinds of faults, not with what has them: the first few of each kind in a minute.

use std::collections::HashMap;

use bridge_core::Millis;
use parking_lot::Mutex;

/// Kinds that are told apart in a minute; all others together are one more.
const KINDS: usize = 64;
const MINUTE_MS: u64 = 60_000;

/// What was said in the minute that runs.
#[derive(Debug)]
pub struct Ration {
    /// Lines of a kind in a minute.
    most: u64,
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    seen: HashMap<String, u64>,
    /// How many lines of each kind were left out in the last minute that had any.
    left_out: HashMap<String, u64>,
}

impl Ration {
    /// At most `most` lines of a kind in a minute.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, minute: Mutex::default() }
    }

    /// Whether a line of this kind may be written now; if so, how many were left out in the minute before.
    pub fn take(&self, kind: &str, now: Millis) -> Option<u64> {
        let mut minute = self.minute.lock();
        if minute.number != now.0 / MINUTE_MS {
            minute.number = now.0 / MINUTE_MS;
            let seen = std::mem::take(&mut minute.seen);
            let beyond = |(kind, count): (String, u64)| Some((kind, count.checked_sub(self.most)?));
            minute.left_out = seen.into_iter().filter_map(beyond).collect();
        }
        let kind = if minute.seen.len() < KINDS || minute.seen.contains_key(kind) { kind } else { "" };
        let count = minute.seen.entry(kind.to_owned()).or_default();
        *count += 1;
        let first = *count == 1;
        let allowed = *count <= self.most;
        allowed.then(|| if first { minute.left_out.remove(kind).unwrap_or(0) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_its_lines_a_minute_and_says_what_was_left_out() {
        let ration = Ration::new(2);
        let said = |kind: &str, at| (0..150).filter_map(|_| ration.take(kind, Millis(at))).collect::<Vec<_>>();
        assert_eq!(said("refused", 60_000), [0, 0]);
        assert_eq!(said("slow", 61_000), [0, 0]);
        assert_eq!(said("refused", 119_999).len(), 0);
        assert_eq!(said("refused", 120_000), [298, 0]);
        assert_eq!(said("slow", 120_000), [148, 0]);
        assert_eq!(said("slow", 999_999), [148, 0]);
    }

    #[test]
    fn kinds_are_bounded() {
        let ration = Ration::new(1);
        let said = (0..1_000).filter_map(|n| ration.take(&n.to_string(), Millis(0))).count();
        assert_eq!(said, KINDS + 1);
    }
}
