//! `legacy.relay`: who is connected to another instance than the poster hears legacy too.

mod incident;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, Setup, token};
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

/// Another than that of people.
const FLEET_TOKEN: &str = "a token of the fleet of some length";

/// An address whose port the system gives to nobody who asks for any.
pub(crate) fn free_address() -> String {
    loop {
        let address = format!("127.0.0.1:{}", rand::random_range(10_000..30_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// So many instances that know each other, and themselves.
fn fleet(count: usize, relay: bool, setup: impl Fn() -> Setup) -> Vec<Bridge> {
    let addresses: Vec<String> = (0..count).map(|_| free_address()).collect();
    let start = |address: &String| {
        let setup = setup().env("BRIDGE_ADMIN__LISTEN", address.as_str());
        let setup = setup.env("BRIDGE_FLEET__NODES", addresses.join(",")).env("BRIDGE_FLEET__TOKEN", FLEET_TOKEN);
        setup.env("BRIDGE_LEGACY__RELAY", relay.to_string()).start()
    };
    let bridges: Vec<Bridge> = addresses.iter().map(start).collect();
    if relay {
        bridges.iter().for_each(|bridge| met(bridge, count - 1));
    }
    bridges
}

fn peers(bridge: &Bridge) -> Vec<Value> {
    let (_, status) = bridge.admin(Method::GET, "/admin/status", None);
    status["relay"]["peers"].as_array().cloned().unwrap_or_default()
}

/// Waits until it hands broadcasts to `count` others.
fn met(bridge: &Bridge, count: usize) {
    eventually("the others are met", s(20), || {
        let peers = peers(bridge);
        (peers.len() == count && peers.iter().all(|peer| peer["up"] == true)).then_some(())
    });
}

fn relayed(bridge: &Bridge, outcome: &str) -> u64 {
    let (_, metrics) = bridge.admin(Method::GET, "/metrics", None);
    let name = format!("bridge_relay_copies_total{{outcome=\"{outcome}\"}} ");
    let found = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    found.unwrap_or_else(|| panic!("no {name}"))
}

/// Message ids in the order in which they came.
type Got = Arc<Mutex<Vec<String>>>;

async fn client(url: String, user: String, dialog: String, (got, gaps): (Got, Got), up: Arc<AtomicUsize>) {
    let (socket, _) = connect_async(url).await.expect("a connection");
    let (mut sink, mut source) = socket.split();
    for frame in [
        json!({"event": "authenticate", "data": {"token": token(&user)}, "id": 1}),
        json!({"event": "dialog:join", "data": dialog, "id": 2}),
    ] {
        sink.send(Message::text(frame.to_string())).await.expect("sent");
    }
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        let id = match frame["event"].as_str().unwrap_or_default() {
            "message:new" => frame["data"]["messageId"].as_str(),
            "update" => frame["data"]["entityId"].as_str(),
            "bridge:resync" => {
                gaps.lock().push(frame["data"]["reason"].as_str().expect("a reason").to_owned());
                None
            }
            "ack" if frame["id"] == 2 => {
                assert_eq!(frame["data"]["ok"], true, "{frame}");
                up.fetch_add(1, Ordering::AcqRel);
                None
            }
            _ => None,
        };
        got.lock().extend(id.map(ToOwned::to_owned));
    }
}

fn contents(js: &Js, id: &str, event: &str) -> Vec<Value> {
    js.got(id, event).iter().map(|data| data["content"].clone()).collect()
}

#[test]
fn messages_posted_elsewhere_are_compared_and_reach_members_who_never_joined() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["elsewhere_a", "elsewhere_b", "elsewhere_c"]);
    let setup = || world.setup("shadow").env("BRIDGE_LEGACY__AUDIENCE", "members");
    let bridges: Vec<Bridge> = fleet(2, true, setup).into_iter().map(Bridge::ready).collect();
    let mut js = Js::start();
    js.sign_on("a", &bridges[0], "elsewhere_a");
    js.sign_on("b", &bridges[1], "elsewhere_b");
    js.join("b", &dialog);
    js.sign_on("c", &bridges[1], "elsewhere_c");
    for n in 0..10 {
        bridges[0].say("elsewhere_a", &dialog, &format!("message {n}"));
    }
    let expected: Vec<Value> = (0..10).map(|n| json!(format!("message {n}"))).collect();
    for id in ["a", "b", "c"] {
        js.wait_count(id, "message:new", 10, s(20));
        assert_eq!(contents(&js, id, "message:new"), expected, "{id}");
    }
    let summary = eventually("compared", s(30), || {
        let summary = bridges[1].summary();
        (summary["closed"] == 20).then_some(summary)
    });
    assert_eq!(summary["classes"]["match"], 20, "{}", summary["causes"]);
    assert_eq!(bridges[1].counted("bridge_relay_received_total"), 10);
    assert_eq!(bridges[0].counted("bridge_relay_received_total"), 0, "nothing comes back");
    assert_eq!(peers(&bridges[0]).len(), 1, "it is not one of its own peers");
}

#[test]
fn what_could_not_be_handed_over_is_counted_and_told() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["lost_a", "lost_b"]);
    let other = world.chat3.add_dialog(&["lost_c"]);
    let bridges = fleet(2, true, || world.setup("legacy").rabbit(""));
    let [a, b] = bridges.as_slice() else { panic!("two") };
    // These wait for however long an instance says nothing.
    let up = Arc::<AtomicUsize>::default();
    let listen = |bridge: &Bridge, user: &str, dialog: &str| {
        let (got, gaps) = (Got::default(), Got::default());
        let (url, heard) =
            (bridge.http.replace("http://", "ws://") + "/ws", (Arc::clone(&got), Arc::clone(&gaps)));
        runtime().spawn(client(url, user.into(), dialog.into(), heard, Arc::clone(&up)));
        (got, gaps)
    };
    let (own, own_gaps) = listen(a, "lost_a", &dialog);
    let (got, gaps) = listen(b, "lost_b", &dialog);
    let (_, gaps_elsewhere) = listen(b, "lost_c", &other);
    eventually("all joined", s(20), || (up.load(Ordering::Acquire) == 3).then_some(()));
    a.say("lost_a", &dialog, "before");
    eventually("it is there", s(20), || (got.lock().len() == 1).then_some(()));
    b.signal("-STOP");
    for n in 0..5 {
        a.say("lost_a", &dialog, &format!("meanwhile {n}"));
    }
    assert_eq!(relayed(a, "lost"), 0);
    eventually("given up", s(60), || (relayed(a, "lost") >= 4).then_some(()));
    b.signal("-CONT");
    eventually("told", s(30), || (!gaps.lock().is_empty()).then_some(()));
    assert!(gaps.lock().iter().all(|reason| reason == "relay_lost"), "{gaps:?}");
    met(a, 1);
    let after = a.say("lost_a", &dialog, "after")["messageId"].as_str().unwrap().to_owned();
    eventually("it goes on", s(20), || got.lock().contains(&after).then_some(()));
    assert!(gaps_elsewhere.lock().is_empty(), "it concerns nobody else");
    assert!(own_gaps.lock().is_empty() && own.lock().len() == 7);
    let mut once = got.lock().clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), got.lock().len(), "nothing twice, whatever was handed over again");
}

