//! Whether updates come of what is accepted here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge_core::Millis;
use parking_lot::Mutex;

/// What is older says nothing of now, in ms.
const LATELY: u64 = 600_000;
/// Most messages that are remembered.
const MOST: usize = 1_000;
/// So many messages without an update after the latest one are a stop.
const A_STOP: usize = 3;

/// Messages accepted here that somebody's live queue was to bring an update of, and when the latest such update came.
#[derive(Default)]
pub(super) struct Flow {
    latest: AtomicU64,
    /// When their POSTs began; oldest first.
    began: Mutex<VecDeque<Millis>>,
}

impl Flow {
    pub(super) fn accepted(&self, began: Millis) {
        // An update may be there before the answer is.
        if began.0 <= self.latest.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.began.lock();
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        waiting.push_back(began);
    }

    /// An update of a created message came.
    pub(super) fn came(&self, now: Millis) {
        self.latest.fetch_max(now.0, Ordering::Relaxed);
    }

    /// The path ends: what was on its way then comes no more.
    pub(super) fn end(&self) {
        self.began.lock().clear();
    }

    /// `Err` with what was seen where messages were accepted, and more than `patience` ms later no update has come.
    pub(super) fn look(&self, now: Millis, patience: u64) -> Result<String, String> {
        let latest = self.latest.load(Ordering::Relaxed);
        let mut waiting = self.began.lock();
        waiting.retain(|began| began.0 > latest && now.since(*began) < LATELY);
        let overdue = waiting.iter().filter(|began| now.since(**began) > patience).count();
        let none = latest == 0 || now.0 - latest.min(now.0) >= LATELY;
        if overdue == 0 {
            return Ok(if none { "no messages lately".into() } else { "updates come".into() });
        }
        if none {
            return Err(format!("{overdue} messages were accepted here lately, and no update came"));
        }
        let ago = (now.0 - latest.min(now.0)) / 1_000;
        let detail = format!("{overdue} messages were accepted here since the latest update, {ago} s ago");
        if overdue >= A_STOP { Err(detail) } else { Ok(detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_updates_are_seen_and_single_ones_forgiven() {
        let flow = Flow::default();
        assert!(flow.look(Millis(1_000), 500).is_ok(), "no traffic");
        flow.accepted(Millis(1_000));
        assert!(flow.look(Millis(1_400), 500).is_ok(), "it may still come");
        assert!(flow.look(Millis(1_600), 500).is_err());
        flow.came(Millis(1_700));
        assert!(flow.look(Millis(9_000), 500).is_ok());
        flow.accepted(Millis(1_650));
        assert!(flow.look(Millis(9_000), 500).is_ok(), "the answer came after the update");
        for at in [10_000, 11_000, 12_000] {
            assert!(flow.look(Millis(20_000), 500).is_ok(), "{at}");
            flow.accepted(Millis(at));
        }
        assert!(flow.look(Millis(20_000), 500).is_err(), "three in a row");
        assert!(flow.look(Millis(620_000), 500).is_ok(), "long ago");
        flow.accepted(Millis(700_000));
        flow.end();
        assert!(flow.look(Millis(800_000), 500).is_ok(), "there is no path");
    }
}
