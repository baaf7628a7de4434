//! `GET /ws`: the same events as JSON text frames over a plain WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bridge_core::UserId;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::admission::Places;
use super::connection::{Ack, Connection, Counted, Credentials, Incoming, Room, WAITING_FEW, too_often, weight};
use super::flusher::Flusher;
use super::handshake;
use super::lane::Lane;
use super::outbox::{Bounds, Dialect, Out, Outbox};
use super::wire::{self, Wire};
use super::{Cut, Link, Packet};
use crate::auth::{AuthError, Identity};
use crate::config::SocketSettings;
use crate::rate::Rate;

const PING: Duration = Duration::from_secs(25);
/// A client that answers no ping for this long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// Bad frames in a row that close a connection.
const BAD_FRAMES: u32 = 10;
/// How long a client that is sent away may take to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What plain WebSockets share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) room: Arc<Room>,
    pub(super) bounds: Arc<Bounds>,
    pub(super) flusher: Arc<Flusher>,
    /// Ends all of them with 1012.
    pub(super) drain: CancellationToken,
    /// Limits of sockets.
    pub(super) socket: SocketSettings,
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

/// Upgrades a request, or says why not.
pub(super) async fn upgrade(shared: Shared, mut request: Request<Body>) -> Response {
    let headers = request.headers();
    let Some(accept) = handshake::accept(headers) else {
        return refusal(StatusCode::UPGRADE_REQUIRED, "a WebSocket handshake is expected");
    };
    let first = match crate::auth::bearer(headers).filter(|_| !shared.room.auth.is_trusted()) {
        None => None,
        Some(token) => match shared.room.auth.verify(token).await {
            Ok(identity) => Some((identity, Credentials::default())),
            Err(error @ AuthError::Unavailable) => {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
            }
            Err(error) => return refusal(StatusCode::UNAUTHORIZED, &error.to_string()),
        },
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let places = request.extensions().get::<Places>().cloned();
    let largest = usize::try_from(shared.socket.max_frame.as_u64()).unwrap_or(usize::MAX);
    tokio::spawn(async move {
        let Some((stream, ahead)) = handshake::stream(upgraded).await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(1_024)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        let wire = Wire::new(Arc::clone(&shared.flusher));
        wire.hold(places);
        let lane = wire.attach(stream, ahead, false);
        let stream = WebSocketStream::from_raw_socket(lane, Role::Server, Some(config)).await;
        serve(shared, wire, stream, first).await;
    });
    handshake::switching(accept)
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, axum::Json(json!({"success": false, "error": error}))).into_response()
}

/// A plain WebSocket's client.
struct WsLink {
    wire: Arc<Wire>,
    outbox: wire::Shared,
    /// How it is to be closed.
    end: Mutex<Option<CloseCode>>,
    ended: Notify,
}

impl WsLink {
    fn end(&self, code: CloseCode) {
        self.end.lock().get_or_insert(code);
        self.ended.notify_one();
    }
}

impl Link for WsLink {
    fn emit(&self, packet: Packet) {
        self.wire.push(&self.outbox, Out::Event(packet));
    }

    fn flush(&self) {
        self.wire.flush();
    }

    fn skip(&self, serial: u64) {
        self.outbox.lock().skip(serial);
    }

    fn handed(&self) -> u64 {
        self.outbox.lock().handed()
    }

    fn close(&self) -> u64 {
        self.wire.close(&self.outbox)
    }

    fn cut(&self, why: Cut) {
        self.outbox.lock().note_cut(why);
        let code = match why {
            Cut::Slow | Cut::Heavy | Cut::Failed => None,
            Cut::Resumed => Some(CloseCode::Normal),
            Cut::Unauthenticated => Some(CloseCode::Policy),
        };
        match code {
            Some(code) => self.end(code),
            None => {
                self.wire.close(&self.outbox);
                self.wire.cut();
            }
        }
    }

    fn belongs_to(&self, user: &UserId) {
        self.outbox.lock().account.belongs_to(user);
    }

    fn is_idle(&self) -> bool {
        self.outbox.lock().is_empty()
    }

    fn is_full(&self) -> bool {
        self.outbox.lock().is_full()
    }

    fn transport(&self) -> &'static str {
        "ws"
    }
}

type Stream = WebSocketStream<Lane>;

async fn serve(shared: Shared, wire: Arc<Wire>, stream: Stream, first: Option<(Identity, Credentials)>) {
    let link = Arc::new_cyclic(|own: &std::sync::Weak<WsLink>| {
        let outbox = Outbox::new(Arc::clone(&shared.bounds), Dialect::Plain, 0, own.clone());
        let outbox = Arc::new(Mutex::new(outbox));
        WsLink { wire, outbox, end: Mutex::default(), ended: Notify::new() }
    });
    link.wire.open(Arc::clone(&link.outbox));
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
    let rate = Rate::new(shared.socket.events);
    let reading = read(source, &link, &sender, &heard, &rate);
    let writing = write(sink, &link, &heard, &shared.drain);
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    link.wire.close(&link.outbox);
    drop(sender);
    let _it_signs_off = serving.await;
}

async fn read(
    mut source: impl futures::Stream<Item = Result<Message, Error>> + Unpin,
    link: &Arc<WsLink>,
    sender: &mpsc::Sender<Box<Incoming>>,
    heard: &Mutex<Instant>,
    rate: &Rate,
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
            link.emit(Packet { event: "error", data: data.into(), serial: None });
            if bad >= BAD_FRAMES {
                link.end(CloseCode::Policy);
                std::future::pending::<()>().await;
            }
            continue;
        };
        bad = 0;
        let answering = Arc::clone(link);
        let ack = id.map(|id| -> Ack { Box::new(move |answer| acknowledge(&answering, &id, &answer)) });
        if !rate.take() {
            too_often(&**link, &event, ack);
            continue;
        }
        // A client that sends faster than it is served is not read meanwhile.
        let bytes = u64::try_from(weight(&data) + event.len()).unwrap_or(u64::MAX);
        let counted = Some(Counted::new(Arc::clone(&link.outbox.lock().account), bytes));
        if sender
            .send(Box::new(Incoming { event, data, ack, place: None, counted, expected: false }))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

/// An ack is an event with the frame's id, whose data is the ack.
fn acknowledge(link: &WsLink, id: &Value, answer: &Value) {
    #[derive(Serialize)]
    struct Acknowledged<'a> {
        event: &'static str,
        id: &'a Value,
        data: &'a Value,
    }
    let text = serde_json::to_string(&Acknowledged { event: "ack", id, data: answer }).unwrap_or_default();
    link.wire.push(&link.outbox, Out::Ack(text.into()));
}

/// Pings, and closes; events and acks go out by themselves.
async fn write(
    mut sink: impl futures::Sink<Message, Error = Error> + Unpin,
    link: &WsLink,
    heard: &Mutex<Instant>,
    drain: &CancellationToken,
) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    let code = loop {
        tokio::select! {
            () = link.ended.notified() => break link.end.lock().unwrap_or(CloseCode::Normal),
            () = drain.cancelled() => break CloseCode::Restart,
            _ = pings.tick() => {
                if heard.lock().elapsed() > SILENT || sink.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return;
                }
            }
        }
    };
    link.wire.drained(&link.outbox, LAST_WORDS).await;
    let frame = CloseFrame { code, reason: "".into() };
    let _the_client_may_be_gone = timeout(LAST_WORDS, sink.send(Message::Close(Some(frame)))).await;
    // The client closes the connection; it is not waited for long.
    tokio::time::sleep(Duration::from_millis(200)).await;
}
