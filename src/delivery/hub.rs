//! The registry of users, sockets and rooms.
//!
//! Order of locks: a shard of `users`, then one user's state, then a shard of `rooms`. Nothing is awaited under any.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_core::compare::Fact;
use bridge_core::form::Form;
use bridge_core::gate::{Emission, Gate, Limits, Why};
use bridge_core::{DialogId, Millis, Rollout, SocketId, Stage, UserId};
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::dialogs::Dialogs;
use super::flow::Flow;
use super::metrics::DeliveryMetrics;
use super::replay::Bounds;
use super::routes::Routes;
use super::selection;
use super::tap::Tap;
use super::unreadable::Unreadable;
use super::user::{Copy, State, User};
use crate::broker::{Broker, GapReason, Types};
use crate::clock::Clock;
use crate::sockets::Refused;

/// Who is a member of a dialog, as far as delivery wants to know.
#[async_trait::async_trait]
pub trait Members: Send + Sync + 'static {
    /// Whether the user may join; the refusal is what the client is told.
    async fn may_join(&self, dialog: &DialogId, user: &UserId) -> Result<(), Refused>;
    /// Somebody will ask to join in a moment.
    fn expect(&self, dialog: &DialogId);
    /// What is known without asking.
    fn known(&self, dialog: &DialogId, user: &UserId) -> Option<bool>;
    /// Somebody will ask for the list of `dialog` in a moment.
    fn expect_list(&self, dialog: &DialogId);
    /// The ids of all members of `dialog`; `None` where they can't be told.
    async fn list(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>>;
    /// Those of `pairs` that are members no more, asked anew where the answer is too old.
    async fn removed(&self, pairs: Vec<(DialogId, UserId)>) -> Vec<(DialogId, UserId)>;
}

/// What the hub needs from the settings.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The tenant whose updates are delivered.
    pub tenant: Arc<str>,
    /// Windows and bounds of gates.
    pub gate: Limits,
    /// Legacy reaches a dialog's members, joined or not (`legacy.audience = "members"`).
    pub members_hear_legacy: bool,
    /// How long a socket outlives its connection.
    pub linger: Duration,
    /// Bytes that are kept for a client that may come back.
    pub replay_bytes: usize,
    /// Bytes of what all sockets were sent (`socket.buffer_total`): with many, each may keep less.
    pub replay_total: usize,
    /// How long sign-on waits for the queue in `live` and `complete`.
    pub ready_timeout: Duration,
    /// Form for clients that do not declare one.
    pub undeclared: Form,
    /// Binding keys, to find the user in a routing key.
    pub binding_keys: Vec<String>,
}

/// The present flag.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Stage of the instance.
    pub stage: Stage,
    /// Who is inside.
    pub rollout: Rollout,
}

/// A POST on its way.
pub(super) struct OpenPost {
    pub(super) since: Millis,
    pub(super) dialog: DialogId,
}

/// Users, sockets, rooms, and both paths to them.
pub struct Hub {
    pub(super) settings: HubSettings,
    pub(super) clock: Clock,
    /// When it began.
    pub(super) started: Millis,
    pub(super) tap: Arc<dyn Tap>,
    pub(super) members: Arc<dyn Members>,
    pub(super) broker: RwLock<Option<Arc<dyn Broker>>>,
    pub(super) users: DashMap<UserId, Arc<User>>,
    pub(super) rooms: DashMap<DialogId, HashMap<UserId, Arc<User>>>,
    pub(super) tokens: DashMap<String, (UserId, SocketId)>,
    pub(super) served: ArcSwap<Served>,
    /// Told after each change of the flag: who waits for a queue looks again.
    pub(super) changed: watch::Sender<u64>,
    /// The rabbitmq path runs (also warming and draining): users get queues.
    pub(super) running: AtomicBool,
    pub(super) session_up: AtomicBool,
    /// When the session was lost; 0 while it is up or never was.
    pub(super) session_lost_at: AtomicU64,
    /// Since when it is up, or down.
    pub(super) session_since: AtomicU64,
    pub(super) dialogs: Dialogs,
    /// POSTs forwarded to Chat3 and not yet answered, by number.
    pub(super) posts_open: DashMap<u64, OpenPost>,
    /// Number of the next one.
    pub(super) posts: AtomicU64,
    /// Messages accepted here that somebody here is to see, and updates received.
    pub(super) accepted: AtomicU64,
    /// Bytes that each socket's replay may hold at the moment.
    replay_share: AtomicUsize,
    pub(super) updates: AtomicU64,
    pub(super) flow: Flow,
    pub(super) metrics: DeliveryMetrics,
    unseen: DeliveryMetrics,
    pub(super) routes: Routes,
    pub(super) unreadable: Unreadable,
    /// The latest update and how late it came, in ms.
    pub(super) lag: Mutex<(Millis, u64)>,
    next_socket: AtomicU64,
    pub(super) ticking: Mutex<Vec<Arc<User>>>,
    /// Lost sockets, by the moment at which they stop lingering.
    pub(super) lingering: Mutex<VecDeque<(Millis, UserId, SocketId)>>,
}

