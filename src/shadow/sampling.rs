//! Which units are written to the log, and how many others each of them stands for.
//!
//! Every bad and every indeterminate unit is written, and of the others a share by the hash of their keys, the same keys
//! on both sides and on every instance. A share alone is a poor estimate of how many there were: each one that is written
//! says how many like it closed since the one before, so that only the last few are not known.

use std::hash::BuildHasher as _;

use bridge_core::compare::{Class, Closed, Modifier, Record};
use foldhash::HashMap;
use foldhash::fast::FixedState;

/// Kinds of units that are told apart; more are counted by class and cause.
const KINDS: usize = 4_096;

/// The share, and what was not written.
pub(super) struct Sampling {
    share: f64,
    /// Units that closed since the last one that was written, by kind.
    unwritten: HashMap<u64, u64>,
}

/// What a line says of the share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    sample: Option<f64>,
    weight: Option<u64>,
}

impl Line {
    /// The record with it.
    pub(super) fn of(self, record: Record) -> Record {
        Record { sample: self.sample, weight: self.weight, ..record }
    }
}

impl Sampling {
    /// Writes `share` of the good and neutral units, 0 to 1.
    pub(super) fn new(share: f64) -> Self {
        Self { share, unwritten: HashMap::default() }
    }

    /// Another share from now on.
    pub(super) fn set(&mut self, share: f64) {
        self.share = share;
    }

    /// How a closed unit is to be written, if it is.
    pub(super) fn line(&mut self, closed: &Closed) -> Option<Line> {
        // What it amends stands in the log, as a rule: it must not stand there alone.
        let always = closed.class.is_bad() || closed.class == Class::Indeterminate || closed.amends.is_some();
        let sample = (self.share < 1.0).then_some(self.share);
        if always || closed.modifiers.contains(&Modifier::Drill) {
            return (always || self.takes(closed.key)).then_some(Line { sample, weight: None });
        }
        let kind = self.kind(closed);
        if !self.takes(closed.key) {
            *self.unwritten.entry(kind).or_default() += 1;
            return None;
        }
        let others = self.unwritten.remove(&kind).unwrap_or(0);
        Some(Line { sample, weight: sample.map(|_| others + 1) })
    }

    fn takes(&self, key: u128) -> bool {
        let place = u32::try_from(key % 1_000_000).unwrap_or(0);
        f64::from(place) < self.share * 1_000_000.0
    }

    fn kind(&self, closed: &Closed) -> u64 {
        let hash = |rules: &[String], modifiers: &[Modifier]| {
            FixedState::default().hash_one((closed.class, closed.cause, rules, modifiers))
        };
        let kind = hash(&closed.rules, &closed.modifiers);
        let is_full = self.unwritten.len() >= KINDS && !self.unwritten.contains_key(&kind);
        if is_full { hash(&[], &[]) } else { kind }
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::compare::Told;
    use bridge_core::{Millis, Stage};

    use super::*;

    fn unit(key: u128, class: Class, rule: &str) -> Closed {
        Closed {
            id: key,
            at: Millis(0),
            stage: Stage::Shadow,
            class,
            cause: None,
            amends: None,
            modifiers: Vec::new(),
            tenant: "t".into(),
            user: "u".into(),
            dialog: None,
            told: Told::new("message.create", None, None),
            legacy: None,
            rabbitmq: None,
            rules: vec![rule.into()],
            diff: Vec::new(),
            redacted: false,
            payloads: Vec::new(),
            routing_key: None,
            key,
            creation: true,
        }
    }

    fn lines(share: f64, count: u128, of: impl Fn(u128) -> (Class, &'static str)) -> (Vec<Record>, Sampling) {
        let mut sampling = Sampling::new(share);
        let take = |n: u128| {
            // Keys are hashes.
            let (class, rule) = of(n);
            let closed = unit(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 40, class, rule);
            let record = closed.record(&"a".into(), |_| String::new(), false);
            sampling.line(&closed).map(|line| line.of(record))
        };
        ((0..count).filter_map(take).collect(), sampling)
    }

    #[test]
    fn what_is_written_stands_for_all_but_the_last_few_of_its_kind() {
        let kinds = |n: u128| (Class::Match, if n.is_multiple_of(3) { "one" } else { "other" });
        let (written, sampling) = lines(0.02, 30_000, kinds);
        assert!((300..1_000).contains(&written.len()), "{}", written.len());
        for (rule, all) in [("one", 10_000), ("other", 20_000)] {
            let own = written.iter().filter(|record| record.rules == [rule]);
            let told: u64 = own.map(|record| record.weight.unwrap()).sum();
            assert!(told <= all && told > all - 700, "{rule}: {told}");
        }
        let unwritten: u64 = sampling.unwritten.values().sum();
        assert_eq!(written.iter().map(|record| record.weight.unwrap()).sum::<u64>() + unwritten, 30_000);
        assert!(written.iter().all(|record| record.sample == Some(0.02)));
    }

    #[test]
    fn what_is_bad_is_all_written_and_stands_for_itself() {
        let (written, _) = lines(0.0, 100, |n| (if n < 10 { Class::Duplicate } else { Class::Match }, "x"));
        assert_eq!(written.len(), 10);
        assert!(written.iter().all(|record| record.weight.is_none() && record.sample == Some(0.0)));
        let (all, _) = lines(1.0, 100, |_| (Class::Match, "x"));
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|record| record.weight.is_none() && record.sample.is_none()));
    }
}
