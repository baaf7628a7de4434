//! Bad input gets one clear error and harms nobody else.

use serde_json::{Value, json};
use updates_bridge::demo::{StandInOptions, Version};

use crate::kit::bridge::{token, token_until};
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

#[test]
fn wrong_tokens_are_refused_at_the_handshake() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    let cases = [
        ("missing", json!({}), "Authentication token required"),
        ("bad", json!({"auth": {"token": "x"}}), "Authentication failed"),
        ("ended", json!({"auth": {"token": token_until("a", 1)}}), "Authentication failed"),
        ("not a text", json!({"auth": {"token": 5}}), "Authentication failed"),
    ];
    for (id, options, expected) in cases {
        js.connect(id, &bridge.http, &options);
        assert_eq!(js.wait_for(id, "connect_error", s(5))[0], expected, "{id}");
    }
}

#[test]
fn every_wrong_payload_is_answered_and_the_socket_stays() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["bad_a", "bad_b"]);
    let bridge = world.setup("live").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "bad_a");
    js.sign_on("b", &bridge, "bad_b");
    js.join("a", &dialog);
    let nobody = world.chat3.add_dialog(&["somebody"]);
    let cases = [
        ("dialog:join", json!(5), "wrong payload"),
        ("dialog:join", json!({"dialogId": "x"}), "wrong payload"),
        ("dialog:join", json!("a/b"), "dialog not found"),
        ("dialog:join", json!("dlg_aaaaaaaaaaaaaaaaaaaa"), "dialog not found"),
        ("dialog:join", json!(nobody), "not a member"),
        ("dialog:leave", Value::Null, "wrong payload"),
        ("typing:start", json!("x"), "wrong payload"),
        ("typing:start", json!({"dialogId": nobody}), "not joined"),
        ("subscribe", json!({"a": 1}), "wrong payload"),
        ("subscribe", json!(["Message"]), "invalid type"),
        ("subscribe", json!(["a.b"]), "invalid type"),
        ("authenticate", json!(5), "wrong payload"),
        ("authenticate", json!(token("bad_b")), "another user"),
        ("no such event", json!(1), "unknown event"),
    ];
    for (event, payload, expected) in cases {
        let ack = js.call("a", event, std::slice::from_ref(&payload));
        assert_eq!(ack["ok"], false, "{event} {payload}");
        assert!(ack["error"].as_str().unwrap().contains(expected), "{event} {payload}: {ack}");
    }
    js.emit("a", "dialog:join", &[json!(7)]);
    assert_eq!(js.wait_for("a", "error", s(5))[0]["event"], "dialog:join");
    let subscribed = js.call("b", "subscribe", &[json!(["messageupdate"])]);
    assert_eq!(subscribed, json!({"ok": true, "subscriptions": ["messageupdate"]}));
    js.emit("a", "typing:start", &[json!({"dialogId": dialog})]);

    // Garbage on the exchange, between two good updates.
    let key = "user.user.bad_a.messageupdate";
    world.update("bad_a", "message.create", "msg_before");
    for body in ["", "not JSON", "[1]", "5", "{}", r#"{"tenantId":"tnt_default","userId":"bad_a"}"#, "\u{0}"] {
        world.publish(key, Vec::new(), body.as_bytes());
    }
    world.publish(key, Vec::new(), &[0xff, 0xfe]);
    let foreign = json!({"tenantId": "tnt_other", "userId": "bad_a", "data": {}, "eventId": "1"});
    world.publish(key, Vec::new(), foreign.to_string().as_bytes());
    let leaked = json!({"tenantId": "tnt_default", "userId": "bad_b", "data": {}, "eventId": "2"});
    world.publish(key, Vec::new(), leaked.to_string().as_bytes());
    world.update("bad_a", "message.create", "msg_after");
    let got = js.wait_count("a", "update", 2, s(5));
    assert_eq!(
        got.iter().map(|update| update["entityId"].clone()).collect::<Vec<_>>(),
        ["msg_before", "msg_after"]
    );
    assert!(js.got("b", "update").is_empty());
    assert!(js.got("a", "disconnect").is_empty() && js.got("b", "disconnect").is_empty());
    let metrics = bridge.admin(reqwest::Method::GET, "/metrics", None).1;
    let metrics = metrics.as_str().unwrap();
    for expected in ["bridge_updates_foreign_total 1", "bridge_updates_leaked_total 1"] {
        assert!(metrics.contains(expected), "{expected}");
    }
}

