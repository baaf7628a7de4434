//! One connection to the broker, from the exchange's proof to its loss.

mod lookout;
mod loss;
mod outlet;
mod queues;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bridge_core::UserId;
use futures::{Stream, StreamExt as _};
use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection, Event};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::connect::{Link, answer, close, expendable};
use super::tap::Tap;
use super::{Shared, exchange, exchange_gone, gain};
use crate::broker::{QueueState, Types};
use crate::config::Topology;

use lookout::Lookout;
use outlet::Outlet;
pub(super) use outlet::TOO_LARGE;
use work::Work;

/// A missing or wrong exchange is looked at again this often, and one that is right is looked after.
const LOOK: Duration = Duration::from_secs(3);
/// How often it is noted that this process runs.
pub(super) const PULSE: Duration = Duration::from_millis(200);
/// Requests for this many users are on their way at once.
const IN_FLIGHT: usize = 64;
/// Channels for requests that may be refused. A channel serves one request after the other; with a quarter of them the
/// broker took a fifth longer for the queues of 5,000 users, and with twice as many no less.
const CONTROL: usize = 16;
/// Channels that are left for looks at the exchange and at lags, and for the sentinel.
const SPARE: usize = 3;

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
    connection: Connection,
    generation: String,
    control: Vec<tokio::sync::Mutex<Option<Channel>>>,
    delivery: Vec<Channel>,
    /// Consumes on `delivery`.
    tap: Tap,
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

/// Runs a session on `connection` until it is lost (`Err` says why) or the broker is stopped.
pub(super) async fn run(shared: &Arc<Shared>, link: Link) -> Result<(), String> {
    let Link { connection, tap } = link;
    let mut events = Box::pin(connection.events_listener());
    if !wait_for_exchange(shared, &connection).await? {
        close(&connection).await;
        return Ok(());
    }
    let lookout = Lookout::open(shared, &connection).await;
    // At most one message for each queue that was made.
    let (lost, mut losses) = mpsc::unbounded_channel();
    let over = CancellationToken::new();
    tap.serve(Outlet { shared: Arc::clone(shared), over: over.clone(), lost }).await;
    let session = Arc::new(Session::open(Arc::clone(shared), connection, tap, over).await?);
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
    losses: &mut mpsc::UnboundedReceiver<(Option<UserId>, String)>,
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
            Some((user, queue)) = losses.recv() => session.queue_ended(user, &queue).await?,
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
async fn wait_for_exchange(shared: &Shared, connection: &Connection) -> Result<bool, String> {
    loop {
        let seen = exchange::look(connection, &shared.settings.exchange, shared.settings.declare_exchange).await?;
        shared.hearing.begin(shared.clock.now());
        let Some(problem) = seen.problem() else { return Ok(true) };
        exchange_gone(shared, &problem);
        shared.pause(LOOK).await;
        if shared.stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        if !connection.status().connected() {
            return Err("connection closed".into());
        }
    }
}

impl Session {
    async fn open(
        shared: Arc<Shared>,
        connection: Connection,
        tap: Tap,
        over: CancellationToken,
    ) -> Result<Self, String> {
        let one_for_all = shared.settings.topology != Topology::PerUser;
        let most = usize::from(connection.configuration().channel_max()).saturating_sub(SPARE);
        let wanted = if one_for_all { 1 } else { usize::from(shared.settings.channels) };
        let (count, control) = shares(most, wanted);
        let mut delivery = Vec::with_capacity(count);
        for _ in 0..count {
            let channel = expendable(&connection).await?;
            answer(channel.basic_qos(prefetch(&shared), BasicQosOptions::default())).await?;
            tap.own(channel.id()).await;
            delivery.push(channel);
        }
        let session = Self {
            _over_when_dropped: over.clone().drop_guard(),
            over,
            control: (0..control).map(|_| tokio::sync::Mutex::new(None)).collect(),
            generation: word(),
            connection,
            delivery,
            tap,
            made: Mutex::default(),
            whole: AtomicU64::new(shared.clock.now().0),
            gone: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            shared,
        };
        session.shared.formats.begin(session.shared.clock.now());
        if one_for_all {
            let queue = session.open_instance_queue().await?;
            session.made.lock().instance_queue = Some(queue);
        }
        Ok(session)
    }

    pub(super) fn generation(&self) -> &str {
        &self.generation
    }

    fn check(&self) -> Result<(), String> {
        let lame = self.delivery.iter().any(|channel| !channel.status().connected());
        match (self.connection.status().connected(), lame) {
            (false, _) => Err("the connection was closed".into()),
            (true, true) => Err("a channel was closed by the broker".into()),
            (true, false) => Ok(()),
        }
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
        tokio::spawn(async move { close(&session.connection).await });
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
            && let Err(reason) = self.delete(queue).await
        {
            warn!(queue, %reason, "the queue could not be deleted");
        }
        close(&self.connection).await;
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

/// How many deliveries of one consumer may be unacknowledged.
fn prefetch(shared: &Shared) -> u16 {
    match shared.settings.topology {
        Topology::PerUser => shared.settings.prefetch,
        Topology::PerInstance | Topology::Firehose => outlet::SHARED_PREFETCH,
    }
}

/// Channels for deliveries and for requests, of `most` in all; `wanted`: so many for deliveries.
fn shares(most: usize, wanted: usize) -> (usize, usize) {
    let control = CONTROL.min(most.saturating_sub(wanted).max(most / 2)).max(1);
    (wanted.min(most.saturating_sub(control)).max(1), control)
}

/// Eight random letters and digits.
fn word() -> String {
    use rand::RngExt as _;
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..8).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::{CONTROL, shares};

    #[test]
    fn a_broker_with_few_channels_gets_some_of_each() {
        assert_eq!(shares(2_044, 4), (4, CONTROL));
        assert_eq!(shares(2_044, 3_000), (2_028, CONTROL));
        assert_eq!(shares(12, 4), (4, 8));
        assert_eq!([shares(5, 4), shares(4, 4), shares(2, 4), shares(0, 4)], [(3, 2), (2, 2), (1, 1), (1, 1)]);
        assert_eq!(shares(5, 1), (1, 4));
        assert!((2..3_000).all(|most| (1..40).all(|wanted| {
            let (delivery, control) = shares(most, wanted);
            delivery + control <= most && delivery <= wanted
        })));
    }
}
