//! The legacy path: Chat3's createMessage answer to everyone in the room.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_core::compare::{Event, Fact, Payload, Seen};
use bridge_core::gate::{Arrival, Sockets};
use bridge_core::update::LegacyMessage;
use bridge_core::{DialogId, Key, MessageId, Millis, Path, UserId};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::hub::{Hub, OpenPost};
use super::user::{Copy, LegacyCopy, State, User};

/// So long a broadcast waits for who the members are, once Chat3 has accepted the message.
const AUDIENCE: Duration = Duration::from_secs(1);

/// One accepted message on its way to a room.
struct Broadcast {
    key: Key,
    id: MessageId,
    sender: UserId,
    copy: Arc<LegacyCopy>,
    since: Millis,
}

impl Hub {
    /// A POST is about to be forwarded to Chat3; returns its number.
    pub fn post_started(&self, dialog: &DialogId, sender: &UserId) -> u64 {
        let post = self.posts.fetch_add(1, Ordering::Relaxed);
        self.posts_open.insert(post, OpenPost { since: self.now(), dialog: dialog.clone() });
        if self.settings.members_hear_legacy {
            self.members.expect_list(dialog);
        }
        let fact = Fact::PostStarted { post, dialog: dialog.clone(), sender: sender.clone() };
        self.tap.fact(self.now(), fact);
        post
    }

