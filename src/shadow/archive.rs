//! A record that is no longer in memory, looked for in the log files.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::compare::Record;
use tokio::sync::Mutex;

use super::series;

/// A search may take this long; what it has not read by then is not looked at.
const LIMIT: Duration = Duration::from_secs(10);
/// Records of one unit: it closes once, and is amended a few times at most.
const MOST: usize = 16;
/// Bytes of a line in which its id stands.
const HEAD: usize = 256;
/// A longer line is no record.
const LONGEST: u64 = 1 << 20;

/// The log files of a directory, which several instances may share.
#[derive(Clone, Debug)]
pub struct Archive {
    dir: PathBuf,
    /// One search at a time: each that hangs keeps a thread.
    turn: Arc<Mutex<()>>,
}

impl Archive {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), turn: Arc::default() }
    }

    /// Every record of the unit `id`, newest first; `None` when the disk does not answer in time.
    pub async fn find(&self, id: &str) -> Option<Vec<Record>> {
        let until = Instant::now() + LIMIT;
        let search = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let (dir, id) = (self.dir.clone(), id.to_owned());
            let found = tokio::task::spawn_blocking(move || {
                let _until_it_is_over = turn;
                find(&dir, &id, until)
            });
            found.await.unwrap_or_default()
        };
        tokio::time::timeout(LIMIT, search).await.ok()
    }
}

fn find(dir: &Path, id: &str, until: Instant) -> Vec<Record> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if series::is_log(&path) && !search(&path, id, until, &mut found) {
            break;
        }
    }
    found.sort_by(|a: &Record, b: &Record| b.at.cmp(&a.at));
    found.truncate(MOST);
    found
}

/// Whether to go on with the next file.
fn search(path: &Path, id: &str, until: Instant, found: &mut Vec<Record>) -> bool {
    // A file that was deleted meanwhile is none.
    let Ok(file) = File::open(path) else { return true };
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    let wanted = format!("\"id\":{}", serde_json::Value::from(id));
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        // Only what can be it is read as JSON: the id stands at the beginning.
        let head = &line[..line.len().min(HEAD)];
        if head.windows(wanted.len()).any(|window| window == wanted.as_bytes())
            && let Ok(record) = serde_json::from_slice::<Record>(&line)
            && record.id == id
        {
            found.push(record);
        }
        if found.len() >= MOST || Instant::now() > until {
            return false;
        }
    }
}
