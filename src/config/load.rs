//! Layers: defaults, files, environment, command line; and everything that is wrong with them, at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Map, Value};

use super::fault::{Fault, Faults, Origin};
use super::keys::{Keys, PORT, SHORT, flatten, is_size};
use super::mask::{masked, masked_unknown, masked_value};
use super::{Environment, Settings, check};

/// Variables of the program that are no keys: the environment, and the instances that commands ask.
const NOT_KEYS: [&str; 2] = ["BRIDGE_ENV", "BRIDGE_NODES"];

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The process's environment.
    pub env: BTreeMap<OsString, OsString>,
    /// `--config-dir`; `None`: `./config`, whose absence is allowed.
    pub config_dir: Option<PathBuf>,
    /// `--env`.
    pub environment: Option<String>,
    /// `--set key=value`.
    pub set: Vec<String>,
}

/// One key with its value and where it came from.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Configured {
    /// Dotted key.
    pub key: String,
    /// The value, secrets masked.
    pub value: Value,
    /// File name, variable name, `default` or `command line`.
    pub origin: String,
}

/// Valid settings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The environment whose file was read.
    pub environment: Environment,
    /// What is allowed but unwise.
    pub warnings: Vec<String>,
    /// The files that were read, in order.
    pub files: Vec<String>,
    values: BTreeMap<String, (Value, Origin)>,
}

impl Loaded {
    /// The layer that set `key`.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Every key with its value and origin, secrets masked, in order.
    #[must_use]
    pub fn explain(&self) -> Vec<Configured> {
        let effective = flatten(&serde_json::to_value(&self.settings).unwrap_or_default());
        let keys = Keys::new();
        let settings = &self.settings;
        let followed = |key: &str| match key {
            "membership.mode" => serde_json::to_value(settings.membership_mode(self.environment)).ok(),
            "http.allowed_origins" => Some(settings.allowed_origins(self.environment).into()),
            "rabbitmq.linger" => Some(humantime::format_duration(settings.linger()).to_string().into()),
            "memory.limit" => Some(bytesize::ByteSize(settings.memory_limit()).to_string().into()),
            "shadow.dir" => Some(settings.shadow_dir().display().to_string().into()),
            _ => None,
        };
        let value = |key: &str| match effective.get(key) {
            // What is not set follows from others.
            None | Some(Value::Null) => followed(key).unwrap_or_default(),
            Some(value) => masked_value(key, value),
        };
        keys.names()
            .map(|key| Configured { key: key.into(), value: value(key), origin: self.origin(key).to_string() })
            .collect()
    }
}

/// Whether it is a key, or a section of some.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let below = format!("{key}.");
    Keys::new().names().any(|own| own == key || own.starts_with(&below))
}

/// The key that is spelled most like `key`, for a message about one that does not exist.
#[must_use]
pub fn nearest_key(key: &str) -> Option<String> {
    Keys::new().nearest(key).map(Into::into)
}

impl Sources {
    /// The sources of this process.
    #[must_use]
    pub fn of_process(config_dir: Option<PathBuf>, environment: Option<String>, set: Vec<String>) -> Self {
        Self { env: std::env::vars_os().collect(), config_dir, environment, set }
    }

    /// The directory of the files.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.config_dir.clone().unwrap_or_else(|| "config".into())
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// [`Faults`]: all of them.
    pub fn load(&self) -> Result<Loaded, Faults> {
        let mut layers =
            Layers { keys: Keys::new(), values: BTreeMap::new(), faults: Vec::new(), files: Vec::new() };
        let environment = self.environment(&mut layers);
        self.files(&mut layers, environment);
        self.variables(&mut layers);
        self.port_agrees(&mut layers);
        layers.port();
        self.command_line(&mut layers);
        let values = layers.checked();
        let (mut faults, files) = (layers.faults, layers.files);
        let settings = extract(&values).unwrap_or_else(|fault| {
            faults.push(fault);
            Settings::default()
        });
        let origin = |key: &str| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
        let of =
            |fault: &Fault, key: &str| fault.0.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', ':']));
        let broken = |key: &str| faults.iter().any(|fault| of(fault, key));
        let found = check::contradictions(&settings, environment, &origin, &broken);
        faults.extend(found);
        faults.dedup();
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let warnings = check::warnings(&settings, environment);
        Ok(Loaded { settings: named(settings), environment, warnings, files, values })
    }

