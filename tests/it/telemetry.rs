//! What watches the bridge from outside: metrics to build an alarm on, and the status that is looked at first.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// Every series with its value.
fn metrics(bridge: &Bridge) -> BTreeMap<String, f64> {
    let (status, Value::String(text)) = bridge.admin(Method::GET, "/metrics", None) else { panic!("no text") };
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with("bridge_"));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

/// Counters, and by how much they have grown.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let counters = after.iter().filter(|(name, _)| name.split('{').next().unwrap().ends_with("_total"));
    let grown = counters.map(|(name, value)| (name.clone(), value - before.get(name).unwrap_or(&f64::NAN)));
    // A series that was not there before is not 0.
    grown.filter(|(_, by)| by.is_nan() || by.abs() > 0.0).collect()
}

#[test]
fn counters_begin_at_0_and_a_drill_moves_none_and_a_leak_moves_those_that_are_watched() {
    let world = World::shared(StandInOptions::default());
    for stage in ["shadow", "live"] {
        let bridge = world.setup(stage).start().ready();
        let start = metrics(&bridge);
        for series in [
            r#"bridge_shadow_closed_total{class="leak",cause=""}"#,
            r#"bridge_shadow_closed_total{class="missing_in_rabbitmq",cause="no_update"}"#,
            r#"bridge_shadow_amended_total{from="missing_in_rabbitmq",to="match"}"#,
            r#"bridge_updates_rejected_total{reason="not_json"}"#,
            r#"bridge_guard_alarms_total{cause="updates_stalled"}"#,
            r#"bridge_copies_released_total{why="rescued"}"#,
            r#"bridge_sockets_cut_total{reason="slow"}"#,
            "bridge_updates_leaked_total",
            "bridge_bindings_lost_total",
            "bridge_audit_lost_total",
        ] {
            assert_eq!(start.get(series), Some(&0.0), "{series}: {start:#?}");
        }
        for series in [
            format!(r#"bridge_stage{{stage="{stage}"}}"#),
            r#"bridge_verdict{verdict="INCONCLUSIVE"}"#.into(),
            r#"bridge_guard{state="armed"}"#.into(),
        ] {
            eventually(&series, s(10), || metrics(&bridge).get(&series).filter(|value| **value > 0.5).copied());
        }
        assert_eq!(start.get("bridge_rollout_percent"), Some(&100.0));
        assert!(start.keys().any(|name| name.starts_with("bridge_build_info{")));
        let (status, report) = bridge.admin(Method::POST, "/admin/drill", None);
        assert_eq!((status, &report["ok"]), (200, &json!(true)), "{report:#}");
        assert_eq!(grown(&start, &metrics(&bridge)), [], "{stage}: a drill");
        let verdict = bridge.summary()["verdict"].clone();
        assert_eq!(
            (&verdict["value"], &verdict["messages"], &verdict["bad"]),
            (&json!("INCONCLUSIVE"), &json!(0), &json!(0)),
            "{stage}: what was planted is no evidence: {verdict}"
        );

        let mut js = Js::start();
        let (own, other) = (format!("tel_{stage}_a"), format!("tel_{stage}_b"));
        let ack = js.sign_on("a", &bridge, &own);
        assert_eq!(ack["ready"], true);
        let before = metrics(&bridge);
        let body = json!({"tenantId": "tnt_default", "userId": other, "entityId": "msg_tel", "eventId": "evt_tel",
            "eventType": "message.create", "data": {"dialogId": "dlg_tel"}});
        let key = format!("user.user.{own}.messageupdate");
        world.publish(&key, Vec::new(), body.to_string().as_bytes());
        let leak = r#"bridge_shadow_closed_total{class="leak",cause=""}"#;
        eventually("the leak", s(30), || (metrics(&bridge)[leak] > 0.0).then_some(()));
        let grown = grown(&before, &metrics(&bridge));
        let names: Vec<&str> = grown.iter().map(|(name, _)| name.as_str()).collect();
        let expected =
            [leak, "bridge_shadow_opened_total", "bridge_updates_leaked_total", "bridge_updates_received_total"];
        assert_eq!(names, expected);
        assert!(grown.iter().all(|(_, by)| (by - 1.0).abs() < 1e-9), "{grown:?}");
    }
}

#[test]
fn the_status_says_what_is_looked_at_first() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").env("BRIDGE_INSTANCE_ID", "status-1").start().ready();
    let status = |bridge: &Bridge| {
        let (code, status) = bridge.admin(Method::GET, "/admin/status", None);
        assert_eq!(code, 200, "{status}");
        status
    };
    let live = status(&bridge);
    assert_eq!(
        (&live["instance"], &live["environment"], &live["stage"], &live["transition"]),
        (&json!("status-1"), &json!("development"), &json!("live"), &Value::Null),
        "{live:#}"
    );
    assert_eq!((&live["rollout"]["percent"], &live["verdict"]), (&json!(100.0), &json!("INCONCLUSIVE")));
    assert_eq!((&live["broker"]["up"], &live["broker"]["blocked"]), (&json!(true), &json!(false)));
    assert_eq!(live["guard"], json!({"mode": "observe", "state": "armed", "why": null}));
    assert_eq!((&live["chat3"]["up"], &live["nodes"]), (&json!(true), &json!([])));
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&live["broker"]["since"]) >= time(&live["started_at"]));
    assert!(!live["version"].as_str().unwrap().is_empty());
    assert_eq!(bridge.rollback().0, 200);
    let legacy = eventually("the broker is left", s(30), || {
        let status = status(&bridge);
        (status["broker"]["up"] == false && status["transition"].is_null()).then_some(status)
    });
    assert_eq!(legacy["stage"], "legacy", "{legacy:#}");
    assert_eq!(bridge.without_token("/admin/status").0, 401);
}
