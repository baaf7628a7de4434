//! Acknowledgements of one channel, as few as can be: everything up to the first update that is still being handed over
//! is acknowledged at once. Queues of many users share a channel, and `multiple` counts for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::BasicAckOptions;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A delivery that nobody handles for this long was on its way to a consumer that has ended.
const GAP: Duration = Duration::from_millis(50);
/// Acknowledgements wait so long for others to go with.
const GATHER: Duration = Duration::from_millis(5);

/// Delivery tags of one channel: 1, 2, 3, … in the order in which the broker sent them.
#[derive(Debug)]
struct Tags {
    /// The first that is not handled.
    next: u64,
    /// Handled ones after it.
    beyond: BTreeSet<u64>,
    /// Rejected ones that are not acknowledged with others yet: an acknowledgement must not name one of them.
    rejected: BTreeSet<u64>,
    /// All up to this one are acknowledged.
    acknowledged: u64,
}

impl Tags {
    const fn new() -> Self {
        Self { next: 1, beyond: BTreeSet::new(), rejected: BTreeSet::new(), acknowledged: 0 }
    }

    /// Whether it was the one that the others waited for.
    fn handled(&mut self, tag: u64) -> bool {
        if tag != self.next {
            if tag > self.next {
                self.beyond.insert(tag);
            }
            return false;
        }
        self.advance();
        true
    }

    fn advance(&mut self) {
        self.next += 1;
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
    }

    /// What is missing before the others will not come. One that is being rejected will: it must not be acknowledged
    /// before.
    fn skip(&mut self) {
        if let Some(first) = self.beyond.first().copied()
            && self.rejected.range(self.next..first).next().is_none()
        {
            self.beyond.remove(&first);
            self.next = first;
            self.advance();
        }
    }

    /// Whether it can still be rejected.
    fn rejected(&mut self, tag: u64) -> bool {
        tag >= self.next && self.rejected.insert(tag)
    }

    /// The tag up to which all can be acknowledged, if that is more than before.
    fn take(&mut self) -> Option<u64> {
        let last = (self.acknowledged + 1..self.next).rev().find(|tag| !self.rejected.contains(tag));
        self.acknowledged = self.next - 1;
        self.rejected = self.rejected.split_off(&self.next);
        last
    }
}

/// Takes note of what was handled, and acknowledges it.
pub(super) struct Acks {
    tags: Mutex<Tags>,
    work: Notify,
    urgent: Notify,
    /// Acknowledgements so far.
    rounds: AtomicU64,
    /// Updates of one consumer that do not wait any longer.
    urgent_at: u16,
}

/// How much of one consumer's prefetch waits for an acknowledgement.
#[derive(Default)]
pub(super) struct Unacknowledged {
    round: u64,
    count: u16,
}

impl Acks {
    /// Acknowledges on `channel`, whose consumers have this `prefetch`, until `over`.
    pub(super) fn start(channel: Channel, prefetch: u16, over: CancellationToken) -> Arc<Self> {
        let acks = Arc::new(Self {
            tags: Mutex::new(Tags::new()),
            work: Notify::new(),
            urgent: Notify::new(),
            rounds: AtomicU64::new(0),
            urgent_at: prefetch.div_ceil(2),
        });
        let own = Arc::clone(&acks);
        tokio::spawn(async move {
            over.run_until_cancelled(own.run(channel)).await;
        });
        acks
    }

    /// The delivery with this tag is about to be rejected; `false` when it is acknowledged already.
    pub(super) fn rejected(&self, tag: u64) -> bool {
        self.tags.lock().rejected(tag)
    }

    /// The delivery with this tag was handed over, or rejected. A consumer that is about to use up its prefetch is
    /// served at once.
    pub(super) fn handled(&self, tag: u64, own: &mut Unacknowledged) {
        let first = {
            let mut tags = self.tags.lock();
            tags.handled(tag);
            tags.next + tags.beyond.len() as u64 == tags.acknowledged + 2
        };
        if first {
            self.work.notify_one();
        }
        let round = self.rounds.load(Ordering::Relaxed);
        if own.round != round {
            *own = Unacknowledged { round, count: 0 };
        }
        own.count += 1;
        if own.count == self.urgent_at {
            self.urgent.notify_one();
        }
    }

    async fn run(&self, channel: Channel) {
        let mut stuck: Option<(u64, Instant)> = None;
        loop {
            if stuck.is_none() {
                self.work.notified().await;
            }
            tokio::select! {
                () = self.urgent.notified() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            let up_to = {
                let mut tags = self.tags.lock();
                match stuck {
                    Some((next, since)) if next == tags.next && since.elapsed() >= GAP => tags.skip(),
                    _ => {}
                }
                let waits = !tags.beyond.is_empty();
                let same = stuck.filter(|(next, _)| *next == tags.next);
                stuck = waits.then(|| same.unwrap_or((tags.next, Instant::now())));
                tags.take()
            };
            self.rounds.fetch_add(1, Ordering::Relaxed);
            if let Some(tag) = up_to
                && let Err(error) = channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
            {
                debug!(%error, "updates could not be acknowledged");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_whole_up_to_it_is_acknowledged() {
        let mut tags = Tags::new();
        assert!(!tags.handled(2) && !tags.handled(3));
        assert_eq!(tags.take(), None);
        assert!(tags.handled(1));
        assert_eq!((tags.take(), tags.take()), (Some(3), None));
        assert!(!tags.handled(6));
        tags.skip();
        assert_eq!(tags.take(), Some(6));
        assert!(!tags.handled(5), "too late: it is acknowledged");
        assert!(tags.handled(7) && !tags.rejected(5));
        assert_eq!(tags.take(), Some(7));
    }

    #[test]
    fn a_rejected_one_is_never_the_one_that_is_named() {
        let mut tags = Tags::new();
        assert!(tags.rejected(1) && tags.handled(1));
        assert_eq!(tags.take(), None);
        assert!(tags.rejected(3) && tags.handled(2) && tags.handled(3));
        assert_eq!(tags.take(), Some(2));
        assert!(tags.handled(4));
        assert_eq!((tags.take(), tags.rejected.len()), (Some(4), 0));
        assert!(tags.rejected(5) && !tags.handled(6));
        tags.skip();
        assert_eq!(tags.take(), None, "the reject is on its way");
        assert!(tags.handled(5));
        assert_eq!(tags.take(), Some(6));
    }

    proptest! {
        #[test]
        fn in_any_order_nothing_is_acknowledged_early_and_everything_in_the_end(
            order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let (mut tags, mut handled) = (Tags::new(), BTreeSet::new());
            let mut last = 0;
            for tag in order {
                tags.handled(tag);
                handled.insert(tag);
                if let Some(up_to) = tags.take() {
                    prop_assert!((1..=up_to).all(|tag| handled.contains(&tag)));
                    prop_assert!(up_to > last);
                    last = up_to;
                }
            }
            prop_assert_eq!(last, 40);
            prop_assert!(tags.beyond.is_empty());
        }
    }
}
