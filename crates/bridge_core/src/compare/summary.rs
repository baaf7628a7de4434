//! Numbers of the comparison. Opened = closed + open, and the classes add up to closed, at every moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::{Cause, Class, Modifier};
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

/// `CLASS/CAUSE`, or `CLASS` where there is no cause.
fn name(closed: &Closed) -> String {
    match closed.cause {
        Some(cause) => format!("{}/{}", closed.class.name(), cause.name()),
        None => closed.class.name().into(),
    }
}

/// Causes have numbers below this.
const CAUSES: usize = Cause::PostUnknown as usize + 1;
const MODIFIERS: usize = Modifier::InChurn as usize + 1;

/// The counts behind a [`Summary`]: each closed unit is counted, names are made only where they are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) open: u64,
    pub(super) shed: u64,
    classes: [u64; Class::ALL.len()],
    causes: [[u64; CAUSES]; Class::ALL.len()],
    modifiers: [u64; MODIFIERS],
    rules: BTreeMap<String, u64>,
    drill: BTreeMap<String, u64>,
    /// What was counted once is shown from then on, also where amendments took it back.
    seen_causes: Vec<(Class, Cause)>,
    seen_modifiers: Vec<Modifier>,
}

impl Counts {
    /// Counts a closed unit.
    pub(super) fn close(&mut self, closed: &Closed) {
        self.closed += 1;
        self.add(closed, 1);
    }

    /// Counts a unit of a drill.
    pub(super) fn close_drill(&mut self, closed: &Closed) {
        *self.drill.entry(name(closed)).or_default() += 1;
    }

    /// Counts a unit's new class instead of the one it had.
    pub(super) fn amend(&mut self, before: &Closed, after: &Closed) {
        self.add(before, -1);
        self.add(after, 1);
    }

    fn add(&mut self, closed: &Closed, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        add(&mut self.classes[closed.class as usize]);
        if let Some(cause) = closed.cause {
            add(&mut self.causes[closed.class as usize][cause as usize]);
            note(&mut self.seen_causes, (closed.class, cause));
        }
        for modifier in &closed.modifiers {
            add(&mut self.modifiers[*modifier as usize]);
            note(&mut self.seen_modifiers, *modifier);
        }
        for rule in &closed.rules {
            match self.rules.get_mut(rule) {
                Some(count) => add(count),
                None => add(self.rules.entry(rule.clone()).or_default()),
            }
        }
    }

    /// With names.
    pub(super) fn shown(&self) -> Summary {
        let cause = |(class, cause): &(Class, Cause)| {
            let count = self.causes[*class as usize][*cause as usize];
            (format!("{}/{}", class.name(), cause.name()), count)
        };
        let modifier = |modifier: &Modifier| (modifier.name().to_owned(), self.modifiers[*modifier as usize]);
        Summary {
            opened: self.opened,
            closed: self.closed,
            open: self.open,
            classes: Class::ALL.map(|class| (class.name().to_owned(), self.classes[class as usize])).into(),
            causes: self.seen_causes.iter().map(cause).collect(),
            modifiers: self.seen_modifiers.iter().map(modifier).collect(),
            rules: self.rules.clone(),
            shed: self.shed,
            drill: self.drill.clone(),
        }
    }
}

fn note<T: PartialEq>(seen: &mut Vec<T>, one: T) {
    if !seen.contains(&one) {
        seen.push(one);
    }
}
