//! Numbered updates to users, past every fault of the broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use serde_json::json;

use super::{runtime, s};

const EXCHANGE: &str = "chat3_updates";
/// Between two rounds of updates, one for each user.
const ROUND: Duration = Duration::from_millis(100);

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}

/// One numbered update.
pub(crate) struct Sent {
    pub(crate) user: String,
    pub(crate) entity: String,
    /// When it was given to the broker (ms since 1970).
    pub(crate) at: u64,
    pub(crate) confirmed: bool,
}

/// Publishes to each of `users` until it is dropped.
pub(crate) struct Numbers {
    pub(crate) users: Arc<Mutex<Vec<String>>>,
    pub(crate) sent: Arc<Mutex<Vec<Sent>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Numbers {
    /// To each user in each round.
    pub(crate) fn start(url: String, users: Vec<String>) -> Self {
        Self::in_turn(url, users, usize::MAX)
    }

    /// To so many of them in each round, one after the other.
    pub(crate) fn in_turn(url: String, users: Vec<String>, many: usize) -> Self {
        let (users, sent) = (Arc::new(Mutex::new(users)), Arc::<Mutex<Vec<Sent>>>::default());
        let (whom, noted) = (Arc::clone(&users), Arc::clone(&sent));
        let task = runtime().spawn(async move {
            let (mut number, mut way, mut next) = (0, None, 0);
            loop {
                tokio::time::sleep(ROUND).await;
                if way.is_none() {
                    way = tokio::time::timeout(s(5), connect(&url)).await.ok().flatten();
                }
                let Some((_, channel)) = &way else { continue };
                number += 1;
                let whom: Vec<String> = {
                    let all = whom.lock().unwrap();
                    let these =
                        all.iter().cycle().skip(next % all.len().max(1)).take(many.min(all.len())).cloned();
                    these.collect()
                };
                next += whom.len();
                let round = publish_round(channel, number, &whom, &noted);
                // A publisher that is blocked by an alarm waits; what it has sent is on its way.
                if round.await.is_none() {
                    way = None;
                }
            }
        });
        Self { users, sent, task }
    }

    pub(crate) fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

/// What a socket was sent, for a look at what it lacks.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// How often each update came.
    pub(crate) updates: HashMap<String, usize>,
    /// What `bridge:resync` covered: since when, and when it came (ms since 1970).
    pub(crate) gaps: Vec<(u64, u64)>,
}

/// What became of the updates that were confirmed.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) due: usize,
    /// Did not come, and `bridge:resync` said so.
    pub(crate) told: usize,
    /// Neither came nor were told.
    pub(crate) missing: Vec<String>,
}

impl Heard {
    /// Of what was sent to its user.
    pub(crate) fn account<'s>(&self, sent: impl Iterator<Item = &'s Sent>) -> Account {
        let mut account = Account::default();
        for sent in sent.filter(|sent| sent.confirmed) {
            account.due += 1;
            if self.updates.contains_key(&sent.entity) {
            } else if self.gaps.iter().any(|(since, at)| (*since..=*at).contains(&sent.at)) {
                account.told += 1;
            } else {
                account.missing.push(format!("{} at {}", sent.entity, sent.at));
            }
        }
        account
    }
}

/// Since when `bridge:resync` tells that something lacks (ms since 1970).
pub(crate) fn since(resync: &serde_json::Value) -> u64 {
    let since = resync["since"].as_str().expect("a time");
    let since = since.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    u64::try_from(since).expect("a time")
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Declares the exchange as Chat3 does when it connects: a broker that was killed may have lost it.
async fn connect(url: &str) -> Option<(Connection, Channel)> {
    let connection = updates_bridge::broker::connect(url).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.ok()?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
    Some((connection, channel))
}

async fn publish_round(channel: &Channel, number: u64, users: &[String], noted: &Mutex<Vec<Sent>>) -> Option<()> {
    let mut confirms = Vec::new();
    for user in users {
        let entity = format!("msg_{user}_{number}");
        let body = json!({"tenantId": "tnt_default", "userId": user, "entityId": entity,
            "eventId": format!("evt_{entity}"), "eventType": "message.create", "data": {"dialogId": "dlg_x", "sentAt": now()}});
        let index = {
            let mut noted = noted.lock().unwrap();
            noted.push(Sent { user: user.clone(), entity, at: now(), confirmed: false });
            noted.len() - 1
        };
        let (key, options) = (format!("user.user.{user}.messageupdate"), BasicPublishOptions::default());
        let body = body.to_string();
        // Chat3 stamps what it publishes; others need not.
        let stamped = BasicProperties::default().with_timestamp(now());
        let properties = if number.is_multiple_of(2) { stamped } else { BasicProperties::default() };
        let sent =
            channel.basic_publish(EXCHANGE.into(), key.as_str().into(), options, body.as_bytes(), properties);
        confirms.push((index, tokio::time::timeout(s(90), sent).await.ok()?.ok()?));
    }
    for (index, confirm) in confirms {
        let confirmed = tokio::time::timeout(s(90), confirm).await.ok()?.ok()?.is_ack();
        noted.lock().unwrap()[index].confirmed = confirmed;
    }
    Some(())
}
