//! An update that has no twin, as it seems: posted elsewhere, or nothing that legacy brings. Of most units there is no more
//! to hold than this.

use std::sync::Arc;

use smallvec::SmallVec;

use super::class::{Cause, Class, Modifier};
use super::event::{Payload, Seen};
use super::known::Known;
use super::record::{Closed, ClosedSide};
use super::told::Told;
use super::unit::Unit;
use crate::gate::Sockets;
use crate::key::Key;
use crate::stage::{Path, Stage};
use crate::{DialogId, Millis, UserId};

/// What a record of it says, and its names, by which another copy is found to be one.
#[derive(Clone, Debug)]
pub(super) struct Lone {
    pub(super) user: UserId,
    pub(super) key: Key,
    /// The names that its recipient knows it by.
    pub(super) names: SmallVec<[u128; 2]>,
    tenant: Arc<str>,
    dialog: Option<DialogId>,
    told: Told,
    routing_key: Option<Arc<str>>,
    at: Millis,
    sequence: u64,
    reached: usize,
    stage: Stage,
    redelivered: bool,
}

impl Lone {
    pub(super) fn of(seen: Seen, names: &[u128], sequence: u64) -> Self {
        Self {
            names: names.into(),
            told: seen.told(),
            reached: seen.sockets.len(),
            user: seen.user,
            key: seen.key,
            tenant: seen.tenant,
            dialog: seen.dialog,
            routing_key: seen.routing_key,
            at: seen.at,
            sequence,
            stage: seen.stage,
            redelivered: seen.redelivered,
        }
    }

    /// As a unit like any other: it closes, or was not alone.
    pub(super) fn unit(self) -> Unit {
        let seen = Seen {
            at: self.at,
            path: Path::Rabbitmq,
            user: self.user,
            tenant: self.tenant,
            key: self.key,
            message: None,
            dialog: self.dialog,
            sender: None,
            stage: self.stage,
            sockets: Sockets::new(),
            present: Sockets::new(),
            joined: None,
            rooms: Vec::new(),
            subscribed: Sockets::new(),
            routing_key: self.routing_key,
            redelivered: self.redelivered,
            broker_up: true,
            queue_ready: true,
            member: None,
            drill: false,
            payload: Payload::Gone(self.told),
        };
        Unit::lone(Box::new(seen), self.sequence, self.reached)
    }

    /// Why legacy has no copy of it, where nothing that is known speaks against that: a decision about it as a unit would
    /// say the same. Else `None`: it has to be looked at as one.
    pub(super) fn cause(&self, known: &Known, window: u64) -> Option<Cause> {
        let near = Millis(self.at.0.saturating_sub(window));
        let disturbed = known.shed_at.is_some_and(|at| at >= near)
            || known.session_again.is_some_and(|at| at >= self.at)
            || known.renewed(&self.user, self.at)
            || known.path_changed(&self.user, self.at);
        if disturbed {
            return None;
        }
        if !self.key.is_creation() {
            return Some(Cause::EventNotInLegacy);
        }
        let dialog = self.dialog.as_ref().or_else(|| known.dialog(self.told.dialog_mongo()));
        let posted = known.was_posted(&self.key)
            || known.posts.earliest(self.told.sender(), dialog).is_some()
            || known.may_have_been_posted(self.at);
        (!posted).then_some(Cause::PostedElsewhere)
    }

    /// What is said of it when it closes at `now`, as the unit of that id.
    pub(super) fn closed(self, id: u128, cause: Cause, known: &Known, window: u64, now: Millis) -> Closed {
        let near = Millis(self.at.0.saturating_sub(window));
        let mut modifiers = Vec::new();
        let marks = [
            (known.stage_changed(&self.user, self.at), Modifier::InFlip),
            (known.churned(&self.user, near), Modifier::InChurn),
            (self.redelivered, Modifier::Redelivered),
        ];
        modifiers.extend(marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)));
        modifiers.sort_unstable();
        let mapped = || known.dialog(self.told.dialog_mongo()).map(DialogId::shared);
        Closed {
            id,
            at: now,
            stage: self.stage,
            class: Class::MissingInLegacyExpected,
            cause: Some(cause),
            amends: None,
            modifiers,
            dialog: self.dialog.as_ref().map(DialogId::shared).or_else(mapped),
            tenant: self.tenant,
            user: self.user.shared(),
            told: self.told,
            legacy: None,
            rabbitmq: Some(ClosedSide { at: self.at, sockets: self.reached, redelivered: self.redelivered }),
            rules: Vec::new(),
            diff: Vec::new(),
            redacted: false,
            payloads: Vec::new(),
            routing_key: self.routing_key,
            key: self.key.first(),
            creation: self.key.is_creation(),
        }
    }

    /// When it came.
    pub(super) const fn opened(&self) -> Millis {
        self.at
    }

    /// Bytes it keeps alive, roughly, with the places where it is found.
    pub(super) fn weight(&self) -> usize {
        432 + self.told.bytes()
    }
}
