//! For some time, what people wrote is shown, with both copies of bad units.

use std::time::Duration;

use bridge_core::Millis;
use serde::Serialize;

use crate::clock::iso;

/// Who asked for it, and until when it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Millis,
    /// Until when.
    pub until: Millis,
}

/// What is to be audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it was.
    pub action: &'static str,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// The same, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct RevealView {
    actor: String,
    reason: String,
    since: String,
    until: String,
}

impl Reveal {
    /// From `now`, for `time`.
    #[must_use]
    pub fn new(actor: &str, reason: &str, now: Millis, time: Duration) -> Self {
        let until = now.plus(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { actor: actor.into(), reason: reason.into(), since: now, until }
    }

    /// That it began.
    pub(super) fn note(&self) -> Note {
        let for_ms = self.until.since(self.since);
        let time = humantime::format_duration(Duration::from_millis(for_ms));
        Note {
            action: "shadow_reveal",
            actor: self.actor.clone(),
            reason: format!("{} (for {time})", self.reason),
        }
    }

    /// That its time is over.
    pub(super) fn over(&self) -> Note {
        let reason = format!("the time is over for which {} asked: {}", self.actor, self.reason);
        Note { action: "shadow_reveal_ended", actor: "bridge".into(), reason }
    }

    /// As it is shown.
    #[must_use]
    pub fn view(&self) -> RevealView {
        let Self { actor, reason, since, until } = self;
        RevealView { actor: actor.clone(), reason: reason.clone(), since: iso(*since), until: iso(*until) }
    }
}
