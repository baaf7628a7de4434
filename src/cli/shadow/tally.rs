//! Records of log files, each unit counted once: a record that amends another counts instead of it, in whatever file and
//! order they stand, and also where the first one was not sampled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bridge_core::compare::{Class, Modifier, Record};

use super::report::{Counted, Report};
use super::source::{Source, Unread, each_record, records_of};
use crate::cli::Failure;
use crate::shadow::Filter;

/// A report that grows.
pub(super) struct Tally {
    pub(super) report: Report,
    /// Units that were amended or may be, by instance and id. Most can't be, and are not kept.
    units: HashMap<(std::sync::Arc<str>, String), Counted>,
}

/// Whether the other copy of it may have come late.
fn may_be_amended(record: &Record) -> bool {
    let one_sided = record.legacy.is_some() != record.rabbitmq.is_some();
    one_sided && record.message.is_some() && record.class != Class::MissingInLegacyExpected
}

impl Tally {
    pub(super) fn new(report: Report) -> Self {
        Self { report, units: HashMap::new() }
    }

    /// Counts a line of a log. A drill's count nowhere.
    pub(super) fn count(&mut self, record: &Record) {
        if let Some(share) = record.sample {
            self.report.sampled(share);
        }
        if record.modifiers.contains(&Modifier::Drill) {
            return;
        }
        let unit = Counted {
            at: record.at.clone(),
            amends: record.amends,
            class: record.class,
            cause: record.cause,
            modifiers: record.modifiers.clone(),
            rules: record.rules.clone(),
            paths: record.diff.iter().map(|difference| difference.path.clone()).collect(),
            weight: record.weight.unwrap_or(1).max(1),
        };
        let name = (record.instance.clone(), record.id.clone());
        if let Some(earlier) = self.units.get(&name) {
            // Times of one instance, in one format, sort as text.
            if !unit.amends || (earlier.amends && unit.at < earlier.at) {
                return;
            }
            self.report.count(earlier, -1);
        }
        self.report.count(&unit, 1);
        if let Ok(record) = serde_json::to_value(record) {
            self.report.differences(&record);
        }
        if unit.amends || may_be_amended(record) {
            self.units.insert(name, unit);
        }
    }

    pub(super) fn finish(mut self) -> Report {
        self.report.finish();
        self.report
    }
}

/// The report of running instances, or of log files.
pub(super) async fn report_of(source: &Source, unread: &mut Unread) -> Result<Report, Failure> {
    let nodes = match source {
        Source::Files(files) => return of_logs(files, unread),
        Source::Nodes(nodes) => nodes,
    };
    let mut report = Report::empty();
    for node in nodes {
        let summary = node.get("/admin/shadow/summary").await;
        let summary = summary.map_err(|error| Failure::Code(1, error))?;
        report.sources.push(node.url.clone());
        report.add(&summary);
    }
    let differing = Filter { classes: vec![Class::PayloadMismatch], ..Filter::default() };
    for record in records_of(source, &differing, 10_000, unread).await? {
        report.differences(&record);
    }
    report.finish();
    Ok(report)
}

/// A report that was printed with `--json`, or a log.
pub(super) fn read(file: &Path, unread: &mut Unread) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    match serde_json::from_str::<Report>(&text) {
        Ok(report) if report.has_classes() => Ok(report),
        _ => of_logs(&[file.to_owned()], unread),
    }
}

fn of_logs(files: &[PathBuf], unread: &mut Unread) -> Result<Report, Failure> {
    let mut tally = Tally::new(Report::empty());
    for file in files {
        tally.report.sources.push(file.display().to_string());
        each_record(file, unread, |record| tally.count(&record))?;
    }
    Ok(tally.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instance: &str, id: &str, at: u32, class: &str, amends: bool) -> Record {
        let side = serde_json::json!({"at": "2026-01-01T00:00:00.000Z", "sockets": 1, "redelivered": false});
        let both = matches!(class, "match" | "payload_mismatch" | "duplicate");
        let diff = serde_json::json!([{"path": "/content", "kind": "value", "legacy": 1, "rabbitmq": 2}]);
        let text = serde_json::json!({"v": 1, "id": id, "at": format!("2026-01-01T00:00:{at:02}.000Z"),
            "instance": instance, "stage": "shadow", "class": class,
            "cause": if class == "missing_in_rabbitmq" { Some("no_update") } else { None },
            "modifiers": if amends { vec!["late"] } else { vec![] }, "amends": amends, "tenant": "t", "user": "u",
            "dialog": "dlg_1", "event": "message.create", "message": "msg_1", "event_id": null, "legacy": side,
            "rabbitmq": if both { side.clone() } else { serde_json::Value::Null }, "skew_ms": null,
            "rules": if class == "match" { vec!["empty_dropped"] } else { vec![] },
            "diff": if class == "payload_mismatch" { diff } else { serde_json::json!([]) }, "routing_key": null});
        serde_json::from_value(text).unwrap()
    }

    fn told(records: &[Record]) -> serde_json::Value {
        let mut tally = Tally::new(Report::empty());
        records.iter().for_each(|record| tally.count(record));
        serde_json::to_value(tally.finish()).unwrap()
    }

    #[test]
    fn an_amendment_counts_instead_of_what_it_amends_in_any_order() {
        let first = record("a", "1", 1, "missing_in_rabbitmq", false);
        let second = record("a", "1", 2, "payload_mismatch", true);
        let third = record("a", "1", 3, "match", true);
        // The same number on another instance is another unit.
        let other = record("b", "1", 1, "missing_in_rabbitmq", false);
        let all = [first, second, third, other];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 1, 3], [0, 2, 1, 3]] {
            let report = told(&order.map(|place| all[place].clone()));
            assert_eq!(report["closed"], 2, "{order:?}: {report}");
            assert_eq!(
                (&report["classes"]["match"], &report["classes"]["missing_in_rabbitmq"]),
                (&1.into(), &1.into())
            );
            assert_eq!(report["classes"]["payload_mismatch"], 0);
            assert_eq!(report["causes"]["missing_in_rabbitmq/no_update"], 1);
            assert_eq!((&report["rules"]["empty_dropped"], &report["modifiers"]["late"]), (&1.into(), &1.into()));
            assert_eq!(report["fields"], serde_json::json!([]));
        }
        let sampled_out = told(&all[2..3]);
        assert_eq!((&sampled_out["closed"], &sampled_out["classes"]["match"]), (&1.into(), &1.into()));
    }
}
