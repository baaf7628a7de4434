//! `legacy.relay`: every broadcast to the other instances, over the fleet's own HTTP.
//!
//! Each other instance has a queue and one request on its way at a time, which keeps the order. The queue is bounded and
//! nobody waits for it. What could not be handed over is noted by dialog, and told to that instance with the next batch
//! that it takes, which tells those concerned. An instance that was not running had nobody to be told: what is older than
//! it is let go.

mod batch;
mod inbox;
mod peer;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bridge_core::Millis;
use bridge_core::recipient::LegacyCopy;
use metrics::{Counter, counter, gauge};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::clock::Clock;
use crate::delivery::{Peer as PeerView, Relay};

pub use batch::{Batch, Receipt};
pub use inbox::Inbox;

use self::peer::Peer;
use self::queue::Item;

/// Between two lookups of the names.
const LOOKUP: Duration = Duration::from_secs(5);
/// An instance whose name is gone drains: it is still handed what comes for so long.
const LEAVING: Duration = Duration::from_secs(30);

/// Who this process is, among instances that may have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `instance_id`.
    pub instance: String,
    /// Another at each start.
    pub boot: String,
}

impl Identity {
    /// Of a process that starts.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self { instance: instance.into(), boot: format!("{:016x}", rand::random::<u64>()) }
    }
}

/// Hands broadcasts to the other instances.
pub struct FleetRelay {
    fleet: Fleet,
    own: Identity,
    clock: Clock,
    on: bool,
    next: AtomicU64,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    /// The names were looked up once.
    known: AtomicBool,
    off: Counter,
    lost: Counter,
}

impl FleetRelay {
    /// A relay to `fleet`; `on` is `legacy.relay`.
    #[must_use]
    pub fn new(fleet: Fleet, own: Identity, clock: Clock, on: bool) -> Arc<Self> {
        let off = counter!("bridge_relay_copies_total", "outcome" => "off");
        let lost = counter!("bridge_relay_copies_total", "outcome" => "lost");
        let (next, peers, known) = (AtomicU64::new(1), Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { fleet, own, clock, on, next, peers, known, off, lost })
    }

    /// Hands over until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if !self.on {
            return;
        }
        let mut ticks = tokio::time::interval(LOOKUP);
        let mut gone: HashMap<String, tokio::time::Instant> = HashMap::new();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(nodes) = stop.run_until_cancelled(self.fleet.nodes()).await else { return };
            let mut waiting = 0;
            {
                let mut peers = self.peers.lock();
                for node in nodes.iter().filter(|node| !node.is_nameless()) {
                    gone.remove(&node.url);
                    if !peers.contains_key(&node.url) {
                        let peer = Peer::new(node.clone(), self.own.clone(), self.clock);
                        peers.insert(node.url.clone(), Arc::clone(&peer));
                        tokio::spawn(crate::vital::task("relay to a peer", peer.run(stop.clone())));
                    }
                }
                // A name that can't be looked up at the moment says nothing of who is there.
                if nodes.iter().all(|node| !node.is_nameless()) {
                    for url in peers.keys().filter(|url| !nodes.iter().any(|node| node.url == **url)) {
                        gone.entry(url.clone()).or_insert_with(tokio::time::Instant::now);
                    }
                }
                gone.retain(|url, since| {
                    let stays = since.elapsed() < LEAVING;
                    if !stays && let Some(peer) = peers.remove(url) {
                        peer.end();
                    }
                    stays
                });
                waiting += peers.values().map(|peer| peer.waiting()).sum::<usize>();
            }
            self.known.store(true, Ordering::Release);
            gauge!("bridge_relay_waiting").set(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
        }
    }

    /// Waits until everything is handed over to those that take it, at most so long.
    pub async fn flush(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        let busy = || self.peers.lock().values().any(|peer| peer.is_up() && peer.waiting() > 0);
        while busy() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Relay for FleetRelay {
    fn hand(&self, copy: &Arc<LegacyCopy>, since: Millis) {
        if !self.on {
            self.off.increment(1);
            return;
        }
        if !self.known.load(Ordering::Acquire) {
            self.lost.increment(1);
            return;
        }
        // In the order of the numbers: whoever is handed one has had all before it.
        let peers = self.peers.lock();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = self.clock.now();
        for peer in peers.values() {
            peer.hand(Item { number, copy: Arc::clone(copy), since, at });
        }
    }

    fn is_on(&self) -> bool {
        self.on
    }

    fn peers(&self) -> Vec<PeerView> {
        let mut views: Vec<PeerView> = self.peers.lock().values().filter_map(|peer| peer.view()).collect();
        views.sort_by(|a, b| a.node.cmp(&b.node));
        views
    }
}
