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
    /// What is missing, and whether it is needed: the broker's side is where rabbitmq delivers.
    #[must_use]
    pub fn report(self) -> ReadyReport {
        let (mut not_ready, mut degraded) = (Vec::new(), Vec::new());
        if !self.chat3 {
            degraded.push("chat3");
        }
        if self.stage.runs_rabbitmq() {
            let missing = if self.stage.use_rabbitmq_updates() { &mut not_ready } else { &mut degraded };
            if !self.broker {
                missing.push("rabbitmq");
            }
            if self.exchange == Some(false) {
                missing.push("exchange");
            }
            if !self.queues {
                missing.push("queues");
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
        starting: false,
        draining: false,
    };

    #[test]
    fn the_brokers_side_is_needed_where_rabbitmq_delivers() {
        let shadow = DOWN.report();
        assert!(shadow.ready);
        assert_eq!(shadow.degraded, ["chat3", "rabbitmq", "exchange", "queues"]);
        let live = Facts { stage: Stage::Live, ..DOWN }.report();
        assert!(!live.ready);
        assert_eq!((live.not_ready, live.degraded), (vec!["rabbitmq", "exchange", "queues"], vec!["chat3"]));
        let legacy = Facts { stage: Stage::Legacy, draining: true, ..DOWN }.report();
        assert_eq!((legacy.ready, legacy.not_ready, legacy.degraded), (false, vec!["draining"], vec!["chat3"]));
    }
}
