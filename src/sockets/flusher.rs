//! Who writes: one task for all wires, so that a wire is written once for all that was emitted meanwhile.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::wire::Wire;

/// Wires with something to write.
#[derive(Default)]
pub(crate) struct Flusher {
    dirty: Mutex<Vec<Arc<Wire>>>,
    wake: Notify,
}

impl Flusher {
    pub(crate) fn add(&self, wire: Arc<Wire>) {
        let mut dirty = self.dirty.lock();
        dirty.push(wire);
        let first = dirty.len() == 1;
        drop(dirty);
        if first {
            self.wake.notify_one();
        }
    }

    /// Writes as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut batch = Vec::new();
        loop {
            self.wake.notified().await;
            std::mem::swap(&mut batch, &mut *self.dirty.lock());
            for wire in batch.drain(..) {
                wire.flush();
            }
            // Whoever emits comes first: more is written with the next call.
            tokio::task::yield_now().await;
        }
    }
}
