//! The shell around the recipients: it looks up, applies under one lock, and does what they want done outside of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_core::form::Form;
use bridge_core::gate::Limits;
use bridge_core::recipient::{Answer, Input, Recipient, Rules};
use bridge_core::{DialogId, Millis, Rollout, Stage, UserId};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use super::dialogs::Dialogs;
use super::flow::Flow;
use super::latency::Latency;
use super::lookup::Lookup;
use super::metrics::DeliveryMetrics;
use super::packets;
use super::posts::Posts;
use super::registry::Registry;
use super::relay::Relay;
use super::routes::Routes;
use super::seat::{Inner, Seat, Task};
use super::tap::Tap;
use super::tick::Timers;
use super::unreadable::Unreadable;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::sockets::{Cut, Packet, Refused};

/// Who is a member of a dialog, as far as delivery wants to know.
#[async_trait::async_trait]
pub trait Members: Send + Sync + 'static {
    /// Whether the user may join; the refusal is what the client is told.
    async fn may_join(&self, dialog: &DialogId, user: &UserId) -> Result<(), Refused>;
    /// The user will ask to join in a moment.
    fn expect(&self, dialog: &DialogId, user: &UserId);
    /// What is known without asking.
    fn known(&self, dialog: &DialogId, user: &UserId) -> Option<bool>;
    /// Somebody will ask for the list of `dialog` in a moment.
    fn expect_list(&self, dialog: &DialogId);
    /// The ids of all members of `dialog`; `None` where they can't be told.
    async fn list(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>>;
    /// The same, as it was at most a second ago: with who was invited since.
    async fn list_now(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>>;
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
    /// Bytes that are kept for a client that may come back (`socket.buffer`).
    pub replay_bytes: usize,
    /// Bytes of what was sent lately, of all sockets together (`socket.replay_total`): beyond it each has its share.
    pub replay_total: usize,
    /// How long sign-on waits for the queue in `live` and `complete`.
    pub ready_timeout: Duration,
    /// Connected sockets of one user.
    pub user_sockets: usize,
    /// Rooms of one socket.
    pub rooms: usize,
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

/// Users, sockets, rooms, and both paths to them.
pub struct Hub {
    pub(super) settings: HubSettings,
    rules: Arc<Rules>,
    pub(super) clock: Clock,
    /// When it began.
    pub(super) started: Millis,
    pub(super) tap: Arc<dyn Tap>,
    pub(super) members: Arc<dyn Members>,
    broker: RwLock<Option<Arc<dyn Broker>>>,
    pub(super) relay: OnceLock<Arc<dyn Relay>>,
    pub(super) registry: Registry,
    pub(super) posts: Posts,
    pub(super) timers: Timers,
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
    /// Messages accepted here that somebody here is to see, and updates for somebody here: of some the latency is taken.
    pub(super) accepted: AtomicU64,
    pub(super) updates: AtomicU64,
    pub(super) flow: Flow,
    pub(super) sockets: AtomicUsize,
    /// Bytes that all replays hold.
    pub(super) replayed: Arc<AtomicUsize>,
    pub(super) metrics: DeliveryMetrics,
    unseen: DeliveryMetrics,
    pub(super) latency: Latency,
    pub(super) routes: Routes,
    pub(super) unreadable: Unreadable,
    /// The latest update and how late it came, in ms.
    pub(super) lag: Mutex<(Millis, u64)>,
    numbers: AtomicU64,
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
        let routes = Routes::new(&settings.binding_keys);
        let linger = u64::try_from(settings.linger.as_millis()).unwrap_or(u64::MAX);
        // A lost connection is noticed late; what was sent into the void meanwhile is kept for a client that says what
        // it got last.
        let replay_age = linger.saturating_add(60_000);
        let rules = Rules { tenant: Arc::clone(&settings.tenant), gate: settings.gate, linger, replay_age };
        Arc::new(Self {
            running: AtomicBool::new(served.stage.runs_rabbitmq()),
            settings,
            rules: Arc::new(rules),
            clock,
            started: clock.now(),
            tap,
            members,
            broker: RwLock::new(None),
            relay: OnceLock::new(),
            registry: Registry::default(),
            posts: Posts::default(),
            timers: Timers::default(),
            served: ArcSwap::from_pointee(served),
            changed: watch::Sender::new(0),
            session_up: AtomicBool::new(false),
            session_lost_at: AtomicU64::new(0),
            session_since: AtomicU64::new(clock.now().0),
            dialogs: Dialogs::default(),
            accepted: AtomicU64::new(0),
            updates: AtomicU64::new(0),
            flow: Flow::default(),
            sockets: AtomicUsize::new(0),
            replayed: Arc::default(),
            metrics: DeliveryMetrics::default(),
            unseen: DeliveryMetrics::unseen(),
            latency: Latency::default(),
            routes,
            unreadable: Unreadable::default(),
            lag: Mutex::new((Millis(0), 0)),
            numbers: AtomicU64::new(1),
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

    /// A number that is larger than all before.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The stage in which `user` is to be served.
    pub(super) fn stage_of(&self, user: &UserId) -> Stage {
        let served = self.served.load();
        served.rollout.stage_of(served.stage, &self.settings.tenant, user.as_str())
    }

    /// One input for a user that is here; [`Answer::Gone`] for one that is not.
    pub(super) fn tell(&self, id: &UserId, input: Input<'_>) -> Answer {
        self.registry.user(id).map_or(Answer::Gone, |seat| self.apply(&seat, input))
    }

    /// One input for the user of `seat`, and all that comes of it.
    pub(super) fn apply(&self, seat: &Arc<Seat>, input: Input<'_>) -> Answer {
        let mut inner = seat.inner.lock();
        let answer = self.apply_locked(&mut inner, seat, input);
        self.settle(seat, inner);
        answer
    }

    /// Applies, and leaves it to the caller to [settle](Self::settle).
    pub(super) fn apply_locked(&self, inner: &mut Inner, seat: &Arc<Seat>, input: Input<'_>) -> Answer {
        self.apply_at(self.now(), inner, seat, input)
    }

    /// The same, at a moment that was looked at already.
    pub(super) fn apply_at(&self, now: Millis, inner: &mut Inner, seat: &Arc<Seat>, input: Input<'_>) -> Answer {
        self.apply_keeping(usize::MAX, now, inner, seat, input)
    }

    /// The same; each socket keeps at most so many bytes for a resume.
    pub(super) fn apply_keeping(
        &self,
        keeps: usize,
        now: Millis,
        inner: &mut Inner,
        seat: &Arc<Seat>,
        input: Input<'_>,
    ) -> Answer {
        let mut effects = Vec::new();
        let Inner { recipient, links, .. } = inner;
        let world = Lookup { hub: self, user: &seat.id, links, keeps };
        let answer = recipient.apply(now, input, &world, &mut effects);
        let (before, after) = (inner.replayed, inner.recipient.replay_bytes());
        if before != after {
            inner.replayed = after;
            self.replayed.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
        inner.queue(effects);
        answer
    }

    /// Works on the user, who is made when it is not there.
    pub(super) fn with_user<T>(&self, id: &UserId, work: impl FnOnce(&Arc<Seat>, &mut Inner) -> T) -> T {
        let make = || Seat::new(Recipient::new(id.clone(), Arc::clone(&self.rules), self.stage_of(id)));
        loop {
            let seat = self.registry.seat(id, make);
            let mut inner = seat.inner.lock();
            if inner.gone {
                // Whoever takes it out is about to.
                drop(inner);
                std::thread::yield_now();
                continue;
            }
            let result = work(&seat, &mut inner);
            self.settle(&seat, inner);
            self.metrics.users.set(precise(self.registry.count()));
            return result;
        }
    }

    /// Does what the recipient wants done, in order, outside of its lock. When another thread is at it, it does this
    /// too, and is waited for: nothing of it ever waits itself.
    pub(super) fn settle<'s>(&self, seat: &'s Arc<Seat>, mut inner: MutexGuard<'s, Inner>) {
        if let Some(wakes) = inner.recipient.wakes()
            && inner.wakes.is_none_or(|before| wakes < before)
        {
            inner.wakes = Some(wakes);
            self.timers.add(wakes, seat);
        }
        let ticket = inner.queued();
        let own = std::thread::current().id();
        while let Some(runner) = inner.runner {
            // Called by what is being done: it goes on when that returns.
            if runner == own || inner.done >= ticket {
                return;
            }
            drop(inner);
            std::thread::yield_now();
            inner = seat.inner.lock();
        }
        loop {
            let tasks = inner.take();
            if tasks.is_empty() {
                break;
            }
            inner.runner = Some(own);
            drop(inner);
            let count = tasks.len() as u64;
            tasks.into_iter().for_each(|task| self.run_task(seat, task));
            inner = seat.inner.lock();
            inner.done += count;
        }
        inner.runner = None;
        if inner.recipient.sockets().is_empty() && !inner.gone {
            inner.gone = true;
            drop(inner);
            // Before it is taken out, so that a sign-on right after this one wants its queue after.
            if let Some(broker) = self.broker() {
                broker.release(&seat.id);
            }
            self.registry.remove(seat);
            self.metrics.users.set(precise(self.registry.count()));
        }
    }

    fn run_task(&self, seat: &Arc<Seat>, task: Task) {
        match task {
            Task::Emit { link, serial, form, parcel } => packets::emit(&*link, serial, form, &parcel),
            Task::Relay { link, event, data } => {
                link.emit(Packet { event, data, serial: None });
                self.metrics.typing.increment(1);
            }
            Task::Cut(link) => link.cut(Cut::Resumed),
            Task::Want(types) => {
                if let Some(broker) = self.broker() {
                    broker.want(&seat.id, types);
                }
            }
            Task::Entered(dialog) => self.registry.enter(dialog, seat),
            Task::Left(dialog) => self.registry.leave(&dialog, seat),
            Task::Observe(event) => self.tap.event(event),
            Task::Count { count, drill } => self.metrics_of(drill).count(count),
            Task::Ended { tokens } => {
                self.registry.forget_tokens(&tokens);
                self.count_sockets(self.sockets.fetch_sub(1, Ordering::Relaxed) - 1);
            }
        }
    }

    /// Where it is counted: nowhere for a drill's users.
    pub(super) const fn metrics_of(&self, drill: bool) -> &DeliveryMetrics {
        if drill { &self.unseen } else { &self.metrics }
    }

    /// A socket more.
    pub(super) fn socket_came(&self) {
        self.count_sockets(self.sockets.fetch_add(1, Ordering::Relaxed) + 1);
    }

    fn count_sockets(&self, sockets: usize) {
        self.metrics.sockets.set(precise(sockets));
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) const fn precise(number: usize) -> f64 {
    number as f64
}
