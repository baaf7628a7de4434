//! Is it safe to switch? An answer that holds however often one looks.
//!
//! The unit is the message with all its recipients, because they fail together. The rate of bad messages is bounded by
//! a beta-binomial mixture confidence sequence with prior Beta(1, 1/p*): its bound is valid at every look, so that
//! operators who look all the time do not stop at a lucky moment. That the rate is above the target is decided by a
//! sequence of its own, which bets on rates above it, most of them well above: a fault that is frequent shows soon.

mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Millis;

pub use words::percent;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// p*: the rate of bad messages below which it is safe.
    pub rate: f64,
    /// Confidence, below 1.
    pub confidence: f64,
    /// Event types that have to be in the evidence.
    pub events: Vec<String>,
    /// A drill has to be in the evidence.
    pub drill: bool,
    /// Age of the evidence, in ms, at which it is stale.
    pub stale_after: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Value {
    /// The rate of bad messages is below the target.
    Safe,
    /// It is above, or something leaked.
    NotSafe,
    /// Not enough was seen.
    Inconclusive,
    /// What was seen is too old, or of another build, other settings or rules.
    Stale,
}

impl Value {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Safe, Self::NotSafe, Self::Inconclusive, Self::Stale];

    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safe => "SAFE",
            Self::NotSafe => "NOT_SAFE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Stale => "STALE",
        }
    }
}

/// The answer with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub value: Value,
    /// What is missing for a better one.
    pub missing: Vec<String>,
    /// The rate of bad messages is at most this, with the confidence asked for.
    pub upper_bound: f64,
    /// The rule of three, for people: valid for one look, with no bad message.
    pub rule_of_three: Option<f64>,
    /// Messages in the evidence.
    pub messages: u64,
    /// Of these, bad ones.
    pub bad: u64,
    /// The count and the answer, in words.
    pub says: String,
    /// Seconds until enough messages were seen, at the present rate and with no more bad ones.
    pub eta: Option<u64>,
}

/// What was seen so far. Neutral and indeterminate units are no evidence; a message counts once one of its units
/// matched or was bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Build, settings and rules that it was seen under.
    fingerprint: String,
    messages: u64,
    bad: u64,
    leaks: u64,
    /// ln of B(a + bad, b + good) / B(a, b).
    log_mixture: f64,
    prior: f64,
    events: BTreeMap<String, u64>,
    first: Option<Millis>,
    last: Option<Millis>,
    drill: Option<(Millis, bool)>,
    /// There was evidence under another fingerprint, and none yet under this one that decides.
    outdated: bool,
}

impl Evidence {
    /// None yet, for target rate `rate`.
    #[must_use]
    pub fn new(fingerprint: &str, rate: f64) -> Self {
        Self {
            fingerprint: fingerprint.into(),
            messages: 0,
            bad: 0,
            leaks: 0,
            log_mixture: 0.0,
            prior: 1.0 / rate,
            events: BTreeMap::new(),
            first: None,
            last: None,
            drill: None,
            outdated: false,
        }
    }

    /// Whether it was seen under `fingerprint`.
    #[must_use]
    pub fn is_under(&self, fingerprint: &str) -> bool {
        self.fingerprint == fingerprint
    }

    /// Begins anew when build, settings or rules are others than those it was seen under.
    #[must_use]
    pub fn under(self, fingerprint: &str, rate: f64) -> Self {
        if self.is_under(fingerprint) {
            return self;
        }
        let outdated = self.messages > 0 || self.outdated;
        Self { outdated, ..Self::new(fingerprint, rate) }
    }

