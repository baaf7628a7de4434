//! The shadow log: JSON Lines, rotated by size, kept by count.
//!
//! Written by hand because the rotating writers there are panic, or block, when the directory can't be written; this
//! one loses records, counts them, and goes on.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

use super::series;

/// A longer record is not written, and counted as lost; records are bounded far below.
const LONGEST: usize = 256 * 1024;
/// Bytes that are handed to the system at once.
const BUFFER: usize = 64 * 1024;

/// Records that are in no file.
#[derive(Clone)]
pub(super) struct Lost {
    total: Arc<AtomicU64>,
    counter: Counter,
}

impl Lost {
    pub(super) fn new() -> Self {
        Self { total: Arc::default(), counter: counter!("bridge_shadow_log_lost_total") }
    }

    pub(super) fn one(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.counter.increment(1);
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// An open log.
pub(super) struct ShadowLog {
    path: PathBuf,
    /// Locked while it is open, so that others tell its series from those whose instance is gone.
    file: Option<File>,
    /// Whole lines that are not handed to the system yet, and how many.
    buffer: Vec<u8>,
    buffered: u64,
    /// Bytes in the file.
    written: u64,
    rotate: u64,
    keep: u32,
    failing: bool,
    lost: Lost,
}

impl ShadowLog {
    /// A log at `{dir}/shadow-{instance}.jsonl`, moved to `….jsonl.1` and so on when it has `rotate` bytes; at most
    /// `keep` such files stay, those of instances that are gone included. It is opened at the first record.
    pub(super) fn new(dir: &Path, instance: &str, rotate: u64, keep: u32, lost: Lost) -> Self {
        let path = dir.join(format!("shadow-{instance}.jsonl"));
        let (file, buffer) = (None, Vec::new());
        Self { path, file, buffer, buffered: 0, written: 0, rotate: rotate.max(1), keep, failing: false, lost }
    }

    /// Appends one line. A full disk costs records, which are counted, and nothing else.
    pub(super) fn write(&mut self, line: &[u8]) {
        if line.is_empty() || line.len() > LONGEST {
            self.lost.one();
            return;
        }
        if self.written + self.buffer.len() as u64 >= self.rotate {
            self.flush();
            let rotated = self.rotate();
            self.note(rotated);
        }
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.buffered += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Hands what is buffered to the system.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let flushed = self.try_flush();
        if flushed.is_err() {
            (0..self.buffered).for_each(|_| self.lost.one());
        }
        self.buffer.clear();
        self.buffered = 0;
        self.note(flushed);
    }

    fn try_flush(&mut self) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = self.file.insert(open(&self.path, &mut self.written)?);
                series::prune(&self.path, self.keep);
                opened
            }
        };
        if let Err(error) = file.write_all(&self.buffer) {
            // Half a line would swallow the next one.
            file.set_len(self.written)?;
            return Err(error);
        }
        self.written += self.buffer.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..self.keep).rev() {
            ignore_missing(std::fs::rename(numbered(n), numbered(n + 1)))?;
        }
        if self.keep == 0 {
            ignore_missing(std::fs::remove_file(&self.path))?;
        } else {
            ignore_missing(std::fs::rename(&self.path, numbered(1)))?;
        }
        // Only now is the one before let go: its series is never without a lock.
        self.file = Some(open(&self.path, &mut self.written)?);
        series::prune(&self.path, self.keep);
        Ok(())
    }

    fn note(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    tracing::error!(path = %self.path.display(), %error, "the shadow log can't be written");
                }
                self.failing = true;
                self.file = None;
                self.written = 0;
            }
        }
    }
}

fn open(path: &Path, written: &mut u64) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    // Where the file system has no locks, nobody can tell whose instance is gone, and nothing of others is deleted.
    let _for_others = file.try_lock();
    *written = mend(&mut file)?;
    Ok(file)
}

/// A crash can tear the last line: it is completed, or cut off, or it would swallow the next one. Returns the length.
fn mend(file: &mut File) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LONGEST as u64 + 1);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(length - from).read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = &end[whole..];
    if torn.is_empty() {
        return Ok(length);
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_ok() {
        file.write_all(b"\n")?;
        return Ok(length + 1);
    }
    tracing::warn!(bytes = torn.len(), "the last line of the shadow log was torn: it is cut off");
    let kept = from + whole as u64;
    file.set_len(kept)?;
    Ok(kept)
}

fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rotates_by_size_keeps_by_count_and_survives_a_directory_that_can_not_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ShadowLog::new(dir.path(), "a", 100, 2, Lost::new());
        for n in 0..40 {
            log.write(serde_json::json!({"n": n, "pad": "x".repeat(20)}).to_string().as_bytes());
        }
        log.flush();
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["shadow-a.jsonl", "shadow-a.jsonl.1", "shadow-a.jsonl.2"]);
        let newest = std::fs::read_to_string(dir.path().join("shadow-a.jsonl")).unwrap();
        assert!(newest.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert!(newest.contains("\"n\":39"));

        let blocked = dir.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let mut log = ShadowLog::new(&blocked, "a", 100, 2, Lost::new());
        log.write(b"1");
        log.flush();
        assert!(log.failing && log.lost.total() == 1);
    }
    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_tore_is_cut_off_and_swallows_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shadow-a.jsonl");
        for (torn, whole) in [("{\"n\":1}\n{\"n\":", 1), ("{\"n\":1}\n{\"n\":2}", 2), ("{", 0), ("", 0)] {
            std::fs::write(&path, torn).unwrap();
            let mut log = ShadowLog::new(dir.path(), "a", 1_000, 2, Lost::new());
            log.write(b"{\"n\":3}");
            log.flush();
            let text = std::fs::read_to_string(&path).unwrap();
            let read = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
            assert_eq!((read.count(), text.lines().count()), (whole + 1, whole + 1), "{torn:?}: {text:?}");
        }
    }

    #[test]
    fn the_bound_on_files_holds_over_restarts_under_new_names_and_leaves_those_that_run_alone() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("{:?}", "x".repeat(60));
        let mut other = ShadowLog::new(dir.path(), "other", 100, 2, Lost::new());
        other.write(line.as_bytes());
        other.flush();
        for run in 0..6 {
            let mut log = ShadowLog::new(dir.path(), &format!("run-{run}"), 100, 2, Lost::new());
            for _ in 0..=run {
                log.write(line.as_bytes());
            }
            log.flush();
            let (running, gone): (Vec<String>, Vec<String>) = names(dir.path())
                .into_iter()
                .partition(|name| name == "shadow-other.jsonl" || *name == format!("shadow-run-{run}.jsonl"));
            assert_eq!(running.len(), 2, "{run}: {running:?}");
            assert!(gone.len() <= 2, "{run}: {gone:?}");
        }
    }
}
