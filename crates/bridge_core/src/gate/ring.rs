//! Copies of the path that is not authoritative, held until their twin is delivered or the window closes.

use std::collections::VecDeque;

use super::{Limits, Sockets};
use crate::key::Key;
use crate::stage::Path;
use crate::{Millis, SocketId};

/// One held copy.
#[derive(Clone, Debug)]
pub(super) struct Held<P> {
    pub(super) path: Path,
    pub(super) key: Key,
    pub(super) sockets: Sockets,
    pub(super) payload: P,
    /// It was accepted in `live`: it is owed to its sockets when its update does not come.
    pub(super) rescue: bool,
    bytes: usize,
    at: Millis,
}

#[derive(Clone, Debug)]
pub(super) struct Ring<P> {
    held: VecDeque<Held<P>>,
    bytes: usize,
    overflow: u64,
}

impl<P> Default for Ring<P> {
    fn default() -> Self {
        Self { held: VecDeque::new(), bytes: 0, overflow: 0 }
    }
}

impl<P> Ring<P> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one copy")]
    pub(super) fn hold(
        &mut self,
        limits: &Limits,
        at: Millis,
        path: Path,
        key: &Key,
        sockets: Sockets,
        (payload, bytes): (P, usize),
        rescue: bool,
    ) {
        if self.held.iter().any(|held| held.path == path && held.key.same(key)) {
            return;
        }
        if limits.ring_copies == 0 {
            self.overflow += 1;
            return;
        }
        // One copy is held however large it is.
        let over = |ring: &Self| {
            ring.held.len() >= limits.ring_copies || ring.bytes.saturating_add(bytes) > limits.ring_bytes
        };
        while over(self)
            && let Some(oldest) = self.held.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.overflow += 1;
        }
        self.held.push_back(Held { path, key: key.clone(), sockets, payload, rescue, bytes, at });
        self.bytes += bytes;
    }

    /// Removes the copy that waited for the one that `path` now delivers.
    pub(super) fn take_twin(&mut self, path: Path, key: &Key) {
        let waits = |held: &Held<P>| held.path == path.other() && held.key.same(key);
        if let Some(place) = self.held.iter().position(waits)
            && let Some(taken) = self.held.remove(place)
        {
            self.bytes -= taken.bytes;
        }
    }

    /// Takes all copies of `path`, oldest first.
    pub(super) fn drain(&mut self, path: Path) -> Vec<Held<P>> {
        let (owed, rest): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|held| held.path == path);
        self.held = rest.into();
        self.bytes -= bytes_of(&owed);
        owed
    }

    /// Takes the copies whose window has closed, oldest first.
    pub(super) fn expire(&mut self, window: u64, now: Millis) -> Vec<Held<P>> {
        let open = |held: &Held<P>| now < held.at.plus(window);
        let closed = self.held.iter().position(open).unwrap_or(self.held.len());
        let closed: Vec<_> = self.held.drain(..closed).collect();
        self.bytes -= bytes_of(&closed);
        closed
    }

    /// What was kept for a way back from `complete` is compared again, and owed like everything in `live`.
    pub(super) fn owe_rescue(&mut self) {
        self.held.iter_mut().filter(|held| held.path == Path::Legacy).for_each(|held| held.rescue = true);
    }

    pub(super) fn forget(&mut self, socket: SocketId) {
        for held in &mut self.held {
            held.sockets.retain(|other| *other != socket);
        }
        self.held.retain(|held| !held.sockets.is_empty());
        self.bytes = bytes_of(&self.held);
    }

    pub(super) fn inherit(&mut self, from: SocketId, to: SocketId) {
        for held in self.held.iter_mut().filter(|held| held.sockets.contains(&from)) {
            if !held.sockets.contains(&to) {
                held.sockets.push(to);
            }
        }
    }

    /// When the first window closes.
    pub(super) fn closes(&self, window: u64) -> Option<Millis> {
        self.held.front().map(|held| held.at.plus(window))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn overflow(&self) -> u64 {
        self.overflow
    }
}

fn bytes_of<'a, P: 'a>(held: impl IntoIterator<Item = &'a Held<P>>) -> usize {
    held.into_iter().map(|held| held.bytes).sum()
}
