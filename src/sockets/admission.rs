//! Connections of clients: how many there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Request, StatusCode, header};
use ipnet::IpNet;
use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use crate::clock::Clock;
use crate::memory::Budget;
use crate::ration::Ration;

/// Connections that are told at once that there is no room; more are only closed.
const TOLD: usize = 64;
/// How long that may take.
const TELL: Duration = Duration::from_secs(1);
/// Log lines a minute.
const A_MINUTE: u64 = 5;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// For anybody.
    All,
    /// For this address.
    Address,
}

/// Counts connections.
pub(crate) struct Admission {
    most: usize,
    most_of_address: usize,
    trusted: Vec<IpNet>,
    budget: Arc<Budget>,
    held: Mutex<Held>,
    telling: Arc<Semaphore>,
    open: Gauge,
    refused: [Counter; 2],
    ration: Ration,
    clock: Clock,
}

#[derive(Default)]
struct Held {
    all: usize,
    addresses: HashMap<IpAddr, usize>,
}

/// A connection's place, given back with it.
pub(crate) struct Place {
    admission: Arc<Admission>,
    all: bool,
    address: Option<IpAddr>,
}

/// The places of the connection, and of the address behind a proxy, for whoever takes the connection over.
#[derive(Clone)]
pub(crate) struct Places(
    #[expect(dead_code, reason = "held")] Arc<Place>,
    #[expect(dead_code, reason = "held")] Option<Arc<Place>>,
);

/// A connection: where it is from, and its place.
#[derive(Clone)]
pub(crate) struct From {
    pub(crate) peer: IpAddr,
    pub(crate) place: Arc<Place>,
}

impl Admission {
    pub(crate) fn new(most: u32, most_of_address: u32, trusted: Vec<IpNet>, budget: Arc<Budget>) -> Arc<Self> {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let refused = |limit: &'static str| counter!("bridge_limit_refusals_total", "limit" => limit);
        Arc::new(Self {
            most: number(most),
            most_of_address: number(most_of_address),
            trusted,
            budget,
            held: Mutex::default(),
            telling: Arc::new(Semaphore::new(TOLD)),
            open: gauge!("bridge_connections"),
            refused: [refused("connections"), refused("address_connections")],
            ration: Ration::new(A_MINUTE),
            clock: Clock::default(),
        })
    }

    /// A place for a connection from `peer`. Connections of proxies that are trusted count for those behind them.
    pub(crate) fn connection(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Over> {
        let address = Some(peer).filter(|peer| !self.is_trusted(*peer));
        self.take(true, address)
    }

    /// A place for a request of somebody behind a trusted proxy; `None`: it is the connection's own.
    fn behind(self: &Arc<Self>, peer: IpAddr, headers: &HeaderMap) -> Result<Option<Place>, Over> {
        if !self.is_trusted(peer) {
            return Ok(None);
        }
        match self.client(headers) {
            Some(address) => self.take(false, Some(address)).map(Some),
            None => Ok(None),
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The last address on the way that no trusted proxy has: what is before it, anybody may have written.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let name = header::HeaderName::from_static("x-forwarded-for");
        let texts = |name: &header::HeaderName| -> Vec<String> {
            let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
            lines.flat_map(|line| line.split(',')).map(|hop| hop.trim().to_owned()).collect()
        };
        let mut hops = texts(&name);
        if hops.is_empty() {
            let of = |element: &String| {
                let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
                let of = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
                of.map(|(_, value)| value.trim().trim_matches('"').to_owned())
            };
            hops = texts(&header::FORWARDED).iter().map(|element| of(element).unwrap_or_default()).collect();
        }
        let mut last = None;
        for hop in hops.iter().rev() {
            // What is no address (`unknown`, `_hidden`) ends the way: nobody vouches for what is before it.
            let Some(address) = address(hop) else { break };
            last = Some(address);
            if !self.is_trusted(address) {
                break;
            }
        }
        last
    }

    fn take(self: &Arc<Self>, all: bool, address: Option<IpAddr>) -> Result<Place, Over> {
        let address = address.map(counted);
        let mut held = self.held.lock();
        let of_address = address.and_then(|address| held.addresses.get(&address)).copied().unwrap_or(0);
        let over = if all && (held.all >= self.most || self.budget.is_over()) {
            Some(Over::All)
        } else if address.is_some() && of_address >= self.most_of_address {
            Some(Over::Address)
        } else {
            None
        };
        if let Some(over) = over {
            drop(held);
            self.refused[over as usize].increment(1);
            let (key, most) = match over {
                Over::All if self.budget.is_over() => ("memory.limit", self.most),
                Over::All => ("http.max_connections", self.most),
                Over::Address => ("http.address_connections", self.most_of_address),
            };
            if let Some(left_out) = self.ration.take(key, self.clock.now()) {
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                tracing::warn!(key, most, address, left_out, "a connection is one too many");
            }
            return Err(over);
        }
        held.all += usize::from(all);
        self.open.increment(f64::from(u8::from(all)));
        if let Some(address) = address {
            *held.addresses.entry(address).or_default() += 1;
        }
        Ok(Place { admission: Arc::clone(self), all, address })
    }

    /// Says that there is no room, if not too many are told already, and closes.
    pub(crate) fn turn_away(self: &Arc<Self>, mut stream: TcpStream, over: Over) {
        let Ok(place) = Arc::clone(&self.telling).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _one_of_few = place;
            let (status, error) = over.says();
            let body = json!({"success": false, "error": error}).to_string();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            let tell = async {
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                // Closed with something unread, it would be reset before the answer is read.
                let mut rest = [0; 1_024];
                while stream.read(&mut rest).await? > 0 {}
                std::io::Result::Ok(())
            };
            let _the_client_may_be_gone = timeout(TELL, tell).await;
        });
    }
}

