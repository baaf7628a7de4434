//! What was posted, and what each client got.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Which dialog, and which of its messages.
pub(super) type Message = (usize, usize);

/// Milliseconds since 1970, as everybody on this machine has them.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}

/// The content of a message, which says which one it is.
pub(super) fn content(word: &str, (dialog, number): Message) -> String {
    format!("{word} <m:{dialog}:{number}>")
}

/// Which message stands in these bytes.
pub(super) fn marked(bytes: &[u8]) -> Option<Message> {
    let at = bytes.windows(3).position(|window| window == b"<m:")?;
    let rest = &bytes[at + 3..];
    let end = rest.iter().position(|byte| *byte == b'>')?;
    let (dialog, number) = std::str::from_utf8(&rest[..end]).ok()?.split_once(':')?;
    Some((dialog.parse().ok()?, number.parse().ok()?))
}

/// What became of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// On its way.
    Open,
    /// 201.
    Accepted,
    /// There is no message.
    Refused,
    /// There may be one.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) begun: u64,
    pub(super) answered: u64,
    pub(super) outcome: Outcome,
    /// The gateway that took it.
    pub(super) at: usize,
}

/// What a client saw, in order; `u64`: when (ms since 1970).
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// Signed on: afresh, or with a resume token that was known or not.
    Signed(u64, Sign),
    Joined(u64, usize),
    Got(u64, Message, Form),
    /// `since` of `bridge:resync`.
    Resync(u64, u64),
    /// The connection is over; `true`: the client did not do it.
    Gone(u64, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Fresh,
    Recovered,
    NotRecovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Legacy,
    Update,
}

/// One device of a user.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) user: String,
    /// Which gateway it connects to.
    pub(super) home: usize,
    pub(super) dialogs: Vec<usize>,
    pub(super) seen: Mutex<Vec<Seen>>,
}

impl Device {
    pub(super) fn note(&self, seen: Seen) {
        self.seen.lock().push(seen);
    }
}

/// Spans in which something is broken or on the move: answers may fail in them, and messages come in another order.
#[derive(Default)]
pub(super) struct Unrest(Mutex<Vec<(u64, u64)>>);

impl Unrest {
    pub(super) fn begins(&self) -> usize {
        let mut spans = self.0.lock();
        spans.push((now(), u64::MAX));
        spans.len() - 1
    }

    /// All spans begin then.
    #[cfg(test)]
    pub(super) fn spans_from(&self, begin: u64) {
        self.0.lock().iter_mut().for_each(|span| span.0 = begin);
    }

    /// It ends `after` ms from now.
    pub(super) fn ends(&self, span: usize, after: u64) {
        self.0.lock()[span].1 = now() + after;
    }

    pub(super) fn touches(&self, from: u64, to: u64) -> bool {
        self.0.lock().iter().any(|(begin, end)| *begin <= to + 1_000 && from <= *end)
    }
}

/// What was found wrong, each once.
#[derive(Default)]
pub(super) struct Findings(Mutex<(Vec<String>, HashMap<String, ()>)>);

impl Findings {
    /// `kind` is one word; the same finding is noted once.
    pub(super) fn add(&self, kind: &str, text: &str) {
        let line = format!("{kind}: {text}");
        let mut found = self.0.lock();
        if found.1.insert(line.clone(), ()).is_none() {
            if found.0.len() < 200 {
                println!("FINDING {} {line}", now());
            }
            found.0.push(line);
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().0.clone()
    }
}

/// Everything that is written down.
pub(super) struct Record {
    /// Posts by dialog and number.
    pub(super) posts: Mutex<Vec<Vec<Post>>>,
    /// Who may hear a dialog.
    pub(super) members: Vec<Vec<String>>,
    pub(super) devices: Vec<Arc<Device>>,
    /// When something was broken.
    pub(super) faults: Unrest,
    /// When the flag moved.
    pub(super) moves: Unrest,
    pub(super) findings: Findings,
}
