//! Observations of one message, and what a comparator makes of them.
#![allow(dead_code, reason = "each test uses a part")]

use std::sync::Arc;

use bridge_core::Json;
use bridge_core::compare::{Cause, Class, Closed, Comparator, Event, Fact, Limits, Payload, Seen};
use bridge_core::gate::Sockets;
use bridge_core::update::{LegacyMessage, Update};
use bridge_core::{DialogId, Millis, Path, SocketId, Stage, UserId};
use serde_json::json;
use serde_json::value::RawValue;

pub(crate) const WINDOW: u64 = 1_000;
pub(crate) const A: SocketId = SocketId(1);
pub(crate) const B: SocketId = SocketId(2);

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn dialog() -> DialogId {
    DialogId::new("dlg_1").unwrap()
}

pub(crate) fn update(to: &str, n: u32, content: &str, event: &str) -> Arc<Update> {
    let body = json!({"tenantId": "t", "userId": to, "entityId": format!("msg_{n}"), "eventId": format!("evt_{n}"),
        "eventType": event, "data": {"message": {"messageId": format!("msg_{n}"), "dialogId": "dlg_1",
            "senderId": "sender", "type": "internal.text", "content": content}}});
    Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap())
}

pub(crate) fn answer(n: u32) -> Json {
    let data = json!({"messageId": format!("msg_{n}"), "dialogId": "dlg_1", "senderId": "sender",
        "type": "internal.text", "content": "hello", "meta": {}});
    RawValue::from_string(data.to_string()).unwrap().into()
}

pub(crate) fn seen(at: u64, path: Path, to: &str, n: u32) -> Seen {
    let sockets = Sockets::from_slice(&[A]);
    let payload = match path {
        Path::Legacy => Payload::Legacy(answer(n)),
        Path::Rabbitmq => Payload::Update(update(to, n, "hello", "message.create")),
    };
    let id = LegacyMessage::read(answer(n).get()).message;
    Seen {
        at: Millis(at),
        path,
        user: user(to),
        tenant: "t".into(),
        key: id.key("t").unwrap(),
        message: Some(id),
        dialog: Some(dialog()),
        sender: Some("sender".into()),
        stage: Stage::Shadow,
        sockets: sockets.clone(),
        present: sockets.clone(),
        joined: Some(sockets.clone()),
        rooms: Vec::new(),
        subscribed: sockets,
        routing_key: None,
        redelivered: false,
        broker_up: true,
        queue_ready: true,
        member: None,
        drill: false,
        payload,
    }
}

pub(crate) fn legacy(at: u64, n: u32) -> Seen {
    seen(at, Path::Legacy, "u", n)
}

pub(crate) fn rabbitmq(at: u64, n: u32) -> Seen {
    seen(at, Path::Rabbitmq, "u", n)
}

pub(crate) fn see(seen: Seen) -> Event {
    Event::Seen(Box::new(seen))
}

pub(crate) fn fact(at: u64, fact: Fact) -> Event {
    Event::Fact(Millis(at), fact)
}

pub(crate) fn up(at: u64) -> Event {
    fact(at, Fact::Session { up: true })
}

pub(crate) fn started(at: u64, post: u64) -> Event {
    fact(at, Fact::PostStarted { post, dialog: dialog(), sender: user("sender") })
}

pub(crate) fn accepted(at: u64, post: u64, n: u32) -> Event {
    let key = LegacyMessage::read(answer(n).get()).message.key("t").unwrap();
    fact(at, Fact::PostAccepted { post, key, dialog_mongo: None })
}

/// Everything that closes of `events`, with the comparator.
pub(crate) fn run(events: Vec<Event>) -> (Comparator, Vec<Closed>) {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    events.into_iter().for_each(|event| comparator.observe(event));
    let closed = comparator.expire(Millis(1_000_000));
    (comparator, closed)
}

/// The same, looked at only until `end`.
pub(crate) fn run_until(end: u64, events: Vec<Event>) -> (Comparator, Vec<Closed>) {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    events.into_iter().for_each(|event| comparator.observe(event));
    let closed = comparator.expire(Millis(end));
    (comparator, closed)
}

/// Class and cause of the only unit of `events`, in a session that is up.
pub(crate) fn verdict(events: Vec<Event>) -> (Class, Option<Cause>) {
    let (_, closed) = run(std::iter::once(up(1)).chain(events).collect());
    assert_eq!(closed.len(), 1, "{closed:?}");
    (closed[0].class, closed[0].cause)
}
