//! Generations: what was delivered within some seconds, packed, and forgotten together.

use smallvec::SmallVec;

use super::Holders;
use super::fresh::Entry;
use super::packed::{BITS, BITS_OF_TWO, MOST, Packed};
use crate::Millis;
use crate::stage::Path;

/// What one path delivered to the same sockets.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) holders: Holders,
    pub(super) by: Path,
    ids: Packed,
}

#[derive(Clone, Debug)]
struct Generation {
    /// Most users have one socket, which is one group.
    groups: SmallVec<[Group; 1]>,
    /// Deliveries in it.
    keys: usize,
    ids: usize,
    first: Millis,
    /// When the last of it may be forgotten.
    expires: Millis,
}

/// Generations, oldest first. Young ones of like size become one, as long as they span little time together: there are
/// never many to look through.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    generations: Vec<Generation>,
}

impl Shelf {
    /// Packs `entries`; `holders` are their sockets by number. `span` is how much longer than due a key may be kept, ms.
    pub(super) fn put(&mut self, entries: &[Entry], holders: &[Holders], span: u64) {
        for part in entries.chunks(MOST / 4) {
            self.generations.extend(Generation::of(part, holders));
            while let [.., before, last] = &self.generations[..]
                && before.ids <= last.ids * 2
                && before.ids + last.ids <= MOST
                && last.expires.since(before.first) <= span
                && let (Some(last), Some(before)) = (self.generations.pop(), self.generations.pop())
            {
                self.generations.push(before.with(last));
            }
        }
    }

    /// The groups that hold `fingerprint`.
    pub(super) fn find(&self, fingerprint: u64) -> impl Iterator<Item = &Group> {
        let groups = self.generations.iter().rev().flat_map(|generation| &generation.groups);
        groups.filter(move |group| group.ids.contains(fingerprint))
    }

    pub(super) fn holders(&mut self) -> impl Iterator<Item = &mut Holders> {
        self.generations.iter_mut().flat_map(|generation| &mut generation.groups).map(|group| &mut group.holders)
    }

    /// Lets go what is old enough; how many deliveries that were.
    pub(super) fn expire(&mut self, now: Millis) -> usize {
        let mut gone = 0;
        self.generations.retain(|generation| {
            let stays = generation.expires > now;
            gone += if stays { 0 } else { generation.keys };
            stays
        });
        if self.generations.is_empty() {
            self.generations = Vec::new();
        }
        gone
    }

    /// When the oldest generation may be forgotten.
    pub(super) fn oldest(&self) -> Option<Millis> {
        self.generations.first().map(|generation| generation.expires)
    }

    /// Lets the oldest generation go; how many deliveries that were.
    pub(super) fn forget_oldest(&mut self) -> usize {
        if self.generations.is_empty() { 0 } else { self.generations.remove(0).keys }
    }

    pub(super) fn bytes(&self) -> usize {
        let group = |group: &Group| size_of::<Group>() + heap(&group.holders) + group.ids.bytes();
        let spilled = |groups: &SmallVec<[Group; 1]>| {
            let inline = if groups.spilled() { 0 } else { groups.len() * size_of::<Group>() };
            groups.iter().map(group).sum::<usize>() - inline
        };
        let generation = |generation: &Generation| spilled(&generation.groups);
        self.generations.capacity() * size_of::<Generation>()
            + self.generations.iter().map(generation).sum::<usize>()
    }
}

fn heap(holders: &Holders) -> usize {
    if holders.spilled() { holders.capacity() * size_of::<crate::SocketId>() } else { 0 }
}

impl Generation {
    fn of(entries: &[Entry], holders: &[Holders]) -> Option<Self> {
        let (first, expires) =
            (entries.iter().map(|entry| entry.expires).min()?, entries.iter().map(|entry| entry.expires).max()?);
        let keys = entries.iter().filter(|entry| entry.counts).count();
        let bits = if entries.len() > keys { BITS_OF_TWO } else { BITS };
        let mut order: Vec<&Entry> = entries.iter().collect();
        order.sort_by_key(|entry| (entry.holders, entry.by));
        let same = |a: &&Entry, b: &&Entry| (a.holders, a.by) == (b.holders, b.by);
        let group = |part: &[&Entry]| Group {
            holders: holders[usize::from(part[0].holders)].clone(),
            by: part[0].by,
            ids: Packed::of(part.iter().map(|entry| entry.fingerprint).collect(), bits),
        };
        let groups = order.chunk_by(same).map(group).collect();
        Some(Self { groups, keys, ids: entries.len(), first, expires })
    }

    fn with(mut self, later: Self) -> Self {
        for group in later.groups {
            let alike = |own: &&mut Group| own.by == group.by && own.holders == group.holders;
            match self.groups.iter_mut().find(alike) {
                Some(own) => {
                    let bits = own.ids.bits().min(group.ids.bits());
                    own.ids = Packed::of(own.ids.iter().chain(group.ids.iter()).collect(), bits);
                }
                None => self.groups.push(group),
            }
        }
        self.groups.shrink_to_fit();
        Self {
            keys: self.keys + later.keys,
            ids: self.ids + later.ids,
            expires: self.expires.max(later.expires),
            first: self.first.min(later.first),
            groups: self.groups,
        }
    }
}
