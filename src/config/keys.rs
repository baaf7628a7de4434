//! Which keys there are, which variable sets each, and what each may be.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Settings;

/// Variables that the seed and Chat3's own deployments use.
pub(super) const SHORT: [(&str, &str); 9] = [
    ("USE_RABBITMQ_UPDATES", "flag.use_rabbitmq_updates"),
    ("SHADOW_MODE", "flag.shadow_mode"),
    ("RABBITMQ_URL", "rabbitmq.url"),
    ("RABBITMQ_UPDATES_EXCHANGE", "rabbitmq.exchange"),
    ("CHAT3_API_URL", "chat3.url"),
    ("CHAT3_API_KEY", "chat3.api_key"),
    ("CHAT3_TENANT_ID", "chat3.tenant_id"),
    ("JWT_SECRET", "auth.jwt_secret"),
    ("PORT", PORT),
];

/// Not a key of its own: it sets the port of `http.listen`.
pub(super) const PORT: &str = "http.port";

/// Keys without a default value, with an example of their type.
const OPTIONAL: [(&str, &str); 5] = [
    ("memory.limit", "\"512 MiB\""),
    ("rabbitmq.linger", "\"5s\""),
    ("membership.mode", "\"off\""),
    ("http.allowed_origins", "[]"),
    ("shadow.dir", "\"\""),
];

/// Keys whose value is a table or list of its own, not a section.
const WHOLE: [&str; 2] = ["chat3.message_type_map", "shadow.ignore"];

/// Every key with its default.
#[derive(Clone, Debug)]
pub(super) struct Keys(BTreeMap<String, Value>);

impl Keys {
    pub(super) fn new() -> Self {
        let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
        let mut keys = flatten(&defaults);
        for (key, example) in OPTIONAL {
            keys.insert(key.into(), serde_json::from_str(example).unwrap_or_default());
        }
        Self(keys)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The key that a `BRIDGE_…` variable means.
    pub(super) fn of_variable(&self, variable: &str) -> Option<String> {
        let name = variable.strip_prefix("BRIDGE_")?.replace("__", ".").to_ascii_lowercase();
        self.contains(&name).then_some(name)
    }

    /// The key that is spelled most alike.
    pub(super) fn nearest(&self, key: &str) -> Option<&str> {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let score = |name: &&str| {
            let own = strsim::jaro_winkler(name, key);
            own.max(0.95 * strsim::jaro_winkler(&last(name), &last(key)))
        };
        self.names().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|name| score(name) > 0.75)
    }

    /// The value of a variable or of `--set`, by the key's type; text that does not fit stays text and is refused later.
    pub(super) fn typed(&self, key: &str, text: &str) -> Value {
        let keep = || Value::from(text);
        match self.0.get(key) {
            Some(Value::Bool(_)) => match text {
                "true" => true.into(),
                "false" => false.into(),
                _ => keep(),
            },
            Some(Value::Number(_)) => {
                serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| keep(), Value::from)
            }
            Some(Value::Array(_)) if text.trim_start().starts_with('[') => {
                serde_json::from_str(text).unwrap_or_else(|_| keep())
            }
            Some(Value::Array(_)) => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
            }
            Some(Value::Object(_)) => serde_json::from_str(text).unwrap_or_else(|_| keep()),
            _ => keep(),
        }
    }

    /// What `key` may be.
    pub(super) fn allowed(&self, key: &str) -> String {
        let text = match key {
            "auth.mode" => "jwt or trusted",
            "auth.handshake" => "required or optional",
            "membership.mode" => "off, report or enforce",
            "rabbitmq.topology" => "per_user, per_instance or firehose",
            "guard.mode" => "off, observe or act",
            "legacy.audience" => "joined or members",
            "client.undeclared" => "update, legacy or chatapp",
            "upstream.post" => "chat3 or backend",
            "rabbitmq.binding_keys" => "auto, or a list of keys such as user.{id}.*",
            "log.format" => "text or json",
            "flag.require_verdict" => "NOT_UNSAFE or SAFE",
            "http.listen" | "admin.listen" => "an address such as 127.0.0.1:3001",
            PORT => "a port, 0 to 65535",
            "flag.rollout.percent" => "a number from 0 to 100",
            "chat3.message_type_map" => "a table of texts, such as {\"text\":\"internal.text\"}",
            "admin.tokens" => {
                "a list of tables with name, token, and role (read or operate); in a variable as JSON: \
                 [{\"name\":\"…\",\"token\":\"…\",\"role\":\"read\"}]"
            }
            "shadow.ignore" => "a list of tables with name, path, owner, reason, expires",
            _ => match self.0.get(key) {
                Some(Value::Bool(_)) => "true or false",
                Some(Value::Number(number)) if number.is_f64() => "a number",
                Some(Value::Number(_)) => "a whole number",
                Some(Value::Array(_)) => "a list of texts",
                Some(Value::String(text)) if is_duration(key) && !text.is_empty() => {
                    "a duration such as 5s or 300ms"
                }
                Some(Value::String(_)) if is_size(key) => "a size such as 1MiB",
                _ => "a text",
            },
        };
        text.into()
    }
}

fn is_duration(key: &str) -> bool {
    matches!(
        key,
        "flag.flip_timeout"
            | "flag.remember"
            | "rabbitmq.ready_timeout"
            | "shadow.reveal_for"
            | "rabbitmq.linger"
            | "rabbitmq.heartbeat"
            | "chat3.timeout"
            | "auth.jwks_refresh"
            | "auth.jwks_interval"
            | "auth.leeway"
            | "membership.cache"
            | "http.drain_timeout"
            | "http.keep_alive"
            | "http.head_timeout"
            | "socket.handshake_timeout"
            | "shadow.window"
            | "shadow.stale_after"
            | "guard.broker_down"
            | "guard.silence"
            | "guard.period"
    )
}

pub(super) fn is_size(key: &str) -> bool {
    matches!(
        key,
        "http.max_body"
            | "socket.max_frame"
            | "socket.buffer"
            | "socket.buffer_total"
            | "socket.replay_total"
            | "shadow.max_memory"
            | "shadow.rotate"
    )
}

/// The tree as dotted keys.
pub(super) fn flatten(tree: &Value) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, table: &Map<String, Value>, into: &mut BTreeMap<String, Value>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Object(section) if !WHOLE.contains(&key.as_str()) => walk(&key, section, into),
                Value::Null => {}
                other => {
                    into.insert(key, other.clone());
                }
            }
        }
    }
    let mut keys = BTreeMap::new();
    if let Value::Object(table) = tree {
        walk("", table, &mut keys);
    }
    keys
}
