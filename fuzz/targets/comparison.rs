//! The canonical form and its differences: a line of Chat3's answer, then an update. The order of members does not matter.
#![no_main]

use bridge_core::Json;
use bridge_core::message::{Comparison, compare_raw, redact};
use bridge_core::update::Update;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Most differences that are listed; beyond, which of them are depends on the order.
const MOST: usize = 32;

fn reversed(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().rev().map(|(key, value)| (key, reversed(value))).collect(),
        Value::Array(items) => items.into_iter().map(reversed).collect(),
        other => other,
    }
}

fn compared(legacy: &Value, update: &Value) -> Option<Comparison> {
    let update = Update::read(update.to_string().as_bytes(), 7).ok()?;
    let mut found = compare_raw(&Json::of(legacy), "dlg_1", &update, &[]);
    found.diff.sort_by(|one, other| one.path.cmp(&other.path));
    found.rules.sort();
    Some(found)
}

fuzz_target!(|pair: &[u8]| {
    let Some(end) = pair.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(legacy), Ok(update)) = (serde_json::from_slice(&pair[..end]), serde_json::from_slice(&pair[end..])) else {
        return;
    };
    let forth = compared(&legacy, &update);
    let back = compared(&reversed(legacy), &reversed(update));
    assert_eq!(forth.is_some(), back.is_some());
    let (Some(mut forth), Some(back)) = (forth, back) else { return };
    assert!(forth.diff.len() <= MOST && back.diff.len() <= MOST);
    assert_eq!(forth.rules, back.rules);
    assert_eq!(forth.diff.len(), back.diff.len());
    if forth.diff.len() < MOST {
        for (one, other) in forth.diff.iter().zip(&back.diff) {
            assert_eq!((&one.path, one.kind), (&other.path, other.kind));
            assert_eq!((&one.legacy, &one.rabbitmq), (&other.legacy, &other.rabbitmq));
        }
    }
    redact(&mut forth.diff);
});
