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
    // Somebody may see what people wrote, for some time: then both copies stand beside each other.
    let why = json!({"actor": "test", "reason": "a mismatch", "for": "5m"});
    let (status, answer) = bridge.admin(reqwest::Method::POST, "/admin/shadow/reveal", Some(&why));
    assert_eq!(status, 200, "{answer}");
    let dialog = seen["json"]["dialog"].as_str().expect("a dialog");
    bridge.say("con_find_a", dialog, "once more #altered");
    let path = "/admin/shadow/records?class=payload_mismatch&order=desc";
    let record = eventually("the second one", s(15), || {
        let page = bridge.admin(reqwest::Method::GET, path, None).1;
        let first = page["records"][0].clone();
        (first["id"] != seen["json"]["id"]).then_some(first)
    });
    let mut settings = settings(&bridge);
    settings["id"] = record["id"].clone();
    let end = person("console.mjs", "revealed", &settings, |_| ());
    nothing_found(&end);
    let content = &end["fields"]["content"];
    assert_eq!(content["differs"], true, "{end}");
    assert!(content["sides"][0].as_str().is_some_and(|text| text.contains("once more #altered")), "{end}");
    assert!(content["sides"][1].as_str().is_some_and(|text| text.contains("(altered)")), "{end}");
    assert_eq!(end["fields"]["senderId"]["differs"], false, "{end}");
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
fn a_dead_broker_is_said_and_the_fleet_is_rolled_back_by_one_press() {
    if !has_browser() {
        return;
    }
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let other = world.setup("live").start().ready();
    let bridge = world.setup("live").env("BRIDGE_FLEET__NODES", &other.admin).start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "con_inc_a");
    let settings = settings(&bridge);
    let end = person("console.mjs", "incident", &settings, |what| match what {
        "kill the broker" => rabbit.kill(),
        "stop the server" => {
            assert_eq!([&bridge, &other].map(|one| one.flag()["stage"].clone()), ["legacy", "legacy"]);
            bridge.signal("-STOP");
        }
        unknown => panic!("asked for {unknown}"),
    });
    bridge.signal("-CONT");
    nothing_found(&end);
    println!("banner after {} ms, rollback answered after {} ms", end["banner_ms"], end["rollback_ms"]);
    let pace = u64::try_from(bridge.at_its_pace(s(5)).as_millis()).unwrap_or(u64::MAX);
    assert!(end["banner_ms"].as_u64() <= Some(pace), "{end}");
    assert_eq!(end["rails"], json!(["legacy", "legacy"]), "the whole fleet");
}

#[test]
fn a_record_is_found_by_its_id_when_only_the_log_has_it() {
    let (world, bridge, js) = planted("log");
    let get = |bridge: &Bridge, query: &str| {
        let (status, page) = bridge.admin(reqwest::Method::GET, &format!("/admin/shadow/records?{query}"), None);
        assert_eq!(status, 200, "{page}");
        page["records"].as_array().cloned().unwrap_or_default()
    };
    let bad = get(&bridge, "bad=true").remove(0);
    let id = bad["id"].as_str().expect("an id").to_owned();
    drop(js);
    let state = bridge.stop();
    let again = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "1").state(state).start();
    assert!(get(&again, "bad=true").is_empty(), "nothing of before is in memory");
    assert_eq!(get(&again, &format!("id={id}")), [bad]);
    assert!(get(&again, "id=00000000000000000000000000000000").is_empty());
    assert!(get(&again, &format!("id={id}&class=leak")).is_empty());
}
