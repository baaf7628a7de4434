//! The audit: every change, append-only, each line bound to the one before it by SHA-256.
//!
//! `hash` is the hash of the line's JSON without `hash`, in the order of its members; `prev` is the hash of the line
//! before, 64 zeros for the first.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bridge_core::{Rollout, Stage};
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Entries that wait for a disk that takes nothing.
const WAITING: usize = 1_000;
/// Most entries that are shown.
const SHOWN: usize = 10_000;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, ISO-8601.
    pub at: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// How.
    pub source: String,
    /// Stage before.
    pub from: Stage,
    /// Stage after.
    pub to: Stage,
    /// Rollout after.
    pub rollout: Rollout,
    /// Order and preflight were overridden.
    pub forced: bool,
    /// Nobody asked for it at that moment: guard, or configuration.
    pub automatic: bool,
    /// Why it did not happen; absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Verdict and counts at that moment.
    pub evidence: Value,
    /// How long it took, in ms.
    pub duration_ms: u64,
}

/// Whether the chain holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// It does.
    pub ok: bool,
    /// The first line that does not fit, counted from 1.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// `audit.jsonl`.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    prev: String,
    waiting: VecDeque<String>,
}

impl Audit {
    /// The audit in `dir`.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("audit.jsonl");
        mend(&path);
        let text = text(&path);
        let hash = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?.get("hash")?.as_str()?.to_owned());
        let prev = text.lines().rev().find_map(hash).unwrap_or_else(genesis);
        Self { path, prev, waiting: VecDeque::new() }
    }

    /// Appends an entry; `false` when it waits in memory because the disk does not take it.
    pub fn append(&mut self, entry: &AuditEntry) -> bool {
        let line = match seal(entry, &self.prev) {
            Ok((line, hash)) => {
                self.prev = hash;
                line
            }
            Err(error) => {
                tracing::error!(%error, "an audit entry can't be written");
                return false;
            }
        };
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            counter!("bridge_audit_lost_total").increment(1);
        }
        self.waiting.push_back(line);
        self.flush()
    }

    /// Writes what waits; `false` when something still does.
    pub fn flush(&mut self) -> bool {
        while let Some(line) = self.waiting.front() {
            if let Err(error) = write(&self.path, line) {
                tracing::error!(path = %self.path.display(), %error, "the audit can't be written: it waits in memory");
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    /// Verifies entries as [`Self::entries`] gives them; this process also knows which one is the last.
    #[must_use]
    pub fn verify(&self, entries: &[Value]) -> Verification {
        let found = verify(entries);
        let last = entries.first().and_then(|entry| entry.get("hash")).and_then(Value::as_str);
        let whole = last.map_or_else(|| self.prev == genesis(), |last| last == self.prev);
        if !found.ok || whole {
            return found;
        }
        let problem = Some("it is missing: the end of the file was cut off".into());
        let line = entries.first().and_then(|entry| entry.get("line")).and_then(Value::as_u64).unwrap_or(0);
        Verification { ok: false, line: usize::try_from(line + 1).ok(), problem }
    }

    /// All entries as they stand on the disk and wait in memory, newest first, each with its `line`. A line that can't
    /// be read stands as `{"line","unreadable"}`.
    #[must_use]
    pub fn entries(&self) -> Vec<Value> {
        let text = text(&self.path);
        let lines = text.lines().map(str::to_owned).chain(self.waiting.iter().cloned());
        let numbered = |(place, line): (usize, String)| match serde_json::from_str::<Value>(&line) {
            Ok(Value::Object(mut entry)) => {
                entry.insert("line".into(), (place + 1).into());
                Value::Object(entry)
            }
            _ => serde_json::json!({"line": place + 1, "unreadable": line}),
        };
        let mut entries: Vec<Value> = lines.enumerate().map(numbered).collect();
        entries.reverse();
        entries.truncate(SHOWN);
        entries
    }
}

/// What the file says. A byte that is no UTF-8 shows as U+FFFD, so that its line is named and the others are not lost.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A crash can tear the last line. What is left of it is cut off, or the next entry would be glued to it.
fn mend(path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole == bytes.len() {
        return;
    }
    let torn = String::from_utf8_lossy(&bytes[whole..]);
    tracing::error!(path = %path.display(), %torn, "THE LAST LINE OF THE AUDIT IS TORN: it is completed or cut off");
    let entry = serde_json::from_slice::<Value>(&bytes[whole..]).is_ok_and(|entry| entry.get("hash").is_some());
    let mended = OpenOptions::new().append(true).open(path).and_then(|mut file| {
        if entry { file.write_all(b"\n") } else { file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)) }
    });
    if let Err(error) = mended {
        tracing::error!(path = %path.display(), %error, "the audit could not be mended");
    }
}

