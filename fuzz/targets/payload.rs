//! Payloads of clients' events: each is read, or refused in words; nothing that is read is longer than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[path = "../../src/sockets/connection/payload.rs"]
mod payload;

/// As the gateway has them.
mod sockets {
    #[derive(Clone, Debug)]
    pub struct Refused(pub String);

    #[derive(Clone, Debug)]
    pub struct Resume {
        pub token: String,
        pub last: Option<String>,
    }
}

use payload::{Credentials, types, weight};
use sockets::Refused;

fn wrong(expected: &str) -> Refused {
    Refused(format!("expected {expected}"))
}

fn short(list: &[String]) {
    assert!(list.len() <= 100 && list.iter().all(|text| text.len() <= 16 * 1024));
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(data) = serde_json::from_slice::<Value>(bytes) else { return };
    assert!(weight(&data) >= size_of::<Value>());
    for trusted in [true, false] {
        match Credentials::read(data.clone(), trusted) {
            Err(Refused(why)) => assert!(!why.is_empty() && why.len() < 200, "short, and without what was sent"),
            Ok(read) => {
                read.accepts.iter().chain(&read.subscribe).for_each(|list| short(list));
                assert!(read.token.is_none() || read.user.is_none() || data.is_object());
                let resume = read.resume.map(|resume| json!({"token": resume.token, "last": resume.last}));
                let again = json!({"token": read.token, "userId": read.user, "accepts": read.accepts,
                    "subscribe": read.subscribe, "resume": resume});
                if data.is_object() {
                    let again = Credentials::read(again, trusted).expect("what was read reads again");
                    assert_eq!((again.token, again.user), (read.token, read.user));
                    assert_eq!((again.accepts, again.subscribe), (read.accepts, read.subscribe));
                }
            }
        }
    }
    if let Ok(types) = types(&data) {
        assert!(types.len() <= 100);
        let mut selection = bridge_core::recipient::Selection::default();
        if selection.add(types.clone()).is_ok() {
            assert!(types.iter().all(|kind| selection.wants(kind)), "what was asked for is wanted");
            assert!(selection.remove(types).is_ok());
        }
    }
});
