//! The report: numbers of one or many instances, of files, and their difference.

use std::collections::BTreeMap;

use bridge_core::compare::{Cause, Class, Modifier};
use bridge_core::verdict::{self, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::verdict::line;
use crate::cli::print;
use crate::clock::Clock;
use crate::fleet::{Seen, pooled};

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
    /// The verdict of all instances together, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pooled: Option<Verdict>,
    /// What they come from, and as they are shown: each one's, and the one of all last.
    #[serde(skip)]
    seen: Vec<Seen>,
    #[serde(skip)]
    answers: Vec<Verdict>,
    indeterminate_max: f64,
    /// Units of each kind that may be missing in `closed`, because the log holds a share of the good and neutral ones:
    /// those after the last that was written.
    unknown: u64,
    /// The share of good and neutral units that the log holds; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<f64>,
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
    /// Units that it stands for.
    pub(super) weight: u64,
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

    /// A log says that it holds a share of the good and neutral units.
    pub(super) fn sampled(&mut self, share: f64) {
        self.sample = Some(self.sample.map_or(share, |other| other.min(share)));
    }

    /// Counts a line of a log, or (`sign` is -1) takes it back.
    pub(super) fn count(&mut self, unit: &Counted, sign: i64) {
        let class = unit.class.name();
        let by = i64::try_from(unit.weight).unwrap_or(i64::MAX) * sign;
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
        if sign < 0 {
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
        self.seen.extend(Seen::deserialize(summary));
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
        let now = Clock::default().now();
        self.answers = self.seen.iter().filter_map(|one| pooled(std::slice::from_ref(one), now)).collect();
        if self.seen.len() > 1 {
            let all = pooled(&self.seen, now);
            self.pooled = all.clone();
            self.answers.extend(all);
        }
        if let Some(share) = self.sample {
            // So many in a row are not written in one case of a thousand.
            let misses = (0.001_f64).ln() / (1.0 - share.clamp(1e-9, 1.0 - 1e-9)).ln();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and far below 2^52"
            )]
            let unknown = misses.ceil().min(1e15) as u64;
            self.unknown = unknown;
        }
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
        let stale = match &self.pooled {
            Some(all) => all.value == verdict::Value::Stale,
            None => self.verdicts.iter().any(|verdict| verdict["value"] == "STALE"),
        };
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
        if let Some(share) = self.sample {
            let share = share * 100.0;
            print::data(&format!(
                "weighed: the log holds {share} % of the good and neutral units; of each kind up to {} more are not known",
                self.unknown
            ));
        }
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
        let many = self.answers.len() > 1;
        for (place, answer) in self.answers.iter().enumerate() {
            // The last one is of all.
            let source = self.sources.get(place).map_or("together", String::as_str);
            let label = if many { format!("verdict of {source}") } else { "verdict".into() };
            print::data(&format!("{label}: {}", line(answer)));
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

/// A count and its share, as far as they are known.
#[derive(Clone, Copy)]
struct Known {
    count: u64,
    share: f64,
    /// The share is within these.
    low: f64,
    high: f64,
}

impl Report {
    /// What is known of `count` units of class `class` (or with a rule). Bad and indeterminate units are all in a log; of
    /// every kind of the others the last few may be missing.
    fn known(&self, count: u64, class: Option<Class>) -> Known {
        let is_written = class.is_some_and(|class| class.is_bad() || class == Class::Indeterminate);
        let kinds = u64::try_from(self.causes.len() + self.rules.len() + 3).unwrap_or(u64::MAX);
        let (own, all) = (self.unknown.saturating_mul(kinds), self.unknown.saturating_mul(kinds * 2));
        let most = if is_written { count } else { count.saturating_add(own) };
        // A share is largest where all that is unknown is its own, smallest where none is.
        let high = share(most, if is_written { self.closed.max(1) } else { self.closed + own });
        let low = share(count, if count == 0 { 1 } else { self.closed.saturating_add(all) });
        Known { count, share: share(count, self.closed), low, high }
    }
}

fn change(before: Known, after: Known, class: Option<Class>) -> &'static str {
    let is_bad = class.is_some_and(|class| class.is_bad() || class == Class::Indeterminate);
    let is_good = class == Some(Class::Match);
    let grows = after.low > before.high + 1e-12;
    let shrinks = before.low > after.high + 1e-12;
    match (grows, shrinks) {
        (false, false) => "same",
        _ if !is_bad && !is_good => "changed",
        _ if grows == is_good => "better",
        _ => "worse",
    }
}

/// What got better and what got worse. Where a log holds a share only, what may be due to that is the same.
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
            if count(old) == 0 && count(new) == 0 {
                continue;
            }
            let named = name.split('/').next().unwrap_or_default();
            let class = Class::ALL.into_iter().find(|class| kind.is_empty() && class.name() == named);
            let (was, is) = (before.known(count(old), class), after.known(count(new), class));
            rows.push((format!("{kind}{name}"), was, is, change(was, is, class)));
        }
    }
    if json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, was, is, change)| {
                serde_json::json!({"name": name, "before": was.count, "before_share": was.share,
                    "after": is.count, "after_share": is.share, "change": change})
            })
            .collect();
        print::json(&serde_json::json!({"before": before.sources, "after": after.sources, "rows": rows}));
        return;
    }
    let mut table = print::table(&["", "before", "share", "after", "share", ""]);
    for (name, was, is, change) in rows {
        let shown = [was, is].map(|known| [known.count.to_string(), format!("{:.3} %", known.share * 100.0)]);
        let [[was, was_share], [is, is_share]] = shown;
        table.add_row([name, was, was_share, is, is_share, change.into()]);
    }
    print::data(&table.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(classes: &[(Class, u64)], sample: Option<f64>) -> Report {
        let mut report = Report { sample, ..Report::empty() };
        for (class, count) in classes {
            report.classes.insert(class.name().into(), *count);
            report.closed += count;
        }
        report.finish();
        report
    }

    fn changes(before: &Report, after: &Report, class: Class) -> &'static str {
        let known = |report: &Report| report.known(report.class(class), Some(class));
        change(known(before), known(after), Some(class))
    }

    #[test]
    fn a_run_and_its_own_log_show_no_difference_and_two_runs_do() {
        let run = report(&[(Class::Match, 100_000), (Class::PayloadMismatch, 50)], None);
        for (found, sample) in [(99_900, 0.01), (100_000, 0.5), (99_500, 0.001)] {
            let log = report(&[(Class::Match, found), (Class::PayloadMismatch, 50)], Some(sample));
            for class in [Class::Match, Class::PayloadMismatch] {
                assert_eq!(changes(&run, &log, class), "same", "{sample} {class:?}");
                assert_eq!(changes(&log, &run, class), "same", "{sample} {class:?}");
            }
        }
        // A quiet run: none of the good ones was written.
        let quiet = report(&[(Class::Match, 200), (Class::PayloadMismatch, 3)], None);
        let log = report(&[(Class::PayloadMismatch, 3)], Some(0.01));
        assert_eq!(changes(&quiet, &log, Class::PayloadMismatch), "same");
        assert_eq!(changes(&log, &quiet, Class::Match), "same");
        let worse = report(&[(Class::Match, 100_000), (Class::PayloadMismatch, 500)], None);
        assert_eq!(changes(&run, &worse, Class::PayloadMismatch), "worse");
        assert_eq!(changes(&worse, &run, Class::PayloadMismatch), "better");
        assert_eq!(changes(&run, &worse, Class::Match), "worse");
        let log = report(&[(Class::Match, 99_900), (Class::PayloadMismatch, 500)], Some(0.01));
        assert_eq!(changes(&run, &log, Class::PayloadMismatch), "worse", "that is more than a share can hide");
    }
}
