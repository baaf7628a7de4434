//! A generated conversation: each user sits behind a plain WebSocket, and posts over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::PACE;

const LINES: [&str; 8] = [
    "Hello!",
    "Hi, how is the move going?",
    "Both paths run, and the room still delivers.",
    "And the queues?",
    "Each of us has one; the bridge compares what would be delivered.",
    "So nobody notices anything?",
    "Nobody. Have a look at the console.",
    "I see only matches. Nice.",
];

/// Talks until it is aborted; `say` prints what was delivered.
pub(super) async fn run(gateway: SocketAddr, dialog: String, users: Vec<(String, String)>, say: fn(&str)) {
    for (id, name) in &users {
        tokio::spawn(listen(gateway, dialog.clone(), id.clone(), name.clone(), say));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let Ok(http) = reqwest::Client::builder().no_proxy().build() else { return };
    for (turn, line) in LINES.iter().cycle().enumerate() {
        let (sender, _) = &users[turn % users.len()];
        let url = format!("http://{gateway}/api/messages/dialog/{dialog}");
        let body = json!({"senderId": sender, "content": line, "meta": {"channelType": "demo"}});
        match http.post(url).json(&body).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => say(&format!("not sent: {}", answer.status())),
            Err(error) => say(&format!("not sent: {}", error.without_url())),
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn listen(gateway: SocketAddr, dialog: String, id: String, name: String, say: fn(&str)) {
    let Ok((socket, _)) = connect_async(format!("ws://{gateway}/ws")).await else {
        return say(&format!("{name} could not connect"));
    };
    let (mut sink, mut source) = socket.split();
    let frames = [
        json!({"event": "authenticate", "data": {"userId": id, "accepts": ["update"]}, "id": 1}),
        json!({"event": "dialog:join", "data": dialog, "id": 2}),
    ];
    for frame in frames {
        if sink.send(Message::text(frame.to_string())).await.is_err() {
            return;
        }
    }
    while let Some(Ok(message)) = source.next().await {
        let Ok(text) = message.into_text() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap_or_default();
        let event = frame["event"].as_str().unwrap_or_default();
        let shown = match event {
            "message:new" => &frame["data"],
            "update" => frame.pointer("/data/data/message").unwrap_or(&frame["data"]["data"]),
            _ => continue,
        };
        if let (Some(content), Some(sender)) = (shown["content"].as_str(), shown["senderId"].as_str()) {
            say(&format!("  {name} ← {event}: {sender}: {content}"));
        }
    }
}
