//! The audit: every change, append-only, each line bound to the one before it by SHA-256.
//!
//! `hash` is the hash of the line's JSON without `hash`, in the order of its members; `prev` is the hash of the line
//! before, 64 zeros for the first.

mod chain;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bridge_core::{Rollout, Stage};
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::chain::{Chain, hash_of, seal};
pub use self::chain::{Head, Verification, verify};
use crate::notice::Notice;

/// Entries that wait for a disk that takes nothing.
const WAITING: usize = 1_000;
/// Most entries that are shown.
const SHOWN: usize = 10_000;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, ISO-8601.
    pub at: String,
    /// Who: the name of an admin token, where the call came with one that has a name.
    pub actor: String,
    /// Whom the call named, where the actor is a token's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
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
    /// What it was, where it was no move: `shadow_reset`, `shadow_reveal`, `shadow_reveal_ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Why it did not happen; absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Verdict and counts at that moment.
    pub evidence: Value,
    /// How long it took, in ms.
    pub duration_ms: u64,
}

impl AuditEntry {
    /// What is told of it.
    #[must_use]
    pub fn notice(&self) -> Notice {
        let Self { actor, reason, from, to, .. } = self;
        let percent = self.rollout.percent;
        let (event, what) = match (&self.action, &self.refused) {
            (Some(action), _) if action == "shadow_reset" => ("reset", "the evidence begins anew".into()),
            (Some(action), _) if action == "shadow_reveal" => {
                ("reveal", "what people wrote is shown in records".into())
            }
            (Some(action), _) if action == "shadow_reveal_ended" => {
                ("reveal", "what people wrote is not shown in records any more".into())
            }
            (Some(action), _) => ("action", action.replace('_', " ")),
            (None, Some(refused)) => ("refused", format!("{from} stays: {refused}")),
            (None, None) if to < from => ("rollback", format!("rolled back, {from} → {to}")),
            (None, None) if from == to && *to == Stage::Legacy => ("rollback", "legacy stays".into()),
            (None, None) if to.use_rabbitmq_updates() && percent < 100.0 => {
                ("flip", format!("{from} → {to} for {percent} % of the users"))
            }
            (None, None) => ("flip", format!("{from} → {to}")),
        };
        let forced = if self.forced { ", forced" } else { "" };
        let text = format!("{what}, by {actor}{forced}: {reason}");
        Notice { event, text, details: serde_json::to_value(self).unwrap_or_default() }
    }
}

/// `audit.jsonl`.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    /// The end of what is on the disk.
    head: Head,
    /// Lines that wait for the disk, with their hashes.
    waiting: VecDeque<(String, String)>,
}

/// What the audit is at one moment, to be read without holding anybody up.
#[derive(Clone, Debug)]
pub struct Reading {
    path: PathBuf,
    /// Bytes of the file: what is appended meanwhile is not read.
    bytes: u64,
    head: Head,
    waiting: Vec<String>,
}

impl Audit {
    /// The audit in `dir`, whose end was `known` when the flag was stored last.
    #[must_use]
    pub fn open(dir: &Path, known: Option<&Head>) -> Self {
        let path = dir.join("audit.jsonl");
        mend(&path);
        let mut head = Head::default();
        let mut is_there = known.is_none_or(|known| known.hash == head.hash);
        let read = each_line(&path, u64::MAX, |line| {
            head.lines += 1;
            if let Some(hash) = serde_json::from_str::<Value>(line).ok().as_ref().and_then(hash_of) {
                head.hash = hash.to_owned();
            }
            is_there |= known.is_some_and(|known| known.hash == head.hash);
        });
        if let Err(error) = read {
            tracing::error!(path = %path.display(), %error, "the audit can't be read");
        }
        if let Some(known) = known.filter(|_| !is_there) {
            tracing::error!(path = %path.display(), known = known.lines, found = head.lines,
                "THE END OF THE AUDIT IS MISSING: what comes now is bound to what was there");
            // The gap shows for good.
            head.hash.clone_from(&known.hash);
        }
        Self { path, head, waiting: VecDeque::new() }
    }

    /// The end of what is on the disk.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Appends an entry; `false` when it waits in memory because the disk does not take it.
    pub fn append(&mut self, entry: &AuditEntry) -> bool {
        let prev = self.waiting.back().map_or(&self.head.hash, |(_, hash)| hash);
        let sealed = match seal(entry, prev) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(%error, "an audit entry can't be written");
                return false;
            }
        };
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            counter!("bridge_audit_lost_total").increment(1);
        }
        self.waiting.push_back(sealed);
        self.flush()
    }

    /// Writes what waits; `false` when something still does.
    pub fn flush(&mut self) -> bool {
        while let Some((line, hash)) = self.waiting.front() {
            if let Err(error) = write(&self.path, line) {
                tracing::error!(path = %self.path.display(), %error, "the audit can't be written: it waits in memory");
                return false;
            }
            self.head = Head { lines: self.head.lines + 1, hash: hash.clone() };
            self.waiting.pop_front();
        }
        true
    }

    /// What it is at this moment.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading {
            path: self.path.clone(),
            bytes: std::fs::metadata(&self.path).map_or(0, |about| about.len()),
            head: self.head.clone(),
            waiting: self.waiting.iter().map(|(line, _)| line.clone()).collect(),
        }
    }
}

impl Reading {
    /// The newest entries as they stand on the disk and wait in memory, newest first, each with its `line`, and whether
    /// the chain of all of them holds. A line that can't be read stands as `{"line","unreadable"}`.
    #[must_use]
    pub fn take(&self) -> (Vec<Value>, Verification) {
        let mut entries = VecDeque::new();
        let mut chain = Chain::default();
        let mut note = |line: &str, on_disk: bool| {
            chain.line += 1;
            let mut entry = serde_json::from_str::<Value>(line).unwrap_or(Value::Null);
            if on_disk {
                chain.disk = chain.line;
            }
            chain.take(&entry, &self.head);
            if entry.is_object() {
                entry["line"] = chain.line.into();
            } else {
                entry = serde_json::json!({"line": chain.line, "unreadable": line});
            }
            entries.push_front(entry);
            entries.truncate(SHOWN);
        };
        let read = each_line(&self.path, self.bytes, |line| note(line, true));
        self.waiting.iter().for_each(|line| note(line, false));
        if let Err(error) = read {
            chain.bad(format!("the file can't be read: {error}"));
        }
        (entries.into(), chain.end(&self.head))
    }
}

/// Every line within the first `bytes` of the file. A byte that is no UTF-8 shows as U+FFFD, so that its line is named and
/// the others are not lost.
fn each_line(path: &Path, bytes: u64, mut take: impl FnMut(&str)) -> std::io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file.take(bytes)).split(b'\n') {
        take(&String::from_utf8_lossy(&line?));
    }
    Ok(())
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

#[cfg(test)]
mod tests;
