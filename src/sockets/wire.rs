//! One connection's way to its client, whatever transport it is on: it knows what the transport took.
//!
//! The libraries carry what is rare (handshakes, pings, CONNECT); events and acks go from the outbox to the transport
//! itself, between the library's frames or packets. So nothing is handed to anybody who can't say what became of it.

mod polling;

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Cut;
use super::admission::Places;
use super::engine::Registered;
use super::flusher::Flusher;
use super::frame::Header;
use super::lane::Lane;
use super::outbox::{Out, Outbox};
pub(crate) use polling::{Receipt, Turn};

/// Between two looks at a client that takes nothing.
const LOOK: Duration = Duration::from_millis(100);
/// What a library may have written, in bytes, before it waits for the client.
const CONTROL: usize = 64 * 1024;

/// An outbox, shared by its link and the wire that empties it.
pub(crate) type Shared = Arc<Mutex<Outbox>>;

/// An Engine.IO session's way to its client, or a plain WebSocket's.
pub(crate) struct Wire {
    state: Mutex<State>,
    /// Something changed for a poll that waits.
    pub(crate) changed: Notify,
    /// The library's reading and writing halves.
    reader: AtomicWaker,
    writer: AtomicWaker,
    cut: AtomicBool,
    /// It waits for the flusher.
    dirty: AtomicBool,
    flusher: Arc<Flusher>,
    /// The connection's places among those that there may be; given up with it.
    places: Mutex<Option<Places>>,
    /// Its place among the sessions that poll; given up with it.
    pub(crate) registered: OnceLock<Registered>,
}

struct State {
    path: Path,
    /// Of the link that is connected, or was last.
    outbox: Option<Shared>,
    /// CONNECTs that were accepted, and those whose answer has left the library.
    accepted: u64,
    answered: u64,
}

enum Path {
    Polling(polling::State),
    WebSocket(WebSocket),
    Closed,
}

struct WebSocket {
    stream: Arc<TcpStream>,
    control: Control,
}

/// What a library wrote; whole frames of it may go out.
#[derive(Default)]
struct Control {
    bytes: BytesMut,
    /// Bytes of whole frames.
    whole: usize,
    /// The library answers a probe that was answered already.
    swallow: bool,
}

impl Control {
    /// Takes more of what the library wrote; says how many CONNECTs it answers.
    fn feed(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend_from_slice(bytes);
        let mut answered = 0;
        while let Some(header) = Header::read(&self.bytes[self.whole..]) {
            let Some(frame) = self.bytes.get(self.whole..self.whole.saturating_add(header.total())) else { break };
            let (payload, length) = (&frame[header.length..], frame.len());
            if std::mem::take(&mut self.swallow) && payload == b"3probe" {
                self.bytes.advance(length);
                continue;
            }
            answered += u64::from(header.is_text() && is_connect(payload));
            self.whole += length;
        }
        answered
    }
}

/// The answer to a CONNECT of the namespace that is served.
fn is_connect(packet: &[u8]) -> bool {
    packet.starts_with(b"40")
}

impl Wire {
    pub(crate) fn new(flusher: Arc<Flusher>) -> Arc<Self> {
        let path = Path::Polling(polling::State::default());
        Arc::new(Self {
            state: Mutex::new(State { path, outbox: None, accepted: 0, answered: 0 }),
            changed: Notify::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            cut: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            flusher,
            places: Mutex::default(),
            registered: OnceLock::new(),
        })
    }

    /// The client is on a WebSocket from now on. The library that serves it reads `ahead` first; with `swallow` its
    /// answer to a probe, which has been given, does not go out.
    pub(crate) fn attach(self: &Arc<Self>, stream: TcpStream, ahead: Bytes, swallow: bool) -> Lane {
        let stream = Arc::new(stream);
        let mut control = Control { swallow, ..Control::default() };
        let mut state = self.state.lock();
        if let Path::Polling(polling) = &mut state.path {
            control.bytes.extend_from_slice(&polling.leave());
            control.whole = control.bytes.len();
        }
        state.path = Path::WebSocket(WebSocket { stream: Arc::clone(&stream), control });
        drop(state);
        self.changed.notify_waiters();
        self.kick();
        Lane::new(stream, Arc::clone(self), ahead)
    }

    /// Keeps the places of the connection that it is on now.
    pub(crate) fn hold(&self, places: Option<Places>) {
        *self.places.lock() = places;
    }

    /// The connection is over.
    pub(crate) fn detach(&self) {
        // What waits, if there is room for it: a client that is told to go is told why.
        let _over = self.pump();
        let mut state = self.state.lock();
        state.path = Path::Closed;
        self.hold(None);
        if let Some(outbox) = &state.outbox {
            outbox.lock().close();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A CONNECT was accepted; says which.
    pub(crate) fn accepted(&self) -> u64 {
        let mut state = self.state.lock();
        state.accepted += 1;
        state.accepted
    }

    /// `outbox` goes out from now on.
    pub(crate) fn open(self: &Arc<Self>, outbox: Shared) {
        let mut state = self.state.lock();
        let closed = matches!(state.path, Path::Closed);
        let former = state.outbox.replace(Arc::clone(&outbox));
        if let Some(former) = former {
            Self::end(&mut state, &former);
        }
        drop(state);
        if closed {
            outbox.lock().close();
        }
        self.kick();
    }

    /// Nothing of `outbox` goes out any more; says up to which serial everything was taken.
    pub(crate) fn close(&self, outbox: &Shared) -> u64 {
        Self::end(&mut self.state.lock(), outbox)
    }

    fn end(state: &mut State, outbox: &Shared) -> u64 {
        if let Path::Polling(polling) = &mut state.path {
            polling.revoke_of(outbox);
        }
        let mut outbox = outbox.lock();
        outbox.close();
        outbox.handed()
    }

    /// Emits; after the end nothing is.
    pub(crate) fn push(self: &Arc<Self>, outbox: &Shared, out: Out) {
        if outbox.lock().push(out) {
            self.kick();
        }
    }

    fn kick(self: &Arc<Self>) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.flusher.add(Arc::clone(self));
        }
    }

