//! Small things that fit rooms together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_core::gate::Limits;
use serde_json::Value;
use tokio::net::TcpListener;

use super::guard::GuardView;
use super::ready::Ready;
use crate::admin;
use crate::broker::{AmqpBroker, Broker, EmbeddedBroker, Inbox};
use crate::clock::Clock;
use crate::config::{Audience, Loaded, Settings};
use crate::delivery::{Hub, HubSettings, Served};
use crate::fleet::Fleet;
use crate::http::Readiness as _;

/// What the admin side shows of other rooms.
pub(super) struct Sight {
    pub(super) ready: Arc<Ready>,
    pub(super) guard: Arc<ArcSwap<GuardView>>,
}

impl admin::Sight for Sight {
    fn chat3_up(&self) -> bool {
        self.ready.facts().chat3
    }

    fn guard(&self) -> Value {
        serde_json::to_value(&**self.guard.load()).unwrap_or_default()
    }
}

pub(super) fn about(loaded: &Loaded, clock: Clock) -> admin::About {
    admin::About {
        instance: loaded.settings.instance_id.clone(),
        environment: loaded.environment,
        started_at: crate::clock::iso(clock.now()),
        nodes: loaded.settings.fleet.nodes.clone(),
    }
}

/// The fleet of the settings, whose instance listens at `admin`.
pub(super) fn membership(settings: &Settings, admin: SocketAddr) -> reqwest::Result<admin::Membership> {
    // Checked with the settings.
    let addresses = settings.fleet.nodes.iter().filter_map(|node| node.parse().ok()).collect();
    let token = if settings.fleet.token.is_empty() { &settings.admin.token } else { &settings.fleet.token };
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let own = format!("http://{}", SocketAddr::from((ip, admin.port())));
    Ok(admin::Membership { fleet: Fleet::new(addresses, token)?, own })
}

/// Connections of clients that there may be: so many that the broker, Chat3 and the admin side find descriptors left.
pub(super) fn connections(settings: &Settings) -> (u32, u32) {
    let (most, of_address) = (settings.http.max_connections, settings.http.address_connections);
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok()).unwrap_or(u32::MAX);
    let room = files / 4 * 3;
    if room < most {
        tracing::warn!(
            files,
            most,
            room,
            "http.max_connections is more than the limit on open files allows (ulimit -n)"
        );
    }
    (most.min(room), of_address)
}

pub(super) fn served(settings: &Settings) -> Served {
    Served { stage: settings.stage(), rollout: settings.flag.rollout.clone() }
}

pub(super) fn hub_settings(settings: &Settings) -> HubSettings {
    let window = millis(settings.shadow.window);
    HubSettings {
        tenant: settings.chat3.tenant_id.as_str().into(),
        gate: gate_limits(settings, window),
        members_hear_legacy: settings.legacy.audience == Audience::Members,
        linger: settings.linger(),
        replay_bytes: usize::try_from(settings.socket.buffer.as_u64()).unwrap_or(usize::MAX),
        replay_total: usize::try_from(settings.socket.replay_total.as_u64()).unwrap_or(usize::MAX),
        user_sockets: usize::try_from(settings.socket.user_sockets).unwrap_or(usize::MAX),
        rooms: usize::try_from(settings.socket.rooms).unwrap_or(usize::MAX),
        ready_timeout: settings.rabbitmq.ready_timeout,
        undeclared: settings.client.undeclared,
        binding_keys: settings.rabbitmq.formats(),
    }
}

fn gate_limits(settings: &Settings, window: u64) -> Limits {
    let limits = Limits::default();
    let remember = millis(settings.flag.remember);
    let after_twin = limits.after_twin.min(remember);
    Limits { window, dwell: window, after_twin, remember, rescue: settings.flag.rescue, ..limits }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) type Brokers = (Option<Arc<dyn Broker>>, Option<Arc<EmbeddedBroker>>);

/// The broker that the settings name, or the one in this process.
pub(super) fn broker(settings: &Settings, embedded: bool, hub: &Arc<Hub>, clock: Clock) -> Brokers {
    let inbox = Arc::clone(hub) as Arc<dyn Inbox>;
    if embedded {
        let broker = EmbeddedBroker::new(settings.rabbitmq.formats(), inbox, clock);
        return (Some(Arc::clone(&broker) as Arc<dyn Broker>), Some(broker));
    }
    if settings.rabbitmq.url.is_empty() {
        return (None, None);
    }
    let broker = AmqpBroker::new(
        settings.rabbitmq.clone(),
        settings.instance_id.clone(),
        inbox,
        clock,
        settings.runtime.workers,
    );
    (Some(broker as Arc<dyn Broker>), None)
}

/// Keys that changed and take effect only at a start. The flag and the comparison's rules are taken as they come.
pub(super) fn restart_keys(old: &Settings, new: &Settings) -> Vec<String> {
    const LIVE: [&str; 26] = [
        "auth.jwt_secret",
        "auth.jwt_secrets",
        "auth.public_keys",
        "auth.jwks_url",
        "auth.jwks_refresh",
        "auth.jwks_interval",
        "auth.algorithms",
        "auth.issuer",
        "auth.audience",
        "auth.leeway",
        "auth.user_claims",
        "auth.name_claim",
        "auth.tenant_claim",
        "flag.use_rabbitmq_updates",
        "flag.shadow_mode",
        "flag.rollout",
        "shadow.ignore",
        "shadow.sample",
        "shadow.reveal_content",
        "shadow.reveal_for",
        "shadow.indeterminate_max",
        "shadow.target_rate",
        "shadow.confidence",
        "shadow.require_events",
        "shadow.require_drill",
        "shadow.stale_after",
    ];
    let tree = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let mut changed = Vec::new();
    differ("", &tree(old), &tree(new), &mut changed);
    changed.retain(|key| !LIVE.iter().any(|live| key == live || key.starts_with(&format!("{live}."))));
    changed
}

fn differ(prefix: &str, old: &Value, new: &Value, changed: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                differ(&key, old.get(name).unwrap_or(&Value::Null), value, changed);
            }
        }
        (old, new) if old != new => changed.push(prefix.into()),
        _ => {}
    }
}

/// A place to listen at; `key` says which setting named it.
pub(super) async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, super::StartError> {
    TcpListener::bind(address).await.map_err(|error| super::StartError::Listen { key, address, error })
}
