//! AMQP URLs, read strictly: one that can't work is refused at the start, not at each attempt to connect.

use url::{Host, Url};

/// The least channels that a session needs.
const LEAST_CHANNELS: u16 = 8;
/// The least that AMQP allows for a frame.
const LEAST_FRAME: u32 = 4_096;

/// Where a broker is, and how to sign on there.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    /// `amqps`.
    pub tls: bool,
    /// A name or an address; one of IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User, `guest` where none is given.
    pub user: String,
    /// Its password, `guest` where none is given.
    pub password: String,
    /// Virtual host; `/` where none is given, also behind a slash.
    pub vhost: String,
    /// `frame_max`, in bytes.
    pub frame_max: Option<u32>,
    /// `channel_max`.
    pub channel_max: Option<u16>,
    /// `heartbeat`, in seconds; 0 is none.
    pub heartbeat: Option<u16>,
    /// `auth_mechanism`.
    pub mechanism: Option<Mechanism>,
}

/// How to prove who signs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `plain`, the default.
    Plain,
    /// `amqplain`.
    AmqPlain,
    /// `anonymous`.
    Anonymous,
}

/// Without the password.
impl std::fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tls, host, port, user, vhost, .. } = self;
        write!(f, "AmqpUrl {{ tls: {tls}, host: {host:?}, port: {port}, user: {user:?}, vhost: {vhost:?}, .. }}")
    }
}

impl AmqpUrl {
    /// The URLs of a comma list.
    ///
    /// # Errors
    /// What is wrong with the first that can't work: what it must be, without anything that it says.
    pub fn list(urls: &str) -> Result<Vec<Self>, &'static str> {
        urls.split(',').map(|url| Self::parse(url.trim())).collect()
    }

    /// One URL.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "must be an amqp or amqps URL, or a comma list of them")?;
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err("must be an amqp or amqps URL, or a comma list of them"),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decoded(name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err("must name a host"),
        };
        let port = url.port().unwrap_or(if tls { 5_671 } else { 5_672 });
        if port == 0 {
            return Err("must not have port 0");
        }
        // What ends a URL's authority and stands in a password cuts it short, and the rest is the host of nobody knows whom.
        if url.fragment().is_some()
            || url.path().contains('@')
            || url.query().is_some_and(|query| query.contains('@'))
        {
            return Err("must have # / ? and @ of user, password and virtual host written as %23 %2F %3F and %40");
        }
        let vhost = match url.path().strip_prefix('/').unwrap_or_default() {
            "" => "/".into(),
            path if path.contains('/') => {
                return Err("must have one virtual host behind the host, its / written as %2F");
            }
            path => decoded(path)?,
        };
        let or_guest = |text: &str| if text.is_empty() { Ok("guest".into()) } else { decoded(text) };
        let mut this = Self {
            tls,
            host,
            port,
            user: or_guest(url.username())?,
            password: url.password().map_or(Ok("guest".into()), decoded)?,
            vhost,
            frame_max: None,
            channel_max: None,
            heartbeat: None,
            mechanism: None,
        };
        for (name, value) in url.query_pairs() {
            this.set(&name, &value)?;
        }
        Ok(this)
    }

    /// Unknown parameters are other clients'.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "heartbeat" => {
                self.heartbeat = Some(value.parse().map_err(|_| "must have heartbeat in whole seconds")?)
            }
            "frame_max" => {
                let bytes = value.parse().ok().filter(|bytes| *bytes == 0 || *bytes >= LEAST_FRAME);
                self.frame_max = Some(bytes.ok_or("must have frame_max in bytes, 0 or at least 4096")?);
            }
            "channel_max" => {
                let most = value.parse().ok().filter(|most| *most == 0 || *most >= LEAST_CHANNELS);
                self.channel_max = Some(most.ok_or("must have channel_max 0 or at least 8")?);
            }
            "connection_timeout" => {
                value.parse::<u64>().map_err(|_| "must have connection_timeout in milliseconds")?;
            }
            "auth_mechanism" => {
                self.mechanism = Some(match value.to_ascii_lowercase().as_str() {
                    "plain" => Mechanism::Plain,
                    "amqplain" => Mechanism::AmqPlain,
                    "anonymous" => Mechanism::Anonymous,
                    _ => return Err("must have auth_mechanism plain, amqplain or anonymous"),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Without its percent signs.
fn decoded(text: &str) -> Result<String, &'static str> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| "must be UTF-8 where it is percent-encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let url = AmqpUrl::parse(
            "amqps://u%40x:p%23%2F@[::1]:9/a%2Fb?heartbeat=7&frame_max=8192&auth_mechanism=PLAIN&x=y",
        );
        let url = url.unwrap();
        assert_eq!((url.tls, url.host.as_str(), url.port), (true, "::1", 9));
        assert_eq!((url.user.as_str(), url.password.as_str(), url.vhost.as_str()), ("u@x", "p#/", "a/b"));
        assert_eq!((url.heartbeat, url.frame_max, url.mechanism), (Some(7), Some(8_192), Some(Mechanism::Plain)));
        assert!(!format!("{url:?}").contains("p#/"));
        for text in ["amqp://10.0.0.1", "amqp://10.0.0.1/", "amqp://10.0.0.1:5672/%2f"] {
            let url = AmqpUrl::parse(text).unwrap();
            let read = (url.host.as_str(), url.port, url.user.as_str(), url.password.as_str(), url.vhost.as_str());
            assert_eq!(read, ("10.0.0.1", 5_672, "guest", "guest", "/"), "{text}");
        }
        assert_eq!(AmqpUrl::list("amqp://a, amqps://b").unwrap()[1].port, 5_671);
    }

    #[test]
    fn what_can_not_work_is_refused_without_repeating_it() {
        for text in [
            "",
            "http://h",
            "amqp:h",
            "amqp://",
            "amqp://h:0",
            "amqp://h:99999",
            "amqp://[::1",
            "amqp://h/a/b",
            "amqp://h//",
            "amqp://h/%ff",
            "amqp://u:%ff@h",
            "amqp://u:9#x@h",
            "amqp://u:9/x@h",
            "amqp://u:9?x@h",
            "amqp://h?heartbeat=60s",
            "amqp://h?heartbeat=70000",
            "amqp://h?auth_mechanism=foo",
            "amqp://h?auth_mechanism=external",
            "amqp://h?frame_max=100",
            "amqp://h?channel_max=2",
            "amqp://h?connection_timeout=5s",
            "amqp://a,,amqp://b",
            "amqp://u:p,ss@h",
        ] {
            let refused = AmqpUrl::list(text);
            assert!(refused.as_ref().is_err_and(|must| must.starts_with("must ")), "{text}: {refused:?}");
        }
    }
}
