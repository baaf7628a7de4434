//! Units close, and are amended by what comes late.

use super::{Comparator, LATE};
use crate::Millis;
use crate::compare::class::{Cause, Class, Modifier};
use crate::compare::describe::{describe, name_of};
use crate::compare::record::Closed;
use crate::compare::unit::Counted;

impl Comparator {
    pub(super) fn close(&mut self, number: u64, now: Millis) -> Option<Closed> {
        if let Some(cause) = self.units.lone(number).and_then(|lone| lone.cause(&self.known, self.limits.window)) {
            return self.close_alone(number, cause, now);
        }
        let window = self.limits.window;
        self.whole(number);
        let unit = self.units.get_mut(number)?;
        let near = Millis(unit.opened().0.saturating_sub(window));
        if self.known.stage_changed(unit.user(), unit.opened()) {
            unit.modifiers.insert(Modifier::InFlip);
        }
        if self.known.churned(unit.user(), near) {
            unit.modifiers.insert(Modifier::InChurn);
        }
        let mut closed = describe(number, unit, &self.known, window, now);
        if self.keeps && closed.class.is_bad() {
            closed.payloads = unit.payloads().cloned().collect();
        }
        let awaits = unit.awaits(closed.class);
        if awaits {
            unit.closed = Some(Box::new(counted(&closed)));
        }
        if unit.is_drill() {
            self.summary.close_drill(&closed);
        } else {
            self.summary.open -= 1;
            self.summary.close(&closed);
        }
        if awaits {
            self.closed.push_back((now.plus(LATE), number));
        } else {
            self.bury(number, now);
        }
        Some(closed)
    }

    /// The same for what was alone to the end, as most is in `live`: no unit is made of it first.
    fn close_alone(&mut self, number: u64, cause: Cause, now: Millis) -> Option<Closed> {
        let lone = self.units.remove_lone(number)?;
        self.bytes = self.bytes.saturating_sub(lone.weight());
        self.known.is_over(now, &lone.names, (false, true));
        for name in &lone.names {
            if self.by_name.get(name) == Some(&number) {
                self.by_name.remove(name);
            }
        }
        let id = name_of(number, lone.key.first(), &lone.user, lone.opened());
        let closed = lone.closed(id, cause, &self.known, self.limits.window, now);
        self.summary.open -= 1;
        self.summary.close(&closed);
        Some(closed)
    }

    /// No twin can come any more: what is left is that it was.
    pub(super) fn bury(&mut self, number: u64, now: Millis) {
        if let Some(unit) = self.units.get(number).filter(|unit| !unit.leak) {
            let sides = (unit.legacy().is_some(), unit.rabbitmq().is_some());
            // A copy too many has a unit of its own, and takes nothing back of what was known before.
            self.known.is_over(now, &unit.key.of_recipient(unit.user().as_str()), sides);
        }
        self.forget(number);
    }

    /// A copy came for a unit that has closed: its record is amended when that changes the class.
    pub(super) fn amend(&mut self, number: u64, at: Millis) {
        let window = self.limits.window;
        let Some(unit) = self.units.get_mut(number) else { return };
        let Some(Counted { id, class, cause, modifiers }) = unit.closed.as_deref().cloned() else { return };
        let before = Closed { class, cause, modifiers, ..describe(number, unit, &self.known, window, at) };
        unit.modifiers.insert(Modifier::Late);
        let mut after = describe(number, unit, &self.known, window, at);
        if after.class == Class::Indeterminate && class != Class::Indeterminate {
            return;
        }
        if after.class == class && after.cause == cause {
            return;
        }
        (after.id, after.amends) = (id, Some(class));
        if self.keeps && after.class.is_bad() {
            after.payloads = unit.payloads().cloned().collect();
        }
        unit.closed = Some(Box::new(counted(&after)));
        if !unit.is_drill() {
            // One side alone needs no rules, and counted none.
            let was_both = !matches!(class, Class::MissingInRabbitmq | Class::MissingInRabbitmqExpected)
                && !matches!(class, Class::MissingInLegacyExpected | Class::MissingInLegacyUnexpected);
            let rules = if was_both { before.rules.clone() } else { Vec::new() };
            self.summary.amend(&Closed { rules, ..before }, &after);
        }
        self.amended.push(after);
    }
}

fn counted(closed: &Closed) -> Counted {
    Counted { id: closed.id, class: closed.class, cause: closed.cause, modifiers: closed.modifiers.clone() }
}
