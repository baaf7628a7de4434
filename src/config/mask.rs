//! Secrets, as they may be shown.

use serde_json::Value;

/// A list of tables with a secret in each.
const TOKENS: &str = "admin.tokens";
/// Keys whose value is a secret.
pub(super) const SECRETS: [&str; 6] =
    ["chat3.api_key", "auth.jwt_secret", "auth.jwt_secrets", "admin.token", TOKENS, "fleet.token"];
/// Keys whose value may carry a password.
const URLS: [&str; 5] =
    ["rabbitmq.url", "rabbitmq.management_url", "chat3.url", "upstream.backend_url", "auth.jwks_url"];
/// A URL of which all behind the host is a secret, as hooks of chat services have it.
const HOOK: &str = "notify.url";
const MASK: &str = "****";

/// `value` of `key` as it may be shown: a secret as `****`, a password inside a URL likewise.
#[must_use]
pub fn masked(key: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if SECRETS.contains(&key) {
        MASK.into()
    } else if key == HOOK {
        let host =
            url::Url::parse(value).ok().and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?)));
        host.map_or_else(|| MASK.into(), |host| format!("{host}/{MASK}"))
    } else if URLS.contains(&key) {
        parts(value).into_iter().map(masked_url).collect::<Vec<_>>().join(",")
    } else {
        value.into()
    }
}

/// The same for a value of any type: a number or a list in the place of a secret is one too.
pub(super) fn masked_value(key: &str, value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => masked(key, text).into(),
        Value::Array(items) if key == TOKENS && items.iter().all(Value::is_object) => {
            items.iter().map(masked_token).collect()
        }
        _ if SECRETS.contains(&key) => MASK.into(),
        Value::Array(items) => items.iter().map(|item| masked_value(key, item)).collect(),
        Value::Object(_) if URLS.contains(&key) || key == HOOK => MASK.into(),
        other => other.clone(),
    }
}

/// One of `admin.tokens`: whose it is and what it may do is no secret.
fn masked_token(item: &Value) -> Value {
    let Value::Object(fields) = item else { return MASK.into() };
    let shown = |(name, value): (&String, &Value)| {
        let is_open = matches!(name.as_str(), "name" | "role") && value.is_string();
        (name.clone(), if is_open { value.clone() } else { MASK.into() })
    };
    Value::Object(fields.iter().map(shown).collect())
}

/// The value of a key that does not exist: a secret where its name, or the key that was meant, sounds like one.
pub(super) fn masked_unknown(key: &str, meant: Option<&str>, value: &Value) -> Value {
    let words = ["secret", "token", "key", "pass", "pwd", "cred", "jwt", "auth", "sign", "private"];
    let key = key.to_lowercase();
    let sounds = words.iter().any(|word| key.contains(word));
    if sounds || meant.is_some_and(|meant| SECRETS.contains(&meant)) {
        return masked_value(SECRETS[0], value);
    }
    match value {
        // Whatever it is, a URL in it may have a password.
        Value::String(text) if text.contains('@') => masked(URLS[0], text).into(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null => value.clone(),
        Value::Array(_) | Value::Object(_) => MASK.into(),
    }
}

/// The URLs of a comma list. A comma that no scheme follows may stand in a password.
fn parts(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (comma, _) in list.match_indices(',') {
        let scheme = list[comma + 1..].trim_start().split_once("://").map(|(scheme, _)| scheme);
        let is_scheme = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        };
        if scheme.is_some_and(is_scheme) {
            parts.push(&list[from..comma]);
            from = comma + 1;
        }
    }
    parts.push(&list[from..]);
    parts
}

/// Works on text, not on a parsed URL: what can't be parsed has to be masked too.
fn masked_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let Some((user_info, host)) = rest.rsplit_once('@') else { return url.into() };
    let user = user_info.split_once(':').map_or(user_info, |(user, _)| user);
    let slashes = if scheme.is_empty() { "" } else { "://" };
    let password = if user_info.contains(':') { format!(":{MASK}") } else { String::new() };
    format!("{scheme}{slashes}{user}{password}@{host}")
}

#[cfg(test)]
mod tests {
    use super::{masked, masked_unknown, masked_value};
    use serde_json::json;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        assert_eq!(masked("admin.token", "s3cret"), "****");
        assert_eq!(
            masked("rabbitmq.url", "amqp://u:p@h:5672/v,amqp://u:p%40@i"),
            "amqp://u:****@h:5672/v,amqp://u:****@i"
        );
        assert_eq!(masked("rabbitmq.url", "u:p@ss@h"), "u:****@h");
        for key in ["rabbitmq.url", "chat3.url", "upstream.backend_url"] {
            for password in ["p,q", "p,q@r", ",p", "p,", "p,//q", "p,q:r,s", "p?q,r", "p/q,r#s"] {
                let shown = masked(key, &format!("http://u:{password}@h/api"));
                assert_eq!(shown, "http://u:****@h/api", "{key} {password}");
                let list = format!("amqp://u:{password}@h, amqps://v:{password}@i:5671/x");
                assert_eq!(masked(key, &list), "amqp://u:****@h, amqps://v:****@i:5671/x", "{key} {password}");
            }
        }
        assert_eq!(masked("rabbitmq.url", "amqp://h"), "amqp://h");
        for (url, shown) in [
            ("https://u:p@hooks.example:8443/services/T0/B0/x?token=y#z", "https://hooks.example/****"),
            ("hooks.example/services/x", "****"),
            ("https:///x", "https://x/****"),
            ("", ""),
        ] {
            assert_eq!(masked("notify.url", url), shown);
        }
        assert_eq!(masked_value("notify.url", &json!(["https://h/x"])), json!(["https://h/****"]));
        assert_eq!(masked_value("notify.url", &json!({"x": "https://h/x"})), json!("****"));
        assert_eq!(masked("state_dir", "a:b@c"), "a:b@c");
        assert_eq!(masked_value("auth.jwt_secret", &json!(12_345_678)), json!("****"));
        assert_eq!(masked_value("admin.token", &json!(["s3cret"])), json!("****"));
        let token = json!([{"name": "qa", "token": "s3cret", "role": "read", "extra": {"x": "s3cret"}}]);
        let shown = json!([{"name": "qa", "token": "****", "role": "read", "extra": "****"}]);
        assert_eq!(masked_value("admin.tokens", &token), shown);
        assert_eq!(masked_value("admin.tokens", &json!([{"name": "qa"}, "s3cret"])), json!("****"));
        assert_eq!(masked_value("auth.jwt_secrets", &json!(["s3cret", "s3cret"])), json!("****"));
        assert_eq!(masked_value("rabbitmq.url", &json!(["amqp://u:p@h"])), json!(["amqp://u:****@h"]));
        assert_eq!(masked_value("http.max_body", &json!(5)), json!(5));
        for secret in ["rabbitmq.Password", "rabbitmq.pwd", "JWT", "chat3.apikey"] {
            assert_eq!(masked_unknown(secret, None, &json!("hush")), json!("****"), "{secret}");
        }
        assert_eq!(masked_unknown("http.lisen", Some("http.listen"), &json!("x")), json!("x"));
    }
}
