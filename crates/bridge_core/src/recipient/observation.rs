//! The one place that tells the comparison what was seen.

use std::sync::Arc;

use crate::DialogId;
use crate::compare::{Payload, Seen};
use crate::gate::Sockets;
use crate::stage::{Path, Stage};
use crate::update::Update;

use super::{LegacyCopy, Recipient, Turn, UpdateArrival};

impl Recipient {
    pub(super) fn legacy_seen(
        &self,
        turn: &Turn<'_>,
        stage: Stage,
        copy: &Arc<LegacyCopy>,
        sockets: Sockets,
    ) -> Seen {
        let dialog = &copy.dialog;
        Seen {
            at: turn.now,
            path: Path::Legacy,
            user: self.id.clone(),
            tenant: Arc::clone(&self.rules.tenant),
            key: copy.key.clone(),
            message: Some(copy.message.clone()),
            dialog: Some(dialog.clone()),
            sender: Some(copy.sender.shared()),
            stage,
            joined: Some(sockets.clone()),
            sockets,
            present: self.present(),
            rooms: Vec::new(),
            subscribed: self.subscribed("message"),
            routing_key: None,
            redelivered: false,
            broker_up: turn.world.session_is_up(),
            queue_ready: self.queue_live,
            member: turn.world.is_member(dialog),
            drill: self.is_synthetic(),
            payload: Payload::Legacy(copy.data.clone()),
        }
    }

    pub(super) fn update_seen(&self, turn: &Turn<'_>, came: &UpdateArrival<'_>, sockets: Sockets) -> Seen {
        let (update, world) = (came.update, turn.world);
        let mut dialog = world.dialog_of(update);
        let mut rooms = Vec::new();
        if dialog.is_none() && update.is_creation() {
            rooms = self.rooms_posted_in(turn);
            // Answered meanwhile, it is mapped.
            dialog = world.dialog_of(update);
        }
        Seen {
            at: turn.now,
            path: Path::Rabbitmq,
            user: self.id.clone(),
            tenant: self.tenant_of(update),
            key: update.key.clone(),
            message: None,
            sender: None,
            stage: self.stage(),
            sockets,
            present: self.present(),
            rooms,
            joined: dialog.as_ref().map(|dialog| self.hears(turn, dialog)),
            subscribed: self.subscribed("message"),
            routing_key: Some(came.routing_key.into()),
            redelivered: came.redelivered,
            broker_up: world.session_is_up(),
            queue_ready: self.queue_live,
            member: dialog.as_ref().and_then(|dialog| world.is_member(dialog)),
            drill: self.is_synthetic(),
            dialog,
            payload: Payload::Update(Arc::clone(update)),
        }
    }

    fn tenant_of(&self, update: &Update) -> Arc<str> {
        let own = &self.rules.tenant;
        if **own == *update.tenant() { Arc::clone(own) } else { update.tenant().into() }
    }

    /// Sockets that a broadcast to `dialog` reaches. Who gets an update of a dialog is its member, unless it is known that
    /// it is not.
    fn hears(&self, turn: &Turn<'_>, dialog: &DialogId) -> Sockets {
        let world = turn.world;
        if world.members_hear_legacy() && !self.is_synthetic() && world.is_member(dialog) != Some(false) {
            self.present()
        } else {
            self.joined(dialog)
        }
    }

    /// Rooms of the user in which a POST is open: a message of an unmapped dialog that was posted here is in one of
    /// them, or in none of the user's. All rooms may be thousands.
    fn rooms_posted_in(&self, turn: &Turn<'_>) -> Vec<DialogId> {
        let mut rooms = turn.world.posted_in();
        rooms.retain(|dialog| self.rooms.has(dialog));
        rooms
    }
}
