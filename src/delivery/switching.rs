//! The flip of this instance: every user's gate, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_core::form::Form;
use bridge_core::gate::Load;
use bridge_core::recipient::{Answer, Declared, Input};
use bridge_core::{Millis, Rollout, Stage, UserId};

use super::hub::{Hub, Served};
use super::seat::Seat;

/// So many users change their stage before what has arrived gets its turn.
const AT_ONCE: usize = 64;

/// What a flip did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flipped {
    /// Users whose stage changed.
    pub users: u64,
    /// Held copies that went out.
    pub flushed: u64,
}

/// Whom a change of the flag would concern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Concerned {
    /// Users that are connected, or linger.
    pub connected: usize,
    /// Those of them who would be served by the other path.
    pub changing: usize,
}

/// How full the fullest gate is, and who is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HubLoad {
    /// Users with a socket.
    pub users: usize,
    /// Sockets, lingering ones too.
    pub sockets: usize,
    /// Sockets that declared `update`, an old form, nothing, and only what the bridge does not have.
    pub declared: [usize; 4],
    /// Connected sockets.
    pub connected: usize,
    /// Those of them that are in no room.
    pub in_no_room: usize,
    /// Most keys in one ledger.
    pub ledger_keys: usize,
    /// Most copies in one ring.
    pub ring_copies: usize,
    /// Bytes in the ring that holds most.
    pub ring_bytes: usize,
    /// Copies and keys that had to be let go early, since the start.
    pub overflow: u64,
}

impl Hub {
    /// Serves everybody in `stage` from now on. Nothing is awaited and nothing can fail.
    pub fn flip(&self, stage: Stage, rollout: &Rollout) -> Flipped {
        let before = self.serve(stage, rollout);
        let mut flipped = Flipped::default();
        self.registry.everyone().iter().for_each(|seat| self.move_over(seat, &mut flipped));
        self.tell_flipped(before, flipped)
    }

    /// Serves whoever comes from now on in `stage`, and returns the stage before. Those who are here follow with
    /// [`Self::move_all_over`].
    pub fn serve(&self, stage: Stage, rollout: &Rollout) -> Stage {
        let before = self.served.swap(Arc::new(Served { stage, rollout: rollout.clone() })).stage;
        if stage.runs_rabbitmq() {
            self.running.store(true, Ordering::Release);
        }
        before
    }

    /// Serves everybody in the stage that is served by now, some at a time: what arrives meanwhile does not wait until the
    /// last of many thousands is done. A flip in between may serve another stage, and leaves nothing to do.
    pub async fn move_all_over(&self, before: Stage) -> Flipped {
        let mut flipped = Flipped::default();
        for seats in self.registry.everyone().chunks(AT_ONCE) {
            seats.iter().for_each(|seat| self.move_over(seat, &mut flipped));
            tokio::task::yield_now().await;
        }
        self.tell_flipped(before, flipped)
    }

    fn move_over(&self, seat: &Arc<Seat>, flipped: &mut Flipped) {
        let lost = self.session_lost_at.load(Ordering::Acquire);
        let session_lost = (lost > 0).then_some(Millis(lost));
        let mut inner = seat.inner.lock();
        // Asked for under the lock: who flips after another must not be overtaken.
        let to = self.stage_of(&seat.id);
        flipped.users += u64::from(inner.recipient.stage() != to);
        let released = self.apply_locked(&mut inner, seat, Input::Flip { to, session_lost });
        if let Answer::Flushed(count) = released {
            flipped.flushed += count;
        }
        self.settle(seat, inner);
    }

    fn tell_flipped(&self, from: Stage, flipped: Flipped) -> Flipped {
        self.changed.send_modify(|count| *count += 1);
        let to = self.served().stage;
        tracing::info!(%from, %to, users = flipped.users, flushed = flipped.flushed, "flipped");
        flipped
    }

    /// Whom a change to `stage` and `rollout` would concern.
    #[must_use]
    pub fn would_change(&self, stage: Stage, rollout: &Rollout) -> Concerned {
        let mut concerned = Concerned::default();
        for seat in self.registry.everyone() {
            let inner = seat.inner.lock();
            if inner.recipient.is_synthetic() {
                continue;
            }
            let to = rollout.stage_of(stage, &self.settings.tenant, seat.id.as_str());
            concerned.connected += 1;
            concerned.changing += usize::from(inner.recipient.stage().authority() != to.authority());
        }
        concerned
    }

    /// Begins the rabbitmq path: queues for all users, in the background.
    pub fn warm(&self) {
        let Some(broker) = self.broker() else { return };
        broker.start();
        self.running.store(true, Ordering::Release);
        for seat in self.registry.everyone() {
            self.apply(&seat, Input::QueueWanted);
        }
    }

    /// After a flip back at `at`: waits until what was published before it has surely come, at most `limit`. What comes later
    /// is not emitted any more, so users are told then.
    pub async fn prove(&self, at: Millis, limit: Duration) {
        let Some(broker) = self.broker() else { return };
        let Some(since) = broker.prove(at, limit).await else { return };
        tracing::warn!(
            since = crate::clock::iso(since),
            "the broker was silent before the move back: users are told"
        );
        for seats in self.registry.everyone().chunks(AT_ONCE) {
            seats.iter().for_each(|seat| {
                self.apply(seat, Input::Unproved { since });
            });
            tokio::task::yield_now().await;
        }
    }

