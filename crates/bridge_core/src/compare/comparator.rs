//! The state machine: units open, meet their twin, and close.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::class::{Class, Modifier};
use super::decide::decide;
use super::event::{Event, Fact, Payload, Seen};
use super::known::Known;
use super::order::Order;
use super::record::{Closed, ClosedSide, IgnoreRule};
use super::summary::{self, Summary};
use super::unit::{Side, Unit};
use crate::gate::Why;
use crate::message::{self, Comparison};
use crate::stage::Path;
use crate::{DialogId, Millis, UserId};

/// A twin that comes this long after the window, in ms, amends the record.
const LATE: u64 = 60_000;

/// What the comparator may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a unit is open, in ms.
    pub window: u64,
    /// Bytes of units and their payloads, roughly.
    pub memory: usize,
}

/// Compares deliveries.
#[derive(Debug)]
pub struct Comparator {
    limits: Limits,
    ignore: Vec<IgnoreRule>,
    units: HashMap<u64, Unit>,
    /// Units by recipient and each of the key's ids.
    by_id: HashMap<(UserId, u128), u64>,
    /// Open units, in the order in which they close.
    open: VecDeque<(Millis, u64)>,
    /// Closed units that a late twin may amend.
    closed: VecDeque<(Millis, u64)>,
    known: Known,
    order: Order,
    summary: Summary,
    drill_open: u64,
    bytes: usize,
    next: u64,
    sequence: u64,
    amended: Vec<Closed>,
}

