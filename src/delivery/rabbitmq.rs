//! The rabbitmq path: Updates from the broker to the sockets of the user they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bridge_core::compare::{Event, Fact, Payload, Seen};
use bridge_core::gate::Arrival;
use bridge_core::update::Update;
use bridge_core::{DialogId, Millis, Path, UserId};
use tracing::debug;

use super::hub::{Hub, gap_name};
use super::user::{Copy, State, User};
use crate::broker::{Delivery, Disposition, GapReason, Inbox};

/// A timestamp below this is in seconds: as milliseconds it would be in 1973.
const A_SECOND_COUNT: u64 = 100_000_000_000;

impl Inbox for Hub {
    fn deliver(&self, delivery: Delivery) -> Disposition {
        self.take(delivery, false)
    }

    fn session(&self, up: bool) {
        let now = self.now();
        if self.session_up.swap(up, Ordering::AcqRel) != up {
            self.session_since.store(now.0, Ordering::Release);
        }
        self.session_lost_at.store(if up { 0 } else { now.0 }, Ordering::Release);
        self.tap.fact(now, Fact::Session { up });
        self.changed.send_modify(|count| *count += 1);
    }

    fn queue_live(&self, id: &UserId, gap: Option<(GapReason, Millis)>) {
        let Some(user) = self.user(id) else { return };
        let now = self.now();
        let mut state = user.state.lock();
        state.queue_live = true;
        debug!(user = %id, "queue for user is live");
        if gap.is_some() {
            self.tap.fact(now, Fact::QueueRenewed { user: id.clone() });
        }
        // In a flip back it may have been told already, with the flip.
        let told = |since: Millis| state.gate.stage().authority() == Path::Legacy && since <= state.told;
        match gap {
            Some((reason, since)) if state.gate.emits(Path::Rabbitmq, now) && !told(since) => {
                self.resync(&mut state, now, gap_name(reason), since);
            }
            _ => self.pay(&mut state),
        }
    }

    fn queue_lost(&self, id: &UserId) {
        if let Some(user) = self.user(id) {
            let mut state = user.state.lock();
            if std::mem::replace(&mut state.queue_live, false) {
                self.tap.fact(self.now(), Fact::QueueLost { user: id.clone() });
            }
        }
    }
}

impl Hub {
    /// Takes one Update, from the broker or from a drill, which is counted nowhere.
    pub(super) fn take(&self, delivery: Delivery, drill: bool) -> Disposition {
        let metrics = self.metrics_of(drill);
        metrics.received.increment(1);
        let update = match Update::read(&delivery.body, self.unreadable.unique()) {
            Ok(update) => update,
            Err(error) => {
                metrics.rejected(error.name());
                self.unreadable.log(&delivery.routing_key, &error, self.now());
                let fact = Fact::Rejected { user: delivery.header_user, entity: delivery.header_entity };
                self.tap.fact(self.now(), fact);
                return Disposition::Reject;
            }
        };
        if update.repaired {
            metrics.repaired.increment(1);
        }
        if *update.tenant != *self.settings.tenant {
            metrics.foreign.increment(1);
            return Disposition::Ack;
        }
        let named = self.routes.user_of(&delivery.routing_key, &update.user);
        let reached = delivery.queue_of.as_ref().map(UserId::as_str).or(named).unwrap_or(&update.user);
        let for_another = named.is_some_and(|user| *user != *update.user) || *reached != *update.user;
        let Some(user) = UserId::new(reached).ok().and_then(|id| self.user(&id)) else {
            if for_another {
                metrics.leaked.increment(1);
            } else {
                metrics.nobody.increment(1);
            }
            self.updates.fetch_add(1, Ordering::Relaxed);
            return Disposition::Ack;
        };
        let update = Arc::new(update);
        let mut state = user.state.lock();
        if !state.drill {
            self.updates.fetch_add(1, Ordering::Relaxed);
            if update.message.is_some() {
                self.flow.came(self.now());
            }
        }
        if for_another {
            self.leaks(&user, &state, &delivery, &update);
        } else {
            self.update_arrives(&user, &mut state, &delivery, &update);
        }
        Disposition::Ack
    }

