//! Many clients at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::bridge::token;

/// Message ids that a client got, by how often.
pub(crate) type Got = Arc<Mutex<HashMap<String, u32>>>;

/// A plain WebSocket that joins its dialog and notes every message, in either form.
pub(crate) async fn client(
    url: String,
    user: String,
    dialog: String,
    got: Got,
    up: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
) {
    let (socket, _) = connect_async(url).await.expect("a connection");
    let (mut sink, mut source) = socket.split();
    for frame in [
        json!({"event": "authenticate", "data": {"token": token(&user)}, "id": 1}),
        json!({"event": "dialog:join", "data": dialog, "id": 2}),
    ] {
        sink.send(Message::text(frame.to_string())).await.expect("sent");
    }
    let mut acks = 0;
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        let id = match frame["event"].as_str().unwrap_or_default() {
            "message:new" => frame["data"]["messageId"].as_str(),
            "update" => frame["data"]["entityId"].as_str(),
            "ack" => {
                assert_eq!(frame["data"]["ok"], true, "{frame}");
                acks += 1;
                if acks == 2 {
                    up.fetch_add(1, Ordering::AcqRel);
                }
                None
            }
            _ => None,
        };
        if let Some(id) = id {
            *got.lock().entry(id.to_owned()).or_default() += 1;
        }
    }
    cut.fetch_add(1, Ordering::AcqRel);
}
