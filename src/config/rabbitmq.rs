//! Settings of the broker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `rabbitmq.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rabbitmq {
    /// One AMQP URL or a comma list of cluster nodes; empty: no broker.
    pub url: String,
    /// The management API (`http://host:15672`), which preflight asks about policies; empty: it is not asked. Without
    /// user and password those of `url` are used.
    pub management_url: String,
    /// The exchange of Updates.
    pub exchange: String,
    /// Declare the exchange when it is missing (Chat3 owns it).
    pub declare_exchange: bool,
    /// Prove every 3 s, by a probe through the exchange, that the bindings are there.
    pub watch_bindings: bool,
    /// How queues are laid out.
    pub topology: Topology,
    /// Binding keys; `{id}` is the user's id and the last word the update type. `auto`: all that Chat3 ever published
    /// under, without those that are not seen to arrive.
    #[serde(deserialize_with = "one_or_many")]
    pub binding_keys: Vec<String>,
    /// How long authentication waits for the user's queue.
    #[serde(with = "humantime_serde")]
    pub ready_timeout: Duration,
    /// How long a user's queue outlives the last socket; absent: `shadow.window`.
    #[serde(with = "humantime_serde")]
    pub linger: Option<Duration>,
    /// Unacknowledged updates of one consumer.
    pub prefetch: u16,
    /// Channels over which consumers are spread.
    pub channels: u16,
    /// AMQP heartbeat.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

/// Every format of routing keys that Chat3 has published under, told apart by their number of words.
const FORMATS: [&str; 3] = ["user.{id}.*", "user.*.{id}.*", "update.*.*.{id}.*"];

impl Rabbitmq {
    /// The word for [`Self::learns_formats`].
    pub(crate) const AUTO: &str = "auto";

    /// Whether formats that do not arrive may be left out.
    #[must_use]
    pub fn learns_formats(&self) -> bool {
        self.binding_keys == [Self::AUTO]
    }

    /// All binding keys that may be bound.
    #[must_use]
    pub fn formats(&self) -> Vec<String> {
        if self.learns_formats() { FORMATS.map(String::from).to_vec() } else { self.binding_keys.clone() }
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    })
}

/// Layout of queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// A queue for each user of the instance.
    #[default]
    PerUser,
    /// One queue of the instance, a binding for each user.
    PerInstance,
    /// One queue of the instance with static bindings.
    Firehose,
}
