//! What is kept for clients that come back, where memory is short.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bridge_core::UserId;
use bridge_core::recipient::Input;

use super::hub::Hub;
use super::seat::Seat;
use crate::memory::Kept;

/// All of it.
pub struct Replays {
    /// Looked at with each event that waits.
    bytes: Arc<AtomicUsize>,
    hub: Weak<Hub>,
}

impl Replays {
    /// Of the users of `hub`.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self { bytes: Arc::clone(&hub.replayed), hub: Arc::downgrade(hub) }
    }
}

impl Kept for Replays {
    fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(u64::MAX)
    }

    fn let_go(&self, bytes: u64) -> Option<(u64, UserId)> {
        let hub = self.hub.upgrade()?;
        let held = |seat: &Seat| seat.inner.lock().replayed;
        let seats = hub.registry.everyone().into_iter();
        let mut seats: Vec<(usize, Arc<Seat>)> = seats.map(|seat| (held(&seat), seat)).collect();
        seats.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let (bytes, mut given) = (usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        let mut most = None::<(usize, UserId)>;
        for (held, seat) in &seats {
            if given >= bytes || *held == 0 {
                break;
            }
            let own = hub.keep_nothing(seat, *held);
            given += own;
            if own > 0 && most.as_ref().is_none_or(|(most, _)| own > *most) {
                most = Some((own, seat.id.clone()));
            }
        }
        most.map(|(_, user)| (u64::try_from(given).unwrap_or(u64::MAX), user))
    }
}

impl Hub {
    /// Lets go what is kept for the user's sockets: a client that is gone lacks all of it when it lacks some. Says how many
    /// bytes of the `held` that were.
    fn keep_nothing(&self, seat: &Arc<Seat>, held: usize) -> usize {
        let mut inner = seat.inner.lock();
        // What a transport took goes without harm; of the rest its client is told, should it come back.
        self.apply_keeping(0, self.now(), &mut inner, seat, Input::Tick);
        let left = inner.replayed;
        self.settle(seat, inner);
        held.saturating_sub(left)
    }
}
