//! The broker over AMQP: a supervisor that keeps one session up and brings the wanted queues back after a loss.
//!
//! lapin's own recovery is not used: it is sequential, silent about gaps, and hangs for good when its retries are
//! used up.

mod connect;
mod exchange;
mod formats;
mod hearing;
mod pace;
mod preflight;
mod session;
mod tap;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_core::{Millis, UserId};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::wanted::Wanted;
use super::{Broker, Check, GapReason, Inbox, QueueInfo, QueueState, SessionState, Types};
use crate::clock::Clock;
use crate::config::{Rabbitmq, Topology};
use crate::ration::Ration;

use formats::Formats;
use hearing::Hearing;
use session::Session;

/// A connection to the broker with this URL (or the first of a comma list), for whoever wants it for himself.
///
/// # Errors
/// Why there is none; the URL's password does not stand in it.
pub async fn connect(url: &str) -> Result<lapin::Connection, String> {
    let settings = Rabbitmq { url: url.to_owned(), ..crate::config::Settings::default().rabbitmq };
    connect::connect_any(&settings).await
}

/// The first wait between two attempts.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// No wait for a broker that can't be reached is longer.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// No wait after a session that ended as soon as it began is longer, jitter apart.
const LONGEST_REST: Duration = Duration::from_millis(2_400);
/// A session that lasts so long did not end by what it asked for.
const STEADY: Duration = Duration::from_secs(10);

/// A broker reached over AMQP.
pub struct AmqpBroker {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    settings: Rabbitmq,
    instance_id: String,
    inbox: Arc<dyn Inbox>,
    /// So many connections bring updates.
    lines: usize,
    clock: Clock,
    wanted: Wanted,
    state: watch::Sender<SessionState>,
    /// The session of the moment, for looking at lags.
    session: Mutex<Option<Arc<Session>>>,
    stopping: AtomicBool,
    stop: Notify,
    hearing: Hearing,
    /// A look at the bindings is wanted now.
    look: Notify,
    /// It was said that bindings can't be watched.
    unwatched: AtomicBool,
    formats: Formats,
    /// What is said of single queues: thousands may have the same fault.
    said: Ration,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut SessionState)) {
        self.state.send_modify(change);
    }

    /// Waits, unless the broker is being stopped.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.notified() => {}
        }
    }
}

impl AmqpBroker {
    /// A broker that is not started yet. Where users have queues of their own, they are spread over so many connections
    /// as there are `workers`, each with a reader of its own.
    #[must_use]
    pub fn new(
        settings: Rabbitmq,
        instance_id: String,
        inbox: Arc<dyn Inbox>,
        clock: Clock,
        workers: usize,
    ) -> Arc<Self> {
        let lines = if settings.topology == Topology::PerUser { workers.max(1) } else { 1 };
        counter!("bridge_updates_rejected_total", "reason" => session::TOO_LARGE).increment(0);
        let formats = Formats::new(settings.formats(), settings.learns_formats());
        let shared = Shared {
            settings,
            instance_id,
            inbox,
            clock,
            wanted: Wanted::default(),
            state: watch::Sender::default(),
            session: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            hearing: Hearing::new(lines),
            lines,
            look: Notify::new(),
            unwatched: AtomicBool::new(false),
            formats,
            said: Ration::new(1),
        };
        Arc::new(Self { shared: Arc::new(shared), supervisor: Mutex::default() })
    }
}

#[async_trait::async_trait]
impl Broker for AmqpBroker {
    fn start(&self) {
        let mut supervisor = self.supervisor.lock();
        if supervisor.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.stopping.store(false, Ordering::Release);
            *supervisor =
                Some(tokio::spawn(crate::vital::task("broker session", supervise(Arc::clone(&self.shared)))));
        }
    }

    async fn stop(&self, limit: Duration) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.stop.notify_waiters();
        self.shared.stop.notify_one();
        let supervisor = self.supervisor.lock().take();
        if let Some(mut supervisor) = supervisor
            && tokio::time::timeout(limit, &mut supervisor).await.is_err()
        {
            warn!("queues could not be deleted in time: the connection is dropped");
            supervisor.abort();
            let _ended = supervisor.await;
            // Exclusive queues go with the connection.
            if let Some(session) = self.shared.session.lock().take() {
                session.abandon();
            }
        }
        // A supervisor that was cut short has not told: who asks whether the session is up must not be left with yes.
        lose(&self.shared);
        self.shared.wanted.clear();
        self.shared.change(|state| *state = SessionState::default());
    }

    fn want(&self, user: &UserId, types: Types) {
        self.shared.wanted.want(user, types);
    }

    fn release(&self, user: &UserId) {
        self.shared.wanted.release(user);
    }

    fn queue(&self, user: &UserId) -> watch::Receiver<QueueState> {
        self.shared.wanted.queue(user)
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.shared.state.subscribe()
    }

    fn ready(&self) -> (usize, usize) {
        self.shared.wanted.ready()
    }

    async fn queues(&self, limit: Duration) -> Vec<QueueInfo> {
        let session = self.shared.session.lock().clone();
        let states = self.shared.wanted.states();
        match session {
            Some(session) => session.queues(states, limit).await,
            None => states.into_iter().map(|(user, state)| unnamed(user, state)).collect(),
        }
    }

    fn doubt(&self) {
        self.shared.formats.doubt();
    }

    fn heard(&self) -> Option<Millis> {
        Some(self.shared.hearing.heard()).filter(|heard| *heard > Millis(0))
    }

    async fn prove(&self, at: Millis, limit: Duration) -> Option<Millis> {
        let shared = &self.shared;
        let proved = async {
            // With the session, or the exchange, each user's queue is lost, and that is told.
            while shared.hearing.heard() < at && shared.state.borrow().up {
                if shared.hearing.behind() >= at {
                    shared.look.notify_one();
                }
                tokio::time::sleep(session::PULSE).await;
            }
        };
        tokio::time::timeout(limit, proved).await.err().map(|_late| shared.hearing.heard())
    }

    async fn preflight(&self, limit: Duration) -> Vec<Check> {
        preflight::run(&self.shared.settings, &self.shared.instance_id, limit).await
    }
}

