//! Back: at once, whatever is broken.

use std::sync::Arc;
use std::time::Instant;

use bridge_core::{Rollout, Stage};

use super::{Actor, Control, FlagView, InProgress, Plan, Refusal};
use crate::flag::change::Action;

impl Control {
    /// To `legacy` at once, whatever is broken.
    pub async fn rollback(
        self: &Arc<Self>,
        actor: Actor<'_>,
        reason: &str,
        source: &str,
        automatic: bool,
    ) -> FlagView {
        let started = Instant::now();
        let superseded = self.supersede(&format!("a rollback by {}", actor.name));
        let by = (actor, reason, source);
        let (stage, rollout, pinned) = {
            let mut state = self.state.lock();
            let rollout = state.rollout.clone();
            let stays = state.stage == Stage::Legacy;
            // A restart must not bring what was just stopped, or is configured and was refused.
            let pin = stays && (superseded || (state.configured.stage != Stage::Legacy && !state.is_overridden()));
            if pin {
                self.take(&mut state, Stage::Legacy, &rollout, by);
            }
            (state.stage, rollout, pin)
        };
        if stage == Stage::Legacy {
            if superseded {
                self.begin_cool();
            }
            let persisted = if pinned {
                self.persist(self.entry(stage, by, (false, automatic), started)).await
            } else {
                // Nothing changes; what an earlier change could not store is tried again.
                self.retry_disk().await
            };
            return FlagView { persisted: Some(persisted), ..self.view() };
        }
        let gone = self.go_back(by, None, (Stage::Legacy, rollout), (false, automatic), started).await;
        gone.ok().flatten().unwrap_or_else(|| self.view())
    }

    /// Moves towards legacy: the gates first, then the disk. `claimed` is the change with the flag as it was seen before
    /// the claim: what was back from there might be forward from here, then `None` is returned and nothing done.
    /// Without it, it takes the place of whatever is in progress.
    ///
    /// # Errors
    /// When `claimed` was superseded meanwhile.
    pub(super) async fn go_back(
        self: &Arc<Self>,
        by: (Actor<'_>, &str, &str),
        claimed: Option<(&InProgress, Stage, &Rollout)>,
        (to, rollout): (Stage, Rollout),
        (forced, automatic): (bool, bool),
        started: Instant,
    ) -> Result<Option<FlagView>, Refusal> {
        let plan = {
            let mut state = self.state.lock();
            let in_change = state.change.is_some();
            if let Some((change, stage, before)) = claimed {
                if change.superseded.is_cancelled() {
                    return Err(Refusal::Superseded { by: change.by.lock().clone() });
                }
                state.change = None;
                if state.stage != stage || state.rollout != *before {
                    return Ok(None);
                }
            } else if let Some(other) = state.change.take() {
                *other.by.lock() = format!("a rollback by {}", by.0.name);
                other.superseded.cancel();
                state.transition = None;
            }
            let plan = Plan::back(state.stage, to, in_change, self.window_ms());
            self.hub.flip(to, &rollout);
            self.take(&mut state, to, &rollout, by);
            plan
        };
        // These wait for no disk.
        if plan.has_drain() {
            self.begin_drain(plan.from, to);
        } else if plan.has(&Action::Cool) {
            self.begin_cool();
        }
        let entry = self.entry(plan.from, by, (forced, automatic), started);
        let persisted = self.persist(entry).await;
        Ok(Some(FlagView { persisted: Some(persisted), ..self.view() }))
    }
}
