//! The verdict's evidence: gathered by message, kept over a restart.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use bridge_core::Millis;
use bridge_core::compare::{Class, Closed};
use bridge_core::verdict::{Evidence, Target, Value};

/// Between two writes of the evidence, in ms.
const WRITE: u64 = 10_000;
/// What was counted can still be amended for this long, in ms.
const LATE: u64 = 65_000;
/// Most messages that can be amended.
const MOST: usize = 200_000;

/// Messages on their way into the evidence.
pub(super) struct Gathered {
    evidence: Evidence,
    target: Target,
    /// By message, until nothing can change it any more.
    seen: HashMap<u128, Seen>,
    order: VecDeque<(Millis, u128)>,
    /// Messages since the start, and of these how many had no update for somebody.
    totals: (u64, u64),
    written: Millis,
    /// Units that were opened before say nothing any more.
    since: Millis,
}

/// What the recipients of one message have shown.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Units whose class is bad.
    bad: u32,
    missing: bool,
}

/// Takes over evidence that an earlier build kept beside the log. Where several instances share that directory, one of
/// them gets it: whose it was can't be told.
pub(super) fn adopt(old: &Path, own: &Path) {
    if own.exists() || !old.exists() {
        return;
    }
    let claimed = old.with_extension(format!("adopted-{:08x}", rand::random::<u32>()));
    if std::fs::rename(old, &claimed).is_err() {
        // Another instance was faster.
        return;
    }
    let adopted = std::fs::read(&claimed).and_then(|text| keep(own, &text));
    match adopted.and_then(|()| std::fs::remove_file(&claimed)) {
        Ok(()) => tracing::info!(from = %old.display(), to = %own.display(), "the evidence was moved"),
        Err(error) => {
            tracing::warn!(path = %claimed.display(), %error, "the evidence can't be moved: it begins anew")
        }
    }
}

/// Writes the evidence, whole or not at all.
pub(super) fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

impl Gathered {
    /// The evidence of `path`, as far as it was seen under `fingerprint`.
    pub(super) fn open(path: &Path, target: Target, fingerprint: &str) -> Self {
        let stored = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Evidence>(&text).ok());
        let evidence = match stored {
            Some(stored) => stored.under(fingerprint, target.rate),
            None => Evidence::new(fingerprint, target.rate),
        };
        let (seen, order, start) = (HashMap::new(), VecDeque::new(), Millis(0));
        Self { evidence, target, seen, order, totals: (0, 0), written: start, since: start }
    }

    /// Rules or settings have changed.
    pub(super) fn renew(&mut self, target: Target, fingerprint: &str) {
        if !self.evidence.is_under(fingerprint) {
            // What was counted before is not to be corrected in what begins now.
            self.seen.clear();
            self.order.clear();
        }
        let old = std::mem::replace(&mut self.evidence, Evidence::new(fingerprint, target.rate));
        self.evidence = old.under(fingerprint, target.rate);
        self.target = target;
    }

    /// Begins anew: what was wrong is mended. What was opened before `now` is of before.
    pub(super) fn reset(&mut self, fingerprint: &str, now: Millis) {
        self.evidence = Evidence::new(fingerprint, self.target.rate);
        self.seen.clear();
        self.order.clear();
        self.since = now;
    }

    /// A unit closed.
    pub(super) fn closed(&mut self, closed: &Closed, now: Millis) {
        if closed.opened_at() < self.since {
            return;
        }
        if closed.class == Class::Leak {
            self.evidence.leak(now);
        }
        let bad = closed.class.is_bad();
        let shows = bad || closed.class == Class::Match;
        if shows || (closed.class == Class::MissingInLegacyExpected && !closed.creation) {
            self.evidence.event(closed.event());
        }
        let was_bad = closed.amends.is_some_and(Class::is_bad);
        // Of what has no twin only what is bad says something.
        let counts = if closed.creation { shows || was_bad } else { bad };
        if !counts {
            return;
        }
        let key = fate(closed);
        // A message counts with its first unit, good or bad; its other recipients, and copies that come late, may
        // make it another.
        let first = !self.seen.contains_key(&key);
        if first {
            if was_bad {
                return;
            }
            if self.order.len() >= MOST
                && let Some((_, oldest)) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
            self.order.push_back((now.plus(LATE), key));
            self.evidence.message(now, bad);
            self.totals.0 += u64::from(closed.creation);
        }
        let seen = self.seen.entry(key).or_default();
        let counted_bad = if first { bad } else { seen.bad > 0 };
        seen.bad = (seen.bad + u32::from(bad)).saturating_sub(u32::from(was_bad));
        if closed.class == Class::MissingInRabbitmq && !std::mem::replace(&mut seen.missing, true) {
            self.totals.1 += 1;
        }
        if (seen.bad > 0) != counted_bad {
            self.evidence.correct(seen.bad > 0);
        }
    }

    /// Messages since the start, and of these how many had no update for somebody.
    pub(super) const fn totals(&self) -> (u64, u64) {
        self.totals
    }

    /// Time passes; what is to be written now is returned.
    pub(super) fn tick(&mut self, now: Millis) -> Option<Vec<u8>> {
        while let Some((_, key)) = self.order.front().copied().filter(|(until, _)| *until <= now) {
            self.order.pop_front();
            self.seen.remove(&key);
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

    /// Of these, bad ones.
    pub(super) const fn bad(&self) -> u64 {
        self.evidence.bad()
    }

    /// As it is written.
    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.evidence).unwrap_or_default()
    }
}

