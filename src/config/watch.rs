//! Noticing that the configuration files changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};
use tokio::sync::watch;

const QUIET: Duration = Duration::from_millis(300);
/// A file system that reports nothing (a network mount) is looked at this often.
const LOOK: Duration = Duration::from_secs(2);

type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// Watches a directory's TOML files while it lives. It reads on threads of its own: a mount may hang.
pub struct Watcher {
    looker: tokio::task::JoinHandle<()>,
    hints: watch::Receiver<u64>,
}

impl Watcher {
    /// Watches `dir`; a directory that is not there is looked for. The first hint comes once it is watched: what
    /// changed before is not seen otherwise.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let (sender, hints) = watch::channel(0);
        Self { looker: tokio::spawn(crate::vital::task("settings watcher", look(dir.to_owned(), sender))), hints }
    }

    /// Waits for the next change. What changed is for the caller to find out: a hint may be about nothing.
    pub async fn changed(&mut self) {
        if self.hints.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.looker.abort();
    }
}

async fn look(dir: PathBuf, hints: watch::Sender<u64>) {
    let (watched, events) = (dir.clone(), hints.clone());
    let Some((_watch_it_meanwhile, mut before)) =
        aside(move || (notified(&watched, events), contents(&watched))).await
    else {
        return;
    };
    hints.send_modify(|count| *count += 1);
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let dir = dir.clone();
        let Some(now) = aside(move || contents(&dir)).await else { return };
        if now != before {
            before = now;
            hints.send_modify(|count| *count += 1);
        }
    }
}

/// What `read` gives, on a thread that may wait for a disk. `None` when the runtime ends; a panic goes on here, where it ends
/// the process: nobody would read the settings again.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => Some(read),
        Err(error) => {
            if let Ok(cause) = error.try_into_panic() {
                std::panic::resume_unwind(cause);
            }
            None
        }
    }
}

/// Hints whenever the file system reports a change, while the result lives.
fn notified(dir: &Path, hints: watch::Sender<u64>) -> Option<Debouncer<RecommendedWatcher, NoCache>> {
    let handler = move |result: DebounceEventResult| {
        // Reading the files reports an access, and must not lead to reading them again.
        if result.is_ok_and(|events| events.iter().any(|event| !matches!(event.kind, EventKind::Access(_)))) {
            hints.send_modify(|count| *count += 1);
        }
    };
    let config = notify::Config::default();
    let made = new_debouncer_opt::<_, RecommendedWatcher, NoCache>(QUIET, None, handler, NoCache, config);
    let mut debouncer = made.ok()?;
    // The directory, not the files: editors and Kubernetes replace them by renames.
    debouncer.watch(dir, RecursiveMode::NonRecursive).is_ok().then_some(debouncer)
}

/// The TOML files by name; symbolic links are followed, so that a swap of what they point to shows.
fn contents(dir: &Path) -> Contents {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let toml = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    toml.filter_map(|path| std::fs::read(&path).ok().map(|text| (path, text))).collect()
}

#[cfg(test)]
mod tests {
    use super::aside;

    #[tokio::test]
    async fn a_panic_while_files_are_read_is_the_watchers_own() {
        assert_eq!(aside(|| 1).await, Some(1));
        let watcher = tokio::spawn(aside(|| -> () { panic!("planted") }));
        assert!(watcher.await.is_err_and(|error| error.is_panic()));
    }
}
