//! A record for people: a line, and below it the two values of each difference, one below the other, with what differs
//! marked.

use serde_json::Value;

/// Characters of a value that are shown.
const WIDTH: usize = 160;
/// Of these, characters before what differs, where not all fit.
const BEFORE: usize = 30;
const LEGACY: &str = "\x1b[31m";
const RABBITMQ: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// The columns of `--csv`.
pub(super) const HEAD: [&str; 20] = [
    "at",
    "instance",
    "stage",
    "class",
    "cause",
    "modifiers",
    "tenant",
    "user",
    "dialog",
    "event",
    "message",
    "event_id",
    "legacy_at",
    "legacy_sockets",
    "rabbitmq_at",
    "rabbitmq_sockets",
    "skew_ms",
    "rules",
    "diff",
    "id",
];

/// One record's values for them.
pub(super) fn row(record: &Value) -> [String; 20] {
    HEAD.map(|column| {
        let value = match column {
            "legacy_at" => &record["legacy"]["at"],
            "legacy_sockets" => &record["legacy"]["sockets"],
            "rabbitmq_at" => &record["rabbitmq"]["at"],
            "rabbitmq_sockets" => &record["rabbitmq"]["sockets"],
            other => &record[other],
        };
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) if items.iter().all(Value::is_string) => texts(value).join(" "),
            other => other.to_string(),
        }
    })
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One record in several lines.
pub(super) fn block(record: &Value, coloured: bool) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or("–").to_owned();
    let cause = record["cause"].as_str().map_or_else(String::new, |cause| format!("/{cause}"));
    let skew = record["skew_ms"].as_i64().map_or_else(String::new, |skew| format!(" skew {skew} ms"));
    let modifiers = texts(&record["modifiers"]);
    let notes = if modifiers.is_empty() { String::new() } else { format!(" ({})", modifiers.join(", ")) };
    let (at, class, id) = (text("at"), text("class"), text("id"));
    let (user, dialog, message) = (text("user"), text("dialog"), text("message"));
    let mut block =
        format!("{at} {class}{cause}{notes} user {user} dialog {dialog} message {message}{skew} id {id}");
    for difference in record["diff"].as_array().into_iter().flatten() {
        let (path, kind) = (difference["path"].as_str().unwrap_or(""), difference["kind"].as_str().unwrap_or(""));
        block.push_str(&format!("\n    differs at {path} ({kind})"));
        for line in pair(&difference["legacy"].to_string(), &difference["rabbitmq"].to_string(), coloured) {
            block.push_str(&format!("\n      {line}"));
        }
    }
    let payloads = [("legacy", &record["payloads"]["legacy"]), ("rabbitmq", &record["payloads"]["rabbitmq"])];
    for (path, payload) in payloads.into_iter().filter(|(_, payload)| !payload.is_null()) {
        block.push_str(&format!("\n    {path} came as {payload}"));
    }
    block
}

/// The two values, and where there are no colours a line that marks what differs.
fn pair(legacy: &str, rabbitmq: &str, coloured: bool) -> Vec<String> {
    let (ours, theirs): (Vec<char>, Vec<char>) = (legacy.chars().collect(), rabbitmq.chars().collect());
    let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let shorter = ours.len().min(theirs.len());
    let back = ours.iter().rev().zip(theirs.iter().rev()).take(shorter - same).take_while(|(a, b)| a == b).count();
    let start = if ours.len().max(theirs.len()) <= WIDTH { 0 } else { same.saturating_sub(BEFORE) };
    let line = |name: &str, value: &[char], colour: &str| {
        let shown: Vec<char> = value.iter().skip(start).take(WIDTH).copied().collect();
        let (from, to) = ((same - start).min(shown.len()), (value.len() - back - start).min(shown.len()));
        let part = |range: std::ops::Range<usize>| shown[range].iter().collect::<String>();
        let (on, off) = if coloured && from < to { (colour, PLAIN) } else { ("", "") };
        let left_out = |is: bool| if is { "…" } else { "" };
        format!(
            "{name:<9}{}{}{on}{}{off}{}{}",
            left_out(start > 0),
            part(0..from),
            part(from..to),
            part(to..shown.len()),
            left_out(start + shown.len() < value.len())
        )
    };
    let mut lines = vec![line("legacy", &ours, LEGACY), line("rabbitmq", &theirs, RABBITMQ)];
    if !coloured {
        let longest = ours.len().max(theirs.len()) - back - same;
        let marks = longest.min(WIDTH - (same - start)).max(1);
        let indent = 9 + same - start + usize::from(start > 0);
        lines.push(format!("{}{}", " ".repeat(indent), "^".repeat(marks)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_two_values_stand_one_below_the_other_with_what_differs_marked() {
        let record = json!({"at": "T", "class": "payload_mismatch", "cause": null, "modifiers": ["drill"], "user": "u",
            "dialog": "d", "message": "m", "skew_ms": 3, "id": "7", "diff": [
                {"path": "/content", "kind": "value", "legacy": "Привет, World!", "rabbitmq": "Привет, wwrld!"},
                {"path": "/meta/n", "kind": "absent", "legacy": 5, "rabbitmq": null}]});
        assert_eq!(
            block(&record, false),
            "T payload_mismatch (drill) user u dialog d message m skew 3 ms id 7\n    \
             differs at /content (value)\n      \
             legacy   \"Привет, World!\"\n      \
             rabbitmq \"Привет, wwrld!\"\n      \
             \x20                 ^^\n    \
             differs at /meta/n (absent)\n      legacy   5\n      rabbitmq null\n      \
             \x20        ^^^^"
        );
        let coloured = block(&record, true);
        assert!(coloured.contains("\"Привет, \x1b[31mWo\x1b[0mrld!\"") && !coloured.contains('^'), "{coloured}");
    }

    #[test]
    fn of_long_values_the_part_that_differs_is_shown_wherever_it_is() {
        for (before, after) in [(0, 0), (5_000, 0), (0, 5_000), (5_000, 5_000), (159, 1), (100, 100)] {
            let value = |middle: &str| format!("{}{middle}{}", "a".repeat(before), "b".repeat(after));
            for (ours, theirs) in [("x", "y"), ("", "y"), ("x", ""), ("xx", "xyx"), ("x".repeat(300).as_str(), "")]
            {
                let lines = pair(&value(ours), &value(theirs), false);
                assert_eq!(lines.len(), 3);
                assert!(lines.iter().all(|line| line.chars().count() <= WIDTH + 12), "{lines:?}");
                let marked = lines[2].chars().position(|c| c == '^').unwrap();
                let at = |line: &str| line.chars().nth(marked);
                assert_ne!(at(&lines[0]), at(&lines[1]), "{before} {after} {ours:?} {theirs:?}: {lines:#?}");
            }
        }
        assert_eq!(pair("1", "1", false)[2].trim(), "^", "equal values are no difference, and no fault here");
    }
}
