//! `shadow reveal`: for some time, what people wrote stands in records.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use super::Shown;
use crate::cli::by::By;
use crate::cli::{Failure, print};
use crate::fleet::{Answer, said};

/// Shows what people wrote, for some time.
#[derive(Debug, Args)]
pub(in crate::cli) struct RevealArgs {
    #[command(flatten)]
    shown: Shown,
    /// How long, e.g. 30m; at most shadow.reveal_for, which is also the default.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Ends it at once.
    #[arg(long, conflicts_with = "time")]
    off: bool,
    #[command(flatten)]
    by: By,
}

pub(super) async fn run(args: RevealArgs) -> Result<(), Failure> {
    let RevealArgs { shown, time, off, by } = args;
    let By { actor, reason } = by.named()?;
    let mut body = json!({"actor": actor, "reason": reason});
    if let Some(time) = time.or_else(|| off.then_some(Duration::ZERO)) {
        body["for"] = humantime::format_duration(time).to_string().into();
    }
    let mut failures = Vec::new();
    for node in shown.nodes.resolve().await? {
        let limit = Duration::from_secs(10);
        let failure = match node.call(Method::POST, "/admin/shadow/reveal", Some(body.clone()), limit).await {
            Answer::Ok(answer) if shown.json => {
                print::data(&json!({"node": node.url, "answer": answer}).to_string());
                continue;
            }
            Answer::Ok(answer) => {
                let until = answer["reveal"]["until"].as_str();
                let said = until.map_or_else(
                    || "what people wrote is not shown".into(),
                    |until| format!("what people wrote is shown until {until}"),
                );
                print::data(&format!("{}: {said}", node.url));
                continue;
            }
            Answer::Refused(status, body) => said(status, &body),
            Answer::Unreachable(reason) => reason,
        };
        failures.push(format!("{}: {failure}", node.url));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Code(1, failures.join("\n"))) }
}
