//! Who hears legacy, and what preflight says of who would not.

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn contents(js: &Js, id: &str) -> Vec<Value> {
    js.got(id, "message:new").iter().map(|data| data["content"].clone()).collect()
}

#[test]
fn who_never_joins_hears_legacy_as_a_member_and_is_compared() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["aud_a", "aud_b"]);
    let bridge = world.setup("legacy").env("BRIDGE_LEGACY__AUDIENCE", "members").start();
    let mut js = Js::start();
    for user in ["aud_a", "aud_b", "aud_x"] {
        js.sign_on(user, &bridge, user);
    }
    bridge.say("aud_a", &dialog, "in legacy");
    for user in ["aud_a", "aud_b"] {
        js.wait_count(user, "message:new", 1, s(20));
    }
    assert_eq!(bridge.set("shadow", &json!({})).0, 200);
    for n in 0..5 {
        bridge.say("aud_b", &dialog, &format!("in shadow {n}"));
    }
    js.wait_count("aud_a", "message:new", 6, s(20));
    let summary = eventually("compared", s(30), || {
        let summary = bridge.summary();
        (summary["classes"]["match"] == 10).then_some(summary)
    });
    // The update of the message before the flip may have come after it: of that nothing can be said.
    let in_flip = summary["causes"]["indeterminate/stage_changed"].as_u64().unwrap_or(0);
    assert!(in_flip <= 2, "{summary}");
    assert_eq!(summary["closed"], 10 + in_flip, "{summary}");
    assert_eq!(bridge.set("live", &json!({})).0, 200);
    bridge.say("aud_b", &dialog, "in live");
    js.wait_count("aud_a", "update", 1, s(20));
    assert_eq!(bridge.rollback().0, 200);
    bridge.say("aud_b", &dialog, "after a rollback");
    // The path that goes away goes on for a window: whichever copy comes first is the one.
    eventually("heard after the rollback", s(20), || {
        let heard = js.got("aud_a", "message:new").len() + js.got("aud_a", "update").len();
        (heard >= 8).then_some(())
    });
    assert_eq!(contents(&js, "aud_x"), Vec::<Value>::new(), "who is no member hears nothing");
    // A member without updates is missed on the other side, whether it joined or not.
    assert_eq!(bridge.set("shadow", &json!({})).0, 200);
    world.chat3.set_faults(Faults { silent_users: vec!["aud_b".into()], ..Faults::default() });
    bridge.say("aud_a", &dialog, "half of it");
    eventually("missed", s(30), || {
        (bridge.summary()["causes"]["missing_in_rabbitmq/partial_fanout"] == 1).then_some(())
    });
}

#[test]
fn a_chat3_that_says_late_who_is_a_member_holds_nobody_up_who_joined_and_leaves_nobody_out() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["late_m", "late_n"]);
    let bridge = world.setup("legacy").env("BRIDGE_LEGACY__AUDIENCE", "members").start();
    world.chat3.set_faults(Faults { members_late_ms: 4_000, ..Faults::default() });
    let mut js = Js::start();
    js.sign_on("joined", &bridge, "late_m");
    js.join("joined", &dialog);
    js.sign_on("not joined", &bridge, "late_n");
    bridge.say("late_m", &dialog, "late");
    js.wait_count("joined", "message:new", 1, s(20));
    js.wait_count("not joined", "message:new", 1, s(20));
    std::thread::sleep(s(1));
    assert_eq!(contents(&js, "joined").len(), 1, "once");
    let (_, metrics) = bridge.admin(Method::GET, "/metrics", None);
    let late = "bridge_audience_incomplete_total{cause=\"late\"} 1";
    assert!(metrics.as_str().is_some_and(|text| text.contains(late)), "it did not wait for the answer");
}

#[test]
fn who_is_invited_hears_the_next_message_without_joining() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["inv_m"]);
    let bridge = world.setup("legacy").env("BRIDGE_LEGACY__AUDIENCE", "members").start();
    let mut js = Js::start();
    js.sign_on("member", &bridge, "inv_m");
    js.sign_on("guest", &bridge, "inv_n");
    bridge.say("inv_m", &dialog, "before");
    js.wait_count("member", "message:new", 1, s(20));
    world.chat3.add_member(&dialog, "inv_n");
    std::thread::sleep(s(2));
    bridge.say("inv_m", &dialog, "welcome");
    js.wait_count("guest", "message:new", 1, s(3));
    js.wait_count("member", "message:new", 2, s(20));
    bridge.say("inv_m", &dialog, "and again");
    js.wait_count("guest", "message:new", 2, s(20));
    js.wait_count("member", "message:new", 3, s(20));
    std::thread::sleep(s(1));
    assert_eq!(contents(&js, "guest"), ["welcome", "and again"]);
    assert_eq!(contents(&js, "member"), ["before", "welcome", "and again"], "once each");
}

fn check(bridge: &Bridge, to: &str, name: &str) -> Value {
    let report = bridge.admin(Method::GET, &format!("/admin/preflight?to={to}"), None).1;
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name}: {report}"))
}

#[test]
fn preflight_sees_who_joins_nothing_who_declared_nothing_and_who_understands_nothing() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["pre_a"]);
    let bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "pre_a");
    let rooms = check(&bridge, "live", "rooms");
    assert_eq!(rooms["ok"], true);
    assert!(
        rooms["detail"].as_str().unwrap().starts_with("1 of 1 connected sockets have joined no dialog"),
        "{rooms}"
    );
    assert!(rooms["remedy"].as_str().unwrap().contains("legacy.audience"), "{rooms}");
    let warnings = || bridge.admin(Method::GET, "/admin/status", None).1["warnings"].clone();
    assert!(warnings()[0].as_str().unwrap().starts_with("1 of 1 connected sockets"), "{}", warnings());
    js.join("a", &dialog);
    assert_eq!(check(&bridge, "shadow", "rooms")["remedy"], "");
    assert_eq!(warnings(), serde_json::json!([]));
    let with = |accepts: Value| json!({"token": crate::kit::bridge::token("pre_a"), "accepts": accepts});
    js.sign_on_with("update", &bridge, with(json!(["update"])));
    js.sign_on_with("old", &bridge, with(json!([])));
    let clients = check(&bridge, "live", "clients");
    assert_eq!(clients["ok"], true, "{clients}");
    let detail = clients["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 3 sockets declared `update`, 1 an old form, 1 nothing"), "{detail}");
    assert!(clients["remedy"].as_str().unwrap().contains("client.undeclared"), "{clients}");
    js.sign_on_with("other", &bridge, with(json!(["something:else"])));
    let clients = check(&bridge, "live", "clients");
    assert_eq!(clients["ok"], false, "{clients}");
    js.act("other", "close", &json!({}));
    eventually("gone", s(20), || (check(&bridge, "live", "clients")["ok"] == true).then_some(()));
}
