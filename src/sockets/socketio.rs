//! Socket.IO, by socketioxide.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use metrics::counter;
use parking_lot::Mutex;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::layer::SocketIoLayer;
use tokio::sync::{Semaphore, mpsc};

use super::connection::{Ack, Connection, Credentials, Incoming, Room, WAITING, WAITING_BYTES, too_many, weight};
use super::outbox::{Bounds, Outbox};
use super::wire::{IN_FLIGHT, LIBRARY_PACKETS, Wire, Wires};
use super::{Cut, Link, Packet};
use crate::auth::{AuthError, Identity};
use crate::config::Handshake;

/// Largest message of a client, in bytes.
const LARGEST_MESSAGE: usize = 256 * 1024;
/// Between two looks at a client that takes nothing.
const LOOK: Duration = Duration::from_millis(100);

/// Feeds Engine.IO a request as a client would; used to close a polling client's transport.
pub(super) type Inject = Arc<dyn Fn(Request<Body>) + Send + Sync>;

/// What the Socket.IO side needs.
pub(super) struct Shared {
    pub(super) room: Arc<Room>,
    pub(super) wires: Arc<Wires>,
    pub(super) bounds: Arc<Bounds>,
    pub(super) handshake: Handshake,
    pub(super) inject: std::sync::OnceLock<Inject>,
}

/// The reason a connection is refused, as `connect_error` shows it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refusal {
    #[error("Authentication token required")]
    TokenRequired,
    #[error("Authentication failed")]
    Failed,
    #[error("invalid user id")]
    UserId,
}

/// The layer that serves `/socket.io/` and passes everything else on.
pub(super) fn layer(shared: Arc<Shared>) -> (SocketIoLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(LIBRARY_PACKETS)
        .max_payload(LARGEST_MESSAGE as u64)
        .ws_max_message_size(LARGEST_MESSAGE)
        .ws_max_frame_size(LARGEST_MESSAGE)
        .ws_read_buffer_size(4_096)
        .connect_timeout(Duration::from_secs(10))
        .build_layer();
    let checked = Arc::clone(&shared);
    let check = move |socket: SocketRef, auth: TryData<Value>| {
        let identified = identify(&checked, auth.0.ok().as_ref());
        // Before the client is told that it is connected: its first events must find somebody who listens.
        let refusal = identified.map(|_| listen(&socket)).err();
        async move { refusal.map_or(Ok(()), Err) }
    };
    let accept = move |socket: SocketRef, auth: TryData<Value>| {
        connected(&shared, &socket, auth.0.ok());
        std::future::ready(())
    };
    io.ns("/", accept.with(check));
    (layer, io)
}

/// Who the handshake says the client is; `None` where it has to say so later.
fn identify(shared: &Shared, auth: Option<&Value>) -> Result<Option<(Identity, Credentials)>, Refusal> {
    if shared.room.auth.is_trusted() {
        return Ok(None);
    }
    let credentials = match auth {
        Some(auth @ Value::Object(_)) => Credentials::read(auth.clone(), false).map_err(|_| Refusal::Failed)?,
        _ => Credentials::default(),
    };
    let Some(token) = credentials.token.as_deref() else {
        return match shared.handshake {
            Handshake::Required => Err(Refusal::TokenRequired),
            Handshake::Optional => Ok(None),
        };
    };
    match shared.room.auth.verify(token) {
        Ok(identity) => Ok(Some((identity, credentials))),
        Err(AuthError::Invalid) => Err(Refusal::Failed),
        Err(AuthError::UserId) => Err(Refusal::UserId),
    }
}

/// A socket's events on their way to its connection.
#[derive(Clone)]
struct Inbound(Arc<Mutex<Ends>>);

impl Inbound {
    fn close(&self) {
        let mut ends = self.0.lock();
        ends.sender = None;
        ends.link = None;
    }
}

struct Ends {
    /// Taken out when the client is gone: that ends the connection.
    sender: Option<mpsc::Sender<Incoming>>,
    /// Taken out when the connection begins.
    events: Option<mpsc::Receiver<Incoming>>,
    /// For a refusal. Handlers hold it and it holds the socket that holds the handlers: taking it out ends the circle.
    link: Option<Arc<dyn Link>>,
}

