//! A topic exchange in this process, behind the same interface as the AMQP session: for `demo` and fast tests.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge_core::{Millis, UserId};
use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::wanted::Wanted;
use super::{Broker, Check, Delivery, GapReason, Inbox, QueueInfo, QueueState, SessionState, Types, binding};
use crate::clock::Clock;

/// Most updates that wait in one queue; a queue that is full drops the newest, counted.
const DEPTH: usize = 10_000;

/// The exchange, and a queue for each wanted user.
pub struct EmbeddedBroker {
    binding_keys: Vec<String>,
    inbox: Arc<dyn Inbox>,
    clock: Clock,
    wanted: Arc<Wanted>,
    state: watch::Sender<SessionState>,
    queues: Mutex<HashMap<UserId, Queue>>,
    started: AtomicBool,
    dropped: Counter,
    /// For the tasks, which must not keep it alive.
    own: std::sync::Weak<Self>,
}

struct Queue {
    keys: BTreeSet<String>,
    sender: mpsc::Sender<Published>,
}

/// An update that waits in a queue.
struct Published {
    routing_key: Arc<str>,
    user: Option<Arc<str>>,
    entity: Option<Arc<str>>,
    at: Millis,
    body: bytes::Bytes,
}

impl EmbeddedBroker {
    /// An exchange without queues. Must be made inside a tokio runtime.
    #[must_use]
    pub fn new(binding_keys: Vec<String>, inbox: Arc<dyn Inbox>, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            binding_keys,
            inbox,
            clock,
            wanted: Arc::default(),
            state: watch::Sender::default(),
            queues: Mutex::default(),
            started: AtomicBool::new(false),
            dropped: counter!("bridge_embedded_dropped_total"),
            own: own.clone(),
        })
    }

    /// Publishes to every queue that is bound to the key; nobody bound: it is gone, as with a real exchange.
    pub fn publish(&self, routing_key: &str, headers: &[(&str, &str)], published: Millis, body: bytes::Bytes) {
        let header = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| Arc::from(*value));
        for queue in self.queues.lock().values() {
            if queue.keys.iter().any(|pattern| matches(pattern, routing_key)) {
                let update = Published {
                    routing_key: routing_key.into(),
                    user: header("userId"),
                    entity: header("entityId"),
                    at: published,
                    body: body.clone(),
                };
                if queue.sender.try_send(update).is_err() {
                    self.dropped.increment(1);
                }
            }
        }
    }

    /// Takes the exchange away, or brings it back.
    pub fn set_up(&self, up: bool) {
        if self.state.borrow().up == up {
            return;
        }
        self.state.send_modify(|state| {
            state.up = up;
            state.was_up |= up;
            state.exchange_ok = up.then_some(true);
        });
        self.inbox.session(up);
        if !up {
            self.queues.lock().clear();
            let since = self.clock.now();
            for user in self.wanted.all_lost(GapReason::BrokerLost, since) {
                self.inbox.queue_lost(&user, since);
            }
        }
        self.wanted.work.notify_one();
    }

    fn bring(&self, user: &UserId) {
        let Some(types) = self.wanted.types(user) else {
            self.queues.lock().remove(user);
            return;
        };
        let keys = binding::keys(&self.binding_keys, user, &types);
        {
            let mut queues = self.queues.lock();
            if let Some(queue) = queues.get_mut(user) {
                queue.keys = keys;
            } else {
                let (sender, receiver) = mpsc::channel(DEPTH);
                queues.insert(user.clone(), Queue { keys, sender });
                let consumed = consume(Arc::clone(&self.inbox), user.clone(), receiver);
                tokio::spawn(crate::vital::task("embedded broker", consumed));
                tracing::debug!(%user, "created queue for user");
            }
        }
        match self.wanted.live(user, &types) {
            Ok(gap) => self.inbox.queue_live(user, gap),
            Err(()) => self.wanted.again(user),
        }
    }
}

