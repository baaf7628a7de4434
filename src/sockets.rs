//! Sockets of clients: Socket.IO and plain WebSocket behind one kind of link.

mod admission;
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

pub use front::{Front, Refused, Resume, SignOn, Signed, TOO_MANY_SOCKETS};
pub use server::{Server, ServerSettings};

use bridge_core::Json;

/// What is emitted, as cheap to clone as a pointer.
pub type Data = Json;

/// One event on its way to one client.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Event name.
    pub event: &'static str,
    /// Its only argument.
    pub data: Data,
    /// Its number among what its socket was sent; `None` for answers and relayed events, which are of the moment, and
    /// for all but the last of several packets that tell one thing.
    pub serial: Option<u64>,
}

/// Why the bridge ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Over its outbound bound and took nothing for a second. The transport is cut: the client reconnects by itself.
    Slow,
    /// The same client resumed on another connection.
    Resumed,
    /// It held most of what clients may fill (`memory.limit`). The transport is cut, as above.
    Heavy,
    /// It was served no further because of a fault of the bridge. The transport is cut, as above.
    Failed,
    /// Not authenticated in time, or its token expired: a real disconnect.
    Unauthenticated,
}

impl Cut {
    /// As metrics say it.
    const fn reason(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Heavy => "memory",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// A connection to a client, of either transport.
pub trait Link: Send + Sync + 'static {
    /// Emits in order. Never blocks: what the transport does not take at once waits in the link's own bounded
    /// outbox. On a connection that is over nothing is emitted any more.
    fn emit(&self, packet: Packet);
    /// Moves on at once what was emitted, as far as the transport takes it; else it leaves with the next batch.
    fn flush(&self);
    /// There is nothing to emit for `serial` in this client's form.
    fn skip(&self, serial: u64);
    /// The transport took everything up to this [serial](Packet::serial) whole.
    fn handed(&self) -> u64;
    /// Ends the link: nothing more reaches the client by it. Returns what [`Self::handed`] says from then on.
    fn close(&self) -> u64;
    /// Ends the connection.
    fn cut(&self, why: Cut);
    /// Whose it is.
    fn belongs_to(&self, _user: &bridge_core::UserId) {}
    /// Nothing waits for the client.
    fn is_idle(&self) -> bool;
    /// More waits for the client than may (`socket.buffer`).
    fn is_full(&self) -> bool;
    /// `websocket`, `polling` or `ws` (plain).
    fn transport(&self) -> &'static str;
}
