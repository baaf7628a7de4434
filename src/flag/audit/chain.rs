//! The chain of hashes that binds each line of the audit to the one before it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::AuditEntry;

/// Whether the chain holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// It does.
    pub ok: bool,
    /// The first line that does not fit, counted from 1.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Lines that were looked at.
    #[serde(default)]
    pub lines: usize,
}

/// The end of the chain. It is kept beside the flag, so that an end that was cut off is missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Lines up to it.
    pub lines: usize,
    /// Hash of the last of them; 64 zeros where there is none.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { lines: 0, hash: genesis() }
    }
}

/// A chain that is verified line by line.
#[derive(Default)]
pub(super) struct Chain {
    /// Lines so far, and those of them that are in the file.
    pub(super) line: usize,
    pub(super) disk: usize,
    prev: Option<String>,
    /// The line that was written last was seen.
    head_seen: bool,
    found: Option<(usize, String)>,
}

impl Chain {
    pub(super) fn bad(&mut self, problem: impl Into<String>) {
        self.found.get_or_insert((self.line, problem.into()));
    }

    pub(super) fn take(&mut self, entry: &Value, head: &Head) {
        match check(entry, self.prev.as_deref(), self.line == 1) {
            Ok(hash) => {
                self.head_seen |= hash == head.hash;
                self.prev = Some(hash);
            }
            Err(problem) => self.bad(problem),
        }
    }

    pub(super) fn end(mut self, head: &Head) -> Verification {
        if self.found.is_none() && !self.head_seen && head.hash != genesis() {
            let problem = "it is missing: the end of the file was cut off, or the file was removed or replaced";
            self.found = Some((self.disk + 1, problem.into()));
        }
        let (line, problem) = self.found.unzip();
        Verification { ok: line.is_none(), line, problem, lines: self.line }
    }
}

/// The hash of an entry that follows the line with hash `prev`.
fn check(entry: &Value, prev: Option<&str>, is_first: bool) -> Result<String, &'static str> {
    let Value::Object(mut fields) = entry.clone() else { return Err("it can't be read, or has no hash") };
    fields.shift_remove("line");
    let Some(Value::String(hash)) = fields.shift_remove("hash") else {
        return Err("it can't be read, or has no hash");
    };
    let named = fields.get("prev").and_then(Value::as_str).unwrap_or_default().to_owned();
    if digest(&Value::Object(fields).to_string()) != hash {
        return Err("it was changed: its hash does not fit its content");
    }
    let genesis = is_first.then(genesis);
    if prev.or(genesis.as_deref()).is_some_and(|expected| expected != named) {
        return Err("the line before it was changed, removed or added");
    }
    Ok(hash)
}

/// Verifies entries as [`super::Reading::take`] gives them (newest first), without knowing how many there should be.
#[must_use]
pub fn verify(entries: &[Value]) -> Verification {
    let mut prev: Option<String> = None;
    for entry in entries.iter().rev() {
        let line = entry.get("line").and_then(Value::as_u64).and_then(|line| usize::try_from(line).ok());
        match check(entry, prev.as_deref(), line == Some(1)) {
            Ok(hash) => prev = Some(hash),
            Err(problem) => {
                return Verification { ok: false, line, problem: Some(problem.into()), lines: entries.len() };
            }
        }
    }
    Verification { ok: true, line: None, problem: None, lines: entries.len() }
}

/// The line with `prev` and `hash`, and the hash.
pub(super) fn seal(entry: &AuditEntry, prev: &str) -> serde_json::Result<(String, String)> {
    let mut value = serde_json::to_value(entry)?;
    value["prev"] = prev.into();
    let hash = digest(&value.to_string());
    value["hash"] = hash.as_str().into();
    Ok((value.to_string(), hash))
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn genesis() -> String {
    "0".repeat(64)
}

pub(super) fn hash_of(entry: &Value) -> Option<&str> {
    entry.get("hash")?.as_str()
}
