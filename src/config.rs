//! Settings: what can be set, and its defaults.
//!
//! This file says what there is; `config/load.rs` says where values come from and what is wrong with them.

pub mod amqp_url;
mod check;
mod defaults;
mod effective;
mod fault;
mod keys;
mod load;
mod mask;
mod node_address;
mod origins;
pub mod public_key;
pub mod watch;

pub use fault::{Fault, Faults, Origin};
pub use load::{Configured, Loaded, Sources, nearest_key};
pub use mask::masked;
pub use node_address::NodeAddress;
pub use origins::OriginPattern;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bridge_core::Rollout;
use bridge_core::form::Form;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Everything that can be set. Sections are tables of the TOML files and `BRIDGE_{SECTION}__{KEY}` variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name of this instance in queue names and records: letters, digits, `-`, `_`, at most 60.
    pub instance_id: String,
    /// Where the flag, the audit and the shadow log are kept.
    pub state_dir: PathBuf,
    /// Which path delivers.
    pub flag: Flag,
    /// The broker.
    pub rabbitmq: Rabbitmq,
    /// The Chat3 API.
    pub chat3: Chat3,
    /// Who a client is.
    pub auth: Auth,
    /// Who may join and post.
    pub membership: Membership,
    /// Who hears the legacy path.
    pub legacy: Legacy,
    /// The client side.
    pub http: Http,
    /// Sockets of clients.
    pub socket: SocketSettings,
    /// The memory that clients can fill.
    pub memory: Memory,
    /// What clients understand.
    pub client: Client,
    /// The admin side.
    pub admin: Admin,
    /// The other instances.
    pub fleet: Fleet,
    /// The comparison.
    pub shadow: Shadow,
    /// The guard.
    pub guard: Guard,
    /// A backend to stand in front of.
    pub upstream: Upstream,
    /// Who is told when something happens.
    pub notify: Notify,
    /// The log.
    pub log: Log,
    /// Threads.
    pub runtime: Runtime,
}

/// `flag.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flag {
    /// `USE_RABBITMQ_UPDATES`: the rabbitmq path delivers.
    pub use_rabbitmq_updates: bool,
    /// `SHADOW_MODE`: both paths run and are compared.
    pub shadow_mode: bool,
    /// Deliver from the ring what was accepted in `live` and whose update does not come.
    pub rescue: bool,
    /// Who is inside in `live` and `complete`.
    pub rollout: Rollout,
    /// How long a forward flip may take.
    #[serde(with = "humantime_serde")]
    pub flip_timeout: Duration,
    /// How long a delivery is remembered whose twin does not come.
    #[serde(with = "humantime_serde")]
    pub remember: Duration,
    /// `not_unsafe` or `safe`: what preflight asks of the verdict towards `live` and `complete`.
    pub require_verdict: RequireVerdict,
}

/// What preflight asks of the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequireVerdict {
    /// Anything but `NOT_SAFE`.
    #[default]
    #[serde(rename = "NOT_UNSAFE")]
    NotUnsafe,
    /// `SAFE`.
    #[serde(rename = "SAFE")]
    Safe,
}

/// `rabbitmq.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rabbitmq {
    /// One AMQP URL or a comma list of cluster nodes; empty: no broker.
    pub url: String,
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

/// `chat3.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chat3 {
    /// Base URL; ends in `/api`.
    pub url: String,
    /// `X-API-Key`.
    pub api_key: String,
    /// `X-TENANT-ID`, and the tenant whose updates are delivered.
    pub tenant_id: String,
    /// How long a client waits for an answer of Chat3.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Message types to rewrite, e.g. `text = "internal.text"`.
    pub message_type_map: std::collections::BTreeMap<String, String>,
}

