//! What a recipient is told, and what it may ask.

use std::sync::Arc;

use crate::form::Form;
use crate::stage::Stage;
use crate::update::Update;
use crate::{DialogId, Millis, SocketId};

use super::{LegacyCopy, LinkId, Reason, Resync, Selection};

/// One thing that happened to a user.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A client signed on over a new connection. Answered by [`Answer::Signed`].
    SignedOn(SignOn<'a>),
    /// A client that is signed on authenticated again. Answered by [`Answer::Signed`] or [`Answer::Gone`].
    Renewed {
        /// Its socket.
        socket: SocketId,
        /// What it declares now; `socket` and `link` of it are not looked at.
        sign_on: SignOn<'a>,
    },
    /// Its sign-on was answered: what it is owed may follow.
    Greeted {
        /// Its socket.
        socket: SocketId,
    },
    /// The queue did not become live within the limits. Answered by [`Answer::Ready`].
    Late {
        /// The socket that waited.
        socket: SocketId,
        /// Since when.
        since: Millis,
    },
    /// The connection is gone.
    Lost {
        /// The connection.
        link: LinkId,
        /// The transport took everything up to this serial.
        handed: u64,
        /// Nobody will resume.
        for_good: bool,
    },
    /// The transport took everything up to a serial.
    HandedOver {
        /// The connection.
        link: LinkId,
        /// The serial.
        up_to: u64,
    },
    /// A socket was let into a room. Answered by [`Answer::Done`], [`Answer::TooManyRooms`] or [`Answer::Gone`].
    Joined {
        /// The socket.
        socket: SocketId,
        /// The dialog.
        dialog: DialogId,
    },
    /// A socket leaves a room.
    Left {
        /// The socket.
        socket: SocketId,
        /// The dialog.
        dialog: DialogId,
    },
    /// The user is no member any more: all sockets leave the room.
    PutOut {
        /// The dialog.
        dialog: DialogId,
    },
    /// A socket adds types (none: all). Answered by [`Answer::Selected`], [`Answer::InvalidType`] or [`Answer::Gone`].
    Subscribed {
        /// The socket.
        socket: SocketId,
        /// As spelled.
        types: Vec<String>,
    },
    /// A socket removes types (none: all). Answered like [`Self::Subscribed`].
    Unsubscribed {
        /// The socket.
        socket: SocketId,
        /// As spelled.
        types: Vec<String>,
    },
    /// Chat3 accepted a message.
    Legacy(LegacyArrival<'a>),
    /// Messages that another instance had accepted could not be handed over.
    Unrelayed {
        /// Of this dialog; `None`: nobody knows of which.
        dialog: Option<DialogId>,
        /// It is for all sockets, in the room or not.
        everywhere: bool,
        /// The last moment known whole.
        since: Millis,
    },
    /// An update came for the user.
    Update(UpdateArrival<'a>),
    /// An update came that names somebody else.
    Leak(UpdateArrival<'a>),
    /// The user is served in another stage from now on. Answered by [`Answer::Flushed`].
    Flip {
        /// The stage.
        to: Stage,
        /// Since when the broker session is down, if it is.
        session_lost: Option<Millis>,
    },
    /// The user's queue is live; `gap` says what was lost since when, if it was live before.
    QueueLive {
        /// The gap.
        gap: Option<Resync>,
    },
    /// The user's queue is gone though it is wanted.
    QueueLost {
        /// Alone, or with the broker's session.
        reason: Reason,
        /// What was published from then on may be lost.
        since: Millis,
    },
    /// After a flip back, when what rabbitmq brings is over: nothing has proved that what was published before the flip
    /// has come.
    Unproved {
        /// It has as far as to here.
        since: Millis,
    },
    /// The user's queue is not wanted any more.
    QueueGone,
    /// The rabbitmq path begins: the queue is to be wanted again.
    QueueWanted,
    /// Time passed.
    Tick,
    /// A drill's socket.
    Synthetic {
        /// Its id.
        socket: SocketId,
        /// What it subscribed to.
        selection: Selection,
        /// The room that it is in.
        room: Option<DialogId>,
        /// Updates do not reach it, and no fact says why.
        unreached: bool,
    },
    /// A drill ends: its sockets are gone. Of a real user nothing is.
    SyntheticGone,
}

/// How a client signs on.
#[derive(Clone, Debug)]
pub struct SignOn<'a> {
    /// The id of its socket, unless it gets an earlier one back; larger than all ids before.
    pub socket: SocketId,
    /// The connection.
    pub link: LinkId,
    /// Display name; `None` leaves what is known.
    pub name: Option<Arc<str>>,
    /// What it declared that it understands; `None` leaves what is known.
    pub accepts: Option<&'a [String]>,
    /// The form for a client that never declared one.
    pub undeclared: Form,
    /// The declared types; `None` leaves what is known.
    pub selection: Option<Selection>,
    /// The earlier socket that it wants to go on from.
    pub claim: Option<Claim<'a>>,
}

/// What a resume token stands for.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// A socket of this user.
    Of {
        /// The socket.
        socket: SocketId,
        /// The id of the last message that the client has.
        last: Option<&'a str>,
        /// The transport of its connection, which is closed by now, took everything up to this serial; `None` where it
        /// has no connection.
        handed: Option<u64>,
    },
    /// Nothing that is known.
    Unknown {
        /// The last moment known whole.
        since: Millis,
    },
}

/// Chat3's createMessage answer for this user.
#[derive(Clone, Debug)]
pub struct LegacyArrival<'a> {
    /// The answer.
    pub copy: &'a Arc<LegacyCopy>,
    /// When its POST began.
    pub since: Millis,
    /// It is for all sockets, in the room or not (`legacy.audience = "members"`, and the user is one).
    pub everywhere: bool,
}

