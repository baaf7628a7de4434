//! What a recipient wants done, in order.

use crate::compare::Event;
use crate::form::Form;
use crate::gate::Why;
use crate::stage::Path;
use crate::{DialogId, SocketId};

use super::{LinkId, Parcel, Reason, Types};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand `parcel` to the connection in `form`. `serial` counts what the socket was sent, from 1 and without gaps; a
    /// transport tells up to which it took everything.
    Send {
        /// The connection.
        link: LinkId,
        /// The number of the parcel among those of its socket.
        serial: u64,
        /// What the client understands.
        form: Form,
        /// What to hand over.
        parcel: Parcel,
    },
    /// End the connection: the same client goes on over another.
    Cut {
        /// The connection.
        link: LinkId,
    },
    /// The user's queue is wanted for these types.
    Want(Types),
    /// Some socket is in the room of the dialog, and none was before.
    Entered(DialogId),
    /// The last socket has left the room.
    Left(DialogId),
    /// For the comparison.
    Observe(Event),
    /// For the metrics.
    Count(Count),
    /// The socket is gone for good; `into` has what it had, where another took it over.
    Ended {
        /// The socket.
        socket: SocketId,
        /// The socket that goes on as this one.
        into: Option<SocketId>,
    },
}

/// Something that metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// A copy was handed to at least one socket.
    Emitted(Path),
    /// A copy was handed to none.
    Swallowed(Path),
    /// Some socket had it already.
    Deduplicated,
    /// A held copy went out after all.
    Released(Why),
    /// A client was told of a gap.
    Resync(Reason),
}
