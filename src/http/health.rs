//! Alive, and ready.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bridge_core::Stage;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;

/// Knows the facts.
pub trait Readiness: Send + Sync + 'static {
    /// What is so at this moment.
    fn facts(&self) -> Facts;
}

/// What readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Facts {
    /// Stage of the instance.
    pub stage: Stage,
    /// Chat3 answered lately.
    pub chat3: bool,
    /// The broker session is up, or waits for nothing but its exchange.
    pub broker: bool,
    /// The exchange is there and a topic; `None` when it can't be looked at.
    pub exchange: Option<bool>,
    /// All queues of connected users are live.
    pub queues: bool,
    /// Messages are accepted, and no update comes of them.
    pub updates_stalled: bool,
    /// Where rabbitmq delivers, the broker's side is needed (`http.ready_needs_broker`).
    pub needs_broker: bool,
    /// In `live`, what the broker does not bring is delivered from the ring (`flag.rescue`).
    pub rescue: bool,
    /// Not every running path came up once yet.
    pub starting: bool,
    /// SIGTERM was received.
    pub draining: bool,
}

/// `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadyReport {
    /// Nothing that is needed is missing.
    pub ready: bool,
    /// Stage of the instance.
    pub stage: Stage,
    /// What is missing and needed.
    pub not_ready: Vec<&'static str>,
    /// What is missing and not needed.
    pub degraded: Vec<&'static str>,
}

impl Facts {
    /// What is missing, and whether it is needed. What all instances share is not, unless the settings say so: it would
    /// take all of them out of a balancer at once.
    #[must_use]
    pub fn report(self) -> ReadyReport {
        let (mut not_ready, mut degraded) = (Vec::new(), Vec::new());
        if !self.chat3 {
            degraded.push("chat3");
        }
        if self.stage.runs_rabbitmq() {
            let delivers = match self.stage {
                Stage::Legacy | Stage::Shadow => false,
                Stage::Live => !self.rescue,
                Stage::Complete => true,
            };
            let missing = if self.needs_broker && delivers { &mut not_ready } else { &mut degraded };
            if !self.broker {
                missing.push("rabbitmq");
            }
            if self.exchange == Some(false) {
                missing.push("exchange");
            }
            if !self.queues {
                missing.push("queues");
            }
            if self.updates_stalled {
                // Chat3's worker is everybody's: another instance would have no more.
                degraded.push("updates_stalled");
            }
        }
        not_ready.extend(
            [("starting", self.starting), ("draining", self.draining)]
                .iter()
                .filter(|(_, is)| *is)
                .map(|(name, _)| *name),
        );
        ReadyReport { ready: not_ready.is_empty(), stage: self.stage, not_ready, degraded }
    }
}

pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let report = api.readiness.facts().report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Facts = Facts {
        stage: Stage::Shadow,
        chat3: false,
        broker: false,
        exchange: Some(false),
        queues: false,
        updates_stalled: false,
        needs_broker: false,
        rescue: true,
        starting: false,
        draining: false,
    };

    #[test]
    fn what_all_instances_share_is_needed_only_where_the_settings_say_so() {
        const BROKER: [&str; 3] = ["rabbitmq", "exchange", "queues"];
        for stage in [Stage::Shadow, Stage::Live, Stage::Complete] {
            for (needs_broker, rescue) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut report = Facts { stage, needs_broker, rescue, ..DOWN }.report();
                let needed = needs_broker && (stage == Stage::Complete || stage == Stage::Live && !rescue);
                let missing = if needed { report.not_ready } else { report.degraded.split_off(1) };
                assert_eq!((report.ready, missing), (!needed, BROKER.to_vec()), "{stage} {needs_broker} {rescue}");
            }
        }
        let shadow = DOWN.report();
        assert_eq!(shadow.degraded, ["chat3", "rabbitmq", "exchange", "queues"]);
        let legacy = Facts { stage: Stage::Legacy, draining: true, ..DOWN }.report();
        assert_eq!((legacy.ready, legacy.not_ready, legacy.degraded), (false, vec!["draining"], vec!["chat3"]));
        for stage in [Stage::Shadow, Stage::Live, Stage::Complete] {
            let up = Facts { chat3: true, broker: true, exchange: Some(true), queues: true, ..DOWN };
            let stalled = Facts { stage, needs_broker: true, rescue: false, updates_stalled: true, ..up }.report();
            assert_eq!((stalled.ready, stalled.degraded), (true, vec!["updates_stalled"]), "{stage}");
        }
        let starting = Facts { starting: true, ..DOWN }.report();
        assert_eq!((starting.ready, starting.not_ready), (false, vec!["starting"]));
    }
}
