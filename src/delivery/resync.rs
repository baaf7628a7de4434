//! `bridge:resync`: a gap that the bridge could not fill.

use bridge_core::Millis;
use serde_json::value::to_raw_value;

use crate::clock::iso;
use crate::sockets::Packet;

#[derive(serde::Serialize)]
struct Body {
    reason: &'static str,
    since: String,
}

/// The event for a gap that began after `since`, the last moment known whole.
pub(super) fn packet(reason: &'static str, since: Millis) -> Packet {
    let data = to_raw_value(&Body { reason, since: iso(since) }).unwrap_or_default();
    Packet { event: "bridge:resync", data: data.into(), message: None }
}
