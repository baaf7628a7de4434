//! Does a policy cap or expire the queues of Updates? Such a queue loses what its users are owed, without a word.
//!
//! AMQP shows no policies. With the management API the broker is asked; without it a queue of such a name is filled and
//! looked at, which shows a cap only that is below what is put in, and a time only that is shorter than the look takes.

use std::time::Duration;

use futures::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::connect::{answer, close, connect_any, expendable};
use super::{PROBE, is_refused};
use crate::config::amqp_url::AmqpUrl;
use crate::config::{Rabbitmq, Topology};

/// What is put into the probe's queue: so many messages, each of so many bytes.
const MESSAGES: u32 = 1_000;
const BYTES: usize = 1_024;
/// How long they lie there.
const LIE: Duration = Duration::from_millis(250);
/// The management API tells of a new queue's policies with its next statistics, which it takes every 5 s.
const STATISTICS: Duration = Duration::from_secs(7);
/// Of a policy: what takes messages, or the queue, away.
const HARMFUL: [&str; 5] = ["max-length", "max-length-bytes", "message-ttl", "expires", "overflow"];

/// Whether queues like those of Updates are left alone (`None`: could not be asked), and what was seen.
pub(super) async fn look(settings: &Rabbitmq, instance_id: &str) -> (Option<bool>, String) {
    let Ok(connection) = connect_any(settings).await else { return (None, "could not be asked".into()) };
    let tag: u64 = rand::random();
    // Policies go by names: this is one as real queues have it.
    let queue = match settings.topology {
        Topology::PerUser => format!("user_bridge_probe.{instance_id}.{tag:x}"),
        Topology::PerInstance | Topology::Firehose => format!("bridge_{instance_id}.probe{tag:x}"),
    };
    let looked = seen(&connection, settings, &queue).await;
    close(&connection).await;
    match looked {
        Ok(detail) => (Some(true), detail),
        Err(Fault::Policy(detail)) => (Some(false), detail),
        Err(Fault::Unasked(reason)) => (None, format!("could not be asked: {reason}")),
    }
}

enum Fault {
    /// Messages or the queue are taken away.
    Policy(String),
    Unasked(String),
}

async fn seen(connection: &Connection, settings: &Rabbitmq, queue: &str) -> Result<String, Fault> {
    let channel = expendable(connection).await.map_err(Fault::Unasked)?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(queue.into(), options, FieldTable::default());
    answer(declare).await.map_err(Fault::Unasked)?;
    let mut unasked = "set rabbitmq.management_url".to_owned();
    if !settings.management_url.is_empty() {
        match definition(settings, queue).await {
            Ok(limits) if limits.is_empty() => return Ok(format!("no policy caps or expires {queue}")),
            Ok(limits) => return Err(Fault::Policy(format!("{queue} is under {limits}"))),
            Err(reason) => unasked = format!("rabbitmq.management_url: {reason}"),
        }
    }
    fill(connection, queue).await?;
    let kept = left(connection, queue).await?;
    if kept < MESSAGES {
        return Err(Fault::Policy(format!(
            "{queue} kept {kept} of {MESSAGES} messages: max-length or max-length-bytes, or a message-ttl of next to \
             nothing"
        )));
    }
    tokio::time::sleep(LIE).await;
    let kept = left(connection, queue).await?;
    if kept < MESSAGES {
        let after = LIE.as_millis();
        return Err(Fault::Policy(format!(
            "{queue} kept {kept} of {MESSAGES} messages for {after} ms: message-ttl"
        )));
    }
    Ok(format!(
        "{queue} kept {MESSAGES} messages of {BYTES} bytes for {} ms; a policy that leaves it more is not seen without \
         the management API ({unasked})",
        LIE.as_millis()
    ))
}

async fn fill(connection: &Connection, queue: &str) -> Result<(), Fault> {
    let channel = expendable(connection).await.map_err(Fault::Unasked)?;
    let body = vec![b' '; BYTES];
    let filled = async {
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let mut confirms = Vec::new();
        for _ in 0..MESSAGES {
            // To the default exchange, which nobody else hears.
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            let send = channel.basic_publish("".into(), queue.into(), options, &body, properties);
            confirms.push(send.await.map_err(|error| error.to_string())?);
        }
        let confirmed = try_join_all(confirms).await.map_err(|error| error.to_string())?;
        Ok::<usize, String>(confirmed.iter().filter(|confirmed| !confirmed.is_ack()).count())
    };
    match tokio::time::timeout(PROBE, filled).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(refused)) => Err(Fault::Policy(format!(
            "{queue} refused {refused} of {MESSAGES} messages: max-length or max-length-bytes, with overflow \
             reject-publish"
        ))),
        Ok(Err(reason)) if is_refused(&reason) => Err(Fault::Unasked(
            "the user may not publish to the default exchange; set rabbitmq.management_url".into(),
        )),
        Ok(Err(reason)) => Err(Fault::Unasked(reason)),
        Err(_) => Err(Fault::Unasked(format!("messages were not confirmed within {} s", PROBE.as_secs()))),
    }
}

/// Messages in the queue.
async fn left(connection: &Connection, queue: &str) -> Result<u32, Fault> {
    let channel = expendable(connection).await.map_err(Fault::Unasked)?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match answer(channel.queue_declare(queue.into(), passive, FieldTable::default())).await {
        Ok(state) => Ok(state.message_count()),
        Err(reason) if reason.contains("NOT_FOUND") => Err(Fault::Policy(format!(
            "{queue} was deleted within {} ms of being declared: expires",
            LIE.as_millis()
        ))),
        Err(reason) => Err(Fault::Unasked(reason)),
    }
}

/// The limits that the policies of the queue set, as the management API tells; empty when there is none.
async fn definition(settings: &Rabbitmq, queue: &str) -> Result<String, String> {
    let first = AmqpUrl::list(&settings.url)?.into_iter().next().ok_or("there is no rabbitmq.url")?;
    let mut url = url::Url::parse(&settings.management_url).map_err(|error| error.to_string())?;
    let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = match (user.is_empty(), password) {
        (true, _) => (first.user, first.password),
        (false, password) => (decoded(&user), decoded(&password.unwrap_or_default())),
    };
    let _cannot_fail_on_http = url.set_username("").and_then(|()| url.set_password(None));
    let [host, queue] = [first.vhost.as_str(), queue].map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC));
    let url = format!("{}/api/queues/{host}/{queue}", url.as_str().trim_end_matches('/'));
    let client =
        reqwest::Client::builder().no_proxy().timeout(PROBE).build().map_err(|error| error.to_string())?;
    let begun = tokio::time::Instant::now();
    let told: Value = loop {
        let asked = client.get(&url).basic_auth(&user, Some(&password)).send().await;
        let answer = asked.map_err(|error| error.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status()));
        }
        let told: Value = answer.json().await.map_err(|error| error.without_url().to_string())?;
        if told.get("effective_policy_definition").is_some() {
            break told;
        }
        if begun.elapsed() > STATISTICS {
            return Err("it tells of no policies".into());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let limits = &told["effective_policy_definition"];
    let limit = |name: &&str| limits.get(name).map(|value| format!("{name} = {value}"));
    let limits: Vec<String> = HARMFUL.iter().filter_map(limit).collect();
    if limits.is_empty() {
        return Ok(String::new());
    }
    let names = ["policy", "operator_policy"].into_iter().filter_map(|kind| {
        let name = told[kind].as_str().filter(|name| !name.is_empty())?;
        Some(format!("{} {name}", kind.replace('_', " ")))
    });
    Ok(format!("{} ({})", limits.join(", "), names.collect::<Vec<_>>().join(", ")))
}
