//! Records in memory: the latest of all, and a reservoir for each class and cause, so that a million of one kind never
//! push out the single one of another.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Record};
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

#[derive(Default)]
struct Reservoir {
    seen: u64,
    kept: Vec<u64>,
}

/// The records.
#[derive(Default)]
pub(super) struct Shelf {
    records: BTreeMap<u64, Arc<Record>>,
    latest: VecDeque<u64>,
    reservoirs: HashMap<(Class, Option<Cause>), Reservoir>,
    next: u64,
}

impl Shelf {
    /// Puts a record in; returns its number.
    pub(super) fn put(&mut self, record: Arc<Record>) -> u64 {
        let number = self.next;
        self.next += 1;
        let kind = (record.class, record.cause);
        self.records.insert(number, record);
        self.latest.push_back(number);
        let reservoir = self.reservoirs.entry(kind).or_default();
        reservoir.seen += 1;
        let mut let_go = None;
        if reservoir.kept.len() < RESERVOIR {
            reservoir.kept.push(number);
        } else {
            let place = rand::rng().random_range(0..reservoir.seen);
            if let Some(place) = usize::try_from(place).ok().filter(|place| *place < RESERVOIR) {
                let_go = Some(std::mem::replace(&mut reservoir.kept[place], number));
            }
        }
        let oldest = if self.latest.len() > LATEST { self.latest.pop_front() } else { None };
        for number in let_go.into_iter().chain(oldest) {
            self.drop_if_unkept(number);
        }
        number
    }

    fn drop_if_unkept(&mut self, number: u64) {
        let Some(record) = self.records.get(&number) else { return };
        let latest = self.latest.front().is_some_and(|oldest| number >= *oldest);
        let reservoir = self.reservoirs.get(&(record.class, record.cause));
        if !latest && !reservoir.is_some_and(|reservoir| reservoir.kept.contains(&number)) {
            self.records.remove(&number);
        }
    }

    /// Those that `filter` takes, behind record `after` in that order, at most `limit`.
    pub(super) fn page(&self, filter: &Filter, order: Order, after: Option<u64>, limit: usize) -> Page {
        match order {
            Order::Ascending => {
                let from = after.map_or(0, |after| after.saturating_add(1));
                page_of(self.records.range(from..), filter, limit)
            }
            Order::Descending => page_of(self.records.range(..after.unwrap_or(u64::MAX)).rev(), filter, limit),
        }
    }
}

fn page_of<'a>(records: impl Iterator<Item = (&'a u64, &'a Arc<Record>)>, filter: &Filter, limit: usize) -> Page {
    let mut found = records.filter(|(_, record)| filter.takes(record));
    let (mut records, mut last) = (Vec::new(), None);
    for (number, record) in found.by_ref().take(limit) {
        records.push(Arc::clone(record));
        last = Some(*number);
    }
    let next = last.filter(|_| found.next().is_some()).map(|last| last.to_string());
    Page { records, next }
}
