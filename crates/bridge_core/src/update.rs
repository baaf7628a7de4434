//! Reading of Chat3 Updates, leniently: every format that a Chat3 version has published.

mod fields;
mod legacy;
mod object;
mod read;
mod surrogate;
mod text;

pub use legacy::LegacyMessage;
pub use object::Object;
pub use surrogate::repair;

use std::sync::Arc;

use crate::Json;
use crate::key::{Key, MessageId};
use text::Text;

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

/// One Update, as published to `chat3_updates` for one user: its body, and where in it stands what is needed.
#[derive(Clone, Debug)]
pub struct Update {
    tenant: Text,
    user: Text,
    event: Text,
    update_type: Text,
    event_id: Text,
    entity: Text,
    dialog: Text,
    dialog_mongo: Text,
    sender: Text,
    /// `messageId` and `_id` of a created message.
    names: [Text; 2],
    /// The message key of a creation, else the update key.
    pub key: Key,
    /// The body as it is handed on: the published bytes, lone surrogates replaced by U+FFFD.
    pub body: Json,
    /// Whether a lone surrogate had to be repaired.
    pub repaired: bool,
}

impl Update {
    /// `tenantId`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.at(&self.tenant).unwrap_or_default()
    }

    /// `userId`: the recipient.
    #[must_use]
    pub fn user(&self) -> &str {
        self.at(&self.user).unwrap_or_default()
    }

    /// `eventType`, else `sourceEventType`; empty when there is neither.
    #[must_use]
    pub fn event(&self) -> &str {
        self.at(&self.event).unwrap_or_default()
    }

    /// `updateType` (`update.message`, …), since 2026.
    #[must_use]
    pub fn update_type(&self) -> Option<&str> {
        self.at(&self.update_type)
    }

    /// `eventId`.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.at(&self.event_id)
    }

    /// `entityId`.
    #[must_use]
    pub fn entity(&self) -> Option<&str> {
        self.at(&self.entity)
    }

    /// The dialog's `dlg_` id wherever the body has one (`data.message.dialogId`, `dialogId`, `data.dialogId`,
    /// `data.dialog.dialogId`, `data.context.dialogId`).
    #[must_use]
    pub fn dialog(&self) -> Option<&str> {
        self.at(&self.dialog)
    }

    /// The dialog's Mongo id (24 hex digits), where that is what the body has.
    #[must_use]
    pub fn dialog_mongo(&self) -> Option<&str> {
        self.at(&self.dialog_mongo)
    }

    /// `senderId` of the message, where it has one.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.at(&self.sender)
    }

    /// Whether it tells of a created message (`message.create`, and `updateType` `update.message` where there is one)
    /// that has a name.
    #[must_use]
    pub const fn is_creation(&self) -> bool {
        self.key.is_creation()
    }

    /// The names of the created message.
    #[must_use]
    pub fn message(&self) -> Option<MessageId> {
        let [message, mongo] = self.names.each_ref().map(|name| self.at(name).map(Arc::from));
        self.is_creation().then_some(MessageId { message, mongo })
    }

    /// `messageId` and `_id` of the created message.
    pub(crate) fn names(&self) -> [Option<&str>; 2] {
        let names = self.names.each_ref().map(|name| self.at(name));
        if self.is_creation() { names } else { [None, None] }
    }

    /// Whether the created message goes by `id`.
    #[must_use]
    pub fn is_message(&self, id: &str) -> bool {
        self.is_named(|name| name == id)
    }

    /// Whether the created message goes by a name for which `holds`.
    pub(crate) fn is_named(&self, holds: impl Fn(&str) -> bool) -> bool {
        self.names.iter().any(|name| self.at(name).is_some_and(&holds))
    }

    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.get().len() + size_of::<Self>() + 32
    }

    fn at<'a>(&'a self, text: &'a Text) -> Option<&'a str> {
        text.get(self.body.get())
    }
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
