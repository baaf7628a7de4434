//! Packets that wait for a slow client: bounded in bytes, and in the time it may take nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sockets::Packet;

/// A client over its bound that takes nothing for this long is cut.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Bounds of outboxes, and what all of them hold together.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// Bytes of one (`socket.buffer`).
    pub(crate) one: u64,
    /// Bytes of all (`socket.buffer_total`).
    pub(crate) all: u64,
    held: AtomicU64,
}

impl Bounds {
    pub(crate) fn new(one: u64, all: u64) -> Arc<Self> {
        Arc::new(Self { one, all, held: AtomicU64::new(0) })
    }
}

/// What waits for one client.
pub(crate) struct Outbox {
    bounds: Arc<Bounds>,
    waiting: VecDeque<Packet>,
    bytes: u64,
    /// What the client had taken when it was last looked at, and since when that is so.
    taken: u64,
    since: Instant,
    /// Somebody is moving packets on.
    pub(crate) moving: bool,
    pub(crate) closed: bool,
}

impl Outbox {
    pub(crate) fn new(bounds: Arc<Bounds>) -> Self {
        let waiting = VecDeque::new();
        Self { bounds, waiting, bytes: 0, taken: 0, since: Instant::now(), moving: false, closed: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, packet: Packet) {
        let bytes = weight(&packet);
        self.bytes += bytes;
        self.bounds.held.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.push_back(packet);
    }

    pub(crate) fn pop(&mut self) -> Option<Packet> {
        let packet = self.waiting.pop_front()?;
        let bytes = weight(&packet);
        self.bytes -= bytes;
        self.bounds.held.fetch_sub(bytes, Ordering::Relaxed);
        Some(packet)
    }

    /// Takes everything back: the connection is gone.
    pub(crate) fn drain(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// Whether the client, which has `taken` so much by now, has to be cut: it is over its bound and took nothing for
    /// a second, or everybody's bound is reached and it is one of those who wait.
    pub(crate) fn is_slow(&mut self, taken: u64) -> bool {
        if taken != self.taken || self.waiting.is_empty() {
            self.taken = taken;
            self.since = Instant::now();
        }
        let stuck = self.since.elapsed() >= PATIENCE;
        let over = self.bytes > self.bounds.one;
        let all_over = self.bounds.held.load(Ordering::Relaxed) > self.bounds.all;
        over && (stuck || all_over)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.bounds.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn weight(packet: &Packet) -> u64 {
    u64::try_from(packet.data.get().len() + packet.event.len() + 64).unwrap_or(u64::MAX)
}
