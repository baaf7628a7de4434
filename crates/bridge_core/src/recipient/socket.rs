//! A client's socket. It outlives its connection by the linger.

use std::sync::Arc;

use crate::form::Form;
use crate::{DialogId, Millis, SocketId};

use super::replay::{Lost, Replay};
use super::{Effect, Parcel, ReplayLimit, Resync, Rules, Selection, Turn};

/// Number of one connection to a client, unique on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Whether a client is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Connected {
        /// Over this connection.
        link: LinkId,
        /// Its sign-on was answered.
        greeted: bool,
    },
    /// Its connection is gone; it may resume.
    Lost {
        /// Since when.
        since: Millis,
    },
    /// Its connection is gone, and more was to wait for it than may: nobody can resume it any more.
    Spoiled {
        /// Since when.
        since: Millis,
        /// The last moment known whole.
        whole_until: Millis,
    },
    /// A drill's: no client is behind it.
    Synthetic {
        /// Updates do not reach it, and no fact says why.
        unreached: bool,
    },
}

impl Presence {
    /// The connection, where there is one.
    #[must_use]
    pub const fn link(self) -> Option<LinkId> {
        match self {
            Self::Connected { link, .. } => Some(link),
            Self::Lost { .. } | Self::Spoiled { .. } | Self::Synthetic { .. } => None,
        }
    }

    /// When a socket that nobody resumes ends.
    pub(super) fn ends(self, linger: u64) -> Option<Millis> {
        match self {
            Self::Lost { since } | Self::Spoiled { since, .. } => Some(since.plus(linger)),
            Self::Connected { .. } | Self::Synthetic { .. } => None,
        }
    }
}

/// What a client said of what it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Declared {
    /// `update`.
    Update,
    /// An old form.
    OldForm,
    /// Nothing: it gets `client.undeclared`.
    #[default]
    Nothing,
    /// Names that are none of the bridge's.
    Unknown,
}

impl Declared {
    /// What `accepts` says.
    #[must_use]
    pub fn of(accepts: Option<&[String]>) -> Self {
        const OLD: [&str; 3] = ["message:new", "message:update", "dialog:update"];
        match accepts {
            None => Self::Nothing,
            Some(list) if list.iter().any(|item| item == "update") => Self::Update,
            Some(list) if list.is_empty() || list.iter().any(|item| OLD.contains(&item.as_str())) => Self::OldForm,
            Some(_) => Self::Unknown,
        }
    }

    /// The form for who declared this.
    pub(super) const fn form(self, undeclared: Form) -> Form {
        match self {
            Self::Nothing => undeclared,
            Self::Update => Form::Update,
            Self::OldForm | Self::Unknown => Form::Legacy,
        }
    }
}

/// One socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub(super) id: SocketId,
    pub(super) presence: Presence,
    pub(super) name: Option<Arc<str>>,
    pub(super) form: Form,
    pub(super) declared: Declared,
    pub(super) selection: Selection,
    /// Sorted.
    pub(super) rooms: Vec<DialogId>,
    pub(super) replay: Replay,
    /// A `bridge:resync` that waits until the client was greeted and the queue is live.
    pub(super) owed: Option<Resync>,
}

impl Socket {
    pub(super) fn new(id: SocketId, presence: Presence, form: Form, selection: Selection) -> Self {
        let (rooms, replay) = (Vec::new(), Replay::default());
        let declared = Declared::Nothing;
        Self { id, presence, name: None, form, declared, selection, rooms, replay, owed: None }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SocketId {
        self.id
    }

    /// Whether a client is there.
    #[must_use]
    pub const fn presence(&self) -> Presence {
        self.presence
    }

    /// Display name, for `typing:start`.
    #[must_use]
    pub const fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// What the client understands.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// What it said of what it understands.
    #[must_use]
    pub const fn declared(&self) -> Declared {
        self.declared
    }

    /// What it subscribed to.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Its rooms' dialogs, sorted.
    #[must_use]
    pub fn rooms(&self) -> &[DialogId] {
        &self.rooms
    }

    /// Whether it is in the room of `dialog`.
    #[must_use]
    pub fn is_in(&self, dialog: &DialogId) -> bool {
        self.rooms.binary_search(dialog).is_ok()
    }

    /// Whether an update of `kind` reaches it.
    pub(super) fn is_reached(&self, kind: &str) -> bool {
        self.selection.wants(kind) && self.presence != Presence::Synthetic { unreached: true }
    }

    /// Hands `parcel` to its connection, or keeps it for a client that may come back.
    pub(super) fn send(&mut self, rules: &Rules, limit: ReplayLimit, turn: &mut Turn<'_>, parcel: Parcel) {
        self.send_since(turn.now, rules, limit, turn, parcel);
    }

    /// The same with a parcel that its client was to get at `at`.
    pub(super) fn send_since(
        &mut self,
        at: Millis,
        rules: &Rules,
        limit: ReplayLimit,
        turn: &mut Turn<'_>,
        parcel: Parcel,
    ) {
        match self.presence {
            Presence::Connected { link, .. } => {
                let serial = self.replay.sent(rules, at, parcel.clone());
                self.shrink(rules, limit, turn);
                turn.push(Effect::Send { link, serial, form: self.form, parcel });
            }
            Presence::Lost { since } => {
                if let Err(whole_until) = self.replay.kept(limit.most, at, parcel) {
                    self.presence = Presence::Spoiled { since, whole_until };
                }
            }
            Presence::Spoiled { .. } | Presence::Synthetic { .. } => {}
        }
    }

    /// Lets go what is too old or too much by now.
    pub(super) fn shrink(&mut self, rules: &Rules, limit: ReplayLimit, turn: &Turn<'_>) {
        // At full rate each copy pushes out another, and to ask the connection means its lock each time.
        self.replay.shrink_taken(limit);
        if self.replay.bytes() > limit.share.min(limit.most)
            && let Some(link) = self.presence.link()
        {
            self.replay.handed_over(turn.world.handed(link));
        }
        self.replay.shrink(rules, limit, turn.now);
        if let Presence::Lost { since } = self.presence
            && let Some(whole_until) = self.replay.doubt()
        {
            // Less may be kept than before: what its client never got is gone.
            self.replay.forget();
            self.presence = Presence::Spoiled { since, whole_until };
        }
    }

    /// Owes it a gap, beside the one that it is owed already: it is told of one, since the earlier of both.
    pub(super) fn owe(&mut self, gap: Resync) {
        self.owed = Some(match self.owed {
            Some(owed) if owed.since <= gap.since => owed,
            _ => gap,
        });
    }

    /// The connection is gone; it took everything up to `handed`.
    pub(super) fn lose(&mut self, now: Millis, handed: u64) {
        self.presence = match self.replay.lost(now, handed) {
            Lost::Whole => Presence::Lost { since: now },
            Lost::Gap { whole_until } => Presence::Spoiled { since: now, whole_until },
        };
    }
}
