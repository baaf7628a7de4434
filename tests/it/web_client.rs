//! The browser client against the real gateway.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use updates_bridge::demo::{StandInOptions, Version};

use crate::kit::bridge::{Bridge, token, token_until};
use crate::kit::js::{Js, build_web_client};
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn connect(js: &mut Js, id: &str, bridge: &Bridge, user: &str) {
    connect_with(js, id, json!({"url": bridge.http, "token": token(user)}));
}

fn connect_with(js: &mut Js, id: &str, options: Value) {
    js.act(id, "connect", &json!({"options": options}));
    let online = js.ask(id, "online", &[]);
    assert_eq!(online["value"]["state"], "online", "{online}");
}

fn done(answer: &Value) -> &Value {
    assert_eq!(answer["ok"], true, "{answer}");
    &answer["value"]
}

/// How often each message came, by its id.
fn counted(js: &Js, id: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for message in js.got(id, "message:new") {
        *counts.entry(message["id"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    counts
}

fn through_all_stages(version: Version) {
    let world = World::shared(StandInOptions { version, ..StandInOptions::default() });
    let [a, b] = ["a", "b"].map(|who| format!("web_{version}_{who}").replace('-', "_"));
    let dialog = world.chat3.add_dialog(&[&a, &b]);
    let bridge = world.setup("legacy").start().ready();
    let mut js = Js::start_web();
    for user in [&a, &b] {
        connect(&mut js, user, &bridge, user);
        done(&js.ask(user, "join", &[json!(dialog)]));
    }
    let (stop, accepted) = (AtomicBool::new(false), Mutex::new(Vec::<Vec<String>>::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let sender = if number % 2 == 0 { &a } else { &b };
                let data = bridge.say(sender, &dialog, &format!("message {number}"));
                let ids = ["messageId", "_id"].iter().filter_map(|key| data[key].as_str());
                accepted.lock().push(ids.map(str::to_owned).collect());
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        for stage in ["shadow", "live", "complete", "legacy"] {
            let before = accepted.lock().len();
            eventually("traffic before the flip", s(10), || (accepted.lock().len() > before + 20).then_some(()));
            let (status, answer) = bridge.set(stage, &json!({"force": true}));
            assert_eq!(status, 200, "{answer}");
        }
        let before = accepted.lock().len();
        eventually("traffic after the flips", s(10), || (accepted.lock().len() > before + 20).then_some(()));
        stop.store(true, Ordering::Release);
    });
    let accepted = accepted.lock();
    for user in [&a, &b] {
        eventually("every message", s(15), || {
            let got = counted(&js, user);
            accepted.iter().all(|ids| ids.iter().any(|id| got.contains_key(id))).then_some(())
        });
    }
    // What comes twice comes by then.
    std::thread::sleep(s(5));
    for user in [&a, &b] {
        let got = counted(&js, user);
        for ids in accepted.iter() {
            let times: usize = ids.iter().filter_map(|id| got.get(id)).sum();
            assert_eq!(times, 1, "{version}: {user} got {ids:?} {times} times");
        }
        assert_eq!(got.values().sum::<usize>(), accepted.len(), "{version}: nothing else is a message");
        let by = |path: &str| js.got(user, "message:new").iter().filter(|message| message["via"] == path).count();
        assert!(by("message:new") > 0 && by("update") > 0, "{version}: by both paths");
        assert_eq!(js.got(user, "bridge:resync"), Vec::<Value>::new());
        assert_eq!(js.got(user, "error"), Vec::<Value>::new());
        let online = js.got(user, "status").into_iter().filter(|status| status["state"] == "online").count();
        assert_eq!(online, 1, "nobody was disconnected");
    }
    if version == Version::June {
        assert!(!js.got(&a, "counters").is_empty(), "what goes with a message comes as counts");
    }
}

#[test]
fn every_message_once_through_all_stages_from_2025_11_05() {
    through_all_stages(Version::November5);
}

#[test]
fn every_message_once_through_all_stages_from_2025_11_26() {
    through_all_stages(Version::November26);
}

#[test]
fn every_message_once_through_all_stages_from_2026_06() {
    through_all_stages(Version::June);
}

#[test]
fn every_captured_update_is_understood() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").env("BRIDGE_CLIENT__UNDECLARED", "legacy").start().ready();
    let mut js = Js::start_web();
    // Other tests on this node use the names of the captures.
    let users = ["web_qk2ddpnx", "web_e86m1drv", "web_zzzz1111"];
    for user in users {
        connect(&mut js, user, &bridge, user);
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut expected: HashMap<&str, Vec<String>> = HashMap::new();
    for version in ["e25375c", "d9f2237", "95f9355", "b082001"] {
        let capture = std::fs::read_to_string(root.join(version).join("all.amqp.jsonl")).expect("a capture");
        for line in
            capture.replace("usr_", "web_").lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        {
            if line["exchange"] != "chat3_updates" {
                continue;
            }
            let (key, body) =
                (line["routingKey"].as_str().expect("a key"), line["bodyRaw"].as_str().expect("a body"));
            world.publish(key, Vec::new(), body.as_bytes());
            let body: Value = serde_json::from_str(&bridge_core::update::repair(body)).expect("JSON");
            let event = body["eventType"].as_str().or(body["sourceEventType"].as_str());
            let itself = body["updateType"].as_str().is_none_or(|kind| kind == "update.message");
            if event == Some("message.create") && itself {
                let user = users.into_iter().find(|user| body["userId"] == *user).expect("one of the three");
                let message = body.pointer("/data/message").unwrap_or(&body["data"]);
                let id = message["messageId"].as_str().or(message["_id"].as_str()).expect("an id").to_owned();
                let ids = expected.entry(user).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
    }
    for user in users {
        let ids = &expected[user];
        eventually("all messages", s(10), || {
            let got = counted(&js, user);
            ids.iter().all(|id| got.get(id) == Some(&1)).then_some(())
        });
        assert_eq!(js.got(user, "error"), Vec::<Value>::new());
        for event in ["message:update", "dialog:update", "counters", "update"] {
            assert!(!js.got(user, event).is_empty(), "{user}: {event}");
        }
    }
}

#[test]
fn a_lost_connection_is_taken_up_where_it_was() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["web_res_a", "web_res_b"]);
    for stage in ["legacy", "complete"] {
        let bridge = world.setup(stage).env("BRIDGE_RABBITMQ__LINGER", "60s").start().ready();
        let mut js = Js::start_web();
        js.act("way", "proxy", &json!({"to": bridge.http}));
        let url = js.wait_for("way", "proxy", s(10))[0].clone();
        connect_with(&mut js, "b", json!({"url": url, "token": token("web_res_b")}));
        done(&js.ask("b", "join", &[json!(dialog)]));
        for round in 0..3 {
            let first = bridge.say("web_res_a", &dialog, &format!("{stage} {round} before"));
            eventually("the first", s(10), || {
                counted(&js, "b").contains_key(first["messageId"].as_str().unwrap()).then_some(())
            });
            js.act("way", "break", &json!({}));
            let gap = bridge.say("web_res_a", &dialog, &format!("{stage} {round} in the gap"));
            eventually("what came in the gap", s(20), || {
                counted(&js, "b").contains_key(gap["messageId"].as_str().unwrap()).then_some(())
            });
        }
        assert_eq!(counted(&js, "b").len(), 6);
        assert!(counted(&js, "b").values().all(|times| *times == 1));
        assert_eq!(js.got("b", "bridge:resync"), Vec::<Value>::new(), "{stage}");
        let statuses = js.got("b", "status");
        let recovered = statuses.iter().filter(|status| status["recovered"] == true).count();
        assert!(recovered >= 3, "{statuses:?}");
    }
}

#[test]
fn a_gap_is_told_once_the_rooms_are_joined_again() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["web_gap_a", "web_gap_b"]);
    let bridge = world.setup("shadow").env("BRIDGE_RABBITMQ__LINGER", "0s").start().ready();
    let mut js = Js::start_web();
    js.act("way", "proxy", &json!({"to": bridge.http}));
    let url = js.wait_for("way", "proxy", s(10))[0].clone();
    let options =
        json!({"url": url, "token": token("web_gap_b"), "subscribe": ["message"], "transports": ["websocket"]});
    connect_with(&mut js, "b", options);
    done(&js.ask("b", "join", &[json!(dialog)]));
    js.act("way", "break", &json!({}));
    let resync = js.wait_for("b", "bridge:resync", s(20));
    assert_eq!(resync[0]["reason"], "resume_failed");
    let data = bridge.say("web_gap_a", &dialog, "after the gap");
    js.wait_count("b", "message:new", 1, s(10));
    assert!(counted(&js, "b").contains_key(data["messageId"].as_str().unwrap()));
    let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
    assert!(sessions.to_string().contains("message\""), "its subscription is there again: {sessions}");
}

#[test]
fn tokens_are_renewed_and_asked_for_again_after_a_refusal() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").start();
    let mut js = Js::start_web();
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 8;
    let tokens = [token_until("web_tok", soon), token("web_tok")];
    connect_with(&mut js, "renews", json!({"url": bridge.http, "tokens": tokens}));
    connect_with(&mut js, "again", json!({"url": bridge.http, "tokens": ["no token", token("web_tok_2")]}));
    js.act("refused", "connect", &json!({"options": {"url": bridge.http, "token": "no token"}}));
    for _ in 0..2 {
        // While it is refused, and once it is known to be.
        let refused = js.ask("refused", "online", &[]);
        assert_eq!((&refused["ok"], &refused["error"]), (&json!(false), &json!("Authentication failed")));
    }
    done(&js.ask("refused", "setToken", &[json!(token("web_tok_3"))]));
    done(&js.ask("refused", "online", &[]));
    std::thread::sleep(s(10));
    let states: Vec<Value> = js.got("renews", "status").iter().map(|status| status["state"].clone()).collect();
    assert_eq!(states, ["online"], "it outlived its first token");
    assert_eq!(js.got("again", "status")[0]["state"], "unauthorized");
}

