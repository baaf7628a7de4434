//! `GET /admin/fleet`: every instance beside the others.

use bridge_core::verdict::Verdict;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ASK, Answer, Node, Pool, ask, said};

/// All instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetView {
    /// Each of them.
    pub nodes: Vec<NodeView>,
    /// All were reached, and have the same stage and rollout, and no change in progress.
    pub agreed: bool,
    /// The verdict of all that answered together.
    pub verdict: Option<Verdict>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Its admin address.
    pub node: String,
    /// It answered.
    pub reachable: bool,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its `GET /admin/status`.
    #[serde(flatten)]
    pub status: Map<String, Value>,
}

impl FleetView {
    /// Asks all of `nodes`.
    pub async fn of(nodes: &[Node]) -> Self {
        let statuses = ask(nodes, &Method::GET, "/admin/status", None, ASK, |_, _| ());
        let (answers, pool) = tokio::join!(statuses, Pool::of(nodes));
        let views: Vec<NodeView> = nodes.iter().zip(answers).map(|(node, answer)| view(node, answer)).collect();
        Self { agreed: agreed(&views), nodes: views, verdict: pool.verdict }
    }
}

fn view(node: &Node, answer: Answer) -> NodeView {
    let node = node.url.clone();
    let failed = |error| NodeView { node: node.clone(), reachable: false, error: Some(error), status: Map::new() };
    match answer {
        Answer::Ok(Value::Object(status)) => NodeView { node, reachable: true, error: None, status },
        Answer::Ok(_) => failed("its status can't be read".into()),
        Answer::Refused(status, body) => failed(said(status, &body)),
        Answer::Unreachable(reason) => failed(reason),
    }
}

fn agreed(views: &[NodeView]) -> bool {
    let key = |view: &NodeView, name: &str| view.status.get(name).cloned().unwrap_or_default();
    views.iter().all(|view| {
        let same = |name| key(view, name) == key(&views[0], name);
        view.reachable && key(view, "transition").is_null() && same("stage") && same("rollout")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(status: Value) -> NodeView {
        let Value::Object(status) = status else { unreachable!("a status is an object") };
        NodeView { node: "http://a".into(), reachable: true, error: None, status }
    }

    #[test]
    fn instances_agree_at_rest_in_one_stage_with_one_rollout() {
        let rest = || at(json!({"stage": "live", "rollout": {"percent": 5}, "transition": null}));
        assert!(agreed(&[rest(), rest()]));
        for (name, value) in [
            ("stage", json!("shadow")),
            ("rollout", json!({"percent": 6})),
            ("transition", json!({"phase": "warming"})),
        ] {
            let mut other = rest();
            other.status.insert(name.into(), value);
            assert!(!agreed(&[rest(), other]), "{name}");
        }
        assert!(!agreed(&[rest(), NodeView { reachable: false, ..rest() }]));
    }
}
