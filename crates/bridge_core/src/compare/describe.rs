//! What is said of a unit when it closes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::decide::decide;
use super::known::Known;
use super::record::{Closed, ClosedSide};
use super::unit::{Side, Unit};
use crate::{DialogId, Millis};

/// Decides about a unit whose window (of `window` ms) has closed, and says everything about it.
pub(super) fn describe(number: u64, unit: &Unit, known: &Known, window: u64, now: Millis) -> Closed {
    let decision = decide(unit, known, window);
    let compared = unit.compared.as_ref();
    let rules = compared.map_or(&[][..], |compared| &compared.rules);
    let ignored = compared.map_or(&[][..], |compared| &compared.ignored);
    let rules =
        rules.iter().chain(&decision.rule).map(|rule| rule.name().to_owned()).chain(ignored.iter().cloned());
    let side = |side: &Side| ClosedSide { at: side.at, sockets: side.reached, redelivered: side.redelivered };
    let accepted = known.accepted(&unit.key);
    let mapped = || {
        let posted = accepted.and_then(|accepted| accepted.dialog.as_ref());
        posted.or_else(|| known.dialog(unit.dialog_mongo.as_ref()))
    };
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
        dialog: unit.dialog.as_ref().or_else(mapped).map(DialogId::shared),
        event: unit.event.clone(),
        message: unit.message.as_ref().and_then(|id| id.shown().cloned()),
        event_id: unit.event_id.clone(),
        legacy: unit.legacy.as_ref().map(side),
        rabbitmq: unit.rabbitmq.as_ref().map(side),
        rules: rules.collect(),
        diff: compared.map(|compared| compared.diff.clone()).unwrap_or_default(),
        redacted: unit.redacted,
        payloads: Vec::new(),
        routing_key: unit.routing_key.clone(),
        // Whatever its recipients know of its names, they are one message.
        key: accepted.map_or_else(|| unit.key.first(), |accepted| accepted.first),
        creation: unit.key.is_creation(),
    }
}

/// A unit's name: its key, recipient, and its number, because the same key may come back later.
fn name(number: u64, unit: &Unit) -> u128 {
    let mut hasher = DefaultHasher::new();
    (unit.key.first(), unit.user.as_str(), unit.opened.0).hash(&mut hasher);
    (u128::from(hasher.finish()) << 64) | u128::from(number)
}
