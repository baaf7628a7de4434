//! Who is no member: counted for each act, and where nothing is enforced the first few a minute logged.

use bridge_core::{DialogId, UserId};
use metrics::{Counter, counter};

use crate::clock::Clock;
use crate::ration::Ration;

/// Lines a minute for each act.
const A_MINUTE: u64 = 10;

/// What somebody who is no member was refused, or would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Joining the dialog's room.
    Join,
    /// Posting to the dialog.
    Post,
    /// Staying in its room.
    Removal,
}

impl Act {
    const ALL: [Self; 3] = [Self::Join, Self::Post, Self::Removal];

    const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Post => "post",
            Self::Removal => "removal",
        }
    }
}

pub(super) struct Refusals {
    clock: Clock,
    ration: Ration,
    /// For each act: enforced, and only reported.
    counted: [[Counter; 2]; 3],
}

impl Default for Refusals {
    fn default() -> Self {
        let of = |act: Act, mode: &'static str| counter!("bridge_membership_refusals_total", "act" => act.name(), "mode" => mode);
        let counted = Act::ALL.map(|act| [of(act, "enforce"), of(act, "report")]);
        counted.iter().flatten().for_each(|counter| counter.increment(0));
        Self { clock: Clock::default(), ration: Ration::new(A_MINUTE), counted }
    }
}

impl Refusals {
    pub(super) fn note(&self, act: Act, enforced: bool, dialog: &DialogId, user: &UserId, why: &str) {
        let [in_force, reported] = &self.counted[act as usize];
        if enforced {
            in_force.increment(1);
            tracing::debug!(act = act.name(), %user, %dialog, why, "refused");
            return;
        }
        reported.increment(1);
        if let Some(left_out) = self.ration.take(act.name(), self.clock.now()) {
            tracing::warn!(act = act.name(), %user, %dialog, why, left_out, "would be refused");
        }
    }
}
