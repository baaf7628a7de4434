//! Requests about queues: on channels that a refusal may close.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bridge_core::UserId;
use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _};
use lapin::Channel;
use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use parking_lot::Mutex;

use super::line::{Line, prefetch};
use super::{Actual, Session, word};
use crate::broker::amqp::connect::{answer, expendable};
use crate::broker::amqp::tap::Consumer;
use crate::broker::{QueueInfo, QueueState, Types, binding};
use crate::config::Topology;

/// Lags are asked for this many queues of a line at once.
const LAGS: usize = 16;
/// Bindings of one user that are asked for at once.
const BINDS: usize = 8;

impl Session {
    /// The number of the line that serves `user`, or the queue of the instance, and its place there.
    fn place(&self, user: &str) -> (usize, usize) {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let (hash, lines) = (usize::try_from(hasher.finish() >> 1).unwrap_or(0), self.lines.len());
        (hash % lines, hash / lines)
    }

    /// A channel for requests about `user`.
    async fn control(&self, user: &str) -> Result<Channel, String> {
        let (line, place) = self.place(user);
        self.lines[line].control(place).await
    }

    /// Declares, binds and consumes what `user` wants; returns the queue's name once all of it is confirmed.
    /// `losses` is their count when this began.
    pub(super) async fn make(
        self: &Arc<Self>,
        user: &UserId,
        types: &Types,
        losses: u64,
    ) -> Result<String, String> {
        let settings = &self.shared.settings;
        let formats = self.shared.formats.bound();
        let instance_queue = self.made.lock().instance_queue.clone();
        let queue = match instance_queue {
            Some(queue) if settings.topology == Topology::Firehose => queue,
            Some(queue) => {
                self.bind_all(user.as_str(), &queue, &self.keys(user, types, formats)).await?;
                queue
            }
            None => self.make_own(user, types, formats).await?,
        };
        let mut made = self.made.lock();
        let types = if made.losses == losses { types.clone() } else { nothing() };
        let actual = Actual { queue: made.instance_queue.as_ref().unwrap_or(&queue).clone(), types, formats };
        made.users.insert(user.clone(), actual);
        Ok(queue)
    }

    async fn make_own(self: &Arc<Self>, user: &UserId, types: &Types, formats: u64) -> Result<String, String> {
        // A name of its own each time: one that was used before may be locked until the old connection is reaped.
        let queue = format!("user_{user}.{}.{}", self.shared.instance_id, word());
        self.declare(user.as_str(), &queue).await?;
        let keys = self.keys(user, types, formats);
        let made = async {
            self.bind_all(user.as_str(), &queue, &keys).await?;
            self.consume(Some(user), &queue).await
        };
        match made.await {
            Ok(()) => Ok(queue),
            Err(reason) => {
                // Without a consumer it would never be deleted by itself, and fill.
                let _gone_with_the_connection = self.delete(user.as_str(), &queue).await;
                Err(reason)
            }
        }
    }

    /// A user's own queue, or the one that serves all.
    async fn consume(&self, user: Option<&UserId>, queue: &str) -> Result<(), String> {
        let (line, place) = self.place(user.map_or(queue, UserId::as_str));
        let prefetch = prefetch(&self.shared.settings);
        let consumer = Consumer { queue: queue.to_owned(), user: user.cloned(), prefetch };
        let consumed = self.lines[line].consume(place, consumer).await;
        consumed.map_err(|reason| format!("queue {queue} can't be consumed: {reason}"))
    }

    /// Makes the queue that serves all users; returns its name, a new one each time.
    pub(super) async fn open_instance_queue(&self) -> Result<String, String> {
        let queue = format!("bridge_{}.{}", self.shared.instance_id, word());
        self.declare(&queue, &queue).await?;
        self.bind_instance_queue(&queue).await?;
        self.consume(None, &queue).await?;
        Ok(queue)
    }

    /// Binds what does not depend on who is connected.
    pub(super) async fn bind_instance_queue(&self, queue: &str) -> Result<(), String> {
        if self.shared.settings.topology == Topology::Firehose {
            let formats = self.shared.formats.bound();
            self.bind_all(queue, queue, &binding::all(&self.shared.formats.of(formats))).await?;
            self.made.lock().instance_formats = formats;
        }
        Ok(())
    }

    async fn declare(&self, who: &str, queue: &str) -> Result<(), String> {
        let channel = self.control(who).await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        answer(channel.queue_declare(queue.into(), options, FieldTable::default())).await.map(|_| ())
    }

    /// A few at a time: the channel's other users get their turn between them.
    async fn bind_all(&self, who: &str, queue: &str, keys: &BTreeSet<String>) -> Result<(), String> {
        let channel = self.control(who).await?;
        let exchange = self.shared.settings.exchange.as_str();
        let bind = |key: &String| {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            answer(channel.queue_bind(queue.into(), exchange.into(), key.as_str().into(), options, arguments))
        };
        futures::stream::iter(keys).map(bind).buffer_unordered(BINDS).try_collect().await
    }