/// `auth.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How a client proves who it is.
    pub mode: AuthMode,
    /// Secret of HMAC signatures.
    pub jwt_secret: String,
    /// Further secrets that are believed: the former or the next one, while it is replaced.
    pub jwt_secrets: Vec<String>,
    /// PEM files of public keys, each with one or more.
    pub public_keys: Vec<PathBuf>,
    /// Where the issuer publishes its keys; empty: nowhere.
    pub jwks_url: String,
    /// Age at which the issuer's keys are asked for anew, while the old ones go on.
    #[serde(with = "humantime_serde")]
    pub jwks_refresh: Duration,
    /// The issuer is asked no more often than this, whatever keys tokens name.
    #[serde(with = "humantime_serde")]
    pub jwks_interval: Duration,
    /// Algorithms that are believed; empty: HS256 for secrets, and all that fit the kind of a public key.
    pub algorithms: Vec<String>,
    /// Issuers (`iss`) that are believed; empty: any.
    pub issuer: Vec<String>,
    /// Audiences (`aud`) of which a token has to name one; empty: any.
    pub audience: Vec<String>,
    /// How far the clocks of issuer and gateway may differ.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Claims of the user's id: the first that is there.
    pub user_claims: Vec<String>,
    /// Claim of the display name.
    pub name_claim: String,
    /// Claim of the tenant, which has to be `chat3.tenant_id`; empty: it is not looked at.
    pub tenant_claim: String,
    /// Allow `trusted` in `production`.
    pub allow_trusted: bool,
    /// Whether the handshake must carry the token.
    pub handshake: Handshake,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A signed token.
    #[default]
    Jwt,
    /// The client says who it is (the seed's way).
    Trusted,
}

/// Whether the handshake must carry a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handshake {
    /// A connection without one is refused.
    #[default]
    Required,
    /// It may come by `authenticate` within 10 s.
    Optional,
}

/// `membership.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Membership {
    /// What is checked; absent: `off` in `development`, else `enforce`.
    pub mode: Option<MembershipMode>,
    /// How long members of a dialog are believed.
    #[serde(with = "humantime_serde")]
    pub cache: Duration,
    /// Questions about members that one user may have open at Chat3.
    pub user_questions: u32,
}

/// What is done about membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembershipMode {
    /// Nothing.
    #[default]
    Off,
    /// It is looked up, counted and logged.
    Report,
    /// Non-members are refused.
    Enforce,
}

/// `legacy.*`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Legacy {
    /// Who hears a broadcast.
    pub audience: Audience,
    /// Hand every broadcast to the other instances of the fleet too.
    pub relay: bool,
}

/// Who hears a broadcast of the legacy path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Sockets in the dialog's room.
    #[default]
    Joined,
    /// These, and all sockets of the dialog's members.
    Members,
}

/// `http.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address of the client side.
    pub listen: SocketAddr,
    /// Largest request body, in bytes.
    pub max_body: ByteSize,
    /// Without its broker an instance is not ready, where rabbitmq delivers alone.
    pub ready_needs_broker: bool,
    /// Messages of one user on their way at once: a larger one than 16 KiB counts for several.
    pub user_forwards: u32,
    /// Origins for CORS and Socket.IO, see [`OriginPattern`]; absent: `["*"]` in `development`, else none.
    pub allowed_origins: Option<Vec<String>>,
    /// How long a connection may idle between requests, on either listener.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Connections of clients at once.
    pub max_connections: u32,
    /// Those from one address; an address of IPv6 counts as its /64.
    pub address_connections: u32,
    /// Proxies whose `X-Forwarded-For`, else `Forwarded`, is believed: addresses or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Messages of one user in a second; ten times as many at once.
    pub user_posts: u32,
    /// How long the head of a request may take.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// How long SIGTERM waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// `socket.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketSettings {
    /// Outbound bound of a socket, in bytes.
    pub buffer: ByteSize,
    /// Outbound bound of all sockets together, in bytes: the fullest socket is cut when it is reached.
    pub buffer_total: ByteSize,
    /// Bytes of what all sockets were sent lately, kept for a resume: beyond it each keeps its share of it.
    pub replay_total: ByteSize,
    /// Connected sockets of one user.
    pub user_sockets: u32,
    /// Rooms of one socket.
    pub rooms: u32,
    /// Events of one socket in a second; ten times as many at once.
    pub events: u32,
    /// Largest message of a client, in bytes.
    pub max_frame: ByteSize,
    /// How long a client may take to authenticate.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
}

