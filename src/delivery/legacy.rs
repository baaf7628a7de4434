//! The legacy path: Chat3's createMessage answer to everyone in the room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bridge_core::compare::{Event, Fact, Payload, Seen};
use bridge_core::gate::Arrival;
use bridge_core::update::LegacyMessage;
use bridge_core::{DialogId, Key, MessageId, Millis, Path, UserId};
use serde_json::value::RawValue;

use super::hub::{Hub, OpenPost};
use super::user::{Copy, LegacyCopy, State, User};

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
        let fact = Fact::PostStarted { post, dialog: dialog.clone(), sender: sender.clone() };
        self.tap.fact(self.now(), fact);
        post
    }

    /// Chat3 accepted it: the broadcast leaves before this returns.
    pub fn post_accepted(&self, post: u64, dialog: &DialogId, sender: &UserId, data: Arc<RawValue>) {
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
        let joined = self.broadcast(&broadcast);
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

    /// Whether somebody is in the room; users of drills do not count.
    fn broadcast(&self, broadcast: &Broadcast) -> bool {
        let users: Vec<Arc<User>> = match self.rooms.get(&broadcast.copy.dialog) {
            Some(room) => room.values().cloned().collect(),
            None => return false,
        };
        let mut joined = false;
        for user in users {
            let mut state = user.state.lock();
            joined |= !state.drill;
            self.legacy_arrives(&user, &mut state, broadcast);
        }
        joined
    }

    fn legacy_arrives(&self, user: &Arc<User>, state: &mut State, broadcast: &Broadcast) {
        let now = self.now();
        let sockets = state.joined(&broadcast.copy.dialog);
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
            self.metrics.swallowed_legacy.increment(1);
        } else {
            state.hand(self.bounds(), now, &decision.emit, &arrival.payload);
            self.metrics.emitted_legacy.increment(1);
        }
        if decision.already {
            self.metrics.deduplicated.increment(1);
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
