//! Records in memory: the latest of all, and a reservoir for each class and cause, so that a million of one kind never
//! push out the single one of another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Closed, Record};
use foldhash::HashMap;
use rand::RngExt as _;

use super::filter::Filter;

/// Latest records of any class.
const LATEST: usize = 1_000;
/// Records of each class and cause.
const RESERVOIR: usize = 100;

/// A page of records.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page {
    /// The records, in the order that was asked for.
    pub records: Vec<Arc<Record>>,
    /// `after` of the next page; `None` at the end.
    pub next: Option<String>,
}

/// In which order records are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// A closed unit, written as a record by whoever asks for it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) closed: Closed,
    /// It closed while content was revealed.
    pub(super) reveal: bool,
}

#[derive(Default)]
struct Reservoir {
    seen: u64,
    kept: Vec<(u64, Arc<Kept>)>,
}

/// The records.
#[derive(Default)]
pub(super) struct Shelf {
    latest: VecDeque<Arc<Kept>>,
    reservoirs: HashMap<(Class, Option<Cause>), Reservoir>,
    next: u64,
}

impl Shelf {
    /// Puts a unit in; returns its number.
    pub(super) fn put(&mut self, mut closed: Closed, reveal: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        closed.let_go(reveal);
        let reservoir = self.reservoirs.entry((closed.class, closed.cause)).or_default();
        let kept = Arc::new(Kept { closed, reveal });
        reservoir.seen += 1;
        if reservoir.kept.len() < RESERVOIR {
            reservoir.kept.push((number, Arc::clone(&kept)));
        } else {
            let place = rand::rng().random_range(0..reservoir.seen);
            if let Some(place) = usize::try_from(place).ok().filter(|place| *place < RESERVOIR) {
                reservoir.kept[place] = (number, Arc::clone(&kept));
            }
        }
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(kept);
        number
    }

    /// All that is kept, oldest first.
    pub(super) fn all(&self) -> BTreeMap<u64, Arc<Kept>> {
        let first = self.next - u64::try_from(self.latest.len()).unwrap_or(0);
        let latest = (first..).zip(&self.latest).map(|(number, kept)| (number, Arc::clone(kept)));
        self.reservoirs.values().flat_map(|reservoir| reservoir.kept.iter().cloned()).chain(latest).collect()
    }
}

/// Of `kept`, written by `written`, those that `filter` takes, behind record `after` in that order, at most `limit`.
pub(super) fn page(
    kept: &BTreeMap<u64, Arc<Kept>>,
    written: impl Fn(&Kept) -> Record,
    (filter, order): (&Filter, Order),
    after: Option<u64>,
    limit: usize,
) -> Page {
    match order {
        Order::Ascending => {
            let from = after.map_or(0, |after| after.saturating_add(1));
            page_of(kept.range(from..), written, filter, limit)
        }
        Order::Descending => page_of(kept.range(..after.unwrap_or(u64::MAX)).rev(), written, filter, limit),
    }
}

fn page_of<'a>(
    kept: impl Iterator<Item = (&'a u64, &'a Arc<Kept>)>,
    written: impl Fn(&Kept) -> Record,
    filter: &Filter,
    limit: usize,
) -> Page {
    let mut found = kept.map(|(number, kept)| (number, written(kept))).filter(|(_, record)| filter.takes(record));
    let (mut records, mut last) = (Vec::new(), None);
    for (number, record) in found.by_ref().take(limit) {
        records.push(Arc::new(record));
        last = Some(*number);
    }
    let next = last.filter(|_| found.next().is_some()).map(|last| last.to_string());
    Page { records, next }
}
