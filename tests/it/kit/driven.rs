//! Clients that do exactly what a test tells them: Socket.IO frame by frame, over polling or a WebSocket.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::bridge::{Bridge, token};
use super::s;

pub(crate) type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// What `authenticate` takes for `user`.
pub(crate) fn credentials(user: &str, resume: Option<&Value>) -> Value {
    match resume {
        Some(resume) => json!({"token": token(user), "resume": resume}),
        None => json!({"token": token(user)}),
    }
}

/// A client that has signed on, and reads only when it is told to.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// What `authenticated` said.
    pub(crate) answer: Value,
    /// Events that came before.
    pub(crate) early: Vec<(String, Value)>,
}

/// A Socket.IO client on a WebSocket.
pub(crate) async fn socket_io(bridge: &Bridge, auth: &Value) -> Client {
    let url = bridge.http.replace("http://", "ws://") + "/socket.io/?EIO=4&transport=websocket";
    let (mut socket, _) = connect_async(url).await.expect("a connection");
    let _open = socket.next().await;
    say(&mut socket, &format!("40{auth}")).await;
    signed_on(socket).await
}

/// The same over `/ws`.
pub(crate) async fn plain(bridge: &Bridge, auth: &Value) -> Client {
    let url = bridge.http.replace("http://", "ws://") + "/ws";
    let (mut socket, _) = connect_async(url).await.expect("a connection");
    say(&mut socket, &json!({"event": "authenticate", "data": auth}).to_string()).await;
    signed_on(socket).await
}

async fn signed_on(mut socket: Socket) -> Client {
    let mut early = Vec::new();
    loop {
        let (event, data) = next(&mut socket, s(20)).await.expect("not cut");
        if event == "authenticated" {
            return Client { socket, answer: data, early };
        }
        early.push((event, data));
    }
}

pub(crate) async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("sent");
}

/// Event and argument of a frame of either kind.
pub(crate) fn event(text: &str) -> Option<(String, Value)> {
    if let Some(event) = text.strip_prefix("42") {
        let event: Value = serde_json::from_str(event).expect("JSON");
        return Some((event[0].as_str().expect("a name").into(), event[1].clone()));
    }
    let frame: Value = serde_json::from_str(text).ok()?;
    Some((frame.get("event")?.as_str()?.into(), frame["data"].clone()))
}

/// The next event; pings are answered, everything else is passed over. `None` when the connection is over.
pub(crate) async fn next(socket: &mut Socket, limit: Duration) -> Option<(String, Value)> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let frame = tokio::time::timeout_at(end, socket.next()).await.expect("in time")?.ok()?;
        let Message::Text(text) = frame else { continue };
        if text.as_str() == "2" {
            say(socket, "3").await;
        } else if let Some(event) = event(&text) {
            return Some(event);
        }
    }
}

/// The argument of the first `wanted`.
pub(crate) async fn until(socket: &mut Socket, wanted: &str) -> Value {
    loop {
        let (event, data) = next(socket, s(20)).await.expect("not cut");
        if event == wanted {
            return data;
        }
    }
}

/// A Socket.IO client that polls when it is told to.
pub(crate) struct Polling {
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Polling {
    pub(crate) async fn open(bridge: &Bridge) -> Self {
        let client = reqwest::Client::new();
        let base = format!("{}/socket.io/?EIO=4&transport=polling", bridge.http);
        let open = client.get(&base).send().await.expect("an answer").text().await.expect("a text");
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
        Self { url: format!("{base}&sid={}", open["sid"].as_str().expect("a sid")), client }
    }

    pub(crate) async fn post(&self, packets: &str) -> u16 {
        let sent = self.client.post(&self.url).body(packets.to_owned()).send().await.expect("an answer");
        sent.status().as_u16()
    }

    /// The packets of one poll.
    pub(crate) async fn poll(&self) -> Vec<String> {
        let answer = tokio::time::timeout(s(30), self.client.get(&self.url).send()).await.expect("in time");
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.expect("a text");
        text.split('\u{1e}').map(ToOwned::to_owned).collect()
    }

    /// Polls until `wanted` comes; gives its argument.
    pub(crate) async fn until(&self, wanted: &str) -> Value {
        loop {
            for packet in self.poll().await {
                if packet == "2" {
                    self.post("3").await;
                }
                if let Some((event, data)) = event(&packet)
                    && event == wanted
                {
                    return data;
                }
            }
        }
    }

    /// Signs on; what `authenticated` said.
    pub(crate) async fn sign_on(&self, auth: &Value) -> Value {
        assert_eq!(self.post(&format!("40{auth}")).await, 200);
        self.until("authenticated").await
    }

    /// Goes over to a WebSocket, as a client does.
    pub(crate) async fn upgrade(&self) -> Socket {
        let url = self.url.replace("http://", "ws://").replace("transport=polling", "transport=websocket");
        let (mut socket, _) = connect_async(url).await.expect("a connection");
        say(&mut socket, "2probe").await;
        let answer = socket.next().await.expect("a frame").expect("a frame");
        assert_eq!(answer.into_text().expect("text").as_str(), "3probe");
        say(&mut socket, "5").await;
        socket
    }
}
