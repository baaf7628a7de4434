//! `shadow report`, `shadow records`, `shadow tail`, `shadow diff`, `shadow wait`, `shadow reset`, `shadow reveal`.

mod diff;
mod report;
mod reveal;
mod show;
mod source;
mod tally;
mod verdict;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use bridge_core::compare::{Cause, Class};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};

use super::by::By;
use super::node::NodeArgs;
use super::{Failure, print};
use crate::fleet::{Answer, said};
use crate::shadow::{Filter, moment, since_or_ago};

use source::{Source, Unread, records_of};

/// Between two looks of `report --watch`.
const WATCH: Duration = Duration::from_secs(2);

const EXIT_CODES: &str = "Exit code: 0, or the sum of 4 mismatch (payload, audience), 8 missing (either side, not the \
    expected ones), 16 duplicate, 32 leak, 64 indeterminate above shadow.indeterminate_max or \
    nothing compared at all, 128 stale; 1 failure, \
    also a line of a log that can't be read; 2 bad usage.";

/// QA's view of the comparison.
#[derive(Debug, Subcommand)]
pub(super) enum Shadow {
    /// Classes, causes, rules, skew, top differences, verdict: of running instances, or of log files.
    #[command(after_help = EXIT_CODES)]
    Report {
        #[command(flatten)]
        nodes: NodeArgs,
        #[command(flatten)]
        format: Format,
        /// Log files (`shadow-*.jsonl`) instead of running instances. They hold every bad and indeterminate record, and
        /// a share of the others.
        files: Vec<PathBuf>,
        /// Again every 2 s, where something changed, until it is interrupted; who does not answer is named meanwhile.
        #[arg(long, conflicts_with_all = ["files", "csv"])]
        watch: bool,
    },
    /// Single records, newest first.
    Records {
        #[command(flatten)]
        nodes: NodeArgs,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        filter: FilterArgs,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Log files instead of running instances; they outlive a restart.
        files: Vec<PathBuf>,
    },
    /// Records as they close.
    Tail {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Waits, with progress, until the verdict of all instances together is reached.
    #[command(after_help = wait::EXIT_CODES)]
    Wait(wait::WaitArgs),
    /// Begins the evidence anew, after a fix. It is audited; records and counters stay.
    Reset {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        by: By,
    },
    /// Shows what people wrote in records, and both copies of bad ones, for some time. It is audited.
    Reveal(reveal::RevealArgs),
    /// What got better and what got worse between two reports (`shadow report --json`) or log files.
    Diff {
        /// Before.
        a: PathBuf,
        /// After.
        b: PathBuf,
        #[command(flatten)]
        format: Format,
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

/// How a table is written.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Format {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// As CSV, with a head.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// What to look for.
#[derive(Debug, Default, Args)]
pub(super) struct FilterArgs {
    /// Only bad ones: what speaks against switching.
    #[arg(long)]
    bad: bool,
    /// A class, e.g. payload_mismatch. Can be repeated.
    #[arg(long, value_parser = PossibleValuesParser::new(Class::ALL.map(Class::name)), hide_possible_values = true)]
    class: Vec<String>,
    /// A cause, e.g. no_update.
    #[arg(long, value_parser = PossibleValuesParser::new(Cause::ALL.map(Cause::name)), hide_possible_values = true)]
    cause: Option<String>,
    /// A user.
    #[arg(long)]
    user: Option<String>,
    /// A dialog.
    #[arg(long)]
    dialog: Option<String>,
    /// A message.
    #[arg(long)]
    message: Option<String>,
    /// A JSON Pointer at or below which the copies differ.
    #[arg(long)]
    field: Option<String>,
    /// The unit with this id.
    #[arg(long)]
    id: Option<String>,
    /// At or after this time (ISO-8601; UTC where it names no zone), or within this long, e.g. 10m.
    #[arg(long, value_parser = |text: &str| since_or_ago(text, jiff::Timestamp::now()))]
    since: Option<String>,
    /// Before this time (ISO-8601; UTC where it names no zone).
    #[arg(long, value_parser = moment)]
    until: Option<String>,
}

impl FilterArgs {
    fn filter(self) -> Filter {
        let Self { bad, class, cause, user, dialog, message, field, id, since, until } = self;
        let classes = Class::ALL.into_iter().filter(|own| class.iter().any(|name| name == own.name())).collect();
        let cause = Cause::ALL.into_iter().find(|own| cause.as_deref() == Some(own.name()));
        Filter { classes, bad, cause, user, dialog, message, field, id, since, until }
    }
}

pub(super) async fn run(command: Shadow) -> Result<(), Failure> {
    let mut unread = Unread::default();
    match command {
        Shadow::Report { nodes, format, watch: true, .. } => watched(&nodes, format).await,
        Shadow::Report { nodes, format, files, .. } => {
            let report = tally::report_of(&source(&nodes, files).await?, &mut unread).await?;
            if format.json {
                print::json(&report);
            } else if format.csv {
                print::csv(report.rows())?;
            } else {
                report.print();
            }
            // What was not read may be anything.
            unread.said()?;
            match report.code() {
                0 => Ok(()),
                code => Err(Failure::Code(code, String::new())),
            }
        }
        Shadow::Records { nodes, format, filter, limit, files } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let records = records_of(&source(&nodes, files).await?, &filter.filter(), limit, &mut unread).await?;
            if format.csv {
                print::csv(std::iter::once(show::HEAD.map(str::to_owned)).chain(records.iter().map(show::row)))?;
            } else {
                records.iter().for_each(|record| show(record, format.json));
            }
            unread.said()
        }
        Shadow::Tail { shown, filter } => tail(&shown, &filter.filter()).await,
        Shadow::Wait(args) => wait::run(args).await,
        Shadow::Reset { shown, by } => reset(&shown, by.named()?).await,
        Shadow::Reveal(args) => reveal::run(args).await,
        Shadow::Diff { a, b, format } => {
            let (before, after) = (tally::read(&a, &mut unread)?, tally::read(&b, &mut unread)?);
            diff::diff(&before, &after, format)?;
            unread.said()
        }
    }
}

/// Reports as they change.
async fn watched(nodes: &NodeArgs, format: Format) -> Result<(), Failure> {
    let mut last = String::new();
    loop {
        let report = tally::report_of(&source(nodes, Vec::new()).await?, &mut Unread::default()).await;
        let now = match &report {
            Ok(report) => serde_json::to_string(report)?,
            Err(Failure::Code(_, why)) => why.clone(),
            Err(_) => return report.map(drop),
        };
        if now != last {
            match report {
                Ok(_) if format.json => print::data(&now),
                Ok(report) => report.print(),
                Err(_) => print::say(&now),
            }
            last = now;
        }
        tokio::time::sleep(WATCH).await;
    }
}

async fn source(nodes: &NodeArgs, files: Vec<PathBuf>) -> Result<Source, Failure> {
    if files.is_empty() {
        return Ok(Source::Nodes(nodes.resolve().await?));
    }
    // A pattern of the shell may name one file twice.
    let mut known = std::collections::HashSet::new();
    let first = |file: &PathBuf| known.insert(std::fs::canonicalize(file).unwrap_or_else(|_| file.clone()));
    Ok(Source::Files(files.into_iter().filter(first).collect()))
}

/// One record: a line of JSON, or for people.
fn show(record: &Value, json: bool) {
    if json {
        print::data(&record.to_string());
    } else {
        print::data(&show::block(record, print::is_coloured()));
    }
}

async fn reset(shown: &Shown, By { actor, reason }: By) -> Result<(), Failure> {
    let (body, limit) = (json!({"actor": actor, "reason": reason}), Duration::from_secs(10));
    let mut failures = Vec::new();
    for node in shown.nodes.resolve().await? {
        let failure = match node.call(Method::POST, "/admin/shadow/reset", Some(body.clone()), limit).await {
            Answer::Ok(answer) if shown.json => {
                print::data(&json!({"node": node.url, "answer": answer}).to_string());
                continue;
            }
            Answer::Ok(answer) => {
                let kept = if answer["persisted"] == true {
                    ""
                } else {
                    ", not yet in the audit: the disk did not take it"
                };
                print::data(&format!("{}: the evidence begins anew{kept}", node.url));
                continue;
            }
            Answer::Refused(status, body) => said(status, &body),
            Answer::Unreachable(reason) => reason,
        };
        failures.push(format!("{}: {failure}", node.url));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Code(1, failures.join("\n"))) }
}

/// Follows all instances until it is interrupted.
async fn tail(shown: &Shown, filter: &Filter) -> Result<(), Failure> {
    let nodes = shown.nodes.resolve().await?;
    let streams = nodes.iter().map(|node| async {
        let answer = node.open("/admin/shadow/stream").await.map_err(|error| Failure::Code(1, error))?;
        let mut chunks = answer.bytes_stream();
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Failure::Code(1, format!("{}: the connection was lost", node.url)))?;
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((event, rest)) = text.split_once("\n\n") {
                let data =
                    event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect::<String>();
                if let Ok(record) = serde_json::from_str::<bridge_core::compare::Record>(&data)
                    && filter.takes(&record)
                    && let Ok(record) = serde_json::to_value(&record)
                {
                    show(&record, shown.json);
                }
                text = rest.to_owned();
            }
        }
        Err::<(), Failure>(Failure::Code(1, format!("{}: the stream has ended", node.url)))
    });
    futures::future::try_join_all(streams).await.map(|_| ())
}
