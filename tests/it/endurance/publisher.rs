//! Chat3's worker with a broker that fails: what is published is published again until the broker confirms it, in order.

use std::collections::HashMap;
use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use updates_bridge::demo::chat3::{Publication, Publisher};

use super::record::{Message, marked, now};
use crate::kit::{runtime, s};

const EXCHANGE: &str = "chat3_updates";
/// Most that are on their way without a confirmation.
const BATCH: usize = 64;

/// When the updates of a message were first given to the broker, and when the last was confirmed (ms since 1970).
pub(super) type Published = Arc<Mutex<HashMap<Message, (u64, u64)>>>;

pub(super) struct Confirming {
    queue: mpsc::UnboundedSender<Publication>,
    pub(super) published: Published,
}

impl Confirming {
    pub(super) fn start(url: String) -> Arc<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let published = Published::default();
        runtime().spawn(pump(url, waiting, Arc::clone(&published)));
        Arc::new(Self { queue, published })
    }

    pub(super) fn send(&self, publication: Publication) {
        let _ended = self.queue.send(publication);
    }
}

#[async_trait::async_trait]
impl Publisher for Confirming {
    async fn publish(&self, publication: Publication) {
        self.send(publication);
    }
}

async fn pump(url: String, mut waiting: mpsc::UnboundedReceiver<Publication>, published: Published) {
    let (mut batch, mut way) = (Vec::new(), None);
    loop {
        if batch.is_empty() && waiting.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let Some((_, channel)) = &way else {
            way = timeout(s(5), connect(&url)).await.ok().flatten();
            if way.is_none() {
                tokio::time::sleep(s(1) / 5).await;
            }
            continue;
        };
        for publication in &batch {
            if let Some(message) = marked(&publication.body) {
                published.lock().entry(message).or_insert((now(), u64::MAX));
            }
        }
        // What comes again comes while it is remembered: for 30 s after its twin.
        match timeout(s(5), send(channel, &batch)).await.ok().flatten() {
            Some(()) => {
                for message in batch.drain(..).filter_map(|publication| marked(&publication.body)) {
                    if let Some(times) = published.lock().get_mut(&message) {
                        times.1 = now();
                    }
                }
            }
            None => way = None,
        }
    }
}

async fn connect(url: &str) -> Option<(Connection, Channel)> {
    let connection = updates_bridge::broker::connect(url).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.ok()?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
    Some((connection, channel))
}

async fn send(channel: &Channel, batch: &[Publication]) -> Option<()> {
    let mut confirms = Vec::new();
    for publication in batch {
        let mut headers = FieldTable::default();
        for (name, value) in &publication.headers {
            headers.insert((*name).into(), AMQPValue::LongString(value.as_str().into()));
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_timestamp(publication.timestamp)
            .with_headers(headers);
        let (key, options) = (publication.routing_key.as_str().into(), BasicPublishOptions::default());
        let sent = channel.basic_publish(EXCHANGE.into(), key, options, &publication.body, properties);
        confirms.push(sent.await.ok()?);
    }
    for confirm in confirms {
        if !confirm.await.ok()?.is_ack() {
            return None;
        }
    }
    Some(())
}
