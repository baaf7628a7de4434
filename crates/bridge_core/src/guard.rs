//! The guard: when the rabbitmq path may be left without asking anybody.
//!
//! It looks at one sample a second and speaks at most once until it is armed again. It only ever points back.
//! Evidence is needed, not its absence: no traffic says nothing, and one short outage of the broker, which the ring
//! bridges, is not a failing path.

use std::collections::VecDeque;

use serde::Serialize;

use crate::{Millis, Stage};

/// Probability of acting on a path whose true rate is at the bound, at one look. The guard looks once a second for
/// months, so this is far below the usual levels.
const ERROR: f64 = 1e-7;
/// Outages within [`OUTAGE_PERIODS`] from which on they are summed up: the broker is flapping.
const FLAPS: usize = 3;
/// Periods over which outages are counted.
const OUTAGE_PERIODS: u64 = 5;

/// What the guard acts on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Broker session gone for longer than this, in ms.
    pub broker_down: u64,
    /// Share of messages without update above which it acts, 0–1.
    pub missing_max: f64,
    /// Fewest closed messages within `period` on which it acts.
    pub min_messages: u64,
    /// Messages are accepted but no update comes for this long, in ms.
    pub silence: u64,
    /// What it looks back on, in ms.
    pub period: u64,
    /// `shadow.window` in ms: how long after an outage its messages are still being closed as missing.
    pub window: u64,
}

/// What happened since the previous sample, and how things are. Counts are of messages, not of deliveries: the deliveries
/// of one message fail together and are one piece of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Messages whose comparison closed with a good or bad class.
    pub closed: u64,
    /// Those of `closed` whose update was missing.
    pub missing: u64,
    /// The broker session is up.
    pub broker_up: bool,
    /// For how long messages have been accepted of which no update came, in ms, and how many they are; `None` while updates
    /// come. Whoever says so knows which update is of which message's time: the guard counts neither itself.
    pub updates_stalled: Option<(u64, u64)>,
}

/// Why the rabbitmq path should be left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Alarm {
    /// The broker is gone.
    BrokerDown {
        /// For how long by now, in ms.
        down_ms: u64,
    },
    /// The broker comes and goes.
    BrokerFlapping {
        /// Outages within five periods.
        outages: usize,
        /// Their sum in ms, each with the window it costs.
        down_ms: u64,
    },
    /// More messages than allowed have no update.
    Missing {
        /// Messages without update within the period.
        missing: u64,
        /// Messages compared within the period.
        closed: u64,
        /// The true share is at least this, with all but certainty.
        lower_bound: f64,
    },
    /// Messages are accepted, updates do not come: Chat3's worker is down.
    UpdatesStalled {
        /// For how long by now, in ms.
        silent_ms: u64,
        /// Messages accepted meanwhile.
        accepted: u64,
    },
}

impl Alarm {
    /// The name of the cause, for a metric's label.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::BrokerDown { .. } => "broker_down",
            Self::BrokerFlapping { .. } => "broker_flapping",
            Self::Missing { .. } => "missing",
            Self::UpdatesStalled { .. } => "updates_stalled",
        }
    }
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BrokerDown { down_ms } => write!(f, "the broker has been gone for {down_ms} ms"),
            Self::BrokerFlapping { outages, down_ms } => {
                write!(f, "the broker comes and goes: {outages} outages cost {down_ms} ms")
            }
            Self::Missing { missing, closed, lower_bound } => {
                write!(f, "{missing} of {closed} messages had no update (at least {:.2} %)", lower_bound * 100.0)
            }
            Self::UpdatesStalled { silent_ms, accepted } => {
                write!(f, "no update for {silent_ms} ms though {accepted} messages were accepted")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    from: Millis,
    to: Option<Millis>,
}

/// The state machine. Time comes in as an argument.
#[derive(Clone, Debug)]
pub struct Guard {
    bounds: Bounds,
    spoken: bool,
    samples: VecDeque<(Millis, u64, u64)>,
    outages: VecDeque<Outage>,
}

