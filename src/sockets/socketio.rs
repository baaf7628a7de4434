//! Socket.IO, by socketioxide.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bridge_core::UserId;
use futures::FutureExt as _;
use http::Request;
use parking_lot::Mutex;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use tokio::sync::{Semaphore, mpsc};
use tower::Service as _;

use super::connection::{
    Ack, Connection, Counted, Credentials, Incoming, Room, WAITING, WAITING_BYTES, too_many, too_often, weight,
};
use super::engine::{Engine, Library};
use super::flusher::Flusher;
use super::outbox::{Bounds, Dialect, Out, Outbox};
use super::wire::{self, Wire};
use super::{Cut, Link, Packet};
use crate::auth::{AuthError, Identity};
use crate::config::{Handshake, SocketSettings};
use crate::rate::Rate;

/// Room of one client for what it sends, in bytes; it grows with a larger frame.
const READ: usize = 1_024;
/// The library's own packets that may wait for one client.
const LIBRARY_PACKETS: usize = 256;
/// Bytes of events that wait for a client that does not take its answers.
const WAITING_BYTES_UNANSWERED: usize = WAITING_BYTES / 8;
/// How long a client that is sent away may take to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the Socket.IO side needs.
pub(super) struct Shared {
    pub(super) room: Arc<Room>,
    pub(super) bounds: Arc<Bounds>,
    pub(super) handshake: Handshake,
    pub(super) socket: SocketSettings,
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
    #[error("Tokens can't be checked at the moment")]
    Unavailable,
}

/// What serves `/socket.io/`.
pub(super) fn engine(shared: Shared, flusher: Arc<Flusher>) -> (Arc<Engine>, SocketIo) {
    let largest = shared.socket.max_frame.as_u64();
    let frame = usize::try_from(largest).unwrap_or(usize::MAX);
    let (service, io) = SocketIo::builder()
        .max_buffer_size(LIBRARY_PACKETS)
        .max_payload(largest)
        .ws_max_message_size(frame)
        .ws_max_frame_size(frame)
        .ws_read_buffer_size(READ)
        .connect_timeout(shared.socket.handshake_timeout)
        .build_svc();
    let (asked, served) = (service.clone(), service);
    let ask = move |request: Request<Body>| {
        let answer = asked.clone().call(request);
        async move {
            match answer.await {
                Ok(response) => Response::map(response, Body::new),
                Err(never) => match never {},
            }
        }
        .boxed()
    };
    let serve = move |lane, request| {
        // It goes on by itself; a request that it does not understand ends the lane.
        drop(served.clone().call((lane, request)));
    };
    let engine = Engine::new(Library { ask: Box::new(ask), serve: Box::new(serve) }, flusher);
    let shared = Arc::new(shared);
    let checked = Arc::clone(&shared);
    let check = move |socket: SocketRef, auth: TryData<Value>| {
        let shared = Arc::clone(&checked);
        async move {
            let first = identify(&shared, auth.0.ok().as_ref()).await?;
            socket.extensions.insert(First(first));
            // Before the client is told that it is connected: its first events must find somebody who listens.
            listen(&socket, shared.socket.events);
            Ok::<(), Refusal>(())
        }
    };
    let closer = Arc::clone(&engine);
    let accept = move |socket: SocketRef, auth: TryData<Value>| {
        connected(&shared, &closer, &socket, auth.0.ok());
        std::future::ready(())
    };
    io.ns("/", accept.with(check));
    (engine, io)
}

/// Who the handshake says the client is; `None` where it has to say so later.
async fn identify(shared: &Shared, auth: Option<&Value>) -> Result<Option<(Identity, Credentials)>, Refusal> {
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
    match shared.room.auth.verify(token).await {
        Ok(identity) => Ok(Some((identity, credentials))),
        Err(AuthError::Invalid) => Err(Refusal::Failed),
        Err(AuthError::UserId) => Err(Refusal::UserId),
        Err(AuthError::Unavailable) => Err(Refusal::Unavailable),
    }
}

