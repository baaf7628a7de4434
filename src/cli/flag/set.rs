//! `flag set`: one instance or a fleet to a stage.

use std::time::{Duration, Instant};

use bridge_core::Stage;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use http::Method;
use serde_json::{Map, Value, json};

use super::shown::{finish, grouped, planned, told};
use super::{Shown, by_fleet, hint};
use crate::cli::by::By;
use crate::cli::{Failure, print};
use crate::fleet::{ASK, Answer, Move, Node, NodeReport, Outcome, Report};

/// Instances may lag a little after a flip.
const AGREE: Duration = Duration::from_secs(5);

/// A change.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// legacy, shadow, live or complete.
    #[arg(value_parser = one_of_stages(), hide_possible_values = true)]
    stage: Stage,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    by: By,
    /// Share of users that rabbitmq serves in `live` and `complete`, 0 to 100. The lists of the rollout stay.
    #[arg(long, value_name = "N")]
    percent: Option<f64>,
    /// Only say what would be done, and whom it concerns.
    #[arg(long)]
    dry_run: bool,
    /// Override order and preflight; it is audited.
    #[arg(long)]
    force: bool,
    /// Move the instances that can, where one is unreachable, or its own Chat3, broker or disk are away. What all have
    /// seen together holds all of them back nevertheless.
    #[arg(long)]
    partial: bool,
}

/// A misspelt one is told what it is like.
fn one_of_stages() -> impl TypedValueParser<Value = Stage> {
    PossibleValuesParser::new(Stage::ALL.map(Stage::name)).try_map(|name| name.parse::<Stage>())
}

pub(super) async fn run(args: SetArgs) -> Result<(), Failure> {
    if let Some(percent) = args.percent
        && !(0.0..=100.0).contains(&percent)
    {
        return Err(Failure::Usage(format!("--percent {percent}: must be 0 to 100")));
    }
    let By { actor, reason } = args.by.clone().named()?;
    let nodes = args.shown.nodes.resolve().await?;
    let SetArgs { stage, shown, percent, dry_run, force, partial, .. } = &args;
    let mut body = Map::new();
    body.insert("use_rabbitmq_updates".into(), stage.use_rabbitmq_updates().into());
    body.insert("shadow_mode".into(), stage.shadow_mode().into());
    body.insert("actor".into(), actor.into());
    body.insert("reason".into(), reason.into());
    if !dry_run {
        let whom = if shown.fleet { "the fleet".into() } else { format!("{} instance(s)", nodes.len()) };
        print::say(&format!("moving {whom} to {stage} …"));
    }
    let mut report = if shown.fleet {
        let more = json!({"dry_run": dry_run, "force": force, "partial": partial, "percent": percent});
        for (key, value) in more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            body.insert(key.clone(), value.clone());
        }
        by_fleet(&nodes, Value::Object(body)).await?
    } else {
        let (dry_run, force, partial) = (*dry_run, *force, *partial);
        let wanted = Move { body, percent: *percent, dry_run, force, partial };
        to_its_end(wanted.run(&nodes, &told)).await?
    };
    if let Some(evidence) = &report.evidence {
        let (nodes, says) = (grouped(evidence.nodes), &evidence.says);
        print::say(&format!("{nodes} instances together: {says}"));
    }
    if *dry_run {
        return planned(&report, shown.json);
    }
    if !shown.fleet && report.moved {
        settle(&nodes, &mut report, stage.name()).await;
        hint(shown, &nodes).await;
    }
    said(&report);
    finish(&report, shown.json)
}

/// A move that is interrupted would leave some moved and some not: it takes two to interrupt it.
async fn to_its_end(moved: impl Future<Output = Report>) -> Result<Report, Failure> {
    let mut moved = std::pin::pin!(moved);
    for times in 0.. {
        tokio::select! {
            report = &mut moved => return Ok(report),
            _ = tokio::signal::ctrl_c() => {}
        }
        if times > 0 {
            return Err(Failure::Code(1, "interrupted: the instances may stand apart, see `flag show`".into()));
        }
        print::say(
            "the move goes on to its end: half of it would leave the instances apart; once more ends it here",
        );
    }
    Ok(moved.await)
}

/// What became of a move that did not happen.
fn said(report: &Report) {
    let any = |outcome| report.nodes.iter().any(|one| one.outcome == outcome);
    if any(Outcome::TakenBack) {
        print::say("one failed: those that had moved went back to where they were");
    } else if any(Outcome::HeldBack) {
        print::say("no instance was moved; --partial moves those that can, where the reason is an instance's own");
    }
}

/// Waits until those that moved agree: stage, rollout, and no change in progress.
async fn settle(nodes: &[Node], report: &mut Report, stage: &str) {
    let deadline = Instant::now() + AGREE;
    loop {
        let lagging: Vec<usize> = (0..nodes.len()).filter(|place| lags(&report.nodes[*place], stage)).collect();
        if lagging.is_empty() || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for place in lagging {
            let answer = nodes[place].call(Method::GET, "/admin/flag", None, ASK / 2).await;
            if let Answer::Ok(flag) = answer {
                report.nodes[place].answer = flag;
            }
        }
    }
}

fn lags(one: &NodeReport, stage: &str) -> bool {
    let phase = one.answer.pointer("/transition/phase").and_then(Value::as_str);
    one.outcome == Outcome::Moved
        && (one.answer["stage"] != stage || phase.is_some_and(|phase| phase != "draining"))
}
