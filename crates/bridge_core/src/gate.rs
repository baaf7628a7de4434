//! The gate: the only place that decides whether a copy is emitted.
//!
//! One gate per user on an instance. Both paths bring their copies here; the path that is authoritative in the
//! user's stage is emitted to every socket whose ledger lacks the key, the other path's creations are held in the
//! ring until their twin was delivered or the window closes. A flip flushes the ring through the ledger.
//!
//! A message can be lost or doubled only if this file lets it: `tests/interleavings.rs` searches all short
//! histories of it, and shows that taking out ledger, ring or dwell breaks one.

mod ledger;
mod ring;

use smallvec::SmallVec;

use crate::key::Key;
use crate::stage::{Path, Stage};
use crate::{Millis, SocketId};

use ledger::Ledger;
use ring::Ring;

/// A few sockets of one user.
pub type Sockets = SmallVec<[SocketId; 4]>;

/// What the gate may hold and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a copy waits for its twin, in ms (`shadow.window`).
    pub window: u64,
    /// How long a rabbitmq path that loses its authority goes on, in ms: one window.
    pub dwell: u64,
    /// How long a delivered key is remembered after its twin, in ms: for redeliveries.
    pub after_twin: u64,
    /// How long a delivered key is remembered whose twin does not come, in ms (`flag.remember`). In every stage: the
    /// update of what legacy delivered may come minutes later, when another stage is in force.
    pub remember: u64,
    /// Most deliveries in the ledger of one user; 0 remembers nothing.
    pub ledger_keys: usize,
    /// Most ids of young deliveries that are not packed yet.
    pub ledger_fresh: usize,
    /// Most copies in the ring of one user; 0 holds nothing.
    pub ring_copies: usize,
    /// Most bytes of payloads in the ring of one user; a single larger copy is held alone.
    pub ring_bytes: usize,
    /// Whether an accepted message whose update does not come is delivered from the ring (`flag.rescue`).
    pub rescue: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 5_000,
            dwell: 5_000,
            after_twin: 30_000,
            remember: 600_000,
            ledger_keys: 65_536,
            ledger_fresh: 1_024,
            ring_copies: 8_192,
            ring_bytes: 32 * 1024 * 1024,
            rescue: true,
        }
    }
}

/// One path is about to hand one message to one user's sockets.
#[derive(Clone, Debug)]
pub struct Arrival<P> {
    /// The path that brought it.
    pub path: Path,
    /// What it is a copy of.
    pub key: Key,
    /// The sockets that this path would reach: in the room (legacy), or subscribed (rabbitmq).
    pub sockets: Sockets,
    /// When the message was on its way already: the start of its POST (legacy), else the arrival.
    pub since: Millis,
    /// What is to be emitted; cloned only when it is held.
    pub payload: P,
    /// Its size.
    pub bytes: usize,
}

/// Why a copy goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A flip flushed the ring.
    Flushed,
    /// Its update did not come within the window.
    Rescued,
}

/// A held copy that goes out after all.
#[derive(Clone, Debug)]
pub struct Emission<P> {
    /// The path whose copy it is.
    pub path: Path,
    /// What it is a copy of.
    pub key: Key,
    /// The sockets to hand it to; never empty.
    pub sockets: Sockets,
    /// What to emit.
    pub payload: P,
    /// Why it goes out.
    pub why: Why,
}

/// What became of an arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The sockets to hand it to, now; empty when it is held, dropped or has none.
    pub emit: Sockets,
    /// It waits in the ring.
    pub held: bool,
    /// At least one socket had it already.
    pub already: bool,
}

/// How full a gate is, and what it had to let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Deliveries in the ledger.
    pub ledger_keys: usize,
    /// What they take in memory, in bytes.
    pub ledger_bytes: usize,
    /// Copies in the ring.
    pub ring_copies: usize,
    /// Bytes of their payloads.
    pub ring_bytes: usize,
    /// Keys that were forgotten early because the ledger was full.
    pub ledger_overflow: u64,
    /// Copies that were let go early because the ring was full.
    pub ring_overflow: u64,
}

/// The state machine of one user. See the module's text.
#[derive(Clone, Debug)]
pub struct Gate<P> {
    limits: Limits,
    stage: Stage,
    /// Until when rabbitmq's copies are emitted although legacy is authoritative.
    draining: Option<Millis>,
    /// When legacy ceased to be compared: what was posted before is still owed a rescue.
    complete_since: Millis,
    ledger: Ledger,
    ring: Ring<P>,
}

impl<P: Clone> Gate<P> {
    /// A gate without history.
    #[must_use]
    pub fn new(limits: Limits, stage: Stage) -> Self {
        Self {
            limits,
            stage,
            draining: None,
            complete_since: Millis(0),
            ledger: Ledger::default(),
            ring: Ring::default(),
        }
    }

    /// The stage in which this user is served.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Until when rabbitmq's copies still count after a flip back.
    #[must_use]
    pub fn draining(&self, now: Millis) -> Option<Millis> {
        self.draining.filter(|end| now < *end)
    }

    /// Whether `path`'s copies are emitted on arrival at `now`.
    #[must_use]
    pub fn emits(&self, path: Path, now: Millis) -> bool {
        path == self.stage.authority() || (path == Path::Rabbitmq && self.draining(now).is_some())
    }

