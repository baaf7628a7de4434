//! The flag of a running instance.

mod configured;

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn cli(bridge: &Bridge, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(args)
        .args(["--node", &bridge.admin])
        .env("BRIDGE_ADMIN__TOKEN", "an admin token of some length")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn forward_goes_one_stage_at_a_time_after_preflight_and_says_beforehand_what_it_will_do() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "ctl_a");
    let (status, answer) = bridge.set("live", &json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("stage_skipped")), "{answer}");
    let (status, plan) = bridge.set("shadow", &json!({"dry_run": true}));
    assert_eq!(status, 200, "{plan}");
    let names = |plan: &Value| -> Vec<String> {
        let actions = plan["actions"].as_array().unwrap().iter();
        actions.map(|action| action["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&plan), ["warm", "store", "flip", "audit"]);
    assert_eq!(bridge.flag()["stage"], "legacy", "a plan changes nothing");
    let (status, view) = bridge.set("shadow", &json!({}));
    assert_eq!((status, &view["stage"], &view["version"]), (200, &json!("shadow"), &json!(1)), "{view}");
    assert_eq!(view["transition"], Value::Null);
    let (status, again) = bridge.set("shadow", &json!({}));
    assert_eq!((status, &again["version"]), (200, &json!(1)), "to the present stage: nothing changes");
    assert_eq!(
        names(&bridge.set("legacy", &json!({"dry_run": true})).1),
        ["flip", "store", "audit", "drain", "cool"]
    );
    assert_eq!(bridge.set("live", &json!({})).0, 200);
    assert_eq!(
        names(&bridge.set("legacy", &json!({"dry_run": true})).1),
        ["flip", "store", "audit", "drain", "cool"]
    );
    let (status, preflight) = bridge.admin(Method::GET, "/admin/preflight", None);
    assert_eq!(
        (status, &preflight["ok"], &preflight["to"]),
        (200, &json!(true), &json!("complete")),
        "{preflight}"
    );
    let verdict = preflight["checks"].as_array().unwrap().iter().find(|check| check["name"] == "verdict").unwrap();
    assert_eq!(verdict["detail"], "0 of 0 messages bad (0 %); INCONCLUSIVE at a target of 0.1 %");
    for (body, field) in [
        (json!({"use_rabbitmq_updates": "yes", "actor": "a", "reason": "r"}), "use_rabbitmq_updates"),
        (json!({"use_rabbitmq_updates": true, "reason": "r"}), "actor"),
        (json!({"use_rabbitmq_updates": true, "actor": "a"}), "reason"),
        (json!({"actor": "a", "reason": "r"}), "use_rabbitmq_updates"),
        (json!({"rollout": {"percent": 101}, "actor": "a", "reason": "r"}), "rollout.percent"),
        (json!({"stage": "live", "shadow_mode": true, "actor": "a", "reason": "r"}), "stage"),
    ] {
        let (status, answer) = bridge.admin(Method::PUT, "/admin/flag", Some(&body));
        assert_eq!(
            (status, &answer["error"], &answer["field"]),
            (422, &json!("invalid"), &json!(field)),
            "{body}"
        );
    }
    let (status, answer) = bridge.without_token("/admin/flag");
    assert_eq!((status, answer), (401, json!({"error": "unauthorized"})));
}

#[test]
fn without_a_token_pages_of_other_addresses_may_not_ask() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("shadow").unset(&["BRIDGE_ADMIN__TOKEN"]).start();
    let own = bridge.admin.trim_start_matches("http://").to_owned();
    let call = |host: &str, origin: Option<&str>| {
        let mut request =
            reqwest::Client::new().post(format!("{}/admin/rollback", bridge.admin)).header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = crate::kit::runtime().block_on(request.body("{").send()).unwrap();
        answer.status().as_u16()
    };
    assert_eq!(call(&own, Some("https://evil.example")), 403);
    assert_eq!(call(&own, Some("null")), 403);
    assert_eq!(call("rebound.example:3002", None), 403);
    assert_eq!(bridge.flag()["stage"], "shadow");
    assert_eq!(call(&own, Some(&bridge.admin)), 200, "the console's own page");
    assert_eq!(bridge.flag()["stage"], "legacy");
    assert_eq!(call(&own, None), 200, "no browser");
}

#[test]
fn a_rollout_moves_users_and_never_back_when_it_is_raised() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    let users: Vec<String> = (0..40).map(|n| format!("roll_{n}")).collect();
    for user in &users {
        js.sign_on(user, &bridge, user);
    }
    let inside = || -> Vec<String> {
        let sessions = bridge.admin(Method::GET, "/admin/sessions", None).1;
        let sessions = sessions["sessions"].as_array().unwrap().iter();
        let live = sessions.filter(|session| session["stage"] == "live");
        let mut users: Vec<String> = live.map(|session| session["user"].as_str().unwrap().to_owned()).collect();
        users.sort();
        users
    };
    let mut before = Vec::new();
    assert_eq!(inside().len(), 40);
    for percent in [1, 5, 25, 100] {
        let body = json!({"rollout": {"percent": percent}, "actor": "test", "reason": "rollout"});
        let (status, view) = bridge.admin(Method::PUT, "/admin/flag", Some(&body));
        assert_eq!((status, &view["rollout"]["percent"].as_f64()), (200, &Some(f64::from(percent))), "{view}");
        let now = inside();
        assert!(before.iter().all(|user| now.contains(user)), "{percent}: nobody moves back");
        before = now;
    }
    assert_eq!(before.len(), 40);
    let body = json!({"rollout": {"percent": 0, "allow": ["roll_7"]}, "actor": "test", "reason": "rollout"});
    assert_eq!(bridge.admin(Method::PUT, "/admin/flag", Some(&body)).0, 200);
    assert_eq!(inside(), ["roll_7"]);
}

