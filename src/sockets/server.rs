//! The client side's listener: Socket.IO outermost, then `/ws`, then everything else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::{Method, Request};
use parking_lot::Mutex;
use socketioxide::SocketIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::Front;
use super::admission::{Admission, From, admit};
use super::connection::Room;
use super::flusher::Flusher;
use super::outbox::Bounds;
use super::receipt::ReceiptIo;
use super::{engine, socketio, websocket};
use crate::auth::Authenticator;
use crate::config::{Handshake, SocketSettings};
use crate::listener::Limits;
use crate::memory::Budget;

/// A client that sends nothing more of a body for this long is cut. Longer than a message's body may take as a whole:
/// that is refused with an answer of its own.
const BODY: Duration = Duration::from_secs(40);

/// What the listener needs from the settings.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Bounds of sockets.
    pub socket: SocketSettings,
    /// Whether the handshake must carry a token.
    pub handshake: Handshake,
    /// How long a connection may take.
    pub limits: Limits,
    /// Connections at once, in all and from one address.
    pub connections: (u32, u32),
    /// Proxies that are believed whom they speak for.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// The client side.
pub struct Server {
    /// Until [`Self::run`] takes it: when that ends, nobody listens any more.
    listener: Mutex<Option<TcpListener>>,
    router: Router,
    io: SocketIo,
    /// No new connections; those that idle between requests are closed.
    stop: CancellationToken,
    /// Plain WebSockets end.
    cut: CancellationToken,
    connections: TaskTracker,
    limits: Limits,
    admission: Arc<Admission>,
}

impl Server {
    /// Puts Socket.IO and `/ws` before `api`, with `cors` around all. Acks that the end of the process has to wait
    /// for are counted in `in_flight`.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        api: Router,
        cors: CorsLayer,
        (front, auth, budget): (Arc<dyn Front>, Arc<Authenticator>, Arc<Budget>),
        in_flight: TaskTracker,
        settings: &ServerSettings,
    ) -> Self {
        let room = Room::new(front, auth, in_flight, settings.socket.handshake_timeout);
        let bounds = Bounds::new(
            settings.socket.buffer.as_u64(),
            settings.socket.buffer_total.as_u64(),
            Arc::clone(&budget),
        );
        let flusher = Arc::<Flusher>::default();
        let cut = CancellationToken::new();
        let plain = websocket::Shared {
            room: Arc::clone(&room),
            bounds: Arc::clone(&bounds),
            flusher: Arc::clone(&flusher),
            drain: cut.clone(),
            socket: settings.socket.clone(),
        };
        let handshake = settings.handshake;
        let shared = socketio::Shared { room, bounds, handshake, socket: settings.socket.clone() };
        let (most, most_of_address) = settings.connections;
        let admission = Admission::new(most, most_of_address, settings.trusted_proxies.clone(), budget);
        let (engine, io) = socketio::engine(shared, Arc::clone(&flusher));
        tokio::spawn(crate::vital::task("flusher", async move { flusher.run().await }));
        let router = Router::new()
            .route("/ws", get(plain_websocket).with_state(plain))
            .merge(api)
            .layer(middleware::from_fn_with_state(engine, engine::front))
            .layer(middleware::from_fn_with_state(Arc::clone(&admission), admit));
        let bare = router.clone();
        let router = router
            .layer(cors)
            .layer(middleware::from_fn_with_state(bare, plain_options))
            .layer(RequestBodyTimeoutLayer::new(BODY));
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let limits = settings.limits;
        Self { listener: Mutex::new(Some(listener)), router, io, stop, cut, connections, limits, admission }
    }

    /// Accepts until [`Self::stop_accepting`]; then the port is closed.
    pub async fn run(&self) {
        let Some(listener) = self.listener.lock().take() else { return };
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match self.admission.connection(peer.ip()) {
                        Ok(place) => self.serve(stream, From { peer: peer.ip(), place: Arc::new(place) }),
                        Err(over) => self.admission.turn_away(stream, over),
                    },
                    Err(error) => {
                        // Out of file descriptors: the next one may find a free one.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    fn serve(&self, stream: TcpStream, from: From) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "Nagle's algorithm stays on");
        }
        let (io, receipts) = ReceiptIo::new(stream);
        let router = self.router.clone().layer(axum::Extension(receipts)).layer(axum::Extension(from));
        let stop = self.stop.clone();
        let limits = self.limits;
        self.connections.spawn(async move {
            if let Err(error) = crate::listener::serve(io, router, limits, stop.cancelled()).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }

    /// No new connections from now on; requests in flight go on.
    pub fn stop_accepting(&self) {
        self.stop.cancel();
    }

    /// Ends every socket so that its client reconnects by itself: WebSockets with 1012, Socket.IO at the transport.
    pub async fn cut_clients(&self, limit: Duration) {
        self.cut.cancel();
        socketio::cut_all(&self.io, limit).await;
    }
}

async fn plain_websocket(State(shared): State<websocket::Shared>, request: Request<Body>) -> Response {
    websocket::upgrade(shared, request).await
}

/// An OPTIONS that is no preflight of CORS goes where every other request goes.
async fn plain_options(State(bare): State<Router>, request: Request<Body>, next: Next) -> Response {
    let preflight = request.headers().contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || preflight {
        return next.run(request).await;
    }
    match bare.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
