//! What sockets ask for: signing on and off, rooms, subscriptions, typing.

use std::sync::Arc;
use std::time::Duration;

use bridge_core::recipient::{Answer, Claim, Input, LinkId, Presence, Selection, SignOn as Declared};
use bridge_core::{DialogId, Millis, SocketId, Stage};
use metrics::counter;
use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use super::packets;
use super::seat::Inner;
use super::token;
use crate::broker::QueueState;
use crate::sockets::{Front, Link, Refused, Resume, SignOn, Signed, TOO_MANY_SOCKETS};

/// How long sign-on waits in `shadow`, where nothing depends on the queue.
const SHADOW_WAIT: Duration = Duration::from_secs(1);

#[async_trait::async_trait]
impl Front for Hub {
    fn sign_on(&self, sign_on: SignOn) -> Result<Signed, Refused> {
        let selection = sign_on.subscribe.clone().map(selection).transpose()?;
        let user = sign_on.user.clone();
        let signed = self.with_user(&user, |seat, inner| {
            if inner.connections() >= self.settings.user_sockets {
                counter!("bridge_limit_refusals_total", "limit" => "user_sockets").increment(1);
                return Err(Refused(TOO_MANY_SOCKETS.into()));
            }
            let link = LinkId(self.number());
            inner.connect(link, Arc::clone(&sign_on.link));
            let claim = sign_on.resume.as_ref().map(|resume| self.claim(inner, &sign_on, resume));
            let declared = Declared {
                socket: SocketId(self.number()),
                link,
                name: sign_on.name.clone(),
                accepts: sign_on.accepts.as_deref(),
                undeclared: self.settings.undeclared,
                selection,
                claim,
            };
            let answer = self.apply_locked(inner, seat, Input::SignedOn(declared));
            let Answer::Signed { socket, recovered, whole_until } = answer else {
                return Err(gone());
            };
            if !recovered {
                self.socket_came();
            }
            Ok(Signed {
                socket,
                user: user.clone(),
                resume: self.give_token(inner, socket, whole_until),
                recovered,
            })
        })?;
        self.registry.note_token(signed.resume.clone(), user);
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
            let Some(seat) = self.registry.user(&signed.user) else { return false };
            let stage = seat.inner.lock().recipient.stage();
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
                return self.apply(&seat, Input::Late { socket: signed.socket, since }) == Answer::Ready(true);
            }
            tokio::select! {
                _ = queue.changed() => {}
                _ = changed.changed() => {}
                () = sleep_until(end) => {}
            }
        }
    }

    fn greeted(&self, signed: &Signed) {
        self.tell(&signed.user, Input::Greeted { socket: signed.socket });
    }

    fn sign_off(&self, signed: &Signed, link: &Arc<dyn Link>, for_good: bool) {
        let Some(seat) = self.registry.user(&signed.user) else { return };
        let mut inner = seat.inner.lock();
        let Some(id) = inner.link_id(link) else { return };
        let handed = link.close();
        self.apply_locked(&mut inner, &seat, Input::Lost { link: id, handed, for_good });
        inner.disconnect(id);
        self.settle(&seat, inner);
    }

    fn expect(&self, signed: &Signed, dialog: &DialogId) {
        self.members.expect(dialog, &signed.user);
    }

    async fn join(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused> {
        if self.has_all_rooms(signed, dialog) {
            return Err(too_many_rooms());
        }
        self.members.may_join(dialog, &signed.user).await?;
        let input = Input::Joined { socket: signed.socket, dialog: dialog.clone() };
        match self.tell(&signed.user, input) {
            Answer::Gone => Err(gone()),
            Answer::TooManyRooms => Err(too_many_rooms()),
            _ => Ok(()),
        }
    }

    fn leave(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused> {
        match self.tell(&signed.user, Input::Left { socket: signed.socket, dialog: dialog.clone() }) {
            Answer::Gone => Err(gone()),
            _ => Ok(()),
        }
    }

    fn renew(&self, signed: &Signed, sign_on: SignOn) -> Result<Signed, Refused> {
        let selection = sign_on.subscribe.clone().map(selection).transpose()?;
        let seat = self.registry.user(&signed.user).ok_or_else(gone)?;
        let mut inner = seat.inner.lock();
        let claim = sign_on.resume.as_ref().map(|resume| self.claim(&inner, &sign_on, resume));
        let declared = Declared {
            socket: signed.socket,
            link: inner.link_id(&sign_on.link).unwrap_or(LinkId(0)),
            name: sign_on.name.clone(),
            accepts: sign_on.accepts.as_deref(),
            undeclared: self.settings.undeclared,
            selection,
            claim,
        };
        let input = Input::Renewed { socket: signed.socket, sign_on: declared };
        let answer = self.apply_locked(&mut inner, &seat, input);
        let Answer::Signed { recovered, whole_until, .. } = answer else {
            self.settle(&seat, inner);
            return Err(gone());
        };
        // Its own token says that it had everything when it signed on; with what it claims now it may lack more.
        let renewed = sign_on.resume.is_some().then(|| self.give_token(&mut inner, signed.socket, whole_until));
        self.settle(&seat, inner);
        if let Some(token) = &renewed {
            self.registry.note_token(token.clone(), signed.user.clone());
        }
        let resume = renewed.unwrap_or_else(|| signed.resume.clone());
        Ok(Signed { recovered, resume, ..signed.clone() })
    }

    fn subscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        selected(self.tell(&signed.user, Input::Subscribed { socket: signed.socket, types }))
    }

    fn unsubscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        selected(self.tell(&signed.user, Input::Unsubscribed { socket: signed.socket, types }))
    }

    fn typing(&self, signed: &Signed, dialog: &DialogId, start: bool) -> Result<(), Refused> {
        let seat = self.registry.user(&signed.user).ok_or_else(gone)?;
        let name = {
            let inner = seat.inner.lock();
            let socket = inner.recipient.socket(signed.socket).ok_or_else(gone)?;
            if !socket.is_in(dialog) {
                return Err(Refused("not joined".into()));
            }
            socket.name().cloned()
        };
        let (event, data) = packets::typing(&signed.user, name.as_deref(), dialog, start);
        for other in self.registry.room(dialog) {
            let mut inner = other.inner.lock();
            let to: Vec<LinkId> = inner.recipient.connections_in(dialog, Some(signed.socket)).collect();
            inner.relay(&to, event, &data);
            self.settle(&other, inner);
        }
        Ok(())
    }
}