fn unnamed(user: UserId, state: QueueState) -> QueueInfo {
    QueueInfo { name: String::new(), user: Some(user), state, lag: None }
}

/// Keeps a session up until the broker is stopped.
async fn supervise(shared: Arc<Shared>) {
    let mut wait = FIRST_WAIT;
    let mut attempt = 0_usize;
    let mut failures = 0_usize;
    let mut brief = 0_usize;
    while !shared.stopping.load(Ordering::Acquire) {
        let connected = connect::connect(&shared.settings, attempt, shared.lines).await;
        let mut longest = LONGEST_WAIT;
        attempt += 1;
        match connected {
            Ok(links) => {
                shared.hearing.begin(shared.clock.now());
                failures = 0;
                longest = LONGEST_REST;
                let begun = Instant::now();
                let ended = session::run(&shared, links).await;
                // What a broker refuses, it refuses again: such a session must not begin several times a second.
                brief = if begun.elapsed() < STEADY { brief + 1 } else { 0 };
                if brief <= 1 {
                    wait = FIRST_WAIT;
                }
                lose(&shared);
                if let Err(reason) = ended {
                    if brief > 1 && brief.is_power_of_two() {
                        error!(%reason, in_a_row = brief, "broker sessions end as soon as they begin");
                    } else {
                        warn!(%reason, "broker session lost");
                    }
                    shared.change(|state| state.last_error = Some(reason));
                }
            }
            Err(reason) => {
                failures += 1;
                if failures.is_power_of_two() {
                    error!(%reason, failures, "broker can't be reached");
                }
                shared.change(|state| {
                    state.exchange_ok = None;
                    state.last_error = Some(reason);
                });
            }
        }
        if !shared.stopping.load(Ordering::Acquire) {
            let jitter = rand::rng().random_range(0.75..1.25);
            shared.pause(wait.mul_f64(jitter)).await;
            wait = (wait * 2).min(longest);
        }
    }
}

/// The session is over: every queue went with it.
fn lose(shared: &Shared) {
    shared.session.lock().take();
    let was_up = shared.state.borrow().up;
    shared.change(|state| {
        state.up = false;
        state.blocked = false;
        state.exchange_ok = None;
    });
    gauge!("bridge_broker_up").set(0.0);
    if was_up {
        shared.inbox.session(false);
    }
    let since = shared.hearing.heard();
    for user in shared.wanted.all_lost(GapReason::BrokerLost, since) {
        shared.inbox.queue_lost(&user, since);
    }
}

/// The session is up: connected, exchange proved, the instance's own topology live.
fn gain(shared: &Shared, session: &Arc<Session>) {
    *shared.session.lock() = Some(Arc::clone(session));
    if shared.state.borrow().was_up {
        counter!("bridge_broker_reconnects_total").increment(1);
    }
    info!(generation = %session.generation(), "broker session is up");
    up(shared);
}

fn up(shared: &Shared) {
    shared.change(|state| {
        state.up = true;
        state.was_up = true;
        state.exchange_ok = Some(true);
        state.last_error = None;
    });
    gauge!("bridge_broker_up").set(1.0);
    shared.inbox.session(true);
}

/// The exchange is missing or wrong: says it, and that nothing can come.
fn exchange_gone(shared: &Shared, problem: &str) {
    let name = &shared.settings.exchange;
    let was_up = shared.state.borrow().up;
    let text = format!("exchange {name} {problem}");
    if shared.state.borrow().last_error.as_ref() != Some(&text) {
        error!(exchange = %name, "{text}");
    }
    shared.change(|state| {
        state.up = false;
        state.exchange_ok = Some(false);
        state.last_error = Some(text);
    });
    gauge!("bridge_broker_up").set(0.0);
    if was_up {
        shared.inbox.session(false);
    }
}
