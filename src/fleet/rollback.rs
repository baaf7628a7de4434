//! Back to `legacy`, waiting for nobody.

use std::collections::HashSet;

use http::Method;
use serde_json::json;

use super::{ASK, Answer, Event, Fleet, Node, NodeReport, Outcome, Report, ask};
use crate::flag::Actor;

fn report(node: &Node, answer: &Answer) -> NodeReport {
    NodeReport::new(node, Outcome::Moved, answer)
}

impl Fleet {
    /// Every instance that answers goes to `legacy`; those that do not are named. A name that can't be looked up holds
    /// up nobody but itself.
    pub async fn rollback(&self, actor: Actor<'_>, reason: &str, told: &(dyn Fn(Event<'_>) + Sync)) -> Report {
        let mut body = json!({"actor": actor.name, "reason": reason});
        if let Some(whom) = actor.on_behalf_of {
            body["on_behalf_of"] = whom.into();
        }
        let body = &body;
        let each = self.addresses.iter().map(|address| async move {
            let nodes = self.nodes_of(address).await;
            let answers = ask(&nodes, &Method::POST, "/admin/rollback", Some(body), ASK, |node, answer| {
                told(Event::Answered(&report(node, answer)));
            });
            let answers = answers.await;
            nodes.iter().zip(&answers).map(|(node, answer)| report(node, answer)).collect::<Vec<_>>()
        });
        let mut nodes = futures::future::join_all(each).await.concat();
        let mut known = HashSet::new();
        nodes.retain(|one| known.insert(one.node.clone()));
        Report { moved: true, ..Report::of(nodes) }
    }
}
