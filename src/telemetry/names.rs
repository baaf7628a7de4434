//! Every metric, with what it counts: the `# HELP` of `/metrics`, and the page of the documentation.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Name, kind and help.
#[rustfmt::skip]
pub(super) const METRICS: &[(&str, Kind, &str)] = &[
    ("bridge_stage", Gauge, "1 for the stage that this instance is in, 0 for the others"),
    ("bridge_rollout_percent", Gauge, "share of users that rabbitmq serves in `live` and `complete`, 0 to 100"),
    ("bridge_build_info", Gauge, "1; its labels name version and build"),
    ("bridge_users", Gauge, "users with a socket, connected or lingering"),
    ("bridge_sockets", Gauge, "sockets, connected or lingering"),
    ("bridge_sockets_cut_total", Counter, "connections that the bridge ended: slow, resumed, unauthenticated"),
    ("bridge_client_events_refused_total", Counter, "events of clients that were refused"),
    ("bridge_typing_relayed_total", Counter, "typing events handed to other sockets"),
    ("bridge_audience_incomplete_total", Counter, "broadcasts that left before Chat3 said who the members are: it said so later, or not at all"),
    ("bridge_copies_total", Counter, "copies of each path at the gate, by user: emitted, or swallowed because the other path delivers"),
    ("bridge_copies_deduplicated_total", Counter, "copies that the ledger dropped because every socket had them"),
    ("bridge_copies_released_total", Counter, "held copies that went out after all: flushed by a flip, or rescued"),
    ("bridge_resync_total", Counter, "`bridge:resync` by reason"),
    ("bridge_forwards_refused_total", Counter, "messages refused with 503 because too many wait for Chat3: of their user, or of all"),
    ("bridge_membership_refusals_total", Counter, "joins, messages and places in rooms of users who are no members: refused (`enforce`), or only counted (`report`)"),
    ("bridge_membership_unknown_total", Counter, "questions about members that Chat3 did not answer"),
    ("bridge_updates_received_total", Counter, "updates that came from the broker"),
    ("bridge_updates_rejected_total", Counter, "updates that can't be read"),
    ("bridge_updates_foreign_total", Counter, "updates of another tenant: normal on a shared broker"),
    ("bridge_updates_leaked_total", Counter, "updates whose routing key or queue is another user's than their body's"),
    ("bridge_updates_repaired_total", Counter, "updates with half a surrogate pair, which became U+FFFD"),
    ("bridge_updates_for_nobody_total", Counter, "updates for users that are not here any more"),
    ("bridge_broker_up", Gauge, "1 while the broker session is up"),
    ("bridge_broker_reconnects_total", Counter, "broker sessions after the first"),
    ("bridge_queues", Gauge, "users' queues by state"),
    ("bridge_queue_lost_total", Counter, "queues that the broker took away"),
    ("bridge_queue_failed_total", Counter, "queues that could not be made, or not in time"),
    ("bridge_bindings_lost_total", Counter, "times that all bindings were gone and made anew"),
    ("bridge_embedded_dropped_total", Counter, "updates that the embedded broker's full queues dropped"),
    ("bridge_shadow_opened_total", Counter, "units of the comparison that were opened"),
    ("bridge_shadow_closed_total", Counter, "units that closed"),
    ("bridge_shadow_amended_total", Counter, "units whose late twin changed their class"),
    ("bridge_shadow_open", Gauge, "units that are open"),
    ("bridge_shadow_skew_seconds", Histogram, "time between the two copies of a pair, either way"),
    ("bridge_shadow_memory_bytes", Gauge, "what the comparator holds: units with their payloads, and facts"),
    ("bridge_shadow_waiting_bytes", Gauge, "observations on their way to the comparator"),
    ("bridge_shadow_shed_total", Counter, "observations that did not fit"),
    ("bridge_shadow_forgotten_total", Counter, "facts let go before their time, for want of memory: what might have rested on them is `indeterminate`"),
    ("bridge_shadow_log_lost_total", Counter, "records that are in no file: the disk did not take them"),
    ("bridge_verdict", Gauge, "1 for the verdict that holds, 0 for the others"),
    ("bridge_guard", Gauge, "1 for what the guard is: off, armed, alarmed (it would have rolled back), acted; 0 for the others"),
    ("bridge_guard_alarms_total", Counter, "times that the guard acted, or would have"),
    ("bridge_audit_lost_total", Counter, "audit entries that were let go because the disk has long been away"),
    ("bridge_state_writes_lost_total", Counter, "writes to state_dir that were let go because it hangs"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::METRICS;

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

    #[test]
    fn every_metric_is_described_and_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Vec::new();
        files(&root.join("src"), &mut sources);
        let name = |text: &str| text.split('"').next().unwrap().to_owned();
        let used: BTreeSet<String> = sources
            .iter()
            .flat_map(|source| source.match_indices("!(\"bridge_").map(|(at, _)| name(&source[at + 3..])))
            .filter(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()))
            .collect();
        for source in &sources {
            for (at, _) in source.match_indices("counter!(\"bridge_") {
                let call = source[at..].split(')').next().unwrap();
                if call.contains("=>") {
                    let name = name(&call["counter!(\"".len()..]);
                    assert!(super::super::labels::is_labelled(&name), "{name}: its series do not begin at 0");
                }
            }
        }
        let described: BTreeSet<String> = METRICS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(used, described);
        let page = std::fs::read_to_string(root.join("migrations-docs/08-metrics.md")).unwrap();
        for (name, _, help) in METRICS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            assert!(row.is_some_and(|row| row.ends_with(&format!("| {help} |"))), "{name}: {row:?}");
        }
    }
}
