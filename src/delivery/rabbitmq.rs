//! The rabbitmq path: Updates from the broker to the sockets of the user they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bridge_core::compare::Fact;
use bridge_core::recipient::{Input, Reason, Resync, UpdateArrival};
use bridge_core::update::Update;
use bridge_core::{Millis, Path, UserId};
use tracing::debug;

use super::hub::Hub;
use crate::broker::{Delivery, Disposition, GapReason, Inbox};

impl Inbox for Hub {
    fn deliver(&self, delivery: Delivery<'_>) -> Disposition {
        self.take(delivery, false)
    }

    fn session(&self, up: bool) {
        let now = self.now();
        if self.session_up.swap(up, Ordering::AcqRel) != up {
            self.session_since.store(now.0, Ordering::Release);
        }
        self.session_lost_at.store(if up { 0 } else { now.0 }, Ordering::Release);
        if !up {
            // What was on its way went with the queues, and says nothing of Chat3's worker.
            self.flow.end();
        }
        self.tap.fact(now, Fact::Session { up });
        self.changed.send_modify(|count| *count += 1);
    }

    fn queue_live(&self, user: &UserId, gap: Option<(GapReason, Millis)>) {
        debug!(%user, "queue for user is live");
        let gap = gap.map(|(reason, since)| {
            let reason = match reason {
                GapReason::BrokerLost => Reason::BrokerLost,
                GapReason::QueueLost => Reason::QueueLost,
            };
            Resync { reason, since }
        });
        self.tell(user, Input::QueueLive { gap });
    }

    fn queue_lost(&self, user: &UserId, since: Millis) {
        // The session is said to be lost before its queues are.
        let session = self.session_up.load(Ordering::Acquire);
        let reason = if session { Reason::QueueLost } else { Reason::BrokerLost };
        self.tell(user, Input::QueueLost { reason, since });
    }
}

impl Hub {
    /// Takes one Update, from the broker or from a drill, which is counted nowhere.
    pub(super) fn take(&self, delivery: Delivery<'_>, drill: bool) -> Disposition {
        let metrics = self.metrics_of(drill);
        metrics.received.increment(1);
        let update = match Update::read(delivery.body, self.unreadable.unique()) {
            Ok(update) => update,
            Err(error) => {
                metrics.rejected(error.name());
                self.unreadable.log(delivery.routing_key, &error, self.now());
                let [user, entity] =
                    [delivery.header_user, delivery.header_entity].map(|text| text.map(Into::into));
                let fact = Fact::Rejected { user, entity };
                self.tap.fact(self.now(), fact);
                return Disposition::Reject;
            }
        };
        if update.repaired {
            metrics.repaired.increment(1);
        }
        if update.tenant() != &*self.settings.tenant {
            metrics.foreign.increment(1);
            return Disposition::Ack;
        }
        let named = self.routes.user_of(delivery.routing_key, update.user());
        let reached = delivery.queue_of.map(UserId::as_str).or(named).unwrap_or(update.user());
        let for_another = named.is_some_and(|user| user != update.user()) || reached != update.user();
        let Some(seat) = self.registry.named(reached) else {
            if for_another {
                metrics.leaked.increment(1);
            } else {
                metrics.nobody.increment(1);
            }
            return Disposition::Ack;
        };
        let update = Arc::new(update);
        let arrival = UpdateArrival {
            update: &update,
            routing_key: delivery.routing_key,
            redelivered: delivery.redelivered,
        };
        let mut inner = seat.inner.lock();
        let now = self.now();
        let mut sample = None;
        if !inner.recipient.is_synthetic() {
            let number = self.updates.fetch_add(1, Ordering::Relaxed);
            sample = self.latency.sample(Path::Rabbitmq, number);
            if update.is_creation() {
                self.flow.came(now);
            }
        }
        if for_another {
            metrics.leaked.increment(1);
            if !inner.recipient.is_synthetic() {
                self.unreadable.leaked(delivery.routing_key, update.user(), &seat.id, now);
            }
            self.apply_at(now, &mut inner, &seat, Input::Leak(arrival));
        } else {
            debug!(user = %seat.id, event = update.event(), "received update for user");
            self.note_lag(now, delivery.published_at());
            self.apply_at(now, &mut inner, &seat, Input::Update(arrival));
        }
        let emitted = sample.as_ref().and_then(|_| inner.last_emitted());
        self.settle(&seat, inner);
        if let Some(sample) = sample.filter(|_| !for_another) {
            sample.arrived(&update.body, delivery.published_at(), self.now());
            if let Some((link, serial)) = emitted {
                sample.emitted(link, serial);
            }
        }
        Disposition::Ack
    }

    fn note_lag(&self, now: Millis, published: Option<Millis>) {
        if let Some(published) = published {
            *self.lag.lock() = (now, now.since(published));
        }
    }
}