    /// Binds what is new before it unbinds what is not wanted any more.
    pub(super) async fn rebind(
        &self,
        user: &UserId,
        actual: &Actual,
        types: &Types,
        losses: u64,
    ) -> Result<(), String> {
        let formats = self.shared.formats.bound();
        if self.shared.settings.topology != Topology::Firehose {
            let before = self.keys(user, &actual.types, actual.formats);
            let after = self.keys(user, types, formats);
            let added = after.difference(&before).cloned().collect();
            self.bind_all(user.as_str(), &actual.queue, &added).await?;
            self.unbind_all(user.as_str(), &actual.queue, before.difference(&after)).await?;
        }
        let mut made = self.made.lock();
        if made.losses == losses
            && let Some(own) = made.users.get_mut(user)
        {
            own.types.clone_from(types);
            own.formats = formats;
        }
        Ok(())
    }

    pub(super) fn keys(&self, user: &UserId, types: &Types, formats: u64) -> BTreeSet<String> {
        binding::keys(&self.shared.formats.of(formats), user, types)
    }

    pub(super) async fn unbind_all<'k>(
        &self,
        who: &str,
        queue: &str,
        keys: impl Iterator<Item = &'k String>,
    ) -> Result<(), String> {
        let channel = self.control(who).await?;
        let exchange = self.shared.settings.exchange.as_str();
        let unbind = |key: &String| {
            answer(channel.queue_unbind(queue.into(), exchange.into(), key.as_str().into(), FieldTable::default()))
        };
        futures::stream::iter(keys).map(unbind).buffer_unordered(BINDS).try_collect().await
    }

    /// Deletes the user's queue, or its bindings where one queue serves many.
    pub(super) async fn remove(&self, user: &UserId, actual: &Actual) -> Result<(), String> {
        match self.shared.settings.topology {
            Topology::PerUser => match self.delete(user.as_str(), &actual.queue).await {
                Ok(()) => Ok(()),
                // A refusal of somebody else's request may have closed the channel; deleting twice is no error.
                Err(_) => self.delete(user.as_str(), &actual.queue).await,
            },
            Topology::PerInstance => {
                let keys = self.keys(user, &actual.types, actual.formats);
                self.unbind_all(user.as_str(), &actual.queue, keys.iter()).await
            }
            Topology::Firehose => Ok(()),
        }
    }

    /// Only the connection that declared it may: that of `who` it serves.
    pub(super) async fn delete(&self, who: &str, queue: &str) -> Result<(), String> {
        let channel = self.control(who).await?;
        answer(channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await.map(|_| ())
    }

    pub(super) async fn with_lags(&self, states: Vec<(UserId, QueueState)>, limit: Duration) -> Vec<QueueInfo> {
        let mut asked = vec![BTreeSet::new(); self.lines.len()];
        let mut names: HashMap<UserId, String> = {
            let made = self.made.lock();
            asked[0].extend(made.instance_queue.clone());
            let name = |(user, actual): (&UserId, &Actual)| {
                asked[self.place(user.as_str()).0].insert(actual.queue.clone());
                (user.clone(), actual.queue.clone())
            };
            made.users.iter().map(name).collect()
        };
        let lags = Mutex::new(HashMap::new());
        let asking = self.lines.iter().zip(asked).map(|(line, queues)| ask_all(line, queues, &lags));
        let _in_time = tokio::time::timeout(limit, join_all(asking)).await;
        let lags = lags.into_inner();
        let info = |(user, state): (UserId, QueueState)| {
            let name = names.remove(&user).unwrap_or_default();
            QueueInfo { lag: lags.get(&name).copied(), user: Some(user), name, state }
        };
        states.into_iter().map(info).collect()
    }
}

/// Asks for the lags of a line's queues.
async fn ask_all(line: &Line, queues: BTreeSet<String>, lags: &Mutex<HashMap<String, u64>>) {
    let queues = Mutex::new(queues.into_iter());
    join_all((0..LAGS.min(line.spare()).max(1)).map(|_| ask(line, &queues, lags))).await;
}

/// Asks for one lag after the other. A queue that is gone closes the channel; the others share it, because to open one
/// for each takes three times as long.
async fn ask(line: &Line, queues: &Mutex<impl Iterator<Item = String>>, lags: &Mutex<HashMap<String, u64>>) {
    let mut open = None;
    loop {
        let Some(queue) = queues.lock().next() else { break };
        let channel = match open.take() {
            Some(channel) => channel,
            None => match expendable(line.connection()).await {
                Ok(channel) => channel,
                Err(_) => break,
            },
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let seen = answer(channel.queue_declare(queue.as_str().into(), passive, FieldTable::default())).await;
        if let Ok(seen) = seen {
            lags.lock().insert(queue, u64::from(seen.message_count()));
            open = Some(channel);
        }
    }
    if let Some(channel) = open {
        let _closed = answer(channel.close(200, "OK".into())).await;
    }
}

/// Bound to no type.
pub(super) fn nothing() -> Types {
    Some(BTreeSet::new())
}
