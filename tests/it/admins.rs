//! Admin tokens with names and roles.

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use super::kit::bridge::{Bridge, Setup};
use super::kit::world::World;

const QA: &str = "the token of quality assurance";
const OPS: &str = "the token of the operators";

fn call(bridge: &Bridge, method: Method, path: &str, token: &str, body: &Value) -> (u16, Value) {
    bridge.admin_as(Some(token), method, path, Some(body))
}

#[test]
fn a_named_token_is_the_audits_actor_and_a_reader_changes_nothing() {
    let world = World::alone(StandInOptions::default());
    let tokens =
        json!([{"name": "qa", "token": QA, "role": "read"}, {"name": "ops", "token": OPS, "role": "operate"}]);
    let bridge = Setup::new("legacy", &world.chat3.url()).env("BRIDGE_ADMIN__TOKENS", tokens.to_string()).start();
    for path in
        ["/admin/flag", "/admin/status", "/admin/audit", "/admin/sessions", "/metrics", "/admin/shadow/summary"]
    {
        let (status, answer) = bridge.admin_as(Some(QA), Method::GET, path, None);
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let body = json!({"actor": "anna", "reason": "a try", "rollout": {"percent": 5.0}});
    for (method, path) in [
        (Method::PUT, "/admin/flag"),
        (Method::POST, "/admin/rollback"),
        (Method::POST, "/admin/drill"),
        (Method::POST, "/admin/shadow/reset"),
        (Method::PUT, "/admin/fleet/flag"),
        (Method::POST, "/admin/fleet/rollback"),
        (Method::DELETE, "/admin/flag"),
        (Method::POST, "/admin/nowhere"),
    ] {
        let (status, answer) = call(&bridge, method, path, QA, &body);
        assert_eq!((status, &answer["error"]), (403, &json!("forbidden")), "{path}");
    }
    for token in [None, Some(""), Some("another token of some length"), Some(&QA[1..])] {
        let (status, answer) = bridge.admin_as(token, Method::GET, "/admin/flag", None);
        assert_eq!((status, answer), (401, json!({"error": "unauthorized"})), "{token:?}");
    }
    assert_eq!(call(&bridge, Method::PUT, "/admin/flag", OPS, &body).0, 200);
    assert_eq!(
        bridge.admin(Method::POST, "/admin/shadow/reset", Some(&json!({"actor": "boris", "reason": "r"}))).0,
        200
    );
    assert_eq!(
        call(&bridge, Method::POST, "/admin/shadow/reset", OPS, &json!({"actor": "c", "reason": "r"})).0,
        200
    );
    let forged = json!({"actor": "anna", "on_behalf_of": "mallory", "reason": "x", "rollout": {"percent": 6.0}});
    assert_eq!(call(&bridge, Method::PUT, "/admin/fleet/flag", OPS, &forged).0, 200);
    let entries = bridge.admin(Method::GET, "/admin/audit", None).1["entries"].clone();
    let who: Vec<(Value, Value)> = entries
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["actor"].clone(), entry["on_behalf_of"].clone()))
        .collect();
    let expected = [("ops", json!("anna")), ("ops", json!("c")), ("boris", Value::Null), ("ops", json!("anna"))];
    assert_eq!(who, expected.map(|(actor, whom)| (json!(actor), whom)));
    let verification = bridge.admin(Method::GET, "/admin/audit", None).1["verification"].clone();
    assert_eq!(verification["ok"], true, "{verification}");
    assert_eq!(bridge.flag()["actor"], "ops");
    for secret in [QA, OPS] {
        assert!(!bridge.log().contains(secret), "it stands in the log");
    }
}
