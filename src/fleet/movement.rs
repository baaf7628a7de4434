//! A move of many instances: all or none.

mod taking_back;

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use super::{ASK, Answer, Node, NodeReport, Outcome, PREFLIGHT, Pool, Report, ask, each};

/// How often instances that warm are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Beside its warm-up a move takes a preflight and a slow disk at most.
const BESIDE: Duration = Duration::from_secs(30);

/// A move.
#[derive(Clone, Debug, Default)]
pub struct Move {
    /// The body of `PUT /admin/flag`: flags or rollout, actor and reason.
    pub body: Map<String, Value>,
    /// Each instance's own rollout with another `percent`.
    pub percent: Option<f64>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Override order and preflight.
    pub force: bool,
    /// Move those that can: what is an instance's own holds it back alone.
    pub partial: bool,
}

/// What a person wants to hear meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An instance did, or did not, what it was asked for.
    Answered(&'a NodeReport),
    /// An instance brings queues up.
    Warming {
        /// Its admin address.
        node: &'a str,
        /// Users whose queue is live.
        ready: u64,
        /// All users.
        total: u64,
    },
    /// One failed: those that moved go back.
    TakingBack {
        /// What failed.
        because: &'a str,
    },
}

type Told<'a> = &'a (dyn Fn(Event<'_>) + Sync);

impl Move {
    /// Moves `nodes`. Forward, several move all or none: each makes a dry run first, with the evidence of all; where one
    /// refuses or does not answer, none moves, and where one fails in the middle, the others go back to where they were.
    /// A move back waits for nobody.
    pub async fn run(&self, nodes: &[Node], told: &(dyn Fn(Event<'_>) + Sync)) -> Report {
        if self.waits_for_nobody() {
            return self.end_at_once(nodes, told).await;
        }
        let (before, pool, alone) = self.look(nodes).await;
        let evidence = pool.handed();
        let bodies = self.bodies(&before, serde_json::to_value(&evidence).unwrap_or_default());
        let reports = if nodes.len() == 1 && !self.dry_run {
            // Its own preflight says all there is to say.
            nodes.iter().zip(&before).map(|(node, answer)| NodeReport::new(node, Outcome::Asked, answer)).collect()
        } else {
            self.ask_first(nodes, &bodies).await
        };
        let mut report = Report { evidence, ..Report::of(reports) };
        if self.dry_run {
            return report;
        }
        let forward = report.nodes.iter().any(|one| one.answer["forward"] == true);
        if forward && !self.may_go(&mut report, &before) {
            return report;
        }
        let limit = report.nodes.iter().filter_map(|one| one.answer["limit_ms"].as_u64()).max();
        let limit = limit.or(alone).unwrap_or(30_000);
        let moved = self.go(nodes, &bodies, &report.nodes, Duration::from_millis(limit) + BESIDE, told).await;
        for (own, moved) in report.nodes.iter_mut().zip(moved) {
            *own = moved.unwrap_or_else(|| own.clone());
        }
        let failed = report.faults();
        let any = report.nodes.iter().any(|one| one.outcome == Outcome::Moved);
        report.moved = failed.is_empty() || (any && (self.partial || !forward));
        if !report.moved && forward && nodes.len() > 1 {
            told(Event::TakingBack { because: &failed.join("; ") });
            self.take_back(nodes, &before, &mut report.nodes, told).await;
        }
        report
    }

    /// A way back to `legacy`: nobody is asked first.
    #[must_use]
    pub fn waits_for_nobody(&self) -> bool {
        self.is_to_legacy() && self.percent.is_none() && !self.dry_run
    }

    fn is_to_legacy(&self) -> bool {
        ["use_rabbitmq_updates", "shadow_mode"]
            .iter()
            .all(|flag| self.body.get(*flag) == Some(&Value::Bool(false)))
    }

    /// To `legacy`: nobody is asked first, nor waited for.
    async fn end_at_once(&self, nodes: &[Node], told: Told<'_>) -> Report {
        let mut body = Value::Object(self.body.clone());
        body["force"] = self.force.into();
        let bodies = vec![Ok(body); nodes.len()];
        let asked: Vec<NodeReport> =
            nodes.iter().map(|node| NodeReport::asked(node, &Answer::Ok(Value::Null))).collect();
        let moved = self.go(nodes, &bodies, &asked, ASK, told).await;
        let nodes: Vec<NodeReport> =
            asked.into_iter().zip(moved).map(|(own, moved)| moved.unwrap_or(own)).collect();
        Report { moved: nodes.iter().any(|one| one.ok), ..Report::of(nodes) }
    }

    /// Where each stands, what all have seen together, and of one alone how long a move of it may take, in ms.
    async fn look(&self, nodes: &[Node]) -> (Vec<Answer>, Pool, Option<u64>) {
        let flags = ask(nodes, &Method::GET, "/admin/flag", None, ASK, |_, _| ());
        if let [alone] = nodes {
            let (flags, status) = tokio::join!(flags, alone.get("/admin/status"));
            return (flags, Pool::default(), status.ok().and_then(|status| status["flip_timeout_ms"].as_u64()));
        }
        let (flags, pool) = tokio::join!(flags, Pool::of(nodes));
        (flags, pool, None)
    }

    /// What each is asked for; `Err` is why one can't be.
    fn bodies(&self, before: &[Answer], evidence: Value) -> Vec<Result<Value, Answer>> {
        let body = |answer: &Answer| {
            let Answer::Ok(flag) = answer else { return Err(answer.clone()) };
            let mut body = Value::Object(self.body.clone());
            body["force"] = self.force.into();
            if let Some(percent) = self.percent {
                // What is left out of a rollout takes its default: the lists are sent along.
                body["rollout"] = flag["rollout"].clone();
                body["rollout"]["percent"] = percent.into();
            }
            if !evidence.is_null() {
                body["evidence"] = evidence.clone();
            }
            Ok(body)
        };
        before.iter().map(body).collect()
    }

    async fn ask_first(&self, nodes: &[Node], bodies: &[Result<Value, Answer>]) -> Vec<NodeReport> {
        let places: Vec<usize> = (0..nodes.len()).collect();
        let dry = |place: &usize| {
            let (node, body) = (&nodes[*place], bodies[*place].clone());
            async move {
                let answer = match body {
                    Ok(mut body) => {
                        body["dry_run"] = true.into();
                        node.call(Method::PUT, "/admin/flag", Some(body), PREFLIGHT).await
                    }
                    Err(answer) => answer,
                };
                let refused = (!self.dry_run && !self.force).then(|| failed_checks(&answer)).flatten();
                NodeReport::new(node, Outcome::Asked, &refused.unwrap_or(answer))
            }
        };
        futures::future::join_all(places.iter().map(dry)).await
    }

    /// Whether those that are ready go; otherwise says that they are held back.
    fn may_go(&self, report: &mut Report, before: &[Answer]) -> bool {
        let refused: Vec<&NodeReport> = report.nodes.iter().filter(|one| !one.ok).collect();
        if refused.is_empty() {
            return true;
        }
        // What all have seen together is nobody's own.
        let by_evidence = refused.iter().any(|one| fails(&one.answer, "verdict"));
        let any = report.nodes.iter().any(|one| one.ok);
        if self.partial && any && !by_evidence {
            return true;
        }
        for (own, before) in report.nodes.iter_mut().zip(before) {
            if own.ok {
                (own.ok, own.outcome) = (false, Outcome::HeldBack);
                own.answer = before.ok().cloned().unwrap_or_default();
            }
        }
        false
    }

    /// Moves those that are ready, at once; `None` for the others.
    async fn go(
        &self,
        nodes: &[Node],
        bodies: &[Result<Value, Answer>],
        asked: &[NodeReport],
        limit: Duration,
        told: Told<'_>,
    ) -> Vec<Option<NodeReport>> {
        let moves = nodes.iter().zip(bodies).zip(asked).map(|((node, body), asked)| async move {
            let report = match body {
                Ok(body) if asked.ok => {
                    let answer = node.call(Method::PUT, "/admin/flag", Some(body.clone()), limit).await;
                    NodeReport::new(node, Outcome::Moved, &answer)
                }
                _ => {
                    told(Event::Answered(asked));
                    return None;
                }
            };
            told(Event::Answered(&report));
            Some(report)
        });
        let moves = futures::future::join_all(moves);
        tokio::select! {
            moved = moves => moved,
            never = watch(nodes, told) => match never {},
        }
    }
}

/// Tells how far each is that brings queues up.
async fn watch(nodes: &[Node], told: Told<'_>) -> std::convert::Infallible {
    let mut last = vec![(0, 0); nodes.len()];
    loop {
        tokio::time::sleep(LOOK).await;
        let flags = each(nodes, |node| node.call(Method::GET, "/admin/flag", None, LOOK * 2)).await;
        for ((node, flag), last) in nodes.iter().zip(&flags).zip(&mut last) {
            let Some(flag) = flag.ok().filter(|flag| flag["transition"]["phase"] == "warming") else { continue };
            let number = |key: &str| flag["transition"][key].as_u64().unwrap_or(0);
            let now = (number("users_ready"), number("users_total"));
            if *last != now {
                *last = now;
                told(Event::Warming { node: &node.url, ready: now.0, total: now.1 });
            }
        }
    }
}

/// A plan with failed checks is a refusal.
fn failed_checks(answer: &Answer) -> Option<Answer> {
    let plan = answer.ok()?;
    let checks = plan["checks"].as_array()?;
    let failed: Vec<&str> =
        checks.iter().filter(|check| check["ok"] == false).filter_map(|check| check["name"].as_str()).collect();
    if failed.is_empty() {
        return None;
    }
    let message = format!("preflight failed: {}", failed.join(", "));
    let body = json!({"error": "preflight_failed", "message": message, "checks": checks,
        "forward": plan["forward"].clone()});
    Some(Answer::Refused(409, body))
}

fn fails(refusal: &Value, name: &str) -> bool {
    let checks = refusal["checks"].as_array().into_iter().flatten();
    checks.into_iter().any(|check| check["name"] == name && check["ok"] == false)
}
