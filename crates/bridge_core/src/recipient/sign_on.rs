//! Signing on and off, and going on from an earlier socket.

use crate::compare::Fact;
use crate::stage::Path;
use crate::{DialogId, Millis, SocketId};

use super::{
    Answer, Claim, Count, Declared, Effect, LinkId, MOST_ROOMS, Parcel, Presence, Reason, Recipient, Resync,
    Selection, SignOn, Socket, Turn,
};

impl Recipient {
    pub(super) fn sign_on(&mut self, turn: &mut Turn<'_>, sign_on: SignOn<'_>) -> Answer {
        // A client that takes a synthetic user's id makes it a real one.
        self.end_synthetic(turn);
        let resumed = match sign_on.claim {
            Some(claim) => self.take_over(turn, claim, sign_on.link).map_err(Some),
            None => Err(None),
        };
        let (socket, recovered) = match resumed {
            Ok(socket) => (socket, true),
            Err(owed) => {
                let presence = Presence::Connected { link: sign_on.link, greeted: false };
                let selection = sign_on.selection.clone().unwrap_or_default();
                let mut socket = Socket::new(sign_on.socket, presence, sign_on.undeclared, selection);
                socket.owed = owed;
                self.sockets.push(socket);
                (sign_on.socket, false)
            }
        };
        self.declare(socket, &sign_on);
        turn.fact(Fact::Churn { user: self.id.clone() });
        self.want(turn);
        Answer::Signed { socket, recovered, whole_until: self.whole_until(turn, socket, recovered) }
    }

    pub(super) fn renew(&mut self, turn: &mut Turn<'_>, id: SocketId, sign_on: SignOn<'_>) -> Answer {
        if self.socket(id).is_none() {
            return Answer::Gone;
        }
        self.declare(id, &sign_on);
        let recovered = match sign_on.claim {
            None => false,
            // Its own, of which nothing was lost; or one that it has back already.
            Some(Claim::Of { socket, .. }) if socket == id => true,
            Some(claim) => self.inherit(turn, claim, id),
        };
        if let (Some(selection), Some(own)) = (sign_on.selection, self.socket_mut(id)) {
            own.selection = selection;
        }
        turn.fact(Fact::Churn { user: self.id.clone() });
        self.want(turn);
        Answer::Signed { socket: id, recovered, whole_until: self.whole_until(turn, id, recovered) }
    }

    /// The last moment known whole of what a socket's client has, as long as it took nothing more.
    fn whole_until(&self, turn: &Turn<'_>, id: SocketId, recovered: bool) -> Millis {
        let now = turn.now;
        // Who goes on waits for what the gate still holds, too, and for what the broker does, or has lost.
        let held = recovered.then(|| Millis(now.0.saturating_sub(self.rules.gate.window)));
        let heard = recovered.then(|| turn.world.heard().into_iter().chain(self.lost_since)).into_iter().flatten();
        let heard = heard.filter(|heard| !super::is_legacy(self.stage()) || self.is_untold(*heard));
        let lacks = self.socket(id).into_iter().flat_map(|own| {
            let owed = own.owed.map(|gap| gap.since);
            owed.into_iter().chain(own.replay.whole_handed())
        });
        lacks.chain(held).chain(heard).chain([now]).min().unwrap_or(now)
    }

    /// What a client says of itself when it signs on, and again when it renews that.
    fn declare(&mut self, id: SocketId, sign_on: &SignOn<'_>) {
        let Some(socket) = self.socket_mut(id) else { return };
        if sign_on.name.is_some() {
            socket.name.clone_from(&sign_on.name);
        }
        if sign_on.accepts.is_some() {
            socket.declared = Declared::of(sign_on.accepts);
            socket.form = socket.declared.form(sign_on.undeclared);
        }
    }

    /// Gives the earlier socket the new connection and everything it missed; else what the client is owed.
    fn take_over(&mut self, turn: &mut Turn<'_>, claim: Claim<'_>, link: LinkId) -> Result<SocketId, Resync> {
        let (id, has) = self.reclaim(turn, claim)?;
        if let Some(socket) = self.socket_mut(id) {
            socket.presence = Presence::Connected { link, greeted: false };
            let form = socket.form;
            for (serial, _, parcel) in socket.replay.after(has) {
                turn.push(Effect::Send { link, serial, form, parcel });
            }
        }
        Ok(id)
    }

