//! Reading of Chat3 Updates, leniently: every format that a Chat3 version has published.

mod legacy;
mod object;
mod read;
mod surrogate;

pub use legacy::LegacyMessage;
pub use object::Object;
pub use surrogate::repair;

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::key::{Key, MessageId};

/// A body that cannot be read as an Update. The text names the reason, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON, also after lone surrogates were repaired.
    #[error("not JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("not an object")]
    NotAnObject,
    /// A field that every Update has is missing or of the wrong type.
    #[error("no {0}")]
    Missing(&'static str),
}

/// One Update, as published to `chat3_updates` for one user.
#[derive(Clone, Debug)]
pub struct Update {
    /// `tenantId`.
    pub tenant: Arc<str>,
    /// `userId`: the recipient.
    pub user: Arc<str>,
    /// `eventType`, else `sourceEventType`; empty when there is neither.
    pub event: Arc<str>,
    /// `updateType` (`update.message`, …), since 2026.
    pub update_type: Option<Arc<str>>,
    /// `eventId`.
    pub event_id: Option<Arc<str>>,
    /// `entityId`.
    pub entity: Option<Arc<str>>,
    /// The dialog's `dlg_` id wherever the body has one (`dialogId`, `data.dialogId`, `data.message.dialogId`,
    /// `data.dialog.dialogId`, `data.context.dialogId`).
    pub dialog: Option<Arc<str>>,
    /// The dialog's Mongo id (24 hex digits), where that is what the body has.
    pub dialog_mongo: Option<Arc<str>>,
    /// `senderId` of the message, where it has one.
    pub sender: Option<Arc<str>>,
    /// The names of the created message; `Some` only for a creation (`message.create`, and `updateType`
    /// `update.message` where there is one).
    pub message: Option<MessageId>,
    /// The message key of a creation, else the update key.
    pub key: Key,
    /// The body as it is handed on: the published bytes, lone surrogates replaced by U+FFFD.
    pub body: Arc<RawValue>,
    /// Whether a lone surrogate had to be repaired.
    pub repaired: bool,
}

impl ReadError {
    /// A name from a closed set, for a metric's label.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::Missing(_) => "missing_field",
        }
    }
}
