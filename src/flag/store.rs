//! The state directory: one instance's own, with the override that survives a restart.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use bridge_core::{Rollout, Stage};
use serde::{Deserialize, Serialize};

use super::audit::Head;

/// The flag as the settings ask for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Stage.
    pub stage: Stage,
    /// Rollout.
    pub rollout: Rollout,
}

/// A runtime change that is in force instead of the configured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Stage.
    pub stage: Stage,
    /// Rollout.
    pub rollout: Rollout,
    /// Who changed it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// How: `admin`, `signal`, `guard`.
    pub source: String,
    /// When, ISO-8601.
    pub changed_at: String,
    /// The configured value that it overrode.
    pub configured: Configured,
}

/// `flag.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Changes of this instance so far.
    pub version: u64,
    /// The change in force, if any.
    #[serde(rename = "override")]
    pub over: Option<Override>,
}

/// What the file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    stored: Stored,
    /// The end of the audit. Whoever cuts it off does not think of this file, or leaves the flag corrupt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit: Option<Head>,
}

/// Why the state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another instance has it.
    #[error("state_dir {dir} belongs to another instance ({holder}): give each instance its own")]
    Locked {
        /// The directory.
        dir: String,
        /// Who says that it has it.
        holder: String,
    },
    /// It can't be made or written.
    #[error("state_dir {dir} can't be used: {error}")]
    Io {
        /// The directory.
        dir: String,
        /// Why.
        error: std::io::Error,
    },
}

/// An instance's state directory, locked while this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: File,
    written: Written,
}

impl Store {
    /// Locks `dir` and reads what is there. A file that can't be read is kept aside, said loudly, and not believed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path, instance: &str) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io { dir: dir.display().to_string(), error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join("lock"))
            .map_err(failed)?;
        if fs4::FileExt::try_lock(&lock).is_err() {
            let mut holder = String::new();
            let _says_what_it_can = lock.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "unknown".into() } else { holder };
            return Err(StoreError::Locked { dir: dir.display().to_string(), holder });
        }
        // Who holds it is for people; a disk that is full must not keep the instance from starting.
        let _for_people = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{instance}, process {}", std::process::id()));
        let written = read(&dir.join("flag.json"));
        Ok(Self { dir: dir.to_owned(), _lock: lock, written })
    }

    /// What is stored.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.written.stored
    }

    /// The end of the audit, as far as it was noted.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.written.audit.as_ref()
    }

    /// Stores `stored`, whole or not at all.
    ///
    /// # Errors
    /// When the disk does not take it; what was stored before stays.
    pub fn write(&mut self, stored: Stored) -> std::io::Result<()> {
        let audit = self.written.audit.clone();
        self.replace(Written { stored, audit })
    }

    /// Notes the end of the audit, if it is another one.
    ///
    /// # Errors
    /// When the disk does not take it; what was noted before stays.
    pub fn note(&mut self, head: &Head) -> std::io::Result<()> {
        if self.head() == Some(head) {
            return Ok(());
        }
        self.replace(Written { stored: self.written.stored.clone(), audit: Some(head.clone()) })
    }

    fn replace(&mut self, written: Written) -> std::io::Result<()> {
        let path = self.dir.join("flag.json");
        let temporary = self.dir.join("flag.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&written)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        self.written = written;
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Whether something can be written to `dir` at this moment.
///
/// # Errors
/// Why not.
pub(super) fn probe(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(".probe");
    let mut file = File::create(&path)?;
    file.write_all(&[0; 4_096])?;
    file.sync_all()?;
    std::fs::remove_file(path)
}

fn read(path: &Path) -> Written {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Written::default(),
        Err(error) => return keep_aside(path, &error),
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| keep_aside(path, &error))
}

fn keep_aside(path: &Path, error: &dyn std::error::Error) -> Written {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
    let name = |n: u32| path.with_file_name(format!("flag.json.corrupt-{time}{}", "+".repeat(n as usize)));
    // What was kept aside a moment ago stays too.
    let aside = (0..10).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(10));
    let kept = std::fs::rename(path, &aside);
    tracing::error!(path = %path.display(), aside = %aside.display(), ?kept, %error,
        "THE STORED FLAG IS CORRUPT: it is kept aside, and the configured stage is taken");
    Written::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_instance_and_a_corrupt_file_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), "one").unwrap();
        let locked = Store::open(dir.path(), "two").unwrap_err().to_string();
        assert!(locked.contains("one, process"), "{locked}");
        let stored = Stored { version: 3, over: None };
        store.write(stored.clone()).unwrap();
        drop(store);
        let store = Store::open(dir.path(), "one").unwrap();
        assert_eq!(*store.stored(), stored);
        drop(store);
        let flag = dir.path().join("flag.json");
        std::fs::write(&flag, "{").unwrap();
        assert_eq!(*Store::open(dir.path(), "one").unwrap().stored(), Stored::default());
        std::fs::create_dir(&flag).unwrap();
        let mut store = Store::open(dir.path(), "one").unwrap();
        store.write(stored).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("flag.json.corrupt-")));
    }
}
