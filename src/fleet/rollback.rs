//! Back to `legacy`, waiting for nobody.

use http::Method;
use serde_json::json;

use super::{ASK, Answer, Event, Node, NodeReport, Outcome, Report, ask};
use crate::flag::Actor;

/// Every instance that answers goes to `legacy`; those that do not are named.
pub async fn rollback(
    nodes: &[Node],
    actor: Actor<'_>,
    reason: &str,
    told: &(dyn Fn(Event<'_>) + Sync),
) -> Report {
    let mut body = json!({"actor": actor.name, "reason": reason});
    if let Some(whom) = actor.on_behalf_of {
        body["on_behalf_of"] = whom.into();
    }
    let report = |node: &Node, answer: &Answer| NodeReport::new(node, Outcome::Moved, answer);
    let answers = ask(nodes, &Method::POST, "/admin/rollback", Some(&body), ASK, |node, answer| {
        told(Event::Answered(&report(node, answer)));
    });
    let answers = answers.await;
    let nodes = nodes.iter().zip(&answers).map(|(node, answer)| report(node, answer)).collect();
    Report { moved: true, ..Report::of(nodes) }
}
