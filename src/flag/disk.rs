//! The disk of `state_dir`, behind one thread of its own: a disk that hangs holds up nothing but what waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::audit::{Audit, AuditEntry};
use super::store::Store;

/// Most pieces of work that wait for the disk.
const WAITING: usize = 256;
/// A piece of work that takes longer is hanging.
const HANGS: Duration = Duration::from_secs(1);

/// What is written.
pub(super) struct Files {
    pub(super) store: Store,
    pub(super) audit: Audit,
}

impl Files {
    /// Appends to the audit and notes its end beside the flag; `false` when the disk did not take both.
    pub(super) fn append(&mut self, entry: &AuditEntry) -> bool {
        self.audit.append(entry) && self.note_head()
    }

    /// Notes the audit's end beside the flag. The flag comes first, and the audit before its end: after a crash between
    /// them the audit is longer than was noted, which is no fault.
    pub(super) fn note_head(&mut self) -> bool {
        let noted = self.store.note(self.audit.head());
        if let Err(error) = &noted {
            tracing::error!(%error, "the end of the audit could not be noted beside the flag");
        }
        noted.is_ok()
    }
}

type Work = Box<dyn FnOnce(&mut Files) + Send>;

/// Does one piece of work after the other.
pub(super) struct Disk {
    work: SyncSender<Work>,
    /// Since when the thread is at one piece of work.
    busy: Arc<Mutex<Option<Instant>>>,
}

impl Disk {
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(mut files: Files) -> std::io::Result<Self> {
        let (work, waiting): (SyncSender<Work>, Receiver<Work>) = sync_channel(WAITING);
        let busy = Arc::<Mutex<Option<Instant>>>::default();
        let since = Arc::clone(&busy);
        std::thread::Builder::new().name("flag-disk".into()).spawn(move || {
            crate::vital::thread("flag disk", || {
                for work in waiting {
                    *since.lock() = Some(Instant::now());
                    work(&mut files);
                    *since.lock() = None;
                }
            });
        })?;
        Ok(Self { work, busy })
    }

    /// Waits at most `limit`; the work is done all the same when the disk answers again. `None` when it was not done in
    /// time, or too much waits already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        let work = Box::new(move |files: &mut Files| {
            let _nobody_may_wait = done.send(work(files));
        });
        if self.work.try_send(work).is_err() {
            metrics::counter!("bridge_state_writes_lost_total").increment(1);
            tracing::error!("the disk of state_dir hangs, and too much waits for it: a write is lost");
            return None;
        }
        tokio::time::timeout(limit, answer).await.ok()?.ok()
    }

    /// It hangs: who can do without it should not wait in its line.
    pub(super) fn hangs(&self) -> bool {
        self.busy.lock().is_some_and(|since| since.elapsed() > HANGS)
    }
}