impl Hub {
    /// A token for `socket`, whose client had everything until `whole_until`.
    fn give_token(&self, inner: &mut Inner, socket: SocketId, whole_until: Millis) -> String {
        let token = token::new(whole_until);
        self.registry.forget_tokens(&inner.give_token(token.clone(), socket));
        token
    }

    /// Whether a socket is in as many rooms as one may be, and not in this one.
    fn has_all_rooms(&self, signed: &Signed, dialog: &DialogId) -> bool {
        let Some(seat) = self.registry.user(&signed.user) else { return false };
        let inner = seat.inner.lock();
        let own = inner.recipient.socket(signed.socket);
        own.is_some_and(|own| own.rooms().len() >= self.settings.rooms && !own.is_in(dialog))
    }

    /// What a token stands for. The connection of the socket that it names, if it has one, takes nothing any more.
    fn claim<'a>(&self, inner: &Inner, sign_on: &SignOn, resume: &'a Resume) -> Claim<'a> {
        // Until when its client had everything, its token says; one that says nothing is not from here.
        let since = token::whole_until(&resume.token, self.now()).unwrap_or(self.started);
        let unknown = Claim::Unknown { since };
        if self.registry.owner(&resume.token).as_ref() != Some(&sign_on.user) {
            return unknown;
        }
        let Some((socket, superseded)) = inner.socket_of(&resume.token) else { return unknown };
        let Some(own) = inner.recipient.socket(socket) else { return unknown };
        let last = resume.last.as_deref();
        match own.presence() {
            // Who has the newer token is there, and answered: two that share a token would drive each other out.
            Presence::Connected { link, greeted: true } if superseded && !is_own(inner, link, sign_on) => unknown,
            Presence::Connected { link, .. } if !is_own(inner, link, sign_on) => {
                let handed = inner.link(link).map(|link| link.close());
                Claim::Of { socket, last, handed }
            }
            _ => Claim::Of { socket, last, handed: None },
        }
    }
}

fn is_own(inner: &Inner, link: LinkId, sign_on: &SignOn) -> bool {
    inner.link_id(&sign_on.link) == Some(link)
}

fn selection(types: Vec<String>) -> Result<Selection, Refused> {
    Selection::declared(Some(types)).map_err(|error| Refused(error.to_string()))
}

fn selected(answer: Answer) -> Result<Vec<String>, Refused> {
    match answer {
        Answer::Selected(shown) => Ok(shown),
        Answer::InvalidType => Err(Refused("invalid type".into())),
        _ => Err(gone()),
    }
}

fn too_many_rooms() -> Refused {
    counter!("bridge_limit_refusals_total", "limit" => "rooms").increment(1);
    Refused("too many rooms".into())
}

fn gone() -> Refused {
    Refused("not authenticated".into())
}
