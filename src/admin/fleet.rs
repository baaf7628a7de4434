//! Calls about the whole fleet: any instance speaks for all.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::flag::who;
use super::token::Caller;
use super::{Admin, failure};
use crate::flag::Refusal;
use crate::fleet::{Batch, Event, Fleet, FleetView, Move, Node, NodeReport, NodeView, Report};

/// The largest message is 64 MiB, before Chat3 says more of it.
pub(super) const LARGEST_BATCH: usize = 80 * 1024 * 1024;

/// The fleet that this instance is one of.
#[derive(Debug)]
pub struct Membership {
    /// All instances, as `fleet.nodes` has them.
    pub fleet: Fleet,
    /// Where this instance reaches itself.
    pub own: String,
}

impl Admin {
    fn is_own(&self, view: &NodeView) -> bool {
        let is = |key: &str, own: &str| view.status.get(key).and_then(Value::as_str) == Some(own);
        is("instance", &self.about.instance) && is("started_at", &self.about.started_at)
    }

    /// All instances, this one too where `fleet.nodes` does not lead to it, and each by one address.
    async fn members(&self) -> (Vec<Node>, FleetView) {
        let Membership { fleet, own } = &self.membership;
        let mut nodes = fleet.nodes().await;
        let mut view = FleetView::of(&nodes).await;
        if !view.nodes.iter().any(|node| self.is_own(node)) {
            nodes.insert(0, fleet.node(own));
            view = FleetView::of(&nodes).await;
        }
        let mut known = std::collections::HashSet::new();
        let keys: Vec<bool> = view
            .nodes
            .iter()
            .map(|node| {
                let key = ["instance", "started_at"].map(|key| node.status.get(key).cloned().unwrap_or_default());
                !node.reachable || known.insert(key.map(|value| value.to_string()))
            })
            .collect();
        let mut keep = keys.iter();
        nodes.retain(|_| keep.next() == Some(&true));
        let mut keep = keys.iter();
        view.nodes.retain(|_| keep.next() == Some(&true));
        (nodes, view)
    }

    /// This instance first, without asking anybody, then all that answer.
    async fn back(&self, wanted: &Move) -> Report {
        let Membership { fleet, own } = &self.membership;
        let first = wanted.run(&[fleet.node(own)], &log).await;
        let mut report = wanted.run(&fleet.nodes().await, &log).await;
        report.moved |= first.moved;
        if !self.is_among(&report).await {
            report.nodes.splice(0..0, first.nodes);
        }
        report
    }

    /// Whether one of those that answered is this instance.
    async fn is_among(&self, report: &Report) -> bool {
        let answered = report.nodes.iter().filter(|one| one.ok);
        let answered: Vec<Node> = answered.map(|one| self.membership.fleet.node(&one.node)).collect();
        FleetView::of(&answered).await.nodes.iter().any(|node| self.is_own(node))
    }
}

pub(super) async fn get(State(admin): State<Arc<Admin>>) -> Json<FleetView> {
    Json(admin.members().await.1)
}

/// Names are those of `PUT /admin/flag`, and `partial`, `percent`.
fn read(body: &[u8]) -> Result<Move, Refusal> {
    let Ok(Value::Object(mut body)) = serde_json::from_slice::<Value>(body) else {
        return Err(Refusal::invalid("body", "must be a JSON object"));
    };
    let flag = |body: &mut Map<String, Value>, name: &str| match body.shift_remove(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(_) => Err(Refusal::invalid(name, "must be true or false")),
    };
    let dry_run = flag(&mut body, "dry_run")?;
    let (force, partial) = (flag(&mut body, "force")?, flag(&mut body, "partial")?);
    let percent = match body.shift_remove("percent") {
        None => None,
        Some(_) if body.contains_key("rollout") => {
            return Err(Refusal::invalid("percent", "stands in rollout, where there is one"));
        }
        Some(percent) => Some(
            percent
                .as_f64()
                .filter(|percent| (0.0..=100.0).contains(percent))
                .ok_or_else(|| Refusal::invalid("percent", "must be a number from 0 to 100"))?,
        ),
    };
    for name in ["evidence", "expected_version"] {
        if body.contains_key(name) {
            return Err(Refusal::invalid(name, "is an instance's own"));
        }
    }
    Ok(Move { body, percent, dry_run, force, partial })
}

pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let wanted = match read(&body) {
        Ok(mut wanted) => {
            // The instances are asked by the fleet's token: whose call it is has to be said.
            caller.signs(&mut wanted.body);
            wanted
        }
        Err(refusal) => {
            let (status, body) = refusal.answer();
            return failure(status, body);
        }
    };
    // A move whose caller goes away is not left half done.
    let moved = tokio::spawn(async move {
        if wanted.waits_for_nobody() {
            return admin.back(&wanted).await;
        }
        let (nodes, _) = admin.members().await;
        wanted.run(&nodes, &log).await
    });
    match moved.await {
        Ok(report) => {
            let (status, body) = report.answer();
            failure(status, body)
        }
        Err(error) => failure(500, json!({"error": "failed", "message": error.to_string()})),
    }
}

fn log(event: Event<'_>) {
    match event {
        Event::Answered(one) => match one.fault() {
            Some(fault) => tracing::warn!(%fault, "an instance of the fleet did not move"),
            None => {
                tracing::info!(node = %one.node, stage = %one.answer["stage"], "an instance of the fleet answered")
            }
        },
        Event::TakingBack { because } => {
            tracing::warn!(%because, "those of the fleet that had moved go back");
        }
        Event::Warming { .. } => {}
    }
}

/// This instance first, without asking anybody, then all that answer.
pub(super) async fn rollback(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Response {
    let (by, reason) = who(&caller, body).await;
    let rolled = tokio::spawn(async move {
        let own = admin.control.rollback(by.actor(), &reason, "admin", false).await;
        let fleet = &admin.membership.fleet;
        let mut report = fleet.rollback(by.actor(), &reason, &log).await;
        if !admin.is_among(&report).await {
            let node = fleet.node(&admin.membership.own);
            let flag = serde_json::to_value(own).unwrap_or_default();
            report.nodes.insert(0, NodeReport::done(&node, flag));
        }
        report
    });
    match rolled.await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failure(500, json!({"error": "failed", "message": error.to_string()})),
    }
}

/// Messages that another instance accepted (`legacy.relay`).
pub(super) async fn relay(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    let invalid = |message: String| failure(422, json!({"error": "invalid", "message": message}));
    let batch: Batch = match serde_json::from_slice(&body) {
        Ok(batch) => batch,
        Err(error) => return invalid(error.to_string()),
    };
    match admin.inbox.take(batch).await {
        Ok(receipt) => Json(receipt).into_response(),
        Err(message) => invalid(message),
    }
}