/// What the documentation tells front ends to write is run as it stands, on each form.
#[test]
fn the_snippets_of_the_documentation_work() {
    for (version, stage) in
        [(Version::November26, "legacy"), (Version::November5, "live"), (Version::June, "complete")]
    {
        let world = World::shared(StandInOptions { version, ..StandInOptions::default() });
        let user = format!("web_doc_{stage}");
        let dialog = world.chat3.add_dialog(&["web_doc_x", &user]);
        let bridge = world.setup(stage).start().ready();
        build_web_client();
        let mut js = Js::run(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/js/snippets.mjs"));
        for snippet in [0, 1] {
            let id = format!("snippet {snippet}");
            let given = json!({"url": bridge.http, "token": token(&user), "dialog": dialog});
            js.act(&id, "run", &json!({"snippet": snippet, "given": given}));
            js.wait_for(&id, "running", s(20));
        }
        eventually("both have joined", s(20), || {
            let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
            (sessions.to_string().matches(&dialog).count() >= 2).then_some(())
        });
        let data = bridge.say("web_doc_x", &dialog, "as documented");
        let shown = |js: &Js, snippet: &str| {
            let shown = js.got(snippet, "show").into_iter();
            shown.filter(|shown| shown["content"] == "as documented").collect::<Vec<_>>()
        };
        for snippet in ["snippet 0", "snippet 1"] {
            let message = eventually("the message", s(10), || shown(&js, snippet).into_iter().next());
            let ids = [&message["id"], &message["messageId"], &message["_id"]];
            assert!(ids.contains(&&data["messageId"]) || ids.contains(&&data["_id"]), "{version}: {message}");
        }
        std::thread::sleep(s(1));
        for snippet in ["snippet 0", "snippet 1"] {
            assert_eq!(shown(&js, snippet).len(), 1, "{version}: {snippet} shows it once");
        }
        assert_eq!(js.got("snippet 0", "failed"), Vec::<Value>::new());
        js.wait_for("snippet 0", "report", s(10));
    }
}

#[test]
fn members_only() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["web_mem_a", "web_mem_b"]);
    let bridge = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start();
    let mut js = Js::start_web();
    for user in ["web_mem_a", "web_mem_b", "web_mem_x"] {
        connect(&mut js, user, &bridge, user);
    }
    let refused = |answer: Value, error: &str| {
        assert_eq!((&answer["name"], &answer["error"]), (&json!("MembershipError"), &json!(error)));
    };
    refused(js.ask("web_mem_x", "join", &[json!(dialog)]), "not a member");
    refused(js.ask("web_mem_x", "join", &[json!("dlg_aaaaaaaaaaaaaaaaaaaa")]), "dialog not found");
    refused(js.ask("web_mem_x", "send", &[json!(dialog), json!("hello")]), "not a member");
    for user in ["web_mem_a", "web_mem_b"] {
        done(&js.ask(user, "join", &[json!(dialog)]));
    }
    // What a client sends, it gets back under the same id; and others see who types.
    let sent = js.ask("web_mem_a", "send", &[json!(dialog), json!({"content": "hello", "meta": {"a": 1}})]);
    let id = done(&sent)["id"].as_str().unwrap().to_owned();
    for user in ["web_mem_a", "web_mem_b"] {
        let message = js.wait_count(user, "message:new", 1, s(10)).remove(0);
        assert_eq!((message["id"].as_str(), &message["meta"]["a"]), (Some(id.as_str()), &json!(1)));
    }
    done(&js.ask("web_mem_a", "typing", &[json!(dialog)]));
    let typing = js.wait_count("web_mem_b", "typing", 1, s(10)).remove(0);
    assert_eq!((&typing["active"], &typing["userId"]), (&json!(true), &json!("web_mem_a")));
    assert_eq!(typing["userName"], "Name of web_mem_a");
    done(&js.ask("web_mem_a", "stopTyping", &[json!(dialog)]));
    assert_eq!(js.wait_count("web_mem_b", "typing", 2, s(10))[1]["active"], false);
    let types = js.ask("web_mem_a", "subscribe", &[json!("message")]);
    assert_eq!(done(&types), &json!(["message"]));
    let wrong = js.ask("web_mem_a", "subscribe", &[json!("NO TYPE")]);
    assert_eq!((&wrong["name"], &wrong["error"]), (&json!("BridgeError"), &json!("invalid type")));
}
