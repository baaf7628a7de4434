//! Where the stand-in's updates go.

use std::sync::Arc;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use parking_lot::RwLock;

use crate::broker::EmbeddedBroker;

/// One update on its way.
#[derive(Clone, Debug)]
pub struct Publication {
    /// AMQP routing key.
    pub routing_key: String,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Chat3's `timestamp`, in ms.
    pub timestamp: u64,
    /// The body.
    pub body: Bytes,
}

/// Publishes to the exchange of Updates.
#[async_trait::async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes one update; like Chat3 without confirms.
    async fn publish(&self, publication: Publication);
}

/// To the exchange in this process.
pub struct EmbeddedPublisher(pub Arc<EmbeddedBroker>);

#[async_trait::async_trait]
impl Publisher for EmbeddedPublisher {
    async fn publish(&self, publication: Publication) {
        let headers: Vec<(&str, &str)> =
            publication.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let at = bridge_core::Millis(publication.timestamp);
        self.0.publish(&publication.routing_key, &headers, at, publication.body);
    }
}

/// To a RabbitMQ, on a connection of its own.
pub struct AmqpPublisher {
    _connection: Connection,
    channel: Channel,
    exchange: String,
}

impl AmqpPublisher {
    /// Connects and declares the exchange as Chat3 does.
    ///
    /// # Errors
    /// What the broker said.
    pub async fn connect(url: &str, exchange: &str) -> Result<Self, String> {
        let say = |error: lapin::Error| error.to_string();
        let connection = crate::broker::connect(url).await?;
        let channel = connection.create_channel().await.map_err(say)?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await
            .map_err(say)?;
        Ok(Self { _connection: connection, channel, exchange: exchange.into() })
    }
}

#[async_trait::async_trait]
impl Publisher for AmqpPublisher {
    async fn publish(&self, publication: Publication) {
        let mut headers = FieldTable::default();
        for (name, value) in publication.headers {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_timestamp(publication.timestamp)
            .with_headers(headers);
        let sent = self.channel.basic_publish(
            self.exchange.as_str().into(),
            publication.routing_key.as_str().into(),
            BasicPublishOptions::default(),
            &publication.body,
            properties,
        );
        if let Err(error) = sent.await {
            tracing::debug!(%error, "an update could not be published");
        }
    }
}

/// To a publisher that is made later; until then nobody is bound.
#[derive(Default)]
pub struct LatePublisher(RwLock<Option<Arc<dyn Publisher>>>);

impl LatePublisher {
    /// The publisher from now on.
    pub fn set(&self, publisher: Arc<dyn Publisher>) {
        *self.0.write() = Some(publisher);
    }
}

#[async_trait::async_trait]
impl Publisher for LatePublisher {
    async fn publish(&self, publication: Publication) {
        let publisher = self.0.read().clone();
        if let Some(publisher) = publisher {
            publisher.publish(publication).await;
        }
    }
}
