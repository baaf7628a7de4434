//! What sockets ask for: signing on and off, rooms, subscriptions, typing.

use std::sync::Arc;
use std::time::Duration;

use bridge_core::compare::Fact;
use bridge_core::{DialogId, Millis, SocketId, Stage, UserId};
use serde_json::value::to_raw_value;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::form_of;
use super::hub::{Hub, precise, wanted};
use super::selection::Selection;
use super::user::{Declared, Owed, Socket, State, User};
use crate::broker::QueueState;
use crate::sockets::{Front, Link, Packet, Refused, SignOn, Signed};

/// Most rooms of one socket.
pub(super) const MOST_ROOMS: usize = 10_000;
/// How long sign-on waits in `shadow`, where nothing depends on the queue.
const SHADOW_WAIT: Duration = Duration::from_secs(1);

#[async_trait::async_trait]
impl Front for Hub {
    fn sign_on(&self, sign_on: SignOn) -> Result<Signed, Refused> {
        let selection = Selection::declared(sign_on.subscribe.clone())?;
        let user = sign_on.user.clone();
        let now = self.now();
        let token = super::token::new(now);
        let signed = self.with_user(&user, |_, state| {
            // A client that takes a synthetic user's id makes it a real one.
            state.drill = false;
            let (socket, recovered) = match &sign_on.resume {
                Some(resume) => match self.take_over(&user, state, resume, &sign_on.link) {
                    Ok(socket) => (socket, true),
                    Err(owed) => (self.new_socket(state, &sign_on, selection, Some(owed)), false),
                },
                None => (self.new_socket(state, &sign_on, selection, None), false),
            };
            if let Some(own) = state.sockets.get_mut(&socket) {
                if let Some(old) = own.resume.replace(token.clone()) {
                    self.tokens.remove(&old);
                }
                own.declare(&sign_on, self.settings.undeclared);
            }
            self.tokens.insert(token.clone(), (user.clone(), socket));
            self.want(&user, state);
            Signed { socket, user: user.clone(), resume: token.clone(), recovered }
        });
        self.metrics.users.set(precise(self.users.len()));
        self.count_sockets();
        self.tap.fact(now, Fact::Churn { user });
        Ok(signed)
    }

