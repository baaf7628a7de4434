//! One unit: a message, or another update, for one user.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::class::{Cause, Class, Modifier};
use super::event::{Payload, Seen};
use crate::gate::Sockets;
use crate::key::{Key, MessageId};
use crate::message::{self, Comparison};
use crate::stage::{Path, Stage};
use crate::{DialogId, Millis, UserId};

/// What one path showed: what was seen of it, and held until it is not needed any more.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) seen: Box<Seen>,
    pub(super) sequence: u64,
    /// How many sockets it reaches.
    pub(super) reached: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The names that both sides know it by, legacy's first.
    pub(super) key: Key,
    /// The side that came first.
    first: Side,
    /// The other.
    second: Option<Side>,
    pub(super) compared: Option<Box<Comparison>>,
    /// Bytes of what differs.
    diff: usize,
    /// What differs was cut down to lengths and hashes.
    pub(super) redacted: bool,
    pub(super) duplicate: bool,
    pub(super) leak: bool,
    /// Something about it was shed.
    pub(super) shed: bool,
    /// It was opened before the first broker session was live.
    pub(super) early: bool,
    pub(super) modifiers: BTreeSet<Modifier>,
    /// Set when it closes: what was counted of it.
    pub(super) closed: Option<Box<Counted>>,
}

/// What was counted of a closed unit.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// The id of its record. What comes late may bring it another first name.
    pub(super) id: u128,
    pub(super) class: Class,
    pub(super) cause: Option<Cause>,
    pub(super) modifiers: Vec<Modifier>,
}

impl Unit {
    /// Opens with what came first, as the observation of that number.
    pub(super) fn open(seen: Box<Seen>, sequence: u64, early: bool) -> Self {
        let modifiers = if seen.drill { BTreeSet::from([Modifier::Drill]) } else { BTreeSet::new() };
        Self {
            key: seen.key.clone(),
            first: Side::of(seen, sequence),
            second: None,
            compared: None,
            diff: 0,
            redacted: false,
            duplicate: false,
            leak: false,
            shed: false,
            early,
            modifiers,
            closed: None,
        }
    }

    /// Opens with what is left of one that came alone, and reaches so many sockets.
    pub(super) fn lone(seen: Box<Seen>, sequence: u64, reached: usize) -> Self {
        let redelivered = seen.redelivered;
        let mut unit = Self::open(seen, sequence, false);
        unit.first.reached = reached;
        if redelivered {
            unit.modifiers.insert(Modifier::Redelivered);
        }
        unit
    }

    /// Takes in another copy. Where both sides say something the answer to the POST stands, whichever came first: the
    /// update is held against it, not against itself.
    pub(super) fn add(&mut self, seen: Box<Seen>, sequence: u64) {
        if seen.key != self.key {
            let stands = seen.path == Path::Legacy && self.legacy().is_none();
            self.key = if stands { seen.key.with(&self.key) } else { self.key.with(&seen.key) };
        }
        let own =
            std::iter::once(&mut self.first).chain(&mut self.second).find(|side| side.seen.path == seen.path);
        match own {
            Some(side) => side.seen.learn(&seen),
            None => self.second = Some(Side::of(seen, sequence)),
        }
    }

    pub(super) fn user(&self) -> &UserId {
        &self.first.seen.user
    }

    pub(super) fn tenant(&self) -> &Arc<str> {
        &self.first.seen.tenant
    }

    pub(super) fn opened(&self) -> Millis {
        self.first.seen.at
    }

    /// Stage of the user when it was opened.
    pub(super) fn stage(&self) -> Stage {
        self.first.seen.stage
    }

    pub(super) fn is_drill(&self) -> bool {
        self.first.seen.drill
    }

    pub(super) fn legacy(&self) -> Option<&Side> {
        self.side(Path::Legacy)
    }

    pub(super) fn rabbitmq(&self) -> Option<&Side> {
        self.side(Path::Rabbitmq)
    }

    pub(super) fn side(&self, path: Path) -> Option<&Side> {
        self.sides().find(|side| side.seen.path == path)
    }

    pub(super) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.first).chain(&self.second)
    }

    pub(super) fn sides_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.first).chain(&mut self.second)
    }

    /// Of both sides, legacy's first.
    fn told(&self) -> impl Iterator<Item = &Seen> {
        self.legacy().into_iter().chain(self.rabbitmq()).map(|side| &*side.seen)
    }

    /// The created message's names, as both sides know them.
    pub(super) fn message(&self) -> Option<MessageId> {
        self.told().filter_map(Seen::message).reduce(MessageId::or)
    }

    pub(super) fn dialog(&self) -> Option<&DialogId> {
        self.told().find_map(|seen| seen.dialog.as_ref())
    }

    pub(super) fn dialog_mongo(&self) -> Option<&str> {
        self.told().find_map(Seen::dialog_mongo)
    }

    pub(super) fn sender(&self) -> Option<&str> {
        self.told().find_map(Seen::sender)
    }

    pub(super) fn routing_key(&self) -> Option<&Arc<str>> {
        self.told().find_map(|seen| seen.routing_key.as_ref())
    }

    /// Copies that are held.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &Payload> {
        self.sides().map(|side| &side.seen.payload).filter(|payload| !matches!(payload, Payload::Gone(_)))
    }

    /// Bytes it keeps alive, roughly, beside the payloads, which others may share.
    pub(super) fn weight(&self) -> usize {
        1_024 + self.diff + self.lists()
    }

    /// Notes what the comparison found.
    pub(super) fn compared(&mut self, found: Comparison) {
        self.diff = message::weight(&found.diff);
        self.compared = Some(Box::new(found));
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
        self.sides().map(|side| side.seen.list_bytes()).sum()
    }

    /// Whether a copy is held that a decision needs: it waits for its twin.
    pub(super) fn waits(&self) -> bool {
        self.second.is_none() && self.key.is_creation() && self.payloads().next().is_some()
    }

    /// Lets go what only a decision needs: the unit was shed.
    pub(super) fn strip(&mut self) {
        self.sides_mut().for_each(Side::strip);
    }

    /// Whether a twin may still come after it closed in `class`. A message that was posted elsewhere, or whose
    /// broadcast is over, has none.
    pub(super) fn awaits(&self, class: Class) -> bool {
        let open = matches!(
            class,
            Class::MissingInRabbitmq
                | Class::MissingInRabbitmqExpected
                | Class::MissingInLegacyUnexpected
                | Class::Indeterminate
        );
        self.second.is_none() && open && self.key.is_creation() && !self.shed
    }
}

impl Side {
    fn of(seen: Box<Seen>, sequence: u64) -> Self {
        Self { reached: seen.sockets.len(), seen, sequence }
    }

    fn strip(&mut self) {
        let seen = &mut *self.seen;
        seen.joined = None;
        seen.rooms = Vec::new();
        for list in [&mut seen.sockets, &mut seen.present, &mut seen.subscribed] {
            *list = Sockets::new();
        }
    }
}
