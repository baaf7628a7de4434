//! What fits each key alone and still can't be served.

mod amounts;

use super::amqp_url::AmqpUrl;
use super::public_key::PublicKey;
use super::{
    AdminToken, Auth, AuthMode, Environment, Fault, MembershipMode, NodeAddress, Origin, OriginPattern, PostTo,
    Settings, masked,
};

/// Signatures that can be verified.
const ALGORITHMS: &str = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
/// More threads than any machine has use for.
const MOST_WORKERS: usize = 256;

/// Everything that contradicts itself, except about keys that are `broken` already.
pub(super) fn contradictions(
    settings: &Settings,
    environment: Environment,
    origin: &dyn Fn(&str) -> Origin,
    broken: &dyn Fn(&str) -> bool,
) -> Vec<Fault> {
    let mut check = Check { origin, broken, faults: Vec::new() };
    check.chat3(settings);
    check.broker(settings);
    check.auth(settings, environment);
    check.admin_tokens(settings);
    check.secrets(settings);
    check.fleet(settings);
    check.numbers(settings);
    check.threads(settings);
    check.durations(settings);
    check.memory(settings);
    check.budget(settings);
    check.names(settings);
    check.origins(settings, environment);
    check.ignore_rules(settings);
    check.faults
}

/// What is allowed but unwise.
pub(super) fn warnings(settings: &Settings, environment: Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.allowed_origins(environment).is_empty() {
        warnings.push("http.allowed_origins is empty: pages of other origins can't use the gateway".into());
    }
    let auth = &settings.auth;
    let secrets = std::iter::once(("auth.jwt_secret", &auth.jwt_secret));
    for (key, secret) in secrets.chain(auth.jwt_secrets.iter().map(|secret| ("auth.jwt_secrets", secret))) {
        if auth.mode == AuthMode::Jwt && (1..32).contains(&secret.len()) {
            warnings.push(format!("{key} is shorter than 32 bytes: HS256 wants as many"));
        }
    }
    if auth.jwks_url.starts_with("http://") && environment != Environment::Development {
        warnings.push("auth.jwks_url is not https: who stands between can have tokens believed".into());
    }
    if !settings.admin.token.is_empty() && settings.admin.token.len() < 16 {
        warnings.push("admin.token is shorter than 16 bytes".into());
    }
    for AdminToken { name, token, .. } in settings.admin.tokens.iter().filter(|own| own.token.len() < 16) {
        let bytes = token.len();
        warnings.push(format!("admin.tokens: the token of {name} has {bytes} bytes, which is fewer than 16"));
    }
    let fleet = &settings.fleet;
    if !fleet.nodes.is_empty() && fleet.token.is_empty() && settings.admin.token.is_empty() {
        warnings.push("fleet.nodes without fleet.token or admin.token: the instances can't ask each other".into());
    }
    if settings.membership.mode == Some(MembershipMode::Off) {
        warnings.push("membership.mode is off: anybody may join any dialog".into());
    }
    warnings
}

