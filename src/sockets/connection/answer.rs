//! What clients are told of their events.

use metrics::counter;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::super::{Link, Packet, Refused};
use super::Ack;

pub(super) fn count(limit: &'static str) {
    counter!("bridge_limit_refusals_total", "limit" => limit).increment(1);
}

/// An event of a client that sends more of them in a second than it may (`socket.events`).
pub(crate) fn too_often(link: &dyn Link, event: &str, ack: Option<Ack>) {
    count("events");
    counter!("bridge_client_events_refused_total").increment(1);
    if !link.is_full() {
        answer_error(link, event, ack, "too many events");
    }
}

/// An event of a client that does not fit into the queue any more.
pub(crate) fn too_many(link: &dyn Link, event: &str, ack: Option<Ack>) {
    counter!("bridge_client_events_refused_total").increment(1);
    // One that does not take its answers is not owed more of them.
    if !link.is_full() {
        answer_error(link, event, ack, "too many events at once");
    }
}

pub(super) fn answer_error(link: &dyn Link, event: &str, ack: Option<Ack>, error: &str) {
    match ack {
        Some(ack) => ack(failure(error)),
        None => emit(link, "error", &json!({"event": event, "error": error})),
    }
}

pub(super) fn emit(link: &dyn Link, event: &'static str, data: &Value) {
    let data = to_raw_value(data).unwrap_or_default();
    link.emit(Packet { event, data: data.into(), serial: None });
}

pub(super) fn reply(ack: Option<Ack>, answer: Value) {
    if let Some(ack) = ack {
        ack(answer);
    }
}

pub(super) fn failure(error: &str) -> Value {
    json!({"ok": false, "error": error})
}

pub(super) fn wrong(expected: &str) -> Refused {
    Refused(format!("wrong payload: expected {expected}"))
}
