//! From polling to a WebSocket, with the official clients, also where something between breaks it.

use std::time::Duration;

use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, token};
use crate::kit::driven::{self, Polling};
use crate::kit::js::Js;
use crate::kit::proxy::{Habit, Proxy};
use crate::kit::py::Py;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

fn update(user: &str, n: usize, bytes: usize) -> Value {
    json!({"tenantId": "tnt_default", "userId": user, "entityId": format!("msg_{n}"), "eventId": format!("e{n}"),
        "eventType": "message.create", "data": {"content": "x".repeat(bytes), "messageId": format!("msg_{n}")}})
}

fn publish(world: &World, user: &str, numbers: std::ops::Range<usize>, bytes: usize) {
    let key = format!("user.user.{user}.messageupdate");
    for n in numbers {
        world.publish(&key, Vec::new(), update(user, n, bytes).to_string().as_bytes());
    }
}

fn in_order(got: &[Value], count: usize) {
    let got: Vec<_> =
        got.iter().map(|update| update["entityId"].as_str().unwrap_or_default().to_owned()).collect();
    let expected: Vec<_> = (0..count).map(|n| format!("msg_{n}")).collect();
    assert_eq!(got, expected);
}

/// python-socketio gives each event to a thread of its own.
fn in_any_order(mut got: Vec<Value>, count: usize) {
    let number = |update: &Value| update["entityId"].as_str()?.strip_prefix("msg_")?.parse::<usize>().ok();
    got.sort_by_key(number);
    in_order(&got, count);
}

