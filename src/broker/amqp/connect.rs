//! Connecting, with a limit on every wait and no password in any error.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Channel, Connection, ConnectionProperties};

use super::tap::Tap;
use super::transport;

use crate::config::amqp_url::{AmqpUrl, Mechanism};
use crate::config::{Rabbitmq, masked};

/// A broker that does not answer a request in this time is taken for gone.
pub(super) const ANSWER: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(5);
/// Largest frame, in bytes, where the URL does not say: buffers are multiples of it, updates are small.
const FRAME_MAX: u32 = 16 << 10;
/// Largest frame, in bytes, that a URL may ask for: RabbitMQ's own.
const MOST_FRAME_MAX: u32 = 128 << 10;

/// A connection, and the tap in it.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) tap: Tap,
}

/// Awaits an answer of the broker, at most [`ANSWER`].
pub(super) async fn answer<T>(request: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, request).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", ANSWER.as_secs())),
    }
}

/// Connects so many times to one of the configured nodes; `attempt` rotates through them.
pub(super) async fn connect(settings: &Rabbitmq, attempt: usize, times: usize) -> Result<Vec<Link>, String> {
    let urls: Vec<&str> = settings.url.split(',').map(str::trim).collect();
    let url = urls[attempt % urls.len()];
    let shown = masked("rabbitmq.url", url);
    let url = AmqpUrl::parse(url).map_err(|must| format!("{shown}: {must}"))?;
    let linked = try_join_all((0..times).map(|_| link(settings, url.clone())));
    match tokio::time::timeout(CONNECT, linked).await {
        Ok(linked) => linked.map_err(|error| format!("{shown}: {error}")),
        Err(_) => Err(format!("{shown}: no connection within {} s", CONNECT.as_secs())),
    }
}

async fn link(settings: &Rabbitmq, url: AmqpUrl) -> Result<Link, String> {
    let pace = Arc::default();
    let socket = transport::open(&url, &pace).await.map_err(|error| error.to_string())?;
    let heartbeat = url.heartbeat.map_or(settings.heartbeat, |seconds| Duration::from_secs(seconds.into()));
    let uri = for_library(url, heartbeat);
    let (tap, pipe) = Tap::insert(socket, uri.query.frame_max.unwrap_or(FRAME_MAX), heartbeat, pace);
    let properties = ConnectionProperties::default().with_connection_name("updates-bridge".into());
    let signed_on = transport::sign_on(uri, pipe, properties).await;
    signed_on.map(|connection| Link { connection, tap }).map_err(|error| error.to_string())
}

/// The library reads URLs otherwise: it takes an address of IPv6 for localhost.
fn for_library(url: AmqpUrl, heartbeat: Duration) -> AMQPUri {
    let seconds = if heartbeat.is_zero() { 0 } else { heartbeat.as_secs().max(1) };
    let frame_max = url.frame_max.filter(|bytes| *bytes > 0).unwrap_or(FRAME_MAX).min(MOST_FRAME_MAX);
    let mechanism = |mechanism| match mechanism {
        Mechanism::Plain => SASLMechanism::Plain,
        Mechanism::AmqPlain => SASLMechanism::AMQPlain,
        Mechanism::Anonymous => SASLMechanism::Anonymous,
    };
    AMQPUri {
        scheme: if url.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: url.user, password: url.password },
            host: url.host,
            port: url.port,
        },
        vhost: url.vhost,
        query: AMQPQueryString {
            frame_max: Some(frame_max),
            channel_max: url.channel_max,
            heartbeat: Some(u16::try_from(seconds).unwrap_or(u16::MAX)),
            connection_timeout: u64::try_from(CONNECT.as_millis()).ok(),
            auth_mechanism: url.mechanism.map(mechanism),
        },
    }
}

/// Connects to the first of the configured nodes that answers; the error is that of the last one.
pub(super) async fn connect_any(settings: &Rabbitmq) -> Result<Connection, String> {
    let nodes = settings.url.split(',').count();
    let mut failed = String::new();
    for attempt in 0..nodes {
        match connect(settings, attempt, 1).await {
            Ok(links) => {
                if let Some(link) = links.into_iter().next() {
                    return Ok(link.connection);
                }
            }
            Err(reason) => failed = reason,
        }
    }
    Err(failed)
}

/// A channel of its own, for requests that may be refused: a refusal closes the channel it was made on.
pub(super) async fn expendable(connection: &Connection) -> Result<Channel, String> {
    answer(connection.create_channel()).await
}

/// Closes politely, and does not wait long for the answer.
pub(super) async fn close(connection: &Connection) {
    let closing = connection.close(200, "OK".into());
    let _closed_or_dropped = tokio::time::timeout(Duration::from_secs(2), closing).await;
}
