//! The evidence of all instances as one.

use std::collections::HashSet;

use bridge_core::Millis;
use bridge_core::verdict::{Evidence, Target, Value, Verdict};
use http::Method;
use serde::Deserialize;

use super::{ASK, Node, ask};
use crate::clock::Clock;
use crate::flag::Pooled;

/// What one instance has seen, of `GET /admin/shadow/summary`.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Its name, and when it began; two addresses may lead to one instance.
    #[serde(default)]
    instance: String,
    #[serde(default)]
    since: String,
    evidence: Evidence,
    target: Target,
}

/// By the strictest target where instances have different ones; `None` without an instance.
#[must_use]
pub fn pooled(all: &[Seen], now: Millis) -> Option<Verdict> {
    let target = all.iter().map(|seen| &seen.target).min_by(|a, b| a.rate.total_cmp(&b.rate))?;
    let mut known = HashSet::new();
    let each = all.iter().filter(|seen| seen.instance.is_empty() || known.insert((&seen.instance, &seen.since)));
    let evidence: Vec<Evidence> = each.map(|seen| seen.evidence.clone()).collect();
    Some(Evidence::pooled(&evidence, target, now).verdict(target, now))
}

/// The evidence of those that answered.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// The verdict of all together; `None` where nobody answered.
    pub verdict: Option<Verdict>,
    /// Instances it is of.
    pub nodes: usize,
    /// Those with bad messages or leaks: address, and what it has seen, in words.
    pub bad: Vec<(String, String)>,
}

/// Most instances that are named.
const NAMED: usize = 5;

impl Pool {
    /// Asks all of `nodes`.
    pub async fn of(nodes: &[Node]) -> Self {
        let answers = ask(nodes, &Method::GET, "/admin/shadow/summary", None, ASK, |_, _| ()).await;
        let now = Clock::default().now();
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        for (node, answer) in nodes.iter().zip(answers) {
            // Who does not say what it has seen does not answer to the dry run either.
            let Some(seen) = answer.ok().and_then(|summary| Seen::deserialize(summary).ok()) else { continue };
            let own = seen.evidence.verdict(&seen.target, now);
            if own.bad > 0 || own.value == Value::NotSafe {
                bad.push((node.url.clone(), own.says));
            }
            all.push(seen);
        }
        Self { verdict: pooled(&all, now), nodes: all.len(), bad }
    }

    /// As it is handed to each instance.
    #[must_use]
    pub fn handed(&self) -> Option<Pooled> {
        let verdict = self.verdict.as_ref()?;
        let mut says = verdict.says.clone();
        for (node, own) in self.bad.iter().take(NAMED) {
            says.push_str(&format!("; {node}: {own}"));
        }
        let says = says.chars().take(900).collect();
        Some(Pooled {
            verdict: verdict.value,
            messages: verdict.messages,
            bad: verdict.bad,
            says,
            nodes: self.nodes as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(instance: &str, messages: u64, leaks: u64) -> Seen {
        let target = Target {
            rate: 1e-3,
            confidence: 0.95,
            events: vec!["message.create".into()],
            drill: false,
            stale_after: 1 << 40,
        };
        let mut evidence = Evidence::new("x", target.rate);
        for n in 0..messages {
            evidence.message(Millis(n + 1), false);
            evidence.event("message.create");
        }
        (0..leaks).for_each(|_| evidence.leak(Millis(1)));
        Seen { instance: instance.into(), since: String::new(), evidence, target }
    }

    fn value(all: &[Seen]) -> Value {
        pooled(all, Millis(10_000)).unwrap().value
    }

    #[test]
    fn three_instances_are_safe_together_where_none_is_alone_and_one_leak_is_not_safe() {
        let all = ["a", "b", "c"].map(|name| seen(name, 1_700, 0));
        for one in &all {
            assert_eq!(value(std::slice::from_ref(one)), Value::Inconclusive);
        }
        let together = pooled(&all, Millis(10_000)).unwrap();
        assert_eq!((together.value, together.messages, together.bad), (Value::Safe, 5_100, 0), "{together:?}");
        let [a, b, _] = all.clone();
        assert_eq!(value(&[a.clone(), b.clone(), seen("c", 1_700, 1)]), Value::NotSafe);
        assert_eq!(value(&[a.clone(), b.clone(), seen("c", 0, 0)]), Value::Inconclusive, "3,400 are too few");
        let fresh = [a.clone(), b.clone(), seen("c", 1_700, 0), seen("d", 0, 0)];
        assert_eq!(value(&fresh), Value::Safe, "who has just started neither passes nor blocks");
        assert_eq!(value(&[a.clone(), a.clone(), a]), Value::Inconclusive, "one instance by three addresses");
        assert!(pooled(&[], Millis(1)).is_none());
    }
}
