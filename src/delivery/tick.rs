//! Time passing: windows that close, sockets that stop lingering, members that were removed.

use std::sync::Arc;
use std::time::Duration;

use bridge_core::{DialogId, Millis, UserId};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::user::User;

const TICK: Duration = Duration::from_millis(50);
/// Ledgers may forget a little late.
const SWEEP: Duration = Duration::from_secs(5);
/// Most users whose ledgers are swept before the others get their turn.
const SWEEP_BATCH: usize = 256;
/// Most pairs of dialog and user asked about in one round.
const MEMBERS_BATCH: usize = 1_000;

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
            self.tick();
        }
    }

    fn tick(&self) {
        let now = self.now();
        let waiting = std::mem::take(&mut *self.ticking.lock());
        for user in waiting {
            let mut state = user.state.lock();
            let owed = state.gate.tick(now);
            self.release(&user.id, &mut state, now, owed);
            state.ticking = false;
            self.mind(&user, &mut state);
        }
        self.end_lingering(now);
    }

    fn end_lingering(&self, now: Millis) {
        let mut over = Vec::new();
        {
            let mut lingering = self.lingering.lock();
            while lingering.front().is_some_and(|(until, ..)| *until <= now) {
                over.extend(lingering.pop_front());
            }
        }
        let linger = u64::try_from(self.settings.linger.as_millis()).unwrap_or(u64::MAX);
        for (_, id, socket) in over {
            let Some(user) = self.user(&id) else { continue };
            {
                let mut state = user.state.lock();
                // It may have been resumed, and lost again, meanwhile: then a later entry is about it.
                let ended = state.sockets.get(&socket).is_some_and(|socket| {
                    socket.lost_at.is_some_and(|lost| socket.spoiled() || lost.plus(linger) <= now)
                });
                if ended {
                    self.drop_socket(&user, &mut state, socket);
                }
            }
            self.remove_if_empty(&id);
        }
    }

    async fn sweep_until(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let users = self.everyone();
            for batch in users.chunks(SWEEP_BATCH) {
                for user in batch {
                    let mut state = user.state.lock();
                    let now = self.now();
                    let owed = state.gate.tick(now);
                    self.release(&user.id, &mut state, now, owed);
                    let bounds = self.bounds();
                    state.sockets.values_mut().for_each(|socket| socket.replay.shrink(bounds, now));
                }
                tokio::task::yield_now().await;
            }
        }
    }

    async fn check_members_until(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        if every.is_zero() {
            return;
        }
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let pairs = self.pairs();
            for batch in pairs.chunks(MEMBERS_BATCH) {
                let asked = self.members.removed(batch.to_vec());
                let Some(removed) = stop.run_until_cancelled(asked).await else { return };
                for (dialog, id) in removed {
                    self.put_out(&dialog, &id);
                }
            }
        }
    }

    fn pairs(&self) -> Vec<(DialogId, UserId)> {
        let in_room = |dialog: &DialogId, users: &std::collections::HashMap<UserId, Arc<User>>| {
            users.keys().map(|user| (dialog.clone(), user.clone())).collect::<Vec<_>>()
        };
        self.rooms.iter().flat_map(|room| in_room(room.key(), room.value())).collect()
    }

    /// Takes a user who is no member any more out of a room.
    fn put_out(&self, dialog: &DialogId, id: &UserId) {
        let Some(user) = self.user(id) else { return };
        let mut state = user.state.lock();
        for socket in state.joined(dialog) {
            self.leave_room(&user, &mut state, socket, dialog);
        }
        tracing::debug!(user = %id, %dialog, "user is no member any more: left the room");
    }
}