fn listen(socket: &SocketRef) {
    let (sender, events) = mpsc::channel(WAITING);
    let inbound = Inbound(Arc::new(Mutex::new(Ends { sender: Some(sender), events: Some(events), link: None })));
    socket.extensions.insert(inbound.clone());
    let places = Arc::new(Semaphore::new(WAITING_BYTES));
    socket.on_fallback(move |Event(event): Event, data: TryData<Value>, wanted: AckWanted, ack: AckSender| {
        // No arguments, or binary ones, read as null: every event has a clear refusal for that.
        let data = data.0.unwrap_or_default();
        let answer = move |answer: Value| {
            let _the_client_may_be_gone = ack.send(&answer);
        };
        let ack = wanted.0.then(|| Box::new(answer) as Ack);
        let least = WAITING_BYTES / WAITING;
        let bytes = u32::try_from((weight(&data) + event.len()).clamp(least, WAITING_BYTES)).unwrap_or(u32::MAX);
        let ends = inbound.0.lock();
        match Arc::clone(&places).try_acquire_many_owned(bytes) {
            Ok(place) => {
                if let Some(sender) = &ends.sender {
                    // There is room: each has a place. It fails when nobody serves the client any more.
                    let _served =
                        sender.try_send(Incoming { event, data, ack, place: Some(place), expected: false });
                }
            }
            Err(_) => {
                if let Some(link) = &ends.link {
                    too_many(&**link, &event, ack);
                }
            }
        }
        // The work is done: events are taken in the order in which they came.
        std::future::ready(())
    });
}

fn connected(shared: &Arc<Shared>, socket: &SocketRef, auth: Option<Value>) {
    let Some(inbound) = socket.extensions.get::<Inbound>() else { return };
    let sid = socket.id.to_string();
    let wire = shared.wires.take(&sid);
    if let Some(meter) = socket.req_parts().extensions.get::<Arc<super::meter::Meter>>()
        && socket.transport_type() == socketioxide::TransportType::Websocket
    {
        wire.attach(Arc::clone(meter));
    }
    let link = Arc::new_cyclic(|own| SocketIoLink {
        own: own.clone(),
        socket: socket.clone(),
        wire,
        outbox: Mutex::new(Outbox::new(Arc::clone(&shared.bounds))),
        flying: Mutex::default(),
        shared: Arc::clone(shared),
    });
    let events = {
        let mut ends = inbound.0.lock();
        ends.link = Some(Arc::clone(&link) as Arc<dyn Link>);
        ends.events.take()
    };
    let Some(events) = events else { return };
    let (wires, gone, end) = (Arc::clone(&shared.wires), Arc::clone(&link), inbound.clone());
    socket.on_disconnect(move |_reason: socketioxide::socket::DisconnectReason| {
        gone.outbox.lock().closed = true;
        wires.forget(&sid);
        end.close();
        std::future::ready(())
    });
    if !socket.connected() {
        // It was gone before the handler above was there.
        shared.wires.forget(&socket.id.to_string());
        inbound.close();
    }
    let first = identify(shared, auth.as_ref()).ok().flatten();
    let must_sign_on = !shared.room.auth.is_trusted() && first.is_none();
    // A wrong declaration of a client that is not authenticated yet counts for nothing.
    let declared =
        auth.filter(Value::is_object).and_then(|auth| Credentials::read(auth, true).ok()).unwrap_or_default();
    let connection = Connection::new(Arc::clone(&shared.room), link, must_sign_on, declared);
    tokio::spawn(connection.run(first, events));
}

/// Whether the client waits for an ack. Without one, an error is an event.
struct AckWanted(bool);

impl<A: socketioxide::adapter::Adapter> socketioxide::handler::FromMessageParts<A> for AckWanted {
    type Error = std::convert::Infallible;

    fn from_message_parts(
        _socket: &Arc<socketioxide::socket::Socket<A>>,
        _value: &mut socketioxide::handler::Value,
        ack: &Option<i64>,
    ) -> Result<Self, Self::Error> {
        Ok(Self(ack.is_some()))
    }
}

/// A Socket.IO client.
struct SocketIoLink {
    /// For the task that moves packets on.
    own: Weak<Self>,
    socket: SocketRef,
    wire: Arc<Wire>,
    outbox: Mutex<Outbox>,
    /// What the library was given lately, with its size, newest last.
    flying: Mutex<VecDeque<(u64, Packet)>>,
    shared: Arc<Shared>,
}

