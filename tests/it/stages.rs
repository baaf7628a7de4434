//! What is delivered in each stage.

use serde_json::json;
use updates_bridge::demo::{StandInOptions, Version};

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn conversation(stage: &str, version: Version, event: &str) -> (World, Bridge, Js) {
    let world = World::shared(StandInOptions { version, ..StandInOptions::default() });
    let [a, b] = ["a", "b"].map(|who| format!("st_{stage}_{version}_{who}").replace('-', "_"));
    let dialog = world.chat3.add_dialog(&[&a, &b]);
    let bridge = world.setup(stage).start().ready();
    let mut js = Js::start();
    for user in [&a, &b] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialog);
    }
    for n in 0..5 {
        bridge.say(&a, &dialog, &format!("message {n}"));
    }
    let creations = |js: &Js, user: &str| {
        let got = js.got(user, event);
        let creation = |data: &serde_json::Value| match data["updateType"].as_str() {
            None => true,
            Some(kind) => kind == "update.message",
        };
        got.into_iter().filter(creation).count()
    };
    for user in [&a, &b] {
        eventually("five messages", s(5), || (creations(&js, user) == 5).then_some(()));
    }
    std::thread::sleep(s(3));
    for user in [&a, &b] {
        assert_eq!(creations(&js, user), 5, "exactly the authoritative copy");
        let other = if event == "update" { "message:new" } else { "update" };
        assert_eq!(js.got(user, other), Vec::<serde_json::Value>::new(), "nothing of the other path");
        assert!(js.got(user, "bridge:resync").is_empty());
    }
    (world, bridge, js)
}

/// The summary once so many units match, and none is open.
fn matches(bridge: &Bridge, count: u64) -> serde_json::Value {
    eventually("matches", s(10), || {
        let summary = bridge.summary();
        (summary["classes"]["match"] == count && summary["open"] == 0).then_some(summary)
    })
}

#[test]
fn shadow_delivers_legacy_and_every_pair_matches() {
    for version in [Version::November5, Version::November26, Version::June] {
        let (_world, bridge, _js) = conversation("shadow", version, "message:new");
        let summary = matches(&bridge, 10);
        assert_eq!(summary["opened"].as_u64(), summary["closed"].as_u64(), "{summary}");
        for (class, count) in summary["classes"].as_object().unwrap() {
            let may_be = ["match", "missing_in_legacy_expected"].contains(&class.as_str());
            assert!(may_be || *count == json!(0), "{version}: {class} {count}");
        }
    }
}

#[test]
fn live_delivers_updates_and_compares() {
    let (_world, bridge, _js) = conversation("live", Version::November26, "update");
    matches(&bridge, 10);
}

#[test]
fn complete_delivers_updates_and_compares_nothing() {
    let (_world, bridge, _js) = conversation("complete", Version::November26, "update");
    assert_eq!(bridge.summary()["opened"], 0);
}

#[test]
fn a_client_that_does_not_understand_update_gets_the_old_form() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["old_a", "old_b"]);
    let bridge = world.setup("live").env("BRIDGE_CLIENT__UNDECLARED", "legacy").start().ready();
    let mut js = Js::start();
    js.sign_on("old", &bridge, "old_a");
    js.sign_on_with("new", &bridge, json!({"token": crate::kit::bridge::token("old_a"), "accepts": ["update"]}));
    let data = bridge.say("old_b", &dialog, "hello");
    assert_eq!(js.wait_count("old", "message:new", 1, s(5))[0]["messageId"], data["messageId"]);
    js.wait_count("new", "update", 1, s(5));
    assert!(js.got("old", "update").is_empty() && js.got("new", "message:new").is_empty());
}
