//! The one place where the stage of this instance changes.

mod back;
mod drain;
mod forward;
mod record;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{Rollout, Stage};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::record::note_configuration;
use self::state::{InProgress, State, Target};
use super::audit::{Audit, Verification};
use super::change::{Actor, ChangeRequest, Plan, Refusal};
use super::disk::{Disk, Files};
use super::preflight::Preflight;
use super::store::{Configured, Store};
use super::view::{FlagView, Outcome, Percent, Planned, Transition};
use crate::delivery::Hub;
use crate::notice::Notifier;

/// How long a rollback waits for the disk before it answers `persisted: false`.
const DISK: Duration = Duration::from_millis(1_000);
/// How long the audit may take to be read.
const READ: Duration = Duration::from_secs(30);

/// What the control needs from the settings.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// `flag.flip_timeout`.
    pub flip_timeout: Duration,
    /// `shadow.window`.
    pub window: Duration,
    /// A broker is configured.
    pub has_broker: bool,
    /// Who is told of changes.
    pub notifier: Notifier,
}

/// Runs changes, one at a time.
pub struct Control {
    settings: ControlSettings,
    hub: Arc<Hub>,
    preflight: Preflight,
    state: Mutex<State>,
    disk: Disk,
    evidence: Arc<dyn Fn() -> Value + Send + Sync>,
    /// The rabbitmq path is begun or ended by one at a time: an end that is late must not take a new beginning with it.
    path: tokio::sync::Mutex<()>,
    /// The configured value that was read last.
    read: Mutex<Configured>,
    /// Configured values come into force one after the other.
    configuring: tokio::sync::Mutex<()>,
    /// The audit is read by one at a time.
    reading: tokio::sync::Mutex<()>,
}

impl Control {
    /// The flag at the start: the stored override, unless the configured value has changed since.
    ///
    /// # Errors
    /// When the system gives no thread for the disk.
    pub fn new(
        settings: ControlSettings,
        hub: Arc<Hub>,
        preflight: Preflight,
        store: Store,
        configured: Configured,
        origin: &str,
        evidence: Arc<dyn Fn() -> Value + Send + Sync>,
    ) -> std::io::Result<Arc<Self>> {
        let audit = Audit::open(store.dir(), store.head());
        let stored = store.stored().clone();
        let now = crate::clock::iso(hub.now());
        let mut state = State {
            stage: configured.stage,
            rollout: configured.rollout.clone(),
            source: origin.into(),
            version: stored.version,
            changed_at: now,
            actor: None,
            reason: None,
            configured: configured.clone(),
            transition: None,
            change: None,
            drain: CancellationToken::new(),
            drained: None,
        };
        let mut dropped = None;
        if let Some(over) = stored.over {
            if over.configured == configured && (settings.has_broker || !over.stage.runs_rabbitmq()) {
                state.stage = over.stage;
                state.rollout = over.rollout;
                state.source = "state".into();
                state.actor = Some(over.actor);
                state.reason = Some(over.reason);
                state.changed_at = over.changed_at;
            } else {
                dropped = Some(over.stage);
            }
        }
        hub.flip(state.stage, &state.rollout);
        show(state.stage, &state.rollout);
        let mut files = Files { store, audit };
        if let Some(from) = dropped {
            state.version += 1;
            settings.notifier.tell(note_configuration(&mut files, from, &state, evidence()).notice());
        }
        Ok(Arc::new(Self {
            settings,
            hub,
            preflight,
            state: Mutex::new(state),
            disk: Disk::start(files)?,
            evidence,
            path: tokio::sync::Mutex::default(),
            read: Mutex::new(configured),
            configuring: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }))
    }

    /// The flag as it is.
    #[must_use]
    pub fn view(&self) -> FlagView {
        let (users_ready, users_total) = self.hub.warmth();
        let state = self.state.lock();
        let transition =
            state.transition.map(|(from, to, phase)| Transition { from, to, phase, users_ready, users_total });
        FlagView {
            use_rabbitmq_updates: state.stage.use_rabbitmq_updates(),
            shadow_mode: state.stage.shadow_mode(),
            stage: state.stage,
            source: state.source.clone(),
            version: state.version,
            changed_at: state.changed_at.clone(),
            actor: state.actor.clone(),
            reason: state.reason.clone(),
            rollout: state.rollout.clone(),
            transition,
            persisted: None,
        }
    }

