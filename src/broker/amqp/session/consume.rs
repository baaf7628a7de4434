//! Consumers: from the broker to the inbox, acknowledged after the hand-over.

use std::sync::Arc;

use bridge_core::{Millis, UserId};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Consumer};
use tracing::debug;

use super::Session;
use super::acks::{Acks, Unacknowledged};
use crate::broker::{Delivery, Disposition};

/// Unacknowledged updates of a consumer that serves many users.
pub(super) const SHARED_PREFETCH: u16 = 256;
/// A consumer that is alone on its channel acknowledges this many at once.
const TOGETHER: u32 = 64;

impl Session {
    /// Consumes a user's own queue until it or the session ends. Its channel carries others.
    pub(super) fn spawn_consumer(
        self: &Arc<Self>,
        user: UserId,
        queue: String,
        consumer: Consumer,
        acks: Arc<Acks>,
    ) {
        let (shared, lost) = (Arc::clone(&self.shared), self.lost.clone());
        let mut consumer = Box::pin(consumer.take_until(self.over.clone().cancelled_owned()));
        tokio::spawn(async move {
            let mut own = Unacknowledged::default();
            while let Some(Ok(delivered)) = consumer.next().await {
                shared.hear();
                let (tag, acker) = (delivered.delivery_tag, delivered.acker.clone());
                if shared.inbox.deliver(delivery(Some(user.clone()), delivered)) == Disposition::Reject
                    && acks.rejected(tag)
                    && let Err(error) = acker.reject(BasicRejectOptions { requeue: false }).await
                {
                    debug!(%user, %error, "an update could not be rejected");
                    break;
                }
                acks.handled(tag, &mut own);
            }
            // What is still here nobody takes; it must not hold up the channel's others.
            while let Some(Some(Ok(left))) = consumer.next().now_or_never() {
                acks.handled(left.delivery_tag, &mut own);
            }
            // The session may be over: then nobody listens, and nobody needs to.
            let _unheard = lost.send((Some(user), queue));
        });
    }

    /// Consumes the instance's queue, alone on its channel: acknowledges in batches.
    pub(super) fn spawn_shared_consumer(&self, channel: Channel, queue: String, consumer: Consumer) {
        let (shared, lost) = (Arc::clone(&self.shared), self.lost.clone());
        let mut consumer = Box::pin(consumer.take_until(self.over.clone().cancelled_owned()));
        tokio::spawn(async move {
            let mut unacknowledged = 0;
            let mut latest: Option<u64> = None;
            loop {
                let next = match consumer.next().now_or_never() {
                    Some(next) if unacknowledged < TOGETHER => next,
                    waiting => {
                        let together = BasicAckOptions { multiple: true };
                        if let Some(tag) = latest.take()
                            && channel.basic_ack(tag, together).await.is_err()
                        {
                            break;
                        }
                        unacknowledged = 0;
                        match waiting {
                            Some(next) => next,
                            None => consumer.next().await,
                        }
                    }
                };
                let Some(Ok(delivered)) = next else { break };
                shared.hear();
                let (tag, acker) = (delivered.delivery_tag, delivered.acker.clone());
                match shared.inbox.deliver(delivery(None, delivered)) {
                    Disposition::Ack => {
                        latest = Some(tag);
                        unacknowledged += 1;
                    }
                    Disposition::Reject => {
                        if acker.reject(BasicRejectOptions { requeue: false }).await.is_err() {
                            break;
                        }
                    }
                }
            }
            let _unheard = lost.send((None, queue));
        });
    }
}

fn delivery(queue_of: Option<UserId>, delivered: Delivered) -> Delivery {
    let headers = delivered.properties.headers().as_ref();
    let text = |name: &str| match headers.and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => Some(String::from_utf8_lossy(text.as_bytes()).into()),
        Some(AMQPValue::ShortString(text)) => Some(text.as_str().into()),
        _ => None,
    };
    Delivery {
        queue_of,
        routing_key: delivered.routing_key.as_str().into(),
        redelivered: delivered.redelivered,
        header_user: text("userId"),
        header_entity: text("entityId"),
        published: delivered.properties.timestamp().map(Millis),
        body: Bytes::from(delivered.data),
    }
}
