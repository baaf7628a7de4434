//! From what is known of a unit to its class and cause. The order of the questions is the contract's.

use super::audience::{self, Audience};
use super::class::{Cause, Class};
use super::event::Seen;
use super::known::Known;
use super::unit::Unit;
use crate::Millis;
use crate::message::Rule;

/// A broadcast has reached everybody in the room after so many ms.
const BROADCAST: u64 = 100;

/// Class, cause, and the rules that were needed beside those of the payload.
pub(super) struct Decision {
    pub(super) class: Class,
    pub(super) cause: Option<Cause>,
    pub(super) rule: Option<Rule>,
}

fn plain(class: Class) -> Decision {
    Decision { class, cause: None, rule: None }
}

fn because(class: Class, cause: Cause) -> Decision {
    Decision { class, cause: Some(cause), rule: None }
}

/// Decides about a unit whose window (of `window` ms) has closed.
pub(super) fn decide(unit: &Unit, known: &Known, window: u64) -> Decision {
    if unit.leak {
        return plain(Class::Leak);
    }
    if unit.duplicate {
        return plain(Class::Duplicate);
    }
    if let Some(cause) = indeterminate(unit, known, window) {
        return because(Class::Indeterminate, cause);
    }
    match (unit.legacy(), unit.rabbitmq()) {
        (Some(legacy), Some(rabbitmq)) => both(unit, &legacy.seen, &rabbitmq.seen),
        (Some(legacy), None) => only_legacy(unit, &legacy.seen, known, window),
        (None, Some(rabbitmq)) => only_rabbitmq(unit, &rabbitmq.seen, known),
        (None, None) => because(Class::Indeterminate, Cause::Shed),
    }
}

fn indeterminate(unit: &Unit, known: &Known, window: u64) -> Option<Cause> {
    if unit.early {
        return Some(Cause::Startup);
    }
    // What was shed may have been the twin, a moment before the unit was opened.
    let near = Millis(unit.opened().0.saturating_sub(window));
    if unit.shed || known.shed_at.is_some_and(|at| at >= near) {
        return Some(Cause::Shed);
    }
    let began = began(unit, known, near);
    // A new session or queue loses updates. Legacy's copy does not come that way.
    let lost = if unit.rabbitmq().is_none() { began } else { unit.opened() };
    if known.session_again.is_some_and(|at| at >= lost) || known.renewed(unit.user(), lost) {
        return Some(Cause::Reconnected);
    }
    // Both copies there are compared, whatever changed meanwhile.
    let whole = unit.legacy().is_some() && unit.rabbitmq().is_some();
    if !whole && known.path_changed(unit.user(), began) {
        return Some(Cause::StageChanged);
    }
    if !unit.key.is_creation() {
        return None;
    }
    match (unit.legacy(), unit.rabbitmq()) {
        (None, Some(rabbitmq)) => without_legacy(unit, &rabbitmq.seen, known, (window, near)),
        (Some(_), None) => known.may_have_been_unwanted(near).then_some(Cause::Shed),
        _ => None,
    }
}

/// Why nothing can be said of an update without a legacy copy.
fn without_legacy(unit: &Unit, rabbitmq: &Seen, known: &Known, (window, near): (u64, Millis)) -> Option<Cause> {
    if known.was_posted(&unit.key) {
        // Its unit may have been judged long ago, when the update did not come, and be forgotten.
        let closed = known.accepted(&unit.key).and_then(|accepted| accepted.began).map(|began| began.plus(window));
        let unsure = known.may_be_over(closed, unit.opened()) || known.may_have_moved(began(unit, known, near));
        return unsure.then_some(Cause::Shed);
    }
    // A POST that began later made another message.
    if suspect(unit, known).is_some_and(|began| began <= rabbitmq.at) {
        return Some(Cause::PostUnknown);
    }
    known.may_have_been_posted(unit.opened()).then_some(Cause::Shed)
}

