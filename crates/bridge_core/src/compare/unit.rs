//! One unit: a message, or another update, for one user.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::class::{Cause, Class, Modifier};
use super::event::{Payload, Seen, list_bytes};
use crate::gate::Sockets;
use crate::key::{Key, MessageId};
use crate::message::{self, Comparison};
use crate::stage::{Path, Stage};
use crate::{DialogId, Millis, UserId};

/// What one path showed.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) at: Millis,
    pub(super) sequence: u64,
    /// How many sockets it reaches.
    pub(super) reached: usize,
    pub(super) sockets: Sockets,
    pub(super) present: Sockets,
    pub(super) subscribed: Sockets,
    pub(super) joined: Option<Sockets>,
    /// Rooms of the user's sockets, where the dialog was not known.
    pub(super) rooms: Vec<DialogId>,
    pub(super) redelivered: bool,
    pub(super) broker_up: bool,
    pub(super) queue_ready: bool,
    pub(super) member: Option<bool>,
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) key: Key,
    pub(super) user: UserId,
    pub(super) tenant: Arc<str>,
    pub(super) opened: Millis,
    pub(super) stage: Stage,
    pub(super) message: Option<MessageId>,
    pub(super) dialog: Option<DialogId>,
    pub(super) dialog_mongo: Option<Arc<str>>,
    pub(super) event: Arc<str>,
    pub(super) event_id: Option<Arc<str>>,
    pub(super) sender: Option<Arc<str>>,
    pub(super) routing_key: Option<Arc<str>>,
    pub(super) legacy: Option<Side>,
    pub(super) rabbitmq: Option<Side>,
    /// The copy that waits for the other.
    pub(super) payload: Option<Payload>,
    /// Copies that are kept to be shown.
    pub(super) kept: Vec<Payload>,
    pub(super) compared: Option<Comparison>,
    /// Bytes of what differs.
    diff: usize,
    /// What differs was cut down to lengths and hashes.
    pub(super) redacted: bool,
    pub(super) duplicate: bool,
    pub(super) leak: bool,
    pub(super) drill: bool,
    /// Something about it was shed.
    pub(super) shed: bool,
    /// It was opened before the first broker session was live.
    pub(super) early: bool,
    pub(super) modifiers: BTreeSet<Modifier>,
    /// Set when it closes: what was counted of it.
    pub(super) closed: Option<(Class, Option<Cause>, Vec<Modifier>)>,
}

impl Unit {
    pub(super) fn open(seen: &Seen, early: bool) -> Self {
        let update = match &seen.payload {
            Payload::Update(update) => Some(update),
            Payload::Legacy(_) => None,
        };
        Self {
            key: seen.key.clone(),
            user: seen.user.clone(),
            tenant: Arc::clone(&seen.tenant),
            opened: seen.at,
            stage: seen.stage,
            message: seen.message.clone(),
            dialog: seen.dialog.clone(),
            dialog_mongo: update.and_then(|update| update.dialog_mongo().map(Into::into)),
            event: Arc::clone(&seen.event),
            event_id: update.and_then(|update| update.event_id().map(Into::into)),
            sender: seen.sender.clone(),
            routing_key: seen.routing_key.clone(),
            legacy: None,
            rabbitmq: None,
            payload: None,
            kept: Vec::new(),
            compared: None,
            diff: 0,
            redacted: false,
            duplicate: false,
            leak: false,
            drill: seen.drill,
            shed: false,
            early,
            modifiers: if seen.drill { BTreeSet::from([Modifier::Drill]) } else { BTreeSet::new() },
            closed: None,
        }
    }

    /// Bytes it keeps alive, roughly, beside the payload, which others may share.
    pub(super) fn weight(&self) -> usize {
        1_024 + self.diff + self.lists()
    }

    /// Notes what the comparison found.
    pub(super) fn compared(&mut self, found: Comparison) {
        self.diff = message::weight(&found.diff);
        self.compared = Some(found);
    }

