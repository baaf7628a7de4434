//! The verdict's evidence: gathered by message, kept over a restart.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use bridge_core::Millis;
use bridge_core::compare::{Class, Closed};
use bridge_core::verdict::{Evidence, Target, Value};

/// Between two writes of the evidence, in ms.
const WRITE: u64 = 10_000;
/// Most messages whose recipients are waited for.
const MOST: usize = 200_000;

/// Messages on their way into the evidence.
pub(super) struct Gathered {
    evidence: Evidence,
    target: Target,
    window: u64,
    /// A message waits one window more for its other recipients.
    waiting: HashMap<u128, Seen>,
    order: VecDeque<(Millis, u128)>,
    counted: HashSet<u128>,
    counted_order: VecDeque<(Millis, u128)>,
    /// Messages since the start, and of these how many had no update for somebody.
    totals: (u64, u64),
    written: Millis,
}

/// What the recipients of one message have shown.
#[derive(Clone, Copy, Default)]
struct Seen {
    bad: bool,
    missing: bool,
}

impl Gathered {
    /// The evidence of `path`, as far as it was seen under `fingerprint`.
    pub(super) fn open(path: &Path, target: Target, fingerprint: &str, window: u64) -> Self {
        let stored = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Evidence>(&text).ok());
        let evidence = match stored {
            Some(stored) => stored.under(fingerprint, target.rate),
            None => Evidence::new(fingerprint, target.rate),
        };
        Self {
            evidence,
            target,
            window,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            counted: HashSet::new(),
            counted_order: VecDeque::new(),
            totals: (0, 0),
            written: Millis(0),
        }
    }

    /// Rules or settings have changed.
    pub(super) fn renew(&mut self, target: Target, fingerprint: &str) {
        let old = std::mem::replace(&mut self.evidence, Evidence::new(fingerprint, target.rate));
        self.evidence = old.under(fingerprint, target.rate);
        self.target = target;
    }

    /// A unit closed.
    pub(super) fn closed(&mut self, closed: &Closed, now: Millis) {
        if closed.class == Class::Leak {
            self.evidence.leak(now);
        }
        if closed.class != Class::Match && !closed.class.is_bad() {
            if closed.class == Class::MissingInLegacyExpected && !closed.creation {
                self.evidence.event(&closed.event);
            }
            return;
        }
        self.evidence.event(&closed.event);
        if !closed.creation || closed.amends.is_some() || self.counted.contains(&closed.key) {
            return;
        }
        if !self.waiting.contains_key(&closed.key) {
            if self.order.len() >= MOST {
                return;
            }
            self.order.push_back((now.plus(self.window), closed.key));
        }
        let seen = self.waiting.entry(closed.key).or_default();
        seen.bad |= closed.class.is_bad();
        seen.missing |= closed.class == Class::MissingInRabbitmq;
    }

    /// Messages since the start, and of these how many had no update for somebody.
    pub(super) const fn totals(&self) -> (u64, u64) {
        self.totals
    }

    /// Time passes; what is to be written now is returned.
    pub(super) fn tick(&mut self, now: Millis) -> Option<Vec<u8>> {
        while let Some((due, key)) = self.order.front().copied() {
            if due > now {
                break;
            }
            self.order.pop_front();
            if let Some(seen) = self.waiting.remove(&key) {
                self.evidence.message(now, seen.bad);
                self.totals.0 += 1;
                self.totals.1 += u64::from(seen.missing);
                self.counted.insert(key);
                self.counted_order.push_back((now.plus(60_000), key));
            }
        }
        while let Some((until, key)) = self.counted_order.front().copied() {
            if until > now {
                break;
            }
            self.counted_order.pop_front();
            self.counted.remove(&key);
        }
        if now.since(self.written) < WRITE {
            return None;
        }
        self.written = now;
        Some(self.text())
    }

    /// A drill ended.
    pub(super) fn drilled(&mut self, now: Millis, ok: bool) {
        self.evidence.drilled(now, ok);
    }

    /// The answer, without the reasons.
    pub(super) fn value(&self, now: Millis) -> Value {
        self.evidence.value(&self.target, now)
    }

    /// What the answer comes from: reasons and estimates are worked out without keeping anybody waiting.
    pub(super) fn copy(&self) -> (Evidence, Target) {
        (self.evidence.clone(), self.target.clone())
    }

    /// Messages in the evidence.
    pub(super) const fn messages(&self) -> u64 {
        self.evidence.messages()
    }

    /// As it is written.
    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.evidence).unwrap_or_default()
    }
}
