//! Time passing: windows that close, sockets that stop lingering, members that were removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bridge_core::recipient::Input;
use bridge_core::{DialogId, Millis, UserId};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::flow::PATIENCE;
use super::hub::Hub;
use super::seat::Seat;

const TICK: Duration = Duration::from_millis(50);
/// Ledgers may forget a little late.
const SWEEP: Duration = Duration::from_secs(5);
/// Most users who are looked at before the others get their turn.
const BATCH: usize = 256;
/// Most pairs of dialog and user asked about in one round.
const MEMBERS_BATCH: usize = 1_000;

/// Who is to be looked at when.
#[derive(Default)]
pub(super) struct Timers(Mutex<Due>);

#[derive(Default)]
struct Due {
    next: u64,
    seats: BTreeMap<(Millis, u64), Weak<Seat>>,
}

impl Timers {
    pub(super) fn add(&self, at: Millis, seat: &Arc<Seat>) {
        let mut due = self.0.lock();
        due.next += 1;
        let key = (at, due.next);
        due.seats.insert(key, Arc::downgrade(seat));
    }

    /// One that is due.
    fn pop(&self, now: Millis) -> Option<(Millis, Weak<Seat>)> {
        let mut due = self.0.lock();
        let entry = due.seats.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), seat) = entry.remove_entry();
        Some((at, seat))
    }
}

impl Hub {
    /// Lets time pass until `stop`.
    pub async fn run(self: Arc<Self>, members_every: Duration, stop: CancellationToken) {
        let sweeper = Arc::clone(&self).sweep_until(stop.clone());
        let members = Arc::clone(&self).check_members_until(members_every, stop.clone());
        let ticker = self.tick_until(stop);
        tokio::join!(ticker, sweeper, members);
    }

    async fn tick_until(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.clock.look();
            let now = self.now();
            let mut count = 0;
            while let Some((at, seat)) = self.timers.pop(now) {
                if let Some(seat) = seat.upgrade() {
                    self.tick(&seat, at);
                }
                count += 1;
                if count % BATCH == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn tick(&self, seat: &Arc<Seat>, at: Millis) {
        let mut inner = seat.inner.lock();
        if inner.wakes != Some(at) {
            // An earlier look was asked for since, and has been taken.
            return;
        }
        inner.wakes = None;
        self.apply_locked(&mut inner, seat, Input::Tick);
        self.settle(seat, inner);
    }

    async fn sweep_until(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flow.watch(self.now());
            if self.flow.look(self.now(), PATIENCE).is_err()
                && let Some(broker) = self.broker()
            {
                broker.doubt();
            }
            for batch in self.registry.everyone().chunks(BATCH) {
                batch.iter().for_each(|seat| self.sweep(seat));
                tokio::task::yield_now().await;
            }
        }
    }

    /// What may be forgotten a little late: what transports took, and what is old.
    fn sweep(&self, seat: &Arc<Seat>) {
        let mut inner = seat.inner.lock();
        let handed: Vec<_> = inner.links().iter().map(|(id, link)| (*id, link.handed())).collect();
        for (link, up_to) in handed {
            self.apply_locked(&mut inner, seat, Input::HandedOver { link, up_to });
        }
        self.apply_locked(&mut inner, seat, Input::Tick);
        self.settle(seat, inner);
    }

    async fn check_members_until(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        if every.is_zero() {
            return;
        }
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let pairs = self.registry.pairs();
            for batch in pairs.chunks(MEMBERS_BATCH) {
                let asked = self.members.removed(batch.to_vec());
                let Some(removed) = stop.run_until_cancelled(asked).await else { return };
                for (dialog, id) in removed {
                    self.put_out(&dialog, &id);
                }
            }
        }
    }

    /// Takes a user who is no member any more out of a room.
    fn put_out(&self, dialog: &DialogId, user: &UserId) {
        self.tell(user, Input::PutOut { dialog: dialog.clone() });
        tracing::debug!(%user, %dialog, "user is no member any more: left the room");
    }
}
