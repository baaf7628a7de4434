//! Sockets of clients: Socket.IO and plain WebSocket behind one kind of link.

mod connection;
mod front;
mod meter;
mod outbox;
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
    /// outbox. Emitting on a closed link does nothing.
    fn emit(&self, packet: Packet);
    /// Takes back, in order, what was never handed to the transport. Empty while the link is open.
    fn unsent(&self) -> Vec<Packet>;
    /// Ends the connection.
    fn cut(&self, why: Cut);
    /// `websocket`, `polling` or `ws` (plain).
    fn transport(&self) -> &'static str;
}
