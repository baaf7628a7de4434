//! Forward: after preflight, stored first, queues live before they are relied on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{Rollout, Stage};

use super::{ChangeRequest, Control, InProgress, Outcome, Plan, Refusal};
use crate::broker::Check;

const LOOK: Duration = Duration::from_millis(25);

impl Control {
    /// Order and preflight; returns the checks.
    pub(super) async fn may_go(
        &self,
        request: &ChangeRequest,
        from: Stage,
        to: Stage,
    ) -> Result<Vec<Check>, Refusal> {
        if let Some(first) = &self.state.lock().change {
            let (actor, reason) = (first.actor.clone(), first.reason.clone());
            return Err(Refusal::InProgress { actor, reason, to: first.to });
        }
        if to > from && from.next() != Some(to) && !request.force {
            return Err(Refusal::StageSkipped { from, to });
        }
        if request.force && !request.dry_run {
            return Ok(Vec::new());
        }
        let report = self.preflight.run(to).await;
        if report.ok || request.force { Ok(report.checks) } else { Err(Refusal::Preflight(report.checks)) }
    }

    pub(super) async fn go_forward(
        self: &Arc<Self>,
        request: ChangeRequest,
        source: &str,
        plan: &Plan,
        rollout: Rollout,
        started: Instant,
    ) -> Result<Outcome, Refusal> {
        let change = self.begin(&request, plan.to, false)?;
        // The move goes on when its caller goes away.
        let (control, plan, source) = (Arc::clone(self), plan.clone(), source.to_owned());
        let moved = tokio::spawn(async move {
            let moved = control.move_forward(&change, &request, &source, &plan, &rollout, started).await;
            let mut state = control.state.lock();
            if !change.superseded.is_cancelled() {
                state.change = None;
                if moved.is_err() {
                    state.transition = None;
                }
            }
            moved
        });
        match moved.await {
            Ok(moved) => moved.map(|()| Outcome::Done(Box::new(self.view()))),
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
        if plan.warms() {
            self.warm(change, plan).await?;
        }
        // What could not be remembered would be undone by a restart: a move forward is stored before it happens.
        if let Err(error) = self.store_ahead(plan.to, rollout, (&request.actor, &request.reason, source)).await {
            if plan.warms() {
                self.cool().await;
            }
            let check = Check {
                name: "state_dir_writable",
                ok: Some(false),
                detail: error,
                remedy: "free space on the disk of state_dir, or correct its permissions".into(),
            };
            return Err(Refusal::Preflight(vec![check]));
        }
        {
            let mut state = self.state.lock();
            if change.superseded.is_cancelled() {
                return Err(superseded());
            }
            // What drains is wanted again.
            state.drain.cancel();
            self.hub.flip(plan.to, rollout);
            self.take(&mut state, plan.to, rollout, (&request.actor, &request.reason, source));
            state.transition = None;
            state.change = None;
        }
        let entry =
            self.entry(plan.from, (&request.actor, &request.reason, source), (request.force, false), started);
        self.persist(entry).await;
        Ok(())
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
                self.cool().await;
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
