//! Preflight: the broker is asked for everything that a forward move will need, on a connection of its own.

mod policies;

use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection};

use super::connect::{answer, close, connect_any, expendable};
use super::exchange::{self, Seen};
use crate::broker::Check;
use crate::config::Rabbitmq;

/// How long a published probe may take.
const PROBE: Duration = Duration::from_secs(3);

const NAMES: [(&str, &str); 8] = [
    ("broker_reachable", "start RabbitMQ, or correct rabbitmq.url (RABBITMQ_URL)"),
    ("broker_not_alarmed", "free memory or disk on the broker (rabbitmq-diagnostics alarms)"),
    ("exchange", "start Chat3, which declares it, or correct rabbitmq.exchange"),
    ("exchange_topic", "delete the exchange, so that Chat3 declares it as a durable topic"),
    ("may_declare", "give the user the permission to configure queues (rabbitmqctl set_permissions)"),
    ("may_bind", "give the user the permission to write its queues and to read the exchange"),
    ("may_consume", "give the user the permission to read its queues"),
    ("probe", "give the user the permission to write to the exchange, or look for policies on it"),
];

const POLICIES: &str = "except the gateway's queues (user_… and bridge_…) from the policies that cap or expire queues: what \
    such a queue drops, nobody is told of";

/// All checks, in order; what can't be asked any more is `ok: None`.
pub(super) async fn run(settings: &Rabbitmq, instance_id: &str, limit: Duration) -> Vec<Check> {
    let mut checks = Checks(Vec::new());
    let policies = tokio::time::timeout(limit, policies::look(settings, instance_id));
    let (asked, policies) = tokio::join!(tokio::time::timeout(limit, checks.all(settings, instance_id)), policies);
    if asked.is_err() {
        checks.next(Err(format!("no answer within {} s", limit.as_secs())));
    }
    while checks.0.len() < NAMES.len() {
        checks.unasked();
    }
    let (ok, detail) = policies.unwrap_or_else(|_| (None, "could not be asked".into()));
    let remedy = if ok == Some(false) { POLICIES.into() } else { String::new() };
    checks.0.push(Check { name: "queue_policies", ok, detail, remedy });
    checks.0
}

struct Checks(Vec<Check>);

impl Checks {
    /// Notes the next check's outcome; whether the following ones can be asked.
    fn next(&mut self, outcome: Result<String, String>) -> bool {
        let Some((name, remedy)) = NAMES.get(self.0.len()) else { return false };
        let ok = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        let remedy = if ok { String::new() } else { (*remedy).into() };
        self.0.push(Check { name, ok: Some(ok), detail, remedy });
        ok
    }

    fn unasked(&mut self) {
        if let Some((name, _)) = NAMES.get(self.0.len()) {
            let detail = "could not be asked".into();
            self.0.push(Check { name, ok: None, detail, remedy: String::new() });
        }
    }

    async fn all(&mut self, settings: &Rabbitmq, instance_id: &str) {
        let connection = match connect_any(settings).await {
            Ok(connection) => connection,
            Err(reason) => {
                self.next(Err(reason));
                return;
            }
        };
        self.next(Ok("connected".into()));
        self.asked(&connection, settings, instance_id).await;
        close(&connection).await;
    }

