//! Captured traffic of four Chat3 versions: every update is read, and every createMessage answer equals its updates,
//! except for the differences that are known as real.
#![expect(clippy::print_stdout, reason = "what was found, for who looks on")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bridge_core::form::{Form, render};
use bridge_core::message::{Comparison, Rule, compare};
use bridge_core::update::{LegacyMessage, Update};
use serde_json::Value;
use serde_json::value::RawValue;

const VERSIONS: [(&str, usize); 4] = [("e25375c", 35), ("d9f2237", 35), ("95f9355", 49), ("b082001", 92)];

fn sample(version: &str, name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/samples");
    std::fs::read_to_string(root.join(version).join(name)).expect("a sample")
}

/// (routing key, body) of every update.
fn updates(version: &str) -> Vec<(String, String)> {
    // The captures abbreviate one text of 5,000 letters; three of the four versions cut it in the update.
    let cut = if version == "95f9355" { 5_000 } else { 4_096 };
    let lines = sample(version, "all.amqp.jsonl").replace("<x repeated>", &"x".repeat(cut));
    let parsed = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a capture"));
    let text = |line: &Value, key: &str| line[key].as_str().expect("text").to_owned();
    parsed
        .filter(|line| line["exchange"] == "chat3_updates")
        .map(|line| (text(&line, "routingKey"), text(&line, "bodyRaw")))
        .collect()
}

/// Each createMessage answer with each of its updates, compared.
fn pairs(version: &str) -> Vec<Comparison> {
    let http: Vec<Value> =
        serde_json::from_str(&sample(version, "http.all.json").replace("<x repeated 5000>", &"x".repeat(5_000)))
            .expect("a capture");
    let read: Vec<Update> =
        updates(version).iter().map(|(_, body)| Update::read(body.as_bytes(), 0).expect("readable")).collect();
    let mut compared = Vec::new();
    for exchange in &http {
        let path = exchange["path"].as_str().unwrap_or_default();
        let dialog = path.strip_prefix("/dialogs/").and_then(|rest| rest.strip_suffix("/messages"));
        let (Some(dialog), "POST", 201) =
            (dialog, exchange["method"].as_str().unwrap_or_default(), exchange["status"].as_i64().unwrap_or(0))
        else {
            continue;
        };
        let data = &exchange["response"]["data"];
        let raw = RawValue::from_string(data.to_string()).expect("JSON");
        let key = LegacyMessage::read(raw.get()).message.key("tnt_default").expect("a key");
        compared.extend(
            read.iter().filter(|update| update.key.same(&key)).map(|update| compare(data, dialog, update)),
        );
    }
    compared
}

#[test]
fn every_update_is_read_and_handed_on_byte_for_byte() {
    for (version, count) in VERSIONS {
        let updates = updates(version);
        assert_eq!(updates.len(), count, "{version}");
        for (routing_key, body) in updates {
            let update = Update::read(body.as_bytes(), 0).unwrap_or_else(|error| panic!("{version}: {error}"));
            assert!(routing_key.split('.').any(|word| word == update.user()), "{routing_key}");
            assert_eq!(update.tenant(), "tnt_default");
            assert!(!update.event().is_empty());
            if update.repaired {
                assert_eq!(update.body.get(), bridge_core::update::repair(&body));
            } else {
                assert_eq!(update.body.get(), body);
            }
            let creation = update.event() == "message.create" && !routing_key.ends_with(".dialog");
            let creation = creation && !routing_key.ends_with(".user");
            assert_eq!(update.is_creation(), creation, "{version} {routing_key} {}", update.event());
            assert_eq!(render(&update, Form::Update).len(), 1);
        }
    }
}

#[test]
fn answers_equal_their_updates_except_for_the_nine_real_differences() {
    let mut needed: BTreeMap<(&str, Rule), usize> = BTreeMap::new();
    let mut compared = 0;
    for (version, _) in VERSIONS {
        for comparison in pairs(version) {
            compared += 1;
            assert_eq!(comparison.diff, [], "{version}");
            for rule in comparison.rules {
                *needed.entry((version, rule)).or_default() += 1;
            }
        }
    }
    println!("{compared} pairs: {needed:?}");
    assert!(compared >= 90, "{compared}");
    let real = |rule| VERSIONS.map(|(version, _)| needed.get(&(version, rule)).copied().unwrap_or(0));
    assert_eq!(real(Rule::MetaMissingUpstreamBug), [3, 3, 0, 0]);
    let cut = real(Rule::ContentTruncated4096);
    assert!(cut[0] > 0 && cut[1] > 0 && cut[2] == 0 && cut[3] > 0, "{cut:?}");
    assert_eq!(real(Rule::QuotedAbsent), [0, 0, 0, 3]);
}

#[test]
fn typing_is_nothing_but_typing_to_the_chat_application() {
    let mut seen = 0;
    for (version, _) in VERSIONS {
        for (_, body) in updates(version) {
            let update = Update::read(body.as_bytes(), 0).expect("readable");
            let rendered = render(&update, Form::Chatapp);
            if update.event() != "dialog.typing" {
                assert!(rendered.iter().all(|(event, _)| *event != "typing:update"));
                continue;
            }
            seen += 1;
            assert_eq!(rendered.len(), 1, "{body}");
            let (event, data) = &rendered[0];
            let data: Value = serde_json::from_str(data.get()).expect("JSON");
            let whole: Value = serde_json::from_str(&body).expect("JSON");
            let typing = &whole["data"]["typing"];
            assert_eq!(*event, "typing:update");
            assert!(data["dialogId"].as_str().is_some_and(|dialog| dialog.starts_with("dlg_")), "{data}");
            assert_eq!((&data["userId"], &data["expiresInMs"]), (&typing["userId"], &typing["expiresInMs"]));
            assert_eq!((&data["userName"], &data["userInfo"]), (&typing["userInfo"]["name"], &typing["userInfo"]));
        }
    }
    assert!(seen > 0);
}
