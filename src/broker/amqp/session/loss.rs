//! What is lost while the session lives: a queue, or all bindings. It is made anew in place, and users are told.

use std::sync::atomic::Ordering;

use bridge_core::{Millis, UserId};
use metrics::{counter, gauge};
use tracing::{info, warn};

use super::lookout::Looked;
use super::outlet::Lost;
use super::queues::nothing;
use super::{IN_FLIGHT, Session};
use crate::broker::amqp::formats::Step;
use crate::broker::amqp::{exchange_gone, up};
use crate::broker::{GapReason, binding};
use crate::config::Topology;

impl Session {
    /// A consumer ended: its queue is gone, or the session is.
    pub(super) async fn queue_ended(&self, lost: Lost) -> Result<(), String> {
        if self.check().is_err() {
            // It went with its channel or connection, and the session with it.
            return Ok(());
        }
        // The broker tells at once (`basic.cancel`), but it may have come late, and it may have waited for its turn here.
        let Lost { user, queue, since } = lost;
        let Some(user) = user else { return self.instance_queue_ended(&queue, since).await };
        let ours = {
            let mut made = self.made.lock();
            let ours = made.users.get(&user).is_some_and(|actual| actual.queue == queue);
            if ours {
                made.users.remove(&user);
            }
            ours
        };
        if ours {
            if let Some(left_out) = self.shared.said.take("lost", self.shared.clock.now()) {
                warn!(%user, %queue, left_out, "queue of a user was lost: making it anew");
            }
            counter!("bridge_queue_lost_total").increment(1);
            self.shared.wanted.lost(&user, GapReason::QueueLost, since);
            self.shared.inbox.queue_lost(&user, since);
        }
        Ok(())
    }

    async fn instance_queue_ended(&self, queue: &str, since: Millis) -> Result<(), String> {
        if self.made.lock().instance_queue.as_deref() != Some(queue) {
            return Ok(());
        }
        warn!(queue, "queue of the instance was lost: making it anew");
        counter!("bridge_queue_lost_total").increment(1);
        let queue = self.open_instance_queue().await?;
        self.made.lock().instance_queue = Some(queue);
        self.unbound(since);
        Ok(())
    }

    /// What a look showed is dealt with.
    pub(super) async fn judge(&self, looked: Looked) -> Result<(), String> {
        let since = Millis(self.whole.load(Ordering::Relaxed));
        match looked {
            Looked::Whole(_) | Looked::There => {
                // That an exchange is there does not prove that anything of it still comes.
                if let Looked::Whole(at) = looked {
                    self.shared.hearing.proved(at);
                    self.whole.store(at.0, Ordering::Relaxed);
                }
                if self.gone.load(Ordering::Acquire) {
                    self.bind_anew(since).await?;
                }
            }
            Looked::Unbound => self.bind_anew(since).await?,
            Looked::Gone(seen) => {
                exchange_gone(&self.shared, &seen.problem().unwrap_or_default());
                if !self.gone.swap(true, Ordering::AcqRel) {
                    self.unbound(since);
                }
            }
            Looked::Unclear => {}
        }
        self.count();
        Ok(())
    }

    /// The exchange is there, without our bindings: it was deleted, and declared anew.
    async fn bind_anew(&self, since: Millis) -> Result<(), String> {
        warn!(exchange = %self.shared.settings.exchange, "the exchange has lost all bindings: binding anew");
        let instance_queue = self.made.lock().instance_queue.clone();
        if let Some(queue) = instance_queue {
            self.bind_instance_queue(&queue).await?;
        }
        self.unbound(since);
        if self.gone.swap(false, Ordering::AcqRel) {
            up(&self.shared);
        }
        Ok(())
    }

    /// Binds what is seen to arrive, and everything again when something else was missed.
    pub(super) async fn learn(&self) -> Result<(), String> {
        let shared = &self.shared;
        let (live, wanted) = shared.wanted.ready();
        let settled = wanted.saturating_sub(live) <= IN_FLIGHT;
        let step = shared.formats.step(shared.clock.now(), self.watched.load(Ordering::Relaxed), settled);
        if step == Step::Nothing || self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        let bound = shared.formats.bound();
        info!(formats = ?shared.formats.of(bound), "formats of routing keys that are bound from now on");
        let (queue, before) = {
            let made = self.made.lock();
            (made.instance_queue.clone(), made.instance_formats)
        };
        if let Some(queue) = queue {
            self.bind_instance_queue(&queue).await?;
            if shared.settings.topology == Topology::Firehose {
                let [before, after] = [before, bound].map(|bits| binding::all(&shared.formats.of(bits)));
                self.unbind_all(&queue, &queue, before.difference(&after)).await?;
            }
        }
        let users: Vec<UserId> = match step {
            Step::Missed(since) => {
                warn!("updates came under a format that was not bound any more: users are told of the gap");
                counter!("bridge_bindings_lost_total").increment(1);
                let users = shared.wanted.all_lost(GapReason::QueueLost, since);
                users.iter().for_each(|user| shared.inbox.queue_lost(user, since));
                users
            }
            _ => self.made.lock().users.keys().cloned().collect(),
        };
        users.iter().for_each(|user| shared.wanted.again(user));
        Ok(())
    }

    fn count(&self) {
        let (live, wanted) = self.shared.wanted.ready();
        for (state, count) in [("live", live), ("pending", wanted.saturating_sub(live))] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!("bridge_queues", "state" => state).set(count as f64);
        }
    }

    /// No user is bound any more: all are to be bound anew.
    fn unbound(&self, since: Millis) {
        {
            let mut made = self.made.lock();
            made.losses += 1;
            let instance_queue = made.instance_queue.clone();
            counter!("bridge_bindings_lost_total").increment(1);
            for actual in made.users.values_mut() {
                actual.types = nothing();
                if let Some(queue) = &instance_queue {
                    actual.queue.clone_from(queue);
                }
            }
        }
        for user in self.shared.wanted.all_lost(GapReason::QueueLost, since) {
            self.shared.inbox.queue_lost(&user, since);
        }
    }
}
