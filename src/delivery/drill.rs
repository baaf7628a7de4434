//! Hands of a drill: synthetic users that no client is behind, and faults planted at the gate's inputs.
//!
//! A drill's user is a user like any other, but has no queue: its updates come from the drill. Its units carry the
//! modifier `drill` and count nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use bridge_core::compare::Fact;
use bridge_core::update::LegacyMessage;
use bridge_core::{DialogId, SocketId, Stage, UserId};
use serde_json::value::RawValue;

use super::form_of;
use super::hub::Hub;
use super::replay::Replay;
use super::selection::Selection;
use super::user::{Declared, Socket};
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
        let selections: Result<Vec<Selection>, Refused> =
            sockets.iter().map(|socket| Selection::declared(socket.types.clone())).collect();
        let selections = selections?;
        self.with_user(id, |user, state| {
            if !state.sockets.is_empty() {
                return Err(Refused(format!("{id} is signed on")));
            }
            state.drill = true;
            state.queue_live = true;
            for (socket, selection) in sockets.iter().zip(selections) {
                let number = self.new_socket_id();
                let rooms = if socket.joined { BTreeSet::from([dialog.clone()]) } else { BTreeSet::new() };
                let made = Socket {
                    link: None,
                    name: None,
                    form: form_of(None, self.settings.undeclared),
                    declared: Declared::Nothing,
                    selection,
                    rooms,
                    resume: None,
                    came_from: None,
                    replay: Replay::default(),
                    lost_at: None,
                    owed: None,
                    greeted: false,
                    unreached: socket.unreached,
                };
                state.sockets.insert(number, made);
            }
            if sockets.iter().any(|socket| socket.joined) {
                self.rooms.entry(dialog.clone()).or_default().insert(id.clone(), Arc::clone(user));
            }
            Ok(())
        })
    }

    /// Signs a synthetic user off.
    pub fn drill_sign_off(&self, id: &UserId) {
        let Some(user) = self.user(id) else { return };
        {
            let mut state = user.state.lock();
            if !state.drill {
                return;
            }
            let sockets: Vec<SocketId> = state.sockets.keys().copied().collect();
            for socket in sockets {
                self.drop_socket(&user, &mut state, socket);
            }
        }
        self.remove_if_empty(id);
    }

    /// A createMessage answer; `broadcast: false` plants a broadcast that did not happen.
    pub fn drill_post(&self, dialog: &DialogId, sender: &UserId, data: Arc<RawValue>, broadcast: bool) {
        let post = self.post_started(dialog, sender);
        if broadcast {
            self.post_accepted(post, dialog, sender, data, None);
            return;
        }
        self.posts_open.remove(&post);
        let read = LegacyMessage::read(&data);
        if let Some(key) = read.message.key(&self.settings.tenant) {
            self.tap.fact(self.now(), Fact::PostAccepted { post, key, dialog_mongo: read.dialog_mongo });
        }
    }

    /// A POST that ends without a readable answer.
    pub fn drill_post_unknown(&self, dialog: &DialogId, sender: &UserId) {
        let post = self.post_started(dialog, sender);
        self.post_unknown(post);
    }

    /// An update as if it came from the user's queue.
    pub fn drill_update(&self, delivery: Delivery) -> Disposition {
        self.take(delivery, true)
    }

    /// The user's queue is, or is not, ready.
    pub fn drill_queue(&self, id: &UserId, ready: bool) {
        if ready {
            self.queue_live(id, Some((GapReason::QueueLost, self.now())));
        } else if let Some(user) = self.user(id) {
            user.state.lock().queue_live = false;
        }
    }

    /// The stage in which a synthetic user is served, if it is there.
    #[must_use]
    pub fn drill_stage(&self, id: &UserId) -> Option<Stage> {
        self.user(id).map(|user| user.state.lock().gate.stage())
    }
}
