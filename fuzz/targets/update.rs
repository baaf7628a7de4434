//! A body from the broker: it is refused, or reads as the same update again, and each form of it is JSON.
#![no_main]

use bridge_core::form::{Form, render};
use bridge_core::update::Update;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    let Ok(update) = Update::read(body, 7) else { return };
    let again = Update::read(update.body.get().as_bytes(), 7).expect("what was read reads again");
    assert!(!again.repaired, "it is repaired once");
    assert_eq!(again.key, update.key);
    assert_eq!((again.tenant(), again.user(), again.event()), (update.tenant(), update.user(), update.event()));
    assert_eq!((again.dialog(), again.dialog_mongo()), (update.dialog(), update.dialog_mongo()));
    assert_eq!((again.sender(), again.message()), (update.sender(), update.message()));
    for form in [Form::Update, Form::Legacy, Form::Chatapp] {
        for (_, data) in render(&update, form) {
            serde_json::from_str::<&RawValue>(data.get()).expect("what a client is sent is JSON");
        }
    }
});
