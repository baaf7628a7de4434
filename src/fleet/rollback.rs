//! Back to `legacy`, waiting for nobody.

use http::Method;
use serde_json::json;

use super::{ASK, Answer, Event, Node, NodeReport, Outcome, Report, ask};

/// Every instance that answers goes to `legacy`; those that do not are named.
pub async fn rollback(nodes: &[Node], actor: &str, reason: &str, told: &(dyn Fn(Event<'_>) + Sync)) -> Report {
    let body = json!({"actor": actor, "reason": reason});
    let report = |node: &Node, answer: &Answer| NodeReport::new(node, Outcome::Moved, answer);
    let answers = ask(nodes, &Method::POST, "/admin/rollback", Some(&body), ASK, |node, answer| {
        told(Event::Answered(&report(node, answer)));
    });
    let answers = answers.await;
    let nodes = nodes.iter().zip(&answers).map(|(node, answer)| report(node, answer)).collect();
    Report { moved: true, ..Report::of(nodes) }
}
