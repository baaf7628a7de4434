//! What is said of a unit when it closes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::decide::decide;
use super::known::Known;
use super::record::{Closed, ClosedSide};
use super::told::Told;
use super::unit::{Side, Unit};
use crate::key::MessageId;
use crate::{DialogId, Millis, UserId};

/// The event of whatever legacy brings.
const CREATION: &str = "message.create";

/// Decides about a unit whose window (of `window` ms) has closed, and says everything about it.
pub(super) fn describe(number: u64, unit: &Unit, known: &Known, window: u64, now: Millis) -> Closed {
    let decision = decide(unit, known, window);
    let compared = unit.compared.as_ref();
    let rules = compared.map_or(&[][..], |compared| &compared.rules);
    let ignored = compared.map_or(&[][..], |compared| &compared.ignored);
    let rules =
        rules.iter().chain(&decision.rule).map(|rule| rule.name().to_owned()).chain(ignored.iter().cloned());
    let side =
        |side: &Side| ClosedSide { at: side.seen.at, sockets: side.reached, redelivered: side.seen.redelivered };
    let accepted = known.accepted(&unit.key);
    let mapped = || {
        let posted = accepted.and_then(|accepted| accepted.dialog.as_ref());
        posted.or_else(|| known.dialog(unit.dialog_mongo()))
    };
    Closed {
        id: name_of(number, unit.key.first(), unit.user(), unit.opened()),
        at: now,
        stage: unit.stage(),
        class: decision.class,
        cause: decision.cause,
        amends: None,
        modifiers: unit.modifiers.iter().copied().collect(),
        tenant: Arc::clone(unit.tenant()),
        user: unit.user().shared(),
        dialog: unit.dialog().or_else(mapped).map(DialogId::shared),
        told: told(unit),
        legacy: unit.legacy().map(side),
        rabbitmq: unit.rabbitmq().map(side),
        rules: rules.collect(),
        diff: compared.map(|compared| compared.diff.clone()).unwrap_or_default(),
        redacted: unit.redacted,
        payloads: Vec::new(),
        routing_key: unit.routing_key().cloned(),
        // Whatever its recipients know of its names, they are one message.
        key: accepted.map_or_else(|| unit.key.first(), |accepted| accepted.first),
        creation: unit.key.is_creation(),
    }
}

/// The update's event, or that of whatever legacy brings.
fn told(unit: &Unit) -> Told {
    let rabbitmq = unit.rabbitmq().map(|side| side.seen.told());
    // What a copy has beside its payload is not in what the payload tells.
    let rabbitmq = match rabbitmq {
        Some(told) if unit.sides().all(|side| side.seen.message.is_none()) => return told,
        other => other,
    };
    let (event, event_id) = rabbitmq.as_ref().map_or((CREATION, None), |told| (told.event(), told.event_id()));
    let message = unit.message();
    Told::new(event, message.as_ref().and_then(MessageId::shown).map(AsRef::as_ref), event_id)
}

/// A unit's name: its key, recipient, and its number, because the same key may come back later.
pub(super) fn name_of(number: u64, key: u128, user: &UserId, opened: Millis) -> u128 {
    let mut hasher = DefaultHasher::new();
    (key, user.as_str(), opened.0).hash(&mut hasher);
    (u128::from(hasher.finish()) << 64) | u128::from(number)
}