/// Who the handshake said the client is.
#[derive(Clone)]
struct First(Option<(Identity, Credentials)>);

/// A socket's events on their way to its connection.
#[derive(Clone)]
struct Inbound(Arc<Mutex<Ends>>);

impl Inbound {
    fn close(&self) {
        let mut ends = self.0.lock();
        ends.sender = None;
        ends.link = None;
    }

    fn acknowledge(&self, id: i64, answer: &Value) {
        let link = self.0.lock().link.clone();
        if let Some(link) = link {
            link.wire.push(&link.outbox, Out::Ack(format!("43{id}[{answer}]").into()));
        }
    }
}

struct Ends {
    /// Taken out when the client is gone: that ends the connection.
    sender: Option<mpsc::Sender<Box<Incoming>>>,
    /// Taken out when the connection begins.
    events: Option<mpsc::Receiver<Box<Incoming>>>,
    /// For acks and refusals. Handlers hold it and it holds the socket that holds the handlers: taking it out ends the circle.
    link: Option<Arc<SocketIoLink>>,
}

fn listen(socket: &SocketRef, events_a_second: u32) {
    let rate = Arc::new(Rate::new(events_a_second));
    let (sender, events) = mpsc::channel(WAITING);
    let inbound = Inbound(Arc::new(Mutex::new(Ends { sender: Some(sender), events: Some(events), link: None })));
    socket.extensions.insert(inbound.clone());
    let places = Arc::new(Semaphore::new(WAITING_BYTES));
    socket.on_fallback(move |Event(event): Event, data: TryData<Value>, AckId(id): AckId| {
        // No arguments, or binary ones, read as null: every event has a clear refusal for that.
        let data = data.0.unwrap_or_default();
        let answering = inbound.clone();
        let ack = id.map(|id| Box::new(move |answer: Value| answering.acknowledge(id, &answer)) as Ack);
        if !rate.take() {
            let link = inbound.0.lock().link.clone();
            if let Some(link) = link {
                too_often(&*link, &event, ack);
            }
            return std::future::ready(());
        }
        let least = WAITING_BYTES / WAITING;
        let bytes = u32::try_from((weight(&data) + event.len()).clamp(least, WAITING_BYTES)).unwrap_or(u32::MAX);
        let (is_full, account) = match &inbound.0.lock().link {
            Some(link) => (link.is_full(), Some(Arc::clone(&link.outbox.lock().account))),
            None => (false, None),
        };
        let is_over = account.as_ref().is_some_and(|account| account.is_over());
        let most = if is_full { WAITING_BYTES_UNANSWERED } else { WAITING_BYTES };
        let fits = WAITING_BYTES.saturating_sub(places.available_permits()) + bytes as usize <= most;
        match Arc::clone(&places).try_acquire_many_owned(bytes) {
            Ok(place) if fits && !is_over => {
                let counted = account.map(|account| Counted::new(account, bytes.into()));
                if let Some(sender) = &inbound.0.lock().sender {
                    // There is room: each has a place. It fails when nobody serves the client any more.
                    let _served = sender.try_send(Box::new(Incoming {
                        event,
                        data,
                        ack,
                        place: Some(place),
                        counted,
                        expected: false,
                    }));
                }
            }
            _ => {
                let link = inbound.0.lock().link.clone();
                if let Some(link) = link {
                    too_many(&*link, &event, ack);
                }
            }
        }
        // The work is done: events are taken in the order in which they came.
        std::future::ready(())
    });
}