    fn environment(&self, layers: &mut Layers) -> Environment {
        let variable = OsString::from("BRIDGE_ENV");
        let (name, origin) = match (&self.environment, self.env.get(&variable)) {
            (Some(name), _) => (name.clone(), "--env".to_owned()),
            (None, Some(name)) => (name.to_string_lossy().into_owned(), "variable BRIDGE_ENV".to_owned()),
            (None, None) => return Environment::Development,
        };
        let found = Environment::ALL.into_iter().find(|environment| environment.name() == name);
        found.unwrap_or_else(|| {
            let near = |own: &&str| strsim::jaro_winkler(own, &name) > 0.75;
            let near = Environment::ALL.map(Environment::name).into_iter().find(near);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            let allowed = "must be development, staging or production";
            layers.faults.push(Fault(format!("environment = {name:?} ({origin}): {allowed}{hint}")));
            Environment::Development
        })
    }

    fn files(&self, layers: &mut Layers, environment: Environment) {
        let dir = self.dir();
        if !dir.is_dir() {
            if self.config_dir.is_some() {
                let fault =
                    format!("--config-dir = {:?}: must be a directory that exists", dir.display().to_string());
                layers.faults.push(Fault(fault));
            }
            return;
        }
        layers.file(&dir.join("default.toml"));
        layers.file(&dir.join(format!("{}.toml", environment.name())));
    }

    fn variables(&self, layers: &mut Layers) {
        let mut short: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (name, value) in &self.env {
            let Some(name) = name.to_str() else { continue };
            let known = SHORT.iter().find(|(variable, _)| *variable == name).map(|(_, key)| (*key).to_owned());
            let own = name.starts_with("BRIDGE_") && !NOT_KEYS.contains(&name);
            if known.is_none() && (!own || is_service_link(name, &value.to_string_lossy())) {
                continue;
            }
            let Some(key) = known.clone().or_else(|| layers.keys.of_variable(name)) else {
                let wanted = name.trim_start_matches("BRIDGE_").replace("__", ".").to_ascii_lowercase();
                let value = value.to_string_lossy();
                layers.unknown(&wanted, &Value::from(value), &Origin::Variable(name.into()));
                continue;
            };
            let Some(text) = value.to_str() else {
                layers.faults.push(Fault(format!("{key} (variable {name}): must be UTF-8")));
                continue;
            };
            if known.is_some() {
                short.insert(key.clone(), (name.into(), text.into()));
            }
            layers.set(&key, text, Origin::Variable(name.into()));
        }
        for (key, (name, text)) in &short {
            let long = format!("BRIDGE_{}", key.replace('.', "__").to_ascii_uppercase());
            let other = self.env.get(&OsString::from(&long)).and_then(|value| value.to_str());
            if let Some(other) = other.filter(|other| other != text) {
                layers.contradiction(key, (name, text), (&long, other));
            }
        }
    }

    /// `PORT` and an address from another variable have to agree.
    fn port_agrees(&self, layers: &mut Layers) {
        let text = |name: &str| self.env.get(&OsString::from(name)).and_then(|value| value.to_str());
        let listen = text("BRIDGE_HTTP__LISTEN").and_then(|listen| listen.parse::<std::net::SocketAddr>().ok());
        let port = text("PORT").and_then(|port| port.parse::<u16>().ok());
        if let (Some(listen), Some(port)) = (listen, port)
            && listen.port() != port
        {
            let (listen, port) = (listen.to_string(), port.to_string());
            layers.contradiction("http.listen", ("PORT", &port), ("BRIDGE_HTTP__LISTEN", &listen));
        }
    }

    fn command_line(&self, layers: &mut Layers) {
        for pair in &self.set {
            match pair.split_once('=') {
                Some((key, text)) if layers.keys.contains(key) => layers.set(key, text, Origin::CommandLine),
                Some((key, text)) => layers.unknown(key, &text.into(), &Origin::CommandLine),
                None => layers.faults.push(Fault(format!("--set {pair}: must be key=value"))),
            }
        }
    }
}

struct Layers {
    keys: Keys,
    values: BTreeMap<String, (Value, Origin)>,
    faults: Vec<Fault>,
    /// What was read.
    files: Vec<String>,
}

