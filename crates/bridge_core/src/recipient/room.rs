//! Rooms of dialogs.

use std::collections::BTreeMap;

use crate::compare::Fact;
use crate::{DialogId, SocketId};

use super::{Answer, Effect, Recipient, Turn};

/// Most rooms of one socket.
pub const MOST_ROOMS: usize = 10_000;

/// How many sockets are in each room.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms(BTreeMap<DialogId, usize>);

impl Rooms {
    pub(super) fn iter(&self) -> impl Iterator<Item = &DialogId> {
        self.0.keys()
    }

    pub(super) fn has(&self, dialog: &DialogId) -> bool {
        self.0.contains_key(dialog)
    }

    /// Says whether it is the first.
    fn enter(&mut self, dialog: &DialogId) -> bool {
        match self.0.get_mut(dialog) {
            Some(count) => {
                *count += 1;
                false
            }
            None => self.0.insert(dialog.clone(), 1).is_none(),
        }
    }

    /// Says whether it was the last.
    fn leave(&mut self, dialog: &DialogId) -> bool {
        let Some(count) = self.0.get_mut(dialog) else { return false };
        *count -= 1;
        *count == 0 && self.0.remove(dialog).is_some()
    }
}

impl Recipient {
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, id: SocketId, dialog: DialogId) -> Answer {
        let Some(socket) = self.socket_mut(id) else { return Answer::Gone };
        let Err(place) = socket.rooms.binary_search(&dialog) else { return Answer::Done };
        if socket.rooms.len() >= MOST_ROOMS {
            return Answer::TooManyRooms;
        }
        socket.rooms.insert(place, dialog.clone());
        turn.fact(Fact::Churn { user: self.id.clone() });
        if self.rooms.enter(&dialog) {
            turn.fact(Fact::Room { user: self.id.clone(), dialog: dialog.clone(), joined: true });
            turn.push(Effect::Entered(dialog));
        }
        Answer::Done
    }

    /// A synthetic socket is in its room from the beginning: for the comparison nobody came.
    pub(super) fn place_in(&mut self, turn: &mut Turn<'_>, id: SocketId, dialog: DialogId) {
        let Some(socket) = self.socket_mut(id) else { return };
        socket.rooms.push(dialog.clone());
        if self.rooms.enter(&dialog) {
            turn.push(Effect::Entered(dialog));
        }
    }

    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, id: SocketId, dialog: &DialogId) {
        let Some(socket) = self.socket_mut(id) else { return };
        let Ok(place) = socket.rooms.binary_search(dialog) else { return };
        socket.rooms.remove(place);
        turn.fact(Fact::Churn { user: self.id.clone() });
        self.vacate(turn, dialog);
    }

    pub(super) fn put_out(&mut self, turn: &mut Turn<'_>, dialog: &DialogId) {
        for id in self.joined(dialog) {
            self.leave(turn, id, dialog);
        }
    }

    /// One socket fewer is in the room.
    pub(super) fn vacate(&mut self, turn: &mut Turn<'_>, dialog: &DialogId) {
        if self.rooms.leave(dialog) {
            turn.fact(Fact::Room { user: self.id.clone(), dialog: dialog.clone(), joined: false });
            turn.push(Effect::Left(dialog.clone()));
        }
    }
}
