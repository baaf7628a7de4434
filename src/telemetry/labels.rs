//! Values of labels: every series of a counter is there, at 0, before anything is counted. An increase from nothing to 1 is
//! none to whoever watches.

use bridge_core::compare::{Cause, Class};
use metrics::Label;

use super::names::{Kind, METRICS};

/// Labels of one series.
type Series = Vec<(&'static str, &'static str)>;

/// Counters with one label, and its values.
#[rustfmt::skip]
const BY_ONE: &[(&str, &str, &[&str])] = &[
    ("bridge_audience_incomplete_total", "cause", &["late", "unknown"]),
    ("bridge_forwards_refused_total", "share", &["user", "all"]),
    ("bridge_sockets_cut_total", "reason", &["slow", "resumed", "unauthenticated"]),
    ("bridge_copies_released_total", "why", &["flushed", "rescued"]),
    ("bridge_resync_total", "reason", &["broker_lost", "queue_lost", "late_queue", "slow_client", "resume_failed"]),
    ("bridge_updates_rejected_total", "reason", &["not_utf8", "not_json", "not_an_object", "missing_field", "too_large"]),
    ("bridge_guard_alarms_total", "cause", &["broker_down", "broker_flapping", "missing", "silence"]),
];

/// Every series of the counter `name`.
fn series(name: &str) -> Vec<Series> {
    if let Some((_, label, values)) = BY_ONE.iter().find(|(own, ..)| *own == name) {
        return values.iter().map(|value| vec![(*label, *value)]).collect();
    }
    match name {
        "bridge_copies_total" => ["legacy", "rabbitmq"]
            .iter()
            .flat_map(|path| ["emitted", "swallowed"].map(|outcome| vec![("path", *path), ("outcome", outcome)]))
            .collect(),
        "bridge_membership_refusals_total" => ["join", "post", "removal"]
            .iter()
            .flat_map(|act| ["enforce", "report"].map(|mode| vec![("act", *act), ("mode", mode)]))
            .collect(),
        "bridge_shadow_closed_total" => Class::ALL
            .into_iter()
            .flat_map(|class| {
                let causes: Vec<&str> = match class.causes() {
                    [] => vec![""],
                    causes => causes.iter().copied().map(Cause::name).collect(),
                };
                causes.into_iter().map(move |cause| vec![("class", class.name()), ("cause", cause)])
            })
            .collect(),
        "bridge_shadow_amended_total" => Class::ALL
            .into_iter()
            .flat_map(|from| Class::ALL.map(|to| vec![("from", from.name()), ("to", to.name())]))
            .collect(),
        _ => vec![Vec::new()],
    }
}

/// Begins every counter at 0.
pub(super) fn begin() {
    for &(name, kind, _) in METRICS {
        if kind != Kind::Counter {
            continue;
        }
        for series in series(name) {
            let labels: Vec<Label> = series.iter().map(|(label, value)| Label::new(*label, *value)).collect();
            metrics::counter!(name, labels).increment(0);
        }
    }
}

#[cfg(test)]
pub(super) fn is_labelled(name: &str) -> bool {
    series(name).iter().all(|series| !series.is_empty())
}
