//! What was delivered to which socket, so that a second copy is dropped.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use smallvec::SmallVec;

use super::{Limits, Sockets};
use crate::key::Key;
use crate::stage::Path;
use crate::{Millis, SocketId};

#[derive(Clone, Debug)]
struct Entry {
    ids: SmallVec<[u128; 2]>,
    sockets: SmallVec<[SocketId; 2]>,
    by: Path,
    twin_seen: bool,
    delivered: Millis,
    expires: Millis,
}

/// Entries by number, their numbers by each of their ids, and the order in which they expire.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<u64, Entry>,
    by_id: HashMap<u128, u64>,
    expiry: BinaryHeap<Reverse<(Millis, u64)>>,
    next: u64,
    overflow: u64,
}

impl Ledger {
    /// Those of `sockets` that do not have `key` yet.
    pub(super) fn lacking(&self, key: &Key, sockets: &Sockets) -> Sockets {
        let had: SmallVec<[&Entry; 2]> = self.found(key).filter_map(|n| self.entries.get(&n)).collect();
        sockets.iter().copied().filter(|s| !had.iter().any(|entry| entry.sockets.contains(s))).collect()
    }

    /// Whether some socket got `key`.
    pub(super) fn was_delivered(&self, key: &Key) -> bool {
        self.found(key).next().is_some()
    }

    /// Notes that `path` brought `key` and that `sockets` got it now. The second path to bring it is the twin.
    pub(super) fn deliver(
        &mut self,
        limits: &Limits,
        now: Millis,
        path: Path,
        key: &Key,
        sockets: &Sockets,
        twin_due: bool,
    ) {
        self.twin_seen(limits, now, path, key);
        if sockets.is_empty() || limits.ledger_keys == 0 {
            return;
        }
        if let Some(number) = self.unite(key) {
            let entry = self.entries.get_mut(&number).expect("united");
            entry.sockets.extend(sockets.iter().copied());
            entry.expires = entry.expires.max(now.plus(limits.remember));
            return;
        }
        if self.entries.len() >= limits.ledger_keys {
            self.forget_first();
        }
        let number = self.next;
        self.next += 1;
        let keep = if twin_due { limits.remember_at_most } else { limits.remember };
        let expires = now.plus(keep);
        let entry = Entry {
            ids: SmallVec::from_slice(key.ids()),
            sockets: SmallVec::from_slice(sockets),
            by: path,
            twin_seen: false,
            delivered: now,
            expires,
        };
        entry.ids.iter().for_each(|id| {
            self.by_id.insert(*id, number);
        });
        self.entries.insert(number, entry);
        self.expiry.push(Reverse((expires, number)));
    }

    /// Notes that `path` brought a copy of what the other path delivered: 30 s more, for redeliveries, are enough.
    pub(super) fn twin_seen(&mut self, limits: &Limits, now: Millis, path: Path, key: &Key) {
        let Some(number) = self.unite(key) else { return };
        let entry = self.entries.get_mut(&number).expect("united");
        if entry.by != path && !entry.twin_seen {
            entry.twin_seen = true;
            entry.expires = now.plus(limits.remember).min(entry.delivered.plus(limits.remember_at_most));
            self.expiry.push(Reverse((entry.expires, number)));
        }
    }

    pub(super) fn expire(&mut self, now: Millis) {
        while let Some(Reverse((at, number))) = self.expiry.peek().copied() {
            if at > now {
                break;
            }
            self.expiry.pop();
            match self.entries.get(&number).map(|entry| entry.expires) {
                Some(expires) if expires <= now => self.remove(number),
                // Prolonged meanwhile; an entry that was shortened has an earlier place of its own in the order.
                Some(expires) => self.expiry.push(Reverse((expires, number))),
                None => {}
            }
        }
    }

    pub(super) fn forget(&mut self, socket: SocketId) {
        self.entries.values_mut().for_each(|entry| entry.sockets.retain(|other| *other != socket));
    }

    pub(super) fn inherit(&mut self, from: SocketId, to: SocketId) {
        for entry in self.entries.values_mut().filter(|entry| entry.sockets.contains(&from)) {
            if !entry.sockets.contains(&to) {
                entry.sockets.push(to);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn overflow(&self) -> u64 {
        self.overflow
    }

    fn found<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = u64> + 'a {
        key.ids().iter().filter_map(|id| self.by_id.get(id).copied())
    }

    /// The entry of `key`, known from now on under all its ids. A side that knows both ids of a message may find
    /// that each of them had an entry of its own: they become one.
    fn unite(&mut self, key: &Key) -> Option<u64> {
        let mut numbers: SmallVec<[u64; 2]> = self.found(key).collect();
        numbers.dedup();
        let first = *numbers.first()?;
        let mut absorbed = Vec::new();
        for other in &numbers[1..] {
            absorbed.extend(self.entries.remove(other));
        }
        let entry = self.entries.get_mut(&first).expect("by_id names living entries");
        for other in absorbed {
            entry.ids.extend(other.ids);
            entry.sockets.extend(other.sockets);
            entry.expires = entry.expires.max(other.expires);
        }
        for id in key.ids() {
            if !entry.ids.contains(id) {
                entry.ids.push(*id);
            }
        }
        for id in entry.ids.clone() {
            self.by_id.insert(id, first);
        }
        Some(first)
    }

    fn forget_first(&mut self) {
        while let Some(Reverse((_, number))) = self.expiry.pop() {
            if self.entries.contains_key(&number) {
                self.remove(number);
                self.overflow += 1;
                return;
            }
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.entries.remove(&number) {
            for id in entry.ids {
                self.by_id.remove(&id);
            }
        }
    }
}
