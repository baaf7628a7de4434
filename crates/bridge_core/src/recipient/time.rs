//! Flips, and time passing.

use crate::Millis;
use crate::compare::Fact;
use crate::stage::Stage;

use super::{Answer, Reason, Recipient, Resync, Socket, Turn, is_legacy};

impl Recipient {
    pub(super) fn flip(&mut self, turn: &mut Turn<'_>, to: Stage, session_lost: Option<Millis>) -> Answer {
        let from = self.stage();
        if from == to {
            return Answer::Flushed(0);
        }
        let owed = self.gate.flip(turn.now, to);
        let flushed = self.release(turn, owed);
        turn.fact(Fact::StageChanged { user: self.id.clone(), from, to });
        if !is_legacy(from) && is_legacy(to) {
            self.heard_until = turn.now;
            // What was lost with the session or the queue comes no more: nobody will ask when they are back.
            let reason = if session_lost.is_some() { Reason::BrokerLost } else { Reason::QueueLost };
            if let Some(since) = session_lost.into_iter().chain(self.lost_since).min() {
                self.resync(turn, Resync { reason, since });
                self.told = turn.now;
            }
            // Who came too late for the queue waits for it no more.
            self.pay(turn);
        }
        Answer::Flushed(flushed)
    }

    /// Something of before a flip back may have been lost, as it turns out: what comes of it now is too late, and nobody
    /// will ask when the queue is live.
    pub(super) fn lacks(&mut self, turn: &mut Turn<'_>, gap: Resync) {
        if is_legacy(self.stage()) && self.is_untold(gap.since) {
            self.resync(turn, gap);
            self.told = turn.now;
        }
    }

    /// Whether what was published since then was to be heard before the latest flip back, and nobody was told of it.
    pub(super) fn is_untold(&self, since: Millis) -> bool {
        since < self.heard_until && since > self.told
    }

    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        let subscribed = self.subscribed("message");
        let owed = self.gate.tick(turn.now, |socket| subscribed.contains(&socket));
        self.release(turn, owed);
        let linger = self.rules.linger;
        let now = turn.now;
        let over = |socket: &Socket| socket.presence.ends(linger).is_some_and(|end| end <= now);
        self.end_those(turn, over);
        let limit = turn.world.replay_limit();
        for socket in &mut self.sockets {
            socket.shrink(&self.rules, limit, turn);
        }
    }
}