    /// Chat3 accepted it: the broadcast leaves before this returns.
    ///
    /// `members` hear it too, joined or not; `None` where only the room does, or they are not known.
    pub fn post_accepted(
        &self,
        post: u64,
        dialog: &DialogId,
        sender: &UserId,
        data: Arc<RawValue>,
        members: Option<Arc<HashSet<String>>>,
    ) {
        // Who is in the room from now on is reached, or came too late.
        let answered = self.now();
        let read = LegacyMessage::read(&data);
        // While it is open, or mapped: an update looks for its dialog in both.
        if let Some(mongo) = &read.dialog_mongo {
            self.dialogs.learn(mongo, dialog);
        }
        // The answer to a POST that was given up may come after all; it began before anything that matters now.
        let since = self.posts_open.remove(&post).map_or(Millis(0), |(_, open)| open.since);
        let Some(key) = read.message.key(&self.settings.tenant) else {
            // Chat3's client lets no answer without an id pass.
            self.tap.fact(self.now(), Fact::PostUnknown { post });
            return;
        };
        let message = read.message.clone();
        let copy = Arc::new(LegacyCopy { data, dialog: dialog.clone(), message });
        let broadcast = Broadcast { key: key.clone(), id: read.message, sender: sender.clone(), copy, since };
        let joined = self.broadcast(&broadcast, members.as_deref());
        if joined || self.user(sender).is_some_and(|user| !user.state.lock().drill) {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.tap.fact(answered, Fact::PostAccepted { post, key, dialog_mongo: read.dialog_mongo });
    }

    /// Which `dlg_` id a dialog's Mongo id belongs to, as Chat3 said when it was asked about the dialog.
    pub fn dialog_is(&self, mongo: &str, dialog: &DialogId) {
        self.dialogs.learn(&mongo.into(), dialog);
    }

    /// Chat3 refused it: there is no message.
    pub fn post_refused(&self, post: u64) {
        self.posts_open.remove(&post);
        self.tap.fact(self.now(), Fact::PostRefused { post });
    }

    /// It ended without a readable answer. An answer that comes after all is still taken by
    /// [`Self::post_accepted`].
    pub fn post_unknown(&self, post: u64) {
        self.posts_open.remove(&post);
        self.tap.fact(self.now(), Fact::PostUnknown { post });
    }

    /// Chat3 accepted it. With `legacy.audience = "members"` the broadcast waits a moment for who they are; whom that
    /// answer does not include in time is reached when it comes.
    pub async fn accepted(self: &Arc<Self>, post: u64, dialog: &DialogId, sender: &UserId, data: Arc<RawValue>) {
        if !self.settings.members_hear_legacy {
            return self.post_accepted(post, dialog, sender, data, None);
        }
        let mut asked = Box::pin(self.members.list(dialog));
        match timeout(AUDIENCE, &mut asked).await {
            Ok(members) => {
                if members.is_none() {
                    self.metrics.audience_unknown.increment(1);
                }
                self.post_accepted(post, dialog, sender, data, members);
            }
            Err(_) => {
                self.metrics.audience_late.increment(1);
                let since = self.posts_open.get(&post).map_or(Millis(0), |open| open.since);
                self.post_accepted(post, dialog, sender, Arc::clone(&data), None);
                // The caller has its answer by now; the question has its own limit.
                let (hub, dialog, sender) = (Arc::clone(self), dialog.clone(), sender.clone());
                tokio::spawn(async move {
                    match hub.members.list(&dialog).await {
                        Some(members) => hub.reach_members(&dialog, &sender, data, since, &members),
                        None => hub.metrics.audience_unknown.increment(1),
                    }
                });
            }
        }
    }

    /// Reaches those of `members` whom the broadcast did not.
    fn reach_members(
        &self,
        dialog: &DialogId,
        sender: &UserId,
        data: Arc<RawValue>,
        since: Millis,
        members: &HashSet<String>,
    ) {
        let read = LegacyMessage::read(&data);
        let Some(key) = read.message.key(&self.settings.tenant) else { return };
        let copy = Arc::new(LegacyCopy { data, dialog: dialog.clone(), message: read.message.clone() });
        let broadcast = Broadcast { key, id: read.message, sender: sender.clone(), copy, since };
        let in_room = |user: &UserId| self.rooms.get(dialog).is_some_and(|room| room.contains_key(user));
        for user in self.connected(members).into_iter().filter(|user| !in_room(&user.id)) {
            let mut state = user.state.lock();
            let sockets = state.present();
            self.legacy_arrives(&user, &mut state, &broadcast, sockets);
        }
    }

    /// Those of `members` who are here.
    fn connected(&self, members: &HashSet<String>) -> Vec<Arc<User>> {
        let here = |member: &String| self.users.get(member.as_str()).map(|user| Arc::clone(&user));
        members.iter().filter_map(here).collect()
    }

    /// Whether somebody here hears it; users of drills do not count.
    fn broadcast(&self, broadcast: &Broadcast, members: Option<&HashSet<String>>) -> bool {
        let dialog = &broadcast.copy.dialog;
        let mut users: Vec<Arc<User>> = match self.rooms.get(dialog) {
            Some(room) => room.values().cloned().collect(),
            None => Vec::new(),
        };
        let is_member = |user: &User| members.is_some_and(|members| members.contains(user.id.as_str()));
        users.retain(|user| !is_member(user));
        users.extend(members.iter().flat_map(|members| self.connected(members)));
        let (mut heard, mut flows) = (false, false);
        for user in users {
            let mut state = user.state.lock();
            heard |= !state.drill;
            flows |= !state.drill && state.queue_live && !state.subscribed("message").is_empty();
            let sockets = if is_member(&user) { state.present() } else { state.joined(dialog) };
            self.legacy_arrives(&user, &mut state, broadcast, sockets);
        }
        if flows {
            self.flow.accepted(broadcast.since);
        }
        heard
    }

    fn legacy_arrives(&self, user: &Arc<User>, state: &mut State, broadcast: &Broadcast, sockets: Sockets) {
        let now = self.now();
        if sockets.is_empty() {
            return;
        }
        let stage = state.gate.stage();
        let arrival = Arrival {
            path: Path::Legacy,
            key: broadcast.key.clone(),
            sockets,
            since: broadcast.since,
            payload: Copy::Legacy(Arc::clone(&broadcast.copy)),
            bytes: broadcast.copy.data.get().len(),
        };
        let decision = state.gate.arrive(now, &arrival);
        if decision.emit.is_empty() {
            self.metrics_of(state.drill).swallowed_legacy.increment(1);
        } else {
            state.hand(self.bounds(), now, &decision.emit, &arrival.payload);
            self.metrics_of(state.drill).emitted_legacy.increment(1);
        }
        if decision.already {
            self.metrics_of(state.drill).deduplicated.increment(1);
        }
        self.mind(user, state);
        if stage.shadow_mode() {
            self.tap.event(Event::Seen(Box::new(self.legacy_seen(now, user, state, broadcast, arrival))));
        }
    }

    fn legacy_seen(
        &self,
        at: Millis,
        user: &User,
        state: &State,
        broadcast: &Broadcast,
        arrival: Arrival<Copy>,
    ) -> Seen {
        let dialog = &broadcast.copy.dialog;
        Seen {
            at,
            path: Path::Legacy,
            user: user.id.clone(),
            tenant: Arc::clone(&self.settings.tenant),
            key: arrival.key,
            message: Some(broadcast.id.clone()),
            dialog: Some(dialog.clone()),
            event: "message.create".into(),
            sender: Some(broadcast.sender.shared()),
            stage: state.gate.stage(),
            joined: Some(arrival.sockets.clone()),
            sockets: arrival.sockets,
            present: state.present(),
            rooms: Vec::new(),
            subscribed: state.subscribed("message"),
            routing_key: None,
            redelivered: false,
            broker_up: self.session_up.load(Ordering::Acquire),
            queue_ready: state.queue_live,
            member: self.members.known(dialog, &user.id),
            drill: state.drill,
            payload: Payload::Legacy(Arc::clone(&broadcast.copy.data)),
        }
    }
}
