//! Files of one directory of shadow logs: which belong together, and which are nobody's any more.
//!
//! An instance may have a new name at each start, so that its earlier files are somebody else's by their names. Who runs
//! holds a lock on a file of its series; all others are gone.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deletes the oldest files that nobody writes any more, until at most `keep` are left: rotated ones of `own`, and all
/// of instances that are gone.
pub(super) fn prune(own: &Path, keep: u32) {
    let Some(dir) = own.parent() else { return };
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut series: BTreeMap<PathBuf, Vec<(SystemTime, PathBuf)>> = BTreeMap::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(current) = current_of(&path) else { continue };
        let Ok(about) = entry.metadata() else { continue };
        if about.is_file() {
            series.entry(current).or_default().push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    let mut closed = Vec::new();
    for (current, files) in series {
        if current == own {
            closed.extend(files.into_iter().filter(|(_, path)| *path != own));
        } else if files.iter().all(|(_, path)| is_free(path)) {
            closed.extend(files);
        }
    }
    closed.sort();
    let surplus = closed.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    let mut failed = HashSet::new();
    for (_, path) in closed.iter().take(surplus) {
        if let Err(error) = std::fs::remove_file(path)
            && failed.insert(error.kind())
        {
            tracing::warn!(path = %path.display(), %error, "an old shadow log can't be deleted");
        }
    }
}

/// Whether this is a file of a shadow log, rotated or not.
pub(super) fn is_log(path: &Path) -> bool {
    current_of(path).is_some()
}

/// The file that the series of `path` is written to, if it is a shadow log.
fn current_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (stem, number) = name.rsplit_once(".jsonl")?;
    let rotated = number.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok());
    let is_log = stem.starts_with("shadow-") && (number.is_empty() || rotated);
    is_log.then(|| path.with_file_name(format!("{stem}.jsonl")))
}

/// Whether nobody holds a lock on it. Where that can't be told, somebody does.
fn is_free(path: &Path) -> bool {
    match File::open(path).map(|file| file.try_lock()) {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) | Err(_) => false,
    }
}
