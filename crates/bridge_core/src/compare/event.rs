//! What the comparator is told. Each event was true at its moment and is never looked up later.

use std::sync::Arc;

use crate::Json;
use smallvec::SmallVec;

use super::told::Told;
use crate::gate::Sockets;
use crate::key::{Key, MessageId};
use crate::stage::{Path, Stage};
use crate::update::Update;
use crate::{DialogId, Millis, UserId};

/// One path is about to hand one message to one user's sockets (or would, were it authoritative).
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, at the last hop before emit.
    pub at: Millis,
    /// The path that brought it.
    pub path: Path,
    /// The recipient.
    pub user: UserId,
    /// The user's tenant.
    pub tenant: Arc<str>,
    /// What it is a copy of.
    pub key: Key,
    /// The created message's names; `None`: those in the payload, and none for other updates.
    pub message: Option<MessageId>,
    /// The dialog's `dlg_` id: of the request path (legacy), of the body or mapped from a Mongo id (rabbitmq).
    pub dialog: Option<DialogId>,
    /// `senderId`; `None`: that in the payload, where it has one.
    pub sender: Option<Arc<str>>,
    /// The stage of the user.
    pub stage: Stage,
    /// The sockets this path reaches: in the room (legacy), subscribed (rabbitmq).
    pub sockets: Sockets,
    /// All sockets of the user at that moment.
    pub present: Sockets,
    /// Those in the room of `dialog`; `None` when the dialog is not known.
    pub joined: Option<Sockets>,
    /// The rooms of the user's sockets, where the dialog is not known; else empty.
    pub rooms: Vec<DialogId>,
    /// Those subscribed to messages.
    pub subscribed: Sockets,
    /// The AMQP routing key.
    pub routing_key: Option<Arc<str>>,
    /// AMQP's `redelivered` flag.
    pub redelivered: bool,
    /// Whether the broker session is up.
    pub broker_up: bool,
    /// Whether the user's queue is bound and consumed.
    pub queue_ready: bool,
    /// Whether the user is a member of the dialog, where that is known.
    pub member: Option<bool>,
    /// Planted by a drill.
    pub drill: bool,
    /// The copy.
    pub payload: Payload,
}

impl Seen {
    /// The names of the created message.
    pub(super) fn message(&self) -> Option<MessageId> {
        let told = || match &self.payload {
            Payload::Update(update) => update.message(),
            Payload::Gone(told) => told.names(),
            Payload::Legacy(_) => None,
        };
        self.message.clone().or_else(told)
    }

    /// Whether the created message goes by a name for which `holds`.
    pub(super) fn is_named(&self, holds: impl Fn(&str) -> bool) -> bool {
        match (&self.message, &self.payload) {
            (Some(id), _) => id.message.iter().chain(&id.mongo).any(|name| holds(name)),
            (None, Payload::Update(update)) => update.is_named(holds),
            (None, Payload::Gone(told)) => told.is_named(holds),
            (None, Payload::Legacy(_)) => false,
        }
    }

    /// `senderId`, where known.
    pub(super) fn sender(&self) -> Option<&str> {
        let told = || match &self.payload {
            Payload::Update(update) => update.sender(),
            Payload::Gone(told) => told.sender(),
            Payload::Legacy(_) => None,
        };
        self.sender.as_deref().or_else(told)
    }

    /// The dialog's Mongo id, where that is what the update has.
    pub(super) fn dialog_mongo(&self) -> Option<&str> {
        match &self.payload {
            Payload::Update(update) => update.dialog_mongo(),
            Payload::Gone(told) => told.dialog_mongo(),
            Payload::Legacy(_) => None,
        }
    }

    /// What is told of the update; nothing of an answer.
    pub(super) fn told(&self) -> Told {
        match &self.payload {
            Payload::Update(update) => Told::of(update),
            Payload::Gone(told) => told.clone(),
            Payload::Legacy(_) => Told::default(),
        }
    }

    /// Lets the payload go; what it tells stays.
    pub(super) fn let_go(&mut self) {
        if !matches!(self.payload, Payload::Gone(_)) {
            self.payload = Payload::Gone(self.told());
        }
    }

    /// Takes in what another copy of the same path tells beside it.
    pub(super) fn learn(&mut self, again: &Self) {
        self.message = match (self.message(), again.message()) {
            (Some(own), Some(other)) => Some(own.or(other)),
            (own, other) => own.or(other),
        };
        self.dialog = self.dialog.take().or_else(|| again.dialog.clone());
        self.routing_key = self.routing_key.take().or_else(|| again.routing_key.clone());
        if self.sender().is_none() {
            self.sender = again.sender().map(Into::into);
        }
    }

