//! The one table of metrics: what is registered at the start, the `# HELP` of `/metrics`, and the page of the documentation
//! follow from it.

use bridge_core::compare::{Cause, Class};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Values of a label.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    /// These.
    Of(&'static [&'static str]),
    /// The classes of the comparison.
    Classes,
    /// The causes of the class that is the label before; empty where it has none.
    Causes,
    /// Not known before.
    Any,
}

use Kind::{Counter, Gauge, Histogram};
use Values::{Any, Causes, Classes, Of};

/// Name, kind, labels, and what it counts.
pub(super) type Metric = (&'static str, Kind, &'static [(&'static str, Values)], &'static str);

/// Labels of one series.
type Series = Vec<(&'static str, &'static str)>;

/// Every metric.
#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    ("bridge_stage", Gauge, &[("stage", Of(&["legacy", "shadow", "live", "complete"]))], "1 for the stage that this instance is in, 0 for the others"),
    ("bridge_rollout_percent", Gauge, &[], "share of users that rabbitmq serves in `live` and `complete`, 0 to 100"),
    ("bridge_build_info", Gauge, &[("version", Any), ("build", Any)], "1; its labels name version and build"),
    ("bridge_users", Gauge, &[], "users with a socket, connected or lingering"),
    ("bridge_sockets", Gauge, &[], "sockets, connected or lingering"),
    ("bridge_connections", Gauge, &[], "connections of clients that are open"),
    ("bridge_limit_refusals_total", Counter, &[("limit", Of(&["connections", "address_connections", "user_sockets", "rooms", "events", "user_posts", "member_questions", "proxied", "head", "handshake"]))], "what was refused or ended because a limit was reached"),
    ("bridge_memory_bytes", Gauge, &[("of", Of(&["outboxes", "events", "bodies", "connections", "replays"]))], "what is held for clients: events and acks that wait, their events that wait, messages on their way, open connections, what is kept for a resume"),
    ("bridge_memory_replays_shed_bytes_total", Counter, &[], "bytes kept for a resume that were let go because the limit was reached"),
    ("bridge_memory_limit_bytes", Gauge, &[], "`memory.limit`"),
    ("bridge_memory_resident_bytes", Gauge, &[], "what the process takes"),
    ("bridge_memory_shed_total", Counter, &[], "connections that were cut because they held most when the limit was reached"),
    ("bridge_panics_total", Counter, &[], "panics: faults of the bridge; one in the background ends the process, one in a connection or a call that alone"),
    ("bridge_sockets_cut_total", Counter, &[("reason", Of(&["slow", "memory", "resumed", "failed", "unauthenticated"]))], "connections that the bridge ended: slow, of those that hold most (`memory.limit`), resumed, after a panic, unauthenticated"),
    ("bridge_client_events_refused_total", Counter, &[], "events of clients that were refused"),
    ("bridge_jwks_fetches_total", Counter, &[("outcome", Of(&["ok", "failed"]))], "questions to the issuer for its keys, by how they ended"),
    ("bridge_typing_relayed_total", Counter, &[], "typing events handed to other sockets"),
    ("bridge_audience_incomplete_total", Counter, &[("cause", Of(&["late", "unknown"]))], "broadcasts that left before Chat3 said who the members are: it said so later, or not at all"),
    ("bridge_copies_total", Counter, &[("path", Of(&["legacy", "rabbitmq"])), ("outcome", Of(&["emitted", "swallowed"]))], "copies of each path at the gate, by user: emitted, or swallowed because the other path delivers"),
    ("bridge_relay_copies_total", Counter, &[("outcome", Of(&["handed", "away", "lost", "off"]))], "broadcasts for other instances, by instance: handed over, not because it was not running, lost (who is concerned is told), or, once each, not handed over because `legacy.relay` is off"),
    ("bridge_relay_received_total", Counter, &[], "broadcasts that other instances handed over"),
    ("bridge_relay_waiting", Gauge, &[], "broadcasts that wait for other instances"),
    ("bridge_copies_deduplicated_total", Counter, &[], "copies that the ledger dropped because every socket had them"),
    ("bridge_copies_released_total", Counter, &[("why", Of(&["flushed", "rescued"]))], "held copies that went out after all: flushed by a flip, or rescued"),
    ("bridge_delivery_arrival_seconds", Histogram, &[("path", Of(&["legacy", "rabbitmq"]))], "from Chat3's own time to the arrival here, of one copy in 64; clocks of two machines differ"),
    ("bridge_delivery_handover_seconds", Histogram, &[("path", Of(&["legacy", "rabbitmq"]))], "from the arrival here until the client's transport took it whole, of one copy in 64"),
    ("bridge_resync_total", Counter, &[("reason", Of(&["broker_lost", "queue_lost", "late_queue", "slow_client", "resume_failed", "relay_lost"]))], "`bridge:resync` by reason"),
    ("bridge_forwards_refused_total", Counter, &[("share", Of(&["user", "all"]))], "messages refused with 503 because too many wait for Chat3: of their user, or of all"),
    ("bridge_membership_refusals_total", Counter, &[("act", Of(&["join", "post", "removal"])), ("mode", Of(&["enforce", "report"]))], "joins, messages and places in rooms of users who are no members: refused (`enforce`), or only counted (`report`)"),
    ("bridge_membership_unknown_total", Counter, &[], "questions about members that Chat3 did not answer"),
    ("bridge_updates_received_total", Counter, &[], "updates that came from the broker"),
    ("bridge_updates_rejected_total", Counter, &[("reason", Of(&["not_utf8", "not_json", "not_an_object", "missing_field", "too_large"]))], "updates that can't be read"),
    ("bridge_updates_foreign_total", Counter, &[], "updates of another tenant: normal on a shared broker"),
    ("bridge_updates_leaked_total", Counter, &[], "updates whose routing key or queue is another user's than their body's"),
    ("bridge_updates_repaired_total", Counter, &[], "updates with half a surrogate pair, which became U+FFFD"),
    ("bridge_updates_for_nobody_total", Counter, &[], "updates for users that are not here any more"),
    ("bridge_updates_stalled", Gauge, &[], "1 while messages are accepted here and no update comes of them: Chat3's update worker stands"),
    ("bridge_updates_stalls_total", Counter, &[], "times that updates stalled"),
    ("bridge_broker_up", Gauge, &[], "1 while the broker session is up"),
    ("bridge_broker_reconnects_total", Counter, &[], "broker sessions that came back after one was lost"),
    ("bridge_queues", Gauge, &[("state", Any)], "users' queues by state"),
    ("bridge_queue_lost_total", Counter, &[], "queues that the broker took away"),
    ("bridge_queue_failed_total", Counter, &[], "queues that could not be made, or not in time"),
    ("bridge_bindings_lost_total", Counter, &[], "times that all bindings were gone and made anew"),
    ("bridge_embedded_dropped_total", Counter, &[], "updates that the embedded broker's full queues dropped"),
    ("bridge_shadow_opened_total", Counter, &[], "units of the comparison that were opened"),
    ("bridge_shadow_closed_total", Counter, &[("class", Classes), ("cause", Causes)], "units that closed"),
    ("bridge_shadow_amended_total", Counter, &[("from", Classes), ("to", Classes)], "units whose late twin changed their class"),
    ("bridge_shadow_open", Gauge, &[], "units that are open"),
    ("bridge_shadow_skew_seconds", Histogram, &[], "time between the two copies of a pair, either way"),
    ("bridge_shadow_memory_bytes", Gauge, &[], "what the comparator holds: units with their payloads, and facts"),
    ("bridge_shadow_waiting_bytes", Gauge, &[], "observations on their way to the comparator"),
    ("bridge_shadow_shed_total", Counter, &[], "observations that did not fit"),
    ("bridge_shadow_forgotten_total", Counter, &[], "facts let go before their time, for want of memory: what might have rested on them is `indeterminate`"),
    ("bridge_shadow_log_lost_total", Counter, &[], "records that are in no file: the disk did not take them"),
    ("bridge_verdict", Gauge, &[("verdict", Of(&["SAFE", "NOT_SAFE", "INCONCLUSIVE", "STALE"]))], "1 for the verdict that holds, 0 for the others"),
    ("bridge_guard", Gauge, &[("state", Of(&["off", "armed", "alarmed", "acted"]))], "1 for what the guard is: off, armed, alarmed (it would have rolled back), acted; 0 for the others"),
    ("bridge_notices_sent_total", Counter, &[], "notices that `notify.url` took"),
    ("bridge_notices_failed_total", Counter, &[], "tries that `notify.url` did not take"),
    ("bridge_notices_dropped_total", Counter, &[("reason", Of(&["full", "not_taken"]))], "notices that were let go: too many waited, or they were not taken after several tries"),
    ("bridge_guard_alarms_total", Counter, &[("cause", Of(&["broker_down", "broker_flapping", "missing", "updates_stalled"]))], "times that the guard acted, or would have"),
    ("bridge_audit_lost_total", Counter, &[], "audit entries that were let go because the disk has long been away"),
    ("bridge_state_writes_lost_total", Counter, &[], "writes to state_dir that were let go because it hangs"),
];

/// Every series of a metric with these labels; none where a value is not known before.
pub(super) fn series(labels: &[(&'static str, Values)]) -> Vec<Series> {
    let mut all: Vec<Series> = vec![Vec::new()];
    for (label, values) in labels {
        all = all
            .into_iter()
            .flat_map(|series| {
                let with = |value| series.iter().copied().chain([(*label, value)]).collect::<Series>();
                of(*values, series.last().map(|(_, class)| *class)).into_iter().map(with).collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

fn of(values: Values, before: Option<&str>) -> Vec<&'static str> {
    match values {
        Of(values) => values.to_vec(),
        Classes => Class::ALL.map(Class::name).to_vec(),
        Causes => {
            let class = Class::ALL.into_iter().find(|class| Some(class.name()) == before);
            match class.map(Class::causes).unwrap_or_default() {
                [] => vec![""],
                causes => causes.iter().copied().map(Cause::name).collect(),
            }
        }
        Any => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{METRICS, Metric};

    fn files(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("telemetry/names.rs") {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }

    /// What stands before the bracket that closes those of a call.
    fn arguments(text: &str) -> &str {
        let mut open = 1_i32;
        let end = text.find(|c: char| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        &text[..end.unwrap_or(text.len())]
    }

    #[test]
    fn what_is_counted_is_in_the_table_with_its_labels() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Vec::new();
        files(&root.join("src"), &mut sources);
        let name = |text: &str| text.split('"').next().unwrap().to_owned();
        let mut used = BTreeSet::new();
        for source in &sources {
            for (at, _) in source.match_indices("!(\"bridge_") {
                let call = arguments(&source[at + 2..]);
                let name = name(&call[1..]);
                if !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()) {
                    continue;
                }
                let metric = METRICS.iter().find(|(own, ..)| *own == name);
                let (.., labels, _) = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
                // `"label" => value`, for each of them.
                let label =
                    |(at, _): (usize, &str)| call[..at].trim_end().trim_end_matches('"').rsplit('"').next();
                let given: BTreeSet<&str> = call.match_indices("=>").filter_map(label).collect();
                assert_eq!(given, labels.iter().map(|(label, _)| *label).collect(), "{name}: its labels");
                used.insert(name);
            }
        }
        let described: BTreeSet<String> = METRICS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(used, described);
    }

    fn row((name, kind, labels, help): &Metric) -> String {
        let labels: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
        let labels = if labels.is_empty() { "–".into() } else { labels.join(", ") };
        format!("| `{name}` | {} | {labels} | {help} |\n", format!("{kind:?}").to_lowercase())
    }

    #[test]
    fn the_page_is_the_table() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-docs/08-metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let shown: String = page
            .lines()
            .filter(|line| line.starts_with("| `bridge_"))
            .map(|line| line.to_owned() + "\n")
            .collect();
        let table: String = METRICS.iter().map(row).collect();
        assert_eq!(shown, table, "migrations-docs/08-metrics.md has to have these rows:\n{table}");
    }
}
