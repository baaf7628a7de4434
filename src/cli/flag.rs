//! `flag show`, `flag set`, `flag rollback`, `flag history`.

mod history;
mod set;
mod shown;

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::by::named;
use super::node::NodeArgs;
use super::{Failure, print};
use crate::flag::Actor;
use crate::fleet::{ASK, Answer, Event, Node, NodeReport, Report, ask, said};

use self::shown::{finish, told};

pub(super) const EXIT_CODES: &str = "Exit codes: 0 all instances agree; 1 failure, or `history --verify` found a \
    changed line; 2 bad usage; 3 refused by preflight or order; 4 an instance unreachable or lagging (what the others \
    said is printed first); 5 another change was in progress, or superseded this one.";

/// Between two looks of `show --watch`.
const WATCH: Duration = Duration::from_secs(2);
/// The instance asks its fleet, which takes as long as a flip may (an hour at most) and the way back.
const FLEET: Duration = Duration::from_secs(4_000);

/// Shows or changes the stage.
#[derive(Debug, Subcommand)]
pub(super) enum Flag {
    /// The stage of each instance.
    #[command(after_help = EXIT_CODES)]
    Show {
        #[command(flatten)]
        shown: Shown,
        /// Again every 2 s, where something changed, until it is interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Moves all instances to a stage: legacy, shadow, live or complete.
    ///
    /// Forward, several instances move all or none: each is asked first, with the evidence of all together; one that
    /// refuses or does not answer, and none moves; one that fails in the middle, and the others go back. Back waits for
    /// nobody.
    #[command(after_help = EXIT_CODES)]
    Set(set::SetArgs),
    /// To `legacy` at once, whatever is broken. Waits for nobody: who does not answer is named (code 4).
    #[command(after_help = EXIT_CODES)]
    Rollback {
        #[command(flatten)]
        shown: Shown,
        /// Who.
        #[arg(long, default_value = "cli")]
        actor: String,
        /// Why.
        #[arg(long, default_value = "rollback")]
        reason: String,
    },
    /// Every change, newest first.
    #[command(after_help = EXIT_CODES)]
    History {
        #[command(flatten)]
        shown: Shown,
        /// Verifies the chain of hashes; 1 and the first bad line if it does not hold.
        #[arg(long)]
        verify: bool,
    },
}

/// Which instances, and how they are shown.
#[derive(Debug, Args)]
pub(super) struct Shown {
    #[command(flatten)]
    nodes: NodeArgs,
    /// All instances that the instance named by --node knows as its fleet (`fleet.nodes`): it asks them, so that they
    /// need not be reached from here.
    #[arg(long)]
    fleet: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Flag) -> Result<(), Failure> {
    match command {
        Flag::Show { shown, watch } => show(&shown, watch).await,
        Flag::Set(args) => set::run(args).await,
        Flag::Rollback { shown, actor, reason } => {
            named(&actor, &reason)?;
            let fleet = shown.nodes.fleet()?;
            if shown.fleet {
                let body = json!({"actor": actor, "reason": reason});
                let nodes = fleet.nodes().await;
                let answer = first(&nodes, Method::POST, "/admin/fleet/rollback", Some(body), ASK * 3).await?;
                return finish(&serde_json::from_value(answer)?, shown.json);
            }
            let report = fleet.rollback(Actor::own(&actor), &reason, &told).await;
            if report.nodes.len() == 1 {
                hint(&shown, &fleet.nodes().await).await;
            }
            finish(&report, shown.json)
        }
        Flag::History { shown, verify } => history::show(&shown, verify).await,
    }
}

async fn show(shown: &Shown, watch: bool) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let nodes = shown.nodes.resolve().await?;
        let (nodes, answers) = if shown.fleet {
            members(&nodes).await?
        } else {
            let answers = ask(&nodes, &Method::GET, "/admin/flag", None, ASK, |_, _| ()).await;
            (nodes, answers)
        };
        let report = seen(&nodes, &answers);
        if !watch {
            return finish(&report, shown.json);
        }
        let now = serde_json::to_string(&report.nodes).ok();
        if last != now {
            let _what_is_wrong_is_in_the_table = finish(&report, shown.json);
            last = now;
        }
        tokio::time::sleep(WATCH).await;
    }
}