impl Layers {
    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                self.faults.push(Fault(format!("{name}: can't be read: {error}")));
                return;
            }
        };
        self.files.push(name.clone());
        match toml::from_str::<toml::Table>(&text) {
            Ok(tree) => {
                for (key, value) in flatten(&json(toml::Value::Table(tree))) {
                    let origin = Origin::File(name.clone());
                    if self.keys.contains(&key) {
                        self.values.insert(key, (value, origin));
                    } else {
                        self.unknown(&key, &value, &origin);
                    }
                }
            }
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                let message = error.message().lines().collect::<Vec<_>>().join(" ");
                self.faults.push(Fault(format!("{name}, line {line}: must be TOML: {message}")));
            }
        }
    }

    fn set(&mut self, key: &str, text: &str, origin: Origin) {
        let value = self.keys.typed(key, text);
        self.values.insert(key.into(), (value, origin));
    }

    fn unknown(&mut self, key: &str, value: &Value, origin: &Origin) {
        let near = self.keys.nearest(key);
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "`updates-bridge config explain` lists the keys".into(),
        };
        let shown = masked_unknown(key, near, value);
        self.faults.push(Fault(format!("{key} = {shown} ({origin}): unknown key; {hint}")));
    }

    /// Two variables, each with its value.
    fn contradiction(&mut self, key: &str, (one, first): (&str, &str), (other, second): (&str, &str)) {
        let shown = |value: &str| masked(key, value);
        let (first, second) = (shown(first), shown(second));
        let fault = Fault(format!(
            "{key}: variables {one} = {first:?} and {other} = {second:?} have different values: set one of them"
        ));
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// `PORT` sets the port of the address that the other layers gave.
    fn port(&mut self) {
        let Some((value, origin)) = self.values.remove(PORT) else { return };
        let text = value.as_str().unwrap_or_default();
        let Ok(port) = text.parse::<u16>() else {
            let allowed = self.keys.allowed(PORT);
            self.faults.push(Fault(format!("http.listen: port = {text:?} ({origin}): must be {allowed}")));
            return;
        };
        let mut listen: std::net::SocketAddr = match self.values.get("http.listen") {
            None => Settings::default().http.listen,
            Some((value, _)) => match value.as_str().and_then(|text| text.parse().ok()) {
                Some(listen) => listen,
                // It is a fault of its own.
                None => return,
            },
        };
        listen.set_port(port);
        self.values.insert("http.listen".into(), (listen.to_string().into(), origin));
    }

    /// The values that fit their keys. Each is read on its own, because a reader of the whole stops at the first.
    fn checked(&mut self) -> BTreeMap<String, (Value, Origin)> {
        let mut good = BTreeMap::new();
        for (key, (value, origin)) in std::mem::take(&mut self.values) {
            let alone = BTreeMap::from([(key.clone(), (value.clone(), origin.clone()))]);
            // The reader of sizes takes plain numbers, whose unit is a guess.
            if extract(&alone).is_ok() && !(is_size(&key) && value.is_number()) {
                good.insert(key, (value, origin));
            } else {
                let shown = masked_value(&key, &value);
                let allowed = self.keys.allowed(&key);
                self.faults.push(Fault(format!("{key} = {shown} ({origin}): must be {allowed}")));
            }
        }
        good
    }
}

/// What the kubelet sets for a Service whose name begins with `bridge`: `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`,
/// `…_PORT` (a URL), `…_PORT_3001_TCP[_PROTO|_PORT|_ADDR]`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_port = |rest: &str| {
        let words: Vec<&str> = rest.split('_').collect();
        matches!(words[..], [port, "TCP" | "UDP" | "SCTP"] | [port, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"]
            if number(port))
    };
    let after = |word: &str| name.rsplit_once(word).map(|(_, rest)| rest);
    name.ends_with("_SERVICE_HOST")
        || (name.ends_with("_SERVICE_PORT") || after("_SERVICE_PORT_").is_some()) && number(value)
        || name.ends_with("_PORT") && is_url
        || name.match_indices("_PORT_").any(|(at, word)| of_port(&name[at + word.len()..]))
}

/// TOML as JSON; what JSON has no form for stays as the text that it was, which fits no number.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(name, value)| (name, json(value))).collect(),
    }
}

fn extract(values: &BTreeMap<String, (Value, Origin)>) -> Result<Settings, Fault> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    for (key, (value, _)) in values {
        figment = figment.merge(Serialized::defaults(nested(key, value)));
    }
    figment.extract().map_err(|error| Fault(error.to_string()))
}

/// `a.b = v` as `{a: {b: v}}`.
fn nested(key: &str, value: &Value) -> Value {
    key.rsplit('.').fold(value.clone(), |value, name| Value::Object(Map::from_iter([(name.to_owned(), value)])))
}

/// With a name for the instance: the host's, and a suffix that no other instance on it has.
fn named(mut settings: Settings) -> Settings {
    if settings.instance_id.is_empty() {
        let host = hostname::get().unwrap_or_default();
        let good = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
        let host: String = host.to_string_lossy().chars().map(good).take(48).collect();
        let host = if host.is_empty() { "bridge".into() } else { host };
        settings.instance_id = format!("{host}-{:06x}", rand::random::<u32>() & 0xff_ffff);
    }
    settings
}
