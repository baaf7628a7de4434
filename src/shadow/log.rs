//! The shadow log: JSON Lines, rotated by size, kept by count.
//!
//! Written by hand because the rotating writers there are panic, or block, when the directory can't be written; this
//! one loses records, counts them, and goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

/// A longer record is not written, and counted as lost; records are bounded far below.
const LONGEST: usize = 256 * 1024;

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
    file: Option<BufWriter<File>>,
    written: u64,
    rotate: u64,
    keep: u32,
    failing: bool,
    lost: Lost,
}

impl ShadowLog {
    /// A log at `{dir}/shadow-{instance}.jsonl`, moved to `….jsonl.1` and so on when it has `rotate` bytes; at most
    /// `keep` such files stay. It is opened at the first record.
    pub(super) fn new(dir: &Path, instance: &str, rotate: u64, keep: u32, lost: Lost) -> Self {
        let path = dir.join(format!("shadow-{instance}.jsonl"));
        Self { path, file: None, written: 0, rotate: rotate.max(1), keep, failing: false, lost }
    }

    /// Appends one line. A full disk costs records, which are counted, and nothing else.
    pub(super) fn write(&mut self, line: &[u8]) {
        let written = self.try_write(line);
        self.note(written);
    }

    /// Hands what is buffered to the system.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            self.note(flushed);
        }
    }

    fn try_write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if line.is_empty() || line.len() > LONGEST {
            return Err(std::io::Error::other("the record is too long"));
        }
        if self.written >= self.rotate {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path, &mut self.written)?),
        };
        file.write_all(line)?;
        file.write_all(b"\n")?;
        self.written += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        self.written = 0;
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..self.keep).rev() {
            ignore_missing(std::fs::rename(numbered(n), numbered(n + 1)))?;
        }
        if self.keep == 0 {
            return ignore_missing(std::fs::remove_file(&self.path));
        }
        ignore_missing(std::fs::rename(&self.path, numbered(1)))
    }

    fn note(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.lost.one();
                if !self.failing {
                    tracing::error!(path = %self.path.display(), %error, "the shadow log can't be written");
                }
                self.failing = true;
                self.file = None;
            }
        }
    }
}

fn open(path: &Path, written: &mut u64) -> std::io::Result<BufWriter<File>> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    *written = file.metadata()?.len();
    Ok(BufWriter::new(file))
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
        assert!(log.failing && log.lost.total() == 1);
    }
}
