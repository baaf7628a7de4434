//! One session with the broker, from the exchange's proof to its loss.
//!
//! It has one line for each worker where users have queues of their own: a connection, whose deliveries are one thread's
//! at a time. A user's queue stays on one of them, and with that the order of what is for him. The session lives as long
//! as all of them do.

mod line;
mod lookout;
mod loss;
mod outlet;
mod queues;
mod sentinel;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bridge_core::UserId;
use futures::future::join_all;
use futures::{Stream, StreamExt as _};
use lapin::Event;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::connect::{Link, close};
use super::{Shared, exchange, exchange_gone, gain};
use crate::broker::{QueueState, Types};
use crate::config::Topology;

use line::Line;
use lookout::Lookout;
pub(super) use outlet::TOO_LARGE;
use outlet::{Lost, Outlet};
use work::Work;

/// A missing or wrong exchange is looked at again this often, and one that is right is looked after.
const LOOK: Duration = Duration::from_secs(3);
/// How often it is noted that this process runs.
pub(super) const PULSE: Duration = Duration::from_millis(200);
/// Requests for this many users are on their way at once.
const IN_FLIGHT: usize = 64;

/// A queue (or the bindings on the instance's queue) as the broker has confirmed it.
#[derive(Clone, Debug)]
struct Actual {
    queue: String,
    /// The types that are bound.
    types: Types,
    /// The formats that are, as bits.
    formats: u64,
}

impl Actual {
    fn is(&self, types: &Types, formats: u64) -> bool {
        self.types == *types && self.formats == formats
    }
}

/// What the broker has confirmed so far.
#[derive(Default)]
struct Made {
    users: HashMap<UserId, Actual>,
    /// The queue of the instance, where one serves many.
    instance_queue: Option<String>,
    /// Formats that are bound for all users, where one queue has everything.
    instance_formats: u64,
    /// How often all bindings were lost: one that was asked for before counts for nothing.
    losses: u64,
}

/// A live session.
pub(in crate::broker) struct Session {
    shared: Arc<Shared>,
    /// At least one.
    lines: Vec<Line>,
    generation: String,
    /// What still comes is not handed over.
    over: CancellationToken,
    _over_when_dropped: DropGuard,
    made: Mutex<Made>,
    /// The last moment at which the bindings were there.
    whole: AtomicU64,
    /// The exchange is missing or wrong: nothing can be bound.
    gone: AtomicBool,
    /// The bindings are looked after, so that a format that is not bound would be seen.
    watched: AtomicBool,
}

/// Runs a session on `links` until one of them is lost (`Err` says why) or the broker is stopped.
pub(super) async fn run(shared: &Arc<Shared>, links: Vec<Link>) -> Result<(), String> {
    let mut events = futures::stream::select_all(links.iter().map(|link| link.connection.events_listener()));
    if !wait_for_exchange(shared, &links).await? {
        join_all(links.iter().map(|link| close(&link.connection))).await;
        return Ok(());
    }
    // At most one message for each queue that was made.
    let (lost, mut losses) = mpsc::unbounded_channel();
    let over = CancellationToken::new();
    let open = links.into_iter().enumerate().map(|(line, link)| {
        let (over, lost) = (over.clone(), lost.clone());
        let outlet = Outlet { shared: Arc::clone(shared), line, first: None, over, lost };
        Line::open(link, &shared.settings, outlet)
    });
    let lines = futures::future::try_join_all(open).await?;
    let lookout = Lookout::open(shared, &lines).await;
    let session = Arc::new(Session::open(Arc::clone(shared), lines, over).await?);
    gain(shared, &session);
    let outcome = keep(shared, &session, &mut events, &mut losses, lookout).await;
    match &outcome {
        Ok(()) => session.leave().await,
        Err(_) => session.abandon(),
    }
    outcome
}

/// Keeps the session at what is wanted until it is lost (`Err` says why) or the broker is stopped.
async fn keep(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    events: &mut (impl Stream<Item = Event> + Unpin),
    losses: &mut mpsc::UnboundedReceiver<Lost>,
    lookout: Lookout,
) -> Result<(), String> {
    let mut work = Work::default();
    let mut look = Box::pin(lookout.next(Arc::clone(session)));
    let mut pulse = interval(PULSE);
    // A process that stood still has not run meanwhile.
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lame = false;
    loop {
        if !session.gone.load(Ordering::Acquire) {
            work.begin(session);
        }
        tokio::select! {
            // Not a reason by itself: the notice of an earlier stop may still be there.
            () = shared.stop.notified() => {}
            () = shared.wanted.work.notified() => {}
            Some(done) = work.tasks.join_next() => work.end(session, done)?,
            Some(lost) = losses.recv() => session.queue_ended(lost).await?,
            Some(event) = events.next() => session.hear(event)?,
            (lookout, looked) = &mut look => {
                session.judge(looked).await?;
                look.set(lookout.next(Arc::clone(session)));
            }
            // Whoever knows why has one pulse to say it.
            _ = pulse.tick() => {
                shared.hearing.pulse(shared.clock.now());
                session.learn().await?;
                match session.check() {
                    Err(lost) if lame => return Err(lost),
                    checked => lame = checked.is_err(),
                }
            }
        }
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
    }
    work.tasks.shutdown().await;
    Ok(())
}

