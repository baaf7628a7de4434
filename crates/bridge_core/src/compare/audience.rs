//! Did both paths reach the same sockets, or does a recorded fact say why not?

use super::event::Seen;

/// What a look at both audiences showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Same,
    /// Another tab had not joined.
    TabNotJoined,
    /// Sockets differ because one came, went or was not subscribed.
    Explained,
    Differs,
}

pub(super) fn compare(legacy: &Seen, rabbitmq: &Seen) -> Audience {
    let only_rabbitmq = rabbitmq.sockets.iter().filter(|socket| !legacy.sockets.contains(socket));
    let only_legacy = legacy.sockets.iter().filter(|socket| !rabbitmq.sockets.contains(socket));
    let (mut not_joined, mut explained) = (false, false);
    for socket in only_rabbitmq {
        // It was there and not in the room; one that was not there yet came meanwhile.
        if legacy.present.contains(socket) {
            not_joined = true;
        } else {
            explained = true;
        }
    }
    for socket in only_legacy {
        if rabbitmq.present.contains(socket) && rabbitmq.subscribed.contains(socket) {
            return Audience::Differs;
        }
        explained = true;
    }
    match (not_joined, explained) {
        (true, _) => Audience::TabNotJoined,
        (false, true) => Audience::Explained,
        (false, false) => Audience::Same,
    }
}