fn genesis() -> String {
    "0".repeat(64)
}

/// The line with `prev` and `hash`, and the hash.
fn seal(entry: &AuditEntry, prev: &str) -> serde_json::Result<(String, String)> {
    let mut value = serde_json::to_value(entry)?;
    value["prev"] = prev.into();
    let hash = digest(&value.to_string());
    value["hash"] = hash.as_str().into();
    Ok((value.to_string(), hash))
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // Half a line would break the chain for good.
        file.set_len(before)?;
    }
    written
}

/// Verifies entries as [`Audit::entries`] gives them (newest first).
#[must_use]
pub fn verify(entries: &[Value]) -> Verification {
    let mut prev: Option<String> = None;
    for entry in entries.iter().rev() {
        let line = entry.get("line").and_then(Value::as_u64).and_then(|line| usize::try_from(line).ok());
        let bad = |problem: &str| Verification { ok: false, line, problem: Some(problem.into()) };
        let Value::Object(mut fields) = entry.clone() else { return bad("it is no object") };
        fields.shift_remove("line");
        let hash = match fields.shift_remove("hash") {
            Some(Value::String(hash)) => hash,
            _ => return bad("it can't be read, or has no hash"),
        };
        let named = fields.get("prev").and_then(Value::as_str).unwrap_or_default().to_owned();
        if digest(&Value::Object(fields).to_string()) != hash {
            return bad("it was changed: its hash does not fit its content");
        }
        let expected = match &prev {
            Some(prev) => Some(prev.clone()),
            None if line == Some(1) => Some(genesis()),
            None => None,
        };
        if expected.is_some_and(|expected| expected != named) {
            return bad("the line before it was changed, removed or added");
        }
        prev = Some(hash);
    }
    Verification { ok: true, line: None, problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reason: &str) -> AuditEntry {
        AuditEntry {
            at: "2026-01-01T00:00:00.000Z".into(),
            actor: "ops".into(),
            reason: reason.into(),
            source: "admin".into(),
            from: Stage::Legacy,
            to: Stage::Shadow,
            rollout: Rollout::default(),
            forced: false,
            automatic: false,
            refused: None,
            evidence: Value::Null,
            duration_ms: 1,
        }
    }

    #[test]
    fn a_line_that_was_changed_removed_or_added_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path());
        for reason in ["one", "two", "three"] {
            assert!(audit.append(&entry(reason)));
        }
        let audit = Audit::open(dir.path());
        assert!(verify(&audit.entries()).ok);
        let path = dir.path().join("audit.jsonl");
        let good = std::fs::read_to_string(&path).unwrap();
        let line_of = |text: String| {
            std::fs::write(&path, text).unwrap();
            verify(&audit.entries()).line
        };
        assert_eq!(line_of(good.replace("two", "TWO")), Some(2));
        let lines: Vec<&str> = good.lines().collect();
        assert_eq!(line_of([lines[0], lines[2]].join("\n")), Some(2));
        assert_eq!(line_of([lines[0], lines[1], "{", lines[2]].join("\n")), Some(3));
        assert_eq!(line_of([lines[1], lines[2]].join("\n")), Some(1));
        assert_eq!(line_of(good.clone()), None);
        let cut = |text: &str| {
            std::fs::write(&path, text).unwrap();
            audit.verify(&audit.entries()).line
        };
        assert_eq!(cut(&good), None);
        assert_eq!(cut(&good[..good.len() - lines[2].len() - 1]), Some(3));
        assert_eq!(cut(""), Some(1));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_broken_byte_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(dir.path());
        assert!(audit.append(&entry("one")) && audit.append(&entry("two")));
        let whole = std::fs::read(&path).unwrap();
        for end in [whole.len() - 1, whole.len() - 20] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut audit = Audit::open(dir.path());
            assert!(audit.append(&entry("three")));
            assert!(verify(&audit.entries()).ok, "{end}");
        }
        let mut broken = whole.clone();
        broken[30] = 0xff;
        std::fs::write(&path, broken).unwrap();
        assert_eq!(verify(&Audit::open(dir.path()).entries()).line, Some(1));
    }

    #[test]
    fn the_chain_goes_on_after_a_restart_and_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("gone");
        let mut audit = Audit::open(&missing);
        assert!(!audit.append(&entry("waits")));
        assert_eq!(audit.entries().len(), 1);
        std::fs::create_dir(&missing).unwrap();
        assert!(audit.flush());
        let mut audit = Audit::open(&missing);
        assert!(audit.append(&entry("after")));
        assert_eq!(verify(&audit.entries()), Verification { ok: true, line: None, problem: None });
    }
}