/// `false` when the broker is stopped meanwhile.
async fn wait_for_exchange(shared: &Shared, links: &[Link]) -> Result<bool, String> {
    let settings = &shared.settings;
    loop {
        let seen = exchange::look(&links[0].connection, &settings.exchange, settings.declare_exchange).await?;
        shared.hearing.begin(shared.clock.now());
        let Some(problem) = seen.problem() else { return Ok(true) };
        exchange_gone(shared, &problem);
        shared.pause(LOOK).await;
        if shared.stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        if links.iter().any(|link| !link.connection.status().connected()) {
            return Err("connection closed".into());
        }
    }
}

impl Session {
    async fn open(shared: Arc<Shared>, lines: Vec<Line>, over: CancellationToken) -> Result<Self, String> {
        let session = Self {
            _over_when_dropped: over.clone().drop_guard(),
            over,
            lines,
            generation: word(),
            made: Mutex::default(),
            whole: AtomicU64::new(shared.clock.now().0),
            gone: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            shared,
        };
        session.shared.formats.begin(session.shared.clock.now());
        if session.shared.settings.topology != Topology::PerUser {
            let queue = session.open_instance_queue().await?;
            session.made.lock().instance_queue = Some(queue);
        }
        Ok(session)
    }

    pub(super) fn generation(&self) -> &str {
        &self.generation
    }

    fn check(&self) -> Result<(), String> {
        self.lines.iter().try_for_each(Line::check)
    }

    fn hear(&self, event: Event) -> Result<(), String> {
        match event {
            Event::ConnectionBlocked(reason) => {
                warn!(%reason, "the broker has blocked the connection");
                self.shared.change(|state| state.blocked = true);
            }
            Event::ConnectionUnblocked => self.shared.change(|state| state.blocked = false),
            // A refusal on an expendable channel is such an event too, and costs only that channel.
            Event::Error(error) => return self.check().map_err(|lost| format!("{lost}: {error}")),
            _ => {}
        }
        Ok(())
    }

    /// Brings one user's queue to what is wanted.
    async fn bring(self: &Arc<Self>, user: &UserId) -> Result<(), String> {
        let wanted = self.shared.wanted.types(user);
        let (actual, losses) = {
            let made = self.made.lock();
            (made.users.get(user).cloned(), made.losses)
        };
        match (wanted, actual) {
            (None, None) => {}
            (None, Some(actual)) => {
                self.made.lock().users.remove(user);
                self.remove(user, &actual).await?;
            }
            (Some(types), actual) => {
                match actual {
                    None => {
                        let queue = self.make(user, &types, losses).await?;
                        debug!(%user, %queue, "created queue for user");
                    }
                    Some(actual) if !actual.is(&types, self.shared.formats.bound()) => {
                        self.rebind(user, &actual, &types, losses).await?;
                    }
                    Some(_) => {}
                }
                // Under the lock: what is lost from now on is a gap after this moment.
                let live = {
                    let made = self.made.lock();
                    match made.users.get(user) {
                        Some(actual) if actual.is(&types, self.shared.formats.bound()) => {
                            self.shared.wanted.live(user, &types)
                        }
                        _ => Err(()),
                    }
                };
                match live {
                    Ok(gap) => self.shared.inbox.queue_live(user, gap),
                    Err(()) => self.shared.wanted.again(user),
                }
            }
        }
        Ok(())
    }

    /// Hands over nothing more, and closes in the background: the queues go with the connection.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.over.cancel();
        let session = Arc::clone(self);
        tokio::spawn(async move { session.close().await });
    }

    /// Deletes what it made, and closes.
    async fn leave(self: &Arc<Self>) {
        let made = std::mem::take(&mut *self.made.lock());
        let mut deletions = JoinSet::new();
        for (user, actual) in made.users {
            if deletions.len() >= IN_FLIGHT {
                deletions.join_next().await;
            }
            let session = Arc::clone(self);
            deletions.spawn(async move { session.remove(&user, &actual).await });
        }
        while deletions.join_next().await.is_some() {}
        if let Some(queue) = &made.instance_queue
            && let Err(reason) = self.delete(queue, queue).await
        {
            warn!(queue, %reason, "the queue could not be deleted");
        }
        self.close().await;
    }

    async fn close(&self) {
        join_all(self.lines.iter().map(Line::close)).await;
    }

    /// The queue of each user with its state and, as far as `limit` allows, its lag.
    pub(super) async fn queues(
        &self,
        states: Vec<(UserId, QueueState)>,
        limit: Duration,
    ) -> Vec<crate::broker::QueueInfo> {
        self.with_lags(states, limit).await
    }
}

/// Eight random letters and digits.
fn word() -> String {
    use rand::RngExt as _;
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..8).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}
