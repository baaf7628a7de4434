//! Back: at once, whatever is broken.

use std::sync::Arc;
use std::time::Instant;

use bridge_core::{Rollout, Stage};

use super::{Control, FlagView};

impl Control {
    /// To `legacy` at once, whatever is broken.
    pub async fn rollback(self: &Arc<Self>, actor: &str, reason: &str, source: &str, automatic: bool) -> FlagView {
        let started = Instant::now();
        let superseded = self.supersede(&format!("a rollback by {actor}"));
        let (stage, rollout) = {
            let state = self.state.lock();
            (state.stage, state.rollout.clone())
        };
        if stage == Stage::Legacy {
            if superseded {
                self.begin_cool();
            }
            // Nothing changes; what an earlier change could not store is tried again.
            return FlagView { persisted: Some(self.retry_disk().await), ..self.view() };
        }
        self.go_back(actor, reason, source, (Stage::Legacy, rollout), (false, automatic), started).await
    }

    /// Moves towards legacy: the gates first, then the disk.
    pub(super) async fn go_back(
        self: &Arc<Self>,
        actor: &str,
        reason: &str,
        source: &str,
        (to, rollout): (Stage, Rollout),
        (forced, automatic): (bool, bool),
        started: Instant,
    ) -> FlagView {
        let from = {
            let mut state = self.state.lock();
            state.change = None;
            let from = state.stage;
            self.hub.flip(to, &rollout);
            self.take(&mut state, to, &rollout, (actor, reason, source));
            from
        };
        // Also from `shadow`: an earlier way back may still be within its window.
        let ends = from.runs_rabbitmq() && !to.runs_rabbitmq();
        let overlaps = from.use_rabbitmq_updates() && (!to.use_rabbitmq_updates() || from == to);
        if ends || overlaps {
            self.begin_drain(from, to);
        } else if !to.runs_rabbitmq() {
            // A warm-up was superseded.
            self.begin_cool();
        }
        let entry = self.entry(from, (actor, reason, source), (forced, automatic), started);
        let persisted = self.persist(entry).await;
        FlagView { persisted: Some(persisted), ..self.view() }
    }
}
