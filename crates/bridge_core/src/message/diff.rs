//! A typed difference of two JSON values, with JSON Pointers (RFC 6901).

use serde_json::Value;

use super::{DiffKind, Difference};

/// Most differences that one comparison lists.
const MOST: usize = 32;

/// Appends how `legacy` and `rabbitmq` differ at `path`.
pub(super) fn difference(
    found: &mut Vec<Difference>,
    path: &str,
    legacy: Option<&Value>,
    rabbitmq: Option<&Value>,
) {
    if found.len() >= MOST {
        return;
    }
    let mut add = |kind: DiffKind| {
        let value = |side: Option<&Value>| side.cloned().unwrap_or_default();
        found.push(Difference { path: path.to_owned(), kind, legacy: value(legacy), rabbitmq: value(rabbitmq) });
    };
    match (legacy, rabbitmq) {
        (None, None) => {}
        (Some(_), None) => add(DiffKind::MissingInRabbitmq),
        (None, Some(_)) => add(DiffKind::MissingInLegacy),
        (Some(ours), Some(theirs)) if same(ours, theirs) => {}
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let only_theirs = theirs.keys().filter(|key| !ours.contains_key(*key));
            for key in ours.keys().chain(only_theirs) {
                let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                difference(found, &below, ours.get(key), theirs.get(key));
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            for place in 0..ours.len().max(theirs.len()) {
                difference(found, &format!("{path}/{place}"), ours.get(place), theirs.get(place));
            }
        }
        (Some(ours), Some(theirs)) if kind(ours) != kind(theirs) => add(DiffKind::Type),
        (Some(_), Some(_)) => add(DiffKind::Value),
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
