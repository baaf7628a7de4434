//! What became of a call to many instances.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Node, said};
use crate::flag::Pooled;

/// What became of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was only asked, or would move.
    Asked,
    /// It is where it was to go.
    Moved,
    /// It would have moved; because of others it was not asked to.
    HeldBack,
    /// It had moved, and is back where it was: another failed.
    TakenBack,
    /// It had moved, or may have, and could not be taken back.
    Astray,
    /// It refused.
    Refused,
    /// It did not answer.
    Unreachable,
}

/// One instance in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its admin address.
    pub node: String,
    /// It did what it was asked for.
    pub ok: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// HTTP status of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What it answered: the flag as it is, a plan, or a refusal.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub answer: Value,
    /// Why it did not answer (also where it had moved nevertheless, and was taken back), or could not be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl NodeReport {
    /// `outcome` is what a 2xx means.
    pub(super) fn new(node: &Node, outcome: Outcome, answer: &Answer) -> Self {
        let node = node.url.clone();
        match answer {
            Answer::Ok(body) => Self { node, ok: true, outcome, status: None, answer: body.clone(), error: None },
            Answer::Refused(status, body) => Self {
                node,
                ok: false,
                outcome: Outcome::Refused,
                status: Some(*status),
                answer: body.clone(),
                error: None,
            },
            Answer::Unreachable(reason) => Self {
                node,
                ok: false,
                outcome: Outcome::Unreachable,
                status: None,
                answer: Value::Null,
                error: Some(reason.clone()),
            },
        }
    }

    /// One that is where it was to go: its flag is `flag`.
    #[must_use]
    pub fn done(node: &Node, flag: Value) -> Self {
        Self::new(node, Outcome::Moved, &Answer::Ok(flag))
    }

    /// One that was only asked.
    #[must_use]
    pub fn asked(node: &Node, answer: &Answer) -> Self {
        Self::new(node, Outcome::Asked, answer)
    }

    /// What is wrong with it, in one line; `None` where nothing is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let text = match self.outcome {
            Outcome::Refused => said(self.status.unwrap_or(0), &self.answer),
            Outcome::Unreachable | Outcome::Astray => self.error.clone().unwrap_or_else(|| "no answer".into()),
            Outcome::TakenBack => self.error.clone()?,
            Outcome::Asked | Outcome::Moved | Outcome::HeldBack => return None,
        };
        Some(format!("{}: {text}", self.node))
    }

    /// Code of its refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        let refused = self.outcome == Outcome::Refused;
        refused.then(|| self.answer["error"].as_str()).flatten()
    }
}

/// What became of a call to many instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Those that were to move did: all, with `partial` those that could.
    pub moved: bool,
    /// Each instance.
    pub nodes: Vec<NodeReport>,
    /// The evidence of all that answered, as each was handed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Pooled>,
}

impl Report {
    pub(super) fn of(nodes: Vec<NodeReport>) -> Self {
        Self { moved: false, nodes, evidence: None }
    }

    /// Those with a fault, one line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.nodes.iter().filter_map(NodeReport::fault).collect()
    }

    /// What is most wrong: what is not known comes before what was refused.
    #[must_use]
    pub fn worst(&self) -> Option<&NodeReport> {
        let weight = |one: &&NodeReport| match one.outcome {
            Outcome::Astray => 4,
            Outcome::Unreachable => 3,
            Outcome::TakenBack if one.error.is_some() => 3,
            Outcome::Refused if matches!(one.refusal(), Some("preflight_failed" | "stage_skipped")) => 2,
            Outcome::Refused => 1,
            _ => 0,
        };
        // The first of those that are alike.
        self.nodes.iter().rev().filter(|one| weight(one) > 0).max_by_key(weight)
    }

    /// HTTP status, and the body.
    #[must_use]
    pub fn answer(&self) -> (u16, Value) {
        let mut body = serde_json::to_value(self).unwrap_or_default();
        let Some(worst) = self.worst().filter(|_| !self.moved) else { return (200, body) };
        let (status, code) = match worst.outcome {
            Outcome::Refused => (worst.status.unwrap_or(502), worst.refusal().unwrap_or("refused")),
            Outcome::Astray => (502, "node_astray"),
            _ => (502, "node_unreachable"),
        };
        // An instance that refuses this one's token is no reason for the caller to look for its own.
        let status = if matches!(status, 401 | 403) { 502 } else { status };
        let back = self.nodes.iter().filter(|one| one.outcome == Outcome::TakenBack).count();
        let back = match (back, self.nodes.iter().any(|one| one.outcome == Outcome::Astray)) {
            (0, false) => "; no instance has moved".into(),
            (0, true) => String::new(),
            (back, _) => format!("; {back} that had moved went back to where they were"),
        };
        body["error"] = json!(code);
        body["message"] = json!(format!("{}{back}", self.faults().join("; ")));
        (status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_of_which_an_answer_was_lost_is_no_success_though_all_are_back() {
        let http = reqwest::Client::new();
        let node = |url: &str| Node::new(url, "", &http);
        let back = |url| NodeReport::new(&node(url), Outcome::TakenBack, &Answer::Ok(json!({"stage": "shadow"})));
        let lost = NodeReport { ok: false, error: Some("no answer in time".into()), ..back("http://b") };
        let report = Report::of(vec![back("http://a"), lost]);
        let (status, body) = report.answer();
        assert_eq!((status, &body["error"]), (502, &json!("node_unreachable")), "{body}");
        assert_eq!(body["message"], "http://b: no answer in time; 2 that had moved went back to where they were");
    }
}