    async fn asked(&mut self, connection: &Connection, settings: &Rabbitmq, instance_id: &str) {
        let not_alarmed = match not_alarmed(settings).await {
            // A gateway never publishes there: a user who may not is no fault, and none who is held up.
            Err(reason) if is_refused(&reason) => {
                self.unasked();
                true
            }
            outcome => self.next(outcome),
        };
        let name = &settings.exchange;
        match exchange::look(connection, name, false).await {
            Ok(Seen::Topic) => {
                self.next(Ok(format!("{name} is there")));
                self.next(Ok(format!("{name} is a durable topic exchange")));
            }
            Ok(Seen::Unproved) => {
                self.next(Ok(format!("{name} is there")));
                self.unasked();
            }
            Ok(Seen::Missing) => {
                self.next(Err(format!("{name} is missing")));
                self.unasked();
                return;
            }
            Ok(Seen::Wrong(text)) => {
                self.next(Ok(format!("{name} is there")));
                self.next(Err(text));
                return;
            }
            Err(reason) => {
                self.next(Err(reason));
                return;
            }
        }
        let tag: u64 = rand::random();
        let queue = format!("bridge_probe.{instance_id}.{tag:x}");
        let channel = match expendable(connection).await {
            Ok(channel) => channel,
            Err(reason) => {
                self.next(Err(reason));
                return;
            }
        };
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declared = answer(channel.queue_declare(queue.as_str().into(), options, FieldTable::default())).await;
        if !self.next(declared.map(|_| format!("declared {queue}"))) {
            return;
        }
        // No binding key of a user matches one of two words, and no worker reads the exchange of Updates.
        let key = format!("bridge_probe.{tag:x}");
        let bind = channel.queue_bind(
            queue.as_str().into(),
            name.as_str().into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        if !self.next(answer(bind).await.map(|()| format!("bound {key}"))) {
            return;
        }
        let consume = channel.basic_consume(
            queue.as_str().into(),
            queue.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        match answer(consume).await {
            Ok(consumer) => {
                self.next(Ok(format!("consumed {queue}")));
                if !not_alarmed {
                    self.unasked();
                    return;
                }
                match may_publish(connection, name, &key).await {
                    Ok(true) => self.next(received(consumer).await),
                    Ok(false) => {
                        // A gateway never publishes: that its user may not is no fault.
                        self.unasked();
                        true
                    }
                    Err(reason) => self.next(Err(reason)),
                };
            }
            Err(reason) => {
                self.next(Err(reason));
            }
        }
    }
}

/// RabbitMQ says that it is alarmed when a connection publishes. Such a connection takes no further request, so that
/// this one is not used for anything else.
async fn not_alarmed(settings: &Rabbitmq) -> Result<String, String> {
    let connection = connect_any(settings).await?;
    let outcome = may_publish_now(&connection).await;
    // A blocked connection does not close politely: nobody waits for it.
    tokio::spawn(async move { close(&connection).await });
    outcome
}

async fn may_publish_now(connection: &Connection) -> Result<String, String> {
    let mut events = Box::pin(connection.events_listener());
    let channel = expendable(connection).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    // To the default exchange, for a queue that is not there: nobody receives it.
    let publish = publish(&channel, "", "bridge_probe.nowhere");
    tokio::select! {
        confirmed = publish => confirmed.map(|()| "not alarmed".into()),
        reason = async {
            loop {
                match events.next().await {
                    Some(lapin::Event::ConnectionBlocked(reason)) => break reason,
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            }
        } => Err(format!("the broker blocks publishers: {reason}")),
    }
}

async fn publish(channel: &Channel, exchange: &str, key: &str) -> Result<(), String> {
    let send = channel.basic_publish(
        exchange.into(),
        key.into(),
        BasicPublishOptions::default(),
        b"{}",
        BasicProperties::default(),
    );
    let confirm = answer(send).await?;
    let confirmed = tokio::time::timeout(PROBE, confirm).await;
    confirmed.map_err(|_| "a published probe was not confirmed".to_owned())?.map_err(|error| error.to_string())?;
    Ok(())
}

/// For lack of a permission.
fn is_refused(reason: &str) -> bool {
    reason.to_ascii_uppercase().contains("ACCESS_REFUSED")
}

/// Publishes the probe; `false` when the user has no permission to.
async fn may_publish(connection: &Connection, exchange: &str, key: &str) -> Result<bool, String> {
    let channel = expendable(connection).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    match publish(&channel, exchange, key).await {
        Ok(()) => Ok(true),
        Err(reason) if is_refused(&reason) => Ok(false),
        Err(reason) => Err(reason),
    }
}

async fn received(mut consumer: lapin::Consumer) -> Result<String, String> {
    match tokio::time::timeout(PROBE, consumer.next()).await {
        Ok(Some(Ok(delivery))) => {
            let _acknowledged = delivery.acker.ack(BasicAckOptions::default()).await;
            Ok("a probe was published and received".into())
        }
        Ok(_) => Err("the probe's queue was taken away".into()),
        Err(_) => Err(format!("a published probe did not come within {} s", PROBE.as_secs())),
    }
}
