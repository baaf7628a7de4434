//! The difference of two reports.

use bridge_core::compare::Class;
use bridge_core::verdict::percent;
use serde_json::Value;

use super::Format;
use super::report::{Counts, Report, number, share};
use crate::cli::{Failure, print};

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
pub(super) fn diff(before: &Report, after: &Report, format: Format) -> Result<(), Failure> {
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
    if format.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, was, is, change)| {
                serde_json::json!({"name": name, "before": was.count, "before_share": was.share,
                    "after": is.count, "after_share": is.share, "change": change})
            })
            .collect();
        print::json(&serde_json::json!({"before": before.sources, "after": after.sources, "rows": rows}));
        return Ok(());
    }
    if format.csv {
        let head = ["name", "before", "before_percent", "after", "after_percent", "change"].map(str::to_owned);
        let row = |(name, was, is, change): (String, Known, Known, &str)| {
            let [was, is] = [was, is].map(|known| (known.count.to_string(), number(known.share)));
            [name, was.0, was.1, is.0, is.1, change.into()]
        };
        return print::csv(std::iter::once(head).chain(rows.into_iter().map(row)));
    }
    let mut table = print::table(&["", "before", "share", "after", "share", ""]);
    for (name, was, is, change) in rows {
        let shown = [was, is].map(|known| [known.count.to_string(), percent(known.share)]);
        let [[was, was_share], [is, is_share]] = shown;
        table.add_row([name, was, was_share, is, is_share, change.into()]);
    }
    print::data(&table.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(classes: &[(Class, u64)], sample: Option<f64>) -> Report {
        let mut report = Report::empty();
        report.sample = sample;
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
