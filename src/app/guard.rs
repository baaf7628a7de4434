//! The guard's eyes and hands.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_core::guard::{Bounds, Guard as Core, Sample};
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::config::{self, GuardMode};
use crate::delivery::Hub;
use crate::flag::{Actor, Control};
use crate::notice::{Notice, Notifier};
use crate::shadow::Desk;

/// What the guard is at the moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct GuardView {
    /// `guard.mode`.
    pub mode: GuardMode,
    /// `off`, `armed`, `alarmed` (it would have rolled back), `acted`.
    pub state: &'static str,
    /// Why it spoke; `None` while it is off or armed.
    pub why: Option<String>,
}

impl GuardView {
    /// Before it has seen anything.
    pub(super) fn new(mode: GuardMode) -> Self {
        Self { mode, state: if mode == GuardMode::Off { "off" } else { "armed" }, why: None }
    }

    fn show(self, view: &ArcSwap<Self>) {
        for state in ["off", "armed", "alarmed", "acted"] {
            gauge!("bridge_guard", "state" => state).set(if state == self.state { 1.0 } else { 0.0 });
        }
        view.store(Arc::new(self));
    }
}

pub(super) struct Guard {
    mode: GuardMode,
    view: Arc<ArcSwap<GuardView>>,
    notifier: Notifier,
    core: Core,
    control: Arc<Control>,
    hub: Arc<Hub>,
    desk: Arc<Desk>,
}

impl Guard {
    pub(super) fn new(
        settings: config::Guard,
        window: Duration,
        control: Arc<Control>,
        hub: Arc<Hub>,
        desk: Arc<Desk>,
        (view, notifier): (Arc<ArcSwap<GuardView>>, Notifier),
    ) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let core = Core::new(Bounds {
            broker_down: ms(settings.broker_down),
            missing_max: settings.missing_max,
            min_messages: settings.min_messages,
            silence: ms(settings.silence),
            period: ms(settings.period),
            window: ms(window),
        });
        Self { mode: settings.mode, view, notifier, core, control, hub, desk }
    }

    /// Looks once a second until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        GuardView::new(self.mode).show(&self.view);
        if self.mode == GuardMode::Off {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut version = self.control.view().version;
        let mut before = self.totals();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let view = self.control.view();
            if view.version != version {
                version = view.version;
                if view.source != "guard" && view.stage.use_rabbitmq_updates() {
                    self.core.arm();
                    GuardView::new(self.mode).show(&self.view);
                }
            }
            let now = self.totals();
            let sample = Sample {
                closed: now.compared - before.compared,
                missing: now.missing - before.missing,
                broker_up: self.hub.session_is_up(),
                updates_stalled: self.hub.updates_stalled_for(),
            };
            before = now;
            let Some(alarm) = self.core.observe(self.hub.now(), view.stage, sample) else { continue };
            let reason = alarm.to_string();
            counter!("bridge_guard_alarms_total", "cause" => alarm.cause()).increment(1);
            let state = if self.mode == GuardMode::Act { "acted" } else { "alarmed" };
            GuardView { mode: self.mode, state, why: Some(reason.clone()) }.show(&self.view);
            self.notifier.tell(notice(self.mode, alarm.cause(), &reason));
            match self.mode {
                GuardMode::Act => {
                    tracing::error!(%reason, "THE GUARD ROLLS BACK TO LEGACY");
                    self.control.rollback(Actor::own("guard"), &reason, "guard", true).await;
                }
                GuardMode::Off | GuardMode::Observe => {
                    tracing::warn!(%reason, "the guard would roll back to legacy (guard.mode = \"observe\")");
                }
            }
        }
    }

    fn totals(&self) -> Totals {
        let (compared, missing) = self.desk.missing();
        Totals { compared, missing }
    }
}

fn notice(mode: GuardMode, cause: &str, reason: &str) -> Notice {
    let does = if mode == GuardMode::Act {
        "rolls back to legacy"
    } else {
        "would roll back to legacy (guard.mode = \"observe\")"
    };
    Notice {
        event: "guard",
        text: format!("the guard {does}: {reason}"),
        details: serde_json::json!({"mode": mode, "cause": cause, "reason": reason}),
    }
}

/// Since the start.
#[derive(Clone, Copy)]
struct Totals {
    compared: u64,
    missing: u64,
}
