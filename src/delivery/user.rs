//! One user of this instance: its sockets and its gate, under one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bridge_core::form::{Form, render};
use bridge_core::gate::{Gate, Sockets};
use bridge_core::update::Update;
use bridge_core::{DialogId, MessageId, Millis, SocketId, UserId};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::replay::{Bounds, Replay};
use super::selection::Selection;
use crate::sockets::{Link, Packet, SignOn};

/// What passes a gate, as cheap to clone as a pointer.
#[derive(Clone, Debug)]
pub(crate) enum Copy {
    /// Chat3's createMessage answer.
    Legacy(Arc<LegacyCopy>),
    /// An update.
    Update(Arc<Update>),
}

/// Chat3's createMessage answer on its way to a room.
#[derive(Debug)]
pub(crate) struct LegacyCopy {
    pub(crate) data: Arc<RawValue>,
    pub(crate) dialog: DialogId,
    pub(crate) message: MessageId,
}

/// A client's socket. It outlives its connection by the linger.
pub(crate) struct Socket {
    pub(crate) link: Option<Arc<dyn Link>>,
    /// Display name, for `typing:start`.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) form: Form,
    pub(crate) declared: Declared,
    pub(crate) selection: Selection,
    pub(crate) rooms: BTreeSet<DialogId>,
    pub(crate) resume: Option<String>,
    /// The token of the earlier socket that it goes on from.
    pub(crate) came_from: Option<String>,
    pub(crate) replay: Replay,
    pub(crate) lost_at: Option<Millis>,
    /// A `bridge:resync` that waits until the client was greeted and the queue is live.
    pub(crate) owed: Option<Owed>,
    /// Its `authenticate` was answered.
    pub(crate) greeted: bool,
    /// A drill keeps updates from it.
    pub(crate) unreached: bool,
}

/// What a client said of what it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Declared {
    /// Nothing: it gets `client.undeclared`.
    #[default]
    Nothing,
    Update,
    OldForm,
    /// Names that are none of the bridge's.
    Unknown,
}

impl Declared {
    pub(crate) fn of(accepts: Option<&[String]>) -> Self {
        const OLD: [&str; 3] = ["message:new", "message:update", "dialog:update"];
        match accepts {
            None => Self::Nothing,
            Some(list) if list.iter().any(|item| item == "update") => Self::Update,
            Some(list) if list.is_empty() || list.iter().any(|item| OLD.contains(&item.as_str())) => Self::OldForm,
            Some(_) => Self::Unknown,
        }
    }
}

/// A gap that the client is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) reason: &'static str,
    pub(crate) since: Millis,
}

/// The part of a user that changes.
pub(crate) struct State {
    pub(crate) gate: Gate<Copy>,
    pub(crate) sockets: BTreeMap<SocketId, Socket>,
    pub(crate) queue_live: bool,
    /// It waits for the ticker.
    pub(crate) ticking: bool,
    /// A drill's.
    pub(crate) drill: bool,
    /// Until when its sockets were told of gaps by a flip back.
    pub(crate) told: Millis,
    /// It was taken out of the registry: whoever still holds it must look again.
    pub(crate) gone: bool,
}

/// A user with at least one socket, connected or lingering.
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) state: Mutex<State>,
}

impl State {
    /// All sockets, lingering ones too.
    pub(crate) fn present(&self) -> Sockets {
        self.sockets.keys().copied().collect()
    }

    /// Those in the room of `dialog`.
    pub(crate) fn joined(&self, dialog: &DialogId) -> Sockets {
        self.pick(|socket| socket.rooms.contains(dialog))
    }

    /// Those that want updates of `kind`.
    pub(crate) fn subscribed(&self, kind: &str) -> Sockets {
        self.pick(|socket| socket.selection.wants(kind))
    }

    /// Those that an update of `kind` reaches.
    pub(crate) fn reached(&self, kind: &str) -> Sockets {
        self.pick(|socket| socket.selection.wants(kind) && !socket.unreached)
    }

    fn pick(&self, wanted: impl Fn(&Socket) -> bool) -> Sockets {
        self.sockets.iter().filter(|(_, socket)| wanted(socket)).map(|(id, _)| *id).collect()
    }

    /// Hands `copy` to `sockets`, to each in its form.
    pub(crate) fn hand(&mut self, bounds: Bounds, now: Millis, sockets: &Sockets, copy: &Copy) {
        for id in sockets {
            let Some(socket) = self.sockets.get_mut(id) else { continue };
            match copy {
                Copy::Legacy(legacy) => {
                    let message = Some(legacy.message.clone());
                    socket.send(bounds, now, Packet { event: "message:new", data: legacy.data.clone(), message });
                }
                Copy::Update(update) => {
                    for (event, data) in render(update, socket.form) {
                        socket.send(bounds, now, Packet { event, data, message: update.message.clone() });
                    }
                }
            }
        }
    }
}

impl Socket {
    /// What its client says of itself when it signs on, and again when it renews that.
    pub(crate) fn declare(&mut self, sign_on: &SignOn, undeclared: Form) {
        if sign_on.name.is_some() {
            self.name.clone_from(&sign_on.name);
        }
        if let Some(accepts) = &sign_on.accepts {
            self.form = super::form_of(Some(accepts), undeclared);
            self.declared = Declared::of(Some(accepts));
        }
    }

    /// The connection is gone; what its transport did not take counts as never handed over.
    pub(crate) fn lose(&mut self, now: Millis) {
        let unsent = self.link.take().map_or(0, |link| link.unsent());
        self.replay.lost(now, unsent);
        self.lost_at = Some(now);
    }

    /// Nobody can resume it any more.
    pub(crate) fn spoiled(&self) -> bool {
        self.replay.whole_until().is_some()
    }

    /// Sends one packet, or keeps it for a client that may come back.
    pub(crate) fn send(&mut self, bounds: Bounds, now: Millis, packet: Packet) {
        if let Some(link) = &self.link {
            link.emit(packet.clone());
        }
        self.replay.push(bounds, now, packet, self.link.is_some());
    }
}
