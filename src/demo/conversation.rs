//! A generated conversation: each user sits behind a plain WebSocket, and posts over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// What they say is true in every stage.
const LINES: [&str; 8] = [
    "Hello! I am generated, and post a line now and then.",
    "So am I. Each line is a POST to the gateway, which hands it to Chat3.",
    "And how does it come back?",
    "By the room, or by the queue that each of us has. It is written beside each line.",
    "Who compares the two?",
    "The gateway, where both run: in shadow and in live. The console has every pair.",
    "What if an update is lost, or another text comes?",
    "Plant it, and look what the console calls it a few seconds later.",
];

/// One who talks.
#[derive(Clone, Debug)]
pub(super) struct Talker {
    /// Base URL of the gateway.
    pub(super) gateway: String,
    /// User id.
    pub(super) id: String,
    /// A token; none where clients are trusted.
    pub(super) token: Option<String>,
}

/// What was sent and delivered so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    rooms: AtomicU64,
    queues: AtomicU64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [sent, refused, rooms, queues] =
            [&self.sent, &self.refused, &self.rooms, &self.queues].map(|count| count.load(Ordering::Relaxed));
        write!(f, "{sent} lines sent, {rooms} copies came by message:new (room), {queues} by update (queue)")?;
        if refused > 0 {
            write!(f, "; {refused} lines were not taken")?;
        }
        Ok(())
    }
}

/// Talks until it is aborted, one line each `pace`; `say` tells each `report` what came of it.
pub(super) async fn run(dialog: String, talkers: Vec<Talker>, pace: Duration, report: Duration, say: fn(&str)) {
    let counts = Arc::<Counts>::default();
    let mut listening = tokio::task::JoinSet::new();
    for talker in &talkers {
        listening.spawn(listen(talker.clone(), dialog.clone(), Arc::clone(&counts)));
    }
    let mut told = tokio::time::interval_at(tokio::time::Instant::now() + report, report);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_secs(1), pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build() else { return };
    let mut turns = talkers.iter().cycle().zip(LINES.iter().cycle());
    loop {
        tokio::select! {
            _ = told.tick() => say(&counts.to_string()),
            _ = ticks.tick() => if let Some((talker, line)) = turns.next() {
                let count = if post(&http, talker, &dialog, line).await { &counts.sent } else { &counts.refused };
                count.fetch_add(1, Ordering::Relaxed);
            },
        }
    }
}

async fn post(http: &reqwest::Client, talker: &Talker, dialog: &str, line: &str) -> bool {
    let Talker { gateway, id, token } = talker;
    let url = format!("{gateway}/api/messages/dialog/{dialog}");
    let mut request =
        http.post(url).json(&json!({"senderId": id, "content": line, "meta": {"channelType": "demo"}}));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Stays connected, as a client does.
async fn listen(talker: Talker, dialog: String, counts: Arc<Counts>) {
    loop {
        let _it_comes_back = connection(&talker, &dialog, &counts).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn connection(
    talker: &Talker,
    dialog: &str,
    counts: &Counts,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let url = format!("{}/ws", talker.gateway.replacen("http", "ws", 1));
    let (socket, _) = connect_async(url.into_client_request()?).await?;
    let (mut sink, mut source) = socket.split();
    let identity = match &talker.token {
        Some(token) => json!({"token": token, "accepts": ["update"]}),
        None => json!({"userId": talker.id, "accepts": ["update"]}),
    };
    for frame in [
        json!({"event": "authenticate", "data": identity, "id": 1}),
        json!({"event": "dialog:join", "data": dialog, "id": 2}),
    ] {
        sink.send(Message::text(frame.to_string())).await?;
    }
    while let Some(message) = source.next().await {
        let Ok(text) = message?.into_text() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap_or_default();
        let is_itself =
            frame.pointer("/data/updateType").is_none_or(|kind| kind.as_str() == Some("update.message"));
        match frame["event"].as_str() {
            Some("message:new") => counts.rooms.fetch_add(1, Ordering::Relaxed),
            Some("update") if is_itself => counts.queues.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
    Ok(())
}
