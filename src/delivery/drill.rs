//! Hands of a drill: synthetic users that no client is behind, and faults planted at the gate's inputs.
//!
//! A drill's user is a user like any other, but has no queue: its updates come from the drill. Its units carry the
//! modifier `drill` and count nowhere else.

use bridge_core::Json;
use bridge_core::compare::Fact;
use bridge_core::recipient::{Input, InvalidType, Selection};
use bridge_core::update::LegacyMessage;
use bridge_core::{DialogId, SocketId, Stage, UserId};

use super::hub::Hub;
use crate::broker::{Delivery, Disposition, GapReason, Inbox};
use crate::sockets::Refused;

/// How a synthetic socket is set up.
#[derive(Clone, Debug, Default)]
pub struct DrillSocket {
    /// It has joined the dialog.
    pub joined: bool,
    /// Types it subscribed to; `None`: all.
    pub types: Option<Vec<String>>,
    /// Updates do not reach it, and no fact says why.
    pub unreached: bool,
}

impl Hub {
    /// Signs a synthetic user on.
    ///
    /// # Errors
    /// [`Refused`] when a type is invalid, or a client is signed on under that id.
    pub fn drill_sign_on(&self, id: &UserId, dialog: &DialogId, sockets: &[DrillSocket]) -> Result<(), Refused> {
        let selections: Result<Vec<Selection>, InvalidType> =
            sockets.iter().map(|socket| Selection::declared(socket.types.clone())).collect();
        let selections = selections.map_err(|error| Refused(error.to_string()))?;
        self.with_user(id, |seat, inner| {
            if !inner.recipient.sockets().is_empty() {
                return Err(Refused(format!("{id} is signed on")));
            }
            for (socket, selection) in sockets.iter().zip(selections) {
                self.socket_came();
                let room = socket.joined.then(|| dialog.clone());
                let (socket, unreached) = (SocketId(self.number()), socket.unreached);
                self.apply_locked(inner, seat, Input::Synthetic { socket, selection, room, unreached });
            }
            Ok(())
        })
    }

    /// Signs a synthetic user off.
    pub fn drill_sign_off(&self, id: &UserId) {
        self.tell(id, Input::SyntheticGone);
    }

    /// A createMessage answer; `broadcast: false` plants a broadcast that did not happen.
    pub fn drill_post(&self, dialog: &DialogId, sender: &UserId, data: Json, broadcast: bool) {
        let post = self.post_started(self.now(), dialog, sender);
        if broadcast {
            self.post_accepted(post, dialog, sender, data, None);
            return;
        }
        self.posts.end(post);
        let read = LegacyMessage::read(data.get());
        if let Some(key) = read.message.key(&self.settings.tenant) {
            self.tap.fact(self.now(), Fact::PostAccepted { post, key, dialog_mongo: read.dialog_mongo });
        }
    }

    /// A POST that ends without a readable answer.
    pub fn drill_post_unknown(&self, dialog: &DialogId, sender: &UserId) {
        let post = self.post_started(self.now(), dialog, sender);
        self.post_unknown(post);
        self.posts.end(post);
    }

    /// An update as if it came from the user's queue.
    pub fn drill_update(&self, delivery: Delivery<'_>) -> Disposition {
        self.take(delivery, true)
    }

    /// The user's queue is, or is not, ready.
    pub fn drill_queue(&self, id: &UserId, ready: bool) {
        if ready {
            self.queue_live(id, Some((GapReason::QueueLost, self.now())));
        } else {
            self.queue_lost(id, self.now());
        }
    }

    /// The stage in which a synthetic user is served, if it is there.
    #[must_use]
    pub fn drill_stage(&self, id: &UserId) -> Option<Stage> {
        self.registry.user(id).map(|seat| seat.inner.lock().recipient.stage())
    }
}
