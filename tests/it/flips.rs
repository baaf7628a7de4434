//! Flips and rollbacks under load: per socket exactly once, and nobody is disconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::{Bridge, token};
use crate::kit::js::Js;
use crate::kit::load::{Got, client};
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

/// Posts at a steady rate until told to stop; notes what was accepted.
async fn post(
    bridge_http: String,
    dialog: String,
    user: String,
    every: Duration,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<(String, String)>>>,
) {
    let http = reqwest::Client::new();
    let url = format!("{bridge_http}/api/messages/dialog/{dialog}");
    let mut ticks = tokio::time::interval(every);
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        number += 1;
        let body = json!({"content": format!("{user} {number}")});
        let answer = http.post(&url).bearer_auth(token(&user)).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201);
        let answer: Value = answer.json().await.expect("JSON");
        let id = answer["data"]["messageId"].as_str().expect("an id").to_owned();
        accepted.lock().push((dialog.clone(), id));
    }
}

struct Load {
    users: usize,
    dialogs: usize,
    every: Duration,
    workers: usize,
}

/// Runs `flips` against a bridge under load, then checks every socket.
fn under_load(name: &str, world: &World, load: &Load, flips: impl FnOnce(&Bridge)) {
    let bridge = world
        .setup("legacy")
        .env("BRIDGE_SHADOW__WINDOW", "2s")
        .env("BRIDGE_FLAG__FLIP_TIMEOUT", "120s")
        .env("BRIDGE_RUNTIME__WORKERS", load.workers.to_string())
        .start()
        .ready();
    let (up, cut) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
    let mut sockets = Vec::new();
    let mut posting = Vec::new();
    let per_dialog = load.users / load.dialogs;
    for number in 0..load.dialogs {
        let users: Vec<String> = (0..per_dialog).map(|n| format!("{name}_{number}_{n}")).collect();
        let members: Vec<&str> = users.iter().map(String::as_str).collect();
        let dialog = world.chat3.add_dialog(&members);
        let url = bridge.http.replace("http://", "ws://") + "/ws";
        for user in &users {
            let got = Got::default();
            sockets.push((dialog.clone(), Arc::clone(&got)));
            let (up, cut) = (Arc::clone(&up), Arc::clone(&cut));
            runtime().spawn(client(url.clone(), user.clone(), dialog.clone(), got, up, cut));
        }
        posting.push((dialog, users[0].clone()));
    }
    eventually("all joined", s(60), || (up.load(Ordering::Acquire) == sockets.len()).then_some(()));
    let tasks: Vec<_> = posting
        .into_iter()
        .map(|(dialog, user)| {
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            runtime().spawn(post(bridge.http.clone(), dialog, user, load.every, stop, accepted))
        })
        .collect();
    let started = Instant::now();
    flips(&bridge);
    let lasted = started.elapsed();
    stop.store(true, Ordering::Release);
    runtime().block_on(async {
        for task in tasks {
            task.await.expect("every message is accepted");
        }
    });
    // The last window closes, and what is owed is rescued.
    let accepted = accepted.lock();
    let lacks = |(dialog, got): &(String, Got)| {
        let got = got.lock();
        accepted.iter().any(|(other, id)| other == dialog && !got.contains_key(id))
    };
    let end = Instant::now() + s(60);
    while sockets.iter().any(lacks) && Instant::now() < end {
        std::thread::sleep(s(1) / 4);
    }
    // What comes twice comes by then.
    std::thread::sleep(s(5));
    let (mut lost, mut doubled, mut seen) = (0, 0, 0);
    for (dialog, got) in &sockets {
        let got = got.lock();
        for (_, id) in accepted.iter().filter(|(other, _)| other == dialog) {
            match got.get(id).copied().unwrap_or(0) {
                0 => lost += 1,
                1 => seen += 1,
                _ => doubled += 1,
            }
        }
    }
    println!(
        "{name}: {} messages in {lasted:?}, {} sockets: {seen} delivered once, {lost} lost, {doubled} doubled, {} cut",
        accepted.len(),
        sockets.len(),
        cut.load(Ordering::Acquire)
    );
    assert_eq!((lost, doubled, cut.load(Ordering::Acquire)), (0, 0, 0));
    assert!(seen > 0);
}

/// A step of a walk over the stages: forward by one, back anywhere.
fn walk(bridge: &Bridge, steps: usize, pause: Duration) {
    let mut stages = vec![0_usize; 1];
    let names = ["legacy", "shadow", "live", "complete"];
    let mut dice = 0x2545_F491_4F6C_DD1D_u64;
    for step in 0..steps {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let now = *stages.last().expect("one");
        let forward = now < 3 && (now == 0 || !dice.is_multiple_of(3));
        let to = if forward { now + 1 } else { usize::try_from(dice >> 32).expect("32 bits") % now.max(1) };
        let (status, view) = if to == 0 && dice.is_multiple_of(2) {
            bridge.rollback()
        } else {
            // Preflight is for the first time; a walk of hundreds needs the flip. On a machine that is held up updates come
            // after their window: what is missing then is bad, until they have come.
            let mut asked = bridge.set(names[to], &json!({"force": step > 3}));
            let end = Instant::now() + s(60);
            while step <= 3 && asked.0 == 409 && Instant::now() < end {
                std::thread::sleep(s(1));
                asked = bridge.set(names[to], &json!({}));
            }
            asked
        };
        assert_eq!(status, 200, "{} → {}: {view}", names[now], names[to]);
        assert_eq!(view["stage"], names[to]);
        stages.push(to);
        std::thread::sleep(pause);
    }
}

