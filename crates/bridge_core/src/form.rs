//! The forms in which an update reaches a client.

use serde::{Deserialize, Serialize};

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
