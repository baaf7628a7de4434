//! Numbers of the comparison. Opened = closed + open, and the classes add up to closed, at every moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::record::Closed;

/// What was counted so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Units that were opened.
    pub opened: u64,
    /// Units that have closed.
    pub closed: u64,
    /// Units that are open.
    pub open: u64,
    /// Closed units by class; every class is there.
    pub classes: BTreeMap<String, u64>,
    /// Closed units by `CLASS/CAUSE`.
    pub causes: BTreeMap<String, u64>,
    /// Closed units by modifier.
    pub modifiers: BTreeMap<String, u64>,
    /// Closed units by rule.
    pub rules: BTreeMap<String, u64>,
    /// Events and units that could not be looked at.
    pub shed: u64,
    /// A drill's units by `CLASS` or `CLASS/CAUSE`; they count nowhere else.
    pub drill: BTreeMap<String, u64>,
}

impl Default for Summary {
    fn default() -> Self {
        let classes = Class::ALL.map(|class| (class.name().to_owned(), 0)).into();
        let empty = BTreeMap::new();
        Self {
            opened: 0,
            closed: 0,
            open: 0,
            classes,
            causes: empty.clone(),
            modifiers: empty.clone(),
            rules: empty.clone(),
            shed: 0,
            drill: empty,
        }
    }
}

/// `CLASS/CAUSE`, or `CLASS` where there is no cause.
pub(super) fn name(closed: &Closed) -> String {
    match closed.cause {
        Some(cause) => format!("{}/{}", closed.class.name(), cause.name()),
        None => closed.class.name().into(),
    }
}

impl Summary {
    /// Counts a closed unit.
    pub(super) fn close(&mut self, closed: &Closed) {
        self.closed += 1;
        self.add(closed, 1);
    }

    /// Counts a unit's new class instead of the one it had.
    pub(super) fn amend(&mut self, before: &Closed, after: &Closed) {
        self.add(before, -1);
        self.add(after, 1);
    }

    fn add(&mut self, closed: &Closed, by: i64) {
        count(&mut self.classes, closed.class.name().into(), by);
        if closed.cause.is_some() {
            count(&mut self.causes, name(closed), by);
        }
        for modifier in &closed.modifiers {
            count(&mut self.modifiers, modifier.name().into(), by);
        }
        for rule in &closed.rules {
            count(&mut self.rules, rule.clone(), by);
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String, by: i64) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add_signed(by);
}