    /// Whether there is something that only a record shows.
    pub(super) const fn shows(&self) -> bool {
        self.diff > 0 && !self.redacted
    }

    /// Keeps of what differs where and how it does, and of the values no more than a record shows.
    pub(super) fn redact(&mut self) {
        if let Some(found) = &mut self.compared {
            message::redact(&mut found.diff);
            self.diff = message::weight(&found.diff);
            self.redacted = true;
        }
    }

    /// Bytes of its sides' lists.
    pub(super) fn lists(&self) -> usize {
        self.legacy.iter().chain(&self.rabbitmq).map(Side::list_bytes).sum()
    }

    /// Lets go what only a decision needs: the unit was shed.
    pub(super) fn strip(&mut self) {
        for side in self.legacy.iter_mut().chain(&mut self.rabbitmq) {
            side.strip();
        }
    }

    /// Whether a twin may still come after it closed in `class`. A message that was posted elsewhere, or whose
    /// broadcast is over, has none.
    pub(super) fn awaits(&self, class: Class) -> bool {
        let one_sided = self.legacy.is_some() != self.rabbitmq.is_some();
        let open = matches!(
            class,
            Class::MissingInRabbitmq
                | Class::MissingInRabbitmqExpected
                | Class::MissingInLegacyUnexpected
                | Class::Indeterminate
        );
        one_sided && open && self.key.is_creation() && !self.shed
    }

    /// What the two sides say of it, together. Where both say something the answer to the POST stands, whichever came
    /// first: the update is held against it, not against itself.
    pub(super) fn learn(&mut self, seen: &Seen) {
        let stands = seen.path == Path::Legacy && self.legacy.is_none();
        if seen.key != self.key {
            self.key = if stands { seen.key.with(&self.key) } else { self.key.with(&seen.key) };
        }
        if let Some(id) = &seen.message {
            let own = self.message.take().unwrap_or_default();
            let (first, then) = if stands { (id.clone(), own) } else { (own, id.clone()) };
            self.message =
                Some(MessageId { message: first.message.or(then.message), mongo: first.mongo.or(then.mongo) });
        }
        if stands && seen.dialog.is_some() {
            self.dialog.clone_from(&seen.dialog);
        }
        self.dialog = self.dialog.take().or_else(|| seen.dialog.clone());
        self.sender = self.sender.take().or_else(|| seen.sender.clone());
        self.routing_key = self.routing_key.take().or_else(|| seen.routing_key.clone());
        if let Payload::Update(update) = &seen.payload {
            self.event = Arc::clone(&seen.event);
            self.event_id = self.event_id.take().or_else(|| update.event_id().map(Into::into));
            self.dialog_mongo = self.dialog_mongo.take().or_else(|| update.dialog_mongo().map(Into::into));
        }
    }
}

impl Side {
    /// Takes the lists out of `seen`.
    pub(super) fn of(seen: &mut Seen, sequence: u64) -> Self {
        Self {
            at: seen.at,
            sequence,
            reached: seen.sockets.len(),
            sockets: std::mem::take(&mut seen.sockets),
            present: std::mem::take(&mut seen.present),
            subscribed: std::mem::take(&mut seen.subscribed),
            joined: std::mem::take(&mut seen.joined),
            rooms: std::mem::take(&mut seen.rooms),
            redelivered: seen.redelivered,
            broker_up: seen.broker_up,
            queue_ready: seen.queue_ready,
            member: seen.member,
        }
    }

    fn list_bytes(&self) -> usize {
        let joined = self.joined.as_ref().map_or(0, SmallVec::len);
        let sockets = self.sockets.len() + self.present.len() + self.subscribed.len() + joined;
        list_bytes(sockets, self.rooms.len())
    }

    fn strip(&mut self) {
        self.joined = None;
        self.rooms = Vec::new();
        for list in [&mut self.sockets, &mut self.present, &mut self.subscribed] {
            *list = Sockets::new();
        }
    }
}
