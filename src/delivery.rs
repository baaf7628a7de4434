//! Delivery: the registry of users, sockets and rooms, and the two paths through each user's gate.
//!
//! The only place that sees both the broker and the sockets.

mod dialogs;
mod drill;
mod flow;
mod front;
mod hub;
mod legacy;
mod metrics;
mod rabbitmq;
mod replay;
mod resume;
mod resync;
mod routes;
mod selection;
mod switching;
mod tap;
mod tick;
mod token;
mod unreadable;
mod user;

pub use drill::DrillSocket;
pub use hub::{Hub, HubSettings, Members, Served};
pub use switching::{Flipped, HubLoad, SessionInfo, SocketInfo};
pub use tap::{NoTap, Tap};

use bridge_core::form::Form;

/// The form for a socket that declared `accepts`.
#[must_use]
pub fn form_of(accepts: Option<&[String]>, undeclared: Form) -> Form {
    match accepts {
        None => undeclared,
        Some(list) if list.iter().any(|item| item == "update") => Form::Update,
        Some(_) => Form::Legacy,
    }
}