fn cuts(bridge: &Bridge) -> String {
    let metrics = bridge.admin(reqwest::Method::GET, "/metrics", None).1;
    let lines = metrics.as_str().unwrap_or_default().lines().filter(|line| line.contains("sockets_cut_total{"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_client_that_connects_after_its_upgrade_hears_everything() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut js = Js::start();
    js.connect("late", &bridge.http, &json!({"auth": {"token": token("up_late")}, "authAfter": 500}));
    js.wait_for("late", "authenticated", s(15));
    js.act("late", "transport", &json!({}));
    assert_eq!(js.wait_for("late", "transport", s(5))[0], "websocket", "it was upgraded before it connected");
    // This one is upgraded before it connects by itself.
    let mut py = Py::connect(&bridge.http, "up_late");
    py.wait_count("authenticated", 1, s(30));
    assert_eq!(py.transport(s(10)), "websocket");
    publish(&world, "up_late", 0..800, 2_000);
    in_order(&js.wait_count("late", "update", 800, s(30)), 800);
    in_any_order(py.wait_count("update", 800, s(30)), 800);
}

#[test]
fn a_client_that_connects_again_on_an_upgraded_session_hears_everything() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut socket = runtime().block_on(async {
        let polling = Polling::open(&bridge).await;
        let auth = driven::credentials("up_again", None);
        polling.sign_on(&auth).await;
        let mut socket = polling.upgrade().await;
        for _ in 0..3 {
            driven::say(&mut socket, "41").await;
            driven::say(&mut socket, &format!("40{auth}")).await;
            driven::until(&mut socket, "authenticated").await;
        }
        socket
    });
    let reading = runtime().spawn(async move {
        let mut got = Vec::new();
        while got.len() < 800 {
            got.push(driven::until(&mut socket, "update").await);
        }
        got
    });
    publish(&world, "up_again", 0..800, 2_000);
    in_order(&runtime().block_on(reading).expect("read"), 800);
    assert!(!cuts(&bridge).contains("slow\"} 1"), "{}", cuts(&bridge));
}

/// Updates before, while and after the upgrade may be tried; all have to come, in order.
fn stays_on_polling(habit: Habit, user: &str) {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let proxy = Proxy::start(&bridge, habit);
    let mut js = Js::start();
    js.connect("js", &proxy.url, &json!({"auth": {"token": token(user)}}));
    js.wait_for("js", "authenticated", s(15));
    let mut py = Py::connect(&proxy.url, user);
    py.wait_count("authenticated", 1, s(30));
    for step in 0..13 {
        publish(&world, user, step * 5..step * 5 + 5, 200);
        std::thread::sleep(s(1));
    }
    in_order(&js.wait_count("js", "update", 65, s(30)), 65);
    in_any_order(py.wait_count("update", 65, s(30)), 65);
    for event in ["disconnect", "connect_error", "bridge:resync"] {
        assert!(js.got("js", event).is_empty(), "{event}");
        assert!(py.got(event).is_empty(), "{event}");
    }
    js.act("js", "transport", &json!({}));
    assert_eq!(js.wait_for("js", "transport", s(5))[0], "polling");
    assert_eq!(py.transport(s(10)), "polling");
    let count = |number: &std::sync::atomic::AtomicUsize| number.load(std::sync::atomic::Ordering::Relaxed);
    assert!(count(&proxy.upgrades) >= 2, "both tried");
    // Thirteen bursts, each in a few answers, for each of two clients; and the probe's.
    assert!(count(&proxy.polls) < 300, "{} polls", count(&proxy.polls));
}

#[test]
fn behind_a_proxy_that_closes_websockets_clients_stay_on_polling_whole() {
    stays_on_polling(Habit::Closes, "up_closes");
}

#[test]
fn behind_a_proxy_that_swallows_frames_clients_stay_on_polling_whole() {
    stays_on_polling(Habit::Swallows, "up_swallows");
}

#[test]
fn behind_a_proxy_that_swallows_the_bridges_frames_clients_stay_on_polling_whole() {
    stays_on_polling(Habit::Mutes, "up_mutes");
}

#[test]
fn behind_a_slow_proxy_clients_are_upgraded_and_hear_everything() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let proxy = Proxy::start(&bridge, Habit::Delays(Duration::from_millis(300)));
    let user = "up_slow";
    let mut js = Js::start();
    js.connect("js", &proxy.url, &json!({"auth": {"token": token(user)}}));
    js.wait_for("js", "authenticated", s(15));
    let mut py = Py::connect(&proxy.url, user);
    py.wait_count("authenticated", 1, s(30));
    for step in 0..20 {
        publish(&world, user, step * 5..step * 5 + 5, 200);
        std::thread::sleep(s(1) / 5);
    }
    in_order(&js.wait_count("js", "update", 100, s(30)), 100);
    in_any_order(py.wait_count("update", 100, s(30)), 100);
    eventually("both are upgraded", s(20), || {
        js.forget("js");
        js.act("js", "transport", &json!({}));
        let js = js.wait_for("js", "transport", s(5))[0].clone();
        (js == "websocket" && py.transport(s(10)) == "websocket").then_some(())
    });
    let sessions = bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1;
    let sockets = sessions["sessions"][0]["sockets"].as_array().cloned().unwrap_or_default();
    assert_eq!(sockets.len(), 2, "{sessions}");
    assert!(sockets.iter().all(|socket| socket["transport"] == "websocket"), "{sessions}");
}

#[test]
fn an_upgrade_that_is_never_confirmed_leaves_the_session_as_it_was() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    runtime().block_on(async {
        let polling = Polling::open(&bridge).await;
        polling.sign_on(&driven::credentials("up_never", None)).await;
        let url = polling.url.replace("http://", "ws://").replace("transport=polling", "transport=websocket");
        // Nothing; a probe; nonsense; a probe and nonsense.
        for said in [&[][..], &["2probe"], &["hello"], &["2probe", "42[\"authenticate\"]"]] {
            let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.expect("a connection");
            for text in said {
                driven::say(&mut socket, text).await;
            }
            tokio::time::sleep(s(1) / 5).await;
            drop(socket);
        }
        tokio::task::block_in_place(|| publish(&world, "up_never", 0..3, 100));
        assert_eq!(polling.until("update").await["entityId"], "msg_0");
        let mut socket = polling.upgrade().await;
        driven::say(&mut socket, r#"42["authenticate",{}]"#).await;
        assert_eq!(
            driven::until(&mut socket, "unauthorized").await["ok"],
            false,
            "the upgraded session is served"
        );
    });
}
