//! Reports as people and programs read them.

use serde_json::{Value, json};

use super::super::{Failure, print};
use crate::fleet::{Event, NodeReport, Outcome, Report};

/// Refused by preflight or order.
const REFUSED: u8 = 3;
/// Unreachable or lagging.
pub(super) const LAGGING: u8 = 4;
/// Another change.
const OTHER_CHANGE: u8 = 5;

/// Said as it comes: one instance that hangs must not hide what the others did.
pub(super) fn told(event: Event<'_>) {
    match event {
        Event::Answered(one) => match one.fault() {
            None => print::say(&format!("{}: {}", one.node, text(&one.answer["stage"]))),
            Some(_) => print::say(&format!("{}: {}", one.node, line(one))),
        },
        Event::Warming { node, ready, total } => {
            print::say(&format!("{node}: warming, {} of {} users ready", grouped(ready), grouped(total)));
        }
        Event::TakingBack { because } => {
            print::say(&format!("taking back those that moved, because of {because}"));
        }
    }
}

/// Prints a plan for each instance, and whom it concerns in all.
pub(super) fn planned(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        print_json(report);
    } else {
        for one in &report.nodes {
            if one.ok {
                print::data(&format!("{}: {}", one.node, concerned(&one.answer)));
                for action in one.answer["actions"].as_array().into_iter().flatten() {
                    print::data(&format!("  {}", action_line(action)));
                }
                checks(&one.answer);
            } else {
                print::data(&format!("{}: {}", one.node, line(one)));
            }
        }
        let plans: Vec<&Value> = report.nodes.iter().filter(|one| one.ok).map(|one| &one.answer).collect();
        if plans.len() > 1 {
            let sum = |key: &str| plans.iter().filter_map(|plan| plan["users"][key].as_u64()).sum();
            print::data(&format!("together: {}", of_users(sum("changing"), sum("connected"))));
        }
    }
    code(report, false)
}

/// `live → live, 1 % → 5 %: 412 of 10,240 connected users change side`
fn concerned(plan: &Value) -> String {
    let percent = |key: &str| plan["percent"][key].as_f64();
    let percent = match (percent("from"), percent("to")) {
        (Some(from), Some(to)) if (from - to).abs() > f64::EPSILON => format!(", {from} % → {to} %"),
        _ => String::new(),
    };
    let users = &plan["users"];
    let users = users["connected"].as_u64().map_or_else(String::new, |connected| {
        format!(": {}", of_users(users["changing"].as_u64().unwrap_or(0), connected))
    });
    format!("{} → {}{percent}{users}", text(&plan["from"]), text(&plan["to"]))
}

fn of_users(changing: u64, connected: u64) -> String {
    format!("{} of {} connected users change side", grouped(changing), grouped(connected))
}

/// With a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
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

/// Prints where each instance is.
pub(super) fn finish(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        print_json(report);
    } else {
        let mut table = print::table(&["instance", "stage", "version", "percent", "source", "by", "transition"]);
        for one in &report.nodes {
            let flag = &one.answer;
            if flag["stage"].is_string() && one.outcome != Outcome::Astray {
                let transition = flag.pointer("/transition/phase").map_or("–".into(), text);
                let cells = ["stage", "version"].map(|key| text(&flag[key]));
                let percent = text(&flag["rollout"]["percent"]);
                let by = [text(&flag["source"]), text(&flag["actor"]), transition];
                table.add_row(std::iter::once(one.node.clone()).chain(cells).chain([percent]).chain(by));
            } else {
                table.add_row([one.node.clone(), line(one)]);
            }
        }
        print::data(&table.to_string());
        for one in report.nodes.iter().filter(|one| one.refusal().is_some() && one.answer.get("checks").is_some())
        {
            print::data(&one.node);
            checks(&one.answer);
        }
    }
    code(report, true)
}

pub(super) fn print_json(report: &Report) {
    print::json(&json!(report));
}

/// The code of what is worst; `agree`: also of instances that do not agree.
pub(super) fn code(report: &Report, agree: bool) -> Result<(), Failure> {
    if let Some(worst) = report.worst() {
        let code = match (worst.outcome, worst.refusal()) {
            (Outcome::Refused, Some("preflight_failed" | "stage_skipped")) => REFUSED,
            (Outcome::Refused, Some("flip_in_progress" | "superseded")) => OTHER_CHANGE,
            (Outcome::Refused, _) => 1,
            _ => LAGGING,
        };
        return Err(Failure::Code(code, report.faults().join("\n")));
    }
    if !agree {
        return Ok(());
    }
    let phase = |one: &NodeReport| {
        let phase = one.answer.pointer("/transition/phase").and_then(Value::as_str);
        phase.filter(|phase| *phase != "draining").map(ToOwned::to_owned)
    };
    if let Some((one, phase)) = report.nodes.iter().find_map(|one| Some((one, phase(one)?))) {
        return Err(Failure::Code(LAGGING, format!("{}: still in transition ({phase})", one.node)));
    }
    let differs = |one: &&NodeReport| {
        let first = &report.nodes[0];
        one.answer["stage"] != first.answer["stage"] || one.answer["rollout"] != first.answer["rollout"]
    };
    match report.nodes.iter().find(differs) {
        Some(one) => {
            let text = format!("{}: another stage or rollout than {}", one.node, report.nodes[0].node);
            Err(Failure::Code(LAGGING, text))
        }
        None => Ok(()),
    }
}

fn line(one: &NodeReport) -> String {
    let fault = one.fault().unwrap_or_default();
    let fault = fault.strip_prefix(&format!("{}: ", one.node)).unwrap_or(&fault);
    match one.outcome {
        Outcome::Refused => format!("refused: {fault}"),
        Outcome::Unreachable => format!("UNREACHABLE: {fault}"),
        Outcome::Astray => format!("ASTRAY: {fault}"),
        Outcome::TakenBack if one.error.is_some() => format!("TAKEN BACK: {fault}"),
        _ => "ok".into(),
    }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_whom_it_concerns() {
        let plan = json!({"from": "live", "to": "live", "percent": {"from": 1.0, "to": 5.0},
            "users": {"connected": 10_240, "changing": 412}});
        assert_eq!(concerned(&plan), "live → live, 1 % → 5 %: 412 of 10,240 connected users change side");
        let plan = json!({"from": "legacy", "to": "shadow", "percent": {"from": 100.0, "to": 100.0},
            "users": {"connected": 7, "changing": 0}});
        assert_eq!(concerned(&plan), "legacy → shadow: 0 of 7 connected users change side");
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