#[test]
fn updates_for_somebody_else_are_logged_ten_times_a_minute() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "leak_a");
    for n in 0..100 {
        let body = json!({"tenantId": "tnt_default", "userId": format!("leak_{n}"), "data": {},
            "eventId": format!("e{n}"), "eventType": "message.create"});
        world.publish("user.user.leak_a.messageupdate", Vec::new(), body.to_string().as_bytes());
    }
    eventually("all counted", s(30), || (bridge.counted("bridge_updates_leaked_total") == 100).then_some(()));
    let lines = bridge.log().matches("update named another user than its routing key or queue").count();
    // The minute may have turned meanwhile.
    assert!((10..=20).contains(&lines), "{lines} lines");
    assert!(js.got("a", "update").is_empty());
}

#[test]
fn typing_is_relayed_to_the_room_except_the_sender() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["ty_a", "ty_b"]);
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    for user in ["ty_a", "ty_b"] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialog);
    }
    js.emit("ty_a", "typing:start", &[json!({"dialogId": dialog})]);
    js.emit("ty_a", "typing:stop", &[json!({"dialogId": dialog})]);
    let start = js.wait_for("ty_b", "typing:start", s(5))[0].clone();
    assert_eq!(start, json!({"userId": "ty_a", "userName": "Name of ty_a", "dialogId": dialog}));
    assert_eq!(js.wait_for("ty_b", "typing:stop", s(5))[0], json!({"userId": "ty_a", "dialogId": dialog}));
    assert!(js.got("ty_a", "typing:start").is_empty());
}

#[test]
fn messages_over_http_fail_as_the_contract_says() {
    let world = World::shared(StandInOptions { version: Version::November26, ..StandInOptions::default() });
    let dialog = world.chat3.add_dialog(&["http_a"]);
    let bridge = world.setup("legacy").env("BRIDGE_CHAT3__TIMEOUT", "500ms").start();
    let path = format!("/api/messages/dialog/{dialog}");
    let good = token("http_a");
    let check = |path: &str, token: Option<&str>, body: &str, status: u16, error: &str| {
        let (got, answer) = bridge.raw_post(path, token, body);
        assert_eq!((got, &answer["success"]), (status, &json!(false)), "{path} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(error), "{answer}");
    };
    check(&path, None, r#"{"content":"x"}"#, 401, "No token provided");
    check(&path, Some("x"), r#"{"content":"x"}"#, 401, "Invalid token");
    check(&path, Some(&good), "not JSON", 400, "not JSON");
    check(&path, Some(&good), "{}", 400, "Message content is required");
    check(&path, Some(&good), r#"{"content":"x","type":"unknown"}"#, 400, "type must be");
    check("/api/messages/dialog/a%2Fb", Some(&good), r#"{"content":"x"}"#, 404, "dialog not found");
    check(
        "/api/dialog/dlg_aaaaaaaaaaaaaaaaaaaa/messages",
        Some(&good),
        r#"{"content":"x"}"#,
        404,
        "Dialog not found",
    );
    check(&path, Some(&good), &format!(r#"{{"content":"{}"}}"#, "x".repeat(1 << 20)), 413, "too large");
    check(&path, Some(&good), &format!(r#"{{"content":"{}"}}"#, "x".repeat(40 << 20)), 413, "too large");
    check("/api/messages/dialog/%ff", Some(&good), r#"{"content":"x"}"#, 404, "dialog not found");
    check("/api/nothing", Some(&good), "{}", 404, "Route not found");
    let half = bridge.raw_post(&path, Some(&good), r#"{"content":"half \ud83d"}"#);
    assert_eq!((half.0, &half.1["data"]["content"]), (201, &json!("half \u{fffd}")));
    assert_eq!(bridge.raw_post(&path, Some(&good), r#"{"content":"twice"}"#).0, 201);
    check(&path, Some(&good), r#"{"content":"twice"}"#, 429, "Duplicate request");
    let faults = updates_bridge::demo::chat3::Faults::default();
    for (status, expected) in [(401, 502), (500, 502), (201, 502)] {
        world
            .chat3
            .set_faults(updates_bridge::demo::chat3::Faults { answer_status: Some(status), ..faults.clone() });
        check(&path, Some(&good), r#"{"content":"y"}"#, expected, "chat service");
    }
    world.chat3.set_faults(updates_bridge::demo::chat3::Faults { answer_late_ms: 1_500, ..faults });
    let before = world.chat3.posted();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "http_a");
    js.join("a", &dialog);
    check(&path, Some(&good), r#"{"content":"late"}"#, 504, "in time");
    assert_eq!(js.wait_count("a", "message:new", 1, s(5))[0]["content"], "late", "the forward runs to its end");
    assert_eq!(world.chat3.posted(), before + 1, "never retried");
}