#[test]
fn two_hundred_flips_lose_and_double_nothing() {
    let load = Load { users: 500, dialogs: 50, every: Duration::from_millis(250), workers: 1 };
    let options = StandInOptions { answer_delay: 0..40, refuse_repeats: false, ..StandInOptions::default() };
    let world = World::on(rabbit::shared(|node| node.url()), options, Turn::alone());
    under_load("flips", &world, &load, |bridge| walk(bridge, 200, Duration::from_millis(50)));
}

#[test]
fn flips_with_updates_up_to_a_second_late() {
    let load = Load { users: 200, dialogs: 20, every: Duration::from_millis(200), workers: 2 };
    let options = StandInOptions { update_delay: 5..1_000, refuse_repeats: false, ..StandInOptions::default() };
    let world = World::on(rabbit::shared(|node| node.url()), options, Turn::alone());
    under_load("late", &world, &load, |bridge| walk(bridge, 40, Duration::from_millis(150)));
}

#[test]
fn a_broker_killed_under_load_and_a_rollback_lose_and_double_nothing() {
    let load = Load { users: 300, dialogs: 30, every: Duration::from_millis(250), workers: 1 };
    let options = StandInOptions { refuse_repeats: false, ..StandInOptions::default() };
    let mut rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), options, Turn::alone());
    under_load("killed", &world, &load, |bridge| {
        let forward = || {
            for stage in ["shadow", "live"] {
                eventually(stage, s(30), || (bridge.set(stage, &json!({})).0 == 200).then_some(()));
            }
        };
        forward();
        std::thread::sleep(s(2));
        rabbit.kill();
        std::thread::sleep(s(1));
        let limit = bridge.at_its_pace(s(2));
        let asked = Instant::now();
        let (status, view) = bridge.rollback();
        let took = asked.elapsed();
        assert_eq!((status, &view["stage"]), (200, &json!("legacy")), "{view}");
        assert!(took < limit, "{took:?}");
        std::thread::sleep(s(2));
        rabbit.restart();
        world.connect();
        forward();
        std::thread::sleep(s(2));
    });
}

#[test]
fn a_worker_that_was_behind_brings_nothing_twice_after_an_unforced_way_to_live() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["behind_a", "behind_b"]);
    let bridge = world.setup("legacy").start();
    let mut js = Js::start();
    for user in ["behind_a", "behind_b"] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialog);
    }
    world.chat3.set_faults(Faults { worker_stopped: true, ..Faults::default() });
    for n in 0..5 {
        bridge.say("behind_a", &dialog, &format!("before {n}"));
    }
    js.wait_count("behind_b", "message:new", 5, s(20));
    // Longer than what has met its twin is remembered.
    std::thread::sleep(s(35));
    for stage in ["shadow", "live"] {
        let (status, answer) = bridge.set(stage, &json!({}));
        assert_eq!(status, 200, "{answer}");
    }
    world.chat3.set_faults(Faults::default());
    bridge.say("behind_a", &dialog, "after");
    for user in ["behind_a", "behind_b"] {
        js.wait_count(user, "update", 1, s(20));
        let got = js.got(user, "update");
        assert_eq!(got.len(), 1, "{user}: {got:?}");
        assert_eq!(js.got(user, "message:new").len(), 5);
    }
}

#[test]
fn preflight_sees_that_updates_do_not_flow() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["flow_a", "flow_b"]);
    let bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "flow_a");
    js.join("a", &dialog);
    let flows = || {
        let report = bridge.admin(reqwest::Method::GET, "/admin/preflight?to=live", None).1;
        let checks = report["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|check| check["name"] == "updates_flowing").expect("the check")
    };
    assert_eq!(flows()["ok"], true, "no traffic");
    world.chat3.set_faults(Faults { worker_stopped: true, ..Faults::default() });
    bridge.say("flow_b", &dialog, "nothing comes of it");
    eventually("seen", s(30), || (flows()["ok"] == false).then_some(()));
    let (status, answer) = bridge.set("live", &json!({}));
    assert_eq!((status, &answer["error"]), (409, &json!("preflight_failed")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("updates_flowing"), "{answer}");
    world.chat3.set_faults(Faults::default());
    eventually("they flow again", s(30), || (flows()["ok"] == true).then_some(()));
}
