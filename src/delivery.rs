//! Delivery: the registry of users, sockets and rooms, and the two paths through each user's gate.
//!
//! The only place that sees both the broker and the sockets.

mod dialogs;
mod drill;
mod flow;
mod front;
mod hub;
mod kept;
mod latency;
mod legacy;
mod lookup;
mod metrics;
mod packets;
mod posts;
mod rabbitmq;
mod registry;
mod relay;
mod routes;
mod seat;
mod switching;
mod tap;
mod tick;
mod token;
mod unreadable;

pub use drill::DrillSocket;
pub use hub::{Hub, HubSettings, Members, Served};
pub use kept::Replays;
pub use posts::{Post, Waiter};
pub use relay::{Peer, Relay, Relayed};
pub use switching::{Concerned, Flipped, HubLoad, SessionInfo, SocketInfo};
pub use tap::{NoTap, Tap};
