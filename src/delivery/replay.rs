//! What one socket was sent lately, so that a client that comes back gets what it missed.

use bridge_core::{MessageId, Millis};
use std::collections::VecDeque;

use crate::sockets::Packet;

/// Sent packets, newest last; bounded by bytes and age.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    sent: VecDeque<(Millis, Packet)>,
    bytes: usize,
    /// Packets were let go.
    trimmed: bool,
    /// The message of the newest packet that was let go; `None` when that packet carried none.
    trimmed_last: Option<MessageId>,
    /// How many of the newest were never handed to a transport.
    unsent: usize,
    /// Something that was never handed over had to be let go: there is a gap that can't be filled.
    gap: Option<Millis>,
}

/// What a replay may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of data (`socket.buffer`).
    pub(crate) bytes: usize,
    /// Age in ms of what was handed over.
    pub(crate) age: u64,
}

impl Replay {
    /// Notes a packet; `handed` when a transport took it.
    pub(crate) fn push(&mut self, bounds: Bounds, now: Millis, packet: Packet, handed: bool) {
        if bounds.age == 0 {
            return;
        }
        self.bytes += weight(&packet);
        self.sent.push_back((now, packet));
        if !handed || self.unsent > 0 {
            self.unsent += 1;
        }
        self.shrink(bounds, now);
    }

    /// Lets go what is too old or too much by now.
    pub(crate) fn shrink(&mut self, bounds: Bounds, now: Millis) {
        let old = |at: Millis| now.since(at) > bounds.age;
        while self.bytes > bounds.bytes
            || (self.sent.len() > self.unsent && self.sent.front().is_some_and(|(at, _)| old(*at)))
        {
            self.trim();
        }
    }

    /// The connection is gone: the newest `unsent` packets were never handed over. Where more of them waited than are
    /// kept here, there is a gap.
    pub(crate) fn lost(&mut self, now: Millis, unsent: usize) {
        if unsent > self.sent.len() {
            self.gap.get_or_insert(self.sent.front().map_or(now, |(at, _)| *at));
        }
        self.unsent = unsent.min(self.sent.len());
    }

    /// The last moment before a gap that no replay fills: more was waiting for the client than may wait.
    pub(crate) fn whole_until(&self) -> Option<Millis> {
        self.gap
    }

    /// Everything that a client that last received `last` lacks, or `None` when that can't be told.
    /// Without `last`: everything that was not handed to the transport.
    pub(crate) fn missed(&mut self, last: Option<&str>) -> Option<Vec<Packet>> {
        if self.gap.is_some() {
            return None;
        }
        let is = |message: &Option<MessageId>, id: &str| message.as_ref().is_some_and(|message| message.is(id));
        let from = match last {
            None => self.sent.len() - self.unsent,
            Some(id) => match self.sent.iter().rposition(|(_, packet)| is(&packet.message, id)) {
                Some(place) => place + 1,
                None if !self.trimmed || is(&self.trimmed_last, id) => 0,
                None => return None,
            },
        };
        self.unsent = 0;
        Some(self.sent.range(from..).map(|(_, packet)| packet.clone()).collect())
    }

    /// Whether the same was handed to a transport lately.
    pub(crate) fn has_handed(&self, packet: &Packet) -> bool {
        let handed = self.sent.len() - self.unsent;
        let same = |sent: &Packet| {
            if sent.event == packet.event {
                return sent.data.get() == packet.data.get();
            }
            // A flip between the two may have brought one message as `message:new` here and as `update` there.
            let both = sent.message.as_ref().zip(packet.message.as_ref());
            [sent.event, packet.event].contains(&"update") && both.is_some_and(|(one, other)| one.names(other))
        };
        self.sent.iter().take(handed).any(|(_, sent)| same(sent))
    }

    fn trim(&mut self) {
        let Some((at, packet)) = self.sent.pop_front() else { return };
        self.bytes -= weight(&packet);
        self.trimmed = true;
        self.trimmed_last = packet.message;
        if self.unsent > self.sent.len() {
            self.unsent = self.sent.len();
            self.gap.get_or_insert(at);
        }
    }
}

fn weight(packet: &Packet) -> usize {
    packet.data.get().len() + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1_000, age: 100 };

    fn packet(id: &str) -> Packet {
        let data = serde_json::value::RawValue::from_string(format!("\"{id}\"")).unwrap();
        let message = MessageId { message: Some(id.into()), mongo: Some(format!("{id} in Mongo").into()) };
        Packet { event: "update", data: data.into(), message: Some(message) }
    }

    fn ids(packets: Option<Vec<Packet>>) -> Option<Vec<String>> {
        packets.map(|list| {
            list.iter().map(|packet| packet.message.as_ref().unwrap().shown().unwrap().to_string()).collect()
        })
    }

    fn of(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn everything_after_last_or_everything_unsent() {
        let mut replay = Replay::default();
        for id in ["a", "b", "c"] {
            replay.push(BOUNDS, Millis(1), packet(id), true);
        }
        replay.lost(Millis(2), 1);
        replay.push(BOUNDS, Millis(2), packet("d"), false);
        assert_eq!(ids(replay.missed(Some("a"))), of(&["b", "c", "d"]));
        assert_eq!(ids(replay.missed(Some("a in Mongo"))), of(&["b", "c", "d"]), "either id names it");
        replay.lost(Millis(2), 2);
        assert_eq!(ids(replay.missed(None)), of(&["c", "d"]));
        assert_eq!(ids(replay.missed(None)), of(&[]), "nothing twice");
        assert_eq!(ids(replay.missed(Some("older than all"))), of(&["a", "b", "c", "d"]));
    }

    #[test]
    fn what_was_let_go_can_not_be_promised() {
        let mut replay = Replay::default();
        for (at, id) in [(1, "a"), (2, "b"), (300, "c")] {
            replay.push(BOUNDS, Millis(at), packet(id), true);
        }
        assert_eq!(ids(replay.missed(Some("b"))), of(&["c"]), "the last one let go is the one it has");
        assert_eq!(ids(replay.missed(Some("a"))), None);
        replay.lost(Millis(301), 0);
        for n in 0..30 {
            replay.push(BOUNDS, Millis(301), packet(&format!("n{n}")), false);
        }
        assert_eq!(ids(replay.missed(None)), None, "more was missed than is kept");
    }

    #[test]
    fn what_waited_for_a_slow_client_beyond_what_is_kept_is_a_gap() {
        let mut replay = Replay::default();
        for n in 0..40 {
            replay.push(BOUNDS, Millis(n), packet(&format!("n{n}")), true);
        }
        replay.lost(Millis(50), 39);
        assert_eq!(ids(replay.missed(None)), None);
        assert!(replay.whole_until().is_some_and(|since| since < Millis(50)));
    }
}
