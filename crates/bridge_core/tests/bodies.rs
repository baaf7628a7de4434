//! What the comparison of two bodies answers does not hang on which of them came first, nor on how much else differs
//! beside what somebody answers for.

#[path = "kit/seen.rs"]
mod kit;

use std::sync::Arc;

use bridge_core::Json;
use bridge_core::compare::{Class, Closed, Comparator, IgnoreRule, Limits, Payload, Seen};
use bridge_core::update::{LegacyMessage, Update};
use bridge_core::{DialogId, Millis};
use kit::*;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

fn legacy_of(data: &Value) -> Seen {
    let raw: Json = RawValue::from_string(data.to_string()).unwrap().into();
    let id = LegacyMessage::read(raw.get()).message;
    let key = id.key("t").unwrap_or_else(|| legacy(0, 1).key);
    Seen { key, message: Some(id), payload: Payload::Legacy(raw), ..legacy(0, 1) }
}

fn update_of(body: &Value) -> Seen {
    let update = Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap());
    Seen {
        key: update.key.clone(),
        message: update.message(),
        dialog: update.dialog().and_then(|id| DialogId::new(id).ok()),
        sender: update.sender().map(Into::into),
        payload: Payload::Update(update),
        ..rabbitmq(0, 1)
    }
}

/// How the pair closes, with the legacy copy first and with the update first.
fn both_ways(ours: &Seen, theirs: &Seen, ignore: &[IgnoreRule]) -> [Closed; 2] {
    [(10, 20), (20, 10)].map(|(legacy_at, rabbitmq_at)| {
        let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 24 });
        comparator.set_ignore(ignore.to_vec());
        let ours = Seen { at: Millis(legacy_at), ..ours.clone() };
        let theirs = Seen { at: Millis(rabbitmq_at), ..theirs.clone() };
        let mut pair = vec![ours, theirs];
        pair.sort_by_key(|seen| seen.at);
        comparator.observe(up(1));
        pair.into_iter().for_each(|seen| comparator.observe(see(seen)));
        let mut closed = comparator.expire(Millis(100_000));
        assert_eq!(closed.len(), 1, "{closed:?}");
        closed.remove(0)
    })
}

fn rule(path: &str) -> IgnoreRule {
    IgnoreRule { name: "ticket_7".into(), path: path.into(), until: Millis(1 << 40) }
}

fn answered(more: &Value) -> Value {
    let mut data = json!({"messageId": "msg_1", "dialogId": "dlg_1", "senderId": "sender", "type": "internal.text",
        "content": "hello", "meta": {}});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}

fn published(more: &Value) -> Value {
    json!({"tenantId": "t", "userId": "u", "entityId": "msg_1", "eventId": "evt_1", "eventType": "message.create",
        "data": {"message": answered(more)}})
}

#[test]
fn an_update_that_names_another_dialog_differs_whichever_came_first() {
    let (ours, theirs) =
        (legacy_of(&answered(&json!({}))), update_of(&published(&json!({"dialogId": "dlg_OTHER"}))));
    for closed in both_ways(&ours, &theirs, &[]) {
        assert_eq!(closed.class, Class::PayloadMismatch, "{closed:?}");
        let [difference] = &closed.diff[..] else { panic!("{:?}", closed.diff) };
        assert_eq!(
            (difference.path.as_str(), &difference.legacy, &difference.rabbitmq),
            ("/dialog", &json!("dlg_1"), &json!("dlg_OTHER"))
        );
        assert_eq!(closed.dialog.as_deref(), Some("dlg_1"), "that of the request path");
    }
}

#[test]
fn many_differences_below_an_ignored_field_hide_no_other() {
    let meta = |value: &str| (0..40).map(|n| (format!("k{n}"), json!(value))).collect::<Map<_, _>>();
    let ours = legacy_of(&answered(&json!({"meta": meta("ours"), "quotedMessage": {"messageId": "msg_0"}})));
    let theirs =
        update_of(&published(&json!({"meta": meta("theirs"), "quotedMessage": {"messageId": "msg_another"}})));
    for closed in both_ways(&ours, &theirs, &[rule("/meta")]) {
        let paths: Vec<&str> = closed.diff.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!((closed.class, paths), (Class::PayloadMismatch, vec!["/quotedMessage/messageId"]));
        assert!(closed.rules.contains(&"ticket_7".to_owned()));
    }
}

