//! What sockets ask of whoever delivers to them.

use std::sync::Arc;

use bridge_core::{DialogId, SocketId, UserId};

use super::Link;

/// How a client signs on.
pub struct SignOn {
    /// Who it is.
    pub user: UserId,
    /// Display name, for `typing:start`.
    pub name: Option<Arc<str>>,
    /// Declared with `accepts`; `None`: `client.undeclared`.
    pub accepts: Option<Vec<String>>,
    /// Declared with `subscribe`; `None`: all.
    pub subscribe: Option<Vec<String>>,
    /// Token of an earlier socket.
    pub resume: Option<Resume>,
    /// The connection.
    pub link: Arc<dyn Link>,
}

/// `resume`: `token` or `{token, last?}`.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The token of the last ack.
    pub token: String,
    /// Id of the last message received.
    pub last: Option<String>,
}

/// A socket that signed on.
#[derive(Clone)]
pub struct Signed {
    /// Its id.
    pub socket: SocketId,
    /// Whose it is.
    pub user: UserId,
    /// Its resume token.
    pub resume: String,
    /// It got its rooms, subscriptions and missed messages back.
    pub recovered: bool,
}

/// What a user is told who has as many connected sockets as one may have (`socket.user_sockets`).
pub const TOO_MANY_SOCKETS: &str = "too many sockets";

/// A refusal that the client is told: `{ok:false,error}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What sockets ask of delivery. Implemented by [`Hub`](crate::delivery::Hub), and by a double in tests.
#[async_trait::async_trait]
pub trait Front: Send + Sync + 'static {
    /// Signs a socket on. Its identity counts from the return of this call; the queue may not be live yet.
    fn sign_on(&self, sign_on: SignOn) -> Result<Signed, Refused>;
    /// Waits until the user's queue is live, within the limits of the stage; then says whether it is (`ready`).
    async fn ready(&self, signed: &Signed) -> bool;
    /// A socket that is signed on authenticates again: what it declares replaces what it declared before, and what
    /// an earlier socket had is added to what it has. `recovered` of the result is about this call.
    fn renew(&self, signed: &Signed, sign_on: SignOn) -> Result<Signed, Refused>;
    /// The client was answered: what it is owed (`bridge:resync`) may follow.
    fn greeted(&self, signed: &Signed);
    /// The connection is gone. The socket lingers for a resume unless `for_good`.
    fn sign_off(&self, signed: &Signed, link: &Arc<dyn Link>, for_good: bool);
    /// The socket will ask to join: what takes its time may begin.
    fn expect(&self, signed: &Signed, dialog: &DialogId);
    /// Joins a dialog's room; checks membership.
    async fn join(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused>;
    /// Leaves a room.
    fn leave(&self, signed: &Signed, dialog: &DialogId) -> Result<(), Refused>;
    /// Adds update types (empty: all); returns the subscriptions. The bindings are live when [`Self::ready`] says so.
    fn subscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused>;
    /// Removes update types (empty: all).
    fn unsubscribe(&self, signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused>;
    /// Relays `typing:start` / `typing:stop` to the room except this socket; refused unless it has joined.
    fn typing(&self, signed: &Signed, dialog: &DialogId, start: bool) -> Result<(), Refused>;
}