impl Hub {
    /// A hub without users. [`Self::set_broker`] completes it where there is one.
    #[must_use]
    pub fn new(
        settings: HubSettings,
        clock: Clock,
        tap: Arc<dyn Tap>,
        members: Arc<dyn Members>,
        served: Served,
    ) -> Arc<Self> {
        let replay_share = AtomicUsize::new(settings.replay_bytes.min(settings.replay_total));
        let routes = Routes::new(&settings.binding_keys);
        Arc::new(Self {
            running: AtomicBool::new(served.stage.runs_rabbitmq()),
            settings,
            clock,
            started: clock.now(),
            tap,
            members,
            broker: RwLock::new(None),
            users: DashMap::new(),
            rooms: DashMap::new(),
            tokens: DashMap::new(),
            served: ArcSwap::from_pointee(served),
            changed: watch::Sender::new(0),
            session_up: AtomicBool::new(false),
            session_lost_at: AtomicU64::new(0),
            session_since: AtomicU64::new(clock.now().0),
            dialogs: Dialogs::default(),
            posts_open: DashMap::new(),
            posts: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            replay_share,
            updates: AtomicU64::new(0),
            flow: Flow::default(),
            metrics: DeliveryMetrics::default(),
            unseen: DeliveryMetrics::unseen(),
            routes,
            unreadable: Unreadable::default(),
            lag: Mutex::new((Millis(0), 0)),
            next_socket: AtomicU64::new(1),
            ticking: Mutex::default(),
            lingering: Mutex::default(),
        })
    }