    async fn ready(&self, signed: &Signed) -> bool {
        let since = self.now();
        let started = Instant::now();
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let Some(broker) = self.broker() else { return true };
            let mut queue = broker.queue(&signed.user);
            let Some(user) = self.user(&signed.user) else { return false };
            let stage = user.state.lock().gate.stage();
            if stage == Stage::Legacy || *queue.borrow_and_update() == QueueState::Live {
                return true;
            }
            if !self.is_running() {
                // The process ends: no queue becomes live any more.
                return false;
            }
            let limit = if stage == Stage::Shadow { SHADOW_WAIT } else { self.settings.ready_timeout };
            let end = started + limit;
            if Instant::now() >= end || (stage.use_rabbitmq_updates() && !self.session_is_up()) {
                return self.is_late(&user, signed.socket, stage, since);
            }
            tokio::select! {
                _ = queue.changed() => {}
                _ = changed.changed() => {}
                () = sleep_until(end) => {}
            }
        }
    }

    fn greeted(&self, signed: &Signed) {
        if let Some(user) = self.user(&signed.user) {
            let mut state = user.state.lock();
            if let Some(socket) = state.sockets.get_mut(&signed.socket) {
                socket.greeted = true;
            }
            self.pay(&mut state);
        }
    }

    fn sign_off(&self, signed: &Signed, link: &Arc<dyn Link>, for_good: bool) {
        let Some(user) = self.user(&signed.user) else { return };
        let now = self.now();
        let linger = self.settings.linger;
        {
            let mut state = user.state.lock();
            let Some(socket) = state.sockets.get_mut(&signed.socket) else { return };
            if !socket.link.as_ref().is_some_and(|own| Arc::ptr_eq(own, link)) {
                return;
            }
            socket.lose(now);
            if for_good || linger.is_zero() {
                self.drop_socket(&user, &mut state, signed.socket);
            } else {
                let until = now.plus(u64::try_from(linger.as_millis()).unwrap_or(u64::MAX));
                self.lingering.lock().push_back((until, signed.user.clone(), signed.socket));
            }
        }
        self.tap.fact(now, Fact::Churn { user: signed.user.clone() });
        self.remove_if_empty(&signed.user);
    }

    fn expect(&self, dialog: &DialogId) {
        self.members.expect(dialog);
    }

    async fn join(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused> {
        self.members.may_join(dialog, &signed.user).await?;
        let user = self.user(&signed.user).ok_or_else(gone)?;
        let mut state = user.state.lock();
        let socket = state.sockets.get_mut(&signed.socket).ok_or_else(gone)?;
        if socket.rooms.len() >= MOST_ROOMS {
            return Err(Refused("too many rooms".into()));
        }
        if socket.rooms.insert(dialog.clone()) {
            let others = self.rooms.entry(dialog.clone()).or_default().insert(user.id.clone(), Arc::clone(&user));
            if others.is_none() {
                self.moved(&user.id, dialog, true);
            }
            self.tap.fact(self.now(), Fact::Churn { user: user.id.clone() });
        }
        Ok(())
    }

    fn leave(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused> {
        let user = self.user(&signed.user).ok_or_else(gone)?;
        let mut state = user.state.lock();
        self.leave_room(&user, &mut state, signed.socket, dialog);
        Ok(())
    }

    fn renew(&self, signed: &Signed, sign_on: SignOn) -> Result<Signed, Refused> {
        let declared = sign_on.subscribe.clone().map(|types| Selection::declared(Some(types))).transpose()?;
        let user = self.user(&signed.user).ok_or_else(gone)?;
        let mut state = user.state.lock();
        let before = wanted(&state);
        let own = state.sockets.get_mut(&signed.socket).ok_or_else(gone)?;
        own.declare(&sign_on, self.settings.undeclared);
        let recovered = match &sign_on.resume {
            None => false,
            // Its own, of which nothing was lost; or the one that it has back already.
            Some(resume) if own.resume.as_deref() == Some(&resume.token) => true,
            Some(resume) if own.came_from.as_deref() == Some(&resume.token) => true,
            Some(resume) => self.inherit(&user, &mut state, resume, signed.socket),
        };
        if let Some(selection) = declared
            && let Some(own) = state.sockets.get_mut(&signed.socket)
        {
            own.selection = selection;
        }
        if wanted(&state) != before {
            self.want(&signed.user, &state);
        }
        self.tap.fact(self.now(), Fact::Churn { user: signed.user.clone() });
        Ok(Signed { recovered, ..signed.clone() })
    }

    fn subscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        self.select(signed, |selection| selection.add(types))
    }

    fn unsubscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        self.select(signed, |selection| selection.remove(types))
    }

    fn typing(&self, signed: &Signed, dialog: &DialogId, start: bool) -> Result<(), Refused> {
        let user = self.user(&signed.user).ok_or_else(gone)?;
        let name = {
            let state = user.state.lock();
            let socket = state.sockets.get(&signed.socket).ok_or_else(gone)?;
            if !socket.rooms.contains(dialog) {
                return Err(Refused("not joined".into()));
            }
            socket.name.clone()
        };
        let packet = typing_packet(&signed.user, name.as_deref(), dialog, start);
        let others: Vec<Arc<User>> = match self.rooms.get(dialog) {
            Some(room) => room.values().cloned().collect(),
            None => Vec::new(),
        };
        for other in others {
            let state = other.state.lock();
            for (id, socket) in &state.sockets {
                if *id != signed.socket
                    && socket.rooms.contains(dialog)
                    && let Some(link) = &socket.link
                {
                    link.emit(packet.clone());
                    self.metrics.typing.increment(1);
                }
            }
        }
        Ok(())
    }
}

impl Hub {
    fn new_socket(
        &self,
        state: &mut State,
        sign_on: &SignOn,
        selection: Selection,
        owed: Option<Owed>,
    ) -> SocketId {
        let id = self.new_socket_id();
        let socket = Socket {
            link: Some(Arc::clone(&sign_on.link)),
            name: sign_on.name.clone(),
            form: form_of(sign_on.accepts.as_deref(), self.settings.undeclared),
            declared: Declared::of(sign_on.accepts.as_deref()),
            selection,
            rooms: std::collections::BTreeSet::new(),
            resume: None,
            came_from: None,
            replay: super::replay::Replay::default(),
            lost_at: None,
            owed,
            greeted: false,
            unreached: false,
        };
        state.sockets.insert(id, socket);
        id
    }

