//! The state machine: units open, meet their twin, and close.

mod close;
mod memory;

use std::collections::VecDeque;

use foldhash::HashMap;

use self::memory::Payloads;
use super::class::Modifier;
use super::event::{Event, Fact, Payload, Seen};
use super::known::Known;
use super::order::Order;
use super::record::Closed;
use super::summary::{Counts, Summary};
use super::unit::{Side, Unit};
use crate::gate::Why;
use crate::message::{self, IgnoreRule};
use crate::stage::Path;
use crate::{DialogId, Millis, UserId};

/// A twin that comes this long after the window, in ms, amends the record.
const LATE: u64 = 60_000;

/// What the comparator may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a unit is open, in ms.
    pub window: u64,
    /// Bytes of units and their payloads, roughly; facts take as many again at most, and POSTs without an answer
    /// half as many.
    pub memory: usize,
}

/// Compares deliveries.
#[derive(Debug)]
pub struct Comparator {
    limits: Limits,
    ignore: Vec<IgnoreRule>,
    /// Both copies are kept until the unit closes, to be shown where it is bad.
    keeps: bool,
    units: HashMap<u64, Box<Unit>>,
    /// Units by recipient and each of the key's ids.
    by_id: HashMap<(UserId, u128), u64>,
    /// Open units, in the order in which they close.
    open: VecDeque<(Millis, u64)>,
    /// All units in the order in which they opened, some of them gone.
    oldest: VecDeque<(Millis, u64)>,
    /// Closed units that a late twin may amend.
    closed: VecDeque<(Millis, u64)>,
    known: Known,
    order: Order,
    summary: Counts,
    /// Bytes of units.
    bytes: usize,
    payloads: Payloads,
    /// Units with a large payload or difference, in the order in which they got it, some of them gone.
    large: VecDeque<u64>,
    next: u64,
    sequence: u64,
    forgotten: u64,
    amended: Vec<Closed>,
}

