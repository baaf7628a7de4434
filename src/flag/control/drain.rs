//! After a move back: rabbitmq goes on for one window, then its queues go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::Stage;
use tokio_util::sync::CancellationToken;

use super::Control;

/// Deleting queues may take this long.
const COOL: Duration = Duration::from_secs(5);
/// So long at least is waited for the proof that what was published before a way back has come.
const PROOF: Duration = Duration::from_secs(5);

impl Control {
    /// Shows the drain, and ends it when the window is over.
    pub(super) fn begin_drain(self: &Arc<Self>, from: Stage, to: Stage) {
        let ended = self.new_drain();
        {
            let mut state = self.state.lock();
            state.transition = Some((from, to, "draining"));
            state.drained = Some((from, Instant::now()));
        }
        let (control, hub, flipped) = (Arc::clone(self), Arc::clone(&self.hub), self.hub.now());
        // It goes on also when another move ends the drain.
        let proof = tokio::spawn(crate::vital::task("proof of a drain", {
            let limit = self.settings.window.max(PROOF);
            async move { hub.prove(flipped, limit).await }
        }));
        // A little longer than the gates' own windows, which began a moment ago.
        let window = self.settings.window + Duration::from_millis(100);
        tokio::spawn(crate::vital::task("drain", async move {
            if ended.run_until_cancelled(tokio::time::sleep(window)).await.is_none() {
                return;
            }
            // With the queues the proof would be gone.
            let _the_process_ends = proof.await;
            control.finish(&ended).await;
        }));
    }

    /// Ends the rabbitmq path that was only warming, without a drain: nobody was served by it. Unless an earlier way back
    /// is still within its window, whose drain the warm-up had ended.
    pub(super) fn begin_cool(self: &Arc<Self>) {
        let drained = self.state.lock().drained;
        if let Some((from, _)) = drained.filter(|(_, at)| at.elapsed() < self.settings.window) {
            return self.begin_drain(from, Stage::Legacy);
        }
        let ended = self.new_drain();
        let control = Arc::clone(self);
        tokio::spawn(crate::vital::task("drain", async move { control.finish(&ended).await }));
    }

    fn new_drain(&self) -> CancellationToken {
        let ended = CancellationToken::new();
        let mut state = self.state.lock();
        std::mem::replace(&mut state.drain, ended.clone()).cancel();
        ended
    }

    async fn finish(&self, ended: &CancellationToken) {
        let _path = self.path.lock().await;
        let cools = {
            let mut state = self.state.lock();
            if ended.is_cancelled() {
                return;
            }
            if state.change.is_none() {
                state.transition = None;
            }
            !state.stage.runs_rabbitmq() && state.change.is_none()
        };
        if cools {
            self.hub.cool(COOL).await;
        }
    }

    /// Ends a path that did not come up.
    pub(super) async fn cool(&self) {
        let _path = self.path.lock().await;
        self.hub.cool(COOL).await;
    }
}
