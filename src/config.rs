//! Settings: what can be set, and its defaults.
//!
//! This file says what there is; `config/load.rs` says where values come from and what is wrong with them.

pub mod amqp_url;
mod check;
mod comparison;
mod defaults;
mod effective;
mod fault;
mod identity;
mod keys;
mod load;
mod mask;
mod node_address;
mod origins;
pub mod public_key;
mod rabbitmq;
pub mod watch;

pub use comparison::{Guard, GuardMode, IgnoreRule, Shadow};
pub use fault::{Fault, Faults, Origin};
pub use identity::{Admin, AdminRole, AdminToken, Auth, AuthMode, Handshake, Membership, MembershipMode};
pub use load::{Configured, Loaded, Sources, is_key, nearest_key};
pub use mask::masked;
pub use node_address::NodeAddress;
pub use origins::OriginPattern;
pub use rabbitmq::{Rabbitmq, Topology};

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
    /// Threads that serve clients and broker; in `per_user` each has a connection that brings updates.
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
