//! The console, as people use it: a headless browser on every page.

use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, TOKEN};
use crate::kit::js::Js;
use crate::kit::page::{has_browser, person};
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, s};

fn settings(bridge: &Bridge) -> Value {
    json!({"url": format!("{}/console", bridge.admin), "token": TOKEN, "shots": std::env::var("SHOTS").ok()})
}

/// A shadow with two users who talk, and a message that was altered on its way.
fn planted(name: &str) -> (World, Bridge, Js) {
    let world = World::shared(StandInOptions { plants: true, ..StandInOptions::default() });
    let [a, b] = ["a", "b"].map(|who| format!("con_{name}_{who}"));
    let dialog = world.chat3.add_dialog(&[&a, &b]);
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "1").start().ready();
    let mut js = Js::start();
    for user in [&a, &b] {
        js.sign_on_with(user, &bridge, json!({"token": crate::kit::bridge::token(user), "accepts": ["update"]}));
        js.join(user, &dialog);
    }
    for n in 0..10 {
        bridge.say(&a, &dialog, &format!("message {n}"));
    }
    bridge.say(&a, &dialog, "something #altered");
    eventually("the mismatch", s(15), || (bridge.summary()["classes"]["payload_mismatch"] == 1).then_some(()));
    (world, bridge, js)
}

fn nothing_found(end: &Value) {
    assert_eq!(end["found"], json!([]), "errors, outside requests or serious findings");
}

#[test]
fn every_page_is_whole_in_light_dark_and_on_a_phone() {
    if !has_browser() {
        return;
    }
    let (_world, bridge, _js) = planted("walk");
    bridge.set("shadow", &json!({"rollout": {"percent": 50}}));
    nothing_found(&person("console.mjs", "walk", &settings(&bridge), |_| ()));
    let mut signs_in = settings(&bridge);
    signs_in["given"] = signs_in["token"].take();
    person("console.mjs", "signIn", &signs_in, |_| ());
}

#[test]
fn a_planted_mismatch_is_three_clicks_away_and_its_link_can_be_handed_on() {
    if !has_browser() {
        return;
    }
    let (_world, bridge, _js) = planted("find");
    let end = person("console.mjs", "find", &settings(&bridge), |_| ());
    nothing_found(&end);
    assert!(end["clicks"].as_u64() <= Some(3), "{end}");
    let seen = &end["seen"];
    assert_eq!(seen["sides"], json!(["field", "legacy", "rabbitmq"]));
    assert_eq!(seen["json"]["diff"][0]["path"], "/content", "{seen}");
    assert_eq!(seen["differs"].as_array().map(Vec::len), Some(2), "{seen}");
    assert!(seen["redaction"].as_str().is_some_and(|text| text.contains("redacted")), "{seen}");
}

#[test]
fn forward_takes_a_typed_name_and_a_press_and_enter_never_flips() {
    if !has_browser() {
        return;
    }
    let (_world, bridge, _js) = planted("flip");
    // A mismatch is no reason to refuse here; NOT_SAFE would be one.
    let mut settings = settings(&bridge);
    settings["to"] = json!("live");
    bridge.admin(
        reqwest::Method::POST,
        "/admin/shadow/reset",
        Some(&json!({"actor": "test", "reason": "planted"})),
    );
    let end = person("console.mjs", "flip", &settings, |_| ());
    nothing_found(&end);
    let plan = end["plan"].as_str().unwrap_or_default();
    assert!(plan.contains("2 users with 2 sockets: 2 would get their messages from RabbitMQ"), "{plan}");
    assert!(plan.contains("every user's gate takes live instead of shadow"), "{plan}");
    let audit = end["audit"].as_str().unwrap_or_default();
    assert!(
        audit.contains("✓ Verified") && audit.contains("on call") && audit.contains("tried in a browser"),
        "{audit}"
    );
    assert_eq!(bridge.flag()["stage"], "shadow");
}

#[test]
fn a_dead_broker_is_said_and_everything_is_rolled_back_by_one_press() {
    if !has_browser() {
        return;
    }
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "con_inc_a");
    let settings = settings(&bridge);
    let end = person("console.mjs", "incident", &settings, |what| match what {
        "kill the broker" => rabbit.kill(),
        "stop the server" => {
            assert_eq!(bridge.flag()["stage"], "legacy");
            bridge.signal("-STOP");
        }
        other => panic!("asked for {other}"),
    });
    bridge.signal("-CONT");
    nothing_found(&end);
    println!("banner after {} ms, rollback answered after {} ms", end["banner_ms"], end["rollback_ms"]);
    let pace = u64::try_from(bridge.at_its_pace(s(5)).as_millis()).unwrap_or(u64::MAX);
    assert!(end["banner_ms"].as_u64() <= Some(pace), "{end}");
    assert_eq!(end["rails"], json!(["legacy"]));
}
