//! createMessage: forwarded once, never again.

use bridge_core::DialogId;
use bridge_core::Json;
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
    pub content: String,
    /// Who says it.
    pub sender_id: String,
    /// Its type, as Chat3 calls it; absent stays absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<RawValue>>,
    /// Its meta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Box<RawValue>>,
    /// The message it quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_message_id: Option<Box<RawValue>>,
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
    pub async fn create_message(&self, dialog: &DialogId, message: &NewMessage) -> Result<Json, Chat3Error> {
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

/// Posts a message to a backend that answers `{success, data}`, once. What it refuses is the client's own.
///
/// # Errors
/// [`Chat3Error`].
pub(crate) async fn created_by_backend(request: reqwest::RequestBuilder) -> Result<Json, Chat3Error> {
    let answer = request.send().await.map_err(|error| Chat3Error::Failed(reason(&error)))?;
    let status = answer.status().as_u16();
    let body = body(answer).await.and_then(|body| String::from_utf8(body).ok());
    match status {
        200 | 201 => body.as_deref().and_then(data).ok_or_else(|| {
            Chat3Error::Failed(format!("the backend answered {status} with a body that can't be read"))
        }),
        400..500 => Err(refused(status, body.as_deref().unwrap_or_default())),
        _ => Err(Chat3Error::Failed(format!("the backend answered {status}"))),
    }
}

/// `data` of an answer, which has to name the message.
fn data(body: &str) -> Option<Json> {
    let body = repair(body);
    let data = Object::read(&body)?.raw("data")?;
    LegacyMessage::read(data.get()).message.shown().is_some().then(|| data.into())
}

fn refused(status: u16, body: &str) -> Chat3Error {
    let answer: Value = serde_json::from_str(&repair(body)).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let message = text("message").or_else(|| text("error")).unwrap_or_else(|| format!("refused with {status}"));
    Chat3Error::Refused { status, message, details: answer.get("details").cloned() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config;

    static REQUESTS: AtomicUsize = AtomicUsize::new(0);

    /// Answers the first request on a connection; takes the second and closes.
    async fn serve(mut connection: TcpStream) {
        const DATA: &str = r#"{"data":{"messageId":"msg_a", "content":"x\ud83d"}}"#;
        let mut request = vec![0; 8_192];
        while let Ok(1..) = connection.read(&mut request).await {
            if REQUESTS.fetch_add(1, Ordering::Relaxed) > 0 {
                return;
            }
            let answer = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{DATA}", DATA.len());
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_message_is_never_sent_again_on_a_connection_that_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection));
            }
        });
        let settings = config::Chat3 { url, api_key: "key".into(), ..config::Chat3::default() };
        let chat3 = Chat3::new(&settings).unwrap();
        let dialog = DialogId::new("dlg_a").unwrap();
        let message = NewMessage {
            content: "x".into(),
            sender_id: "a".into(),
            kind: None,
            meta: None,
            quoted_message_id: None,
        };
        let first = chat3.create_message(&dialog, &message).await.unwrap();
        assert_eq!(first.get(), r#"{"messageId":"msg_a", "content":"x\ufffd"}"#, "verbatim but for the half pair");
        let second = chat3.create_message(&dialog, &message).await.unwrap_err();
        assert!(second.is_unknown(), "there may be a message: {second}");
        assert_eq!(REQUESTS.load(Ordering::Relaxed), 2);
    }
}
