//! Engine.IO in front of the library: WebSockets are handed to it as connections of the bridge's own, polls take with
//! them what waits, and an upgrade reaches it only once the client has confirmed it.

mod upgrade;

use std::pin::pin;
use std::sync::{Arc, Weak};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use dashmap::DashMap;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::admission::Places;
use super::flusher::Flusher;
use super::handshake;
use super::lane::Lane;
use super::receipt::{ReceiptBody, Receipts};
use super::wire::{Turn, Wire};

const PATH: &str = "/socket.io";
/// No answer of the library is longer.
const LONGEST: usize = 1024 * 1024;

/// The library: requests of polling clients, and WebSockets with the request that began them.
pub(super) struct Library {
    pub(super) ask: Box<dyn Fn(Request<Body>) -> BoxFuture<'static, Response> + Send + Sync>,
    pub(super) serve: Box<dyn Fn(Lane, Request<()>) + Send + Sync>,
}

/// Sessions that began by polling, by id. They live as long as the library's.
type Sessions = Arc<DashMap<String, Weak<Wire>>>;

/// A wire's place among the sessions.
pub(crate) struct Registered {
    sessions: Sessions,
    sid: String,
}

impl Registered {
    pub(crate) fn forget(&self) {
        self.sessions.remove(&self.sid);
    }
}

pub(super) struct Engine {
    library: Library,
    sessions: Sessions,
    flusher: Arc<Flusher>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Polling,
    WebSocket,
}

impl Engine {
    pub(super) fn new(library: Library, flusher: Arc<Flusher>) -> Arc<Self> {
        Arc::new(Self { library, sessions: Sessions::default(), flusher })
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Response {
        let query = request.uri().query().unwrap_or_default();
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let transport = match value("transport").as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return self.ask(request).await,
        };
        // The library refuses what is not its own version; ids are short.
        let (sid, is_get) = (value("sid"), request.method() == Method::GET);
        if value("EIO").as_deref() != Some("4") || sid.as_ref().is_some_and(|sid| sid.len() > 64) {
            return self.ask(request).await;
        }
        let wire = sid.as_ref().and_then(|sid| self.sessions.get(sid)?.upgrade());
        match (transport, sid, wire) {
            (Transport::Polling, None, _) if is_get => self.open().await,
            (Transport::Polling, Some(_), Some(wire)) if is_get && wire.is_polling() => {
                self.poll(&wire, request).await
            }
            (Transport::WebSocket, None, _) if is_get => self.websocket(request),
            (Transport::WebSocket, Some(sid), Some(wire)) if is_get => self.upgrade(sid, &wire, request),
            (Transport::WebSocket, Some(_), _) => refusal(1, "Session ID unknown"),
            _ => self.ask(request).await,
        }
    }

    async fn ask(&self, request: Request<Body>) -> Response {
        (self.library.ask)(request).await
    }

    /// A session begins by polling.
    async fn open(&self) -> Response {
        let wire = Wire::new(Arc::clone(&self.flusher));
        let response = self.ask(open_request(Transport::Polling, None, &wire, Body::empty())).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
        #[derive(Deserialize)]
        struct Open {
            sid: String,
        }
        if let Some(open) = bytes.strip_prefix(b"0")
            && let Ok(Open { sid }) = serde_json::from_slice(open)
        {
            self.sessions.insert(sid.clone(), Arc::downgrade(&wire));
            let _first = wire.registered.set(Registered { sessions: Arc::clone(&self.sessions), sid });
        }
        Response::from_parts(parts, Body::from(bytes))
    }

    /// A session that is a WebSocket from its beginning.
    fn websocket(self: Arc<Self>, mut request: Request<Body>) -> Response {
        let Some(accept) = handshake::accept(request.headers()) else { return refusal(3, "Bad request") };
        let upgraded = hyper::upgrade::on(&mut request);
        let places = request.extensions().get::<Places>().cloned();
        tokio::spawn(async move {
            let Some((stream, ahead)) = handshake::stream(upgraded).await else { return };
            let wire = Wire::new(Arc::clone(&self.flusher));
            wire.hold(places);
            let lane = wire.attach(stream, ahead, false);
            (self.library.serve)(lane, open_request(Transport::WebSocket, None, &wire, ()));
        });
        handshake::switching(accept)
    }

    /// A poll takes what the library has for it, and what waits.
    async fn poll(&self, wire: &Arc<Wire>, request: Request<Body>) -> Response {
        let arrived = Instant::now();
        let receipts = request.extensions().get::<Receipts>().cloned().unwrap_or_default();
        wire.settled().await;
        let mut asked = pin!(self.ask(request));
        let control = loop {
            let mut changed = pin!(wire.changed.notified());
            changed.as_mut().enable();
            let turn = wire.turn(arrived);
            tokio::select! {
                biased;
                response = &mut asked => match text(response).await {
                    Ok(text) => break text,
                    Err(response) => return response,
                },
                () = std::future::ready(()), if !matches!(turn, Turn::Wait(_)) => break String::new(),
                () = changed => {}
                () = due(turn) => {}
            }
        };
        let (bytes, receipt) = wire.compose(control);
        let length = HeaderValue::from(bytes.len());
        let body = ReceiptBody { bytes: Some(bytes), receipt, receipts };
        let mut response = Response::new(Body::new(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        headers.insert(header::CONTENT_LENGTH, length);
        response
    }

    /// Ends a session that polls, as its client would.
    pub(super) fn close(self: &Arc<Self>, sid: &str) {
        let uri = format!("{PATH}/?EIO=4&transport=polling&sid={sid}");
        let Ok(close) = Request::builder().method(Method::POST).uri(uri).body(Body::from("1")) else { return };
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let _answer = engine.ask(close).await;
        });
    }
}

/// Serves what is Engine.IO's; everything else goes on.
pub(super) async fn front(State(engine): State<Arc<Engine>>, request: Request<Body>, next: Next) -> Response {
    let is_own =
        request.uri().path().strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_own { engine.serve(request).await } else { next.run(request).await }
}

async fn due(turn: Turn) {
    match turn {
        Turn::Wait(Some(due)) => sleep_until(due).await,
        _ => std::future::pending().await,
    }
}

/// The packets of the library's answer to a poll; an answer that is none goes to the client as it is.
async fn text(response: Response) -> Result<String, Response> {
    if response.status() != StatusCode::OK {
        return Err(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Response::from_parts(parts, Body::from(bytes))),
    }
}

/// A request that begins a session, with its wire. The library keeps it as long as the session lives, so it has
/// nothing of the client's.
fn open_request<B>(transport: Transport, sid: Option<&str>, wire: &Arc<Wire>, body: B) -> Request<B> {
    let transport = match transport {
        Transport::Polling => "polling",
        Transport::WebSocket => "websocket",
    };
    let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
    let mut request = Request::new(body);
    // An id that makes no URI is nobody's.
    *request.uri_mut() = format!("{PATH}/?EIO=4&transport={transport}{sid}").parse().unwrap_or_default();
    request.extensions_mut().insert(Arc::clone(wire));
    request
}

/// A refusal in Engine.IO's words.
fn refusal(code: u8, message: &str) -> Response {
    let json = HeaderValue::from_static("application/json");
    let body = Bytes::from(format!(r#"{{"code":"{code}","message":"{message}"}}"#));
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, json)], body).into_response()
}