fn seen(nodes: &[Node], answers: &[Answer]) -> Report {
    let nodes = nodes.iter().zip(answers).map(|(node, answer)| NodeReport::asked(node, answer)).collect();
    Report { nodes, ..Report::default() }
}

/// The instances of the fleet that the first of `nodes` which answers knows, with their status.
async fn members(nodes: &[Node]) -> Result<(Vec<Node>, Vec<Answer>), Failure> {
    let view = first(nodes, Method::GET, "/admin/fleet", None, ASK * 3).await?;
    let mut found = Vec::new();
    for each in view["nodes"].as_array().into_iter().flatten() {
        let node = nodes[0].beside(each["node"].as_str().unwrap_or_default());
        let answer = if each["reachable"] == true {
            Answer::Ok(each.clone())
        } else {
            Answer::Unreachable(each["error"].as_str().unwrap_or("no answer").into())
        };
        found.push((node, answer));
    }
    Ok(found.into_iter().unzip())
}

/// Lets the first of `nodes` that answers move its whole fleet, and tells how far that is.
async fn by_fleet(nodes: &[Node], body: serde_json::Value) -> Result<Report, Failure> {
    let moved = first(nodes, Method::PUT, "/admin/fleet/flag", Some(body), FLEET);
    let watched = async {
        let mut last = Vec::new();
        loop {
            tokio::time::sleep(WATCH).await;
            let Ok((members, answers)) = members(nodes).await else { continue };
            let how_far = |(node, answer): (&Node, &Answer)| {
                let transition = answer.ok()?.get("transition")?.clone();
                (transition["phase"] == "warming").then(|| (node.url.clone(), transition))
            };
            let now: Vec<_> = members.iter().zip(&answers).filter_map(how_far).collect();
            for (node, transition) in now.iter().filter(|one| !last.contains(*one)) {
                let number = |key: &str| transition[key].as_u64().unwrap_or(0);
                let (ready, total) = (number("users_ready"), number("users_total"));
                told(Event::Warming { node, ready, total });
            }
            last = now;
        }
    };
    let answer = tokio::select! {
        answer = moved => answer?,
        never = watched => never,
    };
    serde_json::from_value(answer).map_err(Failure::from)
}

/// Asks one after the other until one answers. A report in a refusal is an answer.
async fn first(
    nodes: &[Node],
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
    limit: Duration,
) -> Result<serde_json::Value, Failure> {
    let mut faults = Vec::new();
    for node in nodes {
        match node.call(method.clone(), path, body.clone(), limit).await {
            Answer::Ok(answer) => return Ok(answer),
            Answer::Refused(_, answer) if answer["nodes"].is_array() => return Ok(answer),
            Answer::Refused(status, body) => {
                return Err(Failure::Code(1, format!("{}: {}", node.url, said(status, &body))));
            }
            Answer::Unreachable(reason) => faults.push(format!("{}: {reason}", node.url)),
        }
    }
    Err(Failure::Code(shown::LAGGING, faults.join("\n")))
}

/// One instance that has others beside it: said, because it moved alone.
async fn hint(shown: &Shown, nodes: &[Node]) {
    let [node] = nodes else { return };
    if shown.fleet {
        return;
    }
    if let Ok(status) = node.get("/admin/status").await
        && let Some(others) = status["nodes"].as_array().filter(|others| !others.is_empty())
    {
        let names: Vec<&str> = others.iter().filter_map(serde_json::Value::as_str).collect();
        print::say(&format!(
            "note: {} is one of a fleet ({}), and was moved alone; --fleet moves all",
            node.url,
            names.join(", ")
        ));
    }
}
