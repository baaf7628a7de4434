//! Where records and numbers come from.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use bridge_core::compare::Record;
use serde_json::Value;

use crate::cli::Failure;
use crate::fleet::Node;
use crate::shadow::Filter;

/// Running instances, or log files.
pub(super) enum Source {
    Nodes(Vec<Node>),
    Files(Vec<PathBuf>),
}

/// Lines of log files that could not be read.
#[derive(Debug, Default)]
pub(super) struct Unread(Vec<(PathBuf, u64)>);

impl Unread {
    /// Says of each file how many there were; 1 if there were any.
    pub(super) fn said(self) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let say = |(file, lines): &(PathBuf, u64)| {
            let them = if *lines == 1 { "line that is" } else { "lines that are" };
            format!("{}: {lines} {them} no record, and not counted", file.display())
        };
        Err(Failure::Code(1, self.0.iter().map(say).collect::<Vec<_>>().join("\n")))
    }
}

/// The newest `limit` records that `filter` takes, newest first.
pub(super) async fn records_of(
    source: &Source,
    filter: &Filter,
    limit: usize,
    unread: &mut Unread,
) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    match source {
        Source::Files(files) => {
            for file in files {
                each_record(file, unread, |record| {
                    if filter.takes(&record) {
                        records.extend(serde_json::to_value(record));
                    }
                    // A log may be large.
                    if records.len() > limit.saturating_mul(2).max(1_024) {
                        newest(&mut records, limit);
                    }
                })?;
            }
        }
        Source::Nodes(nodes) => {
            for node in nodes {
                let newest_first = records_of_node(node, filter, limit).await?;
                records.extend(newest_first.into_iter().rev());
            }
        }
    }
    newest(&mut records, limit);
    records.reverse();
    Ok(records)
}

/// Puts the newest last, those of one moment as they came, and lets go what is beyond `limit`.
fn newest(records: &mut Vec<Value>, limit: usize) {
    records.sort_by(|a, b| a["at"].as_str().cmp(&b["at"].as_str()));
    records.drain(..records.len().saturating_sub(limit));
}

async fn records_of_node(node: &Node, filter: &Filter, limit: usize) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    let mut after = String::new();
    while records.len() < limit {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let page = limit.saturating_sub(records.len()).min(1_000).to_string();
        query.extend_pairs([("order", "desc"), ("limit", &page), ("after", &after)]).extend_pairs(filter.pairs());
        let page = node.get(&format!("/admin/shadow/records?{}", query.finish())).await;
        let page = page.map_err(|error| Failure::Code(1, error))?;
        records.extend(page["records"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    Ok(records)
}

/// Reads a log; lines that are no record (the last one of an instance that was killed) are noted in `unread`. A file
/// without a single record is something else than a log.
pub(super) fn each_record(file: &Path, unread: &mut Unread, mut take: impl FnMut(Record)) -> Result<(), Failure> {
    let open = std::fs::File::open(file);
    let open = open.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let (mut found, mut lines) = (false, 0);
    for line in std::io::BufReader::new(open).split(b'\n') {
        let line = line.map_err(|error| Failure::Code(1, format!("{}: {error}", file.display())))?;
        if let Ok(record) = serde_json::from_slice::<Record>(&line) {
            found = true;
            take(record);
        } else if !line.trim_ascii().is_empty() {
            lines += 1;
        }
    }
    if lines > 0 {
        unread.0.push((file.to_owned(), lines));
    }
    if found {
        Ok(())
    } else {
        Err(Failure::Usage(format!("{}: no record of a shadow log is in it", file.display())))
    }
}
