//! Sockets of clients: Socket.IO and plain WebSocket behind one kind of link.

mod connection;
mod engine;
mod flusher;
mod frame;
mod front;
mod handshake;
mod lane;
mod outbox;
mod receipt;
mod server;
mod socketio;
mod websocket;
mod wire;

pub use front::{Front, Refused, Resume, SignOn, Signed};
pub use server::{Server, ServerSettings};

use std::sync::Arc;

use bridge_core::MessageId;
use serde_json::value::RawValue;

/// What is emitted, as cheap to clone as a pointer.
pub type Data = Arc<RawValue>;

/// One event on its way to one client.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Event name.
    pub event: &'static str,
    /// Its only argument.
    pub data: Data,
    /// The message it carries (a client names one of its ids as `last` when it resumes).
    pub message: Option<MessageId>,
}

impl Packet {
    /// A delivery, which a client that resumes gets again; answers and relayed events are of the moment.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let answer = matches!(self.event, "ack" | "error" | "authenticated" | "unauthorized");
        !answer && !self.event.starts_with("typing:")
    }
}

/// Why the bridge ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Over its outbound bound and took nothing for a second. The transport is cut: the client reconnects by itself.
    Slow,
    /// The same client resumed on another connection.
    Resumed,
    /// Not authenticated in time, or its token expired: a real disconnect.
    Unauthenticated,
}

/// A connection to a client, of either transport.
pub trait Link: Send + Sync + 'static {
    /// Emits in order. Never blocks: what the transport does not take at once waits in the link's own bounded
    /// outbox. On a connection that is over, what is emitted is only counted as unsent.
    fn emit(&self, packet: Packet);
    /// Ends the link, and says how many of the packets that a client gets again when it resumes
    /// ([`Packet::is_kept`]) the transport did not take whole: they are the newest of them. From then on none of them
    /// reaches the client by this link.
    fn unsent(&self) -> usize;
    /// Ends the connection.
    fn cut(&self, why: Cut);
    /// More waits for the client than may (`socket.buffer`).
    fn is_full(&self) -> bool;
    /// `websocket`, `polling` or `ws` (plain).
    fn transport(&self) -> &'static str;
}