/// Passes broadcasts on to `to`; of the first that has any, the answer breaks off.
async fn lossy(State((to, broken)): State<(String, Arc<AtomicBool>)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let batch: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = reqwest::Client::new().request(parts.method, format!("{to}{}", parts.uri.path()));
    let answer = request.headers(parts.headers).body(body).send().await.unwrap();
    let (status, answer) = (answer.status(), answer.bytes().await.unwrap());
    let has_any = batch["copies"].as_array().is_some_and(|copies| !copies.is_empty());
    if has_any && !broken.swap(true, Ordering::AcqRel) {
        let lost = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("broken")) });
        return axum::body::Body::from_stream(lost).into_response();
    }
    (status, answer).into_response()
}

#[test]
fn what_is_handed_over_again_because_its_answer_was_lost_is_taken_once() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["again_a", "again_b"]);
    let start = |nodes: &str| {
        let setup = world.setup("legacy").rabbit("").env("BRIDGE_FLEET__NODES", nodes);
        setup.env("BRIDGE_FLEET__TOKEN", FLEET_TOKEN).env("BRIDGE_LEGACY__RELAY", "true").start()
    };
    let b = start("127.0.0.1:1");
    let broken = Arc::<AtomicBool>::default();
    let listener = runtime().block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let a = start(&listener.local_addr().unwrap().to_string());
    let router = Router::new().fallback(lossy).with_state((b.admin.clone(), Arc::clone(&broken)));
    runtime().spawn(async move { axum::serve(listener, router).await });
    met(&a, 1);
    let mut js = Js::start();
    js.sign_on("b", &b, "again_b");
    js.join("b", &dialog);
    let say = |text: &str| a.say("again_a", &dialog, text)["messageId"].clone();
    let posted = [say("its answer is lost"), say("after")];
    eventually("handed over", s(20), || (relayed(&a, "handed") == 2).then_some(()));
    assert!(broken.load(Ordering::Acquire));
    let got = js.wait_count("b", "message:new", 2, s(20));
    let got: Vec<Value> = got.iter().map(|data| data["messageId"].clone()).collect();
    assert_eq!(got, posted);
    assert_eq!(b.counted("bridge_relay_received_total"), 2, "each once, though one was handed over twice");
    assert_eq!((relayed(&a, "lost"), relayed(&a, "away")), (0, 0));
}

#[test]
fn an_instance_that_was_not_running_misses_nothing() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["away_a", "away_b"]);
    let mut bridges = fleet(2, true, || world.setup("legacy").rabbit(""));
    let b = bridges.pop().unwrap();
    let a = bridges.pop().unwrap();
    let address = b.admin.trim_start_matches("http://").to_owned();
    let nodes = format!("{},{address}", a.admin.trim_start_matches("http://"));
    let state = b.stop();
    a.say("away_a", &dialog, "nobody is there, for long");
    // What waited too long is given up: it concerned nobody.
    eventually("given up", s(60), || (relayed(&a, "away") == 1).then_some(()));
    a.say("away_a", &dialog, "nobody is there");
    let setup = world.setup("legacy").rabbit("").state(state).env("BRIDGE_ADMIN__LISTEN", address);
    std::thread::sleep(s(2));
    let setup = setup.env("BRIDGE_FLEET__NODES", nodes).env("BRIDGE_FLEET__TOKEN", FLEET_TOKEN);
    let b = setup.env("BRIDGE_LEGACY__RELAY", "true").start();
    met(&a, 1);
    let mut js = Js::start();
    js.sign_on("b", &b, "away_b");
    js.join("b", &dialog);
    a.say("away_a", &dialog, "somebody is");
    js.wait_count("b", "message:new", 1, s(20));
    assert_eq!(contents(&js, "b", "message:new"), [json!("somebody is")]);
    assert_eq!((relayed(&a, "lost"), relayed(&a, "away")), (0, 2), "{}", a.log());
    assert!(js.got("b", "bridge:resync").is_empty());
}