    /// The queue did not become live in time: the socket is owed a `bridge:resync` once it is.
    fn is_late(&self, user: &User, socket: SocketId, stage: Stage, since: Millis) -> bool {
        let mut state = user.state.lock();
        if state.queue_live {
            return true;
        }
        if stage.use_rabbitmq_updates()
            && let Some(socket) = state.sockets.get_mut(&socket)
        {
            socket.owed.get_or_insert(Owed { reason: "late_queue", since });
        }
        false
    }

    fn select(
        &self,
        signed: &Signed,
        change: impl FnOnce(&mut Selection) -> Result<(), Refused>,
    ) -> Result<Vec<String>, Refused> {
        let user = self.user(&signed.user).ok_or_else(gone)?;
        let mut state = user.state.lock();
        let before = wanted(&state);
        let socket = state.sockets.get_mut(&signed.socket).ok_or_else(gone)?;
        change(&mut socket.selection)?;
        let shown = socket.selection.shown();
        if wanted(&state) != before {
            self.want(&signed.user, &state);
        }
        self.tap.fact(self.now(), Fact::Churn { user: signed.user.clone() });
        Ok(shown)
    }

    pub(super) fn leave_room(&self, user: &Arc<User>, state: &mut State, socket: SocketId, dialog: &DialogId) {
        let Some(own) = state.sockets.get_mut(&socket) else { return };
        if !own.rooms.remove(dialog) {
            return;
        }
        self.tap.fact(self.now(), Fact::Churn { user: user.id.clone() });
        if state.joined(dialog).is_empty() {
            self.moved(&user.id, dialog, false);
            if let Some(mut room) = self.rooms.get_mut(dialog) {
                room.remove(&user.id);
            }
            self.rooms.remove_if(dialog, |_, room| room.is_empty());
        }
    }

    /// The user's first socket joined the room, or its last one left it.
    fn moved(&self, user: &UserId, dialog: &DialogId, joined: bool) {
        let fact = Fact::Room { user: user.clone(), dialog: dialog.clone(), joined };
        self.tap.fact(self.now(), fact);
    }

    /// Ends a socket for good.
    pub(super) fn drop_socket(&self, user: &Arc<User>, state: &mut State, id: SocketId) {
        let rooms: Vec<DialogId> = match state.sockets.get(&id) {
            Some(socket) => socket.rooms.iter().cloned().collect(),
            None => return,
        };
        for dialog in &rooms {
            self.leave_room(user, state, id, dialog);
        }
        let before = wanted(state);
        if let Some(socket) = state.sockets.remove(&id)
            && let Some(token) = socket.resume
        {
            self.tokens.remove(&token);
        }
        state.gate.forget(id);
        if !state.sockets.is_empty() && wanted(state) != before {
            self.want(&user.id, state);
        }
        self.count_sockets();
        debug!(user = %user.id, "socket of user is gone");
    }

    /// Sends what sockets are owed, as soon as they were greeted and their queue is live.
    pub(super) fn pay(&self, state: &mut State) {
        if state.gate.stage().use_rabbitmq_updates() && !state.queue_live {
            return;
        }
        let (now, bounds) = (self.now(), self.bounds());
        for socket in state.sockets.values_mut().filter(|socket| socket.greeted) {
            if let Some(Owed { reason, since }) = socket.owed.take() {
                socket.send(bounds, now, super::resync::packet(reason, since));
                self.metrics.resync(reason);
            }
        }
    }
}

fn gone() -> Refused {
    Refused("not authenticated".into())
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing<'a> {
    user_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    dialog_id: &'a DialogId,
}

fn typing_packet(user: &UserId, name: Option<&str>, dialog: &DialogId, start: bool) -> Packet {
    let body = Typing { user_id: user, user_name: name.filter(|_| start), dialog_id: dialog };
    let data = to_raw_value(&body).unwrap_or_default();
    let event = if start { "typing:start" } else { "typing:stop" };
    Packet { event, data: data.into(), message: None }
}
