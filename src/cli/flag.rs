//! `flag show`, `flag set`, `flag rollback`, `flag history`.

mod history;

use std::time::{Duration, Instant};

use bridge_core::Stage;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::node::{Answer, Node, NodeArgs, said};
use super::{Failure, print};

pub(super) const EXIT_CODES: &str = "Exit codes: 0 all instances agree; 1 failure, or `history --verify` found a \
    changed line; 2 bad usage; 3 refused by preflight or order; 4 an instance unreachable or lagging (what the others \
    said is printed first); 5 another change was in progress, or superseded this one.";

/// Refused by preflight or order.
const REFUSED: u8 = 3;
/// Unreachable or lagging.
const LAGGING: u8 = 4;
/// Another change.
const OTHER_CHANGE: u8 = 5;
/// A flip answers within its own limit (30 s by default); then instances may lag a little.
const FLIP: Duration = Duration::from_secs(60);
/// Everything else, a rollback too, is a matter of 2 s.
const ASK: Duration = Duration::from_secs(10);
const AGREE: Duration = Duration::from_secs(5);

/// Shows or changes the stage.
#[derive(Debug, Subcommand)]
pub(super) enum Flag {
    /// The stage of each instance.
    #[command(after_help = EXIT_CODES)]
    Show(Shown),
    /// Moves all instances to a stage: legacy, shadow, live or complete.
    #[command(after_help = EXIT_CODES)]
    Set(SetArgs),
    /// To `legacy` at once, whatever is broken.
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
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A change.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// legacy, shadow, live or complete.
    stage: Stage,
    #[command(flatten)]
    shown: Shown,
    /// Who.
    #[arg(long)]
    actor: String,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Share of users that rabbitmq serves in `live` and `complete`, 0 to 100. The lists of the rollout stay.
    #[arg(long, value_name = "N")]
    percent: Option<f64>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Override order and preflight; it is audited.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(command: Flag) -> Result<(), Failure> {
    match command {
        Flag::Show(shown) => {
            let nodes = shown.nodes.resolve().await?;
            finish(&nodes, ask(&nodes, Method::GET, "/admin/flag", None, ASK).await, shown.json)
        }
        Flag::Set(args) => set(args).await,
        Flag::Rollback { shown, actor, reason } => {
            named(&actor, &reason)?;
            let nodes = shown.nodes.resolve().await?;
            let body = json!({"actor": actor, "reason": reason});
            let answers = ask(&nodes, Method::POST, "/admin/rollback", Some(body), ASK).await;
            finish(&nodes, answers, shown.json)
        }
        Flag::History { shown, verify } => history::show(&shown, verify).await,
    }
}

/// The same call to every instance at once.
async fn ask(nodes: &[Node], method: Method, path: &str, body: Option<Value>, limit: Duration) -> Vec<Answer> {
    let changes = method != Method::GET;
    let calls = nodes.iter().map(|node| {
        let call = node.call(method.clone(), path, body.clone(), limit);
        async move {
            let answer = call.await;
            if changes {
                told(node, &answer);
            }
            answer
        }
    });
    futures::future::join_all(calls).await
}

/// Said as it comes: one instance that hangs must not hide what the others did.
fn told(node: &Node, answer: &Answer) {
    match answer {
        Answer::Ok(view) => print::say(&format!("{}: {}", node.url, text(&view["stage"]))),
        other => print::say(&format!("{}: {}", node.url, line(other))),
    }
}

pub(super) fn named(actor: &str, reason: &str) -> Result<(), Failure> {
    for (name, text) in [("--actor", actor), ("--reason", reason)] {
        if text.trim().is_empty() || text.chars().count() > 1_000 {
            return Err(Failure::Usage(format!("{name}: must be 1 to 1,000 characters")));
        }
    }
    Ok(())
}

async fn set(args: SetArgs) -> Result<(), Failure> {
    if let Some(percent) = args.percent
        && !(0.0..=100.0).contains(&percent)
    {
        return Err(Failure::Usage(format!("--percent {percent}: must be 0 to 100")));
    }
    named(&args.actor, &args.reason)?;
    let nodes = args.shown.nodes.resolve().await?;
    let before = match args.percent {
        Some(_) => ask(&nodes, Method::GET, "/admin/flag", None, ASK).await,
        None => Vec::new(),
    };
    let body = |place: usize| {
        let mut body = json!({"use_rabbitmq_updates": args.stage.use_rabbitmq_updates(),
            "shadow_mode": args.stage.shadow_mode(), "actor": args.actor, "reason": args.reason,
            "dry_run": args.dry_run, "force": args.force});
        if let Some(percent) = args.percent {
            // What is left out of a rollout takes its default: the lists are sent along.
            let Some(Answer::Ok(view)) = before.get(place) else { return None };
            body["rollout"] = view["rollout"].clone();
            body["rollout"]["percent"] = percent.into();
        }
        Some(body)
    };
    if !args.dry_run {
        print::say(&format!("moving {} instance(s) to {} …", nodes.len(), args.stage));
    }
    let calls = nodes.iter().enumerate().map(|(place, node)| {
        let (body, asked) = (body(place), before.get(place));
        let dry = args.dry_run;
        async move {
            let answer = match (body, asked) {
                // What its lists are is not known: nothing is sent that would empty them.
                (None, Some(failed)) => failed.clone(),
                (body, _) => node.call(Method::PUT, "/admin/flag", body, FLIP).await,
            };
            if !dry {
                told(node, &answer);
            }
            answer
        }
    });
    let answers = futures::future::join_all(calls).await;
    if args.dry_run {
        return planned(&nodes, answers, args.shown.json);
    }
    let answers = settle(&nodes, answers, args.stage).await;
    finish(&nodes, answers, args.shown.json)
}

/// Waits until those that moved agree: stage, rollout, and no change in progress.
async fn settle(nodes: &[Node], mut answers: Vec<Answer>, stage: Stage) -> Vec<Answer> {
    let deadline = Instant::now() + AGREE;
    loop {
        let lagging: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| matches!(answer, Answer::Ok(view) if lags(view, stage.name())))
            .map(|(place, _)| place)
            .collect();
        if lagging.is_empty() || Instant::now() >= deadline {
            return answers;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for place in lagging {
            answers[place] = nodes[place].call(Method::GET, "/admin/flag", None, Duration::from_secs(5)).await;
        }
    }
}

fn lags(view: &Value, stage: &str) -> bool {
    let phase = view.pointer("/transition/phase").and_then(Value::as_str);
    view["stage"] != stage || phase.is_some_and(|phase| phase != "draining")
}

fn planned(nodes: &[Node], answers: Vec<Answer>, json: bool) -> Result<(), Failure> {
    if json {
        print_json(nodes, &answers);
    } else {
        for (node, answer) in nodes.iter().zip(&answers) {
            match answer {
                Answer::Ok(plan) => {
                    print::data(&format!("{}: {} → {}", node.url, text(&plan["from"]), text(&plan["to"])));
                    for action in plan["actions"].as_array().into_iter().flatten() {
                        print::data(&format!("  {}", action_line(action)));
                    }
                    checks(plan);
                }
                other => print::data(&format!("{}: {}", node.url, line(other))),
            }
        }
    }
    code(nodes, &answers, false)
}

fn action_line(action: &Value) -> String {
    match action["action"].as_str().unwrap_or_default() {
        "warm" => "warm: declare, bind and consume the queues of all users, and wait until all are live".into(),
        "store" => "store: write the change to the state directory".into(),
        "flip" => "flip: every user's gate takes the new stage, and what the ring owes goes out".into(),
        "drain" => format!("drain: rabbitmq goes on for {} ms, first arrival wins", action["window_ms"]),
        "cool" => "cool: delete the queues of all users".into(),
        "audit" => "audit: append an entry".into(),
        other => other.into(),
    }
}

fn checks(answer: &Value) {
    for check in answer["checks"].as_array().into_iter().flatten() {
        let ok = match check["ok"].as_bool() {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "not asked",
        };
        let remedy = check["remedy"].as_str().filter(|remedy| !remedy.is_empty());
        let remedy = remedy.map_or_else(String::new, |remedy| format!(" — {remedy}"));
        print::data(&format!("  check {}: {ok}: {}{remedy}", text(&check["name"]), text(&check["detail"])));
    }
}

fn finish(nodes: &[Node], answers: Vec<Answer>, json: bool) -> Result<(), Failure> {
    if json {
        print_json(nodes, &answers);
    } else {
        let mut table = print::table(&["instance", "stage", "version", "percent", "source", "by", "transition"]);
        for (node, answer) in nodes.iter().zip(&answers) {
            match answer {
                Answer::Ok(view) => {
                    let transition = view.pointer("/transition/phase").map_or("–".into(), text);
                    let cells = ["stage", "version"].map(|key| text(&view[key]));
                    let percent = text(&view["rollout"]["percent"]);
                    let by = [text(&view["source"]), text(&view["actor"]), transition];
                    table.add_row(std::iter::once(node.url.clone()).chain(cells).chain([percent]).chain(by));
                }
                other => {
                    table.add_row([node.url.clone(), line(other)]);
                }
            }
        }
        print::data(&table.to_string());
        for (node, answer) in nodes.iter().zip(&answers) {
            if let Answer::Refused(_, body) = answer
                && body.get("checks").is_some()
            {
                print::data(&node.url);
                checks(body);
            }
        }
    }
    code(nodes, &answers, true)
}

fn print_json(nodes: &[Node], answers: &[Answer]) {
    let all: Vec<Value> = nodes
        .iter()
        .zip(answers)
        .map(|(node, answer)| match answer {
            Answer::Ok(view) => json!({"node": node.url, "ok": true, "answer": view}),
            Answer::Refused(status, body) => {
                json!({"node": node.url, "ok": false, "status": status, "answer": body})
            }
            Answer::Unreachable(reason) => json!({"node": node.url, "ok": false, "error": reason}),
        })
        .collect();
    print::json(&json!({"nodes": all}));
}

/// Unreachable before refused: what is not known comes first.
fn code(nodes: &[Node], answers: &[Answer], agree: bool) -> Result<(), Failure> {
    let mut worst: Option<(u8, String)> = None;
    let mut note = |code: u8, text: String| {
        if worst.as_ref().is_none_or(|(other, _)| code == LAGGING && *other != LAGGING) {
            worst = Some((code, text));
        }
    };
    for (node, answer) in nodes.iter().zip(answers) {
        match answer {
            Answer::Ok(view) => {
                let phase = view.pointer("/transition/phase").and_then(Value::as_str);
                if agree && phase.is_some_and(|phase| phase != "draining") {
                    note(LAGGING, format!("{}: still in transition ({})", node.url, phase.unwrap_or_default()));
                }
            }
            Answer::Unreachable(reason) => note(LAGGING, format!("{}: {reason}", node.url)),
            Answer::Refused(status, body) => {
                let code = match body["error"].as_str() {
                    Some("preflight_failed" | "stage_skipped") => REFUSED,
                    Some("flip_in_progress" | "superseded") => OTHER_CHANGE,
                    _ => 1,
                };
                note(code, format!("{}: {}", node.url, said(*status, body)));
            }
        }
    }
    if let Some((code, text)) = worst {
        return Err(Failure::Code(code, text));
    }
    let views: Vec<&Value> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Ok(view) => Some(view),
            _ => None,
        })
        .collect();
    let differs =
        views.iter().position(|view| view["stage"] != views[0]["stage"] || view["rollout"] != views[0]["rollout"]);
    match differs.filter(|_| agree) {
        Some(place) => Err(Failure::Code(
            LAGGING,
            format!("{}: another stage or rollout than {}", nodes[place].url, nodes[0].url),
        )),
        None => Ok(()),
    }
}

fn line(answer: &Answer) -> String {
    match answer {
        Answer::Ok(_) => "ok".into(),
        Answer::Refused(status, body) => format!("refused: {}", said(*status, body)),
        Answer::Unreachable(reason) => format!("UNREACHABLE: {reason}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        other => other.to_string(),
    }
}