/// Since when a copy of it may have been on its way. The one copy of a one-sided unit may have opened it after the other
/// had passed unseen: then the message is as old as its POST, or, where nobody knows that, as `near`. With both copies
/// there, or with no twin due, it is as old as the unit.
fn began(unit: &Unit, known: &Known, near: Millis) -> Millis {
    let one_sided = unit.legacy().is_some() != unit.rabbitmq().is_some();
    if !one_sided || !unit.key.is_creation() {
        return unit.opened();
    }
    let began = if unit.legacy().is_some() || known.was_posted(&unit.key) {
        known.accepted(&unit.key).and_then(|accepted| accepted.began).unwrap_or(near)
    } else {
        // One without an answer may be its POST. Without any it was posted elsewhere, and has no twin.
        suspect(unit, known).unwrap_or(unit.opened())
    };
    began.min(unit.opened())
}

fn both(unit: &Unit, legacy: &Seen, rabbitmq: &Seen) -> Decision {
    if unit.compared.as_ref().is_some_and(|compared| !compared.diff.is_empty()) {
        return plain(Class::PayloadMismatch);
    }
    match audience::compare(legacy, rabbitmq) {
        Audience::Differs => plain(Class::AudienceMismatch),
        Audience::TabNotJoined => Decision { rule: Some(Rule::TabNotJoined), ..plain(Class::Match) },
        Audience::Same | Audience::Explained => plain(Class::Match),
    }
}

fn only_legacy(unit: &Unit, legacy: &Seen, known: &Known, window: u64) -> Decision {
    if legacy.member == Some(false) {
        return because(Class::MissingInRabbitmqExpected, Cause::NotMember);
    }
    let deaf = !legacy.sockets.iter().any(|socket| legacy.subscribed.contains(socket));
    if deaf || known.was_unwanted(unit.user(), &unit.key) {
        return because(Class::MissingInRabbitmqExpected, Cause::NotSubscribed);
    }
    let until = unit.opened().plus(window);
    let cause = if !legacy.broker_up || known.session_was_lost(legacy.at, until) {
        Cause::BrokerDown
    } else if !legacy.queue_ready || known.queue_was_lost(unit.user(), legacy.at, until) {
        Cause::QueueNotReady
    } else if unit.sides().any(|side| side.seen.is_named(|id| known.was_rejected(id))) {
        Cause::Dropped
    } else if known.had_fanout(&unit.key) {
        // This user had none: it was another.
        Cause::PartialFanout
    } else {
        Cause::NoUpdate
    };
    because(Class::MissingInRabbitmq, cause)
}

fn only_rabbitmq(unit: &Unit, rabbitmq: &Seen, known: &Known) -> Decision {
    let expected = |cause| because(Class::MissingInLegacyExpected, cause);
    if !unit.key.is_creation() {
        return expected(Cause::EventNotInLegacy);
    }
    if !known.was_posted(&unit.key) {
        return expected(Cause::PostedElsewhere);
    }
    if outside(unit, rabbitmq, known) {
        expected(Cause::NotJoined)
    } else {
        plain(Class::MissingInLegacyUnexpected)
    }
}

/// Whether it is recorded that no socket of the user was in the room when the broadcast left.
fn outside(unit: &Unit, rabbitmq: &Seen, known: &Known) -> bool {
    let accepted = known.accepted(&unit.key);
    let posted = accepted.and_then(|accepted| accepted.dialog.as_ref());
    let mapped = || known.dialog(unit.dialog_mongo());
    let dialog = posted.or(unit.dialog()).or_else(mapped);
    let was_outside = match (&rabbitmq.joined, dialog) {
        (Some(joined), _) => joined.is_empty(),
        // The dialog became known after the update came: what was recorded tells whether it was in the room.
        (None, Some(dialog)) => !rabbitmq.rooms.contains(dialog),
        (None, None) => false,
    };
    // It was there when the update came. The answer came at another moment.
    let (Some(accepted), Some(dialog)) = (accepted, dialog) else { return was_outside };
    let stay = known.stay(unit.user(), dialog);
    let came_later = stay.joined.is_some_and(|at| at >= accepted.at);
    let went = |at: Millis| at >= rabbitmq.at && at <= accepted.at.plus(BROADCAST);
    was_outside || came_later || stay.left.is_some_and(went)
}

/// When the first POST began that may have made this message and was not answered: of its dialog and sender, as far as
/// these are known.
fn suspect(unit: &Unit, known: &Known) -> Option<Millis> {
    let dialog = unit.dialog().or_else(|| known.dialog(unit.dialog_mongo()));
    known.posts.earliest(unit.sender(), dialog)
}
