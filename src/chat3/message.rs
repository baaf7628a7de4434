//! createMessage: forwarded once, never again.

use std::sync::Arc;

use bridge_core::DialogId;
use bridge_core::update::{LegacyMessage, Object, repair};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Chat3, body, reason};

/// A message on its way to Chat3.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    /// The text.
    pub content: Value,
    /// Who says it.
    pub sender_id: String,
    /// Its type, as Chat3 calls it; absent stays absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Value>,
    /// Its meta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// The message it quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_message_id: Option<Value>,
}

/// Why there is no message, or none that is known of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Chat3Error {
    /// Chat3 refused it with 400, 404, 413 or 429: there is no message.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Chat3's `message`.
        message: String,
        /// Chat3's `details`.
        details: Option<Value>,
    },
    /// It refused the gateway's own key.
    #[error("the chat service refused the gateway ({0})")]
    Key(u16),
    /// It failed, or answered what can't be read: there may be a message.
    #[error("the chat service failed: {0}")]
    Failed(String),
}

impl Chat3Error {
    /// Whether a message may exist all the same.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Key(_))
    }
}

impl Chat3 {
    /// Posts one message; returns Chat3's `data` verbatim (half surrogate pairs as U+FFFD). It has no time limit of its
    /// own, and is not retried: Chat3 may have accepted what it could not answer.
    ///
    /// # Errors
    /// [`Chat3Error`].
    pub async fn create_message(
        &self,
        dialog: &DialogId,
        message: &NewMessage,
    ) -> Result<Arc<RawValue>, Chat3Error> {
        let url = self.url(&format!("/dialogs/{dialog}/messages"));
        let sent = self.http.post(url).json(message).send().await;
        let answer = sent.map_err(|error| Chat3Error::Failed(reason(&error)))?;
        let status = answer.status().as_u16();
        let unreadable = || Chat3Error::Failed(format!("it answered {status} with a body that can't be read"));
        let body = body(answer).await.and_then(|body| String::from_utf8(body).ok());
        match status {
            200 | 201 => data(&body.ok_or_else(unreadable)?).ok_or_else(unreadable),
            400 | 404 | 413 | 429 => Err(refused(status, body.as_deref().unwrap_or_default())),
            401 | 403 => Err(Chat3Error::Key(status)),
            _ => Err(Chat3Error::Failed(format!("it answered {status}"))),
        }
    }
}

/// `data` of an answer, which has to name the message.
fn data(body: &str) -> Option<Arc<RawValue>> {
    let body = repair(body);
    let data = Object::read(&body)?.raw("data")?.to_owned();
    LegacyMessage::read(&data).message.shown().is_some().then(|| data.into())
}

fn refused(status: u16, body: &str) -> Chat3Error {
    let answer: Value = serde_json::from_str(&repair(body)).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let message = text("message").or_else(|| text("error")).unwrap_or_else(|| format!("refused with {status}"));
    Chat3Error::Refused { status, message, details: answer.get("details").cloned() }
}
