//! Minutes of traffic in the shapes of the oldest and the newest Chat3: what the comparator holds afterwards is what it
//! held before.

#[path = "kit/seen.rs"]
mod kit;

use std::sync::Arc;

use bridge_core::Json;
use bridge_core::compare::{Class, Comparator, Fact, Limits, Payload, Seen};
use bridge_core::update::{LegacyMessage, Update};
use bridge_core::{DialogId, Key, MessageId, Millis, UserId};
use kit::{dialog, fact, legacy, rabbitmq, see, up, user};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const WINDOW: u64 = 5_000;
/// Messages a second, and seconds.
const RATE: u64 = 100;
const SECONDS: u64 = 60;

/// Answer, and the update of `to`.
type Shape = fn(u64, &str) -> (Value, Value);

fn oldest(n: u64, to: &str) -> (Value, Value) {
    let (mongo, dialog) = (format!("{n:024x}"), "6b042c4058408bbf7fd91056");
    let fields = json!({"_id": mongo, "tenantId": "t", "senderId": "sender", "content": "hello", "type": "text"});
    let (mut answer, mut part) = (fields.clone(), fields);
    answer["messageId"] = json!(format!("msg_{n}"));
    answer["dialogId"] = json!({"_id": dialog, "id": dialog, "name": "Dialog"});
    answer["meta"] = json!({});
    part["dialogId"] = json!(dialog);
    let update = json!({"tenantId": "t", "userId": to, "dialogId": dialog, "entityId": mongo,
        "eventId": format!("{:024x}", n + 1_000_000), "eventType": "message.create", "data": part});
    (answer, update)
}

fn newest(n: u64, to: &str) -> (Value, Value) {
    let fields = json!({"messageId": format!("msg_{n}"), "dialogId": "dlg_1", "senderId": "sender",
        "content": "hello", "type": "internal.text"});
    let update = json!({"tenantId": "t", "userId": to, "entityId": format!("msg_{n}"),
        "eventId": format!("evt_{n}"), "sourceEventType": "message.create", "updateType": "update.message",
        "data": {"message": fields, "context": {"version": 4}}});
    (fields, update)
}

/// Traffic of two users until `end`; the update comes first, or the answer, by turns.
fn traffic(comparator: &mut Comparator, shape: Shape, users: &[UserId; 2]) -> u64 {
    let (mut closed, mut good) = (0, 0);
    for n in 0..RATE * SECONDS {
        let at = 1_000 + n * 1_000 / RATE;
        comparator.observe(fact(at, Fact::PostStarted { post: n, dialog: dialog(), sender: user("sender") }));
        let (answer, _) = shape(n, "");
        let data: Json = RawValue::from_string(answer.to_string()).unwrap().into();
        let read = LegacyMessage::read(data.get());
        let key = read.message.key("t").unwrap();
        let (first, second) = (Millis(at + 2), Millis(at + 4));
        for to in users {
            let (_, body) = shape(n, to.as_str());
            let update = Arc::new(Update::read(body.to_string().as_bytes(), n).unwrap());
            let (ours, theirs) = if n % 2 == 0 { (first, second) } else { (second, first) };
            let answered = observed(ours, to, (&key, &read.message), Payload::Legacy(data.clone()));
            let (name, id) = (update.key.clone(), update.message().unwrap());
            let updated = Seen { sockets: legacy(0, 1).sockets, ..rabbitmq(0, 1) };
            let updated = Seen {
                at: theirs,
                user: to.clone(),
                key: name,
                message: Some(id),
                dialog: None,
                joined: None,
                sender: update.sender().map(Into::into),
                payload: Payload::Update(update),
                ..updated
            };
            let mut pair = [answered, updated];
            pair.sort_by_key(|seen| seen.at);
            pair.into_iter().for_each(|seen| comparator.observe(see(seen)));
        }
        comparator.observe(fact(at + 5, Fact::PostAccepted { post: n, key, dialog_mongo: read.dialog_mongo }));
        if n % 10 == 0 {
            let out = comparator.expire(Millis(at + 5));
            closed += out.len();
            good += out.iter().filter(|closed| closed.class == Class::Match).count();
        }
    }
    let out = comparator.expire(Millis(1_000 + SECONDS * 1_000 + WINDOW));
    closed += out.len();
    good += out.iter().filter(|closed| closed.class == Class::Match).count();
    assert_eq!((u64::try_from(closed).unwrap(), good), (2 * RATE * SECONDS, closed));
    u64::try_from(closed).unwrap()
}

fn observed(at: Millis, to: &UserId, (key, id): (&Key, &MessageId), payload: Payload) -> Seen {
    let dialog: Option<DialogId> = Some(dialog());
    Seen { at, user: to.clone(), key: key.clone(), message: Some(id.clone()), dialog, payload, ..legacy(0, 1) }
}

#[test]
fn minutes_of_traffic_leave_nothing() {
    for shape in [oldest as Shape, newest] {
        let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 24 << 20 });
        comparator.observe(up(1));
        let held = |comparator: &Comparator| (comparator.bytes() + comparator.facts(), comparator.names());
        let (before, _) = held(&comparator);
        let units = traffic(&mut comparator, shape, &[user("a"), user("b")]);
        assert_eq!((comparator.bytes(), comparator.names()), (0, 0), "of a match nothing is kept");
        // Facts are remembered for a minute and two windows.
        comparator.expire(Millis(1_000 + SECONDS * 1_000 + 60_000 + 2 * WINDOW + 10_000));
        let (after, _) = held(&comparator);
        assert!(after.abs_diff(before) <= before / 20, "{before} before, {after} after {units} units");
        assert_eq!(comparator.forgotten(), 0);
    }
}