    /// A message with all its recipients.
    pub fn message(&mut self, at: Millis, bad: bool) {
        let (a, b) = (1.0, self.prior);
        let all = count(self.messages);
        let share = if bad { a + count(self.bad) } else { b + count(self.messages - self.bad) };
        self.log_mixture += (share / (a + b + all)).ln();
        self.messages += 1;
        self.bad += u64::from(bad);
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// A message that was counted turns out to be bad, or good after all: a twin came late, or a copy too many.
    pub fn correct(&mut self, bad: bool) {
        let (a, b) = (1.0, self.prior);
        let good = self.messages - self.bad;
        if bad && good > 0 {
            self.log_mixture += ((a + count(self.bad)) / (b + count(good - 1))).ln();
            self.bad += 1;
        } else if !bad && self.bad > 0 {
            self.log_mixture += ((b + count(good)) / (a + count(self.bad - 1))).ln();
            self.bad -= 1;
        }
    }

    /// What many instances have seen, as one. Messages and bad ones are added; what is too old counts for its leaks only,
    /// unless all of it is. A drill has to have found everything on one instance, and must have failed on none.
    #[must_use]
    pub fn pooled(all: &[Self], target: &Target, now: Millis) -> Self {
        let is_old = |one: &&Self| one.last.is_some_and(|last| now.since(last) >= target.stale_after);
        let every_one_is_old = all.iter().filter(|one| one.last.is_some()).all(|one| is_old(&one));
        let mut pool = Self::new("", target.rate);
        for one in all {
            pool.leaks += one.leaks;
            if is_old(&one) && !every_one_is_old {
                continue;
            }
            pool.messages += one.messages;
            pool.bad += one.bad;
            for (event, count) in &one.events {
                *pool.events.entry(event.clone()).or_default() += count;
            }
            pool.first = pool.first.into_iter().chain(one.first).min();
            pool.last = pool.last.max(one.last);
            pool.outdated |= one.outdated && one.messages == 0;
            pool.drill = match (pool.drill, one.drill) {
                (Some(failed @ (_, false)), _) | (_, Some(failed @ (_, false))) => Some(failed),
                (pool, one) => pool.max(one),
            };
        }
        pool.log_mixture = pool.log_of(pool.messages, pool.bad);
        pool
    }

    /// ln of the mixture's share for so many messages, of which so many are bad: in whatever order they came.
    fn log_of(&self, messages: u64, bad: u64) -> f64 {
        let (a, b) = (1.0, self.prior);
        let beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
        beta(a + count(bad), b + count(messages - bad)) - beta(a, b)
    }

    /// Something reached, or would have reached, somebody it was not for.
    pub fn leak(&mut self, at: Millis) {
        self.leaks += 1;
        self.last = Some(at);
    }

    /// A unit of this event type closed with evidence.
    pub fn event(&mut self, event: &str) {
        if let Some(count) = self.events.get_mut(event) {
            *count += 1;
        } else if self.events.len() < 256 {
            self.events.insert(event.into(), 1);
        }
    }

    /// A drill ended.
    pub fn drilled(&mut self, at: Millis, ok: bool) {
        self.drill = Some((at, ok));
    }

    /// How much more likely what was seen is under the mixture than under rate `p`, as a logarithm.
    fn log_against(&self, p: f64) -> f64 {
        let good = count(self.messages - self.bad);
        self.log_mixture - count(self.bad) * p.ln() - good * (-p).ln_1p()
    }

    /// The largest rate that is not refuted.
    fn upper_bound(&self, confidence: f64) -> f64 {
        let limit = -(1.0 - confidence).ln();
        let mut low = if self.messages == 0 { 0.0 } else { count(self.bad) / count(self.messages) };
        let mut high = 1.0 - 1e-12;
        if self.log_against(high) < limit {
            return 1.0;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if middle <= 0.0 || self.log_against(middle) < limit { low = middle } else { high = middle }
        }
        high
    }

    /// Whether rate `p` is refuted from the side on which the evidence is.
    fn refutes(&self, p: f64, confidence: f64) -> bool {
        self.log_against(p) >= -(1.0 - confidence).ln()
    }

    /// How much more likely what was seen is under rates above `p` than under any up to `p`, as a logarithm: a mixture
    /// over rates, half of its weight close to `p`, half up to 1 in steps of a factor. It rarely gets large where the
    /// rate is at most `p`, at whatever look (Ville's inequality).
    fn log_above(&self, p: f64) -> f64 {
        let (bad, good) = (count(self.bad), count(self.messages - self.bad));
        let far = (1..8).map(|step| p.powf(1.0 - f64::from(step) / 8.0));
        let near = (0..7).map(|step| p + p.min(1.0 - p) * 0.5_f64.powi(step) * 0.999);
        let bets = far.chain(near).map(|rate| bad * (rate / p).ln() + good * ((-rate).ln_1p() - (-p).ln_1p()));
        let bets: Vec<f64> = bets.collect();
        let most = bets.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = bets.iter().map(|bet| (bet - most).exp()).sum();
        most + (sum / count(bets.len() as u64)).ln()
    }

    /// Whether the rate is above `p` with the evidence `limit` (the logarithm of 1 / (1 - confidence)).
    #[must_use]
    pub fn is_above(&self, p: f64, limit: f64) -> bool {
        self.messages > 0 && self.log_above(p) >= limit
    }

    /// Whether the rate is below `p` with the evidence `limit` (the logarithm of 1 / (1 - confidence)): what makes it
    /// safe, without the estimates for people.
    #[must_use]
    pub fn is_below(&self, p: f64, limit: f64) -> bool {
        self.messages > 0 && count(self.bad) < p * count(self.messages) && self.log_against(p) >= limit
    }

    /// Messages in it.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Of these, bad ones.
    #[must_use]
    pub const fn bad(&self) -> u64 {
        self.bad
    }

    /// Whether what was seen refutes every rate from the target up.
    fn is_enough(&self, target: &Target) -> bool {
        let observed = count(self.bad) / count(self.messages.max(1));
        self.messages > 0 && observed < target.rate && self.refutes(target.rate, target.confidence)
    }

    /// The answer at `now`, without reasons and estimates, which cost more.
    #[must_use]
    pub fn value(&self, target: &Target, now: Millis) -> Value {
        let limit = -(1.0 - target.confidence).ln();
        if self.leaks > 0 {
            Value::NotSafe
        } else if self.last.is_some_and(|last| now.since(last) >= target.stale_after) {
            Value::Stale
        } else if self.is_above(target.rate, limit) {
            Value::NotSafe
        } else if self.is_enough(target) && self.unseen(target, now).is_empty() {
            Value::Safe
        } else if self.outdated {
            Value::Stale
        } else {
            Value::Inconclusive
        }
    }

    /// The answer at `now`.
    #[must_use]
    pub fn verdict(&self, target: &Target, now: Millis) -> Verdict {
        let needed = self.needed(target);
        let missing = self.missing(target, needed, now);
        let value = self.value(target, now);
        Verdict {
            value,
            missing,
            upper_bound: self.upper_bound(target.confidence),
            rule_of_three: (self.bad == 0 && self.messages > 0).then(|| (3.0 / count(self.messages)).min(1.0)),
            messages: self.messages,
            bad: self.bad,
            says: self.says(value, target),
            // More messages do not make it safe.
            eta: self.eta(needed, now).filter(|_| value != Value::NotSafe),
        }
    }
}

/// ln of the gamma function for `x` of at least 1: Stirling's series, from where it is as good as the float.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 16.0 {
        below += x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1_260.0 - square / 1_680.0))) / x;
    (x - 0.5).mul_add(x.ln(), 0.5 * std::f64::consts::TAU.ln() - x) + series - below
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
const fn count(number: u64) -> f64 {
    number as f64
}