    /// Connects the broker whose [`crate::broker::Inbox`] this hub is.
    pub fn set_broker(&self, broker: Arc<dyn Broker>) {
        *self.broker.write() = Some(broker);
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Since when the broker session is up, or down: since the start where it was never up.
    #[must_use]
    pub fn session_since(&self) -> Millis {
        Millis(self.session_since.load(Ordering::Acquire))
    }

    /// The present flag.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Whether the rabbitmq path runs, also warming and draining.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Whether the broker session is up.
    pub fn session_is_up(&self) -> bool {
        self.session_up.load(Ordering::Acquire)
    }

    pub(super) fn broker(&self) -> Option<Arc<dyn Broker>> {
        self.broker.read().clone()
    }

    pub(super) fn bounds(&self) -> Bounds {
        let age = u64::try_from(self.settings.linger.as_millis()).unwrap_or(u64::MAX);
        // A lost connection is noticed late; what was sent into the void meanwhile is kept for a client that says
        // what it got last.
        let bytes = self.replay_share.load(Ordering::Relaxed);
        Bounds { bytes, age: if age == 0 { 0 } else { age.saturating_add(60_000) } }
    }

    pub(super) fn count_sockets(&self) {
        let sockets = self.tokens.len();
        self.metrics.sockets.set(precise(sockets));
        let share = self.settings.replay_total / sockets.max(1);
        self.replay_share.store(share.min(self.settings.replay_bytes), Ordering::Relaxed);
    }

    pub(super) fn new_socket_id(&self) -> SocketId {
        SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed))
    }

    /// The stage in which `user` is to be served.
    pub(super) fn stage_of(&self, user: &UserId) -> Stage {
        let served = self.served.load();
        served.rollout.stage_of(served.stage, &self.settings.tenant, user.as_str())
    }

    pub(super) fn user(&self, id: &UserId) -> Option<Arc<User>> {
        self.users.get(id).map(|user| Arc::clone(&user))
    }

    /// Works on the user, who is made when it is not there. The registry's shard is locked meanwhile, so that a
    /// flip that has passed it has stored the new stage before.
    pub(super) fn with_user<T>(&self, id: &UserId, work: impl FnOnce(&Arc<User>, &mut State) -> T) -> T {
        let entry = self.users.entry(id.clone()).or_insert_with(|| {
            let state = State {
                gate: Gate::new(self.settings.gate, self.stage_of(id)),
                sockets: std::collections::BTreeMap::new(),
                queue_live: false,
                ticking: false,
                drill: false,
                told: Millis(0),
                gone: false,
            };
            Arc::new(User { id: id.clone(), state: Mutex::new(state) })
        });
        let user = Arc::clone(entry.value());
        let mut state = user.state.lock();
        work(&user, &mut state)
    }

    /// Takes a user without sockets out of the registry and lets its queue go.
    pub(super) fn remove_if_empty(&self, id: &UserId) {
        let removed = self.users.remove_if(id, |_, user| {
            let mut state = user.state.lock();
            state.gone = state.sockets.is_empty();
            if state.gone {
                // Under the shard's lock, so that a sign-on right after this one wants it after.
                if let Some(broker) = self.broker() {
                    broker.release(id);
                }
            }
            state.gone
        });
        if removed.is_some() {
            self.metrics.users.set(precise(self.users.len()));
        }
    }

    /// Wants the user's queue for what its sockets want, when the rabbitmq path runs.
    pub(super) fn want(&self, id: &UserId, state: &State) {
        if !self.is_running() || state.drill {
            return;
        }
        if let Some(broker) = self.broker() {
            broker.want(id, wanted(state));
        }
    }

    /// All users, without holding a lock of the registry.
    pub(super) fn everyone(&self) -> Vec<Arc<User>> {
        self.users.iter().map(|user| Arc::clone(user.value())).collect()
    }

    /// Puts the user before the ticker when its gate waits for time to pass.
    pub(super) fn mind(&self, user: &Arc<User>, state: &mut State) {
        if !state.ticking && state.gate.needs_tick() {
            state.ticking = true;
            self.ticking.lock().push(Arc::clone(user));
        }
    }

    /// Hands out what a flip or a closing window released.
    pub(super) fn release(&self, user: &UserId, state: &mut State, now: Millis, owed: Vec<Emission<Copy>>) -> u64 {
        let mut released = 0;
        for emission in owed {
            let mut sockets = emission.sockets;
            if emission.why == Why::Rescued {
                let subscribed = state.subscribed("message");
                sockets.retain(|socket| subscribed.contains(socket));
                if let Copy::Legacy(copy) = &emission.payload
                    && self.members.known(&copy.dialog, user) == Some(false)
                {
                    continue;
                }
            }
            if sockets.is_empty() {
                continue;
            }
            released += 1;
            self.metrics_of(state.drill).released(emission.why);
            state.hand(self.bounds(), now, &sockets, &emission.payload);
            self.tap.fact(now, Fact::Released { user: user.clone(), key: emission.key, why: emission.why });
        }
        released
    }

    /// Tells every socket of the user that there was a gap.
    pub(super) fn resync(&self, state: &mut State, now: Millis, reason: &'static str, since: Millis) {
        let packet = super::resync::packet(reason, since);
        for socket in state.sockets.values_mut() {
            socket.owed = None;
            socket.send(self.bounds(), now, packet.clone());
        }
        self.metrics_of(state.drill).resync(reason);
    }

    /// Where it is counted: nowhere for a drill's users.
    pub(super) const fn metrics_of(&self, drill: bool) -> &DeliveryMetrics {
        if drill { &self.unseen } else { &self.metrics }
    }
}

pub(super) fn wanted(state: &State) -> Types {
    selection::union(state.sockets.values().map(|socket| &socket.selection))
}

pub(super) const fn gap_name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::BrokerLost => "broker_lost",
        GapReason::QueueLost => "queue_lost",
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) const fn precise(number: usize) -> f64 {
    number as f64
}
