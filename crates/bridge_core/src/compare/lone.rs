//! An update that has no twin, as it seems: posted elsewhere, or nothing that legacy brings. Of most units there is no more
//! to hold than this.

use std::sync::Arc;

use super::event::{Payload, Seen};
use super::told::Told;
use super::unit::Unit;
use crate::gate::Sockets;
use crate::key::Key;
use crate::stage::{Path, Stage};
use crate::{DialogId, Millis, UserId};

/// What a record of it says, and its names, by which another copy is found to be one.
#[derive(Clone, Debug)]
pub(super) struct Lone {
    pub(super) user: UserId,
    pub(super) key: Key,
    tenant: Arc<str>,
    dialog: Option<DialogId>,
    told: Told,
    routing_key: Option<Arc<str>>,
    at: Millis,
    sequence: u64,
    reached: usize,
    stage: Stage,
    redelivered: bool,
}

impl Lone {
    pub(super) fn of(seen: Seen, sequence: u64) -> Self {
        Self {
            told: seen.told(),
            reached: seen.sockets.len(),
            user: seen.user,
            key: seen.key,
            tenant: seen.tenant,
            dialog: seen.dialog,
            routing_key: seen.routing_key,
            at: seen.at,
            sequence,
            stage: seen.stage,
            redelivered: seen.redelivered,
        }
    }

    /// As a unit like any other: it closes, or was not alone.
    pub(super) fn unit(self) -> Unit {
        let seen = Seen {
            at: self.at,
            path: Path::Rabbitmq,
            user: self.user,
            tenant: self.tenant,
            key: self.key,
            message: None,
            dialog: self.dialog,
            sender: None,
            stage: self.stage,
            sockets: Sockets::new(),
            present: Sockets::new(),
            joined: None,
            rooms: Vec::new(),
            subscribed: Sockets::new(),
            routing_key: self.routing_key,
            redelivered: self.redelivered,
            broker_up: true,
            queue_ready: true,
            member: None,
            drill: false,
            payload: Payload::Gone(self.told),
        };
        Unit::lone(Box::new(seen), self.sequence, self.reached)
    }

    /// Bytes it keeps alive, roughly, with the places where it is found.
    pub(super) fn weight(&self) -> usize {
        384 + self.told.bytes()
    }
}
