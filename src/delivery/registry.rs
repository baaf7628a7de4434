//! Who is here: lookups of users, tokens and rooms, and nothing else. No lock of it is held while anything is called.

use std::sync::Arc;

use bridge_core::{DialogId, UserId};
use dashmap::DashMap;
use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::seat::Seat;

#[derive(Default)]
pub(super) struct Registry {
    users: DashMap<UserId, Arc<Seat>, RandomState>,
    rooms: DashMap<DialogId, HashMap<UserId, Arc<Seat>>, RandomState>,
    /// Whose socket a resume token is for.
    tokens: DashMap<String, UserId, RandomState>,
}

impl Registry {
    pub(super) fn user(&self, id: &UserId) -> Option<Arc<Seat>> {
        self.users.get(id).map(|seat| Arc::clone(&seat))
    }

    /// The user of that id.
    pub(super) fn named(&self, id: &str) -> Option<Arc<Seat>> {
        self.users.get(id).map(|seat| Arc::clone(&seat))
    }

    /// The user's seat, made when it is not there. `make` only makes it: what it reads of the flag counts, because a
    /// flip stores the new one before it walks through here.
    pub(super) fn seat(&self, id: &UserId, make: impl FnOnce() -> Arc<Seat>) -> Arc<Seat> {
        if let Some(seat) = self.user(id) {
            return seat;
        }
        Arc::clone(&self.users.entry(id.clone()).or_insert_with(make))
    }

    pub(super) fn remove(&self, seat: &Arc<Seat>) {
        self.users.remove_if(&seat.id, |_, own| Arc::ptr_eq(own, seat));
    }

    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    pub(super) fn everyone(&self) -> Vec<Arc<Seat>> {
        self.users.iter().map(|seat| Arc::clone(seat.value())).collect()
    }

    pub(super) fn enter(&self, dialog: DialogId, seat: &Arc<Seat>) {
        self.rooms.entry(dialog).or_default().insert(seat.id.clone(), Arc::clone(seat));
    }

    pub(super) fn leave(&self, dialog: &DialogId, seat: &Arc<Seat>) {
        if let Some(mut room) = self.rooms.get_mut(dialog)
            && room.get(&seat.id).is_some_and(|own| Arc::ptr_eq(own, seat))
        {
            room.remove(&seat.id);
        }
        self.rooms.remove_if(dialog, |_, room| room.is_empty());
    }

    pub(super) fn room(&self, dialog: &DialogId) -> Vec<Arc<Seat>> {
        self.rooms.get(dialog).map(|room| room.values().cloned().collect()).unwrap_or_default()
    }

    /// Every pair of a dialog and a user in its room.
    pub(super) fn pairs(&self) -> Vec<(DialogId, UserId)> {
        let in_room = |dialog: &DialogId, users: &HashMap<UserId, Arc<Seat>>| {
            users.keys().map(|user| (dialog.clone(), user.clone())).collect::<Vec<_>>()
        };
        self.rooms.iter().flat_map(|room| in_room(room.key(), room.value())).collect()
    }

    pub(super) fn note_token(&self, token: String, user: UserId) {
        self.tokens.insert(token, user);
    }

    pub(super) fn forget_tokens(&self, tokens: &[String]) {
        for token in tokens {
            self.tokens.remove(token);
        }
    }

    pub(super) fn owner(&self, token: &str) -> Option<UserId> {
        self.tokens.get(token).map(|owner| owner.value().clone())
    }
}
