//! `GET /ws`: the same events as JSON text frames over a plain WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::connection::{Ack, Connection, Credentials, Incoming, Room, WAITING_FEW};
use super::meter::Meter;
use super::outbox::{Bounds, Outbox};
use super::{Cut, Link, Packet};
use crate::auth::Identity;

const PING: Duration = Duration::from_secs(25);
/// A client that answers no ping for this long is gone.
const SILENT: Duration = Duration::from_secs(60);
const LARGEST_MESSAGE: usize = 256 * 1024;
/// Bad frames in a row that close a connection.
const BAD_FRAMES: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// What plain WebSockets share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) room: Arc<Room>,
    pub(super) bounds: Arc<Bounds>,
    /// Ends all of them with 1012.
    pub(super) drain: CancellationToken,
}

/// A frame of a client.
#[derive(Deserialize)]
struct Frame {
    event: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    id: Option<Value>,
}

/// A frame to a client.
#[derive(Serialize)]
struct Out<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    data: &'a RawValue,
}

/// Upgrades a request, or says why not.
pub(super) fn upgrade(shared: Shared, meter: Option<Arc<Meter>>, mut request: Request<Body>) -> Response {
    let headers = request.headers();
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| wants_websocket(headers)) else {
        return refusal(StatusCode::UPGRADE_REQUIRED, "a WebSocket handshake is expected");
    };
    let accept = derive_accept_key(key.as_bytes());
    let first = match bearer(headers).filter(|_| !shared.room.auth.is_trusted()) {
        None => None,
        Some(token) => match shared.room.auth.verify(token) {
            Ok(identity) => Some((identity, Credentials::default())),
            Err(error) => return refusal(StatusCode::UNAUTHORIZED, &error.to_string()),
        },
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(Ok(io)) = timeout(Duration::from_secs(10), upgraded).await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(4_096)
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
        serve(shared, meter.unwrap_or_default(), stream, first).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let has = |name, token: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    crate::auth::bearer(headers)
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, axum::Json(json!({"success": false, "error": error}))).into_response()
}

/// A plain WebSocket's client. Its one writer takes packets from the outbox.
struct WsLink {
    outbox: Mutex<Outbox>,
    meter: Arc<Meter>,
    work: Notify,
    end: Mutex<Option<CloseCode>>,
}

impl Link for WsLink {
    fn emit(&self, packet: Packet) {
        let mut outbox = self.outbox.lock();
        if !outbox.closed {
            outbox.push(packet);
            drop(outbox);
            self.work.notify_one();
        }
    }

    fn unsent(&self) -> Vec<Packet> {
        let mut outbox = self.outbox.lock();
        outbox.closed = true;
        outbox.drain()
    }

    fn cut(&self, why: Cut) {
        let (reason, code) = match why {
            Cut::Slow => ("slow", None),
            Cut::Resumed => ("resumed", Some(CloseCode::Normal)),
            Cut::Unauthenticated => ("unauthenticated", Some(CloseCode::Policy)),
        };
        counter!("bridge_sockets_cut_total", "reason" => reason).increment(1);
        match code {
            Some(code) => {
                self.end.lock().get_or_insert(code);
                self.work.notify_one();
            }
            None => self.meter.cut(),
        }
    }

    fn transport(&self) -> &'static str {
        "ws"
    }
}

type Stream = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn serve(shared: Shared, meter: Arc<Meter>, stream: Stream, first: Option<(Identity, Credentials)>) {
    let link = Arc::new(WsLink {
        outbox: Mutex::new(Outbox::new(Arc::clone(&shared.bounds))),
        meter,
        work: Notify::new(),
        end: Mutex::default(),
    });
    let (sender, events) = mpsc::channel(WAITING_FEW);
    let must_sign_on = !shared.room.auth.is_trusted() && first.is_none();
    let connection = Connection::new(
        Arc::clone(&shared.room),
        Arc::clone(&link) as Arc<dyn Link>,
        must_sign_on,
        Credentials::default(),
    );
    let serving = tokio::spawn(connection.run(first, events));
    let (sink, source) = stream.split();
    let heard = Arc::new(Mutex::new(Instant::now()));
    let reading = read(source, &link, &sender, &heard);
    let writing = write(sink, &link, &heard, &shared.drain);
    let looking = look(&link);
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = looking => {}
    }
    drop(sender);
    let _it_signs_off = serving.await;
}