    /// How many users' queues are live, and how many there are.
    #[must_use]
    pub fn warmth(&self) -> (usize, usize) {
        self.broker().map_or((0, 0), |broker| broker.ready())
    }

    /// Ends the rabbitmq path: queues are deleted within `limit`.
    pub async fn cool(&self, limit: Duration) {
        self.running.store(false, Ordering::Release);
        self.changed.send_modify(|count| *count += 1);
        if let Some(broker) = self.broker() {
            broker.stop(limit).await;
        }
        self.flow.end();
        for seat in self.registry.everyone() {
            self.apply(&seat, Input::QueueGone);
        }
    }

    /// How full gates are, and what clients understand.
    #[must_use]
    pub fn load(&self) -> HubLoad {
        let mut load = HubLoad { users: self.registry.count(), ..HubLoad::default() };
        for seat in self.registry.everyone() {
            let inner = seat.inner.lock();
            let Load { ledger_keys, ring_copies, ring_bytes, ledger_overflow, ring_overflow, .. } =
                inner.recipient.load();
            load.ledger_keys = load.ledger_keys.max(ledger_keys);
            load.ring_copies = load.ring_copies.max(ring_copies);
            load.ring_bytes = load.ring_bytes.max(ring_bytes);
            load.overflow += ledger_overflow + ring_overflow;
            if inner.recipient.is_synthetic() {
                continue;
            }
            let sockets = inner.recipient.sockets();
            load.sockets += sockets.len();
            for socket in sockets {
                let place = match socket.declared() {
                    Declared::Update => 0,
                    Declared::OldForm => 1,
                    Declared::Nothing => 2,
                    Declared::Unknown => 3,
                };
                let connected = socket.presence().link().is_some();
                load.declared[place] += 1;
                load.connected += usize::from(connected);
                load.in_no_room += usize::from(connected && socket.rooms().is_empty());
            }
        }
        load
    }

    /// Whether updates come of what is accepted here, and what was seen of it.
    ///
    /// # Errors
    /// With messages and no update.
    pub fn updates_flow(&self) -> Result<String, String> {
        self.flow.look(self.now(), self.settings.gate.window.max(1_000))
    }

    /// What is seen while updates are stalled: messages are accepted, and for long no update has come of them.
    #[must_use]
    pub fn updates_stalled(&self) -> Option<String> {
        self.flow.stalled(self.now())
    }

    /// For how long they are stalled, in ms, and how many messages were accepted meanwhile.
    #[must_use]
    pub fn updates_stalled_for(&self) -> Option<(u64, u64)> {
        self.flow.stalled_for(self.now())
    }

    /// Whether legacy reaches members who have joined nothing.
    #[must_use]
    pub const fn members_hear_legacy(&self) -> bool {
        self.settings.members_hear_legacy
    }

    /// What a client gets that declares nothing.
    #[must_use]
    pub const fn undeclared(&self) -> Form {
        self.settings.undeclared
    }

    /// How full the fullest ledger and ring are, 0–1.
    #[must_use]
    pub fn fullness(&self) -> (f64, f64) {
        let load = self.load();
        let share = |held: usize, most: usize| super::hub::precise(held) / super::hub::precise(most.max(1));
        let limits = self.settings.gate;
        let ring = share(load.ring_copies, limits.ring_copies).max(share(load.ring_bytes, limits.ring_bytes));
        (share(load.ledger_keys, limits.ledger_keys), ring)
    }

    /// How late the latest update of the last seconds came, in ms, by its publisher's clock.
    #[must_use]
    pub fn oldest_lag(&self) -> u64 {
        let (at, lag) = *self.lag.lock();
        if self.now().since(at) < 10_000 { lag } else { 0 }
    }

    /// `GET /admin/sessions`.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |seat: Arc<Seat>| {
            let inner = seat.inner.lock();
            let sockets = inner.recipient.sockets().iter().map(|socket| {
                let link = socket.presence().link().and_then(|link| inner.link(link));
                SocketInfo {
                    id: socket.id().0.to_string(),
                    transport: link.map_or("lost", |link| link.transport()),
                    rooms: socket.rooms().iter().map(ToString::to_string).collect(),
                    subscriptions: socket.selection().shown(),
                    accepts: match socket.form() {
                        Form::Update => vec!["update"],
                        Form::Legacy | Form::Chatapp => Vec::new(),
                    },
                }
            });
            SessionInfo {
                user: seat.id.clone(),
                tenant: Arc::clone(&self.settings.tenant),
                stage: inner.recipient.stage(),
                sockets: sockets.collect(),
            }
        };
        self.registry.everyone().into_iter().map(info).collect()
    }
}

/// One user with its sockets.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SessionInfo {
    /// The user.
    pub user: UserId,
    /// The tenant.
    pub tenant: Arc<str>,
    /// The stage in which the user is served.
    pub stage: Stage,
    /// The user's sockets.
    pub sockets: Vec<SocketInfo>,
}

/// One socket.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SocketInfo {
    /// Its number on this instance.
    pub id: String,
    /// `websocket`, `polling`, `ws`, or `lost` while it waits for its client.
    pub transport: &'static str,
    /// Its rooms' dialogs.
    pub rooms: Vec<String>,
    /// Its subscriptions, as spelled; `*` for all.
    pub subscriptions: Vec<String>,
    /// What it accepts.
    pub accepts: Vec<&'static str>,
}
