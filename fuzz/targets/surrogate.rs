//! Repair of halved surrogate pairs: once is enough, what is readable stays, and what becomes readable is JSON.
#![no_main]

use std::borrow::Cow;

use bridge_core::update::repair;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let repaired = repair(text);
    assert_eq!(repair(&repaired), repaired, "once is enough");
    assert_eq!(repaired.len(), text.len(), "an escape takes the place of an escape");
    if serde_json::from_str::<Value>(text).is_ok() {
        assert!(matches!(repaired, Cow::Borrowed(_)), "what is readable stays");
    }
});
