//! A typed difference of two JSON values, with JSON Pointers (RFC 6901).

use serde_json::Value;

use super::{Comparison, DiffKind, Difference, IgnoreRule, is_below};

/// Most differences that one comparison lists.
const MOST: usize = 32;

/// One comparison while it goes on.
pub(super) struct Look<'a> {
    pub(super) found: Comparison,
    ignore: &'a [&'a IgnoreRule],
}

impl<'a> Look<'a> {
    pub(super) fn new(ignore: &'a [&'a IgnoreRule]) -> Self {
        Self { found: Comparison::default(), ignore }
    }

    /// Notes how `legacy` and `rabbitmq` differ at `path`; whether they are equal there. What somebody answers for takes
    /// no place among the differences that are listed.
    pub(super) fn difference(&mut self, path: &str, legacy: Option<&Value>, rabbitmq: Option<&Value>) -> bool {
        match (legacy, rabbitmq) {
            (None, None) => true,
            (Some(ours), Some(theirs)) if same(ours, theirs) => true,
            _ if self.is_ignored(path) => false,
            (Some(_), None) => self.add(path, DiffKind::MissingInRabbitmq, legacy, rabbitmq),
            (None, Some(_)) => self.add(path, DiffKind::MissingInLegacy, legacy, rabbitmq),
            (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
                let only_theirs = theirs.keys().filter(|key| !ours.contains_key(*key));
                for key in ours.keys().chain(only_theirs) {
                    let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                    self.difference(&below, ours.get(key), theirs.get(key));
                }
                false
            }
            (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
                for place in 0..ours.len().max(theirs.len()) {
                    self.difference(&format!("{path}/{place}"), ours.get(place), theirs.get(place));
                }
                false
            }
            (Some(ours), Some(theirs)) if kind(ours) != kind(theirs) => {
                self.add(path, DiffKind::Type, legacy, rabbitmq)
            }
            (Some(_), Some(_)) => self.add(path, DiffKind::Value, legacy, rabbitmq),
        }
    }

    /// Whether somebody answers for `path`, where something differs; names who.
    fn is_ignored(&mut self, path: &str) -> bool {
        let rule = self.ignore.iter().find(|rule| is_below(path, &rule.path));
        if let Some(rule) = rule
            && !self.found.ignored.contains(&rule.name)
        {
            self.found.ignored.push(rule.name.clone());
        }
        rule.is_some()
    }

    fn add(&mut self, path: &str, kind: DiffKind, legacy: Option<&Value>, rabbitmq: Option<&Value>) -> bool {
        if self.found.diff.len() < MOST {
            let value = |side: Option<&Value>| side.cloned().unwrap_or_default();
            let (legacy, rabbitmq) = (value(legacy), value(rabbitmq));
            self.found.diff.push(Difference { path: path.to_owned(), kind, legacy, rabbitmq });
        }
        false
    }
}

/// Bytes that differences hold, roughly.
pub(crate) fn weight(diff: &[Difference]) -> usize {
    diff.iter().map(|one| 128 + one.path.len() + held(&one.legacy) + held(&one.rabbitmq)).sum()
}

fn held(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(held).sum::<usize>(),
        Value::Object(fields) => {
            64 + fields.iter().map(|(key, value)| 64 + key.len() + held(value)).sum::<usize>()
        }
    }
}

/// Equality as JavaScript sees it: one kind of number, members in any order.
pub(super) fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours == theirs || ours.as_f64() == theirs.as_f64(),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|other| same(value, other)))
        }
        _ => ours == theirs,
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}
