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
        let holders = self.holders.entry(payload.place()).or_default();
        if *holders == 0 {
            self.bytes += payload.bytes();
        }
        *holders += 1;
    }

    pub(super) fn release(&mut self, payload: &Payload) {
        let place = payload.place();
        if let Some(holders) = self.holders.get_mut(&place) {
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&place);
                self.bytes -= payload.bytes();
            }
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether its payload, or what it differs in, goes first when memory is short.
pub(super) fn is_large(unit: &Unit) -> bool {
    unit.payload.iter().chain(&unit.kept).any(|payload| payload.bytes() > LARGE)
        || (unit.shows() && unit.weight() > LARGE)
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
            let Some((_, number)) = self.oldest.pop_front() else { return };
            self.let_go(number);
        }
    }

    /// Forgets a closed unit. From an open one it takes what only a decision or a record needs; with a payload, or lists
    /// that are long, the decision goes too.
    fn let_go(&mut self, number: u64) {
        let Some(unit) = self.units.get_mut(&number) else { return };
        if unit.closed.is_some() {
            let opened = unit.opened;
            return self.bury(number, opened);
        }
        let before = unit.weight();
        if unit.shows() {
            unit.redact();
        }
        std::mem::take(&mut unit.kept).iter().for_each(|payload| self.payloads.release(payload));
        let payload = unit.payload.take();
        if payload.is_some() || unit.lists() > HEAVY {
            unit.strip();
            self.summary.shed += u64::from(!unit.shed);
            unit.shed = true;
        }
        self.bytes = (self.bytes + unit.weight()).saturating_sub(before);
        payload.iter().for_each(|payload| self.payloads.release(payload));
    }

    pub(super) fn forget(&mut self, number: u64) {
        if let Some(unit) = self.units.remove(&number) {
            self.bytes = self.bytes.saturating_sub(unit.weight());
            unit.payload.iter().chain(&unit.kept).for_each(|payload| self.payloads.release(payload));
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
