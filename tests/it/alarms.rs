//! The alarms that operators are told to use, evaluated by Prometheus's own tool over what real runs counted.

use std::fmt::Write as _;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// Seconds between two scrapes, and scrapes for which a state lasts.
const SCRAPE: usize = 15;
const LASTS: usize = 12;

fn promtool() -> bool {
    let found = Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: there is no promtool here (Debian: apt-get install prometheus)");
    }
    found
}

/// Every series with its value.
fn scrape(bridge: &Bridge) -> Vec<(String, String)> {
    let (status, Value::String(text)) = bridge.admin(Method::GET, "/metrics", None) else { panic!("no text") };
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with("bridge_"));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The series as Prometheus would store it.
fn stored(series: &str) -> String {
    let own = r#"instance="a",job="bridge""#;
    match series.split_once('{') {
        Some((name, labels)) => format!("{name}{{{own},{labels}"),
        None => format!("{series}{{{own}}}"),
    }
}

/// Names of the alarms that fire at any look while these states follow each other.
fn fired(states: &[Vec<(String, String)>]) -> Vec<String> {
    let mut names: Vec<&String> = states.iter().flatten().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    let mut test =
        format!("rule_files: [{:?}]\nevaluation_interval: {SCRAPE}s\ntests:\n", rules.to_str().unwrap());
    let _ = write!(test, "- interval: {SCRAPE}s\n  input_series:\n");
    for name in names {
        let values: Vec<String> = states
            .iter()
            .map(|state| match state.iter().find(|(own, _)| own == name) {
                Some((_, value)) => format!("{value}+0x{}", LASTS - 1),
                None => format!("_x{LASTS}"),
            })
            .collect();
        let _ = write!(test, "  - series: '{}'\n    values: '{}'\n", stored(name), values.join(" "));
    }
    // What is expected is nothing: what fires is in the complaint.
    test.push_str("  promql_expr_test:\n");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.yml");
    let looks = (1..=states.len() * LASTS).map(|look| look * SCRAPE);
    for at in looks {
        let _ =
            write!(test, "  - expr: ALERTS{{alertstate=\"firing\"}}\n    eval_time: {at}s\n    exp_samples: []\n");
    }
    std::fs::write(&file, test).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let parts = said.split("alertname=\"").skip(1);
    let mut fired: Vec<String> = parts.map(|part| part.split('"').next().unwrap().to_owned()).collect();
    fired.sort();
    fired.dedup();
    assert_eq!(output.status.success(), fired.is_empty(), "{said}");
    fired
}

fn with(state: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut state = state.to_vec();
    state.iter_mut().find(|(own, _)| own == name).unwrap().1 = value.into();
    state
}

#[test]
fn a_drill_sets_off_no_alarm_and_a_leak_exactly_that_one() {
    let world = World::shared(StandInOptions::default());
    for stage in ["shadow", "live"] {
        let bridge = world.setup(stage).start().ready();
        let (own, sender) = (format!("alarm_{stage}_a"), format!("alarm_{stage}_b"));
        let dialog = world.chat3.add_dialog(&[&own, &sender]);
        let mut js = Js::start();
        js.sign_on("a", &bridge, &own);
        js.join("a", &dialog);
        let mut states = vec![scrape(&bridge)];
        (0..20).for_each(|n| drop(bridge.say(&sender, &dialog, &format!("good {n}"))));
        eventually("compared", s(30), || (bridge.summary()["classes"]["match"] == 20).then_some(()));
        states.push(scrape(&bridge));
        let (status, report) = bridge.admin(Method::POST, "/admin/drill", None);
        assert_eq!((status, &report["ok"]), (200, &json!(true)), "{report:#}");
        let records = bridge.admin(Method::GET, "/admin/shadow/records?bad=true", None).1;
        let records = records["records"].as_array().unwrap();
        assert!(!records.is_empty());
        for record in records {
            assert!(record["modifiers"].as_array().unwrap().contains(&json!("drill")), "{record}");
        }
        states.push(scrape(&bridge));
        let body = json!({"tenantId": "tnt_default", "userId": sender, "entityId": "msg_alarm", "eventId": "evt_alarm",
            "eventType": "message.create", "data": {"dialogId": "dlg_alarm"}});
        world.publish(&format!("user.user.{own}.messageupdate"), Vec::new(), body.to_string().as_bytes());
        eventually("the leak", s(30), || (bridge.summary()["classes"]["leak"] == 1).then_some(()));
        let leak = scrape(&bridge);
        for path in ["legacy", "rabbitmq"] {
            let count = |part: &str| {
                let name = format!("bridge_delivery_{part}_seconds_count{{path=\"{path}\"}}");
                leak.iter().find(|(own, _)| *own == name).map_or(0, |(_, value)| value.parse::<u64>().unwrap())
            };
            assert!(count("arrival") > 0, "{stage} {path}");
            let emits = (path == "legacy") == (stage == "shadow");
            assert_eq!(count("handover") > 0, emits, "{stage} {path}: what was emitted is measured");
        }
        if !promtool() {
            continue;
        }
        assert_eq!(fired(&states), Vec::<String>::new(), "{stage}: traffic and a drill");
        let broken = with(&states[2], "bridge_broker_up", "0");
        let expected: &[&str] = if stage == "live" { &["BridgeBrokerDown"] } else { &[] };
        assert_eq!(fired(&[states[2].clone(), broken]), expected, "{stage}: no broker");
        states.push(leak);
        assert_eq!(fired(&states), ["BridgeLeak"], "{stage}");
    }
}

#[test]
fn every_alarm_is_documented_and_watches_what_is_counted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (rules, page) = (read("deploy/prometheus/alerts.yml"), read("migrations-docs/08-metrics.md"));
    let mut alarms = 0;
    for line in rules.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alarms += 1;
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not on the page");
        }
    }
    assert!(alarms >= 8);
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    for (at, _) in rules.match_indices("bridge_") {
        let name: String = rules[at..].chars().take_while(|c| is_part(*c)).collect();
        let name = name.trim_end_matches("_bucket");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not counted");
    }
    if promtool() {
        let rules = root.join("deploy/prometheus/alerts.yml");
        let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