    /// Decides about one copy.
    pub fn arrive(&mut self, now: Millis, arrival: &Arrival<P>) -> Decision {
        let Arrival { path, key, sockets, since, payload, bytes } = arrival;
        let known = self.ledger.look(key);
        let lacking = known.lacking(sockets);
        let already = lacking.len() < sockets.len();
        if self.emits(*path, now) {
            if key.is_creation() {
                self.ring.take_twin(*path, key);
            }
            self.ledger.deliver(&self.limits, now, *path, &known, &lacking);
            return Decision { emit: lacking, held: false, already };
        }
        self.ledger.twin_seen(&self.limits, now, *path, &known);
        if !key.is_creation() || !self.keeps(*path) {
            return Decision::default();
        }
        // A twin that reached some of the sockets has come; who it did not reach was not to see it.
        if lacking.is_empty() || known.was_delivered() {
            return Decision { already, ..Decision::default() };
        }
        let rescue = *path == Path::Legacy && self.owes_rescue(*since);
        self.ring.hold(&self.limits, now, *path, key, lacking, (payload.clone(), *bytes), rescue);
        Decision { emit: Sockets::new(), held: true, already }
    }

    /// Changes the stage and returns what the ring owes to the path that becomes authoritative, in source order.
    ///
    /// A rabbitmq path that loses its authority goes on for one window, first arrival wins.
    pub fn flip(&mut self, now: Millis, to: Stage) -> Vec<Emission<P>> {
        let (before, after) = (self.stage.authority(), to.authority());
        if to == Stage::Complete && self.stage != to {
            self.complete_since = now;
        }
        self.stage = to;
        if to == Stage::Live {
            self.ring.owe_rescue();
        }
        if before == after {
            return Vec::new();
        }
        self.draining = (after == Path::Legacy).then(|| now.plus(self.limits.dwell));
        let owed = self.ring.drain(after);
        owed.into_iter().filter_map(|held| self.release(now, held, Why::Flushed, |_| true)).collect()
    }

    /// Lets time pass: rescues what was accepted in `live` and never came, for the sockets that `hears` it by now, and forgets
    /// what is old enough. Whom it does not reach did not get it: its update may still come.
    pub fn tick(&mut self, now: Millis, hears: impl Fn(SocketId) -> bool) -> Vec<Emission<P>> {
        self.draining = self.draining(now);
        self.ledger.expire(now);
        let closed = self.ring.expire(self.limits.window, now);
        let rescue = self.limits.rescue;
        closed
            .into_iter()
            .filter(|held| rescue && held.rescue)
            .filter_map(|held| self.release(now, held, Why::Rescued, &hears))
            .collect()
    }

    /// Forgets a socket that is gone for good.
    pub fn forget(&mut self, socket: SocketId) {
        self.ledger.forget(socket);
        self.ring.forget(socket);
    }

    /// Whether `socket` got what goes by `key`, as far as that is remembered.
    #[must_use]
    pub fn has(&self, socket: SocketId, key: &Key) -> bool {
        self.ledger.look(key).lacking(&Sockets::from_slice(&[socket])).is_empty()
    }

    /// The client of `from` goes on as `to`: what the one has, or is owed, the other has or is owed too.
    pub fn inherit(&mut self, from: SocketId, to: SocketId) {
        self.ledger.inherit(from, to);
        self.ring.inherit(from, to);
        self.forget(from);
    }

    /// When [`Self::tick`] has something to do for the ring or an overlap at the latest; the ledger can wait.
    #[must_use]
    pub fn wakes(&self) -> Option<Millis> {
        self.ring.closes(self.limits.window).into_iter().chain(self.draining).min()
    }

    /// Whether nothing at all is remembered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.ledger.is_empty() && self.draining.is_none()
    }

    /// How full it is.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            ledger_keys: self.ledger.len(),
            ledger_bytes: self.ledger.bytes(),
            ring_copies: self.ring.len(),
            ring_bytes: self.ring.bytes(),
            ledger_overflow: self.ledger.overflow(),
            ring_overflow: self.ring.overflow(),
        }
    }

    /// In `complete` the createMessage answers are kept for a way back; in `legacy` no update is.
    const fn keeps(&self, path: Path) -> bool {
        match path {
            Path::Legacy => self.stage.use_rabbitmq_updates(),
            Path::Rabbitmq => matches!(self.stage, Stage::Shadow),
        }
    }

    /// In `live` every accepted message is; in `complete` those whose POST began before, because their update may
    /// have come, and gone, while legacy was authoritative.
    fn owes_rescue(&self, since: Millis) -> bool {
        match self.stage {
            Stage::Live => true,
            Stage::Complete => since < self.complete_since,
            Stage::Legacy | Stage::Shadow => false,
        }
    }

    fn release(
        &mut self,
        now: Millis,
        held: ring::Held<P>,
        why: Why,
        hears: impl Fn(SocketId) -> bool,
    ) -> Option<Emission<P>> {
        let known = self.ledger.look(&held.key);
        let mut sockets = known.lacking(&held.sockets);
        sockets.retain(|socket| hears(*socket));
        if sockets.is_empty() {
            return None;
        }
        self.ledger.deliver(&self.limits, now, held.path, &known, &sockets);
        Some(Emission { path: held.path, key: held.key, sockets, payload: held.payload, why })
    }
}
