//! The numbers of the comparison, as people and programs are shown them.

use std::collections::BTreeMap;

use bridge_core::compare::Summary;
use bridge_core::verdict::{Evidence, Target, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::reveal::RevealView;

/// `GET /admin/shadow/summary`.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryView {
    /// Name of the instance.
    pub instance: String,
    /// Since when it counts, ISO-8601.
    pub since: String,
    #[serde(flatten)]
    pub(super) summary: SummaryNumbers,
    /// Rabbitmq minus legacy, of pairs.
    pub skew_ms: Skew,
    /// The verdict.
    pub verdict: VerdictView,
    /// What it comes from, so that many instances can be judged as one.
    pub evidence: Evidence,
    /// What was asked of it.
    pub target: Target,
    /// Closed records that the disk did not take: they are counted, and in no file.
    pub log_lost: u64,
    /// Who shows what people wrote, why, and until when; `null` while it is redacted.
    pub reveal: Option<RevealView>,
    /// The latest drill.
    pub drill: Value,
    /// Share of closed units that are indeterminate.
    pub indeterminate_share: f64,
    /// The share above which a report says so.
    pub indeterminate_max: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SummaryNumbers {
    opened: u64,
    closed: u64,
    open: u64,
    classes: BTreeMap<String, u64>,
    causes: BTreeMap<String, u64>,
    modifiers: BTreeMap<String, u64>,
    rules: BTreeMap<String, u64>,
    shed: u64,
}

/// Percentiles of the skew, in ms; `null` without a pair.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Skew {
    pub(super) p50: Option<i64>,
    pub(super) p95: Option<i64>,
    pub(super) p99: Option<i64>,
}

/// The verdict, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictView {
    /// `SAFE`, `NOT_SAFE`, `INCONCLUSIVE` or `STALE`.
    pub value: &'static str,
    #[serde(flatten)]
    verdict: VerdictNumbers,
}

#[derive(Clone, Debug, Serialize)]
struct VerdictNumbers {
    missing: Vec<String>,
    upper_bound: f64,
    rule_of_three: Option<f64>,
    messages: u64,
    bad: u64,
    says: String,
    eta: Option<u64>,
}

pub(super) fn numbers(summary: Summary) -> SummaryNumbers {
    let Summary { opened, closed, open, classes, causes, modifiers, rules, shed, drill: _ } = summary;
    SummaryNumbers { opened, closed, open, classes, causes, modifiers, rules, shed }
}

pub(super) fn shown(verdict: Verdict) -> VerdictView {
    let Verdict { value, missing, upper_bound, rule_of_three, messages, bad, says, eta } = verdict;
    let verdict = VerdictNumbers { missing, upper_bound, rule_of_three, messages, bad, says, eta };
    VerdictView { value: value.name(), verdict }
}