impl Guard {
    /// An armed guard that has seen nothing.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, spoken: false, samples: VecDeque::new(), outages: VecDeque::new() }
    }

    /// Arms it again, after a forward flip by hand. What was seen before counts no more.
    pub fn arm(&mut self) {
        self.spoken = false;
        self.forget();
    }

    /// Whether it has not spoken yet.
    #[must_use]
    pub const fn is_armed(&self) -> bool {
        !self.spoken
    }

    /// Takes one sample of an instance in `stage`; says why to go back, at most once.
    pub fn observe(&mut self, now: Millis, stage: Stage, sample: Sample) -> Option<Alarm> {
        if !stage.use_rabbitmq_updates() {
            self.forget();
            return None;
        }
        self.note_broker(now, sample.broker_up);
        self.note_missing(now, sample);
        if self.spoken {
            return None;
        }
        let alarm = self
            .broker_down(now)
            .or_else(|| self.broker_flapping(now))
            .or_else(|| self.missing())
            .or_else(|| self.stalled(sample));
        self.spoken = alarm.is_some();
        alarm
    }

    fn forget(&mut self) {
        self.samples.clear();
        self.outages.clear();
    }

    fn note_broker(&mut self, now: Millis, up: bool) {
        match self.outages.back_mut() {
            Some(last) if last.to.is_none() => last.to = up.then_some(now),
            _ if !up => self.outages.push_back(Outage { from: now, to: None }),
            _ => {}
        }
        let horizon = self.bounds.period.saturating_mul(OUTAGE_PERIODS);
        while self.outages.front().is_some_and(|first| first.to.is_some_and(|to| now.since(to) > horizon)) {
            self.outages.pop_front();
        }
    }

    /// Messages that an outage made miss are excused; the outage itself is judged by its length.
    fn excused(&self, now: Millis) -> bool {
        let closing = self.bounds.window.saturating_add(2_000);
        self.outages.back().is_some_and(|last| last.to.is_none_or(|to| now.since(to) <= closing))
    }

    fn note_missing(&mut self, now: Millis, sample: Sample) {
        // One may turn out to be missing for somebody a moment after it was counted.
        if (sample.closed > 0 || sample.missing > 0) && !self.excused(now) {
            self.samples.push_back((now, sample.closed, sample.missing));
        }
        while self.samples.front().is_some_and(|(at, ..)| now.since(*at) > self.bounds.period) {
            self.samples.pop_front();
        }
    }

    fn broker_down(&self, now: Millis) -> Option<Alarm> {
        let open = self.outages.back().filter(|last| last.to.is_none())?;
        let down_ms = now.since(open.from);
        (down_ms > self.bounds.broker_down).then_some(Alarm::BrokerDown { down_ms })
    }

    fn broker_flapping(&self, now: Millis) -> Option<Alarm> {
        if self.outages.len() < FLAPS {
            return None;
        }
        let cost = |outage: &Outage| outage.to.unwrap_or(now).since(outage.from) + self.bounds.window;
        let down_ms = self.outages.iter().map(cost).sum();
        (down_ms > self.bounds.broker_down)
            .then_some(Alarm::BrokerFlapping { outages: self.outages.len(), down_ms })
    }

    fn missing(&self) -> Option<Alarm> {
        let (closed, missing) = self.samples.iter().fold((0, 0), |(all, bad), (_, c, m)| (all + c, bad + m));
        if closed < self.bounds.min_messages.max(1) {
            return None;
        }
        let missing = missing.min(closed);
        let lower_bound = lower_bound(missing, closed);
        (lower_bound > self.bounds.missing_max).then_some(Alarm::Missing { missing, closed, lower_bound })
    }

    fn stalled(&self, sample: Sample) -> Option<Alarm> {
        let (silent_ms, accepted) = sample.updates_stalled.filter(|_| sample.broker_up)?;
        (silent_ms >= self.bounds.silence).then_some(Alarm::UpdatesStalled { silent_ms, accepted })
    }
}

/// The share below which `bad` of `all` is all but impossible: Chernoff's bound on the upper tail of a binomial,
/// `P(X ≥ bad) ≤ exp(-all · KL(bad/all ‖ p))`, solved for `p`. It holds for every `all`, where a normal
/// approximation acts too early exactly when there are few messages.
#[must_use]
pub fn lower_bound(bad: u64, all: u64) -> f64 {
    if bad == 0 || all == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of messages within minutes")]
    let (seen, all) = (bad.min(all) as f64 / all as f64, all as f64);
    let needed = -ERROR.ln() / all;
    let (mut low, mut high) = (0.0_f64, seen);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if divergence(seen, middle) > needed {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Kullback–Leibler divergence of two coins, in nats.
fn divergence(seen: f64, assumed: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    if assumed <= 0.0 {
        return f64::INFINITY;
    }
    part(seen, assumed) + part(1.0 - seen, 1.0 - assumed)
}
