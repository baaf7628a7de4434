//! The broker goes away and comes back.

use std::time::Instant;

use serde_json::json;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, s};

#[test]
fn two_hundred_users_are_back_within_five_seconds_of_the_brokers_return() {
    let mut rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let bridge = world.setup("live").start().ready();
    let users: Vec<String> = (0..200).map(|n| format!("out_{n}")).collect();
    let mut js = Js::start();
    for user in &users {
        let auth = json!({"auth": {"token": crate::kit::bridge::token(user)}, "transports": ["websocket"]});
        js.connect(user, &bridge.http, &auth);
    }
    for user in &users {
        assert_eq!(js.wait_for(user, "authenticated", s(30))[0]["ready"], true);
    }
    rabbit.kill();
    let degraded = |bridge: &Bridge| {
        let (status, report) = bridge.get("/readyz");
        assert_eq!(status, 200, "all instances have this broker: {report}");
        report["degraded"].as_array().cloned().unwrap_or_default()
    };
    eventually("degraded", s(10), || degraded(&bridge).contains(&json!("rabbitmq")).then_some(()));
    assert_eq!(bridge.counted("bridge_broker_reconnects_total"), 0, "neither the first session nor a try is one");
    rabbit.restart();
    world.connect();
    let back = Instant::now();
    eventually("whole again", s(5), || degraded(&bridge).is_empty().then_some(()));
    println!("200 queues live {:?} after the broker's return", back.elapsed());
    eventually("each session that came back is counted", s(10), || {
        let sessions = bridge.log().matches("broker session is up").count();
        (sessions > 1 && bridge.counted("bridge_broker_reconnects_total") == sessions as u64 - 1).then_some(())
    });
    for user in &users {
        world.update(user, "message.create", &format!("msg_{user}"));
    }
    for user in &users {
        js.wait_count(user, "update", 1, s(10));
        assert_eq!(js.wait_for(user, "bridge:resync", s(5))[0]["reason"], "broker_lost");
        assert!(js.got(user, "disconnect").is_empty(), "nobody was disconnected");
    }
}

#[test]
fn a_dead_broker_and_a_rollback_lose_and_double_nothing() {
    let mut rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::alone());
    let dialog = world.chat3.add_dialog(&["dead_a", "dead_b"]);
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    for user in ["dead_a", "dead_b"] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialog);
    }
    let mut posted = Vec::new();
    let mut say = |text: String| posted.push(bridge.say("dead_a", &dialog, &text)["messageId"].clone());
    (0..10).for_each(|n| say(format!("before {n}")));
    rabbit.kill();
    (0..10).for_each(|n| say(format!("while it is dead {n}")));
    let limit = bridge.at_its_pace(s(2));
    let started = Instant::now();
    let (status, view) = bridge.rollback();
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
    assert_eq!((status, &view["stage"], &view["persisted"]), (200, &json!("legacy"), &json!(true)), "{view}");
    assert_eq!(view["transition"]["phase"], "draining");
    (0..10).for_each(|n| say(format!("after {n}")));
    rabbit.restart();
    world.connect();
    for stage in ["shadow", "live"] {
        let moved = eventually(stage, s(20), || {
            let (status, view) = bridge.set(stage, &json!({}));
            (status == 200).then_some(view)
        });
        assert_eq!(moved["stage"], stage);
    }
    (0..10).for_each(|n| say(format!("again {n}")));
    let ids = |js: &Js, user: &str| {
        let mut got: Vec<_> = js.got(user, "message:new").iter().map(|data| data["messageId"].clone()).collect();
        got.extend(js.got(user, "update").iter().map(|update| update["entityId"].clone()));
        got
    };
    for user in ["dead_a", "dead_b"] {
        eventually("all delivered", s(10), || (ids(&js, user).len() >= posted.len()).then_some(()));
    }
    // Another copy would come now.
    std::thread::sleep(s(3));
    for user in ["dead_a", "dead_b"] {
        let got = ids(&js, user);
        for id in &posted {
            assert_eq!(got.iter().filter(|other| *other == id).count(), 1, "{user} {id}");
        }
        assert_eq!(got.len(), posted.len());
        assert!(js.got(user, "disconnect").is_empty());
    }
}

