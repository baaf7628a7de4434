//! Tabs of one user, and what the broker shows of them.

use serde_json::json;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::js::Js;
use crate::kit::rabbit::shared;
use crate::kit::world::World;
use crate::kit::{eventually, s};

#[test]
fn two_tabs_share_a_queue_and_closing_one_leaves_the_other_whole() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["tabs_a", "tabs_b"]);
    let mut bridge = world.setup("live").env("BRIDGE_RABBITMQ__LINGER", "1s").start().ready();
    let mut js = Js::start();
    js.sign_on("tab 1", &bridge, "tabs_a");
    js.sign_on("tab 2", &bridge, "tabs_a");
    let queues = shared(|node| node.queues_of("tabs_a"));
    assert_eq!(queues.len(), 1, "{queues:?}");
    assert_eq!(queues[0][1..], ["false", "true", "true"], "durable, auto_delete, exclusive");
    for n in 0..4 {
        bridge.say("tabs_b", &dialog, &format!("both {n}"));
    }
    js.wait_count("tab 1", "update", 4, s(5));
    js.wait_count("tab 2", "update", 4, s(5));
    js.act("tab 1", "close", &json!({}));
    for n in 0..3 {
        bridge.say("tabs_b", &dialog, &format!("one {n}"));
    }
    assert_eq!(js.wait_count("tab 2", "update", 7, s(5)).len(), 7);
    js.act("tab 2", "close", &json!({}));
    eventually("no queue", s(8), || shared(|node| node.queues_of("tabs_a")).is_empty().then_some(()));
    js.sign_on("tab 3", &bridge, "tabs_a");
    assert_eq!(shared(|node| node.queues_of("tabs_a")).len(), 1);
    bridge.signal("-TERM");
    assert_eq!(bridge.wait(s(5)), Some(0), "{}", bridge.log());
    eventually("no queue after SIGTERM", s(2), || {
        shared(|node| node.queues_of("tabs_a")).is_empty().then_some(())
    });
}

#[test]
fn a_killed_instance_leaves_no_queue() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "killed_a");
    assert_eq!(shared(|node| node.queues_of("killed_a")).len(), 1);
    bridge.signal("-KILL");
    eventually("no queue after SIGKILL", s(2), || {
        shared(|node| node.queues_of("killed_a")).is_empty().then_some(())
    });
}

#[test]
fn a_client_that_resumes_gets_what_it_missed_and_nothing_twice() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["resume_a", "resume_b"]);
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    let ack = js.sign_on("a", &bridge, "resume_a");
    js.join("a", &dialog);
    bridge.say("resume_b", &dialog, "before");
    let last = js.wait_count("a", "update", 1, s(5))[0]["entityId"].clone();
    let auth = json!({"token": crate::kit::bridge::token("resume_a"),
        "resume": {"token": ack["resume"], "last": last}});
    js.act("a", "auth", &json!({"auth": auth}));
    js.forget("a");
    js.act("a", "break", &json!({}));
    bridge.say("resume_b", &dialog, "while it was away");
    let again = js.wait_for("a", "authenticated", s(5))[0].clone();
    assert_eq!(again["recovered"], true, "{again}");
    bridge.say("resume_b", &dialog, "after");
    std::thread::sleep(s(1));
    let contents: Vec<_> =
        js.got("a", "update").iter().map(|update| update["data"]["message"]["content"].clone()).collect();
    assert_eq!(contents, ["while it was away", "after"]);

    let unknown =
        js.sign_on_with("b", &bridge, json!({"token": crate::kit::bridge::token("resume_b"), "resume": "x"}));
    assert_eq!((&unknown["ok"], &unknown["recovered"]), (&json!(true), &json!(false)));
    assert_eq!(js.wait_for("b", "bridge:resync", s(5))[0]["reason"], "resume_failed");
}

#[test]
fn a_token_works_again_unless_who_has_the_newer_one_is_there() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    let first = js.sign_on("a", &bridge, "again_a");
    js.act("a", "close", &json!({}));
    let auth = json!({"token": crate::kit::bridge::token("again_a"), "resume": first["resume"]});
    // As if the answer with the newer token had been lost, more than once.
    for name in ["b", "c", "d"] {
        std::thread::sleep(s(1) / 5);
        let resumed = js.sign_on_with(name, &bridge, auth.clone());
        assert_eq!(resumed["recovered"], true, "{name}: {resumed}");
        if name != "d" {
            js.act(name, "close", &json!({}));
        }
    }
    let stranger = js.sign_on_with("e", &bridge, auth);
    assert_eq!(stranger["recovered"], false, "who has the newer token is there: {stranger}");
    assert_eq!(js.wait_for("e", "bridge:resync", s(5))[0]["reason"], "resume_failed");
    assert!(js.got("d", "disconnect").is_empty(), "and stays");
}

