//! Parcels in the words of clients.

use bridge_core::form::{Form, render};
use bridge_core::recipient::{Copy, Parcel, Resync};
use bridge_core::{DialogId, Json, UserId};

use crate::clock::iso;
use crate::sockets::{Link, Packet};

#[derive(serde::Serialize)]
struct Gap {
    reason: &'static str,
    since: String,
}

/// Hands `parcel` to `link`. Its last packet carries the serial; where the client's form has no event for it, an empty
/// place in the order does.
pub(super) fn emit(link: &dyn Link, serial: u64, form: Form, parcel: &Parcel) {
    let last = |event, data| Packet { event, data, serial: Some(serial) };
    match parcel {
        Parcel::Copy(Copy::Legacy(legacy)) => {
            link.emit(last("message:new", legacy.data.clone()));
            // It leaves before the answer to its POST does.
            link.flush();
        }
        Parcel::Copy(Copy::Update(update)) => {
            let rendered = render(update, form);
            let count = rendered.len();
            if count == 0 {
                link.skip(serial);
            }
            for (n, (event, data)) in rendered.into_iter().enumerate() {
                link.emit(Packet { event, data, serial: (n + 1 == count).then_some(serial) });
            }
        }
        Parcel::Resync(Resync { reason, since }) => {
            let gap = Gap { reason: reason.name(), since: iso(*since) };
            link.emit(last("bridge:resync", Json::of(&gap)));
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing<'a> {
    user_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    dialog_id: &'a DialogId,
}

/// `typing:start` or `typing:stop`.
pub(super) fn typing(user: &UserId, name: Option<&str>, dialog: &DialogId, start: bool) -> (&'static str, Json) {
    let body = Typing { user_id: user, user_name: name.filter(|_| start), dialog_id: dialog };
    let event = if start { "typing:start" } else { "typing:stop" };
    (event, Json::of(&body))
}
