//! What is let go: units that are over, and the largest and oldest when there is too much.

use foldhash::HashMap;

use super::Comparator;
use crate::compare::event::Payload;
use crate::compare::unit::Unit;

/// Lists of sockets and rooms with more bytes go too when memory is short, and with them the comparison.
const HEAVY: usize = 1_024;
/// A payload, or a difference, with more bytes goes before those of others.
const LARGE: usize = 16 * 1_024;

/// Payloads that units wait with: what many recipients share is counted once.
#[derive(Clone, Debug, Default)]
pub(super) struct Payloads {
    /// How many hold the payload at a place; while one does, nothing else is there.
    holders: HashMap<usize, usize>,
    bytes: usize,
}

impl Payloads {
    pub(super) fn hold(&mut self, payload: &Payload) {
        // An update is one recipient's; an answer is of all who are in the room.
        if let Payload::Legacy(_) = payload {
            let holders = self.holders.entry(payload.place()).or_default();
            *holders += 1;
            if *holders > 1 {
                return;
            }
        }
        self.bytes += payload.bytes();
    }

    fn release(&mut self, payload: &Payload) {
        if let Payload::Legacy(_) = payload {
            let place = payload.place();
            let Some(holders) = self.holders.get_mut(&place) else { return };
            *holders -= 1;
            if *holders > 0 {
                return;
            }
            self.holders.remove(&place);
        }
        self.bytes -= payload.bytes();
    }

    /// Lets go what a unit holds.
    pub(super) fn let_go(&mut self, unit: &mut Unit) {
        for side in unit.sides_mut() {
            self.release(&side.seen.payload);
            side.seen.let_go();
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether its payload, or what it differs in, goes first when memory is short.
pub(super) fn is_large(unit: &Unit) -> bool {
    unit.payloads().any(|payload| payload.bytes() > LARGE) || (unit.shows() && unit.weight() > LARGE)
}

impl Comparator {
    /// Over its memory: what is large goes first, then the oldest units, those that are open with all they hold, and are
    /// not judged.
    pub(super) fn shed(&mut self) {
        if self.bytes() <= self.limits.memory {
            return;
        }
        let enough = self.limits.memory / 4 * 3;
        while self.bytes() > enough
            && let Some(number) = self.large.pop_front()
        {
            self.let_go(number);
        }
        while self.bytes() > enough {
            let Some(number) = self.units.oldest(self.stripped) else { return };
            self.stripped = number + 1;
            self.let_go(number);
        }
    }

    /// Forgets a closed unit. From an open one it takes what only a decision or a record needs; with a payload, or lists
    /// that are long, the decision goes too.
    fn let_go(&mut self, number: u64) {
        let Some(unit) = self.units.get_mut(number) else { return };
        if unit.closed.is_some() {
            let opened = unit.opened();
            return self.bury(number, opened);
        }
        let before = unit.weight();
        if unit.shows() {
            unit.redact();
        }
        let waits = unit.waits();
        self.payloads.let_go(unit);
        if waits || unit.lists() > HEAVY {
            unit.strip();
            self.summary.shed += u64::from(!unit.shed);
            unit.shed = true;
        }
        self.bytes = (self.bytes + unit.weight()).saturating_sub(before);
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.whole(number);
        let Some(unit) = self.units.remove(number) else { return };
        self.bytes = self.bytes.saturating_sub(unit.weight());
        unit.payloads().for_each(|payload| self.payloads.release(payload));
        if !unit.leak {
            for name in unit.key.of_recipient(unit.user().as_str()) {
                if self.by_name.get(&name) == Some(&number) {
                    self.by_name.remove(&name);
                }
            }
        }
    }
}
