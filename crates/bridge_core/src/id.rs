//! Identifiers of users, dialogs and sockets, checked once at the edge.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An identifier was refused; the text is what a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not 1–100 characters and at most 180 bytes free of `*` `#` `.`, white space and control characters.
    #[error("invalid user id")]
    User,
    /// Not 1–100 letters, digits, `-`, `_`.
    #[error("dialog not found")]
    Dialog,
}

/// A user id that is safe as one word of an AMQP routing key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

impl UserId {
    /// Longest id in characters.
    pub const MAX_CHARS: usize = 100;
    /// Longest id in bytes: leaves room for the queue name's other parts below AMQP's 255 bytes.
    pub const MAX_BYTES: usize = 180;

    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidId::User`] when it could break a binding or a queue name.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let bad = |c: char| matches!(c, '*' | '#' | '.') || c.is_whitespace() || c.is_control();
        if text.is_empty()
            || text.len() > Self::MAX_BYTES
            || text.chars().count() > Self::MAX_CHARS
            || text.chars().any(bad)
        {
            return Err(InvalidId::User);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for records that outlive the borrow.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// A dialog id as it stands in a URL path and in a room name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DialogId(Arc<str>);

impl DialogId {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidId::Dialog`] when it is not 1–100 letters, digits, `-`, `_`.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 100 || !text.bytes().all(good) {
            return Err(InvalidId::Dialog);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for records that outlive the borrow.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().into()
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
text_id!(UserId);
text_id!(DialogId);

/// A client's socket as the gate sees it. It outlives a lost connection: a client that resumes gets its id back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_that_could_break_a_binding_are_refused() {
        for bad in ["", "*", "#", "a.b", "a b", "a\u{0}b", "a\u{85}b", &"x".repeat(101), &"я".repeat(91)] {
            assert_eq!(UserId::new(bad), Err(InvalidId::User), "{bad:?}");
        }
        for good in ["usr_qk2ddpnx", "1", "имя", "a@b", "👍", &"x".repeat(100), &"я".repeat(90)] {
            assert!(UserId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn dialog_ids_are_letters_digits_dash_underscore() {
        assert!(DialogId::new("dlg_zkan1dcyu3g1svpm6442").is_ok());
        for bad in ["", "a/b", "a b", "д", &"x".repeat(101)] {
            assert!(DialogId::new(bad).is_err(), "{bad:?}");
        }
    }
}
