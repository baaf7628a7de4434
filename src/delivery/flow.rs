//! Whether updates come of what is accepted here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge_core::Millis;
use metrics::{counter, gauge};
use parking_lot::Mutex;

/// What is older says nothing of now, in ms.
const LATELY: u64 = 600_000;
/// Most messages that are remembered.
const MOST: usize = 1_000;
/// So many messages without an update after the latest one are a stop.
const A_STOP: usize = 3;
/// Chat3's worker may be behind for so long before something is taken to be wrong, in ms.
pub(super) const PATIENCE: u64 = 10_000;

/// Messages accepted here that somebody's live queue was to bring an update of, and when the latest such update came.
#[derive(Default)]
pub(super) struct Flow {
    latest: AtomicU64,
    /// When their POSTs began; oldest first.
    began: Mutex<VecDeque<Millis>>,
    stall: Mutex<Option<Stall>>,
}

/// Messages are accepted, and their updates do not come: Chat3's worker stands, or publishes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    /// When the first message began whose update lacks.
    since: Millis,
    /// Messages accepted since then.
    accepted: u64,
}

impl Flow {
    pub(super) fn accepted(&self, began: Millis) {
        // An update may be there before the answer is.
        if began.0 <= self.latest.load(Ordering::Relaxed) {
            return;
        }
        if let Some(stall) = self.stall.lock().as_mut() {
            stall.accepted += 1;
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
        if self.stall.lock().take().is_some() {
            gauge!("bridge_updates_stalled").set(0.0);
        }
    }

    /// Looks whether updates have stalled, and says once when they have, and once when they come again. That nobody writes
    /// any more ends it not: only an update does, or the end of the path.
    pub(super) fn watch(&self, now: Millis) {
        let latest = self.latest.load(Ordering::Relaxed);
        let mut stall = self.stall.lock();
        if let Some(Stall { since, accepted }) = *stall {
            if latest > since.0 {
                *stall = None;
                gauge!("bridge_updates_stalled").set(0.0);
                let lasted_s = (latest - since.0) / 1_000;
                tracing::info!(lasted_s, accepted, "updates come again");
            }
            return;
        }
        let lacking = self.lacking(now, latest);
        let Some((since, accepted)) = lacking else { return };
        *stall = Some(Stall { since, accepted });
        gauge!("bridge_updates_stalled").set(1.0);
        counter!("bridge_updates_stalls_total").increment(1);
        tracing::error!(
            accepted,
            silent_s = now.since(since) / 1_000,
            "UPDATES HAVE STALLED: messages are accepted, and no update comes of them. Look whether Chat3's update worker \
             runs, and publishes to rabbitmq.exchange; until then roll back to legacy where updates are delivered"
        );
    }

    /// What is wrong while updates are stalled.
    pub(super) fn stalled(&self, now: Millis) -> Option<String> {
        let (silent, accepted) = self.stalled_for(now)?;
        let silent_s = silent / 1_000;
        Some(format!(
            "updates have stalled: {accepted} messages were accepted in {silent_s} s, and no update came of them (Chat3's \
             update worker has to run, and to publish to rabbitmq.exchange)"
        ))
    }

    /// For how long they are, in ms, and how many messages were accepted meanwhile.
    pub(super) fn stalled_for(&self, now: Millis) -> Option<(u64, u64)> {
        let stall = self.stall.lock();
        stall.map(|Stall { since, accepted }| (now.since(since), accepted))
    }

    /// When the first message began whose update lacks, and how many wait for theirs, where [`A_STOP`] are overdue.
    fn lacking(&self, now: Millis, latest: u64) -> Option<(Millis, u64)> {
        let mut waiting = self.began.lock();
        waiting.retain(|began| began.0 > latest && now.since(*began) < LATELY);
        let overdue = waiting.iter().filter(|began| now.since(**began) > PATIENCE).count();
        let since = *waiting.front()?;
        (overdue >= A_STOP).then_some((since, u64::try_from(waiting.len()).unwrap_or(u64::MAX)))
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

    #[test]
    fn updates_are_stalled_until_one_comes_or_the_path_ends() {
        let (flow, second) = (Flow::default(), 1_000);
        let at = |seconds: u64| Millis(seconds * second);
        let stalled = |seconds: u64| {
            flow.watch(at(seconds));
            flow.stalled(at(seconds))
        };
        flow.accepted(at(1));
        flow.accepted(at(2));
        assert_eq!(stalled(100), None, "two may be lost by themselves");
        flow.accepted(at(100));
        assert_eq!(stalled(109), None, "it may still come");
        assert!(stalled(111).is_some_and(|text| text.contains("3 messages were accepted in 110 s")));
        flow.accepted(at(112));
        assert!(stalled(5_000).is_some_and(|text| text.contains("4 messages")), "nobody wrote, and nothing came");
        flow.came(at(5_001));
        assert_eq!(stalled(5_002), None);
        for n in 0..3 {
            flow.accepted(at(6_000 + n));
        }
        assert!(stalled(6_020).is_some());
        flow.end();
        assert_eq!(stalled(6_021), None, "there is no path");
    }
}
