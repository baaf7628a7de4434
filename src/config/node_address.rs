//! How an instance's admin side is named, on the command line and in `fleet.nodes`.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

/// A name server that says nothing is not waited for longer.
const LOOKUP: Duration = Duration::from_secs(3);

/// One instance, or every instance that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    given: String,
    url: Url,
    by_name: bool,
}

impl FromStr for NodeAddress {
    type Err = String;

    /// `http://host:port`, `host:port`, or `dns+http://name:port`.
    fn from_str(given: &str) -> Result<Self, String> {
        let given = given.trim();
        let (by_name, plain) = match given.strip_prefix("dns+") {
            Some(plain) => (true, plain),
            None => (false, given),
        };
        let plain = if plain.contains("://") { plain.to_owned() } else { format!("http://{plain}") };
        let form = "must be http://host:port, host:port or dns+http://name:port";
        let url = Url::parse(&plain).map_err(|error| format!("{form} ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !url.username().is_empty() {
            return Err(form.into());
        }
        Ok(Self { given: given.into(), url, by_name })
    }
}

impl NodeAddress {
    /// As it was given.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The addresses, looked up anew, without a slash at the end. Of a name that has IPv4 addresses, these.
    ///
    /// # Errors
    /// Why the name stands for nothing at the moment.
    pub async fn urls(&self) -> Result<Vec<String>, String> {
        if !self.by_name {
            return Ok(vec![self.url.as_str().trim_end_matches('/').to_owned()]);
        }
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let found = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await {
            Ok(found) => found.map_err(|error| format!("the name can't be resolved: {error}"))?,
            Err(_) => return Err("the name can't be resolved: no answer in time".into()),
        };
        // Where each instance has an address of either kind, it is one instance.
        let (mut addresses, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(SocketAddr::is_ipv4);
        if addresses.is_empty() {
            addresses = v6;
        }
        let url = |address: SocketAddr| format!("{}://{address}", self.url.scheme());
        let mut urls: Vec<String> = addresses.into_iter().map(url).collect();
        urls.sort();
        urls.dedup();
        if urls.is_empty() { Err("no instance has that name".into()) } else { Ok(urls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_read_as_people_write_them_and_names_are_looked_up() {
        let urls = |given: &str| {
            let address = given.parse::<NodeAddress>();
            async move { address.unwrap().urls().await.unwrap() }
        };
        assert_eq!(urls("10.0.0.1:3002").await, ["http://10.0.0.1:3002"]);
        assert_eq!(urls(" http://bridge-0:3002/ ").await, ["http://bridge-0:3002"]);
        assert_eq!(urls("https://bridge-0/").await, ["https://bridge-0"]);
        assert_eq!(urls("dns+http://127.0.0.1:3002").await, ["http://127.0.0.1:3002"]);
        let local = urls("dns+localhost:3002").await;
        assert!(local.iter().any(|url| url == "http://127.0.0.1:3002" || url == "http://[::1]:3002"), "{local:?}");
        for wrong in ["", "ftp://x", "http://", "dns+amqp://x:1", "http://u:p@x:1", "a b"] {
            assert!(wrong.parse::<NodeAddress>().is_err(), "{wrong}");
        }
    }
}
