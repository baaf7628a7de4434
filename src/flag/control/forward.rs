//! Forward: after preflight, stored first, queues live before they are relied on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{Rollout, Stage};

use super::{Actor, ChangeRequest, Control, InProgress, Outcome, Plan, Refusal};
use crate::broker::Check;
use crate::flag::change::Action;

const LOOK: Duration = Duration::from_millis(25);

impl Control {
    /// Order alone; preflight is made once the change is claimed.
    pub(super) fn in_order(request: &ChangeRequest, from: Stage, to: Stage) -> Result<(), Refusal> {
        let skips = to > from && from.next() != Some(to);
        if skips && !request.force { Err(Refusal::StageSkipped { from, to }) } else { Ok(()) }
    }

    pub(super) async fn go_forward(
        self: &Arc<Self>,
        request: ChangeRequest,
        source: &str,
        plan: &Plan,
        (before, rollout): (&Rollout, Rollout),
        started: Instant,
    ) -> Result<Option<Outcome>, Refusal> {
        let change = self.begin(&request, plan.to, false)?;
        {
            let mut state = self.state.lock();
            // A way back that came between the look at the flag and the claim has made the plan stale.
            if state.stage != plan.from || state.rollout != *before {
                if change.superseded.is_cancelled() {
                    return Err(Refusal::Superseded { by: change.by.lock().clone() });
                }
                state.change = None;
                return Ok(None);
            }
        }
        // The move goes on when its caller goes away.
        let (control, plan, source) = (Arc::clone(self), plan.clone(), source.to_owned());
        let moved = tokio::spawn(crate::vital::task("change of stage", async move {
            let moved = control.move_forward(&change, &request, &source, &plan, &rollout, started).await;
            let mine = {
                let mut state = control.state.lock();
                let mine = !change.superseded.is_cancelled();
                if mine {
                    state.change = None;
                    if moved.is_err() {
                        state.transition = None;
                    }
                }
                mine
            };
            if mine && matches!(moved, Err(Refusal::Timeout { .. })) {
                // A broker that stands still holds up its end too: the answer does not wait for that.
                control.begin_cool();
            }
            moved
        }));
        match moved.await {
            Ok(moved) => moved.map(|()| Some(Outcome::Done(Box::new(self.view())))),
            Err(_) => Err(Refusal::Superseded { by: "the end of the process".into() }),
        }
    }

    async fn move_forward(
        self: &Arc<Self>,
        change: &InProgress,
        request: &ChangeRequest,
        source: &str,
        plan: &Plan,
        rollout: &Rollout,
        started: Instant,
    ) -> Result<(), Refusal> {
        let superseded = || Refusal::Superseded { by: change.by.lock().clone() };
        if !request.force {
            // Claimed before, so that a rollback meanwhile takes the place of this change.
            let report = tokio::select! {
                biased;
                () = change.superseded.cancelled() => return Err(superseded()),
                report = self.preflight.run(plan.to, request.evidence.as_ref()) => report,
            };
            if !report.ok {
                return Err(Refusal::Preflight(report.checks));
            }
        }
        let by = (request.actor(), request.reason.as_str(), source);
        for action in &plan.actions {
            match action {
                Action::Warm => self.warm(change, plan).await?,
                Action::Store => self.store_first(change, plan, rollout, by).await?,
                Action::Flip { to, .. } => self.flip_to(change, *to, rollout, by).await?,
                Action::Audit => self.audit_forward(request, (plan, rollout), by, started).await,
                // Only a way back ends anything.
                Action::Drain { .. } | Action::Cool => {}
            }
        }
        Ok(())
    }

    /// What could not be remembered would be undone by a restart: a move forward is stored before it happens.
    async fn store_first(
        self: &Arc<Self>,
        change: &InProgress,
        plan: &Plan,
        rollout: &Rollout,
        by: (Actor<'_>, &str, &str),
    ) -> Result<(), Refusal> {
        let Err(error) = self.store_ahead(plan.to, rollout, by).await else { return Ok(()) };
        // A write that was only late must not stand there after a restart.
        self.retry_disk().await;
        if plan.has(&Action::Warm) && !change.superseded.is_cancelled() {
            self.cool().await;
        }
        let check = Check {
            name: "state_dir_writable",
            ok: Some(false),
            detail: error,
            remedy: "free space on the disk of state_dir, or correct its permissions".into(),
        };
        Err(Refusal::Preflight(vec![check]))
    }

    /// Every gate, unless the change was superseded while it was on its way here.
    async fn flip_to(
        self: &Arc<Self>,
        change: &InProgress,
        to: Stage,
        rollout: &Rollout,
        by: (Actor<'_>, &str, &str),
    ) -> Result<(), Refusal> {
        let before = {
            let mut state = self.state.lock();
            (!change.superseded.is_cancelled()).then(|| {
                // What drains is wanted again.
                state.drain.cancel();
                let before = self.hub.serve(to, rollout);
                self.take(&mut state, to, rollout, by);
                state.transition = None;
                before
            })
        };
        if let Some(before) = before {
            self.hub.move_all_over(before).await;
            return Ok(());
        }
        // What was stored ahead is not what happens.
        self.retry_disk().await;
        Err(Refusal::Superseded { by: change.by.lock().clone() })
    }

    async fn audit_forward(
        self: &Arc<Self>,
        request: &ChangeRequest,
        (plan, rollout): (&Plan, &Rollout),
        by: (Actor<'_>, &str, &str),
        started: Instant,
    ) {
        let mut entry = self.entry(plan.from, by, (request.force, false), started);
        // A rollback may have come since.
        (entry.to, entry.rollout) = (plan.to, rollout.clone());
        if let Some(pooled) = &request.evidence {
            entry.evidence = serde_json::to_value(pooled).unwrap_or_default();
        }
        self.persist(entry).await;
    }

    /// Brings the queues of all users up, also of those who connect meanwhile.
    async fn warm(self: &Arc<Self>, change: &InProgress, plan: &Plan) -> Result<(), Refusal> {
        {
            let mut state = self.state.lock();
            if change.superseded.is_cancelled() {
                return Err(Refusal::Superseded { by: change.by.lock().clone() });
            }
            state.drain.cancel();
            state.transition = Some((plan.from, plan.to, "warming"));
        }
        {
            let _path = self.path.lock().await;
            self.hub.warm();
        }
        let deadline = Instant::now() + self.settings.flip_timeout;
        loop {
            let (ready, total) = self.hub.warmth();
            if ready >= total && self.hub.session_is_up() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Timeout { ready, total });
            }
            tokio::select! {
                () = change.superseded.cancelled() => {
                    // Whoever superseded it ends the warm-up too.
                    return Err(Refusal::Superseded { by: change.by.lock().clone() });
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