impl Comparator {
    /// A comparator that has seen nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ignore: Vec::new(),
            keeps: false,
            units: HashMap::default(),
            by_id: HashMap::default(),
            open: VecDeque::new(),
            oldest: VecDeque::new(),
            closed: VecDeque::new(),
            known: Known::new(limits.memory),
            order: Order::default(),
            summary: Counts::default(),
            bytes: 0,
            payloads: Payloads::default(),
            large: VecDeque::new(),
            next: 0,
            sequence: 0,
            forgotten: 0,
            amended: Vec::new(),
        }
    }

    /// Differences that somebody answers for, from now on.
    pub fn set_ignore(&mut self, rules: Vec<IgnoreRule>) {
        self.ignore = rules;
    }

    /// Whether bad units show their payloads, from now on.
    pub const fn keep_payloads(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// What was counted so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary.shown()
    }

    /// Units that were opened, and those that are open.
    #[must_use]
    pub const fn units(&self) -> (u64, u64) {
        (self.summary.opened, self.summary.open)
    }

    /// Bytes of units and their payloads, roughly.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes + self.payloads.bytes()
    }

    /// Bytes of facts, roughly.
    #[must_use]
    pub fn facts(&self) -> usize {
        self.known.bytes()
    }

    /// Names under which units are found.
    #[must_use]
    pub fn names(&self) -> usize {
        self.by_id.len()
    }

    /// Facts that were let go before their time, for want of memory: what might have rested on them is
    /// `indeterminate`.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes one event.
    pub fn observe(&mut self, event: Event) {
        match event {
            Event::Seen(seen) => self.seen(*seen),
            Event::Leak(seen) => self.leak(*seen),
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
            self.bury(number, now);
        }
        while self.oldest.front().is_some_and(|(_, number)| !self.units.contains_key(number)) {
            self.oldest.pop_front();
        }
        while self.large.front().is_some_and(|number| !self.units.contains_key(number)) {
            self.large.pop_front();
        }
        let before = Millis(now.0.saturating_sub(LATE + 2 * self.limits.window));
        self.known.expire(now, before);
        self.order.expire(before);
        self.forgotten += self.known.take_let_go() + self.order.take_let_go();
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

    fn seen(&mut self, mut seen: Seen) {
        if seen.path == Path::Rabbitmq && seen.key.is_creation() {
            self.known.had_update(seen.at, &seen.key);
        }
        let found = self.find(&seen);
        let past = || self.known.was_over(&seen.user, &seen.key);
        let over = match found.map_or_else(past, |_| None) {
            None => false,
            Some((legacy, rabbitmq)) => {
                let again = if seen.path == Path::Legacy { legacy } else { rabbitmq };
                if !again {
                    // A twin whose absence was judged already; one more of them is one too many.
                    let sides = (legacy || seen.path == Path::Legacy, rabbitmq || seen.path == Path::Rabbitmq);
                    self.known.is_over(seen.at, &seen.user, &seen.key, sides);
                    return;
                }
                if seen.redelivered {
                    return;
                }
                true
            }
        };
        if found.is_none() && self.bytes() > self.limits.memory {
            // All that could be let go is gone.
            self.summary.shed += 1;
            self.known.not_opened(seen.at, &seen.user, &seen.key);
            return;
        }
        let number = found.unwrap_or_else(|| self.insert(&seen));
        self.sequence += 1;
        let sequence = self.sequence;
        let Some(unit) = self.units.get_mut(&number) else { return };
        if over {
            unit.duplicate = true;
            unit.modifiers.insert(Modifier::Late);
        }
        let weight = unit.weight();
        for id in seen.key.ids() {
            self.by_id.insert((seen.user.clone(), *id), number);
        }
        unit.learn(&seen);
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
            *own = Some(Side::of(&mut seen, sequence));
            let waited = unit.payload.take();
            Self::meet(unit, waited.as_ref(), &seen, &mut self.order, &self.ignore);
            if self.keeps && unit.payload.is_none() {
                unit.kept.extend(waited.iter().chain([&seen.payload]).cloned());
            }
            unit.payload.iter().chain(&unit.kept).for_each(|payload| self.payloads.hold(payload));
            waited.iter().for_each(|payload| self.payloads.release(payload));
            if memory::is_large(unit) {
                self.large.push_back(number);
            }
        }
        let after = unit.weight();
        self.bytes = self.bytes + after - weight.min(self.bytes + after);
        if unit.closed.is_some() {
            self.amend(number, seen.at);
        }
        self.shed();
    }

    /// Compares with the waiting copy, or waits.
    fn meet(unit: &mut Unit, waited: Option<&Payload>, seen: &Seen, order: &mut Order, ignore: &[IgnoreRule]) {
        let (Some(legacy), Some(rabbitmq)) = (&unit.legacy, &unit.rabbitmq) else {
            // Only a message has a twin to be compared with.
            unit.payload = seen.key.is_creation().then(|| seen.payload.clone());
            return;
        };
        let both = match (waited, &seen.payload) {
            (Some(Payload::Legacy(data)), Payload::Update(update)) => Some((data, update)),
            (Some(Payload::Update(update)), Payload::Legacy(data)) => Some((data, update)),
            _ => None,
        };
        let Some((data, update)) = both else {
            unit.shed = true;
            return;
        };
        let dialog = unit.dialog.as_ref().map_or("", DialogId::as_str);
        let at = legacy.at.max(rabbitmq.at);
        let ignore: Vec<&IgnoreRule> = ignore.iter().filter(|rule| at <= rule.until).collect();
        let found = message::compare_raw(data, dialog, update, &ignore);
        let (legacy, rabbitmq) = (legacy.sequence, rabbitmq.sequence);
        unit.compared(found);
        if let Some(dialog) = &unit.dialog
            && order.pair(seen.at, &unit.user, dialog, legacy, rabbitmq)
        {
            unit.modifiers.insert(Modifier::Reordered);
        }
    }

    /// A leaked update opens a unit of its own and changes no other.
    fn leak(&mut self, mut seen: Seen) {
        let number = self.insert(&seen);
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some(unit) = self.units.get_mut(&number) {
            unit.leak = true;
            let before = unit.weight();
            unit.rabbitmq = Some(Side::of(&mut seen, sequence));
            self.bytes += unit.weight() - before;
            if self.keeps {
                unit.kept.push(seen.payload.clone());
                unit.kept.iter().for_each(|payload| self.payloads.hold(payload));
            }
        }
    }

    fn find(&self, seen: &Seen) -> Option<u64> {
        seen.key.ids().iter().find_map(|id| self.by_id.get(&(seen.user.clone(), *id)).copied())
    }

    fn insert(&mut self, seen: &Seen) -> u64 {
        let number = self.next;
        self.next += 1;
        let mut unit = Unit::open(seen, !self.known.session_began);
        let near = Millis(seen.at.0.saturating_sub(self.limits.window));
        unit.shed = unit.key.is_creation() && self.known.was_not_opened(&seen.user, &seen.key, near);
        self.bytes += unit.weight();
        if !unit.drill {
            self.summary.opened += 1;
            self.summary.open += 1;
        }
        self.units.insert(number, Box::new(unit));
        self.oldest.push_back((seen.at, number));
        // Units open in the order of time, but for the few ms that observers differ by.
        let closes = seen.at.plus(self.limits.window);
        let closes = self.open.back().map_or(closes, |(last, _)| closes.max(*last));
        self.open.push_back((closes, number));
        number
    }
}
