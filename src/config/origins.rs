//! Origins of browsers: which forms there are, and what each matches.

use std::str::FromStr;

/// An allowed origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Any.
    Any,
    /// As browsers write it: `https://chat.example`, `capacitor://localhost`.
    Exact(String),
    /// `https://*.chat.example`: one label in the place of the `*`.
    AnyLabel {
        /// What stands before the label, `https://`.
        scheme: String,
        /// What stands after it, from its dot.
        rest: String,
    },
}

impl OriginPattern {
    /// Whether a browser that names itself `origin` is meant.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(one) => one == origin,
            Self::AnyLabel { scheme, rest } => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(rest.as_str()))
                .is_some_and(|label| !label.is_empty() && label.bytes().all(is_of_label)),
        }
    }
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

impl FromStr for OriginPattern {
    type Err = &'static str;

    /// Reads a pattern; the error says why no browser's origin can match it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, host) = text.split_once("://").ok_or("it has no scheme, such as https://")?;
        if let Some(rest) = host.strip_prefix('*') {
            if rest.len() < 2 || !rest.starts_with('.') || rest.contains('*') {
                return Err("the * stands for one whole label of a host that has more");
            }
            // Any label in its place makes an origin, or none does.
            serialised(&format!("{scheme}://x{rest}"))?;
            return Ok(Self::AnyLabel { scheme: format!("{scheme}://"), rest: rest.to_owned() });
        }
        if host.contains('*') {
            return Err("a * can only be the leftmost label of the host");
        }
        serialised(text)?;
        Ok(Self::Exact(text.to_owned()))
    }
}

/// Whether a browser would write `origin` so (RFC 6454, 6.2).
fn serialised(origin: &str) -> Result<(), &'static str> {
    const FORM: &str = "a browser writes scheme://host or scheme://host:port, in lower case, without a path";
    let url = url::Url::parse(origin).map_err(|_| FORM)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let written = format!("{}://{host}{port}", url.scheme());
    // The parser leaves hosts of schemes that it does not know as they are.
    let is_lower = !origin.bytes().any(|byte| byte.is_ascii_uppercase()) && origin.is_ascii();
    if origin.ends_with(":80") && url.scheme() == "http" || origin.ends_with(":443") && url.scheme() == "https" {
        return Err("a browser leaves the scheme's own port out");
    }
    (written == origin && is_lower).then_some(()).ok_or(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_as_browsers_write_them() {
        let matches = |pattern: &str, origin: &str| pattern.parse::<OriginPattern>().unwrap().matches(origin);
        assert!(matches("*", "https://x"));
        assert!(matches("https://chat.example", "https://chat.example"));
        assert!(matches("http://localhost:5173", "http://localhost:5173"));
        assert!(matches("capacitor://localhost", "capacitor://localhost"));
        assert!(matches("http://[::1]:8080", "http://[::1]:8080"));
        assert!(matches("https://xn--e1afmkfd.example", "https://xn--e1afmkfd.example"));
        assert!(matches("https://*.chat.example", "https://eu-1.chat.example"));
        assert!(matches("https://*.chat.example:8443", "https://a.chat.example:8443"));
        for (pattern, origin) in [
            ("https://chat.example", "http://chat.example"),
            ("https://chat.example", "https://chat.example:8443"),
            ("https://chat.example", "https://chat.example.evil"),
            ("https://*.chat.example", "https://chat.example"),
            ("https://*.chat.example", "https://.chat.example"),
            ("https://*.chat.example", "https://a.b.chat.example"),
            ("https://*.chat.example", "https://evil/.chat.example"),
            ("https://*.chat.example", "https://evil#.chat.example"),
            ("https://*.chat.example", "http://a.chat.example"),
        ] {
            assert!(!matches(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn what_no_browser_writes_is_refused() {
        for pattern in [
            "",
            "null",
            "chat.example",
            "https://",
            "https://chat.example/",
            "https://chat.example/x",
            "https://Chat.example",
            "HTTPS://chat.example",
            "https://chat.example:443",
            "http://chat.example:80",
            "https://u@chat.example",
            "https://chat.example?x",
            "https://пример.example",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "https://*a.example",
            "https://a*.example",
            "*://chat.example",
            "https://*.*.example",
            "*.chat.example",
            " https://chat.example",
            "https://chat.example:*",
            "https://*.chat.example/",
            "https://*:8080",
            "Capacitor://localhost",
            "capacitor://Localhost",
            "capacitor://localhost/",
            "https://chat.example:",
            "https://1.2.3",
            "file://",
        ] {
            assert!(pattern.parse::<OriginPattern>().is_err(), "{pattern:?}");
        }
    }
}