/// `memory.*`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// What the process may take, in bytes; absent: three quarters of what its container or machine has.
    pub limit: Option<ByteSize>,
}

/// `client.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// Form for clients that do not declare what they accept.
    pub undeclared: Form,
}

/// `admin.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of the admin side.
    pub listen: SocketAddr,
    /// Bearer token.
    pub token: String,
    /// Further tokens, each with the name under which its calls are audited.
    pub tokens: Vec<AdminToken>,
    /// Serve `/metrics` without token.
    pub open_metrics: bool,
}

/// `fleet.*`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// Admin addresses of all instances: `http://host:port`, `host:port`, or `dns+http://name:port` for every address of
    /// the name; empty: alone.
    pub nodes: Vec<String>,
    /// Bearer token of their admin sides; empty: `admin.token`.
    pub token: String,
}

/// One of `admin.tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Who holds it: the audit's actor.
    pub name: String,
    /// Bearer token.
    pub token: String,
    /// What it may do.
    pub role: AdminRole,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// GET only.
    Read,
    /// Everything.
    Operate,
}

/// `shadow.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shadow {
    /// How long a copy waits for its twin.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Directory of the shadow log; absent: `{state_dir}/shadow`.
    pub dir: Option<PathBuf>,
    /// Share of good and neutral records that is written, 0–1.
    pub sample: f64,
    /// Write content instead of its length and hash, and both copies of bad units, for `reveal_for` from the start.
    pub reveal_content: bool,
    /// How long content is revealed at most, however that was asked for.
    #[serde(with = "humantime_serde")]
    pub reveal_for: Duration,
    /// Memory of the comparator, in bytes.
    pub max_memory: ByteSize,
    /// Size at which the log rotates, in bytes.
    pub rotate: ByteSize,
    /// Rotated files that are kept.
    pub keep: u32,
    /// Share of indeterminate units above which `shadow report` sets its bit, 0–1.
    pub indeterminate_max: f64,
    /// Rate of bad messages below which the verdict is `SAFE`.
    pub target_rate: f64,
    /// Confidence of the verdict, 0–1.
    pub confidence: f64,
    /// Event types without which the verdict stays `INCONCLUSIVE`.
    pub require_events: Vec<String>,
    /// Ask for a drill within the evidence.
    pub require_drill: bool,
    /// Age at which evidence is stale.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Differences to ignore, each with owner, reason and expiry.
    pub ignore: Vec<IgnoreRule>,
}

/// A difference that somebody answers for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoreRule {
    /// Name in records.
    pub name: String,
    /// JSON Pointer into the canonical form; also everything below it.
    pub path: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is harmless.
    pub reason: String,
    /// Last day on which it holds, `YYYY-MM-DD`.
    pub expires: String,
}

/// `guard.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What the guard does.
    pub mode: GuardMode,
    /// Broker session gone for longer than this.
    #[serde(with = "humantime_serde")]
    pub broker_down: Duration,
    /// Share of missing updates above which it acts, 0–1.
    pub missing_max: f64,
    /// Fewest messages within `period` on which it acts.
    pub min_messages: u64,
    /// Messages are accepted but no update comes for this long.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// What it looks back on.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
}

/// What the guard does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// Nothing.
    Off,
    /// Says what it would do.
    #[default]
    Observe,
    /// Rolls back, once.
    Act,
}

/// `upstream.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Where other `/api/*` calls go; empty: nowhere.
    pub backend_url: String,
    /// Who gets createMessage.
    pub post: PostTo,
    /// Calls that are passed on at once.
    pub in_flight: u32,
}

/// Who gets createMessage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostTo {
    /// Chat3 itself.
    #[default]
    Chat3,
    /// The backend's own route: what it adds to a message is not lost.
    Backend,
}

/// `notify.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Who gets a JSON POST for each flip, rollback, step of the guard and change of the verdict; empty: nobody.
    pub url: String,
}

/// `runtime.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads that serve clients and broker.
    pub workers: usize,
}

/// `log.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives as in `RUST_LOG`.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Environments for which there are files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// A developer's machine.
    #[default]
    Development,
    /// Before production.
    Staging,
    /// Production.
    Production,
}