#[test]
fn a_queue_that_is_deleted_is_made_anew_and_an_exchange_that_comes_late_is_found() {
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "del_a");
    let name = rabbit.queues_of("del_a")[0][0].clone();
    rabbit.ctl(&["delete_queue", &name]);
    assert_eq!(js.wait_for("a", "bridge:resync", s(8))[0]["reason"], "queue_lost");
    let now = rabbit.queues_of("del_a");
    assert!(now.len() == 1 && now[0][0] != name, "{now:?}");
    world.update("del_a", "message.create", "msg_1");
    js.wait_count("a", "update", 1, s(5));

    // An exchange that is deleted and declared anew between two looks has lost its bindings.
    rabbit.ctl(&["eval", &delete("chat3_updates")]);
    rabbit.ctl(&["eval", &declare("chat3_updates")]);
    assert_eq!(js.wait_count("a", "bridge:resync", 2, s(8))[1]["reason"], "queue_lost");
    world.connect();
    world.update("del_a", "message.create", "msg_2");
    js.wait_count("a", "update", 2, s(5));
    assert_eq!(bridge.get("/readyz").0, 200);

    let missing = world
        .setup("live")
        .env("RABBITMQ_UPDATES_EXCHANGE", "comes_late")
        .env("BRIDGE_HTTP__READY_NEEDS_BROKER", "true")
        .env("BRIDGE_FLAG__RESCUE", "false")
        .start();
    let report = eventually("exchange missing", s(8), || {
        let report = missing.get("/readyz").1;
        report["not_ready"].to_string().contains("exchange").then_some(report)
    });
    assert_eq!(report["ready"], false);
    assert!(!report["not_ready"].to_string().contains("rabbitmq"), "the broker is there: {report}");
    rabbit.ctl(&["eval", &declare("comes_late")]);
    eventually("ready", s(8), || (missing.get("/readyz").0 == 200).then_some(()));
}

fn declare(exchange: &str) -> String {
    let name = format!(r#"rabbit_misc:r(<<"/">>, exchange, <<"{exchange}">>)"#);
    format!(r#"rabbit_exchange:declare({name}, topic, true, false, false, [], <<"t">>)."#)
}

fn delete(exchange: &str) -> String {
    format!(r#"rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, <<"{exchange}">>), false, <<"t">>)."#)
}

#[test]
fn the_guard_acts_once_and_a_forward_move_by_hand_arms_it_again() {
    let mut rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let guarded = [("BRIDGE_GUARD__MODE", "act"), ("BRIDGE_GUARD__BROKER_DOWN", "2s")];
    let setup = guarded.into_iter().fold(world.setup("live"), |setup, (name, value)| setup.env(name, value));
    let bridge = setup.start().ready();
    let mut js = Js::start();
    js.sign_on("guarded_a", &bridge, "guarded_a");
    for round in 1..=2 {
        rabbit.kill();
        eventually("rolled back", s(15), || (bridge.flag()["stage"] == "legacy").then_some(()));
        let view = bridge.flag();
        assert_eq!((&view["source"], &view["actor"]), (&json!("guard"), &json!("guard")), "{view}");
        let audit = bridge.admin(reqwest::Method::GET, "/admin/audit", None).1;
        let acts = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["source"] == "guard");
        let acts: Vec<_> = acts.collect();
        assert_eq!(acts.len(), round, "{audit}");
        assert_eq!((&acts[0]["automatic"], &acts[0]["to"]), (&json!(true), &json!("legacy")));
        assert!(acts[0]["reason"].as_str().unwrap().contains("the broker has been gone"), "{audit}");
        rabbit.restart();
        world.connect();
        for stage in ["shadow", "live"] {
            eventually(stage, s(20), || (bridge.set(stage, &json!({})).0 == 200).then_some(()));
        }
    }
}

#[test]
fn what_is_refused_to_many_users_is_said_once_for_each_kind() {
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let bridge = world.setup("shadow").start().ready();
    let permit = |configure: &str| rabbit.ctl(&["set_permissions", "-p", "/", "guest", configure, ".*", ".*"]);
    permit("^bridge_.*");
    let mut js = Js::start();
    let users: Vec<String> = (0..150).map(|n| format!("refused_{n}")).collect();
    for user in &users {
        let auth = json!({"auth": {"token": crate::kit::bridge::token(user)}, "transports": ["websocket"]});
        js.connect(user, &bridge.http, &auth);
    }
    for user in &users {
        js.wait_for(user, "authenticated", s(30));
    }
    // Each is tried again every second.
    let tries = || bridge.metric("bridge_queue_failed_total");
    let begun = (tries(), bridge.log().lines().count());
    eventually("three more tries of each", s(60), || (tries() >= begun.0 + 450.0).then_some(()));
    let log = bridge.log();
    let lines: Vec<&str> = log.lines().skip(begun.1).collect();
    assert!(lines.len() <= 10, "{} lines:\n{}", lines.len(), lines.join("\n"));
    assert!(log.contains("ACCESS_REFUSED"), "{log}");
    assert!(log.lines().count() <= 40, "{log}");
    permit(".*");
    eventually("all live", s(60), || (bridge.get("/readyz").1["degraded"] == json!([])).then_some(()));
    // So are the queues that go.
    let before = bridge.log().lines().count();
    rabbit.ctl(&["eval", r#"[rabbit_amqqueue:delete(Q, false, false, <<"t">>) || Q <- rabbit_amqqueue:list()]."#]);
    eventually("all lost", s(30), || (bridge.metric("bridge_queue_lost_total") >= 150.0).then_some(()));
    eventually("all live", s(60), || (bridge.get("/readyz").1["degraded"] == json!([])).then_some(()));
    let log = bridge.log();
    let lines: Vec<&str> = log.lines().skip(before).collect();
    assert!(lines.len() <= 10, "{} lines:\n{}", lines.len(), lines.join("\n"));
}