/// Few values, so that equal ones are frequent.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!(1)),
        Just(json!(1.0)),
        Just(json!("a")),
        Just(json!("b")),
        Just(json!([1, {"x": null}])),
        Just(json!({"x": {"y": "z"}})),
    ]
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        Just("messageId"),
        Just("_id"),
        Just("dialogId"),
        Just("senderId"),
        Just("type"),
        Just("content"),
        Just("createdAt"),
        Just("meta"),
        Just("quotedMessage"),
        Just("statuses"),
    ];
    let value = prop_oneof![
        leaf(),
        Just(json!("dlg_1")),
        Just(json!("dlg_2")),
        Just(json!("6b042c4058408bbf7fd91056")),
        Just(json!({"_id": "6b042c4058408bbf7fd91056", "name": "n"})),
        Just(json!("msg_1")),
        Just(json!("sender")),
        Just(json!("x".repeat(4_200))),
        Just(json!(format!("{}y", "x".repeat(4_200)))),
    ];
    proptest::collection::vec((name, value), 0..10)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// As an update of some version; its key is that of message 1.
fn body(part: Map<String, Value>, envelope: bool, kind: bool) -> Value {
    let data = if envelope { json!({"message": part}) } else { Value::Object(part) };
    let mut body = json!({"tenantId": "t", "userId": "u", "entityId": "msg_1", "eventId": "evt_1",
        "eventType": "message.create", "data": data});
    if kind {
        body["updateType"] = json!("update.message");
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn the_answer_does_not_depend_on_which_came_first(
        ours in fields(), theirs in fields(), envelope in any::<bool>(), kind in any::<bool>(), ignored in any::<bool>(),
    ) {
        let (ours, theirs) = (legacy_of(&answered(&Value::Object(ours))), update_of(&body(theirs, envelope, kind)));
        // Whatever their bodies say, both are copies of one message.
        let (key, mapped) = (legacy(0, 1).key, theirs.dialog.clone().or_else(|| Some(dialog())));
        let (ours, theirs) = (Seen { key: key.clone(), ..ours }, Seen { key, dialog: mapped, ..theirs });
        let rules = if ignored { vec![rule("/meta")] } else { Vec::new() };
        let [first, second] = both_ways(&ours, &theirs, &rules);
        prop_assert_eq!((first.class, first.cause), (second.class, second.cause));
        prop_assert_eq!(&first.diff, &second.diff);
        prop_assert_eq!(&first.rules, &second.rules);
        prop_assert_eq!((&first.dialog, first.message(), first.event()), (&second.dialog, second.message(), second.event()));
        prop_assert_eq!(first.key, second.key);
    }

    /// Neither below it nor elsewhere: what is ignored hides nothing, and is named however much else differs.
    #[test]
    fn nor_on_how_many_differences_stand_beside_an_ignored_one(
        many in 1..120_usize, deep in any::<bool>(), others in 0..80_usize,
    ) {
        let fields = |count: usize, value: &str| {
            (0..count).map(|n| (format!("k{n}"), json!(value))).collect::<Map<String, Value>>()
        };
        let meta = |value: &str| {
            let flat = fields(many, value);
            if deep { json!({"below": [flat]}) } else { Value::Object(flat) }
        };
        let quoted = |value: &str| {
            let mut quoted = fields(others, value);
            quoted.insert("messageId".into(), json!("msg_0"));
            quoted
        };
        let ours = legacy_of(&answered(&json!({"meta": meta("ours"), "quotedMessage": quoted("ours")})));
        let theirs = update_of(&published(&json!({"meta": meta("theirs"), "quotedMessage": quoted("theirs")})));
        for closed in both_ways(&ours, &theirs, &[rule("/meta")]) {
            prop_assert_eq!(closed.class, if others > 0 { Class::PayloadMismatch } else { Class::Match });
            // So many are listed at most.
            prop_assert_eq!(closed.diff.len(), others.min(32));
            prop_assert!(closed.diff.iter().all(|one| one.path.starts_with("/quotedMessage/")));
            prop_assert!(closed.rules.contains(&"ticket_7".to_owned()));
        }
    }
}