impl SocketIoLink {
    /// Gives the library one packet; it has room for it.
    fn send(&self, packet: Packet) {
        let bytes = frame(&packet);
        self.wire.emitted(bytes);
        if let Err(error) = self.socket.emit(packet.event, &packet.data) {
            tracing::debug!(%error, "a packet for a client that is gone");
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut flying = self.flying.lock();
        flying.push_back((bytes, packet));
        let mut held: u64 = flying.iter().map(|(bytes, _)| bytes).sum();
        let in_flight = self.wire.in_flight();
        while let Some((bytes, _)) = flying.front()
            && held - bytes >= in_flight
        {
            held -= bytes;
            flying.pop_front();
        }
    }
}

/// Moves packets on as the client takes them, and cuts a client that takes nothing.
async fn drain(link: Arc<SocketIoLink>) {
    loop {
        let slow = {
            let mut outbox = link.outbox.lock();
            while link.wire.in_flight() < IN_FLIGHT
                && !outbox.closed
                && let Some(packet) = outbox.pop()
            {
                link.send(packet);
            }
            if outbox.is_empty() || outbox.closed {
                outbox.moving = false;
                return;
            }
            outbox.is_slow(link.wire.taken())
        };
        if slow {
            link.outbox.lock().moving = false;
            link.cut(Cut::Slow);
            return;
        }
        link.wire.wait(LOOK).await;
    }
}

impl Link for SocketIoLink {
    fn emit(&self, packet: Packet) {
        let mut outbox = self.outbox.lock();
        if outbox.closed {
            return;
        }
        if outbox.is_empty() && self.wire.in_flight() < IN_FLIGHT {
            self.send(packet);
            return;
        }
        outbox.push(packet);
        if !outbox.moving
            && let Some(own) = self.own.upgrade()
        {
            outbox.moving = true;
            tokio::spawn(drain(own));
        }
    }

    fn unsent(&self) -> Vec<Packet> {
        let mut outbox = self.outbox.lock();
        outbox.closed = true;
        let mut left = self.wire.in_flight();
        let mut flying = self.flying.lock();
        let mut unsent = Vec::new();
        // Newest first: what is still on its way was given to the library last.
        while left > 0
            && let Some((bytes, packet)) = flying.pop_back()
        {
            left = left.saturating_sub(bytes);
            unsent.push(packet);
        }
        unsent.reverse();
        unsent.extend(outbox.drain());
        unsent
    }

    fn cut(&self, why: Cut) {
        let reason = match why {
            Cut::Slow => "slow",
            Cut::Resumed => "resumed",
            Cut::Unauthenticated => "unauthenticated",
        };
        counter!("bridge_sockets_cut_total", "reason" => reason).increment(1);
        if why == Cut::Unauthenticated {
            // A real disconnect: a client that only lost its transport would come back with the same token.
            let socket = self.socket.clone();
            tokio::spawn(async move {
                // After the answer, which left a moment ago.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _the_client_may_be_gone = socket.disconnect();
            });
            return;
        }
        self.outbox.lock().closed = true;
        if !self.wire.cut()
            && let Some(inject) = self.shared.inject.get()
        {
            let uri = format!("/socket.io/?EIO=4&transport=polling&sid={}", self.socket.id);
            let close = Request::builder().method(Method::POST).uri(uri).body(Body::from("1"));
            if let Ok(close) = close {
                inject(close);
            }
        }
    }

    fn transport(&self) -> &'static str {
        match self.socket.transport_type() {
            socketioxide::TransportType::Websocket => "websocket",
            socketioxide::TransportType::Polling => "polling",
        }
    }
}

/// Bytes of the WebSocket frame that carries the packet: `42["event",data]`.
fn frame(packet: &Packet) -> usize {
    let text = packet.event.len() + packet.data.get().len() + 7;
    let header = match text {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    text + header
}

/// Cuts every client at the transport, so that it reconnects by itself.
pub(super) async fn cut_all(io: &SocketIo, limit: Duration) {
    let _clients_are_not_waited_for = tokio::time::timeout(limit, io.close()).await;
}
