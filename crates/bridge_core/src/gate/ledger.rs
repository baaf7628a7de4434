//! What was delivered to which socket, so that a second copy is dropped.
//!
//! A delivery is remembered as a 64-bit fingerprint of each of its key's ids, beside the sockets that have it. What is
//! young stands in a list, where a twin can still shorten its time; what is older is packed in generations, at most
//! twelve bytes for a delivery. That a new message is taken for a remembered one, and dropped, is as unlikely as
//! `packed.rs` says.

mod fresh;
mod packed;
mod shelf;

use smallvec::SmallVec;

use self::fresh::{Entry, Fresh};
use self::shelf::Shelf;
use super::{Limits, Sockets};
use crate::key::Key;
use crate::stage::Path;
use crate::{Millis, SocketId};

/// Sockets, ascending.
type Holders = SmallVec<[SocketId; 2]>;

/// So many young ids are looked at once whether they can be packed.
const PACK: usize = 32;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    fresh: Fresh,
    holders: Vec<Holders>,
    /// So long a list is worth a look.
    pack_at: usize,
    /// What waits for its twin, and what has met it.
    alone: Shelf,
    twinned: Shelf,
    keys: usize,
    overflow: u64,
}

/// What the ledger knows of one key, at one moment.
pub(super) struct Known {
    /// Each id, and who has it under that.
    ids: SmallVec<[(u64, Holders); 2]>,
    legacy: bool,
    rabbitmq: bool,
}

impl Known {
    /// Those of `sockets` that do not have it yet.
    pub(super) fn lacking(&self, sockets: &Sockets) -> Sockets {
        let mut lacking = sockets.clone();
        for (_, holders) in self.ids.iter().filter(|(_, holders)| !holders.is_empty()) {
            lacking.retain(|socket| holders.binary_search(socket).is_err());
        }
        lacking
    }

    /// Whether some socket got it.
    pub(super) const fn was_delivered(&self) -> bool {
        self.legacy || self.rabbitmq
    }

    const fn was_delivered_by(&self, path: Path) -> bool {
        match path {
            Path::Legacy => self.legacy,
            Path::Rabbitmq => self.rabbitmq,
        }
    }

    /// Whoever has it under one of its ids.
    fn everyone(&self) -> Holders {
        self.ids.iter().flat_map(|(_, holders)| holders).copied().collect()
    }
}

impl Ledger {
    pub(super) fn look(&self, key: &Key) -> Known {
        let mut known = Known { ids: SmallVec::new(), legacy: false, rabbitmq: false };
        for id in key.ids() {
            let (id, mut all) = (fingerprint(*id), Holders::new());
            for (holders, by) in self.find(id) {
                all.extend_from_slice(holders);
                known.legacy |= by == Path::Legacy;
                known.rabbitmq |= by == Path::Rabbitmq;
            }
            all.sort_unstable();
            known.ids.push((id, all));
        }
        known
    }

    /// Notes that `path` brought what is `known`, and that `sockets` got it now. The second path to bring it is the twin.
    pub(super) fn deliver(&mut self, limits: &Limits, now: Millis, path: Path, known: &Known, sockets: &Sockets) {
        self.twin_seen(limits, now, path, known);
        if sockets.is_empty() || limits.ledger_keys == 0 {
            return;
        }
        while self.keys >= limits.ledger_keys && self.forget_first() {}
        let is_twin = known.was_delivered_by(path.other());
        let ids: SmallVec<[u64; 2]> = known.ids.iter().map(|(id, _)| *id).collect();
        self.note(limits, now, (path, is_twin), &ids, Holders::from_slice(sockets), true);
        self.keys += 1;
        if self.fresh.len() >= self.pack_at.max(PACK).min(limits.ledger_fresh) {
            self.pack(limits, now);
        }
    }