    fn update_arrives(&self, user: &Arc<User>, state: &mut State, delivery: &Delivery, update: &Arc<Update>) {
        let now = self.now();
        let kind = delivery.routing_key.rsplit('.').next().unwrap_or_default();
        debug!(user = %user.id, event = %update.event, "received update for user");
        if let Some(published) = delivery.published {
            // AMQP's own unit is the second, Chat3's the millisecond.
            let published = if published.0 < A_SECOND_COUNT { Millis(published.0 * 1_000) } else { published };
            *self.lag.lock() = (now, now.since(published));
        }
        let stage = state.gate.stage();
        if state.subscribed(kind).is_empty() {
            // Nobody asked for it: the queue of the instance has it anyway, that of a user for a moment after its last
            // subscriber left. In no topology it is an observation.
            if update.message.is_some() && stage.shadow_mode() {
                self.tap.fact(now, Fact::Unwanted { user: user.id.clone(), key: update.key.clone() });
            }
            return;
        }
        let arrival = Arrival {
            path: Path::Rabbitmq,
            key: update.key.clone(),
            sockets: state.reached(kind),
            since: now,
            payload: Copy::Update(Arc::clone(update)),
            bytes: update.body.get().len(),
        };
        let decision = state.gate.arrive(now, &arrival);
        if decision.emit.is_empty() {
            self.metrics_of(state.drill).swallowed_rabbitmq.increment(1);
        } else {
            debug!(user = %user.id, sockets = decision.emit.len(), "sent update to client");
            state.hand(self.bounds(), now, &decision.emit, &arrival.payload);
            self.metrics_of(state.drill).emitted_rabbitmq.increment(1);
        }
        if decision.already {
            self.metrics_of(state.drill).deduplicated.increment(1);
        }
        self.mind(user, state);
        if stage.shadow_mode() {
            let seen = self.update_seen(now, user, state, delivery, update, arrival.sockets);
            self.tap.event(Event::Seen(Box::new(seen)));
        }
    }

    fn leaks(&self, user: &User, state: &State, delivery: &Delivery, update: &Arc<Update>) {
        self.metrics_of(state.drill).leaked.increment(1);
        if !state.drill {
            self.unreadable.leaked(&delivery.routing_key, &update.user, &user.id, self.now());
        }
        if state.gate.stage().shadow_mode() {
            let kind = delivery.routing_key.rsplit('.').next().unwrap_or_default();
            let sockets = state.reached(kind);
            let seen = self.update_seen(self.now(), user, state, delivery, update, sockets);
            self.tap.event(Event::Leak(Box::new(seen)));
        }
    }

    fn update_seen(
        &self,
        at: Millis,
        user: &User,
        state: &State,
        delivery: &Delivery,
        update: &Arc<Update>,
        sockets: bridge_core::gate::Sockets,
    ) -> Seen {
        let mut dialog = self.dialog_of(update);
        let mut rooms = Vec::new();
        if dialog.is_none() && update.message.is_some() {
            rooms = self.rooms_of_open_posts(state);
            // Answered meanwhile, it is mapped.
            dialog = self.dialog_of(update);
        }
        let joined = dialog.as_ref().map(|dialog| self.hears(state, dialog, &user.id));
        Seen {
            at,
            path: Path::Rabbitmq,
            user: user.id.clone(),
            tenant: Arc::clone(&update.tenant),
            key: update.key.clone(),
            message: update.message.clone(),
            event: Arc::clone(&update.event),
            sender: update.sender.clone(),
            stage: state.gate.stage(),
            sockets,
            present: state.present(),
            rooms,
            joined,
            subscribed: state.subscribed("message"),
            routing_key: Some(Arc::clone(&delivery.routing_key)),
            redelivered: delivery.redelivered,
            broker_up: self.session_up.load(Ordering::Acquire),
            queue_ready: state.queue_live,
            member: dialog.as_ref().and_then(|dialog| self.members.known(dialog, &user.id)),
            drill: state.drill,
            dialog,
            payload: Payload::Update(Arc::clone(update)),
        }
    }

    /// Rooms of the user in which a POST is open: a message of an unmapped dialog that was posted here is in one of
    /// them, or in none of the user's. All rooms may be thousands.
    fn rooms_of_open_posts(&self, state: &State) -> Vec<DialogId> {
        let mut rooms = Vec::new();
        for post in &self.posts_open {
            if !rooms.contains(&post.dialog) && !state.joined(&post.dialog).is_empty() {
                rooms.push(post.dialog.clone());
            }
        }
        rooms
    }

    /// Sockets of the user that a broadcast to `dialog` reaches. Who gets an update of a dialog is its member, unless it
    /// is known that it is not.
    fn hears(&self, state: &State, dialog: &DialogId, user: &UserId) -> bridge_core::gate::Sockets {
        if self.settings.members_hear_legacy && !state.drill && self.members.known(dialog, user) != Some(false) {
            state.present()
        } else {
            state.joined(dialog)
        }
    }

    fn dialog_of(&self, update: &Update) -> Option<DialogId> {
        let named = update.dialog.as_deref().and_then(|id| DialogId::new(id).ok());
        named.or_else(|| self.dialogs.find(update.dialog_mongo.as_deref()?))
    }
}