    /// A client that has signed on already names its earlier socket: `to` gets that one's rooms, subscriptions and
    /// what it missed, except what `to` was given meanwhile. Says whether it did; else `to` is owed a resync.
    fn inherit(&mut self, turn: &mut Turn<'_>, claim: Claim<'_>, to: SocketId) -> bool {
        let (from, has) = match self.reclaim(turn, claim) {
            Ok(reclaimed) => reclaimed,
            Err(owed) => {
                if let Some(own) = self.socket_mut(to) {
                    own.owe(owed);
                    // It is told after the answer.
                    if let Presence::Connected { greeted, .. } = &mut own.presence {
                        *greeted = false;
                    }
                }
                return false;
            }
        };
        let Some(old) = self.socket_mut(from) else { return false };
        let (mut missed, owed) = (old.replay.after(has), old.owed);
        let (rooms, selection) = (old.rooms.clone(), old.selection.clone());
        for dialog in rooms.into_iter().take(MOST_ROOMS) {
            let _too_many_are_left = self.join(turn, to, dialog);
        }
        let limit = turn.world.replay_limit();
        let Ok(place) = self.place(to) else { return false };
        let own = &mut self.sockets[place];
        // What its own transport took may be kept no more, and what is sent now pushes out what it was sent before.
        let had = |parcel: &Parcel| match parcel {
            Parcel::Copy(copy) => own.replay.contains(parcel) || self.gate.has(to, copy.key()),
            Parcel::Resync(_) => own.replay.contains(parcel),
        };
        missed.retain(|(_, _, parcel)| !had(parcel));
        own.selection = selection;
        if let Some(owed) = owed {
            own.owe(owed);
        }
        for (_, at, parcel) in missed {
            own.send_since(at, &self.rules, limit, turn, parcel);
        }
        self.gate.inherit(from, to);
        self.end(turn, from, Some(to));
        true
    }

    /// The claimed socket, its old connection ended, and how many of the parcels that are kept its client has; else
    /// what it is owed.
    fn reclaim(&mut self, turn: &mut Turn<'_>, claim: Claim<'_>) -> Result<(SocketId, usize), Resync> {
        let failed = |since| Resync { reason: Reason::ResumeFailed, since };
        let (id, last, handed) = match claim {
            Claim::Of { socket, last, handed } => (socket, last, handed),
            Claim::Unknown { since } => return Err(failed(since)),
        };
        let (now, age) = (turn.now, self.rules.replay_age);
        let Some(socket) = self.socket_mut(id) else { return Err(failed(now)) };
        if let Presence::Connected { link, .. } = socket.presence {
            turn.push(Effect::Cut { link });
            socket.lose(now, handed.unwrap_or_default());
        }
        let (lost, mut owed) = match socket.presence {
            Presence::Lost { since } => match socket.replay.has(last) {
                Some(has) => return Ok((id, has)),
                None => (since, failed(socket.replay.whole_before().unwrap_or(since))),
            },
            Presence::Spoiled { since, whole_until } => {
                (since, Resync { reason: Reason::SlowClient, since: whole_until })
            }
            Presence::Connected { .. } | Presence::Synthetic { .. } => return Err(failed(now)),
        };
        // It may lack what a transport took and what is kept no more; not what is older than that is kept for it.
        owed.since = owed.since.min(Millis(lost.0.saturating_sub(age)));
        if let Some(earlier) = socket.owed {
            // What it was owed and not told yet.
            owed.since = owed.since.min(earlier.since);
        }
        self.end(turn, id, None);
        Err(owed)
    }

    pub(super) fn greet(&mut self, turn: &mut Turn<'_>, id: SocketId) {
        if let Some(socket) = self.socket_mut(id)
            && let Presence::Connected { greeted, .. } = &mut socket.presence
        {
            *greeted = true;
        }
        self.pay(turn);
    }

    /// The queue did not become live in time: the socket is owed a `bridge:resync` once it is.
    pub(super) fn late(&mut self, id: SocketId, since: Millis) -> Answer {
        if self.queue_live {
            return Answer::Ready(true);
        }
        if self.stage().use_rabbitmq_updates()
            && let Some(socket) = self.socket_mut(id)
        {
            socket.owe(Resync { reason: Reason::LateQueue, since });
        }
        Answer::Ready(false)
    }

    pub(super) fn lose(&mut self, turn: &mut Turn<'_>, link: LinkId, handed: u64, for_good: bool) {
        let over = |socket: &&mut Socket| socket.presence.link() == Some(link);
        let Some(socket) = self.sockets.iter_mut().find(over) else { return };
        let id = socket.id;
        socket.lose(turn.now, handed);
        if for_good || self.rules.linger == 0 {
            self.end(turn, id, None);
        }
        turn.fact(Fact::Churn { user: self.id.clone() });
    }

