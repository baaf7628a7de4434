//! Which users' queues are wanted, with what, and how far each is.

use std::collections::{HashMap, HashSet};

use bridge_core::{Millis, UserId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{GapReason, QueueState, Types};

/// The state that the broker is to be brought to. It outlives sessions.
#[derive(Default)]
pub(super) struct Wanted {
    inner: Mutex<Inner>,
    /// Something is to be done.
    pub(super) work: Notify,
}

#[derive(Default)]
struct Inner {
    users: HashMap<UserId, Want>,
    dirty: HashSet<UserId>,
    live: usize,
}

struct Want {
    types: Types,
    state: watch::Sender<QueueState>,
    /// It was live and is not: since when, and why.
    gap: Option<(GapReason, Millis)>,
}

impl Wanted {
    pub(super) fn want(&self, user: &UserId, types: Types) {
        let mut inner = self.inner.lock();
        if let Some(want) = inner.users.get_mut(user) {
            if want.types == types {
                return;
            }
            want.types = types;
            let was = want.state.send_replace(QueueState::Pending);
            inner.live -= usize::from(was == QueueState::Live);
        } else {
            let want = Want { types, state: watch::Sender::new(QueueState::Pending), gap: None };
            inner.users.insert(user.clone(), want);
        }
        inner.dirty.insert(user.clone());
        drop(inner);
        self.work.notify_one();
    }

    pub(super) fn release(&self, user: &UserId) {
        let mut inner = self.inner.lock();
        if let Some(want) = inner.users.remove(user) {
            let was = want.state.send_replace(QueueState::Absent);
            inner.live -= usize::from(was == QueueState::Live);
            inner.dirty.insert(user.clone());
            drop(inner);
            self.work.notify_one();
        }
    }

    pub(super) fn queue(&self, user: &UserId) -> watch::Receiver<QueueState> {
        let inner = self.inner.lock();
        match inner.users.get(user) {
            Some(want) => want.state.subscribe(),
            None => watch::channel(QueueState::Absent).1,
        }
    }

    /// The types wanted for `user` at present; `None` when it is not wanted.
    pub(super) fn types(&self, user: &UserId) -> Option<Types> {
        self.inner.lock().users.get(user).map(|want| want.types.clone())
    }

    /// Takes the users about whom something is to be done.
    pub(super) fn take_dirty(&self) -> Vec<UserId> {
        self.inner.lock().dirty.drain().collect()
    }

    /// Something is to be done about `user` again.
    pub(super) fn again(&self, user: &UserId) {
        self.inner.lock().dirty.insert(user.clone());
        self.work.notify_one();
    }

    /// All bindings of `types` are live. `Err` when something else is wanted by now, else the gap that ends.
    pub(super) fn live(&self, user: &UserId, types: &Types) -> Result<Option<(GapReason, Millis)>, ()> {
        let mut inner = self.inner.lock();
        let want = inner.users.get_mut(user).filter(|want| want.types == *types).ok_or(())?;
        let gap = want.gap.take();
        let was = want.state.send_replace(QueueState::Live);
        inner.live += usize::from(was != QueueState::Live);
        Ok(gap)
    }

    /// The user's queue is gone. Whether it had been live.
    pub(super) fn lost(&self, user: &UserId, reason: GapReason, since: Millis) -> bool {
        let mut inner = self.inner.lock();
        let Some(want) = inner.users.get_mut(user) else { return false };
        let was = want.state.send_replace(QueueState::Pending);
        let was_live = was == QueueState::Live;
        if was_live {
            want.gap.get_or_insert((reason, since));
        }
        inner.live -= usize::from(was_live);
        inner.dirty.insert(user.clone());
        drop(inner);
        self.work.notify_one();
        was_live
    }

    /// All queues are gone. Returns the users.
    pub(super) fn all_lost(&self, since: Millis) -> Vec<UserId> {
        let users: Vec<UserId> = self.inner.lock().users.keys().cloned().collect();
        for user in &users {
            self.lost(user, GapReason::BrokerLost, since);
        }
        users
    }

    /// Forgets all users.
    pub(super) fn clear(&self) {
        let mut inner = self.inner.lock();
        for (_, want) in inner.users.drain() {
            want.state.send_replace(QueueState::Absent);
        }
        inner.dirty.clear();
        inner.live = 0;
    }

    /// How many are live, and how many are wanted.
    pub(super) fn ready(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.live, inner.users.len())
    }

    /// Every user with its state.
    pub(super) fn states(&self) -> Vec<(UserId, QueueState)> {
        self.inner.lock().users.iter().map(|(user, want)| (user.clone(), *want.state.borrow())).collect()
    }
}
