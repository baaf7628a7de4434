//! The forms in which an update reaches a client.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use crate::Json;
use crate::update::{Object, Update};

/// What a client understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `update`, with the body exactly as published (the seed's way).
    #[default]
    Update,
    /// `message:new`, `message:update`, `dialog:update`, built from the update.
    Legacy,
    /// What the chat application's own backend sent: `chat3:update` and its companions.
    Chatapp,
}

/// What a client of `form` is sent for `update`: event names with their only argument; nothing where that form has
/// no event for it.
///
/// `legacy` is what the seed's front end makes of an update by itself; `chatapp` what the chat application's backend
/// sent: the update itself as `chat3:update`, and `message:new`, `message:update` or `dialog:update` beside it; typing is
/// `typing:update` alone.
#[must_use]
pub fn render(update: &Update, form: Form) -> Rendered {
    let whole = || update.body.clone();
    let part = |raw: Option<&RawValue>| raw.map(Json::from);
    let event = update.event();
    match form {
        Form::Update => smallvec![("update", whole())],
        Form::Legacy => {
            let rendered = match event {
                "message.create" if is_message(update) => {
                    part(update.message_part()).map(|data| ("message:new", data))
                }
                "message.update" | "message.changed" if is_message(update) => {
                    part(update.message_part()).map(|data| ("message:update", data))
                }
                _ if is_dialog(update) && event != "dialog.typing" => {
                    part(update.data()).map(|data| ("dialog:update", data))
                }
                _ => None,
            };
            rendered.into_iter().collect()
        }
        Form::Chatapp => {
            if event == "dialog.typing" {
                return typing(update).into_iter().collect();
            }
            let companion = match event {
                "message.create" if is_message(update) => {
                    part(update.message_part()).map(|data| ("message:new", data))
                }
                _ if event.starts_with("message.") && is_message(update) => Some(("message:update", whole())),
                _ if is_dialog(update) => Some(("dialog:update", whole())),
                _ => None,
            };
            std::iter::once(("chat3:update", whole())).chain(companion).collect()
        }
    }
}

/// What the application's backend made of somebody's typing; its front end loads all dialogs anew for a `dialog:update`.
fn typing(update: &Update) -> Option<(&'static str, Json)> {
    let data = Object::read(update.data()?.get())?;
    let typing = data.object("typing")?;
    let name = typing.object("userInfo").and_then(|user| user.text("name"));
    let body = Typing {
        dialog_id: update.dialog(),
        user_id: typing.raw("userId"),
        user_name: name.as_deref(),
        user_info: typing.raw("userInfo"),
        expires_in_ms: typing.raw("expiresInMs"),
    };
    Some(("typing:update", Json::of(&body)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing<'a> {
    dialog_id: Option<&'a str>,
    user_id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<&'a RawValue>,
}

/// Events with their arguments.
pub type Rendered = SmallVec<[(&'static str, Json); 2]>;

/// Not one of the newest Chat3's companions of a message, which carry counters of the dialog or the user.
fn is_message(update: &Update) -> bool {
    update.update_type().is_none_or(|kind| kind == "update.message")
}

fn is_dialog(update: &Update) -> bool {
    update.event().starts_with("dialog.")
}