struct Check<'a> {
    origin: &'a dyn Fn(&str) -> Origin,
    broken: &'a dyn Fn(&str) -> bool,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn say(&mut self, key: &str, value: &str, must: &str) {
        if !(self.broken)(key) {
            let (shown, origin) = (masked(key, value), (self.origin)(key));
            self.faults.push(Fault(format!("{key} = {shown:?} ({origin}): {must}")));
        }
    }

    fn chat3(&mut self, settings: &Settings) {
        let url = &settings.chat3.url;
        if url.is_empty() {
            self.say("chat3.url", url, "is needed: the base URL of Chat3's API, ending in /api (CHAT3_API_URL)");
        } else if !is_http(url) || !url.trim_end_matches('/').ends_with("/api") {
            self.say("chat3.url", url, "must be an http or https URL that ends in /api");
        }
        if settings.chat3.api_key.is_empty() {
            self.say("chat3.api_key", "", "is needed: Chat3's API key (CHAT3_API_KEY)");
        }
        let tenant = &settings.chat3.tenant_id;
        if tenant.is_empty() || tenant.bytes().any(|byte| !byte.is_ascii_graphic()) {
            self.say("chat3.tenant_id", tenant, "must be a tenant id such as tnt_default");
        }
        let backend = &settings.upstream.backend_url;
        if !backend.is_empty() && !is_http(backend) {
            self.say("upstream.backend_url", backend, "must be an http or https URL");
        }
        let notify = &settings.notify.url;
        if !notify.is_empty() && !is_http(notify) {
            self.say("notify.url", notify, "must be an http or https URL");
        }
        if backend.is_empty() && settings.upstream.post == PostTo::Backend {
            self.say("upstream.backend_url", backend, "is needed with upstream.post = \"backend\"");
        }
    }

    fn broker(&mut self, settings: &Settings) {
        let rabbitmq = &settings.rabbitmq;
        if rabbitmq.url.is_empty() {
            if settings.stage().runs_rabbitmq() {
                let must = format!(
                    "stage {} needs a broker: set it (RABBITMQ_URL), or both flags to false",
                    settings.stage()
                );
                self.say("rabbitmq.url", "", &must);
            }
        } else if let Err(must) = AmqpUrl::list(&rabbitmq.url) {
            self.say("rabbitmq.url", &rabbitmq.url, must);
        }
        if rabbitmq.exchange.is_empty() || rabbitmq.exchange.len() > 127 {
            self.say(
                "rabbitmq.exchange",
                &rabbitmq.exchange,
                "must be the name of an exchange, at most 127 bytes",
            );
        }
        for key in &rabbitmq.formats() {
            let words: Vec<&str> = key.split('.').collect();
            if !words.contains(&"{id}") || words.last() != Some(&"*") {
                self.say(
                    "rabbitmq.binding_keys",
                    key,
                    "must be auto, or keys that each have the word {id} and end in the word *",
                );
            }
        }
        if rabbitmq.binding_keys.is_empty() {
            self.say("rabbitmq.binding_keys", "", "must have at least one key");
        }
        if !rabbitmq.management_url.is_empty() && !is_http(&rabbitmq.management_url) {
            self.say("rabbitmq.management_url", &rabbitmq.management_url, "must be an http or https URL");
        }
        if rabbitmq.prefetch == 0 {
            self.say("rabbitmq.prefetch", "0", "must be at least 1");
        }
        if !(1..=1_000).contains(&rabbitmq.channels) {
            self.say("rabbitmq.channels", &rabbitmq.channels.to_string(), "must be 1 to 1000");
        }
    }

    fn auth(&mut self, settings: &Settings, environment: Environment) {
        let auth = &settings.auth;
        self.tokens(auth);
        if auth.mode == AuthMode::Trusted && environment == Environment::Production && !auth.allow_trusted {
            self.say("auth.mode", "trusted", "is refused in production unless auth.allow_trusted = true");
        }
        let local = environment == Environment::Development && settings.admin.listen.ip().is_loopback();
        if settings.admin.token.is_empty() && settings.admin.tokens.is_empty() && !local {
            let must =
                "is needed, or one of admin.tokens, unless admin.listen is a loopback address in development";
            self.say("admin.token", "", must);
        }
        if settings.admin.listen == settings.http.listen && settings.admin.listen.port() != 0 {
            self.say("admin.listen", &settings.admin.listen.to_string(), "must not be http.listen");
        }
    }

    fn admin_tokens(&mut self, settings: &Settings) {
        let admin = &settings.admin;
        let is_fleet = !settings.fleet.nodes.is_empty();
        if is_fleet && settings.fleet.token.is_empty() && admin.token.is_empty() && !admin.tokens.is_empty() {
            self.say("fleet.token", "", "is needed with fleet.nodes where there is no admin.token");
        }
        let mut seen = vec![("", admin.token.as_str())];
        for AdminToken { name, token, .. } in &admin.tokens {
            let say = |check: &mut Self, must: &str| check.say("admin.tokens", "****", &format!("{name}: {must}"));
            if name.is_empty() || name.len() > 60 || !name.chars().all(|c: char| c.is_ascii_graphic()) {
                say(self, "must each have a name of 1 to 60 printable characters without spaces");
            }
            let is_header = token.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && token.trim() == token;
            if token.is_empty() || !is_header {
                say(
                    self,
                    "must each have a token of printable ASCII, without spaces around it: it goes into a header",
                );
            }
            if seen.iter().any(|(_, other)| other == token) {
                say(self, "must each have a token of its own: it says who calls");
            }
            if seen.iter().any(|(other, _)| other == name) {
                say(self, "must each have a name of its own");
            }
            seen.push((name, token));
        }
    }

    fn tokens(&mut self, auth: &Auth) {
        let no_keys = auth.jwt_secrets.is_empty() && auth.public_keys.is_empty() && auth.jwks_url.is_empty();
        if auth.mode == AuthMode::Jwt && auth.jwt_secret.is_empty() && no_keys {
            let must =
                "is needed with auth.mode = \"jwt\" (JWT_SECRET), unless auth.public_keys or auth.jwks_url is set";
            self.say("auth.jwt_secret", "", must);
        }
        for path in &auth.public_keys {
            if let Err(wrong) = PublicKey::read(path) {
                let must = format!("must be PEM files of public keys: {wrong}");
                self.say("auth.public_keys", &path.display().to_string(), &must);
            }
        }
        if !auth.jwks_url.is_empty() && !is_http(&auth.jwks_url) {
            self.say("auth.jwks_url", &auth.jwks_url, "must be an http or https URL");
        }
        for name in auth.algorithms.iter().filter(|name| name.parse::<jsonwebtoken::Algorithm>().is_err()) {
            self.say("auth.algorithms", name, &format!("must each be one of {ALGORITHMS}"));
        }
        if auth.user_claims.is_empty() || auth.user_claims.iter().any(String::is_empty) {
            self.say("auth.user_claims", "", "must have at least one name of a claim");
        }
    }

    /// A line break after a secret comes from the file that it was read from. Whoever is to match it does not have it,
    /// and a header can't carry it.
    fn secrets(&mut self, settings: &Settings) {
        let secrets = [
            ("chat3.api_key", &settings.chat3.api_key),
            ("auth.jwt_secret", &settings.auth.jwt_secret),
            ("admin.token", &settings.admin.token),
            ("fleet.token", &settings.fleet.token),
        ];
        let more = settings.auth.jwt_secrets.iter().map(|secret| ("auth.jwt_secrets", secret));
        for (key, secret) in secrets.into_iter().chain(more) {
            if secret.trim_matches(|c: char| c.is_whitespace() || c.is_control()) != secret {
                self.say(key, secret, "must not begin or end with white space or a line break");
            } else if !key.starts_with("auth.jwt_secret")
                && secret.bytes().any(|byte| !(0x20..0x7f).contains(&byte))
            {
                self.say(key, secret, "must be printable ASCII: it goes into a header");
            }
        }
    }

    fn fleet(&mut self, settings: &Settings) {
        for node in &settings.fleet.nodes {
            if let Err(must) = node.parse::<NodeAddress>() {
                self.say("fleet.nodes", node, &must);
            }
        }
        if settings.legacy.relay && settings.fleet.nodes.is_empty() {
            self.say("legacy.relay", "true", "needs fleet.nodes: the instances that a broadcast is handed to");
        }
    }

    fn names(&mut self, settings: &Settings) {
        let id = &settings.instance_id;
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.len() > 60 || !id.chars().all(good) {
            self.say("instance_id", id, "must be letters, digits, - and _, at most 60");
        }
        if settings.state_dir.as_os_str().is_empty() {
            self.say("state_dir", "", "must be a directory");
        }
    }

    fn origins(&mut self, settings: &Settings, environment: Environment) {
        for origin in settings.http.allowed_origins.iter().flatten() {
            let wrong = match origin.parse() {
                Ok(OriginPattern::Any) if environment != Environment::Development => {
                    "any page could call with a user's credentials; outside development each origin is named"
                }
                Ok(_) => continue,
                Err(wrong) => wrong,
            };
            let must =
                format!("must each be an origin such as https://chat.example or https://*.chat.example: {wrong}");
            self.say("http.allowed_origins", origin, &must);
        }
    }

    fn ignore_rules(&mut self, settings: &Settings) {
        for rule in &settings.shadow.ignore {
            let say = |check: &mut Self, must: &str| check.say("shadow.ignore", &rule.name, must);
            if rule.name.is_empty() || rule.owner.is_empty() || rule.reason.is_empty() {
                say(self, "must each have a name, an owner and a reason");
            }
            if rule.expires.parse::<jiff::civil::Date>().is_err() {
                say(self, "must each expire on a day, as YYYY-MM-DD");
            }
            let field = rule.path.split('/').nth(1).unwrap_or_default();
            if !rule.path.starts_with('/') || ["id", "dialog", "senderId"].contains(&field) {
                say(self, "must each have a JSON Pointer as path; /id, /dialog and /senderId can't be ignored");
            }
        }
    }
}

/// An address, or a network, as its settings have it.
pub(super) fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(Into::into))
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