fn connected(shared: &Arc<Shared>, engine: &Arc<Engine>, socket: &SocketRef, auth: Option<Value>) {
    let Some(wire) = socket.req_parts().extensions.get::<Arc<Wire>>().cloned() else { return };
    // Events go out after the answer to this CONNECT.
    let opens_at = wire.accepted();
    let Some(inbound) = socket.extensions.get::<Inbound>() else { return };
    let link = Arc::new_cyclic(|own: &std::sync::Weak<SocketIoLink>| {
        let bounds = Arc::clone(&shared.bounds);
        let outbox = Outbox::new(bounds, Dialect::SocketIo, opens_at, own.clone());
        SocketIoLink {
            socket: socket.clone(),
            wire,
            outbox: Arc::new(Mutex::new(outbox)),
            engine: Arc::clone(engine),
        }
    });
    link.wire.open(Arc::clone(&link.outbox));
    let events = {
        let mut ends = inbound.0.lock();
        ends.link = Some(Arc::clone(&link));
        ends.events.take()
    };
    let Some(events) = events else { return };
    socket.on_disconnect(End { link: Arc::clone(&link), inbound: inbound.clone() });
    if !socket.connected() {
        // It was gone before the handler above was there.
        link.wire.close(&link.outbox);
        inbound.close();
    }
    let first = socket.extensions.remove::<First>().and_then(|First(first)| first);
    let must_sign_on = !shared.room.auth.is_trusted() && first.is_none();
    // A wrong declaration of a client that is not authenticated yet counts for nothing.
    let declared =
        auth.filter(Value::is_object).and_then(|auth| Credentials::read(auth, true).ok()).unwrap_or_default();
    let connection = Connection::new(Arc::clone(&shared.room), link, must_sign_on, declared);
    tokio::spawn(connection.run(first, events));
}

/// What is done when the client is gone from the namespace. At once: a handler that is a function runs later, and the
/// library passes over a CONNECT that comes before.
struct End {
    link: Arc<SocketIoLink>,
    inbound: Inbound,
}

impl<A: socketioxide::adapter::Adapter> socketioxide::handler::DisconnectHandler<A, ()> for End {
    fn call_with_defer(
        &self,
        socket: Arc<socketioxide::socket::Socket<A>>,
        _reason: socketioxide::socket::DisconnectReason,
        defer: fn(Arc<socketioxide::socket::Socket<A>>),
    ) {
        self.link.wire.close(&self.link.outbox);
        self.inbound.close();
        defer(socket);
    }
}

/// By which the client waits for an ack. Without one, an error is an event.
struct AckId(Option<i64>);

impl<A: socketioxide::adapter::Adapter> socketioxide::handler::FromMessageParts<A> for AckId {
    type Error = std::convert::Infallible;

    fn from_message_parts(
        _socket: &Arc<socketioxide::socket::Socket<A>>,
        _value: &mut socketioxide::handler::Value,
        ack: &Option<i64>,
    ) -> Result<Self, Self::Error> {
        Ok(Self(*ack))
    }
}

/// A Socket.IO client.
struct SocketIoLink {
    socket: SocketRef,
    wire: Arc<Wire>,
    outbox: wire::Shared,
    engine: Arc<Engine>,
}

impl Link for SocketIoLink {
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
        if why == Cut::Unauthenticated {
            // A real disconnect: a client that only lost its transport would come back with the same token.
            let (socket, wire, outbox) = (self.socket.clone(), Arc::clone(&self.wire), Arc::clone(&self.outbox));
            tokio::spawn(async move {
                // After the answer.
                wire.drained(&outbox, LAST_WORDS).await;
                let _the_client_may_be_gone = socket.disconnect();
            });
            return;
        }
        self.wire.close(&self.outbox);
        if !self.wire.cut() {
            self.engine.close(self.socket.id.as_str());
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
        if self.wire.is_websocket() { "websocket" } else { "polling" }
    }
}

/// Cuts every client at the transport, so that it reconnects by itself.
pub(super) async fn cut_all(io: &SocketIo, limit: Duration) {
    let _clients_are_not_waited_for = tokio::time::timeout(limit, io.close()).await;
}
