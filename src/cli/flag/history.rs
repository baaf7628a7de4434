//! `flag history`: every change of an instance, and whether its chain of hashes holds.

use http::Method;

use super::super::{Failure, print};
use super::shown::{code, print_json, text};
use super::{ASK, Shown, ask, members, seen};
use crate::flag::{Verification, verify};

pub(super) async fn show(shown: &Shown, verified: bool) -> Result<(), Failure> {
    let mut nodes = shown.nodes.resolve().await?;
    if shown.fleet {
        // Each has its own, and says it itself.
        nodes = members(&nodes).await?.0;
    }
    let answers = ask(&nodes, &Method::GET, "/admin/audit", None, ASK, |_, _| ()).await;
    let report = seen(&nodes, &answers);
    if shown.json {
        print_json(&report);
    }
    let mut bad = Vec::new();
    for (node, answer) in nodes.iter().zip(&answers) {
        let Some(audit) = answer.ok() else { continue };
        let entries = audit["entries"].as_array().cloned().unwrap_or_default();
        if !shown.json {
            print::data(&node.url);
            let mut table = print::table(&["at", "from", "to", "percent", "source", "actor", "reason", ""]);
            for entry in &entries {
                let flags = [("forced", "forced"), ("automatic", "automatic")];
                let flags = flags.into_iter().filter(|(key, _)| entry[*key] == true).map(|(_, name)| name);
                let refused = entry.get("refused").map(|_| "refused");
                let action = entry.get("action").and_then(serde_json::Value::as_str);
                let notes: Vec<&str> = action.into_iter().chain(flags).chain(refused).collect();
                let cells = ["at", "from", "to"].map(|key| text(&entry[key]));
                let mut rest = ["source", "actor", "reason"].map(|key| text(&entry[key]));
                if let Some(whom) = entry.get("on_behalf_of").and_then(serde_json::Value::as_str) {
                    rest[1] = format!("{} for {whom}", rest[1]);
                }
                let percent = text(&entry["rollout"]["percent"]);
                table.add_row(cells.into_iter().chain([percent]).chain(rest).chain([notes.join(", ")]));
            }
            print::data(&table.to_string());
        }
        if verified {
            // The node looks at all lines, and knows that it wrote more than there are.
            let own = verify(&entries);
            let theirs = serde_json::from_value::<Verification>(audit["verification"].clone()).ok();
            let Verification { ok, line, problem, lines } = theirs.filter(|_| own.ok).unwrap_or(own);
            if ok {
                print::say(&format!("{}: the chain of {lines} entries holds", node.url));
            } else {
                let line = line.map_or_else(|| "a line".into(), |line| format!("line {line}"));
                bad.push(format!("{}: audit.jsonl, {line}: {}", node.url, problem.unwrap_or_default()));
            }
        }
    }
    code(&report, false)?;
    if bad.is_empty() { Ok(()) } else { Err(Failure::Code(1, bad.join("\n"))) }
}
