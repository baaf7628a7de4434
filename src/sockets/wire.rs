//! How much of what was emitted to one Socket.IO client is still on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::meter::Meter;

/// So much may be on its way before a client's packets wait in its outbox. Packets are never shorter than 20 bytes, so
/// the library's own buffer, which is counted in packets, is never full, and its heartbeat always finds a place.
pub(crate) const IN_FLIGHT: u64 = 128 * 1024;
/// The library's buffer, in packets.
pub(crate) const LIBRARY_PACKETS: usize = 8 * 1024;
/// A wire that no client has taken is forgotten after this.
const UNUSED: Duration = Duration::from_secs(120);

/// One Engine.IO session's way to its client.
pub(crate) struct Wire {
    state: Mutex<State>,
    /// Something was taken.
    pub(crate) progress: Notify,
    used: AtomicBool,
    made: Instant,
}

#[derive(Default)]
struct State {
    /// The WebSocket's connection; `None` while the client polls.
    meter: Option<Arc<Meter>>,
    /// Bytes emitted, and what the meter showed, since nothing was on its way.
    emitted: u64,
    base: u64,
    /// Counts polls that were answered.
    polls: u64,
}

impl State {
    fn in_flight(&mut self) -> u64 {
        if let Some(meter) = &self.meter {
            let written = meter.written();
            let gone = written.saturating_sub(self.base);
            if gone < self.emitted {
                return self.emitted - gone;
            }
            self.base = written;
            self.emitted = 0;
            return 0;
        }
        self.emitted
    }
}

impl Wire {
    fn new() -> Arc<Self> {
        let (state, progress) = (Mutex::default(), Notify::new());
        Arc::new(Self { state, progress, used: AtomicBool::new(false), made: Instant::now() })
    }

    /// The client is on a WebSocket now.
    pub(crate) fn attach(&self, meter: Arc<Meter>) {
        let mut state = self.state.lock();
        state.base = meter.written();
        state.emitted = 0;
        state.meter = Some(meter);
        drop(state);
        self.progress.notify_waiters();
    }

    /// A poll was answered: it took everything there was.
    pub(crate) fn polled(&self) {
        let mut state = self.state.lock();
        state.polls += 1;
        if state.meter.is_none() {
            state.emitted = 0;
        }
        drop(state);
        self.progress.notify_waiters();
    }

    /// Bytes on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.state.lock().in_flight()
    }

    /// A packet of `bytes` was emitted.
    pub(crate) fn emitted(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.in_flight();
        state.emitted += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Grows whenever the client takes something.
    pub(crate) fn taken(&self) -> u64 {
        let state = self.state.lock();
        state.meter.as_ref().map_or(0, |meter| meter.written()) + state.polls
    }

    /// Waits until the client takes something, at most `limit`.
    pub(crate) async fn wait(&self, limit: Duration) {
        let meter = self.state.lock().meter.clone();
        let written = async {
            match &meter {
                Some(meter) => meter.progress.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = written => {}
            () = self.progress.notified() => {}
            () = tokio::time::sleep(limit) => {}
        }
    }

    /// Breaks the client's WebSocket; `false` when it is polling.
    pub(crate) fn cut(&self) -> bool {
        let meter = self.state.lock().meter.clone();
        meter.as_ref().map(|meter| meter.cut()).is_some()
    }
}

/// All wires, by Engine.IO session id.
#[derive(Default)]
pub(crate) struct Wires(DashMap<String, Arc<Wire>>);

impl Wires {
    /// The wire of `sid`; made when it is not there.
    pub(crate) fn get(&self, sid: &str) -> Arc<Wire> {
        if let Some(wire) = self.0.get(sid) {
            return Arc::clone(&wire);
        }
        if self.0.len() % 256 == 255 {
            self.0.retain(|_, wire| wire.used.load(Ordering::Relaxed) || wire.made.elapsed() < UNUSED);
        }
        Arc::clone(&self.0.entry(sid.to_owned()).or_insert_with(Wire::new))
    }

    /// The wire of `sid` for the client that has signed on to it.
    pub(crate) fn take(&self, sid: &str) -> Arc<Wire> {
        let wire = self.get(sid);
        wire.used.store(true, Ordering::Relaxed);
        wire
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Wire>> {
        self.0.get(sid).map(|wire| Arc::clone(&wire))
    }

    pub(crate) fn forget(&self, sid: &str) {
        self.0.remove(sid);
    }
}
