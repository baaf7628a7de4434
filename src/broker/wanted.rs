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
    /// It was live and has not been lost since. Not the same as `state`: a queue that serves stays in service while
    /// it is bound to other types, and what is lost meanwhile is a gap too.
    serves: bool,
    /// It served and was lost: since when, and why.
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
            let want = Want { types, state: watch::Sender::new(QueueState::Pending), serves: false, gap: None };
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
        want.serves = true;
        let gap = want.gap.take();
        let was = want.state.send_replace(QueueState::Live);
        inner.live += usize::from(was != QueueState::Live);
        Ok(gap)
    }

    /// The user's queue is gone.
    pub(super) fn lost(&self, user: &UserId, reason: GapReason, since: Millis) {
        let mut inner = self.inner.lock();
        let Some(want) = inner.users.get_mut(user) else { return };
        if std::mem::take(&mut want.serves) {
            want.gap.get_or_insert((reason, since));
        }
        let was = want.state.send_replace(QueueState::Pending);
        inner.live -= usize::from(was == QueueState::Live);
        inner.dirty.insert(user.clone());
        drop(inner);
        self.work.notify_one();
    }

    /// All queues are gone. Returns the users.
    pub(super) fn all_lost(&self, reason: GapReason, since: Millis) -> Vec<UserId> {
        let users: Vec<UserId> = self.inner.lock().users.keys().cloned().collect();
        for user in &users {
            self.lost(user, reason, since);
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

    /// Whether the user's queue is live.
    pub(super) fn is_live(&self, user: &UserId) -> bool {
        self.inner.lock().users.get(user).is_some_and(|want| *want.state.borrow() == QueueState::Live)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn some(types: &[&str]) -> Types {
        Some(types.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_lost_while_other_types_are_bound_is_a_gap_too() {
        let user = UserId::new("a").unwrap();
        for reason in [GapReason::BrokerLost, GapReason::QueueLost] {
            let wanted = Wanted::default();
            wanted.want(&user, some(&["message", "dialog"]));
            assert_eq!(wanted.live(&user, &some(&["message", "dialog"])), Ok(None));
            wanted.want(&user, some(&["message"]));
            assert_eq!(wanted.ready(), (0, 1));
            wanted.lost(&user, reason, Millis(7));
            // The first loss counts until the queue is back, whatever is wanted by then.
            wanted.lost(&user, GapReason::BrokerLost, Millis(9));
            wanted.want(&user, None);
            assert_eq!(wanted.live(&user, &some(&["message"])), Err(()));
            assert_eq!(wanted.live(&user, &None), Ok(Some((reason, Millis(7)))));
            assert_eq!((wanted.live(&user, &None), wanted.ready()), (Ok(None), (1, 1)));
        }
    }

    #[test]
    fn who_never_had_a_queue_or_left_has_no_gap() {
        let (user, wanted) = (UserId::new("a").unwrap(), Wanted::default());
        wanted.want(&user, None);
        assert_eq!(wanted.all_lost(GapReason::BrokerLost, Millis(1)), std::slice::from_ref(&user));
        assert_eq!(wanted.live(&user, &None), Ok(None));
        wanted.release(&user);
        wanted.lost(&user, GapReason::QueueLost, Millis(2));
        wanted.want(&user, None);
        assert_eq!(wanted.live(&user, &None), Ok(None));
    }
}