/// What fails together: a message with all its recipients, or all updates of one event.
fn fate(closed: &Closed) -> u128 {
    match closed.event_id() {
        Some(event) if !closed.creation => {
            let half = |salt: u8| {
                let mut hasher = DefaultHasher::new();
                (salt, &closed.tenant, event).hash(&mut hasher);
                u128::from(hasher.finish())
            };
            half(1) << 64 | half(2)
        }
        _ => closed.key,
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::Stage;
    use bridge_core::compare::Told;

    use super::*;

    fn gathered() -> Gathered {
        let target = Target { rate: 0.2, confidence: 0.9, events: Vec::new(), drill: false, stale_after: 1 << 40 };
        Gathered::open(Path::new("/nowhere"), target, "now")
    }

    fn unit(key: u128, class: Class, amends: Option<Class>) -> Closed {
        Closed {
            id: key,
            at: Millis(0),
            stage: Stage::Shadow,
            class,
            cause: None,
            amends,
            modifiers: Vec::new(),
            tenant: "t".into(),
            user: "u".into(),
            dialog: None,
            told: Told::new("message.create", None, None),
            legacy: None,
            rabbitmq: None,
            rules: Vec::new(),
            diff: Vec::new(),
            redacted: false,
            payloads: Vec::new(),
            routing_key: None,
            key,
            creation: true,
        }
    }

    fn counts(gathered: &Gathered) -> (u64, u64) {
        let verdict = gathered.evidence.verdict(&gathered.target, Millis(0));
        (verdict.messages, verdict.bad)
    }

    #[test]
    fn updates_without_a_twin_count_when_they_are_bad_once_for_each_event() {
        let mut gathered = gathered();
        let other = |key: u128, event: &str, class: Class| Closed {
            creation: false,
            told: Told::new("message.update", None, Some(event)),
            ..unit(key, class, None)
        };
        for key in 0..100 {
            gathered.closed(&unit(key, Class::Match, None), Millis(1));
            gathered.closed(&other(1_000 + key, "good", Class::MissingInLegacyExpected), Millis(1));
        }
        assert_eq!(counts(&gathered), (100, 0));
        // Three recipients of each event had it twice.
        for key in 0..300 {
            gathered.closed(&other(2_000 + key, &format!("evt_{}", key / 3), Class::Duplicate), Millis(2));
        }
        assert_eq!(counts(&gathered), (200, 100));
        assert_eq!(gathered.value(Millis(3)), Value::NotSafe);
    }

    #[test]
    fn a_message_counts_once_and_is_bad_when_one_of_its_recipients_is() {
        let mut gathered = gathered();
        gathered.closed(&unit(1, Class::Match, None), Millis(0));
        gathered.closed(&unit(2, Class::MissingInRabbitmq, None), Millis(0));
        gathered.closed(&unit(2, Class::Match, None), Millis(1));
        assert_eq!((counts(&gathered), gathered.totals()), ((2, 1), (2, 1)));
        gathered.closed(&unit(1, Class::PayloadMismatch, None), Millis(2));
        gathered.closed(&unit(1, Class::MissingInRabbitmq, None), Millis(3));
        gathered.closed(&unit(1, Class::Match, None), Millis(4));
        assert_eq!((counts(&gathered), gathered.totals()), ((2, 2), (2, 2)));
    }

    #[test]
    fn new_rules_begin_anew_and_what_was_counted_before_corrects_nothing() {
        let mut gathered = gathered();
        gathered.closed(&unit(1, Class::MissingInRabbitmq, None), Millis(0));
        let target = gathered.target.clone();
        gathered.renew(target.clone(), "now");
        gathered.closed(&unit(1, Class::Match, None), Millis(0));
        assert_eq!(counts(&gathered), (1, 1), "the same rules: the same message");
        gathered.renew(target, "other rules");
        gathered.closed(&unit(2, Class::MissingInRabbitmq, None), Millis(1));
        gathered.closed(&unit(1, Class::Match, Some(Class::MissingInRabbitmq)), Millis(2));
        assert_eq!(counts(&gathered), (1, 1));
    }

    #[test]
    fn what_is_amended_is_amended_in_the_evidence_and_a_late_copy_too_many_counts() {
        let mut gathered = gathered();
        let missing = Class::MissingInRabbitmq;
        for _recipient in 0..2 {
            gathered.closed(&unit(1, missing, None), Millis(0));
        }
        gathered.closed(&unit(1, Class::Match, Some(missing)), Millis(10));
        assert_eq!(counts(&gathered), (1, 1), "the other recipient's is missing still");
        gathered.closed(&unit(1, Class::Match, Some(missing)), Millis(20));
        assert_eq!(counts(&gathered), (1, 0));
        gathered.closed(&unit(1, Class::Duplicate, None), Millis(4_000));
        assert_eq!(counts(&gathered), (1, 1));
        // Long after, nothing is known of it any more.
        gathered.tick(Millis(LATE));
        gathered.closed(&unit(1, Class::Match, Some(Class::Duplicate)), Millis(LATE + 1));
        assert_eq!(counts(&gathered), (1, 1));
    }

    #[test]
    fn a_correction_is_what_it_would_have_been_without_the_mistake() {
        let bound = |bad: &[bool], corrections: &[bool]| {
            let mut gathered = gathered();
            bad.iter().for_each(|bad| gathered.evidence.message(Millis(0), *bad));
            corrections.iter().for_each(|bad| gathered.evidence.correct(*bad));
            gathered.evidence.verdict(&gathered.target, Millis(0)).upper_bound
        };
        let close = |one: f64, other: f64| assert!((one - other).abs() < 1e-9, "{one} {other}");
        close(bound(&[true, false, false, true], &[false]), bound(&[false, false, false, true], &[]));
        close(bound(&[false; 5], &[true, true]), bound(&[true, true, false, false, false], &[]));
    }
}
