//! The way back of those that had moved when another failed.

use std::time::Duration;

use bridge_core::{Rollout, Stage};
use http::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Event, Move, Told};
use crate::fleet::{ASK, Answer, Node, NodeReport, Outcome};

/// How often, and how long apart, one is asked that did not answer: it may have moved.
const TRIES: u32 = 5;
const APART: Duration = Duration::from_secs(1);

impl Move {
    /// Takes those back that moved, or may have. `before` is where each stood.
    pub(super) async fn take_back(
        &self,
        nodes: &[Node],
        before: &[Answer],
        reports: &mut [NodeReport],
        told: Told<'_>,
    ) {
        let ways = nodes.iter().zip(before).zip(&*reports).map(|((node, before), report)| async move {
            let before = before.ok()?;
            let back = match report.outcome {
                Outcome::Moved => self.back(node, before, &report.answer).await,
                Outcome::Unreachable => self.look_for(node, before, report).await,
                _ => return None,
            };
            told(Event::Answered(&back));
            Some(back)
        });
        let back = futures::future::join_all(ways).await;
        for (report, back) in reports.iter_mut().zip(back) {
            *report = back.unwrap_or_else(|| report.clone());
        }
    }

    /// One that stands at `now`, back to where it stood `before`. Whoever moved it meanwhile, by a rollback too, knew
    /// better: then nothing is done.
    async fn back(&self, node: &Node, before: &Value, now: &Value) -> NodeReport {
        if now["version"] == before["version"] {
            return NodeReport::new(node, Outcome::TakenBack, &Answer::Ok(now.clone()));
        }
        let stage = |flag: &Value| flag["stage"].as_str().and_then(|stage| stage.parse::<Stage>().ok());
        let rollout = |flag: &Value| Rollout::deserialize(&flag["rollout"]).unwrap_or_default();
        // Where the instances had stood apart, the way back may be one forward.
        let forward =
            stage(before) > stage(now) || (stage(before) == stage(now) && rollout(before).raises(&rollout(now)));
        let body = json!({
            "use_rabbitmq_updates": before["use_rabbitmq_updates"], "shadow_mode": before["shadow_mode"],
            "rollout": before["rollout"], "actor": self.body.get("actor"), "expected_version": now["version"],
            "reason": "taken back: another instance of the fleet did not move",
            "force": forward,
        });
        let answer = node.call(Method::PUT, "/admin/flag", Some(body), ASK).await;
        let back = NodeReport::new(node, Outcome::TakenBack, &answer);
        match answer {
            Answer::Ok(_) => back,
            Answer::Refused(..) if back.refusal() == Some("superseded") => back,
            _ => NodeReport {
                outcome: Outcome::Astray,
                error: Some(format!("moved, and could not be taken back: {}", back.fault().unwrap_or_default())),
                answer: now.clone(),
                ..back
            },
        }
    }

    /// One that did not answer the move: looked for, and taken back where it moved after all.
    async fn look_for(&self, node: &Node, before: &Value, lost: &NodeReport) -> NodeReport {
        for _ in 0..TRIES {
            if let Answer::Ok(now) = node.call(Method::GET, "/admin/flag", None, ASK).await {
                let still = now["transition"]["phase"].as_str().is_some_and(|phase| phase != "draining");
                if now["version"] != before["version"] {
                    let mut back = self.back(node, before, &now).await;
                    if back.outcome == Outcome::TakenBack {
                        // It is the one that failed: without it nothing would say so.
                        let error = lost.error.as_deref().unwrap_or_default();
                        back.error = Some(format!("{error}; it had moved, and was taken back"));
                        back.ok = false;
                    }
                    return back;
                }
                if !still {
                    let error = lost.error.as_deref().unwrap_or_default();
                    let error = Some(format!("{error}; it stands where it stood"));
                    return NodeReport { error, ..lost.clone() };
                }
            }
            tokio::time::sleep(APART).await;
        }
        lost.clone()
    }
}
