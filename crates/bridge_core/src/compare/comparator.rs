//! The state machine: units open, meet their twin, and close.

mod close;
mod memory;

use std::collections::VecDeque;

use foldhash::HashMap;

use self::memory::Payloads;
use super::class::Modifier;
use super::event::{Event, Fact, Payload, Seen};
use super::known::Known;
use super::lone::Lone;
use super::order::Order;
use super::record::Closed;
use super::summary::{Counts, Summary};
use super::unit::Unit;
use super::units::Units;
use crate::gate::Why;
use crate::message::{self, IgnoreRule};
use crate::stage::Path;
use crate::{DialogId, Millis};

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
    /// Answers of other instances may come, of whose POSTs nobody here knows.
    relayed: bool,
    units: Units,
    /// Units by the names that their recipient knows them by.
    by_name: HashMap<u128, u64>,
    /// Open units, in the order in which they close.
    open: VecDeque<(Millis, u64)>,
    /// Units of lower numbers have let go what they can.
    stripped: u64,
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
            relayed: false,
            units: Units::default(),
            by_name: HashMap::default(),
            open: VecDeque::new(),
            stripped: 0,
            closed: VecDeque::new(),
            known: Known::new(limits.memory),
            order: Order::default(),
            summary: Counts::default(),
            bytes: 0,
            payloads: Payloads::default(),
            large: VecDeque::new(),
            sequence: 0,
            forgotten: 0,
            amended: Vec::new(),
        }
    }

    /// Differences that somebody answers for, from now on.
    pub fn set_ignore(&mut self, rules: Vec<IgnoreRule>) {
        self.ignore = rules;
    }

    /// Whether instances hand their answers to each other.
    pub const fn expect_relayed(&mut self, relayed: bool) {
        self.relayed = relayed;
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
    pub fn bytes(&self) -> usize {
        self.bytes + self.payloads.bytes() + self.units.bytes()
    }

    /// Bytes of facts, roughly.
    #[must_use]
    pub fn facts(&self) -> usize {
        self.known.bytes()
    }

    /// Names under which units are found.
    #[must_use]
    pub fn names(&self) -> usize {
        self.by_name.len()
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
            Event::Seen(seen) => self.seen(seen),
            Event::Leak(seen) => self.leak(seen),
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
        while self.large.front().is_some_and(|number| !self.units.has(*number)) {
            self.large.pop_front();
        }
        self.units.shrink();
        let before = Millis(now.0.saturating_sub(LATE + 2 * self.limits.window));
        self.known.expire(now, before);
        self.order.expire(before);
        self.forgotten += self.known.take_let_go() + self.order.take_let_go();
        out
    }

    fn fact(&mut self, at: Millis, fact: Fact) {
        let Some((user, key, why)) = self.known.note(at, fact) else { return };
        let Some(number) = self.find(&key.of_recipient(user.as_str())) else { return };
        self.whole(number);
        if let Some(unit) = self.units.get_mut(number) {
            unit.modifiers.insert(match why {
                Why::Flushed => Modifier::Flushed,
                Why::Rescued => Modifier::Rescued,
            });
        }
    }

    fn seen(&mut self, seen: Box<Seen>) {
        if seen.path == Path::Rabbitmq && seen.key.is_creation() {
            self.known.had_update(seen.at, &seen.key);
        }
        let names = seen.key.of_recipient(seen.user.as_str());
        if let Some(number) = self.find(&names) {
            self.again(number, seen, &names);
        } else {
            self.first(seen, &names);
        }
        self.shed();
    }

    /// A copy of what has no unit.
    fn first(&mut self, seen: Box<Seen>, names: &[u128]) {
        let over = self.known.was_over(names);
        if let Some((legacy, rabbitmq)) = over {
            let again = if seen.path == Path::Legacy { legacy } else { rabbitmq };
            if !again {
                // A twin whose absence was judged already; one more of them is one too many.
                let sides = (legacy || seen.path == Path::Legacy, rabbitmq || seen.path == Path::Rabbitmq);
                return self.known.is_over(seen.at, names, sides);
            }
            if seen.redelivered {
                return;
            }
        }
        if self.bytes() > self.limits.memory {
            // All that could be let go is gone.
            self.summary.shed += 1;
            return self.known.not_opened(seen.at, &seen.user, &seen.key);
        }
        let (late, redelivered) = (over.is_some(), seen.redelivered);
        let number = if !late && self.is_alone(&seen) {
            self.sequence += 1;
            let (at, lone) = (seen.at, Lone::of(*seen, names, self.sequence));
            self.bytes += lone.weight();
            let number = self.units.insert_lone(lone);
            self.opened(at, number, false);
            number
        } else {
            self.open(seen, late, redelivered)
        };
        for name in names {
            self.by_name.insert(*name, number);
        }
    }

    /// Whether nothing can come that it is to be compared with: legacy brings no such update, or its message was posted
    /// elsewhere, because whatever POST makes a message here begins before an update of it can come.
    fn is_alone(&self, seen: &Seen) -> bool {
        let near = Millis(seen.at.0.saturating_sub(self.limits.window));
        seen.path == Path::Rabbitmq
            && seen.message.is_none()
            && self.known.session_began
            && !seen.drill
            && !self.keeps
            && (!seen.key.is_creation()
                || !self.relayed
                    && !self.known.may_be_posted_here(seen)
                    && !self.known.was_not_opened(&seen.user, &seen.key, near))
    }

    /// What was alone is so no more, or is looked at whole.
    fn whole(&mut self, number: u64) {
        if let Some(weight) = self.units.whole(number) {
            let unit = self.units.get(number).map_or(0, Unit::weight);
            self.bytes = (self.bytes + unit).saturating_sub(weight);
        }
    }

    /// Another copy for a unit.
    fn again(&mut self, number: u64, seen: Box<Seen>, names: &[u128]) {
        self.whole(number);
        let Some(unit) = self.units.get_mut(number) else { return };
        self.sequence += 1;
        let (weight, at, redelivered) = (unit.weight(), seen.at, seen.redelivered);
        if redelivered {
            unit.modifiers.insert(Modifier::Redelivered);
        }
        let twin = unit.side(seen.path).is_none();
        unit.duplicate |= !twin && !redelivered;
        if twin {
            self.payloads.hold(&seen.payload);
        }
        unit.add(seen, self.sequence);
        if twin {
            Self::meet(unit, at, &mut self.order, &self.ignore);
            if !self.keeps {
                self.payloads.let_go(unit);
            }
            if memory::is_large(unit) {
                self.large.push_back(number);
            }
        }
        let after = unit.weight();
        self.bytes = self.bytes + after - weight.min(self.bytes + after);
        for name in names {
            self.by_name.insert(*name, number);
        }
        if unit.closed.is_some() {
            self.amend(number, at);
        }
    }

    /// Compares both copies; `at`: when the second came.
    fn meet(unit: &mut Unit, at: Millis, order: &mut Order, ignore: &[IgnoreRule]) {
        let (Some(legacy), Some(rabbitmq)) = (unit.legacy(), unit.rabbitmq()) else { return };
        let (Payload::Legacy(data), Payload::Update(update)) = (&legacy.seen.payload, &rabbitmq.seen.payload)
        else {
            unit.shed = true;
            return;
        };
        let both_by = legacy.seen.at.max(rabbitmq.seen.at);
        let ignore: Vec<&IgnoreRule> = ignore.iter().filter(|rule| both_by <= rule.until).collect();
        let dialog = unit.dialog();
        let found = message::compare_raw(data, dialog.map_or("", DialogId::as_str), update, &ignore);
        let reordered =
            dialog.is_some_and(|dialog| order.pair(at, unit.user(), dialog, legacy.sequence, rabbitmq.sequence));
        unit.compared(found);
        if reordered {
            unit.modifiers.insert(Modifier::Reordered);
        }
    }

    /// A leaked update opens a unit of its own and changes no other.
    fn leak(&mut self, seen: Box<Seen>) {
        let number = self.open(seen, false, false);
        if let Some(unit) = self.units.get_mut(number) {
            unit.leak = true;
        }
    }

    fn find(&self, names: &[u128]) -> Option<u64> {
        names.iter().find_map(|name| self.by_name.get(name).copied())
    }

    /// Opens a unit; its number. `late`: one like it is over.
    fn open(&mut self, seen: Box<Seen>, late: bool, redelivered: bool) -> u64 {
        self.sequence += 1;
        self.payloads.hold(&seen.payload);
        let at = seen.at;
        let near = Millis(at.0.saturating_sub(self.limits.window));
        let shed = seen.key.is_creation() && self.known.was_not_opened(&seen.user, &seen.key, near);
        let mut unit = Unit::open(seen, self.sequence, !self.known.session_began);
        unit.shed = shed;
        unit.duplicate = late;
        let marks = [(late, Modifier::Late), (redelivered, Modifier::Redelivered)];
        unit.modifiers.extend(marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)));
        self.bytes += unit.weight();
        let (drill, large) = (unit.is_drill(), memory::is_large(&unit));
        let number = self.units.insert(unit);
        if large {
            self.large.push_back(number);
        }
        self.opened(at, number, drill);
        number
    }

    fn opened(&mut self, at: Millis, number: u64, drill: bool) {
        if !drill {
            self.summary.opened += 1;
            self.summary.open += 1;
        }
        // Units open in the order of time, but for the few ms that observers differ by.
        let closes = at.plus(self.limits.window);
        let closes = self.open.back().map_or(closes, |(last, _)| closes.max(*last));
        self.open.push_back((closes, number));
    }
}