    /// How long a move forward may take.
    #[must_use]
    pub const fn flip_timeout(&self) -> Duration {
        self.settings.flip_timeout
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.state.lock().stage
    }

    /// The newest audit entries, newest first, and whether their chain holds; `None` when the disk does not answer.
    pub async fn history(&self) -> Option<(Vec<Value>, Verification)> {
        if self.disk.hangs() {
            return None;
        }
        // A long audit takes its time: a change does not wait for who reads it, and they read one after the other.
        let _one_at_a_time = self.reading.lock().await;
        let reading = self.disk.run(DISK * 5, |files| files.audit.reading()).await?;
        let read = tokio::task::spawn_blocking(move || reading.take());
        tokio::time::timeout(READ, read).await.ok()?.ok()
    }

    /// Preflight towards `to`, by default the next stage.
    pub async fn preflight(&self, to: Option<Stage>) -> super::PreflightReport {
        let stage = self.stage();
        self.preflight.run(to.or(stage.next()).unwrap_or(stage), None).await
    }

    /// `PUT /admin/flag`, and a configured value that changed. Answers when the move is complete on this instance.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn set(self: &Arc<Self>, request: ChangeRequest, source: &str) -> Result<Outcome, Refusal> {
        let started = Instant::now();
        // What the plan was made for may change before it is claimed; each round sees a change of somebody else.
        loop {
            if let Some(outcome) = self.try_set(&request, source, started).await? {
                return Ok(outcome);
            }
        }
    }

    /// `None` when the flag changed between the look at it and the claim.
    async fn try_set(
        self: &Arc<Self>,
        request: &ChangeRequest,
        source: &str,
        started: Instant,
    ) -> Result<Option<Outcome>, Refusal> {
        let evidence = request.evidence.as_ref();
        let Target { from, to, before, rollout, in_change } = self.target(request)?;
        if to.runs_rabbitmq() && !self.settings.has_broker {
            let checks = self.preflight.run(to, evidence).await.checks;
            return Err(Refusal::Preflight(checks));
        }
        let raises = to.use_rabbitmq_updates() && from.use_rabbitmq_updates() && rollout.raises(&before);
        let forward = to > from || raises;
        // A rollout alone goes nowhere.
        let names_a_stage = request.use_rabbitmq_updates.is_some() || request.shadow_mode.is_some();
        let towards_legacy = to < from || (to == Stage::Legacy && in_change && names_a_stage);
        let plan = match forward {
            true => Plan::forward(from, to),
            false => Plan::back(from, to, in_change, self.window_ms()),
        };
        let planned = |plan, checks| {
            Some(Outcome::Planned(Box::new(Planned {
                plan,
                checks,
                forward,
                percent: Percent { from: before.percent, to: rollout.percent },
                users: self.hub.would_change(to, &rollout),
                limit_ms: u64::try_from(self.settings.flip_timeout.as_millis()).unwrap_or(u64::MAX),
            })))
        };
        if from == to && rollout == before && !towards_legacy {
            return Ok(if request.dry_run {
                planned(Plan { from, to, actions: Vec::new() }, Vec::new())
            } else {
                Some(Outcome::Done(Box::new(self.view())))
            });
        }
        if forward {
            Self::in_order(request, from, to)?;
            if request.dry_run {
                return Ok(planned(plan, self.preflight.run(to, evidence).await.checks));
            }
            return self.go_forward(request.clone(), source, &plan, (&before, rollout), started).await;
        }
        if request.dry_run {
            return Ok(planned(plan, Vec::new()));
        }
        let change = self.begin(request, to, towards_legacy)?;
        let by = (request.actor(), request.reason.as_str(), source);
        let claimed = Some((&change, from, &before));
        let view = self.go_back(by, claimed, (to, rollout), (request.force, false), started).await?;
        Ok(view.map(|view| Outcome::Done(Box::new(view))))
    }

    /// The configured value after a reload. It wins over an override when it has changed; a value that has not touches
    /// nothing, no change in progress either.
    pub async fn configure(self: &Arc<Self>, configured: Configured, origin: &str) {
        {
            let mut read = self.read.lock();
            if *read == configured {
                return;
            }
            *read = configured.clone();
        }
        let pre_empts = self.state.lock().change.as_ref().is_some_and(|change| configured.stage < change.to);
        if pre_empts && self.supersede("the configuration") && !self.stage().runs_rabbitmq() {
            self.begin_cool();
        }
        let _one_at_a_time = self.configuring.lock().await;
        let before = self.state.lock().configured.clone();
        // While this one waited, another may have been read, whose turn comes next.
        if before == configured || *self.read.lock() != configured {
            return;
        }
        let request = ChangeRequest {
            use_rabbitmq_updates: Some(configured.stage.use_rabbitmq_updates()),
            shadow_mode: Some(configured.stage.shadow_mode()),
            rollout: Some(configured.rollout.clone()),
            actor: "configuration".into(),
            on_behalf_of: None,
            reason: format!("the configured value changed from {} to {}", before.stage, configured.stage),
            dry_run: false,
            force: false,
            evidence: None,
            expected_version: None,
        };
        let (from, version) = {
            let mut state = self.state.lock();
            state.configured = configured.clone();
            (state.stage, state.version)
        };
        match self.set(request, origin).await {
            Ok(_) => {
                tracing::info!(stage = %configured.stage, "the configured stage is in force");
                self.note_dropped(from, version, origin).await;
            }
            Err(refusal) => {
                tracing::error!(reason = %refusal.message(), "THE CONFIGURED STAGE IS REFUSED: {from} stays");
                self.note_refused(from, configured.stage, origin, &refusal).await;
            }
        }
    }

    /// # Errors
    /// When the change is for another version than this one.
    fn target(&self, request: &ChangeRequest) -> Result<Target, Refusal> {
        let state = self.state.lock();
        if request.expected_version.is_some_and(|version| version != state.version) {
            let by = state.actor.clone().unwrap_or_else(|| state.source.clone());
            return Err(Refusal::Superseded { by: format!("a change to {} by {by}", state.stage) });
        }
        let use_rabbitmq = request.use_rabbitmq_updates.unwrap_or_else(|| state.stage.use_rabbitmq_updates());
        let shadow = request.shadow_mode.unwrap_or_else(|| state.stage.shadow_mode());
        Ok(Target {
            from: state.stage,
            to: Stage::from_flags(use_rabbitmq, shadow),
            before: state.rollout.clone(),
            rollout: request.rollout.clone().unwrap_or_else(|| state.rollout.clone()),
            in_change: state.change.is_some(),
        })
    }

    fn window_ms(&self) -> u64 {
        u64::try_from(self.settings.window.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the place of the change in progress, or is refused because there is one.
    fn begin(&self, request: &ChangeRequest, to: Stage, pre_empts: bool) -> Result<InProgress, Refusal> {
        if pre_empts {
            self.supersede(&format!("a change to {to} by {}", request.actor));
        }
        let mut state = self.state.lock();
        if let Some(first) = &state.change {
            let (actor, reason) = (first.actor.clone(), first.reason.clone());
            return Err(Refusal::InProgress { actor, reason, to: first.to });
        }
        let change = InProgress {
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            to,
            superseded: CancellationToken::new(),
            by: Arc::default(),
        };
        state.change = Some(change.clone());
        Ok(change)
    }

    /// Ends the change in progress, whose call answers `superseded`; whether there was one.
    fn supersede(&self, by: &str) -> bool {
        let mut state = self.state.lock();
        let Some(change) = state.change.take() else { return false };
        *change.by.lock() = by.into();
        change.superseded.cancel();
        state.transition = None;
        true
    }

    /// The new flag, in memory.
    fn take(
        &self,
        state: &mut State,
        to: Stage,
        rollout: &Rollout,
        (actor, reason, source): (Actor<'_>, &str, &str),
    ) {
        show(to, rollout);
        state.stage = to;
        state.rollout = rollout.clone();
        state.version += 1;
        state.source = source.into();
        state.actor = Some(actor.name.into());
        state.reason = Some(reason.into());
        state.changed_at = crate::clock::iso(self.hub.now());
    }
}

fn show(stage: Stage, rollout: &Rollout) {
    metrics::gauge!("bridge_rollout_percent").set(rollout.percent);
    for each in Stage::ALL {
        metrics::gauge!("bridge_stage", "stage" => each.name()).set(if each == stage { 1.0 } else { 0.0 });
    }
}