    /// Moves on what waits; whoever does not take all is looked after from here on.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.dirty.store(false, Ordering::Release);
        let mut state = self.state.lock();
        if matches!(state.path, Path::Polling(_)) {
            self.changed.notify_waiters();
        }
        let blocked = match self.pump_locked(&mut state) {
            Ok(blocked) => blocked,
            Err(error) => {
                drop(state);
                tracing::debug!(%error, "a client is gone");
                self.break_off();
                return;
            }
        };
        let Some(outbox) = &state.outbox else { return };
        let mut inner = outbox.lock();
        if (blocked || inner.is_full()) && !std::mem::replace(&mut inner.attended, true) {
            tokio::spawn(attend(Arc::clone(self), Arc::clone(outbox)));
        }
    }

    /// Writes what the WebSocket takes; says whether it did not take everything.
    fn pump(&self) -> io::Result<bool> {
        self.pump_locked(&mut self.state.lock())
    }

    fn pump_locked(&self, state: &mut State) -> io::Result<bool> {
        let State { path: Path::WebSocket(socket), outbox, answered, .. } = state else { return Ok(false) };
        let WebSocket { stream, control } = socket;
        let held_up = control.whole > CONTROL;
        let mut outbox = outbox.as_ref().map(|outbox| outbox.lock());
        let mut pump = || -> io::Result<()> {
            if let Some(outbox) = &mut outbox {
                outbox.write_to(true, |slices| stream.try_write_vectored(slices))?;
            }
            while control.whole > 0 {
                let count = stream.try_write(&control.bytes[..control.whole])?;
                control.bytes.advance(count);
                control.whole -= count;
            }
            if let Some(outbox) = outbox.as_mut().filter(|outbox| *answered >= outbox.opens_at) {
                outbox.write_to(false, |slices| stream.try_write_vectored(slices))?;
            }
            Ok(())
        };
        let result = pump();
        if control.bytes.is_empty() {
            control.bytes = BytesMut::new();
        }
        if held_up && control.whole <= CONTROL {
            self.writer.wake();
        }
        match result {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The library writes.
    pub(crate) fn control(self: &Arc<Self>, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.writer.register(cx.waker());
        // What was emitted before leaves before.
        self.pump()?;
        {
            let mut state = self.state.lock();
            let State { path: Path::WebSocket(socket), answered, .. } = &mut *state else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            if socket.control.whole > CONTROL {
                return Poll::Pending;
            }
            *answered += socket.control.feed(bytes);
        }
        if self.pump()? {
            self.kick();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Before the library reads.
    pub(crate) fn reading(&self, cx: &Context<'_>) -> io::Result<()> {
        self.reader.register(cx.waker());
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Breaks the WebSocket; `false` when the client is polling.
    pub(crate) fn cut(&self) -> bool {
        if matches!(self.state.lock().path, Path::Polling(_)) {
            return false;
        }
        self.break_off();
        true
    }

    fn break_off(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.state.lock().path, Path::WebSocket(_))
    }

    pub(crate) fn is_polling(&self) -> bool {
        matches!(self.state.lock().path, Path::Polling(_))
    }

    /// Waits until everything was taken, at most `limit`.
    pub(crate) async fn drained(&self, outbox: &Shared, limit: Duration) {
        let drained = async {
            while !outbox.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _too_slow = tokio::time::timeout(limit, drained).await;
    }

    fn stream(&self) -> Option<Arc<TcpStream>> {
        match &self.state.lock().path {
            Path::WebSocket(socket) => Some(Arc::clone(&socket.stream)),
            _ => None,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(registered) = self.registered.get() {
            registered.forget();
        }
    }
}

/// Moves on what waits as the client takes it, and cuts a client that takes nothing.
async fn attend(wire: Arc<Wire>, outbox: Shared) {
    loop {
        let pumped = wire.pump();
        let slow = {
            let mut inner = outbox.lock();
            let blocked = match &pumped {
                Ok(blocked) => *blocked,
                Err(_) => {
                    wire.break_off();
                    false
                }
            };
            let slow = inner.is_slow();
            if slow || !(blocked || inner.is_full()) {
                inner.attended = false;
            }
            if !slow && !inner.attended {
                let is_empty = inner.is_empty();
                drop(inner);
                if !is_empty {
                    // It may have become stuck since.
                    wire.kick();
                }
                return;
            }
            slow.then(|| inner.link.upgrade())
        };
        if let Some(link) = slow {
            if let Some(link) = link {
                link.cut(Cut::Slow);
            }
            return;
        }
        match wire.stream().filter(|_| matches!(pumped, Ok(true))) {
            Some(stream) => {
                let writable = std::future::poll_fn(|cx| stream.poll_write_ready(cx));
                let _a_look_is_due = tokio::time::timeout(LOOK, writable).await;
            }
            None => tokio::time::sleep(LOOK).await,
        }
    }
}