impl Comparator {
    /// A comparator that has seen nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ignore: Vec::new(),
            units: HashMap::new(),
            by_id: HashMap::new(),
            open: VecDeque::new(),
            closed: VecDeque::new(),
            known: Known::default(),
            order: Order::default(),
            summary: Summary::default(),
            drill_open: 0,
            bytes: 0,
            next: 0,
            sequence: 0,
            amended: Vec::new(),
        }
    }

    /// Differences that somebody answers for, from now on.
    pub fn set_ignore(&mut self, rules: Vec<IgnoreRule>) {
        self.ignore = rules;
    }

    /// What was counted so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary.clone()
    }

    /// Bytes it holds, roughly.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one event.
    pub fn observe(&mut self, event: Event) {
        match event {
            Event::Seen(seen) => self.seen(&seen),
            Event::Leak(seen) => self.leak(&seen),
            Event::Fact(at, fact) => self.fact(at, fact),
            Event::Shed(at, count) => {
                self.summary.shed += count;
                self.known.shed_at = Some(at);
            }
        }
    }

    /// Closes what is due, and returns it with the amendments since the last call.
    pub fn expire(&mut self, now: Millis) -> Vec<Closed> {
        let mut out = std::mem::take(&mut self.amended);
        while let Some((closes, number)) = self.open.front().copied() {
            if closes > now {
                break;
            }
            self.open.pop_front();
            out.extend(self.close(number, now));
        }
        while let Some((until, number)) = self.closed.front().copied() {
            if until > now {
                break;
            }
            self.closed.pop_front();
            self.forget(number);
        }
        let before = Millis(now.0.saturating_sub(LATE + 2 * self.limits.window));
        self.known.expire(before);
        self.order.expire(before);
        out
    }

    fn fact(&mut self, at: Millis, fact: Fact) {
        let Some((user, key, why)) = self.known.note(at, fact) else { return };
        let number = key.ids().iter().find_map(|id| self.by_id.get(&(user.clone(), *id)).copied());
        if let Some(unit) = number.and_then(|number| self.units.get_mut(&number)) {
            unit.modifiers.insert(match why {
                Why::Flushed => Modifier::Flushed,
                Why::Rescued => Modifier::Rescued,
            });
        }
    }

    fn seen(&mut self, seen: &Seen) {
        if seen.path == Path::Rabbitmq && seen.key.is_creation() {
            self.known.had_update(seen.at, &seen.key, &seen.user);
        }
        let number = match self.find(seen) {
            Some(number) => number,
            None => self.open(seen),
        };
        self.sequence += 1;
        let sequence = self.sequence;
        let Some(unit) = self.units.get_mut(&number) else { return };
        let weight = unit.weight();
        for id in seen.key.ids() {
            self.by_id.insert((seen.user.clone(), *id), number);
        }
        unit.learn(seen);
        if seen.redelivered {
            unit.modifiers.insert(Modifier::Redelivered);
        }
        let own = match seen.path {
            Path::Legacy => &mut unit.legacy,
            Path::Rabbitmq => &mut unit.rabbitmq,
        };
        if own.is_some() {
            unit.duplicate |= !seen.redelivered;
        } else {
            *own = Some(Side::of(seen, sequence));
            Self::meet(unit, seen, &mut self.order, &self.ignore);
        }
        let after = unit.weight();
        self.bytes = self.bytes + after - weight.min(self.bytes + after);
        if unit.closed.is_some() {
            self.amend(number, seen.at);
        }
        self.shed_payloads();
    }

    /// Compares with the waiting copy, or waits.
    fn meet(unit: &mut Unit, seen: &Seen, order: &mut Order, ignore: &[IgnoreRule]) {
        let (Some(legacy), Some(rabbitmq)) = (&unit.legacy, &unit.rabbitmq) else {
            unit.payload = Some(seen.payload.clone());
            return;
        };
        let both = match (unit.payload.take(), &seen.payload) {
            (Some(Payload::Legacy(data)), Payload::Update(update)) => Some((data, update.clone())),
            (Some(Payload::Update(update)), Payload::Legacy(data)) => Some((data.clone(), update)),
            _ => None,
        };
        let Some((data, update)) = both else {
            unit.shed = true;
            return;
        };
        let dialog = unit.dialog.as_ref().map_or("", DialogId::as_str);
        let data = serde_json::from_str(data.get()).unwrap_or_default();
        unit.compared = Some(message::compare(&data, dialog, &update));
        if let (Some(compared), at) = (&mut unit.compared, seen.at) {
            ignored(compared, ignore, at);
        }
        if let Some(dialog) = &unit.dialog
            && order.pair(seen.at, &unit.user, dialog, legacy.sequence, rabbitmq.sequence)
        {
            unit.modifiers.insert(Modifier::Reordered);
        }
    }

    /// A leaked update opens a unit of its own and changes no other.
    fn leak(&mut self, seen: &Seen) {
        let number = self.insert(seen);
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some(unit) = self.units.get_mut(&number) {
            unit.leak = true;
            unit.rabbitmq = Some(Side::of(seen, sequence));
        }
    }

    fn find(&self, seen: &Seen) -> Option<u64> {
        seen.key.ids().iter().find_map(|id| self.by_id.get(&(seen.user.clone(), *id)).copied())
    }

    fn open(&mut self, seen: &Seen) -> u64 {
        let number = self.insert(seen);
        for id in seen.key.ids() {
            self.by_id.insert((seen.user.clone(), *id), number);
        }
        number
    }

    fn insert(&mut self, seen: &Seen) -> u64 {
        let number = self.next;
        self.next += 1;
        let unit = Unit::open(seen, !self.known.session_began);
        self.bytes += unit.weight();
        if unit.drill {
            self.drill_open += 1;
        } else {
            self.summary.opened += 1;
            self.summary.open += 1;
        }
        self.units.insert(number, unit);
        // Units open in the order of time, but for the few ms that observers differ by.
        let closes = seen.at.plus(self.limits.window);
        let closes = self.open.back().map_or(closes, |(last, _)| closes.max(*last));
        self.open.push_back((closes, number));
        number
    }

    fn close(&mut self, number: u64, now: Millis) -> Option<Closed> {
        let window = self.limits.window;
        let unit = self.units.get_mut(&number)?;
        let near = Millis(unit.opened.0.saturating_sub(window));
        if Known::since(&self.known.flips, &unit.user, unit.opened) {
            unit.modifiers.insert(Modifier::InFlip);
        }
        if Known::since(&self.known.churn, &unit.user, near) {
            unit.modifiers.insert(Modifier::InChurn);
        }
        let closed = describe(number, unit, &self.known, window, now);
        unit.closed = Some((closed.class, closed.cause));
        // Only what is one-sided may still need its payload.
        if unit.legacy.is_some() == unit.rabbitmq.is_some() {
            let before = unit.weight();
            unit.payload = None;
            self.bytes = (self.bytes + unit.weight()).saturating_sub(before);
        }
        if unit.drill {
            self.drill_open -= 1;
            *self.summary.drill.entry(summary::name(&closed)).or_default() += 1;
        } else {
            self.summary.open -= 1;
            self.summary.close(&closed);
        }
        self.closed.push_back((now.plus(LATE), number));
        Some(closed)
    }

    /// A copy came for a unit that has closed: its record is amended when that changes the class.
    fn amend(&mut self, number: u64, at: Millis) {
        let window = self.limits.window;
        let Some(unit) = self.units.get_mut(&number) else { return };
        let Some((class, cause)) = unit.closed else { return };
        let before = Closed { class, cause, ..describe(number, unit, &self.known, window, at) };
        unit.modifiers.insert(Modifier::Late);
        let mut after = describe(number, unit, &self.known, window, at);
        if after.class == Class::Indeterminate && class != Class::Indeterminate {
            return;
        }
        if after.class == class && after.cause == cause {
            return;
        }
        after.amends = Some(class);
        unit.closed = Some((after.class, after.cause));
        if !unit.drill {
            // One side alone needs no rules, and counted none.
            let was_both = !matches!(class, Class::MissingInRabbitmq | Class::MissingInRabbitmqExpected)
                && !matches!(class, Class::MissingInLegacyExpected | Class::MissingInLegacyUnexpected);
            let rules = if was_both { before.rules.clone() } else { Vec::new() };
            self.summary.amend(&Closed { rules, ..before }, &after);
        }
        self.amended.push(after);
    }

    /// Over its memory: the oldest waiting copies go, and with them the comparison.
    fn shed_payloads(&mut self) {
        if self.bytes <= self.limits.memory {
            return;
        }
        let order: Vec<u64> = self.closed.iter().chain(&self.open).map(|(_, number)| *number).collect();
        for number in order {
            if self.bytes <= self.limits.memory / 4 * 3 {
                return;
            }
            let Some(unit) = self.units.get_mut(&number) else { continue };
            let before = unit.weight();
            if unit.payload.take().is_some() {
                unit.shed |= unit.closed.is_none();
                self.summary.shed += u64::from(unit.closed.is_none());
                self.bytes = (self.bytes + unit.weight()).saturating_sub(before);
            } else if unit.closed.is_some() {
                self.forget(number);
            }
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(unit) = self.units.remove(&number) {
            self.bytes = self.bytes.saturating_sub(unit.weight());
            if !unit.leak {
                for id in unit.key.ids() {
                    let name = (unit.user.clone(), *id);
                    if self.by_id.get(&name) == Some(&number) {
                        self.by_id.remove(&name);
                    }
                }
            }
        }
    }
}

