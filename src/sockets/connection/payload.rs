//! Reading of payloads: everything that is not as it should be is one clear refusal.

use serde_json::Value;

use super::wrong;
use crate::sockets::{Refused, Resume};

/// Longest list of texts in a payload.
const MOST: usize = 100;
/// Longest text in a payload, in bytes.
const LONGEST: usize = 16 * 1024;

/// What `authenticate`, or the handshake's `auth`, carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) token: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) accepts: Option<Vec<String>>,
    pub(crate) subscribe: Option<Vec<String>>,
    pub(crate) resume: Option<Resume>,
}

impl Credentials {
    /// The seed's string (a user id where clients are trusted, else a token), or an object.
    pub(crate) fn read(data: Value, trusted: bool) -> Result<Self, Refused> {
        match data {
            Value::String(text) if trusted => Ok(Self { user: Some(text), ..Self::default() }),
            Value::String(text) => Ok(Self { token: Some(text), ..Self::default() }),
            Value::Object(_) => Ok(Self {
                token: text(&data, "token")?,
                user: text(&data, "userId")?,
                accepts: list(&data, "accepts")?,
                subscribe: list(&data, "subscribe")?,
                resume: resume(&data)?,
            }),
            _ if trusted => Err(wrong("a user id or {userId}")),
            _ => Err(wrong("a token or {token}")),
        }
    }
}

/// About the memory that a payload takes.
pub(crate) fn weight(data: &Value) -> usize {
    let own = size_of::<Value>();
    own + match data {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| own + name.len() + weight(value)).sum(),
    }
}

/// `["messageupdate", …]`, one type alone, or nothing.
pub(crate) fn types(data: &Value) -> Result<Vec<String>, Refused> {
    match data {
        Value::Null => Ok(Vec::new()),
        Value::String(kind) => Ok(vec![kind.clone()]),
        Value::Array(items) if items.len() > MOST => Err(Refused(format!("too many types: at most {MOST}"))),
        Value::Array(_) => texts(data).ok_or_else(|| Refused("invalid type".into())),
        _ => Err(wrong("a list of update types")),
    }
}

fn text(data: &Value, key: &str) -> Result<Option<String>, Refused> {
    match data.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= LONGEST => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("a text as {key}"))),
    }
}

fn list(data: &Value, key: &str) -> Result<Option<Vec<String>>, Refused> {
    match data.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => texts(value).map(Some).ok_or_else(|| wrong(&format!("a list of texts as {key}"))),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array().filter(|items| items.len() <= MOST)?;
    items.iter().map(|item| item.as_str().filter(|text| text.len() <= LONGEST).map(ToOwned::to_owned)).collect()
}

fn resume(data: &Value) -> Result<Option<Resume>, Refused> {
    match data.get("resume") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(Resume { token: token.clone(), last: None })),
        Some(object @ Value::Object(_)) => match text(object, "token")? {
            Some(token) => Ok(Some(Resume { token, last: text(object, "last")? })),
            None => Err(wrong("{token, last?} as resume")),
        },
        Some(_) => Err(wrong("a token or {token, last?} as resume")),
    }
}
