//! The broker: one supervised session, a queue for each user that is wanted, and what comes out of it.
//!
//! [`Broker`] has two implementations: [`AmqpBroker`], and [`EmbeddedBroker`], a topic exchange in this process
//! for `demo` and fast tests. Neither knows of sockets: Updates go to an [`Inbox`].

mod amqp;
mod binding;
mod embedded;
mod wanted;

pub use amqp::{AmqpBroker, connect};
pub use embedded::{EmbeddedBroker, matches};

use std::borrow::Cow;
use std::time::Duration;

use bridge_core::{Millis, UserId};
use tokio::sync::watch;

use crate::clock::Clock;

/// The types a user's sockets want: last words of routing keys. `None` wants all.
pub type Types = Option<std::collections::BTreeSet<String>>;

/// One Update as it came from the broker, where it was read.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The user whose queue it came from; `None` where one queue serves many (`per_instance`, `firehose`).
    pub queue_of: Option<&'a UserId>,
    /// AMQP routing key.
    pub routing_key: &'a str,
    /// AMQP `redelivered`.
    pub redelivered: bool,
    /// Header `userId`.
    pub header_user: Option<Cow<'a, str>>,
    /// Header `entityId`.
    pub header_entity: Option<Cow<'a, str>>,
    /// When the publisher stamped it (property `timestamp`, which Chat3 gives in ms), where it did.
    pub published: Option<Millis>,
    /// The body, as published.
    pub body: &'a [u8],
}

/// A timestamp below this is in seconds: as milliseconds it would be in 1973.
const A_SECOND_COUNT: u64 = 100_000_000_000;

impl Delivery<'_> {
    /// When it was published, by the process's clock. AMQP's own unit is the second, Chat3's the millisecond.
    #[must_use]
    pub fn published_at(&self) -> Option<Millis> {
        let in_ms = |at: Millis| if at.0 < A_SECOND_COUNT { Millis(at.0 * 1_000) } else { at };
        self.published.map(|at| Clock::from_wall(in_ms(at)))
    }
}

/// What becomes of a delivery on the broker's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `basic.ack`: it was handed to the sockets, or knowingly dropped.
    Ack,
    /// `basic.reject` without requeue: it cannot be read.
    Reject,
}

/// Why users may have missed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The session was lost and is back.
    BrokerLost,
    /// The queue alone was lost (`basic.cancel`) and was made anew.
    QueueLost,
}

/// Where a broker takes what it has. Calls come from the broker's tasks, those for different users at once from several
/// threads; none of them may block.
pub trait Inbox: Send + Sync + 'static {
    /// One Update.
    fn deliver(&self, delivery: Delivery<'_>) -> Disposition;
    /// All that came at once on one connection was delivered: what was put off until now goes out. The broker is told after it.
    fn batch_end(&self) {}
    /// The session came up (also the first time) or was lost.
    fn session(&self, up: bool);
    /// The user's queue is bound and consumed. `gap` says what was lost since when, if it was live before.
    fn queue_live(&self, user: &UserId, gap: Option<(GapReason, Millis)>);
    /// The user's queue is gone though it is wanted; what was published from `since` on may be lost.
    fn queue_lost(&self, user: &UserId, since: Millis);
}

/// State of one user's queue (or binding, where one queue serves many).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    /// Not wanted.
    Absent,
    /// Wanted, not yet live: declared, bound and consumed in the background.
    Pending,
    /// Every bind-ok and consume-ok has come, for the types wanted at present.
    Live,
}

/// One line of `GET /admin/queues`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct QueueInfo {
    /// The queue's name on the broker.
    pub name: String,
    /// Whose it is; absent where it serves many.
    pub user: Option<UserId>,
    /// Its state.
    pub state: QueueState,
    /// Ready messages at the last look; `None` when the broker could not be asked.
    pub lag: Option<u64>,
}

/// State of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Connected, exchange proved, topology of the instance (if any) live.
    pub up: bool,
    /// The exchange is there and a topic; `None` when it could not be looked at.
    pub exchange_ok: Option<bool>,
    /// It was up at least once since [`Broker::start`].
    pub was_up: bool,
    /// The broker has blocked the connection (memory or disk alarm).
    pub blocked: bool,
    /// What went wrong last; passwords never stand in it.
    pub last_error: Option<String>,
}

/// One check of preflight. `ok: None` = could not be asked.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Check {
    /// Stable name in snake_case.
    pub name: &'static str,
    /// The outcome.
    pub ok: Option<bool>,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty when it is fine. With `ok`: a warning.
    pub remedy: String,
}

/// A broker as the delivery needs it.
#[async_trait::async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Begins to keep a session up. Idempotent.
    fn start(&self);
    /// Deletes every queue, closes the session and forgets the wanted users; returns within `limit`. Can be started again.
    async fn stop(&self, limit: Duration);
    /// Wants the user's queue with these types, in the background; replaces what was wanted before. Idempotent.
    fn want(&self, user: &UserId, types: Types);
    /// Wants it no more: it is deleted.
    fn release(&self, user: &UserId);
    /// State of the user's queue, to look at or to wait for.
    fn queue(&self, user: &UserId) -> watch::Receiver<QueueState>;
    /// State of the session, to look at or to wait for.
    fn session(&self) -> watch::Receiver<SessionState>;
    /// How many wanted queues are live, and how many are wanted.
    fn ready(&self) -> (usize, usize);
    /// All queues, with their lag.
    async fn queues(&self, limit: Duration) -> Vec<QueueInfo>;
    /// Until when what was published has surely come, or is known to be lost; `None` before a session was up.
    fn heard(&self) -> Option<Millis>;
    /// Waits until it is proved that what was published by `at` has come, or is known to be lost; at most `limit`, and then
    /// says until when it is.
    async fn prove(&self, at: Millis, limit: Duration) -> Option<Millis>;
    /// Messages are accepted, and their updates do not come: what was left out may be missing.
    fn doubt(&self) {}
    /// Preflight: reachable and not alarmed; exchange there and a topic, proved; may declare, bind, consume.
    async fn preflight(&self, limit: Duration) -> Vec<Check>;
}