#[test]
fn a_flip_without_a_broker_is_refused_and_a_second_one_meanwhile_too() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").rabbit("amqp://127.0.0.1:1").env("BRIDGE_FLAG__FLIP_TIMEOUT", "6s").start();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "nobroker_a");
    let (status, answer) = bridge.set("shadow", &json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("preflight_failed")), "{answer}");
    let failed: Vec<_> =
        answer["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert!(failed.iter().any(|check| check["name"] == "broker_reachable" && check["remedy"] != ""), "{answer}");
    let (code, out, err) = cli(&bridge, &["flag", "set", "shadow", "--actor", "a", "--reason", "r"]);
    assert_eq!(code, Some(3), "{out}{err}");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| bridge.set("shadow", &json!({"force": true, "reason": "the first"})));
        eventually("warming", s(3), || (bridge.flag()["transition"]["phase"] == "warming").then_some(()));
        let (status, second) = bridge.set("shadow", &json!({"force": true}));
        assert_eq!(
            (status, &second["error"], &second["reason"]),
            (409, &json!("flip_in_progress"), &json!("the first"))
        );
        let rollout = json!({"rollout": {"percent": 50}, "actor": "a", "reason": "a rollout alone goes nowhere"});
        let (status, second) = bridge.admin(Method::PUT, "/admin/flag", Some(&rollout));
        assert_eq!((status, &second["error"]), (409, &json!("flip_in_progress")), "{second}");
        let (status, view) = bridge.rollback();
        assert_eq!((status, &view["stage"]), (200, &json!("legacy")));
        let (status, answer) = first.join().unwrap();
        assert_eq!((status, &answer["error"]), (409, &json!("superseded")), "{answer}");
    });
    let (status, answer) = bridge.set("shadow", &json!({"force": true}));
    assert_eq!((status, &answer["error"]), (504, &json!("flip_timeout")), "{answer}");
    assert_eq!(bridge.flag()["stage"], "legacy");
    let (code, out, _) = cli(&bridge, &["flag", "show", "--node", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(4));
    assert!(out.contains("legacy") && out.contains("UNREACHABLE"), "{out}");
}

#[test]
fn a_node_that_dies_in_a_flip_is_named_and_the_others_go_back() {
    let world = World::shared(StandInOptions::default());
    // A broker that takes the connection and says nothing: this node goes on warming.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = format!("amqp://127.0.0.1:{}", mute.local_addr().unwrap().port());
    let state = tempfile::tempdir().unwrap();
    let kept = state.path().to_owned();
    let dying = world.setup("legacy").rabbit(&broker).state(state).start();
    let other = world.setup("legacy").start();
    let set = ["flag", "set", "shadow", "--force", "--actor", "a", "--reason", "r", "--node", &dying.admin];
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| cli(&other, &set));
        eventually("warming", s(20), || (dying.flag()["transition"]["phase"] == "warming").then_some(()));
        eventually("moved", s(10), || (other.flag()["stage"] == "shadow").then_some(()));
        dying.signal("-KILL");
        let (code, out, err) = moving.join().unwrap();
        assert_eq!(code, Some(4), "{out}{err}");
        assert!(err.contains(&dying.admin) && err.contains("went back to where they were"), "{err}");
        assert!(out.contains("UNREACHABLE") && out.contains("legacy"), "{out}");
        assert_eq!(other.flag()["stage"], "legacy");
    });
    let copy = tempfile::tempdir().unwrap();
    for name in ["flag.json", "audit.jsonl"] {
        if let Ok(text) = std::fs::read(kept.join(name)) {
            std::fs::write(copy.path().join(name), text).unwrap();
        }
    }
    let again = world.setup("legacy").rabbit(&broker).state(copy).start();
    assert_eq!(again.flag()["stage"], "legacy", "what was not reached is not on its disk");
}
