//! Reading of Chat3's createMessage answer, as far as delivery needs it.

use std::sync::Arc;

use super::Object;
use crate::key::MessageId;

/// The names in a createMessage `data`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyMessage {
    /// `messageId` and `_id`.
    pub message: MessageId,
    /// The dialog's Mongo id, where `dialogId` is the populated object of November 2025.
    pub dialog_mongo: Option<Arc<str>>,
}

impl LegacyMessage {
    /// Reads `data`; what is not there, or of another type, is absent.
    #[must_use]
    pub fn read(data: &str) -> Self {
        let Some(object) = Object::read(data) else { return Self::default() };
        let name = |key: &str| object.text(key).map(|text| Arc::from(text.as_ref()));
        let dialog = object.object("dialogId").and_then(|dialog| dialog.text("_id"));
        Self {
            message: MessageId { message: name("messageId"), mongo: name("_id") },
            dialog_mongo: dialog.map(|text| Arc::from(text.as_ref())),
        }
    }
}
