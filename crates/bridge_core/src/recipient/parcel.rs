//! What goes to a socket.

use std::sync::Arc;

use crate::Json;
use crate::key::{Key, MessageId};
use crate::update::Update;
use crate::{DialogId, Millis, UserId};

/// What passes the gate, as cheap to clone as a pointer.
#[derive(Clone, Debug)]
pub enum Copy {
    /// Chat3's createMessage answer.
    Legacy(Arc<LegacyCopy>),
    /// An update.
    Update(Arc<Update>),
}

/// Chat3's createMessage answer on its way to a room.
#[derive(Debug)]
pub struct LegacyCopy {
    /// `data` of the answer, as it came.
    pub data: Json,
    /// The dialog of the request path.
    pub dialog: DialogId,
    /// The message's names.
    pub message: MessageId,
    /// Its key.
    pub key: Key,
    /// Who posted it.
    pub sender: UserId,
}

impl Copy {
    /// Whether it is of the created message that goes by `id`.
    #[must_use]
    pub fn is_message(&self, id: &str) -> bool {
        match self {
            Self::Legacy(legacy) => legacy.message.is(id),
            Self::Update(update) => update.is_message(id),
        }
    }

    /// What it is a copy of.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Legacy(legacy) => &legacy.key,
            Self::Update(update) => &update.key,
        }
    }

    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Legacy(legacy) => legacy.data.get().len() + size_of::<LegacyCopy>() + 128,
            Self::Update(update) => update.bytes(),
        }
    }
}

/// Why a client missed something that the bridge can't give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The session with the broker was lost and is back.
    BrokerLost,
    /// The user's queue was lost and was made anew.
    QueueLost,
    /// The queue was not live in time when the client signed on.
    LateQueue,
    /// More waited for the client than may wait.
    SlowClient,
    /// What was to be resumed is not known, or not kept any more.
    ResumeFailed,
    /// What another instance had accepted could not be handed over.
    RelayLost,
}

impl Reason {
    /// As it stands in `bridge:resync`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokerLost => "broker_lost",
            Self::QueueLost => "queue_lost",
            Self::LateQueue => "late_queue",
            Self::SlowClient => "slow_client",
            Self::ResumeFailed => "resume_failed",
            Self::RelayLost => "relay_lost",
        }
    }
}

/// A gap that a client is told of: `bridge:resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Why.
    pub reason: Reason,
    /// The last moment known whole.
    pub since: Millis,
}

/// One thing to hand to a socket.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// A message or another update.
    Copy(Copy),
    /// A gap.
    Resync(Resync),
}

impl Parcel {
    /// Bytes that keeping it takes, its body included.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + match self {
            Self::Copy(copy) => copy.bytes(),
            Self::Resync(_) => 64,
        }
    }

    pub(super) fn is_message(&self, id: &str) -> bool {
        matches!(self, Self::Copy(copy) if copy.is_message(id))
    }

    /// Whether both tell the client the same.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Copy(one), Self::Copy(two)) => one.key().same(two.key()),
            (Self::Resync(one), Self::Resync(two)) => one == two,
            _ => false,
        }
    }
}
