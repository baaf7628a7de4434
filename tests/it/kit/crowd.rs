//! A room full of clients that read, and how long messages take to reach them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::bridge::{Bridge, token};
use super::{eventually, runtime, s};

/// A plain WebSocket.
pub(crate) type Plain = WebSocketStream<tokio::net::TcpStream>;

/// A plain WebSocket of `user` that has joined `dialog`; its kernel holds about `receives` bytes for it, where that is said.
pub(crate) async fn member(http: &str, user: &str, dialog: &str, receives: Option<u32>) -> Plain {
    let address = http.trim_start_matches("http://");
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(receives) = receives {
        socket.set_recv_buffer_size(receives).expect("a size");
    }
    let stream = socket.connect(address.parse().expect("an address")).await.expect("a connection");
    let (mut socket, _) = client_async(format!("ws://{address}/ws"), stream).await.expect("a handshake");
    for frame in [
        json!({"event": "authenticate", "data": {"token": token(user)}, "id": 1}),
        json!({"event": "dialog:join", "data": dialog, "id": 2}),
    ] {
        socket.send(Message::text(frame.to_string())).await.expect("sent");
    }
    loop {
        let frame = tokio::time::timeout(s(60), socket.next()).await.expect("in time");
        let text = frame.expect("not cut").expect("not cut").into_text().expect("text");
        if text.contains(r#""event":"ack""#) && text.contains(r#""id":2"#) {
            assert!(text.contains(r#""ok":true"#), "{text}");
            return socket;
        }
    }
}

/// How long the messages of a round took to each of their readers, from the moment when each was due to leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Microseconds.
    took: Vec<u32>,
}

impl Round {
    /// Milliseconds within which so many of a hundred were there.
    pub(crate) fn within(&self, part: usize) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        f64::from(took[(took.len() - 1) * part / 100]) / 1_000.0
    }

    /// Adds those of another round.
    pub(crate) fn add(&mut self, other: &Self) {
        self.took.extend_from_slice(&other.took);
    }
}

/// A round of both crowds at the same time: whatever else the machine does meanwhile, both have it.
pub(crate) fn at_once(crowds: [&Crowd; 2], lasts: Duration, rate: u32, bytes: usize) -> [Round; 2] {
    std::thread::scope(|scope| {
        let one = scope.spawn(|| crowds[0].round(lasts, rate, bytes));
        // Between two of its messages.
        std::thread::sleep(Duration::from_secs(1) / rate / 2);
        let other = crowds[1].round(lasts, rate, bytes);
        [one.join().expect("a round: all have heard all, once"), other]
    })
}

/// Clients of one room, each of a user of its own.
pub(crate) struct Crowd {
    http: String,
    dialog: String,
    speaker: String,
    members: usize,
    began: Instant,
    heard: Arc<AtomicU64>,
    /// Microseconds.
    took: Arc<Mutex<Vec<u32>>>,
    client: reqwest::Client,
    /// When each message left.
    posted: Mutex<Vec<Instant>>,
}

impl Crowd {
    /// `users` join `dialog`, and read from now on. The first of them speaks.
    pub(crate) fn gather(bridge: &Bridge, dialog: &str, users: &[String]) -> Self {
        let crowd = Self {
            http: bridge.http.clone(),
            dialog: dialog.into(),
            speaker: users[0].clone(),
            members: users.len(),
            began: Instant::now(),
            heard: Arc::default(),
            took: Arc::default(),
            client: reqwest::Client::new(),
            posted: Mutex::default(),
        };
        let up = Arc::<AtomicUsize>::default();
        for user in users {
            let (http, user, dialog, up) =
                (crowd.http.clone(), user.clone(), crowd.dialog.clone(), Arc::clone(&up));
            let (heard, took, began) = (Arc::clone(&crowd.heard), Arc::clone(&crowd.took), crowd.began);
            runtime().spawn(async move {
                let mut socket = member(&http, &user, &dialog, None).await;
                up.fetch_add(1, Ordering::AcqRel);
                while let Some(Ok(message)) = socket.next().await {
                    let now = began.elapsed();
                    let Ok(text) = message.to_text() else { continue };
                    let Some((_, due)) = text.split_once("due:") else { continue };
                    let due = due.split(':').next().and_then(|due| due.parse().ok()).map(Duration::from_nanos);
                    let passed = now.saturating_sub(due.expect("a moment")).as_micros();
                    took.lock().push(u32::try_from(passed).unwrap_or(u32::MAX));
                    heard.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        eventually("all are in the room", s(60), || (up.load(Ordering::Acquire) == users.len()).then_some(()));
        crowd
    }

    /// When each message left, of all rounds.
    pub(crate) fn posted(&self) -> Vec<Instant> {
        self.posted.lock().clone()
    }

    /// Messages of `bytes` for `lasts`, `rate` a second, and waits until all have heard all of them.
    pub(crate) fn round(&self, lasts: Duration, rate: u32, bytes: usize) -> Round {
        let heard = self.heard.load(Ordering::Acquire);
        self.took.lock().clear();
        let posted = runtime().block_on(self.talk(lasts, rate, bytes));
        let all = heard + posted * u64::try_from(self.members).expect("few");
        eventually("all have heard all", s(60), || (self.heard.load(Ordering::Acquire) >= all).then_some(()));
        assert_eq!(self.heard.load(Ordering::Acquire), all, "once each");
        Round { took: std::mem::take(&mut *self.took.lock()) }
    }

    async fn talk(&self, lasts: Duration, rate: u32, bytes: usize) -> u64 {
        let (mut posts, filler) = (tokio::task::JoinSet::new(), "x".repeat(bytes));
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let until = tokio::time::Instant::now() + lasts;
        loop {
            let due = ticks.tick().await;
            if due >= until {
                break;
            }
            let due = due.into_std().saturating_duration_since(self.began).as_nanos();
            let url = format!("{}/api/messages/dialog/{}", self.http, self.dialog);
            let body = json!({"content": format!("due:{due}:"), "meta": {"filler": filler}});
            self.posted.lock().push(Instant::now());
            let post = self.client.post(url).bearer_auth(token(&self.speaker)).json(&body);
            posts.spawn(async move {
                let answer = post.send().await.expect("an answer");
                assert_eq!(answer.status().as_u16(), 201);
            });
        }
        let posted = u64::try_from(posts.len()).expect("few");
        posts.join_all().await;
        posted
    }
}

/// The middle one.
pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