    /// Notes that `path` brought a copy of what the other path delivered: 30 s more, for redeliveries, are enough. What was
    /// packed meanwhile keeps its time.
    ///
    /// From a side that knows both ids of a message, the other id is learnt: whoever has it under one has it under each.
    pub(super) fn twin_seen(&mut self, limits: &Limits, now: Millis, path: Path, known: &Known) {
        if !known.was_delivered() {
            return;
        }
        let is_twin = known.was_delivered_by(path.other());
        if is_twin {
            let due = now.plus(limits.after_twin);
            for (id, _) in &known.ids {
                for entry in self.fresh.find_mut(*id).filter(|entry| !entry.twin_seen && entry.by != path) {
                    entry.twin_seen = true;
                    entry.expires = entry.expires.min(due);
                }
            }
        }
        if known.ids.len() < 2 {
            return;
        }
        let everyone = known.everyone();
        let by = if is_twin { path.other() } else { path };
        for (id, own) in &known.ids {
            let new: Holders =
                everyone.iter().filter(|socket| own.binary_search(socket).is_err()).copied().collect();
            if !new.is_empty() {
                self.note(limits, now, (by, is_twin), &[*id], new, false);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Millis) {
        let mut gone = self.alone.expire(now) + self.twinned.expire(now);
        if self.fresh.iter().any(|entry| entry.expires <= now) {
            gone += counted(&self.fresh.take(|entry| entry.expires <= now));
        }
        self.keys -= gone;
        if self.fresh.is_empty() {
            (self.fresh, self.holders, self.pack_at) = (Fresh::default(), Vec::new(), 0);
        }
    }

    /// Keeps only holders that young entries name.
    fn tidy(&mut self) {
        let known = std::mem::take(&mut self.holders);
        let list = &mut self.holders;
        for entry in self.fresh.iter_mut() {
            entry.holders = place_of(list, known[usize::from(entry.holders)].clone());
        }
    }

    pub(super) fn forget(&mut self, socket: SocketId) {
        for holders in self.all_holders() {
            if let Ok(place) = holders.binary_search(&socket) {
                holders.remove(place);
            }
        }
    }

    pub(super) fn inherit(&mut self, from: SocketId, to: SocketId) {
        for holders in self.all_holders() {
            if holders.binary_search(&from).is_ok()
                && let Err(place) = holders.binary_search(&to)
            {
                holders.insert(place, to);
            }
        }
    }

    /// Deliveries that are remembered.
    pub(super) const fn len(&self) -> usize {
        self.keys
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Memory beside the value itself.
    pub(super) fn bytes(&self) -> usize {
        self.fresh.bytes()
            + self.holders.capacity() * size_of::<Holders>()
            + self.alone.bytes()
            + self.twinned.bytes()
    }

    pub(super) const fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Who has it, by which path.
    fn find(&self, fingerprint: u64) -> impl Iterator<Item = (&Holders, Path)> {
        let young =
            self.fresh.find(fingerprint).map(|entry| (&self.holders[usize::from(entry.holders)], entry.by));
        let packed = self.alone.find(fingerprint).chain(self.twinned.find(fingerprint));
        young.chain(packed.map(|group| (&group.holders, group.by)))
    }

    fn note(
        &mut self,
        limits: &Limits,
        now: Millis,
        (by, twin_seen): (Path, bool),
        ids: &[u64],
        holders: Holders,
        counts: bool,
    ) {
        let expires = now.plus(if twin_seen { limits.after_twin } else { limits.remember });
        let holders = self.number_of(holders);
        for (place, fingerprint) in ids.iter().enumerate() {
            let (fingerprint, counts) = (*fingerprint, counts && place == 0);
            self.fresh.push(Entry { fingerprint, expires, holders, by, twin_seen, counts });
        }
    }

    /// Where these sockets stand in the list of holders.
    fn number_of(&mut self, mut holders: Holders) -> u16 {
        holders.sort_unstable();
        holders.dedup();
        if self.holders.len() > self.fresh.len() + PACK {
            self.tidy();
        }
        place_of(&mut self.holders, holders)
    }

    /// Packs what no twin is likely to shorten any more: it has met its own, or the window has closed.
    fn pack(&mut self, limits: &Limits, now: Millis) {
        let all = self.fresh.len() >= limits.ledger_fresh;
        let closed = |entry: &Entry| entry.expires.0 <= now.plus(limits.remember).0.saturating_sub(limits.window);
        let ready = self.fresh.iter().filter(|entry| all || entry.twin_seen || closed(entry)).count();
        if all || ready >= PACK / 2 {
            let old = self.fresh.take(|entry| all || entry.twin_seen || closed(entry));
            let (twinned, alone): (Vec<_>, Vec<_>) = old.into_iter().partition(|entry| entry.twin_seen);
            self.alone.put(&alone, &self.holders, limits.remember / 8);
            self.twinned.put(&twinned, &self.holders, limits.after_twin / 8);
            self.tidy();
        }
        self.pack_at = self.fresh.len() + PACK;
    }

    /// Lets the oldest go before its time; whether there was anything.
    fn forget_first(&mut self) -> bool {
        let shelf = match (self.alone.oldest(), self.twinned.oldest()) {
            (Some(alone), Some(twinned)) if twinned < alone => Some(&mut self.twinned),
            (Some(_), _) => Some(&mut self.alone),
            (None, Some(_)) => Some(&mut self.twinned),
            (None, None) => None,
        };
        let gone = match shelf {
            Some(shelf) => shelf.forget_oldest(),
            None if self.fresh.is_empty() => return false,
            None => {
                let rest = self.fresh.iter().skip(1).position(|entry| entry.counts);
                counted(&self.fresh.take_first(rest.map_or(self.fresh.len(), |place| place + 1)))
            }
        };
        self.keys -= gone;
        self.overflow += gone as u64;
        true
    }

    fn all_holders(&mut self) -> impl Iterator<Item = &mut Holders> {
        self.holders.iter_mut().chain(self.alone.holders()).chain(self.twinned.holders())
    }
}

/// Where these sockets stand in `list`, which gets them where they do not.
fn place_of(list: &mut Vec<Holders>, holders: Holders) -> u16 {
    let place = list.iter().position(|known| *known == holders).unwrap_or_else(|| {
        list.push(holders);
        list.len() - 1
    });
    u16::try_from(place).expect("hardly more holders than young entries")
}

/// Deliveries among `entries`.
fn counted(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| entry.counts).count()
}

/// 64 bits of an id, well mixed. Ids are hashes already; those of tests are small numbers.
const fn fingerprint(id: u128) -> u64 {
    let [low, high] = [id as u64, (id >> 64) as u64];
    let mut mixed = low ^ high.rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
