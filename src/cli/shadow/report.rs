//! The report: numbers of one or many instances, of files, and their difference.

use std::collections::BTreeMap;

use bridge_core::compare::{Cause, Class, Modifier};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::print;

type Counts = BTreeMap<String, u64>;

/// A report, also what `--json` prints and `shadow diff` reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// Instances or files.
    pub(super) sources: Vec<String>,
    opened: u64,
    closed: u64,
    open: u64,
    classes: Counts,
    causes: Counts,
    modifiers: Counts,
    rules: Counts,
    shed: u64,
    /// Of each instance.
    skew_ms: Vec<Value>,
    verdicts: Vec<Value>,
    indeterminate_max: f64,
    /// Where copies differ, how often, and one example each.
    fields: Vec<Field>,
}

/// What was counted of a record, to be taken back when another one amends it.
pub(super) struct Counted {
    pub(super) at: String,
    pub(super) amends: bool,
    pub(super) class: Class,
    pub(super) cause: Option<Cause>,
    pub(super) modifiers: Vec<Modifier>,
    pub(super) rules: Vec<String>,
    pub(super) paths: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Field {
    path: String,
    count: u64,
    example: Value,
}

/// Differing fields that are listed.
const FIELDS: usize = 10;

impl Report {
    /// It was one: any JSON object reads as a report.
    pub(super) fn has_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    pub(super) fn empty() -> Self {
        let classes = Class::ALL.map(|class| (class.name().to_owned(), 0)).into();
        Self { classes, indeterminate_max: 0.01, ..Self::default() }
    }

    /// Counts a line of a log, or (`by` is -1) takes it back.
    pub(super) fn count(&mut self, unit: &Counted, by: i64) {
        let class = unit.class.name();
        self.opened = self.opened.saturating_add_signed(by);
        self.closed = self.closed.saturating_add_signed(by);
        let add = |counts: &mut Counts, name: String| {
            let count = counts.entry(name).or_default();
            *count = count.saturating_add_signed(by);
        };
        add(&mut self.classes, class.into());
        if let Some(cause) = unit.cause {
            add(&mut self.causes, format!("{class}/{}", cause.name()));
        }
        for modifier in &unit.modifiers {
            add(&mut self.modifiers, modifier.name().into());
        }
        for rule in &unit.rules {
            add(&mut self.rules, rule.clone());
        }
        if by < 0 {
            for field in self.fields.iter_mut().filter(|field| unit.paths.contains(&field.path)) {
                field.count = field.count.saturating_sub(1);
            }
        }
    }