#[test]
fn a_client_that_names_its_earlier_socket_after_the_handshake_gets_everything_once() {
    let world = World::shared(StandInOptions::default());
    let (one, two) = (world.chat3.add_dialog(&["late_a", "late_b"]), world.chat3.add_dialog(&["late_a"]));
    for (stage, event) in [("shadow", "message:new"), ("live", "update")] {
        let bridge = world.setup(stage).start().ready();
        let mut js = Js::start();
        let ack = js.sign_on("old", &bridge, "late_a");
        js.join("old", &one);
        js.act("old", "close", &json!({}));
        std::thread::sleep(s(1) / 5);
        bridge.say("late_b", &one, &format!("missed in {stage}"));
        // Its update is there by now, and kept for the old socket alone.
        std::thread::sleep(s(1) / 2);
        // The handshake signs it on already; then it remembers.
        js.sign_on("new", &bridge, "late_a");
        js.join("new", &two);
        bridge.say("late_a", &two, &format!("between in {stage}"));
        js.wait_count("new", event, 1, s(5));
        let token = crate::kit::bridge::token("late_a");
        let name = json!({"token": token, "resume": ack["resume"]});
        let resumed = js.call("new", "authenticate", std::slice::from_ref(&name));
        assert_eq!((&resumed["ok"], &resumed["recovered"]), (&json!(true), &json!(true)), "{resumed}");
        js.wait_count("new", event, 2, s(5));
        bridge.say("late_b", &one, &format!("after in {stage}"));
        bridge.say("late_a", &two, &format!("and here in {stage}"));
        js.wait_count("new", event, 4, s(5));
        std::thread::sleep(s(1) / 2);
        let got = js.got("new", event);
        let mut contents: Vec<&str> = got
            .iter()
            .map(|got| got.pointer("/data/message/content").unwrap_or(&got["content"]).as_str().unwrap())
            .collect();
        // Updates of two messages may overtake each other on their way here.
        contents.sort_unstable();
        let words = ["after", "and here", "between", "missed"].map(|word| format!("{word} in {stage}"));
        assert_eq!(contents, words, "once each");
        let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
        assert_eq!(sessions["sessions"][0]["sockets"].as_array().map(Vec::len), Some(1), "{sessions}");
        // Asking again is no news; somebody else's is.
        let again = js.call("new", "authenticate", &[name]);
        assert_eq!(again["recovered"], true, "{again}");
        let foreign = js.call("new", "authenticate", &[json!({"token": token, "resume": "somebody's"})]);
        assert_eq!((&foreign["ok"], &foreign["recovered"]), (&json!(true), &json!(false)), "{foreign}");
        assert_eq!(js.wait_for("new", "bridge:resync", s(5))[0]["reason"], "resume_failed");
        let own = js.call("new", "authenticate", &[json!({"token": token, "resume": resumed["resume"]})]);
        assert_eq!(own["recovered"], true, "{own}");
        assert_eq!(js.got("new", "bridge:resync").len(), 1);
    }
}

#[test]
fn a_client_joins_many_dialogs_at_once() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start();
    world.chat3.set_faults(Faults { members_late_ms: 300, ..Faults::default() });
    let mut js = Js::start();
    js.sign_on("a", &bridge, "many_a");
    let dialogs: Vec<String> = (0..400).map(|_| world.chat3.add_dialog(&["many_a"])).collect();
    let start = std::time::Instant::now();
    for dialog in &dialogs[1..] {
        js.emit("a", "dialog:join", &[json!(dialog)]);
    }
    js.join("a", &dialogs[0]);
    let took = start.elapsed();
    assert!(js.got("a", "error").is_empty(), "{:?}", js.got("a", "error"));
    let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
    let rooms = sessions["sessions"][0]["sockets"][0]["rooms"].as_array().map(Vec::len);
    assert_eq!(rooms, Some(400));
    assert!(took < s(60), "400 questions of 300 ms, one after another, take two minutes: {took:?}");
}

#[test]
fn events_sent_right_at_connect_find_somebody_who_listens() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["early_a"]);
    let bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    // What is emitted before the connection is there, the client sends in the packet after the handshake.
    for n in 0..60 {
        let id = format!("early {n}");
        let transports = if n % 2 == 0 { json!(["websocket"]) } else { json!(["polling", "websocket"]) };
        let options = json!({"auth": {"token": crate::kit::bridge::token("early_a")}, "transports": transports});
        js.connect(&id, &bridge.http, &options);
        let ack = js.call(&id, "dialog:join", &[json!(dialog)]);
        assert_eq!(ack, json!({"ok": true}), "{id}");
    }
}

