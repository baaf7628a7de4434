//! What people wrote stays out of records: its length and a hash tell whether two texts are the same.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Difference;

/// Fields of the canonical form whose values people wrote, or could have.
const OF_PEOPLE: [&str; 3] = ["/content", "/quotedMessage", "/meta"];

/// Replaces text of people in `diff` by `{"len","hash"}`: length in UTF-16 units of a text (bytes of JSON of anything
/// else), and the first 16 hex digits of its SHA-256.
pub fn redact(diff: &mut [Difference]) {
    for difference in diff {
        if OF_PEOPLE.iter().any(|field| is_below(&difference.path, field)) {
            hide(&mut difference.legacy);
            hide(&mut difference.rabbitmq);
        } else {
            keep_short(&mut difference.legacy);
            keep_short(&mut difference.rabbitmq);
        }
    }
}

/// Whether `path` is `field` or below it.
#[must_use]
pub(crate) fn is_below(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn hide(value: &mut Value) {
    let (len, text) = match &*value {
        Value::Null => return,
        Value::String(text) => (text.encode_utf16().count(), text.clone()),
        other => (other.to_string().len(), other.to_string()),
    };
    let hash = Sha256::digest(text);
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    *value = json!({"len": len, "hash": hex});
}

/// An id or a type that is no short text is something else in the wrong place.
fn keep_short(value: &mut Value) {
    let long = match value {
        Value::String(text) => text.len() > 128,
        Value::Array(_) | Value::Object(_) => true,
        _ => false,
    };
    if long {
        hide(value);
    }
}
