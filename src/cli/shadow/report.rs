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

pub(super) type Counts = BTreeMap<String, u64>;

/// A report, also what `--json` prints and `shadow diff` reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// Instances or files.
    pub(super) sources: Vec<String>,
    opened: u64,
    pub(super) closed: u64,
    open: u64,
    pub(super) classes: Counts,
    pub(super) causes: Counts,
    modifiers: Counts,
    pub(super) rules: Counts,
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
    pub(super) unknown: u64,
    /// The share of good and neutral units that the log holds; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sample: Option<f64>,
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

    pub(super) fn class(&self, class: Class) -> u64 {
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

    /// For a spreadsheet: what is counted, its name, how many, and the share of what closed in percent.
    pub(super) fn rows(&self) -> Vec<[String; 4]> {
        let head = ["kind", "name", "count", "percent"].map(str::to_owned);
        let row = |kind: &str, name: &str, count: u64| {
            [kind.to_owned(), name.to_owned(), count.to_string(), number(share(count, self.closed))]
        };
        let classes = Class::ALL.map(|class| row("class", class.name(), self.class(class)));
        let counts = [("cause", &self.causes), ("rule", &self.rules), ("modifier", &self.modifiers)];
        let counts =
            counts.into_iter().flat_map(|(kind, counts)| counts.iter().map(move |(name, n)| (kind, name, *n)));
        let counts = counts.filter(|(.., count)| *count > 0).map(|(kind, name, count)| row(kind, name, count));
        let fields = self.fields.iter().map(|field| row("differs_at", &field.path, field.count));
        std::iter::once(head).chain(classes).chain(counts).chain(fields).collect()
    }

    pub(super) fn print(&self) {
        print::data(&self.sources.join(", "));
        let Self { opened, closed, open, shed, .. } = self;
        print::data(&format!("{opened} opened = {closed} closed + {open} open, {shed} shed"));
        if let Some(share) = self.sample {
            print::data(&format!(
                "weighed: the log holds {} of the good and neutral units; of each kind up to {} more are not known",
                verdict::percent(share),
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
pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn percent(part: u64, all: u64) -> String {
    verdict::percent(share(part, all))
}

/// A share in percent for spreadsheets.
pub(super) fn number(share: f64) -> String {
    ((share * 1e8).round() / 1e6).to_string()
}