impl Over {
    fn says(self) -> (StatusCode, &'static str) {
        match self {
            Self::All => (StatusCode::SERVICE_UNAVAILABLE, "too many connections"),
            Self::Address => (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.admission.held.lock();
        held.all -= usize::from(self.all);
        self.admission.open.decrement(f64::from(u8::from(self.all)));
        let Some(address) = self.address else { return };
        if let Some(own) = held.addresses.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                held.addresses.remove(&address);
            }
        }
    }
}

/// Lets a request in where its address has room. Whoever takes the connection over finds its places in the request.
pub(crate) async fn admit(
    State(admission): State<Arc<Admission>>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let Some(From { peer, place }) = request.extensions().get::<From>().cloned() else {
        return next.run(request).await;
    };
    let behind = match admission.behind(peer, request.headers()) {
        Ok(behind) => behind.map(Arc::new),
        Err(over) => {
            let (status, error) = over.says();
            let body = axum::Json(json!({"success": false, "error": error}));
            return (status, [(header::RETRY_AFTER, "5")], body).into_response();
        }
    };
    request.extensions_mut().insert(Places(place, behind.clone()));
    let response = next.run(request).await;
    drop(behind);
    response
}

/// An address as proxies write it: `1.2.3.4`, `1.2.3.4:80`, `[::1]:80`, `::1`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let whole = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    whole.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

/// By which an address is counted: whoever has an address of IPv6 has all of its /64.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_is_the_last_that_no_trusted_proxy_has() {
        let admission = Admission::new(
            9,
            9,
            vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            Budget::endless(),
        );
        for (name, value, expected) in [
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.7", Some("1.2.3.4")),
            ("x-forwarded-for", "1.2.3.4:5060,[fd00::1]:80", Some("1.2.3.4")),
            ("x-forwarded-for", "10.0.0.9, 10.0.0.7", Some("10.0.0.9")),
            ("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.7", Some("10.0.0.7")),
            ("x-forwarded-for", "::ffff:1.2.3.4", Some("1.2.3.4")),
            (
                "forwarded",
                "for=6.6.6.6;proto=http, for=\"[2001:db8::17]:47\";by=x, For=10.1.1.1",
                Some("2001:db8::17"),
            ),
            ("forwarded", "for=_hidden", None),
            ("x-forwarded-for", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(admission.client(&headers), expected.map(ip), "{name}: {value}");
        }
    }

    #[test]
    fn places_are_counted_in_all_and_for_an_address_and_come_back() {
        let admission = Admission::new(4, 2, vec!["10.0.0.0/8".parse().unwrap()], Budget::endless());
        let direct = |text: &str| admission.connection(ip(text));
        let held = [direct("1.1.1.1"), direct("1.1.1.1"), direct("10.0.0.1"), direct("10.0.0.1")];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(direct("2.2.2.2").err(), Some(Over::All));
        drop(held);
        let held = [direct("2001:db8::1"), direct("2001:db8::2")];
        assert_eq!(direct("2001:db8::3").err(), Some(Over::Address));
        assert!(direct("2001:db8:0:1::1").is_ok());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.1.1.1".parse().unwrap());
        let behind = || admission.behind(ip("10.0.0.1"), &headers);
        let two = (behind(), behind());
        assert_eq!(behind().err(), Some(Over::Address));
        assert!(admission.behind(ip("3.3.3.3"), &headers).is_ok_and(|place| place.is_none()), "it is not trusted");
        drop((two, held));
        let left = admission.held.lock();
        assert_eq!((left.all, left.addresses.len()), (0, 0));
    }
}
