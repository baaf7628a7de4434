//! The verdict for people: what it comes from, and what it still needs.

use super::{Evidence, Target, Value, count};
use crate::Millis;

impl Evidence {
    pub(super) fn says(&self, value: Value, target: &Target) -> String {
        let leaks = match self.leaks {
            0 => String::new(),
            1 => ", 1 leak".into(),
            leaks => format!(", {leaks} leaks"),
        };
        let share = count(self.bad) / count(self.messages.max(1));
        format!(
            "{} of {} messages bad ({}){leaks}; {} at a target of {}",
            self.bad,
            self.messages,
            percent(share),
            value.name(),
            percent(target.rate)
        )
    }

    /// Messages, without another bad one, until the target is reached; `None` when no number is enough for an estimate.
    pub(super) fn needed(&self, target: &Target) -> Option<u64> {
        let mut ahead = self.clone();
        if self.is_enough(target) {
            return Some(0);
        }
        // In steps of a hundredth: an estimate is for people.
        let mut more: u64 = 0;
        while more < 100_000_000 {
            let step = (more / 100).max(1);
            more += step;
            ahead.log_mixture += ahead.log_of_good(step);
            ahead.messages += step;
            if ahead.is_enough(target) {
                return Some(more);
            }
        }
        None
    }

    /// ln of the mixture's share for `many` more good messages, taken as alike: at most a hundredth of what is there.
    pub(super) fn log_of_good(&self, many: u64) -> f64 {
        let (good, all) = (count(self.messages - self.bad), count(self.messages));
        let middle = count(many - 1) / 2.0;
        count(many) * ((self.prior + good + middle) / (1.0 + self.prior + all + middle)).ln()
    }

    pub(super) fn missing(&self, target: &Target, needed: Option<u64>, now: Millis) -> Vec<String> {
        let mut missing = Vec::new();
        match needed {
            Some(0) => {}
            Some(more) => missing.push(format!("about {more} more messages without a bad one")),
            None => missing.push("a rate of bad messages below the target".into()),
        }
        missing.extend(self.unseen(target, now));
        missing
    }

    /// Events and drills that are asked for and were not seen.
    pub(super) fn unseen(&self, target: &Target, now: Millis) -> Vec<String> {
        let mut missing = Vec::new();
        for event in &target.events {
            if !self.events.contains_key(event) {
                missing.push(format!("a compared {event}"));
            }
        }
        if target.drill {
            match self.drill {
                Some((at, true)) if now.since(at) < target.stale_after => {}
                Some((_, false)) => missing.push("a drill that finds everything".into()),
                _ => missing.push("a drill".into()),
            }
        }
        missing
    }

    pub(super) fn eta(&self, needed: Option<u64>, now: Millis) -> Option<u64> {
        let seconds = now.since(self.first?) / 1_000;
        let needed = needed.filter(|needed| *needed > 0)?;
        (self.messages > 0).then(|| needed.saturating_mul(seconds.max(1)) / self.messages)
    }
}

/// A share for people, with two digits that say something: `1.8 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let places = (0..12_u32).find(|places| percent * 10.0_f64.powi(places.cast_signed()) >= 9.95).unwrap_or(0);
    let text = format!("{percent:.*}", usize::try_from(places).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}
