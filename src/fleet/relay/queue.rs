//! What waits for another instance, bounded; and what had to be let go, by dialog.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bridge_core::recipient::LegacyCopy;
use bridge_core::{DialogId, Millis};

/// Most messages, and bytes of them, that wait. A single larger one waits alone.
const COPIES: usize = 10_000;
const BYTES: usize = 16 * 1024 * 1024;
/// Most of them in one batch.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;
/// Most dialogs of which is noted that something was lost; with more, it is noted of any.
const DIALOGS: usize = 10_000;
/// What waited longer, in ms, is too late.
const LATE: u64 = 30_000;

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) copy: Arc<LegacyCopy>,
    /// When its POST began.
    pub(super) since: Millis,
    /// When it was accepted.
    pub(super) at: Millis,
}

impl Item {
    fn bytes(&self) -> usize {
        self.copy.data.get().len()
    }
}

/// Messages of a dialog that could not be handed over: when the first of them began, and the last was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) since: Millis,
    last: Millis,
    /// Told, and not yet known to have arrived.
    told: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    lost: HashMap<Option<DialogId>, Lost>,
}

impl Queue {
    /// Puts it last; how many had to go for it.
    pub(super) fn push(&mut self, item: Item) -> usize {
        let mut dropped = 0;
        while !self.items.is_empty() && (self.items.len() >= COPIES || self.bytes + item.bytes() > BYTES) {
            dropped += usize::from(self.lose());
        }
        self.bytes += item.bytes();
        self.items.push_back(item);
        dropped
    }

    /// Lets the oldest go, and notes it.
    fn lose(&mut self) -> bool {
        let Some(item) = self.items.pop_front() else { return false };
        self.bytes -= item.bytes();
        let known = self.lost.len() < DIALOGS || self.lost.contains_key(&Some(item.copy.dialog.clone()));
        let dialog = known.then(|| item.copy.dialog.clone());
        let lost = Lost { since: item.since, last: item.at, told: false };
        let all = self.lost.entry(dialog).or_insert(lost);
        *all = Lost { since: all.since.min(lost.since), last: all.last.max(lost.last), told: false };
        true
    }

    /// Lets go what waited too long; how many.
    pub(super) fn expire(&mut self, now: Millis) -> usize {
        let old = |item: &Item| now.since(item.at) >= LATE;
        let mut count = 0;
        while self.items.front().is_some_and(old) {
            count += usize::from(self.lose());
        }
        count
    }

    /// The next batch; it stays until it is [done](Self::done).
    pub(super) fn batch(&self) -> Vec<Item> {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            let first = bytes == 0;
            bytes += item.bytes().max(1);
            first || bytes <= BATCH_BYTES
        };
        self.items.iter().take(BATCH).take_while(fits).cloned().collect()
    }

    /// Everything up to `number` was taken; how many of them were still here.
    pub(super) fn done(&mut self, number: u64) -> usize {
        let count = self.items.iter().take_while(|item| item.number <= number).count();
        self.bytes -= self.items.drain(..count).map(|item| item.bytes()).sum::<usize>();
        count
    }

    /// The other end can't take what is up to `number`; how many.
    pub(super) fn refused(&mut self, number: u64) -> usize {
        let mut count = 0;
        while self.items.front().is_some_and(|item| item.number <= number) {
            count += usize::from(self.lose());
        }
        count
    }

    /// The gaps, to be told.
    pub(super) fn tell(&mut self) -> Vec<(Option<DialogId>, Millis)> {
        self.lost.iter_mut().for_each(|(_, lost)| lost.told = true);
        self.lost.iter().map(|(dialog, lost)| (dialog.clone(), lost.since)).collect()
    }

    /// They arrived; what was noted since is still to be told.
    pub(super) fn told(&mut self) {
        self.lost.retain(|_, lost| !lost.told);
    }

    /// The other end has been running since `start`: what was accepted before concerns nobody there. How many.
    pub(super) fn began(&mut self, start: Millis) -> usize {
        self.lost.retain(|_, lost| lost.last >= start);
        let count = self.items.iter().take_while(|item| item.at < start).count();
        self.bytes -= self.items.drain(..count).map(|item| item.bytes()).sum::<usize>();
        count
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Something is to be handed over, or told.
    pub(super) fn is_busy(&self) -> bool {
        !self.items.is_empty() || !self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::Json;
    use bridge_core::UserId;
    use bridge_core::update::LegacyMessage;
    use serde_json::value::RawValue;

    use super::*;

    fn item(number: u64, dialog: &str, at: u64) -> Item {
        let data = format!("{{\"messageId\":\"msg_{number}\",\"content\":\"{}\"}}", "x".repeat(4_000));
        let data: Json = RawValue::from_string(data).unwrap().into();
        let message = LegacyMessage::read(data.get()).message;
        let key = message.key("t").unwrap();
        let (dialog, sender) = (DialogId::new(dialog).unwrap(), UserId::new("a").unwrap());
        let copy = Arc::new(LegacyCopy { data, dialog, message, key, sender });
        Item { number, copy, since: Millis(at), at: Millis(at) }
    }

    #[test]
    fn what_waits_is_bounded_and_what_goes_is_noted_by_dialog_and_told_until_it_arrived() {
        let mut queue = Queue::default();
        let dropped: usize = (1..=6_000).map(|n| queue.push(item(n, &format!("dlg_{}", n % 3), n))).sum();
        assert!(queue.bytes <= BYTES && queue.len() + dropped == 6_000 && dropped > 1_000, "{dropped}");
        let batch = queue.batch();
        assert!(batch.len() > 200 && batch.len() <= BATCH);
        assert!(batch.windows(2).all(|pair| pair[0].number + 1 == pair[1].number), "in order");
        let last = batch.last().unwrap().number;
        assert_eq!(queue.done(last), batch.len());
        let mut gaps = queue.tell();
        gaps.sort();
        let expected =
            [(0, 3), (1, 1), (2, 2)].map(|(n, at)| (DialogId::new(&format!("dlg_{n}")).ok(), Millis(at)));
        assert_eq!(gaps, expected);
        // One more is lost while the gaps are on their way.
        let next = queue.batch()[0].clone();
        assert_eq!(queue.refused(next.number), 1);
        queue.told();
        let again: Vec<_> = queue.tell().into_iter().map(|(dialog, _)| dialog).collect();
        assert_eq!(again, [Some(next.copy.dialog.clone())], "the others were told");
        // Who has just started misses nothing.
        queue.began(Millis(10_000));
        assert!(!queue.is_busy() && queue.bytes == 0);
    }

    #[test]
    fn what_waited_too_long_is_lost() {
        let mut queue = Queue::default();
        queue.push(item(1, "dlg_a", 0));
        queue.push(item(2, "dlg_a", 20_000));
        assert_eq!((queue.expire(Millis(29_999)), queue.expire(Millis(30_000)), queue.len()), (0, 1, 1));
        assert_eq!(queue.tell(), [(DialogId::new("dlg_a").ok(), Millis(0))]);
        queue.told();
        assert_eq!(queue.done(2), 1);
        assert!(!queue.is_busy());
    }
}