async fn consume(inbox: Arc<dyn Inbox>, user: UserId, mut updates: mpsc::Receiver<Published>) {
    while let Some(update) = updates.recv().await {
        inbox.deliver(Delivery {
            queue_of: Some(&user),
            routing_key: &update.routing_key,
            redelivered: false,
            header_user: update.user.as_deref().map(Cow::Borrowed),
            header_entity: update.entity.as_deref().map(Cow::Borrowed),
            published: Some(update.at),
            body: &update.body,
        });
        tokio::task::yield_now().await;
    }
}

#[async_trait::async_trait]
impl Broker for EmbeddedBroker {
    fn start(&self) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.set_up(true);
        let (own, wanted) = (self.own.clone(), Arc::clone(&self.wanted));
        tokio::spawn(crate::vital::task("embedded broker", async move {
            loop {
                wanted.work.notified().await;
                let Some(broker) = own.upgrade() else { return };
                if !broker.started.load(Ordering::Acquire) {
                    return;
                }
                if broker.state.borrow().up {
                    broker.wanted.take_dirty().iter().for_each(|user| broker.bring(user));
                }
            }
        }));
        self.wanted.work.notify_one();
    }

    async fn stop(&self, _limit: Duration) {
        self.started.store(false, Ordering::Release);
        self.set_up(false);
        self.wanted.clear();
        self.state.send_replace(SessionState::default());
        self.wanted.work.notify_one();
    }

    fn want(&self, user: &UserId, types: Types) {
        self.wanted.want(user, types);
    }

    fn release(&self, user: &UserId) {
        self.wanted.release(user);
    }

    fn queue(&self, user: &UserId) -> watch::Receiver<QueueState> {
        self.wanted.queue(user)
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    fn ready(&self) -> (usize, usize) {
        self.wanted.ready()
    }

    async fn queues(&self, _limit: Duration) -> Vec<QueueInfo> {
        let queues = self.queues.lock();
        let waiting = |user: &UserId| {
            let queue = queues.get(user)?;
            u64::try_from(queue.sender.max_capacity() - queue.sender.capacity()).ok()
        };
        let info = |(user, state): (UserId, QueueState)| QueueInfo {
            name: format!("user_{user}.embedded"),
            lag: waiting(&user),
            user: Some(user),
            state,
        };
        self.wanted.states().into_iter().map(info).collect()
    }

    fn heard(&self) -> Option<Millis> {
        None
    }

    async fn prove(&self, _at: Millis, _limit: Duration) -> Option<Millis> {
        // What is published is in the queue at once.
        None
    }

    async fn preflight(&self, _limit: Duration) -> Vec<Check> {
        let up = self.state.borrow().up || !self.started.load(Ordering::Acquire);
        vec![Check {
            name: "broker_reachable",
            ok: Some(up),
            detail: if up { "embedded in this process".into() } else { "taken away".into() },
            remedy: String::new(),
        }]
    }
}

/// Whether `routing_key` matches the topic `pattern` (AMQP 0-9-1: `*` is one word, `#` is any number of words).
#[must_use]
pub fn matches(pattern: &str, routing_key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((&"#", rest)) => (0..=key.len()).any(|skip| words(rest, &key[skip..])),
            Some((word, rest)) => key
                .split_first()
                .is_some_and(|(first, others)| (*word == "*" || word == first) && words(rest, others)),
        }
    }
    let split = |text| str::split(text, '.').collect::<Vec<&str>>();
    words(&split(pattern), &split(routing_key))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn topics_match_as_amqp_says() {
        for (pattern, key, expected) in [
            ("user.a.*", "user.a.messageupdate", true),
            ("user.a.*", "user.a.b.c", false),
            ("user.*.a.*", "user.bot.a.typing", true),
            ("user.a.*", "user.ab.x", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b.b", false),
            ("*", "a.b", false),
            ("user..*", "user..x", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
