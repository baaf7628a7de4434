//! The guard: when to roll back by itself. Acts once, and never forward.

use std::collections::VecDeque;

use crate::Millis;

/// What the guard tolerates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Broker gone for longer than this, in ms.
    pub broker_down: u64,
    /// Share of missing updates.
    pub missing_max: f64,
    /// Fewest messages within `period` that are evidence.
    pub min_messages: u64,
    /// Messages are accepted but no update comes for this long, in ms.
    pub silence: u64,
    /// What it looks back on, in ms.
    pub period: u64,
}

/// What is so at one look. Counts are totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Rabbitmq delivers.
    pub rabbitmq_delivers: bool,
    /// The broker session is up.
    pub broker_up: bool,
    /// Messages accepted here.
    pub accepted: u64,
    /// Updates received.
    pub updates: u64,
    /// Compared messages.
    pub compared: u64,
    /// Of these, missing in rabbitmq.
    pub missing: u64,
}

/// Why it acts.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// The broker has been gone for so many ms.
    BrokerDown(u64),
    /// So many of so many messages were missing.
    Missing(u64, u64),
    /// So many messages were accepted, and no update came.
    Silence(u64),
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BrokerDown(ms) => write!(f, "the broker has been gone for {} s", ms / 1_000),
            Self::Missing(missing, of) => write!(f, "{missing} of {of} messages did not come over rabbitmq"),
            Self::Silence(accepted) => write!(f, "{accepted} messages were accepted and no update came"),
        }
    }
}

/// Looks on.
#[derive(Clone, Debug)]
pub struct Guard {
    bounds: Bounds,
    looks: VecDeque<(Millis, Look)>,
    down_since: Option<Millis>,
    /// Since when no update came, with the messages accepted until then.
    silent_since: Option<(Millis, u64)>,
    latched: bool,
}

impl Guard {
    /// A guard that is armed.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, looks: VecDeque::new(), down_since: None, silent_since: None, latched: false }
    }

    /// A forward flip by hand arms it again.
    pub fn arm(&mut self) {
        *self = Self::new(self.bounds);
    }

    /// One look; at most one alarm until it is armed again.
    pub fn look(&mut self, now: Millis, look: Look) -> Option<Alarm> {
        if !look.rabbitmq_delivers {
            self.looks.clear();
            self.down_since = None;
            self.silent_since = None;
            return None;
        }
        let alarm = self.broker(now, look).or_else(|| self.silence(now, look)).or_else(|| self.missing(now, look));
        if self.latched {
            return None;
        }
        self.latched = alarm.is_some();
        alarm
    }

    fn broker(&mut self, now: Millis, look: Look) -> Option<Alarm> {
        if look.broker_up {
            self.down_since = None;
            return None;
        }
        let down = now.since(*self.down_since.get_or_insert(now));
        (down >= self.bounds.broker_down).then_some(Alarm::BrokerDown(down))
    }

    fn silence(&mut self, now: Millis, look: Look) -> Option<Alarm> {
        let came = self.looks.back().is_none_or(|(_, before)| look.updates > before.updates);
        if came || !look.broker_up {
            self.silent_since = None;
        }
        let (since, before) = *self.silent_since.get_or_insert((now, look.accepted));
        let accepted = look.accepted.saturating_sub(before);
        // A few messages may be to dialogs whose members are all elsewhere.
        let enough = accepted >= self.bounds.min_messages.min(20);
        (enough && now.since(since) >= self.bounds.silence).then_some(Alarm::Silence(accepted))
    }

    fn missing(&mut self, now: Millis, look: Look) -> Option<Alarm> {
        self.looks.push_back((now, look));
        while self.looks.front().is_some_and(|(at, _)| now.since(*at) > self.bounds.period) {
            self.looks.pop_front();
        }
        let (_, before) = self.looks.front()?;
        let compared = look.compared.saturating_sub(before.compared);
        let missing = look.missing.saturating_sub(before.missing);
        let evident =
            compared >= self.bounds.min_messages && lower_bound(missing, compared) > self.bounds.missing_max;
        evident.then_some(Alarm::Missing(missing, compared))
    }
}

/// Wilson's lower bound of a share, at 4 standard deviations: the guard looks every second, for months.
fn lower_bound(hits: u64, of: u64) -> f64 {
    const Z: f64 = 4.0;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (hits, of) = (hits as f64, of as f64);
    let share = hits / of;
    let spread = (share * (1.0 - share) / of + Z * Z / (4.0 * of * of)).sqrt();
    (share + Z * Z / (2.0 * of) - Z * spread) / (1.0 + Z * Z / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { broker_down: 30_000, missing_max: 0.01, min_messages: 100, silence: 30_000, period: 60_000 };

    fn run(seconds: u64, mut at: impl FnMut(u64, &mut Look)) -> Vec<Alarm> {
        let (mut guard, mut look) = (Guard::new(BOUNDS), Look::default());
        let step = |second| {
            look.rabbitmq_delivers = true;
            look.broker_up = true;
            at(second, &mut look);
            guard.look(Millis(second * 1_000), look)
        };
        (0..seconds).filter_map(step).collect()
    }

    #[test]
    fn an_oscillating_fault_gives_one_alarm() {
        let alarms = run(600, |second, look| {
            look.accepted += 20;
            look.updates += 20;
            look.compared += 20;
            look.missing += if second % 20 < 10 { 5 } else { 0 };
        });
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(matches!(alarms[0], Alarm::Missing(..)));
    }

    #[test]
    fn hours_of_healthy_noise_and_no_traffic_give_none() {
        let mut dice = 1_u64;
        let noise = run(6 * 3_600, |_, look| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            look.accepted += dice >> 60;
            look.updates += dice >> 60;
            look.compared += dice >> 60;
            // One in 500, well below one in a hundred.
            look.missing += u64::from(dice % 100 < 1 && dice >> 60 > 8);
        });
        assert_eq!(noise, []);
        assert_eq!(run(6 * 3_600, |_, _| ()), []);
    }

    #[test]
    fn a_broker_that_is_gone_and_a_worker_that_is_silent_are_noticed() {
        let down = run(60, |second, look| look.broker_up = second < 10);
        assert_eq!(down, [Alarm::BrokerDown(30_000)]);
        let blip = run(600, |second, look| look.broker_up = second % 40 < 20);
        assert_eq!(blip, []);
        let silent = run(120, |second, look| {
            look.accepted += 5;
            look.updates += if second < 20 { 5 } else { 0 };
        });
        assert!(matches!(silent[..], [Alarm::Silence(_)]), "{silent:?}");
    }
}
