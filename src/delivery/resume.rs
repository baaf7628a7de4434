//! A client comes back: its earlier socket's rooms, subscriptions and what it missed are its own again.

use std::sync::Arc;

use bridge_core::{Millis, SocketId, UserId};

use super::front::MOST_ROOMS;
use super::hub::Hub;
use super::user::{Owed, State, User};
use crate::sockets::{Cut, Link, Packet, Resume};

impl Hub {
    /// Gives the socket of `resume` the new connection and everything it missed; else what the client is owed.
    pub(super) fn take_over(
        &self,
        user: &UserId,
        state: &mut State,
        resume: &Resume,
        link: &Arc<dyn Link>,
    ) -> Result<SocketId, Owed> {
        let (id, missed) = self.reclaim(user, state, resume)?;
        if let Some(socket) = state.sockets.get_mut(&id) {
            missed.into_iter().for_each(|packet| link.emit(packet));
            socket.link = Some(Arc::clone(link));
            socket.lost_at = None;
            socket.greeted = false;
            socket.came_from = Some(resume.token.clone());
        }
        Ok(id)
    }

    /// A client that has signed on already names its earlier socket: `to` gets that one's rooms, subscriptions and
    /// what it missed, except what `to` was given meanwhile. Says whether it did; else `to` is owed a resync.
    pub(super) fn inherit(&self, user: &Arc<User>, state: &mut State, resume: &Resume, to: SocketId) -> bool {
        let (from, missed) = match self.reclaim(&user.id, state, resume) {
            Ok(reclaimed) => reclaimed,
            Err(owed) => {
                if let Some(own) = state.sockets.get_mut(&to) {
                    own.owed.get_or_insert(owed);
                    // It is told after the answer.
                    own.greeted = false;
                }
                return false;
            }
        };
        let old = state.sockets.get(&from).map(|old| (old.rooms.clone(), old.selection.clone(), old.owed));
        let Some(own) = state.sockets.get_mut(&to) else { return false };
        if let Some((rooms, selection, owed)) = old {
            let free = MOST_ROOMS.saturating_sub(own.rooms.len());
            own.rooms.extend(rooms.into_iter().take(free));
            own.selection = selection;
            own.owed = own.owed.or(owed);
        }
        let (now, bounds) = (self.now(), self.bounds());
        let missed: Vec<Packet> = missed.into_iter().filter(|packet| !own.replay.has_handed(packet)).collect();
        missed.into_iter().for_each(|packet| own.send(bounds, now, packet));
        own.came_from = Some(resume.token.clone());
        state.gate.inherit(from, to);
        self.drop_socket(user, state, from);
        true
    }

    /// The socket of `resume`, its old connection ended, and everything that its client lacks; else what it is owed.
    fn reclaim(&self, user: &UserId, state: &mut State, resume: &Resume) -> Result<(SocketId, Vec<Packet>), Owed> {
        // When it got its token it had everything; a token that says nothing is not from here.
        let since = super::token::given_at(&resume.token, self.now()).unwrap_or(self.started);
        let failed = Owed { reason: "resume_failed", since };
        let known = self.tokens.get(&resume.token).map(|entry| entry.value().clone());
        let Some((owner, id)) = known else { return Err(failed) };
        if owner != *user {
            return Err(failed);
        }
        let Some(socket) = state.sockets.get_mut(&id) else { return Err(failed) };
        let now = self.now();
        if let Some(old) = socket.link.clone() {
            old.cut(Cut::Resumed);
            socket.lose(now);
        }
        match socket.replay.missed(resume.last.as_deref()) {
            Some(missed) => Ok((id, missed)),
            None => {
                let since = socket.replay.whole_until();
                // Nobody can resume it any more: it goes with the next tick.
                socket.lost_at = Some(Millis(0));
                self.lingering.lock().push_front((Millis(0), user.clone(), id));
                Err(match since {
                    Some(since) => Owed { reason: "slow_client", since },
                    None => failed,
                })
            }
        }
    }
}