async fn read(
    mut source: impl futures::Stream<Item = Result<Message, Error>> + Unpin,
    link: &Arc<WsLink>,
    sender: &mpsc::Sender<Incoming>,
    heard: &Mutex<Instant>,
) {
    let mut bad = 0;
    while let Some(Ok(message)) = source.next().await {
        *heard.lock() = Instant::now();
        let frame = match &message {
            Message::Text(text) => serde_json::from_str::<Frame>(text.as_str()).ok(),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
            Message::Binary(_) | Message::Frame(_) => None,
        };
        let Some(Frame { event, data, id }) = frame else {
            bad += 1;
            let error = json!({"error": "expected a text frame with {\"event\",\"data\",\"id\"?}"});
            let data = serde_json::value::to_raw_value(&error).unwrap_or_default();
            link.emit(Packet { event: "error", data: data.into(), message: None });
            if bad >= BAD_FRAMES {
                link.end.lock().get_or_insert(CloseCode::Policy);
                link.work.notify_one();
                std::future::pending::<()>().await;
            }
            continue;
        };
        bad = 0;
        let answering = Arc::clone(link);
        let ack = id.map(|id| -> Ack { Box::new(move |answer| acknowledge(&answering, &id, &answer)) });
        // A client that sends faster than it is served is not read meanwhile.
        if sender.send(Incoming { event, data, ack, place: None, expected: false }).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// An ack is an event with the frame's id, whose data is the ack.
fn acknowledge(link: &WsLink, id: &Value, answer: &Value) {
    let both = json!({"id": id, "data": answer});
    let data = serde_json::value::to_raw_value(&both).unwrap_or_default();
    link.emit(Packet { event: "ack", data: data.into(), message: None });
}

async fn write(
    mut sink: impl futures::Sink<Message, Error = Error> + Unpin,
    link: &WsLink,
    heard: &Mutex<Instant>,
    drain: &CancellationToken,
) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        let next = link.outbox.lock().pop();
        let sent = match next {
            Some(packet) => in_time(sink.send(Message::text(text(&packet)))).await,
            None => {
                let end = *link.end.lock();
                if let Some(code) = end {
                    return close(sink, code).await;
                }
                tokio::select! {
                    () = link.work.notified() => Ok(()),
                    () = drain.cancelled() => return close(sink, CloseCode::Restart).await,
                    _ = pings.tick() => {
                        if heard.lock().elapsed() > SILENT {
                            return;
                        }
                        in_time(sink.send(Message::Ping(Vec::new().into()))).await
                    }
                }
            }
        };
        if sent.is_err() {
            return;
        }
        if drain.is_cancelled() {
            return close(sink, CloseCode::Restart).await;
        }
    }
}

/// A client that takes nothing for that long is gone, however little waits for it.
async fn in_time(sending: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(SILENT, sending).await.unwrap_or(Err(Error::ConnectionClosed))
}

async fn close(mut sink: impl futures::Sink<Message, Error = Error> + Unpin, code: CloseCode) {
    let frame = CloseFrame { code, reason: "".into() };
    let _the_client_may_be_gone = timeout(Duration::from_secs(1), sink.send(Message::Close(Some(frame)))).await;
    // The client closes the connection; it is not waited for long.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Cuts a client that is over its bound and takes nothing.
async fn look(link: &WsLink) {
    loop {
        tokio::time::sleep(LOOK).await;
        if link.outbox.lock().is_slow(link.meter.written()) {
            link.cut(Cut::Slow);
            return;
        }
    }
}

fn text(packet: &Packet) -> String {
    if packet.event == "ack"
        && let Ok(ack) = serde_json::from_str::<AckBody<'_>>(packet.data.get())
    {
        let out = Out { event: "ack", id: Some(&ack.id), data: ack.data };
        return serde_json::to_string(&out).unwrap_or_default();
    }
    serde_json::to_string(&Out { event: packet.event, id: None, data: &packet.data }).unwrap_or_default()
}

#[derive(Deserialize)]
struct AckBody<'a> {
    id: Value,
    #[serde(borrow)]
    data: &'a RawValue,
}