    /// Bytes of its lists: a user may have thousands of sockets, and rooms.
    #[must_use]
    pub fn list_bytes(&self) -> usize {
        let joined = self.joined.as_ref().map_or(0, SmallVec::len);
        let sockets = self.sockets.len() + self.present.len() + self.subscribed.len() + joined;
        list_bytes(sockets, self.rooms.len())
    }
}

/// Bytes of lists with so many sockets and rooms, roughly: what a short list needs is counted with its owner.
pub(super) const fn list_bytes(sockets: usize, rooms: usize) -> usize {
    sockets * 8 + rooms * 64
}

/// A copy, as cheap to clone as a pointer.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Chat3's createMessage `data`.
    Legacy(Json),
    /// The update.
    Update(Arc<Update>),
    /// It was let go; of an update, what is still told of it.
    Gone(Told),
}

impl Payload {
    /// The update that it is.
    #[must_use]
    pub const fn update(&self) -> Option<&Arc<Update>> {
        match self {
            Self::Update(update) => Some(update),
            Self::Legacy(_) | Self::Gone(_) => None,
        }
    }

    /// Where it is: copies of one pointer are one payload.
    #[must_use]
    pub fn place(&self) -> usize {
        match self {
            Self::Legacy(data) => data.place(),
            Self::Update(update) => Arc::as_ptr(update).addr(),
            Self::Gone(_) => 0,
        }
    }

    /// Bytes of it, roughly, however many share them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Legacy(data) => data.get().len(),
            Self::Update(update) => update.bytes(),
            Self::Gone(_) => 0,
        }
    }
}

/// Something that happened and may prove why a copy is absent.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A POST was forwarded to Chat3.
    PostStarted {
        /// Number of the POST on this instance.
        post: u64,
        /// The dialog of the request path.
        dialog: DialogId,
        /// The sender.
        sender: UserId,
    },
    /// Chat3 accepted it, at the moment of this fact; the legacy observations of this message, one for each user in
    /// the room, came before it.
    PostAccepted {
        /// Number of the POST on this instance.
        post: u64,
        /// The message's key.
        key: Key,
        /// The dialog's Mongo id, where the answer has it: maps it to the `dlg_` id of the request path.
        dialog_mongo: Option<Arc<str>>,
    },
    /// Chat3 refused it: there is no message.
    PostRefused {
        /// Number of the POST on this instance.
        post: u64,
    },
    /// It ended without a readable answer (502, 504): there may be a message.
    PostUnknown {
        /// Number of the POST on this instance.
        post: u64,
    },
    /// A socket of the user came or went, joined or left a room, or changed its subscription.
    Churn {
        /// The user.
        user: UserId,
    },
    /// The instance's broker session came up (also the first) or was lost.
    Session {
        /// Whether it is up.
        up: bool,
    },
    /// The user's queue is bound and consumed no more.
    QueueLost {
        /// The user.
        user: UserId,
    },
    /// The user's queue was made anew.
    QueueRenewed {
        /// The user.
        user: UserId,
    },
    /// The user's first socket joined a room, or its last one left it.
    Room {
        /// The user.
        user: UserId,
        /// The room's dialog.
        dialog: DialogId,
        /// Whether it is in it now.
        joined: bool,
    },
    /// A path began or ended for the user, or changed authority.
    StageChanged {
        /// The user.
        user: UserId,
        /// From.
        from: Stage,
        /// To.
        to: Stage,
    },
    /// An update was rejected or shed before it could be read; its headers said this.
    Rejected {
        /// Header `userId`.
        user: Option<Arc<str>>,
        /// Header `entityId`.
        entity: Option<Arc<str>>,
    },
    /// An update of a message came that no socket of the user was subscribed to: no observation.
    Unwanted {
        /// The user.
        user: UserId,
        /// The message's key.
        key: Key,
    },
    /// A held copy went out after all.
    Released {
        /// The user.
        user: UserId,
        /// The key.
        key: Key,
        /// Why.
        why: crate::gate::Why,
    },
}

/// One input of the comparator, in the order in which things happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A copy was seen.
    Seen(Box<Seen>),
    /// An update named another user in its body than in its routing key, or reached a queue that is not its user's.
    Leak(Box<Seen>),
    /// Something happened.
    Fact(Millis, Fact),
    /// This many events were shed before this one.
    Shed(Millis, u64),
}