    pub(super) fn handed_over(&mut self, link: LinkId, up_to: u64) {
        if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.presence.link() == Some(link)) {
            socket.replay.handed_over(up_to);
        }
    }

    /// Ends a socket for good.
    pub(super) fn end(&mut self, turn: &mut Turn<'_>, id: SocketId, into: Option<SocketId>) {
        let Ok(place) = self.place(id) else { return };
        let socket = self.sockets.remove(place);
        self.ended(turn, &socket, into);
        self.want(turn);
    }

    /// Ends all sockets that `are` it for good, in one walk: a user may have thousands.
    pub(super) fn end_those(&mut self, turn: &mut Turn<'_>, are: impl Fn(&Socket) -> bool) {
        if !self.sockets.iter().any(&are) {
            return;
        }
        let (over, rest): (Vec<_>, Vec<_>) = self.sockets.drain(..).partition(are);
        self.sockets = rest;
        over.iter().for_each(|socket| self.ended(turn, socket, None));
        self.want(turn);
    }

    fn ended(&mut self, turn: &mut Turn<'_>, socket: &Socket, into: Option<SocketId>) {
        for dialog in &socket.rooms {
            self.vacate(turn, dialog);
        }
        self.gate.forget(socket.id);
        turn.push(Effect::Ended { socket: socket.id, into });
    }

    pub(super) fn synthesize(
        &mut self,
        turn: &mut Turn<'_>,
        id: SocketId,
        selection: Selection,
        room: Option<DialogId>,
        unreached: bool,
    ) {
        self.queue_live = true;
        let presence = Presence::Synthetic { unreached };
        self.sockets.push(Socket::new(id, presence, crate::form::Form::Update, selection));
        if let Some(dialog) = room {
            self.place_in(turn, id, dialog);
        }
    }

    pub(super) fn end_synthetic(&mut self, turn: &mut Turn<'_>) {
        if self.is_synthetic() {
            let synthetic: Vec<SocketId> = self.sockets.iter().map(Socket::id).collect();
            synthetic.into_iter().for_each(|id| self.end(turn, id, None));
            self.queue_live = false;
        }
    }

    pub(super) fn select(&mut self, turn: &mut Turn<'_>, id: SocketId, types: Vec<String>, add: bool) -> Answer {
        let Some(socket) = self.socket_mut(id) else { return Answer::Gone };
        let selection = &mut socket.selection;
        if (if add { selection.add(types) } else { selection.remove(types) }).is_err() {
            return Answer::InvalidType;
        }
        let shown = selection.shown();
        self.want(turn);
        turn.fact(Fact::Churn { user: self.id.clone() });
        Answer::Selected(shown)
    }

    pub(super) fn queue_lives(&mut self, turn: &mut Turn<'_>, gap: Option<Resync>) {
        self.queue_live = true;
        self.lost_since = None;
        if gap.is_some() {
            turn.fact(Fact::QueueRenewed { user: self.id.clone() });
        }
        // In a flip back it may have been told already, with the flip.
        let told = |since: Millis| super::is_legacy(self.stage()) && since <= self.told;
        match gap {
            Some(gap) if self.gate.emits(Path::Rabbitmq, turn.now) && !told(gap.since) => self.resync(turn, gap),
            _ => self.pay(turn),
        }
    }

    /// `since`: it was lost, and with it what was published from then on.
    pub(super) fn queue_goes(&mut self, turn: &mut Turn<'_>, since: Option<Millis>) {
        if since.is_none() {
            self.lost_since = None;
        }
        if std::mem::replace(&mut self.queue_live, false) {
            self.lost_since = since;
            turn.fact(Fact::QueueLost { user: self.id.clone() });
        }
    }

    /// The rabbitmq path begins anew: what was wanted before is forgotten.
    pub(super) fn want_anew(&mut self, turn: &mut Turn<'_>) {
        self.wanted = None;
        self.want(turn);
    }

    /// Wants the queue for what the sockets want, when the rabbitmq path runs and that has changed.
    pub(super) fn want(&mut self, turn: &mut Turn<'_>) {
        if !turn.world.is_running() || self.is_synthetic() || self.sockets.is_empty() {
            return;
        }
        let types = Selection::union(self.sockets.iter().map(Socket::selection));
        if self.wanted.as_ref() != Some(&types) {
            self.wanted = Some(types.clone());
            turn.push(Effect::Want(types));
        }
    }

    /// Tells every socket that there was a gap.
    pub(super) fn resync(&mut self, turn: &mut Turn<'_>, gap: Resync) {
        let limit = turn.world.replay_limit();
        for socket in &mut self.sockets {
            // It may lack something from longer ago.
            socket.owe(gap);
            let told = socket.owed.take().unwrap_or(gap);
            socket.send(&self.rules, limit, turn, Parcel::Resync(told));
        }
        turn.count(Count::Resync(gap.reason));
    }

    /// Sends what sockets are owed, as soon as they were greeted and their queue is live.
    pub(super) fn pay(&mut self, turn: &mut Turn<'_>) {
        if self.stage().use_rabbitmq_updates() && !self.queue_live {
            return;
        }
        let limit = turn.world.replay_limit();
        for socket in &mut self.sockets {
            if matches!(socket.presence, Presence::Connected { greeted: true, .. })
                && let Some(gap) = socket.owed.take()
            {
                socket.send(&self.rules, limit, turn, Parcel::Resync(gap));
                turn.effects.push(Effect::Count(Count::Resync(gap.reason)));
            }
        }
    }
}
