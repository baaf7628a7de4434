//! What other instances hand over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{DialogId, Millis, UserId};
use parking_lot::Mutex;

use super::Identity;
use super::batch::{Batch, Receipt};
use crate::delivery::{Hub, Relayed};

/// Most instances that are remembered.
const MOST: usize = 1_000;

/// Takes batches: each message once, in the order of its instance.
pub struct Inbox {
    hub: Arc<Hub>,
    own: Identity,
    started: Instant,
    /// By process.
    senders: Mutex<HashMap<(String, String), Last>>,
}

/// The number of the last message that was taken.
type Last = Arc<tokio::sync::Mutex<u64>>;

impl Inbox {
    /// For the users of `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, own: Identity) -> Self {
        Self { hub, own, started: Instant::now(), senders: Mutex::default() }
    }

    /// Takes `batch`; answers who took it. In a task of its own: what began to be delivered is, and before what comes next,
    /// also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// What can't be read in it.
    pub async fn take(self: &Arc<Self>, batch: Batch) -> Result<Receipt, String> {
        if batch.from != self.own.instance || batch.boot != self.own.boot {
            let inbox = Arc::clone(self);
            let delivered = crate::vital::task("relay inbox", async move { inbox.deliver(batch).await });
            tokio::spawn(delivered).await.map_err(|error| error.to_string())??;
        }
        let Identity { instance, boot } = self.own.clone();
        let up_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Receipt { instance, boot, up_ms })
    }

    async fn deliver(&self, batch: Batch) -> Result<(), String> {
        let last = self.last_of((batch.from, batch.boot));
        let mut last = last.lock().await;
        let mut messages = Vec::new();
        let mut newest = *last;
        for copy in batch.copies {
            // What its instance gave up waiting for, and hands over again.
            if copy.number <= newest {
                continue;
            }
            newest = copy.number;
            messages.push(Relayed {
                dialog: DialogId::new(&copy.dialog).map_err(|error| error.to_string())?,
                sender: UserId::new(&copy.sender).map_err(|error| error.to_string())?,
                data: copy.data.into(),
                age: Duration::from_millis(copy.age_ms),
            });
        }
        *last = newest;
        self.hub.relayed(messages).await;
        for gap in batch.lost {
            let since = Millis(self.hub.now().0.saturating_sub(gap.age_ms));
            let dialog = gap.dialog.as_deref().and_then(|dialog| DialogId::new(dialog).ok());
            self.hub.unrelayed(dialog.as_ref(), since).await;
        }
        Ok(())
    }

    fn last_of(&self, process: (String, String)) -> Last {
        let mut senders = self.senders.lock();
        if senders.len() >= MOST && !senders.contains_key(&process) {
            // Those that hand nothing over at the moment.
            senders.retain(|_, last| Arc::strong_count(last) > 1);
        }
        Arc::clone(senders.entry(process).or_default())
    }
}
