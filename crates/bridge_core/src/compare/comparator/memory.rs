//! What is let go: units that are over, and the oldest when there are too many.

use super::Comparator;

/// Lists of sockets and rooms with more bytes go too when memory is short, and with them the comparison.
const HEAVY: usize = 1_024;

impl Comparator {
    /// Over its memory: the oldest units go first, those that are open with all they hold, and are not judged.
    pub(super) fn shed(&mut self) {
        if self.bytes <= self.limits.memory {
            return;
        }
        while self.bytes > self.limits.memory / 4 * 3 {
            let Some((at, number)) = self.oldest.pop_front() else { return };
            let Some(unit) = self.units.get_mut(&number) else { continue };
            if unit.closed.is_some() {
                self.bury(number, at);
                continue;
            }
            let before = unit.weight();
            if unit.payload.is_some() || unit.lists() > HEAVY {
                unit.strip();
                self.summary.shed += u64::from(!unit.shed);
                unit.shed = true;
                self.bytes = (self.bytes + unit.weight()).saturating_sub(before);
            }
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
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
