//! Copies of either path on their way through the gate.

use std::sync::Arc;

use crate::compare::{Event, Fact};
use crate::gate::{Arrival, Decision, Sockets, Why};
use crate::stage::Path;

use super::{
    Copy, Count, Effect, LegacyArrival, Parcel, Reason, Recipient, Resync, Socket, Turn, UpdateArrival, is_legacy,
};
use crate::{DialogId, Millis};

impl Recipient {
    pub(super) fn legacy_arrives(&mut self, turn: &mut Turn<'_>, legacy: LegacyArrival<'_>) {
        let copy = legacy.copy;
        let sockets = if legacy.everywhere { self.present() } else { self.joined(&copy.dialog) };
        if sockets.is_empty() {
            return;
        }
        let arrival = Arrival {
            path: Path::Legacy,
            key: copy.key.clone(),
            sockets,
            since: legacy.since,
            payload: Copy::Legacy(Arc::clone(copy)),
            bytes: copy.data.get().len(),
        };
        let stage = self.stage();
        let _decided = self.pass(turn, &arrival);
        if stage.shadow_mode() {
            let seen = self.legacy_seen(turn, stage, copy, arrival.sockets);
            turn.push(Effect::Observe(Event::Seen(Box::new(seen))));
        }
    }

    /// What another instance accepted did not come. Where rabbitmq delivers, its update comes from the broker.
    pub(super) fn misses(
        &mut self,
        turn: &mut Turn<'_>,
        dialog: Option<&DialogId>,
        everywhere: bool,
        since: Millis,
    ) {
        if !is_legacy(self.stage()) {
            return;
        }
        let concerned = match dialog {
            Some(dialog) if !everywhere => self.joined(dialog),
            _ => self.present(),
        };
        if concerned.is_empty() {
            return;
        }
        let gap = Resync { reason: Reason::RelayLost, since };
        let limit = turn.world.replay_limit();
        for socket in self.sockets.iter_mut().filter(|socket| concerned.contains(&socket.id)) {
            socket.send(&self.rules, limit, turn, Parcel::Resync(gap));
        }
        turn.count(Count::Resync(gap.reason));
    }

    pub(super) fn update_arrives(&mut self, turn: &mut Turn<'_>, came: &UpdateArrival<'_>) {
        let (update, kind) = (came.update, came.kind());
        let stage = self.stage();
        if !self.sockets.iter().any(|socket| socket.selection.wants(kind)) {
            // Nobody asked for it: the queue of the instance has it anyway, that of a user for a moment after its last
            // subscriber left. In no topology it is an observation.
            if update.is_creation() && stage.shadow_mode() {
                turn.fact(Fact::Unwanted { user: self.id.clone(), key: update.key.clone() });
            }
            return;
        }
        let arrival = Arrival {
            path: Path::Rabbitmq,
            key: update.key.clone(),
            sockets: self.reached(kind),
            since: turn.now,
            payload: Copy::Update(Arc::clone(update)),
            bytes: update.body.get().len(),
        };
        let _decided = self.pass(turn, &arrival);
        if stage.shadow_mode() {
            let seen = self.update_seen(turn, came, arrival.sockets);
            turn.push(Effect::Observe(Event::Seen(Box::new(seen))));
        }
    }

    pub(super) fn leaks(&mut self, turn: &mut Turn<'_>, came: &UpdateArrival<'_>) {
        if self.stage().shadow_mode() {
            let sockets = self.reached(came.kind());
            let seen = self.update_seen(turn, came, sockets);
            turn.push(Effect::Observe(Event::Leak(Box::new(seen))));
        }
    }

    fn reached(&self, kind: &str) -> Sockets {
        self.sockets.iter().filter(|socket| socket.is_reached(kind)).map(Socket::id).collect()
    }

    /// Lets one copy through the gate.
    fn pass(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<Copy>) -> Decision {
        let decision = self.gate.arrive(turn.now, arrival);
        if decision.emit.is_empty() {
            turn.count(Count::Swallowed(arrival.path));
        } else {
            self.hand(turn, &decision.emit, &arrival.payload);
            turn.count(Count::Emitted(arrival.path));
        }
        if decision.already {
            turn.count(Count::Deduplicated);
        }
        decision
    }

    /// Hands out what a flip or a closing window released.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>, owed: Vec<crate::gate::Emission<Copy>>) -> u64 {
        let mut released = 0;
        for emission in owed {
            if emission.why == Why::Rescued
                && let Copy::Legacy(copy) = &emission.payload
                && turn.world.is_member(&copy.dialog) == Some(false)
            {
                continue;
            }
            released += 1;
            turn.count(Count::Released(emission.why));
            self.hand(turn, &emission.sockets, &emission.payload);
            turn.fact(Fact::Released { user: self.id.clone(), key: emission.key, why: emission.why });
        }
        released
    }
}
