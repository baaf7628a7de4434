//! From what is known of a unit to its class and cause. The order of the questions is the contract's.

use super::audience::{self, Audience};
use super::class::{Cause, Class};
use super::known::{Known, Post, PostState};
use super::unit::{Side, Unit};
use crate::Millis;
use crate::message::Rule;

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
    match (&unit.legacy, &unit.rabbitmq) {
        (Some(legacy), Some(rabbitmq)) => both(unit, legacy, rabbitmq),
        (Some(legacy), None) => only_legacy(unit, legacy, known),
        (None, Some(rabbitmq)) => only_rabbitmq(unit, rabbitmq, known),
        (None, None) => because(Class::Indeterminate, Cause::Shed),
    }
}

fn indeterminate(unit: &Unit, known: &Known, window: u64) -> Option<Cause> {
    if unit.early {
        return Some(Cause::Startup);
    }
    // What was shed may have been the twin, a moment before the unit was opened.
    let near = Millis(unit.opened.0.saturating_sub(window));
    if unit.shed || known.shed_at.is_some_and(|at| at >= near) {
        return Some(Cause::Shed);
    }
    let began = began(unit, known, near);
    // A new session or queue loses updates. Legacy's copy does not come that way.
    let lost = if unit.rabbitmq.is_none() { began } else { unit.opened };
    if known.session_again.is_some_and(|at| at >= lost) || Known::since(&known.renewed, &unit.user, lost) {
        return Some(Cause::Reconnected);
    }
    if Known::since(&known.paths, &unit.user, began) {
        return Some(Cause::StageChanged);
    }
    let unknown = |post: &Post| post.state == PostState::Unknown && post.at >= near;
    let lacks_legacy = unit.legacy.is_none() && unit.key.is_creation() && !is_accepted(unit, known);
    (lacks_legacy && suspects(unit, known).any(unknown)).then_some(Cause::PostUnknown)
}

/// Since when a copy of it may have been on its way. The one copy of a one-sided unit may have opened it after the other
/// had passed unseen: then the message is as old as its POST, or, where nobody knows that, as `near`. With both copies
/// there, or with no twin due, it is as old as the unit.
fn began(unit: &Unit, known: &Known, near: Millis) -> Millis {
    let one_sided = unit.legacy.is_some() != unit.rabbitmq.is_some();
    if !one_sided || !unit.key.is_creation() {
        return unit.opened;
    }
    let accepted = unit.key.ids().iter().find_map(|id| known.accepted.get(id).copied());
    let began = match (accepted, &unit.legacy) {
        (Some(began), _) => began.unwrap_or(near),
        (None, Some(_)) => near,
        // One in flight may be its POST. Without any it was posted elsewhere, and has no twin.
        (None, None) => {
            let posts = suspects(unit, known).map(|post| post.began).chain(unit.posting);
            posts.min().unwrap_or(unit.opened)
        }
    };
    began.min(unit.opened)
}

fn both(unit: &Unit, legacy: &Side, rabbitmq: &Side) -> Decision {
    if unit.compared.as_ref().is_some_and(|compared| !compared.diff.is_empty()) {
        return plain(Class::PayloadMismatch);
    }
    match audience::compare(legacy, rabbitmq) {
        Audience::Differs => plain(Class::AudienceMismatch),
        Audience::TabNotJoined => Decision { rule: Some(Rule::TabNotJoined), ..plain(Class::Match) },
        Audience::Same | Audience::Explained => plain(Class::Match),
    }
}

fn only_legacy(unit: &Unit, legacy: &Side, known: &Known) -> Decision {
    if legacy.member == Some(false) {
        return because(Class::MissingInRabbitmqExpected, Cause::NotMember);
    }
    let unwanted = |id: &u128| known.unwanted.get(&(unit.user.clone(), *id)).is_some();
    let deaf = !legacy.sockets.iter().any(|socket| legacy.subscribed.contains(socket));
    if deaf || unit.key.ids().iter().any(unwanted) {
        return because(Class::MissingInRabbitmqExpected, Cause::NotSubscribed);
    }
    let named = unit.message.iter().flat_map(|id| id.message.iter().chain(&id.mongo));
    let dropped = named.into_iter().any(|id| known.rejected.get(id.as_ref()).is_some());
    // This user had none: it was another.
    let fanout = |id: &u128| known.fanout.get(id).is_some();
    let cause = if !legacy.broker_up {
        Cause::BrokerDown
    } else if !legacy.queue_ready {
        Cause::QueueNotReady
    } else if dropped {
        Cause::Dropped
    } else if unit.key.ids().iter().any(fanout) {
        Cause::PartialFanout
    } else {
        Cause::NoUpdate
    };
    because(Class::MissingInRabbitmq, cause)
}

fn only_rabbitmq(unit: &Unit, rabbitmq: &Side, known: &Known) -> Decision {
    let expected = |cause| because(Class::MissingInLegacyExpected, cause);
    if !unit.key.is_creation() {
        return expected(Cause::EventNotInLegacy);
    }
    // Of one that ended unknown the question was asked before.
    let open = unit.posting.or_else(|| posting(unit, known));
    if !is_accepted(unit, known) && open.is_none() {
        return expected(Cause::PostedElsewhere);
    }
    let outside = match &rabbitmq.joined {
        Some(joined) => joined.is_empty(),
        // The dialog's Mongo id was mapped after the update came: what was recorded tells whether it was in the room.
        None => {
            let dialog = unit.dialog_mongo.as_ref().and_then(|mongo| known.dialogs.get(mongo.as_ref()));
            dialog.is_some_and(|dialog| !rabbitmq.rooms.contains(dialog))
        }
    };
    if outside { expected(Cause::NotJoined) } else { plain(Class::MissingInLegacyUnexpected) }
}

/// When the earliest POST began that is in flight and may be making this message.
pub(super) fn posting(unit: &Unit, known: &Known) -> Option<Millis> {
    // One that was answered already needs no search.
    if is_accepted(unit, known) {
        return None;
    }
    let open = |post: &&Post| post.state == PostState::InFlight;
    suspects(unit, known).filter(open).map(|post| post.began).min()
}

fn is_accepted(unit: &Unit, known: &Known) -> bool {
    unit.key.ids().iter().any(|id| known.accepted.get(id).is_some())
}

/// POSTs that may have made this message: of its dialog and sender, as far as these are known.
fn suspects<'k>(unit: &'k Unit, known: &'k Known) -> impl Iterator<Item = &'k Post> {
    let mapped = unit.dialog_mongo.as_ref().and_then(|mongo| known.dialogs.get(mongo.as_ref()));
    let dialog = unit.dialog.as_ref().or(mapped);
    known.posts.values().filter(move |post| {
        dialog.is_none_or(|dialog| *dialog == post.dialog)
            && unit.sender.as_deref().is_none_or(|sender| *sender == *post.sender.as_str())
    })
}
