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
    at: Millis,
}

#[derive(Clone, Debug)]
pub(super) struct Ring<P> {
    held: VecDeque<Held<P>>,
    overflow: u64,
}

impl<P> Default for Ring<P> {
    fn default() -> Self {
        Self { held: VecDeque::new(), overflow: 0 }
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
        payload: P,
        rescue: bool,
    ) {
        if self.held.iter().any(|held| held.path == path && held.key.same(key)) {
            return;
        }
        if limits.ring_copies == 0 {
            self.overflow += 1;
            return;
        }
        if self.held.len() >= limits.ring_copies {
            self.held.pop_front();
            self.overflow += 1;
        }
        self.held.push_back(Held { path, key: key.clone(), sockets, payload, rescue, at });
    }

    /// Removes the copy that waited for the one that `path` now delivers.
    pub(super) fn take_twin(&mut self, path: Path, key: &Key) {
        let waits = |held: &Held<P>| held.path == path.other() && held.key.same(key);
        if let Some(place) = self.held.iter().position(waits) {
            self.held.remove(place);
        }
    }

    /// Takes all copies of `path`, oldest first.
    pub(super) fn drain(&mut self, path: Path) -> Vec<Held<P>> {
        let (owed, rest): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|held| held.path == path);
        self.held = rest.into();
        owed
    }

    /// Takes the copies whose window has closed, oldest first.
    pub(super) fn expire(&mut self, window: u64, now: Millis) -> Vec<Held<P>> {
        let open = |held: &Held<P>| now < held.at.plus(window);
        let closed = self.held.iter().position(open).unwrap_or(self.held.len());
        self.held.drain(..closed).collect()
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
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) const fn overflow(&self) -> u64 {
        self.overflow
    }
}