#[test]
fn a_resume_that_fails_leaves_no_socket_behind() {
    let world = World::shared(StandInOptions::default());
    let bridge =
        world.setup("live").env("BRIDGE_RABBITMQ__LINGER", "1s").env("BRIDGE_SOCKET__BUFFER", "2KiB").start();
    let bridge = bridge.ready();
    let dialog = world.chat3.add_dialog(&["ghost_a"]);
    let mut js = Js::start();
    let ack = js.sign_on("old", &bridge, "ghost_a");
    for n in 0..12 {
        bridge.say("ghost_a", &dialog, &format!("more than is kept {n}"));
    }
    js.wait_count("old", "update", 12, s(5));
    // The old connection is still there, as a phone's is that changed its network.
    let resume = json!({"token": ack["resume"], "last": "long ago"});
    let auth = json!({"token": crate::kit::bridge::token("ghost_a"), "resume": resume});
    assert_eq!(js.sign_on_with("new", &bridge, auth)["recovered"], false);
    js.act("old", "close", &json!({}));
    js.act("new", "close", &json!({}));
    eventually("nobody is left", s(5), || {
        let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
        (sessions == json!({"sessions": []})).then_some(())
    });
    eventually("no queue", s(5), || shared(|node| node.queues_of("ghost_a")).is_empty().then_some(()));
}

#[test]
fn declaring_again_replaces_what_was_declared() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["again_a"]);
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "again_a");
    let token = crate::kit::bridge::token("again_a");
    let bad = js.call("a", "authenticate", &[json!({"token": token, "subscribe": ["Bad"]})]);
    assert_eq!(bad, json!({"ok": false, "error": "invalid type"}));
    let good = js.call("a", "authenticate", &[json!({"token": token, "subscribe": ["message"], "accepts": []})]);
    assert_eq!((&good["ok"], &good["ready"]), (&json!(true), &json!(true)), "{good}");
    bridge.say("again_a", &dialog, "in the old form from now on");
    js.wait_count("a", "message:new", 1, s(5));
    let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
    assert_eq!(sessions["sessions"][0]["sockets"][0]["subscriptions"], json!(["message"]), "{sessions}");
}

#[test]
fn a_resume_that_fails_says_since_when_its_client_lacks_something() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    let now = || jiff::Timestamp::now();
    let since = |js: &Js, id: &str| -> jiff::Timestamp {
        let resync = js.wait_for(id, "bridge:resync", s(15))[0].clone();
        assert_eq!(resync["reason"], "resume_failed");
        resync["since"].as_str().unwrap().parse().unwrap()
    };
    let before = now();
    let ack = js.sign_on("a", &bridge, "since_a");
    let signed_on = now();
    js.act("a", "close", &json!({}));
    let state = bridge.stop();
    let stopped = now();
    let bridge = world.setup("legacy").state(state).start();
    let token = crate::kit::bridge::token("since_a");
    js.sign_on_with("again", &bridge, json!({"token": token, "resume": ack["resume"]}));
    let whole = since(&js, "again");
    // It was whole when it got that token.
    assert!(whole >= before - jiff::Span::new().seconds(1) && whole <= signed_on, "{whole}");
    js.sign_on_with("foreign", &bridge, json!({"token": token, "resume": "nobody's"}));
    let started = since(&js, "foreign");
    assert!(started >= stopped - jiff::Span::new().seconds(1) && started <= now(), "{started}");
}

#[test]
fn who_resumed_and_can_not_the_next_time_is_told_of_what_it_missed_before() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["whole_a", "whole_b"]);
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    let ack = js.sign_on("a", &bridge, "whole_a");
    js.join("a", &dialog);
    js.act("a", "close", &json!({}));
    bridge.say("whole_b", &dialog, "while it was away");
    let said = jiff::Timestamp::now();
    let token = crate::kit::bridge::token("whole_a");
    let again = js.sign_on_with("again", &bridge, json!({"token": token, "resume": ack["resume"]}));
    assert_eq!(again["recovered"], true, "{again}");
    // For all that its next token says, what it missed may not have reached it.
    js.act("again", "close", &json!({}));
    let state = bridge.stop();
    let bridge = world.setup("legacy").state(state).start();
    js.sign_on_with("third", &bridge, json!({"token": token, "resume": again["resume"]}));
    let resync = js.wait_for("third", "bridge:resync", s(15))[0].clone();
    assert_eq!(resync["reason"], "resume_failed");
    let since: jiff::Timestamp = resync["since"].as_str().unwrap().parse().unwrap();
    assert!(since <= said, "{since}, but {said} is missing");
}
