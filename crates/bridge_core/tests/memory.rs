//! What the comparator holds: payloads once, differences with all they hold, nothing for ever.

#[path = "kit/seen.rs"]
mod kit;

use std::sync::Arc;

use bridge_core::Json;
use bridge_core::compare::{Cause, Class, Comparator, Event, Limits, Payload, Seen};
use bridge_core::update::Update;
use bridge_core::{Millis, UserId};
use kit::*;
use serde_json::json;
use serde_json::value::RawValue;

fn comparator(memory: usize) -> Comparator {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory });
    comparator.observe(up(1));
    comparator
}

fn of_content(n: u32, content: &str) -> (Json, Seen) {
    let data = json!({"messageId": format!("msg_{n}"), "dialogId": "dlg_1", "senderId": "sender",
        "type": "internal.text", "content": content});
    let data: Json = RawValue::from_string(data.to_string()).unwrap().into();
    (data.clone(), Seen { payload: Payload::Legacy(data), ..legacy(10, n) })
}

fn users(count: u32) -> impl Iterator<Item = UserId> {
    (0..count).map(|n| user(&format!("u{n}")))
}

#[test]
fn a_payload_that_a_hundred_recipients_share_is_held_and_counted_once() {
    let mut comparator = comparator(2 << 20);
    comparator.observe(see(Seen { user: user("stranger"), ..legacy(9, 7) }));
    let (_, large) = of_content(1, &"x".repeat(400 << 10));
    users(100).for_each(|user| comparator.observe(see(Seen { user, ..large.clone() })));
    assert!(comparator.bytes() < 1 << 20, "{}", comparator.bytes());
    comparator.observe(see(Seen { user: user("stranger"), ..rabbitmq(20, 7) }));
    for to in users(100) {
        let body = json!({"tenantId": "t", "userId": to, "entityId": "msg_1", "eventType": "message.create",
            "data": {"message": {"messageId": "msg_1", "dialogId": "dlg_1", "senderId": "sender",
                "type": "internal.text", "content": "x".repeat(400 << 10)}}});
        let update = Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap());
        comparator.observe(see(Seen { user: to, payload: Payload::Update(update), ..rabbitmq(20, 1) }));
    }
    let closed = comparator.expire(Millis(10_000));
    assert_eq!((closed.len(), comparator.bytes()), (101, 0));
    assert!(closed.iter().all(|closed| closed.class == Class::Match), "{:?}", comparator.summary().causes);
}

#[test]
fn large_copies_are_let_go_before_those_of_strangers() {
    let mut comparator = comparator(1 << 20);
    for n in 0..100 {
        comparator.observe(see(Seen { user: user("stranger"), ..legacy(9, n) }));
    }
    for n in 1_000..1_010 {
        comparator.observe(see(of_content(n, &"x".repeat(400 << 10)).1));
        assert!(comparator.bytes() <= 1 << 20, "{}", comparator.bytes());
    }
    for n in 0..100 {
        comparator.observe(see(Seen { user: user("stranger"), ..rabbitmq(20, n) }));
    }
    let closed = comparator.expire(Millis(10_000));
    let of_stranger =
        |class: Class| closed.iter().filter(|closed| &*closed.user == "stranger" && closed.class == class).count();
    assert_eq!((of_stranger(Class::Match), closed.len()), (100, 110));
    assert!(closed.iter().any(|closed| closed.cause == Some(Cause::Shed)));
}

#[test]
fn a_unit_that_is_not_opened_for_want_of_memory_spoils_its_twin_and_no_other() {
    let mut comparator = comparator(16 << 10);
    // Other updates hold nothing that could be let go.
    for n in 0..100 {
        let key = bridge_core::Key::of_numbers(&[u128::from(n) + 1], false);
        comparator.observe(see(Seen { key, message: None, user: user("other"), ..rabbitmq(10, n) }));
    }
    comparator.observe(see(legacy(20, 1)));
    comparator.expire(Millis(10 + WINDOW));
    let after = 20 + WINDOW / 2;
    comparator.observe(see(rabbitmq(after, 1)));
    comparator.observe(see(legacy(after, 2)));
    comparator.observe(see(rabbitmq(after, 2)));
    let closed = comparator.expire(Millis(10_000));
    let kinds: Vec<_> = closed.iter().map(|closed| (closed.message(), closed.class, closed.cause)).collect();
    let shed = (Some("msg_1"), Class::Indeterminate, Some(Cause::Shed));
    assert_eq!(kinds, [shed, (Some("msg_2"), Class::Match, None)]);
}

