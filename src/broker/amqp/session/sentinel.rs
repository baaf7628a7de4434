//! The queues that are bound first, one on each line of the session: what is published to them comes while bindings are
//! there.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join_all, try_join_all};
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::time::{Instant, timeout_at};

use super::line::Line;
use super::word;
use crate::broker::amqp::connect::{answer, expendable};
use crate::broker::amqp::exchange;
use crate::broker::amqp::formats::Formats;

/// A probe that is not there after this has not come.
pub(super) const PROBE: Duration = Duration::from_secs(2);

/// All of them are bound to one key: two words, which no binding key of a user matches.
pub(super) struct Sentinel {
    pub(super) key: String,
    /// At least one.
    posts: Vec<Post>,
}

/// A queue of the sentinel.
pub(super) struct Post {
    queue: String,
    channel: Channel,
    consumer: Consumer,
}

/// How far a probe came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// On every line.
    Everywhere,
    /// Not on all of them, in the time that it is given.
    Somewhere,
    /// On none.
    Nowhere,
    /// It was not proved to have come nowhere, and a queue is gone.
    Gone,
}

/// Which queues of the sentinel exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    All,
    /// At least one does.
    Some,
    None,
    /// None is known to exist, and not all could be asked.
    Unclear,
}

impl There {
    /// `queues`: whether each exists; `None` when it could not be asked.
    fn of(queues: &[Option<bool>]) -> Self {
        if queues.iter().all(|there| *there == Some(true)) {
            Self::All
        } else if queues.contains(&Some(true)) {
            Self::Some
        } else if queues.contains(&None) {
            Self::Unclear
        } else {
            Self::None
        }
    }
}

impl Came {
    /// `posts`: whether it came on each; `None` when the queue is gone.
    fn of(posts: &[Option<bool>]) -> Self {
        if posts.iter().all(|came| *came == Some(true)) {
            Self::Everywhere
        } else if !posts.contains(&Some(true)) && posts.contains(&Some(false)) {
            Self::Nowhere
        } else if posts.contains(&None) {
            Self::Gone
        } else {
            Self::Somewhere
        }
    }
}

impl Sentinel {
    pub(super) async fn make(lines: &[Line], exchange: &str) -> Result<Self, String> {
        // Each to its end: one that is declared and not consumed yet would be left.
        let posts = join_all(lines.iter().map(|line| Post::make(line.connection()))).await;
        let posts = posts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let key = posts.first().map(|post| post.queue.clone()).unwrap_or_default();
        Self { key, posts }.bind(exchange).await
    }

    pub(super) async fn bind(self, exchange: &str) -> Result<Self, String> {
        try_join_all(self.posts.iter().map(|post| post.bind_to(exchange, &self.key))).await?;
        Ok(self)
    }

    pub(super) fn is_open(&self) -> bool {
        self.posts.iter().all(|post| post.channel.status().connected())
    }

    /// The one of the first line, which may be bound to more than probes.
    pub(super) fn watch(&self) -> &Post {
        &self.posts[0]
    }

    /// Waits for the probe on every line. What comes beside it is an update in a format that is bound nowhere else.
    pub(super) async fn receive(&mut self, probe: u64, formats: &Formats) -> Came {
        let deadline = Instant::now() + PROBE;
        let key = &self.key;
        let came = self.posts.iter_mut().map(|post| post.receive(key, probe, deadline, formats));
        Came::of(&join_all(came).await)
    }

    /// Which of its queues exist: one that was deleted has lost its own binding only.
    pub(super) async fn there(&self, lines: &[Line]) -> There {
        let there = self.posts.iter().zip(lines).map(|(post, line)| post.is_there(line.connection()));
        There::of(&join_all(there).await)
    }
}

impl Post {
    async fn make(connection: &Connection) -> Result<Self, String> {
        let channel = expendable(connection).await?;
        let queue = format!("bridge_lookout.{}", word());
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        answer(channel.queue_declare(queue.as_str().into(), options, FieldTable::default())).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let name = || queue.as_str().into();
        let consumer = answer(channel.basic_consume(name(), name(), options, FieldTable::default())).await?;
        Ok(Self { queue, channel, consumer })
    }

    pub(super) async fn bind_to(&self, exchange: &str, key: &str) -> Result<(), String> {
        let (queue, options) = (self.queue.as_str(), QueueBindOptions::default());
        answer(self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()))
            .await
    }

    pub(super) async fn unbind(&self, exchange: &str, key: &str) -> Result<(), String> {
        let queue = self.queue.as_str();
        answer(self.channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default())).await
    }

    async fn receive(&mut self, key: &str, probe: u64, deadline: Instant, formats: &Formats) -> Option<bool> {
        while let Ok(next) = timeout_at(deadline, self.consumer.next()).await {
            let delivery = next?.ok()?;
            if delivery.routing_key.as_str() != key {
                formats.saw(delivery.routing_key.as_str());
            } else if delivery.data == body(probe).as_bytes() {
                return Some(true);
            }
        }
        Some(false)
    }

    async fn is_there(&self, connection: &Connection) -> Option<bool> {
        let asked = async {
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(self.queue.as_str().into(), passive, FieldTable::default()).await
        };
        match tokio::time::timeout(PROBE, asked).await {
            Ok(Ok(_)) => Some(true),
            Ok(Err(error)) if exchange::code(&error) == Some(404) => Some(false),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// An object, for whoever reads everything on the exchange as JSON.
pub(super) fn body(probe: u64) -> String {
    format!(r#"{{"probe":{probe}}}"#)
}

#[cfg(test)]
mod tests {
    use super::{Came, There};

    #[test]
    fn one_line_that_is_slow_proves_nothing_and_one_queue_that_is_unbound_proves_it_for_all() {
        let (yes, no, unknown) = (Some(true), Some(false), None);
        assert_eq!([Came::of(&[yes]), Came::of(&[no]), Came::of(&[unknown])], {
            [Came::Everywhere, Came::Nowhere, Came::Gone]
        });
        assert_eq!([Came::of(&[yes, no]), Came::of(&[yes, unknown])], [Came::Somewhere, Came::Gone]);
        assert_eq!([Came::of(&[no, no]), Came::of(&[no, unknown])], [Came::Nowhere; 2]);
        assert_eq!([There::of(&[yes]), There::of(&[no]), There::of(&[unknown])], {
            [There::All, There::None, There::Unclear]
        });
        assert_eq!([There::of(&[no, yes]), There::of(&[unknown, yes])], [There::Some; 2]);
        assert_eq!([There::of(&[no, no]), There::of(&[no, unknown])], [There::None, There::Unclear]);
    }
}
