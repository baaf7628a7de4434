//! The alarms that operators are told to use, evaluated by Prometheus's own tool over what real runs counted.

use std::fmt::Write as _;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::js::Js;
use crate::kit::promtool::{self, LASTS, SCRAPE, scrape};
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// Names of the alarms that fire at any look while these states follow each other.
fn fired(states: &[Vec<(String, String)>]) -> Vec<String> {
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    let mut test = promtool::history(Some(&rules), states);
    // What is expected is nothing: what fires is in the complaint.
    test.push_str("  promql_expr_test:\n");
    let looks = (1..=states.len() * LASTS).map(|look| look * SCRAPE);
    for at in looks {
        let _ =
            write!(test, "  - expr: ALERTS{{alertstate=\"firing\"}}\n    eval_time: {at}s\n    exp_samples: []\n");
    }
    let (passed, said) = promtool::test(&test);
    let parts = said.split("alertname=\"").skip(1);
    let mut fired: Vec<String> = parts.map(|part| part.split('"').next().unwrap().to_owned()).collect();
    fired.sort();
    fired.dedup();
    assert_eq!(passed, fired.is_empty(), "{said}");
    fired
}

fn with(state: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut state = state.to_vec();
    state.iter_mut().find(|(own, _)| own == name).unwrap().1 = value.into();
    state
}

/// Queries of the dashboard, as Grafana asks them for all instances.
fn queries() -> Vec<String> {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards/updates-bridge.json");
    let board: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let all = targets.chain(board["annotations"]["list"].as_array().unwrap());
    let whole = |query: &Value| {
        let query = query["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
        query.replace("$job", ".*").replace("$instance", ".*")
    };
    all.map(whole).collect()
}

fn every_query_of_the_dashboard_finds_something(states: &[Vec<(String, String)>]) {
    let mut test = promtool::history(None, states);
    test.push_str("  promql_expr_test:\n");
    let at = states.len() * LASTS * SCRAPE - SCRAPE;
    let queries = queries();
    assert!(queries.len() > 30);
    for query in &queries {
        // What is only shown when it happens need not have happened.
        let query = query.trim_end_matches(" > 0");
        let found = json!(format!("count({query}) > bool 0"));
        let _ = write!(
            test,
            "  - expr: {found}\n    eval_time: {at}s\n    exp_samples: [{{labels: '{{}}', value: 1}}]\n"
        );
    }
    let (passed, said) = promtool::test(&test);
    assert!(passed, "{said}");
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
        if !promtool::is_here() {
            continue;
        }
        assert_eq!(fired(&states), Vec::<String>::new(), "{stage}: traffic and a drill");
        let broken = with(&states[2], "bridge_broker_up", "0");
        let expected: &[&str] = if stage == "live" { &["BridgeBrokerDown"] } else { &[] };
        assert_eq!(fired(&[states[2].clone(), broken]), expected, "{stage}: no broker");
        let mut stalled = states[2].clone();
        stalled.retain(|(name, _)| name != "bridge_updates_stalled");
        stalled.push(("bridge_updates_stalled".into(), "1".into()));
        assert_eq!(fired(&[states[2].clone(), stalled]), ["BridgeUpdatesStalled"], "{stage}: no updates");
        states.push(leak);
        assert_eq!(fired(&states), ["BridgeLeak"], "{stage}");
        every_query_of_the_dashboard_finds_something(&states);
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
    let queries = queries().join("\n");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let asked = rules + &queries;
    for (at, _) in asked.match_indices("bridge_") {
        let name: String = asked[at..].chars().take_while(|c| is_part(*c)).collect();
        let name = name.trim_end_matches("_bucket");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not counted");
    }
    if promtool::is_here() {
        let rules = root.join("deploy/prometheus/alerts.yml");
        let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
