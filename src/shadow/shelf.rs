//! Records in memory: the latest of all, and a reservoir for each class and cause, so that a million of one kind never
//! push out the single one of another.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Record};
use rand::RngExt as _;

/// Latest records of any class.
const LATEST: usize = 1_000;
/// Records of each class and cause.
const RESERVOIR: usize = 100;

/// What to look for; `None` takes all.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Class.
    pub class: Option<String>,
    /// Cause.
    pub cause: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Dialog.
    pub dialog: Option<String>,
    /// Message.
    pub message: Option<String>,
    /// JSON Pointer at or below which it differs.
    pub field: Option<String>,
    /// At or after, ISO-8601.
    pub since: Option<String>,
    /// Before, ISO-8601.
    pub until: Option<String>,
}

impl Filter {
    /// Whether `record` is looked for.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || own == Some(wanted))
        };
        is(&self.class, Some(record.class.name()))
            && is(&self.cause, record.cause.map(Cause::name))
            && is(&self.user, Some(&record.user))
            && is(&self.dialog, record.dialog.as_deref())
            && is(&self.message, record.message.as_deref())
            && self.field.as_deref().is_none_or(|field| record.differs_at(field))
            // ISO-8601 in one zone and one precision sorts as text.
            && self.since.as_deref().is_none_or(|since| record.at.as_str() >= since)
            && self.until.as_deref().is_none_or(|until| record.at.as_str() < until)
    }
}

/// A page of records, oldest first.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Arc<Record>>,
    /// `after` of the next page; `None` at the end.
    pub next: Option<String>,
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

    /// Those that `filter` takes, behind record `after`, at most `limit`.
    pub(super) fn page(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Page {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let mut found = self.records.range(from..).filter(|(_, record)| filter.takes(record));
        let mut records = Vec::new();
        let mut last = None;
        for (number, record) in found.by_ref().take(limit) {
            records.push(Arc::clone(record));
            last = Some(*number);
        }
        let next = last.filter(|_| found.next().is_some()).map(|last| last.to_string());
        Page { records, next }
    }
}