#[test]
fn what_a_difference_holds_is_counted_and_can_be_let_go() {
    for keeps in [false, true] {
        let mut comparator = comparator(4 << 20);
        comparator.keep_payloads(keeps);
        differ(&mut comparator);
    }
}

fn differ(comparator: &mut Comparator) {
    let mut most = 0;
    for n in 0..100 {
        comparator.observe(see(of_content(n, &format!("{}a", "x".repeat(300 << 10))).1));
        let body = json!({"tenantId": "t", "userId": "u", "entityId": format!("msg_{n}"),
            "eventType": "message.create", "data": {"message": {"messageId": format!("msg_{n}"),
                "dialogId": "dlg_1", "senderId": "sender", "type": "internal.text",
                "content": format!("y{}", "x".repeat(300 << 10))}}});
        let update = Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap());
        comparator.observe(see(Seen { payload: Payload::Update(update), ..rabbitmq(11, n) }));
        most = most.max(comparator.bytes());
    }
    assert!(most > 600 << 10, "{most}: both values are held");
    assert!(most <= 4 << 20, "{most}");
    let closed = comparator.expire(Millis(10_000));
    assert_eq!((closed.len(), comparator.bytes()), (100, 0));
    assert!(
        closed.iter().all(|closed| closed.class == Class::PayloadMismatch),
        "{:?}",
        comparator.summary().causes
    );
    let held: usize = closed.iter().flat_map(|closed| &closed.diff).map(|one| one.legacy.to_string().len()).sum();
    assert!(held <= 4 << 20, "{held}");
}

#[test]
fn an_event_that_was_shed_on_its_way_still_spoils_all_that_was_open() {
    let mut comparator = comparator(1 << 20);
    for event in [see(legacy(10, 1)), Event::Shed(Millis(11), 1), see(rabbitmq(12, 1))] {
        comparator.observe(event);
    }
    let closed = comparator.expire(Millis(10_000));
    assert_eq!((closed[0].class, closed[0].cause), (Class::Indeterminate, Some(Cause::Shed)));
}

#[test]
fn payloads_are_kept_of_bad_units_only_and_only_where_that_is_asked_for() {
    for keeps in [false, true] {
        let mut comparator = comparator(1 << 20);
        comparator.keep_payloads(keeps);
        let leak = Seen { user: user("other"), ..rabbitmq(10, 5) };
        let altered = of_content(2, "altered").1;
        for event in
            [see(legacy(10, 1)), see(rabbitmq(11, 1)), see(altered), see(rabbitmq(11, 2)), see(legacy(10, 3))]
        {
            comparator.observe(event);
        }
        comparator.observe(Event::Leak(Box::new(leak)));
        let closed = comparator.expire(Millis(10_000));
        let shown = |message: &str| {
            let closed = closed.iter().find(|closed| closed.message() == Some(message)).unwrap();
            let record = closed.record(&"a".into(), |_| String::new(), keeps);
            let payloads = record.payloads.unwrap_or_default();
            (closed.class, payloads.legacy.is_some(), payloads.rabbitmq.is_some())
        };
        assert_eq!(shown("msg_1"), (Class::Match, false, false));
        assert_eq!(shown("msg_2"), (Class::PayloadMismatch, keeps, keeps));
        assert_eq!(shown("msg_3"), (Class::MissingInRabbitmq, keeps, false));
        assert_eq!(shown("msg_5"), (Class::Leak, false, keeps));
        let mismatch = closed.iter().find(|closed| closed.class == Class::PayloadMismatch).unwrap();
        assert_eq!(
            mismatch.record(&"a".into(), |_| String::new(), false).payloads,
            None,
            "not revealed, not shown"
        );
        comparator.expire(Millis(200_000));
        assert_eq!(comparator.bytes(), 0);
    }
}
