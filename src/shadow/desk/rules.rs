//! What the settings say of the comparison, in its own words.

use std::time::Duration;

use bridge_core::Millis;
use bridge_core::compare::IgnoreRule;
use bridge_core::verdict::Target;

use crate::config::Shadow;

/// What evidence is gathered under: `window` is the one by which units close at this moment.
pub(super) fn fingerprint(shadow: &Shadow, window: Duration) -> String {
    let rules = serde_json::to_string(&(&shadow.ignore, window, shadow.target_rate, shadow.confidence));
    format!("{} {} {}", crate::VERSION, crate::BUILD, rules.unwrap_or_default())
}

pub(super) fn target(shadow: &Shadow) -> Target {
    Target {
        rate: shadow.target_rate,
        confidence: shadow.confidence,
        events: shadow.require_events.clone(),
        drill: shadow.require_drill,
        stale_after: millis(shadow.stale_after),
    }
}

pub(super) fn ignore(shadow: &Shadow) -> Vec<IgnoreRule> {
    // Through the end of its last day.
    let until = |day: &str| {
        let start = format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().ok()?;
        u64::try_from(start.as_millisecond()).ok().map(|start| start + 86_400_000)
    };
    let rule = |rule: &crate::config::IgnoreRule| IgnoreRule {
        name: rule.name.clone(),
        path: rule.path.clone(),
        until: Millis(until(&rule.expires).unwrap_or(0)),
    };
    shadow.ignore.iter().map(rule).collect()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