/// An update from the user's queue.
#[derive(Clone, Debug)]
pub struct UpdateArrival<'a> {
    /// The update.
    pub update: &'a Arc<Update>,
    /// Its AMQP routing key.
    pub routing_key: &'a str,
    /// AMQP's flag.
    pub redelivered: bool,
}

impl UpdateArrival<'_> {
    /// The type by which clients select: the last word of the routing key.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.routing_key.rsplit('.').next().unwrap_or_default()
    }
}

/// What [`super::Recipient::apply`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// So many held copies went out with a flip.
    Flushed(u64),
    /// Signed on.
    Signed {
        /// The client's socket.
        socket: SocketId,
        /// It got rooms, subscriptions and missed messages back.
        recovered: bool,
        /// The last moment known whole of what its client has before it takes what it is sent now, and owed.
        whole_until: Millis,
    },
    /// Whether the queue is live after all.
    Ready(bool),
    /// Its subscriptions, as told to the client.
    Selected(Vec<String>),
    /// A type is no type; nothing changed.
    InvalidType,
    /// The socket is in as many rooms as it may be.
    TooManyRooms,
    /// There is no such socket any more.
    Gone,
}

/// The rest of the instance at this moment: looked up, never waited for.
pub trait World {
    /// Whether the user is a member of the dialog, where that is known.
    fn is_member(&self, dialog: &DialogId) -> Option<bool>;
    /// The dialog of an update: named in it, or mapped from its Mongo id.
    fn dialog_of(&self, update: &Update) -> Option<DialogId>;
    /// Dialogs in which a POST waits for its answer.
    fn posted_in(&self) -> Vec<DialogId>;
    /// Whether the broker session is up.
    fn session_is_up(&self) -> bool;
    /// Until when what was published has surely come, if the broker was ever heard.
    fn heard(&self) -> Option<Millis> {
        None
    }
    /// Whether the rabbitmq path runs: queues are wanted.
    fn is_running(&self) -> bool;
    /// Whether legacy reaches a dialog's members, joined or not (`legacy.audience = "members"`).
    fn members_hear_legacy(&self) -> bool;
    /// What one socket's replay may hold at the moment.
    fn replay_limit(&self) -> ReplayLimit;
    /// Up to which serial a transport took everything, of the user's own connection.
    fn handed(&self, link: LinkId) -> u64;
}

/// Bytes that one socket's replay may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimit {
    /// At any rate: what is more is let go although nobody knows whether a transport took it.
    pub most: usize,
    /// Its share of what all may hold: of what is more, that is let go which a transport took.
    pub share: usize,
}
