//! `drill`.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::node::NodeArgs;
use super::{Failure, print};
use crate::fleet::{Answer, said};

/// Plants faults and checks that each is found.
#[derive(Debug, Args)]
pub(super) struct DrillArgs {
    #[command(flatten)]
    nodes: NodeArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DrillArgs) -> Result<(), Failure> {
    let nodes = args.nodes.resolve().await?;
    print::say("planting faults, and waiting for the window to close …");
    let mut failures = Vec::new();
    for node in &nodes {
        let answer = node.call(Method::POST, "/admin/drill", None, Duration::from_secs(330)).await;
        let report = match answer {
            Answer::Ok(report) => report,
            Answer::Refused(status, body) => {
                failures.push(format!("{}: {}", node.url, said(status, &body)));
                continue;
            }
            Answer::Unreachable(reason) => {
                failures.push(format!("{}: {reason}", node.url));
                continue;
            }
        };
        if args.json {
            print::json(&report);
        } else {
            show(&report);
        }
        if report["ok"] != true {
            failures.push(format!("{}: a planted fault was not found as it should be", node.url));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Code(1, failures.join("\n"))) }
}

fn show(report: &Value) {
    let mut table = print::table(&["planted", "expected", "found", ""]);
    for fault in report["faults"].as_array().into_iter().flatten() {
        let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
        let cause = fault["expected_cause"].as_str().map_or_else(String::new, |cause| format!("/{cause}"));
        let found: Vec<&str> = fault["found"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let ok = if fault["ok"] == true { "ok" } else { "NOT FOUND" };
        table.add_row([text("fault"), format!("{}{cause}", text("expected_class")), found.join(", "), ok.into()]);
    }
    print::data(&table.to_string());
}