    pub(super) fn add(&mut self, summary: &Value) {
        let number = |key: &str| summary[key].as_u64().unwrap_or(0);
        self.opened += number("opened");
        self.closed += number("closed");
        self.open += number("open");
        self.shed += number("shed");
        let all = [
            ("classes", &mut self.classes),
            ("causes", &mut self.causes),
            ("modifiers", &mut self.modifiers),
            ("rules", &mut self.rules),
        ];
        for (key, counts) in all {
            for (name, count) in summary[key].as_object().into_iter().flatten() {
                *counts.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        self.skew_ms.push(summary["skew_ms"].clone());
        self.verdicts.push(summary["verdict"].clone());
        self.indeterminate_max = summary["indeterminate_max"].as_f64().unwrap_or(self.indeterminate_max);
    }

    pub(super) fn differences(&mut self, record: &Value) {
        for difference in record["diff"].as_array().into_iter().flatten() {
            let path = difference["path"].as_str().unwrap_or_default();
            match self.fields.iter_mut().find(|field| field.path == path) {
                Some(field) => field.count += 1,
                None => {
                    let mut example = difference.clone();
                    example["message"] = record["message"].clone();
                    self.fields.push(Field { path: path.into(), count: 1, example });
                }
            }
        }
    }

    pub(super) fn finish(&mut self) {
        self.fields.retain(|field| field.count > 0);
        self.fields.sort_by_key(|field| std::cmp::Reverse(field.count));
        self.fields.truncate(FIELDS);
    }

    fn class(&self, class: Class) -> u64 {
        self.classes.get(class.name()).copied().unwrap_or(0)
    }

    /// The exit code: a sum of bits.
    pub(super) fn code(&self) -> u8 {
        let any = |classes: &[Class]| classes.iter().any(|class| self.class(*class) > 0);
        let indeterminate = share(self.class(Class::Indeterminate), self.closed) > self.indeterminate_max;
        let compared: u64 = Class::ALL
            .into_iter()
            .filter(|class| class.is_bad() || *class == Class::Match)
            .map(|own| self.class(own))
            .sum();
        let stale = self.verdicts.iter().any(|verdict| verdict["value"] == "STALE");
        // Nothing compared speaks for nothing.
        let bits = [
            (4, any(&[Class::PayloadMismatch, Class::AudienceMismatch])),
            (8, any(&[Class::MissingInRabbitmq, Class::MissingInLegacyUnexpected])),
            (16, any(&[Class::Duplicate])),
            (32, any(&[Class::Leak])),
            (64, indeterminate || compared == 0),
            (128, stale),
        ];
        bits.into_iter().filter(|(_, set)| *set).map(|(bit, _)| bit).sum()
    }

    pub(super) fn print(&self) {
        print::data(&self.sources.join(", "));
        let Self { opened, closed, open, shed, .. } = self;
        print::data(&format!("{opened} opened = {closed} closed + {open} open, {shed} shed"));
        let mut table = print::table(&["class", "units", "share", "causes"]);
        for class in Class::ALL {
            let name = class.name();
            let prefix = format!("{name}/");
            let causes = self.causes.iter().filter_map(|(key, count)| Some((key.strip_prefix(&prefix)?, count)));
            let causes: Vec<String> =
                causes.filter(|(_, n)| **n > 0).map(|(cause, n)| format!("{cause} {n}")).collect();
            let count = self.class(class);
            table.add_row([name.into(), count.to_string(), percent(count, *closed), causes.join(", ")]);
        }
        print::data(&table.to_string());
        let list = |title: &str, counts: &Counts| {
            let items: Vec<String> = counts
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(name, count)| format!("{name} {count} ({})", percent(*count, *closed)))
                .collect();
            if !items.is_empty() {
                print::data(&format!("{title}: {}", items.join(", ")));
            }
        };
        list("rules", &self.rules);
        list("modifiers", &self.modifiers);
        for skew in self.skew_ms.iter().filter(|skew| !skew["p50"].is_null()) {
            print::data(&format!("skew: p50 {} ms, p95 {} ms, p99 {} ms", skew["p50"], skew["p95"], skew["p99"]));
        }
        for field in &self.fields {
            let Field { path, count, example } = field;
            let (ours, theirs) = (&example["legacy"], &example["rabbitmq"]);
            print::data(&format!(
                "differs at {path}: {count} times, e.g. {ours} / {theirs} ({})",
                example["message"]
            ));
        }
        for verdict in &self.verdicts {
            let missing: Vec<&str> =
                verdict["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let missing =
                if missing.is_empty() { String::new() } else { format!("; missing: {}", missing.join("; ")) };
            let eta = verdict["eta"].as_u64().map_or_else(String::new, |eta| {
                format!("; expected in {}", humantime::format_duration(std::time::Duration::from_secs(eta)))
            });
            let bound = verdict["upper_bound"].as_f64().unwrap_or(1.0);
            let (value, messages) = (verdict["value"].as_str().unwrap_or_default(), &verdict["messages"]);
            print::data(&format!(
                "verdict: {value} over {messages} messages, rate of bad ones below {bound:.2e}{missing}{eta}"
            ));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares for people")]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.3} %", share(part, all) * 100.0)
}

/// What got better and what got worse.
pub(super) fn diff(before: &Report, after: &Report, json: bool) {
    let mut rows = Vec::new();
    let kinds = [
        ("", &before.classes, &after.classes),
        ("", &before.causes, &after.causes),
        ("rule ", &before.rules, &after.rules),
    ];
    for (kind, old, new) in kinds {
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let count = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
            let (was, is) = (share(count(old), before.closed), share(count(new), after.closed));
            if count(old) == 0 && count(new) == 0 {
                continue;
            }
            let class = name.split('/').next().unwrap_or_default();
            let bad =
                Class::ALL.iter().any(|own| own.name() == class && (own.is_bad() || *own == Class::Indeterminate));
            let good = class == Class::Match.name();
            let change = match (is - was, bad, good) {
                (delta, ..) if delta.abs() < 1e-12 => "same",
                (delta, true, _) => {
                    if delta < 0.0 {
                        "better"
                    } else {
                        "worse"
                    }
                }
                (delta, _, true) => {
                    if delta > 0.0 {
                        "better"
                    } else {
                        "worse"
                    }
                }
                _ => "changed",
            };
            rows.push((format!("{kind}{name}"), count(old), was, count(new), is, change));
        }
    }
    if json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, old, was, new, is, change)| {
                serde_json::json!({"name": name, "before": old, "before_share": was, "after": new, "after_share": is, "change": change})
            })
            .collect();
        print::json(&serde_json::json!({"before": before.sources, "after": after.sources, "rows": rows}));
        return;
    }
    let mut table = print::table(&["", "before", "share", "after", "share", ""]);
    for (name, old, was, new, is, change) in rows {
        let shares = [was, is].map(|share| format!("{:.3} %", share * 100.0));
        table.add_row([
            name,
            old.to_string(),
            shares[0].clone(),
            new.to_string(),
            shares[1].clone(),
            change.into(),
        ]);
    }
    print::data(&table.to_string());
}
