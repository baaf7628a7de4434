//! `shadow wait`: until the verdict of all instances together is what is waited for.

use std::time::{Duration, Instant};

use bridge_core::verdict::{Value as Reached, Verdict};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Deserialize;
use serde_json::Value;

use super::Shown;
use super::verdict::line;
use crate::cli::{Failure, print};
use crate::clock::Clock;
use crate::fleet::{Answer, FleetView, Node, Seen, pooled, said};

pub(super) const EXIT_CODES: &str = "Exit codes: 0 reached; 6 the time is over; 7 at once when it is NOT_SAFE; \
    1 failure; 2 bad usage. What happens meanwhile is said on stderr.";

/// The time is over.
const TIMEOUT: u8 = 6;
/// It will not become safe by waiting.
const NOT_SAFE: u8 = 7;
/// Between two looks, and between two lines that say the same.
const LOOK: Duration = Duration::from_secs(2);
const SAY: Duration = Duration::from_secs(60);

/// Waits for a verdict.
#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    #[command(flatten)]
    shown: Shown,
    /// Of all instances that the instance named by --node knows as its fleet (`fleet.nodes`): it asks them.
    #[arg(long)]
    fleet: bool,
    /// The verdict: SAFE, NOT_SAFE, INCONCLUSIVE or STALE.
    #[arg(long, default_value = "SAFE", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["SAFE", "NOT_SAFE", "INCONCLUSIVE", "STALE"]))]
    verdict: String,
    /// How long, e.g. 30m or 2h.
    #[arg(long, default_value = "2h", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) async fn run(args: WaitArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut last, mut told) = (String::new(), None::<Instant>);
    loop {
        // Looked up anew each time: an instance may come or go.
        let nodes = args.shown.nodes.resolve().await?;
        let asked = if args.fleet { ask_fleet(&nodes).await? } else { ask(&nodes).await? };
        let said = match &asked {
            Ok(verdict) => line(verdict),
            Err(reason) => reason.clone(),
        };
        if said != last || told.is_none_or(|told| told.elapsed() >= SAY) {
            print::say(&said);
            (last, told) = (said, Some(Instant::now()));
        }
        if let Ok(verdict) = asked {
            if verdict.value.name() == args.verdict {
                show(&verdict, args.shown.json);
                return Ok(());
            }
            if verdict.value == Reached::NotSafe {
                show(&verdict, args.shown.json);
                return Err(Failure::Code(NOT_SAFE, "waiting does not make it safe: see `shadow report`".into()));
            }
        }
        let left = args.timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            let after = humantime::format_duration(args.timeout);
            return Err(Failure::Code(TIMEOUT, format!("{} was not reached within {after}", args.verdict)));
        }
        tokio::time::sleep(LOOK.min(left)).await;
    }
}

/// The verdict of all instances together; why there is none where one did not answer.
async fn ask(nodes: &[Node]) -> Result<Result<Verdict, String>, Failure> {
    let calls = nodes
        .iter()
        .map(|node| node.call(http::Method::GET, "/admin/shadow/summary", None, Duration::from_secs(10)));
    let mut all = Vec::new();
    for (node, answer) in nodes.iter().zip(futures::future::join_all(calls).await) {
        match answer {
            Answer::Ok(summary) => match Seen::deserialize(&summary) {
                Ok(seen) => all.push(seen),
                Err(error) => {
                    let text =
                        format!("{}: its summary can't be read ({error}): is it an older version?", node.url);
                    return Err(Failure::Code(1, text));
                }
            },
            // It would be the same the next time.
            Answer::Refused(status @ (401 | 403), body) => {
                return Err(Failure::Code(1, format!("{}: {}", node.url, said(status, &body))));
            }
            Answer::Refused(status, body) => return Ok(Err(format!("{}: {}", node.url, said(status, &body)))),
            Answer::Unreachable(reason) => return Ok(Err(format!("{}: {reason}", node.url))),
        }
    }
    Ok(pooled(&all, Clock::default().now()).ok_or_else(|| "no instance has that name".into()))
}

/// The same, as the first of `nodes` that answers has it of its fleet.
async fn ask_fleet(nodes: &[Node]) -> Result<Result<Verdict, String>, Failure> {
    let mut why = "no instance has that name".to_owned();
    for node in nodes {
        let answer = node.call(http::Method::GET, "/admin/fleet", None, Duration::from_secs(30)).await;
        let view = match answer {
            Answer::Ok(view) => FleetView::deserialize(&view)?,
            Answer::Refused(status @ (401 | 403 | 404), body) => {
                return Err(Failure::Code(1, format!("{}: {}", node.url, said(status, &body))));
            }
            Answer::Refused(status, body) => {
                why = format!("{}: {}", node.url, said(status, &body));
                continue;
            }
            Answer::Unreachable(reason) => {
                why = format!("{}: {reason}", node.url);
                continue;
            }
        };
        return Ok(match view.nodes.iter().find(|one| !one.reachable) {
            Some(one) => Err(format!("{}: {}", one.node, one.error.as_deref().unwrap_or("no answer"))),
            None => view.verdict.ok_or(why),
        });
    }
    Ok(Err(why))
}

fn show(verdict: &Verdict, json: bool) {
    if json {
        print::json(&serde_json::to_value(verdict).unwrap_or(Value::Null));
    } else {
        print::data(&line(verdict));
    }
}
