//! The young deliveries, whose twin can still shorten their time.

use super::PACK;
use crate::Millis;
use crate::stage::Path;

/// One id of a young delivery.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    pub(super) expires: Millis,
    /// Its sockets' place in the ledger's list of holders.
    pub(super) holders: u16,
    pub(super) by: Path,
    /// The other path has brought it too.
    pub(super) twin_seen: bool,
    /// The first id of a delivery.
    pub(super) counts: bool,
}

/// Entries in the order in which they came. Every copy is looked for among them: the marks, two bytes of each
/// fingerprint, say where to look without a read of all entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Fresh {
    marks: Vec<u16>,
    entries: Vec<Entry>,
}

impl Fresh {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(PACK);
            self.marks.reserve_exact(PACK);
        }
        self.marks.push(mark(entry.fingerprint));
        self.entries.push(entry);
    }

    /// Those of `fingerprint`.
    pub(super) fn find(&self, fingerprint: u64) -> impl Iterator<Item = &Entry> {
        let own = mark(fingerprint);
        let marked = self.marks.iter().zip(&self.entries).filter(move |(mark, _)| **mark == own);
        marked.map(|(_, entry)| entry).filter(move |entry| entry.fingerprint == fingerprint)
    }

    /// The same, to be changed, except for their fingerprint.
    pub(super) fn find_mut(&mut self, fingerprint: u64) -> impl Iterator<Item = &mut Entry> {
        let own = mark(fingerprint);
        let marked = self.marks.iter().zip(&mut self.entries).filter(move |(mark, _)| **mark == own);
        marked.map(|(_, entry)| entry).filter(move |entry| entry.fingerprint == fingerprint)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All of them, to be changed, except for their fingerprints.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Takes out those that `wanted` says, in order.
    pub(super) fn take(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (taken, rest) = self.entries.drain(..).partition(wanted);
        self.entries = rest;
        self.mark_anew();
        taken
    }

    /// Takes out the first `count`.
    pub(super) fn take_first(&mut self, count: usize) -> Vec<Entry> {
        let taken = self.entries.drain(..count).collect();
        self.mark_anew();
        taken
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory beside the value itself.
    pub(super) const fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.marks.capacity() * size_of::<u16>()
    }

    fn mark_anew(&mut self) {
        self.marks.clear();
        self.marks.extend(self.entries.iter().map(|entry| mark(entry.fingerprint)));
        self.marks.shrink_to(self.entries.capacity());
    }
}

const fn mark(fingerprint: u64) -> u16 {
    (fingerprint >> 48) as u16
}