/// Takes the differences out that somebody answers for, and names who.
fn ignored(compared: &mut Comparison, ignore: &[IgnoreRule], at: Millis) {
    for rule in ignore.iter().filter(|rule| at <= rule.until) {
        let before = compared.diff.len();
        compared.diff.retain(|difference| !message::is_below(&difference.path, &rule.path));
        if compared.diff.len() < before && !compared.ignored.contains(&rule.name) {
            compared.ignored.push(rule.name.clone());
        }
    }
}

fn describe(number: u64, unit: &Unit, known: &Known, window: u64, now: Millis) -> Closed {
    let decision = decide(unit, known, window);
    let compared = unit.compared.as_ref();
    let both = unit.legacy.is_some() && unit.rabbitmq.is_some();
    let rules = compared.map_or(&[][..], |compared| &compared.rules);
    let ignored = compared.map_or(&[][..], |compared| &compared.ignored);
    let rules =
        rules.iter().chain(&decision.rule).map(|rule| rule.name().to_owned()).chain(ignored.iter().cloned());
    let side =
        |side: &Side| ClosedSide { at: side.at, sockets: side.sockets.len(), redelivered: side.redelivered };
    let mapped = unit.dialog_mongo.as_ref().and_then(|mongo| known.dialogs.get(mongo.as_ref()));
    Closed {
        id: name(number, unit),
        at: now,
        stage: unit.stage,
        class: decision.class,
        cause: decision.cause,
        amends: None,
        modifiers: unit.modifiers.iter().copied().collect(),
        tenant: unit.tenant.clone(),
        user: unit.user.shared(),
        dialog: unit.dialog.as_ref().or(mapped).map(DialogId::shared),
        event: unit.event.clone(),
        message: unit.message.as_ref().and_then(|id| id.shown().cloned()),
        event_id: unit.event_id.clone(),
        legacy: unit.legacy.as_ref().map(side),
        rabbitmq: unit.rabbitmq.as_ref().map(side),
        rules: if both { rules.collect() } else { Vec::new() },
        diff: compared.map(|compared| compared.diff.clone()).unwrap_or_default(),
        routing_key: unit.routing_key.clone(),
        key: unit.key.first(),
        creation: unit.key.is_creation(),
    }
}

/// A unit's name: its key, recipient, and its number, because the same key may come back later.
fn name(number: u64, unit: &Unit) -> u128 {
    let mut hasher = DefaultHasher::new();
    (unit.key.first(), unit.user.as_str(), unit.opened.0).hash(&mut hasher);
    (u128::from(hasher.finish()) << 64) | u128::from(number)
}
