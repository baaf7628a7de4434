//! A broker that dies under load, and a fleet that is rolled back.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use super::{Got, client, fleet, relayed};
use crate::kit::bridge::{Bridge, token};
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, runtime, s};

/// Posts in one dialog, on one instance after the other, until it is told to stop; the ids in order.
async fn post(
    urls: Vec<String>,
    (dialog, user): (String, String),
    every: Duration,
    stop: Arc<AtomicBool>,
    posted: Got,
) {
    let http = reqwest::Client::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        // Some on each instance, so that an order is kept within them.
        let url = format!("{}/api/messages/dialog/{dialog}", urls[number / 5 % urls.len()]);
        let body = json!({"content": format!("{dialog} {number}")});
        let answer = http.post(&url).bearer_auth(token(&user)).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201);
        let answer: Value = answer.json().await.expect("JSON");
        posted.lock().push(answer["data"]["messageId"].as_str().expect("an id").to_owned());
        number += 1;
    }
}

fn of_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `RELAY_USERS` (default 60) over three instances, `RELAY_RATE` (default 30) messages a second.
#[test]
fn a_dead_broker_and_a_rollback_of_a_fleet_lose_and_double_nothing() {
    let Incident { bridges, posted, missing } = incident(true);
    assert_eq!(missing, 0);
    let count = |outcome| bridges.iter().map(|bridge| relayed(bridge, outcome)).sum::<u64>();
    let counts = ["handed", "lost", "away", "off"].map(count);
    assert_eq!(counts, [2 * posted, 0, 0, 0], "to each of the others, and not to itself");
    println!("{posted} messages on three instances, {} handed over", counts[0]);
}

#[test]
fn without_the_relay_the_same_incident_says_what_is_lost() {
    let Incident { bridges, posted, missing } = incident(false);
    let off: u64 = bridges.iter().map(|bridge| relayed(bridge, "off")).sum();
    assert!(missing > 0, "or nobody needs the relay");
    assert_eq!(off, posted, "each of them reached nobody elsewhere");
    println!("{posted} messages on three instances, {missing} deliveries missing");
    let (_, report) = bridges[0].admin(Method::GET, "/admin/preflight?to=shadow", None);
    let relay = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "relay").unwrap();
    assert_eq!(relay["ok"], true);
    assert!(relay["remedy"].as_str().unwrap().contains("legacy.relay = true"), "{relay}");
}

struct Incident {
    bridges: Vec<Bridge>,
    posted: u64,
    /// Deliveries to members that did not come.
    missing: usize,
}

/// Three instances in `live` under steady traffic; the broker dies, and all are rolled back. Nothing comes twice.
fn incident(relay: bool) -> Incident {
    const MEMBERS: usize = 10;
    let (users, rate) = (of_env("RELAY_USERS", 60), of_env("RELAY_RATE", 30));
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::alone());
    let bridges = fleet(3, relay, || world.setup("live"));
    let bridges: Vec<Bridge> = bridges.into_iter().map(Bridge::ready).collect();
    let dialogs = usize::try_from(users).unwrap() / MEMBERS;
    let (up, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let urls: Vec<String> = bridges.iter().map(|bridge| bridge.http.clone()).collect();
    let every = Duration::from_micros(1_000_000 * dialogs as u64 / rate);
    let (mut all, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..dialogs {
        let members: Vec<String> = (0..MEMBERS).map(|n| format!("relay_{relay}_{number}_{n}")).collect();
        let names: Vec<&str> = members.iter().map(String::as_str).collect();
        let dialog = world.chat3.add_dialog(&names);
        let mut got = Vec::new();
        for (n, user) in members.iter().enumerate() {
            let url = urls[n % urls.len()].replace("http://", "ws://") + "/ws";
            let own = Got::default();
            let heard = (Arc::clone(&own), Got::default());
            runtime().spawn(client(url, user.clone(), dialog.clone(), heard, Arc::clone(&up)));
            got.push(own);
        }
        all.push((dialog, members[0].clone(), Got::default(), got));
    }
    eventually("all joined", s(60), || (up.load(Ordering::Acquire) == dialogs * MEMBERS).then_some(()));
    for (dialog, user, posted, _) in &all {
        let whom = (dialog.clone(), user.clone());
        tasks.push(runtime().spawn(post(urls.clone(), whom, every, Arc::clone(&stop), Arc::clone(posted))));
    }
    let more = |count: usize| {
        let before: Vec<usize> = all.iter().map(|(_, _, posted, _)| posted.lock().len()).collect();
        eventually("posted", s(30), || {
            let enough =
                |((_, _, posted, _), before): (&(_, _, Got, _), &usize)| posted.lock().len() >= before + count;
            all.iter().zip(&before).all(enough).then_some(())
        });
    };
    more(10);
    rabbit.kill();
    more(10);
    let nodes = bridges.iter().flat_map(|bridge| ["--node", &bridge.admin]);
    let rolled = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(["flag", "rollback", "--actor", "ops"])
        .args(nodes)
        .env("BRIDGE_ADMIN__TOKEN", "an admin token of some length")
        .output()
        .unwrap();
    assert!(rolled.status.success(), "{}", String::from_utf8_lossy(&rolled.stderr));
    let after: Vec<usize> = all.iter().map(|(_, _, posted, _)| posted.lock().len() + 1).collect();
    more(15);
    stop.store(true, Ordering::Release);
    runtime().block_on(async {
        for task in tasks {
            task.await.expect("every message is accepted");
        }
    });
    let posted: usize = all.iter().map(|(_, _, posted, _)| posted.lock().len()).sum();
    if relay {
        eventually("all delivered", s(30), || {
            let whole = |(_, _, posted, got): &(_, _, Got, Vec<Got>)| {
                let count = posted.lock().len();
                got.iter().all(|got| got.lock().len() >= count)
            };
            all.iter().all(whole).then_some(())
        });
    }
    // Another copy would come now.
    std::thread::sleep(s(3));
    let mut missing = 0;
    for ((dialog, _, posted, got), after) in all.iter().zip(&after) {
        let posted = posted.lock();
        for (n, got) in got.iter().enumerate() {
            let got = got.lock();
            let mut counts = HashMap::<&str, u32>::new();
            got.iter().for_each(|id| *counts.entry(id).or_default() += 1);
            let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "{dialog} member {n}: {twice:?}");
            missing += posted.iter().filter(|id| !counts.contains_key(id.as_str())).count();
            // In legacy those of one instance come in its order.
            let places: Vec<_> =
                posted[*after..].iter().map(|id| got.iter().position(|other| other == id)).collect();
            for (m, pair) in places.windows(2).enumerate() {
                let one_instance = !(after + m + 1).is_multiple_of(5);
                let apart = pair.contains(&None) || !one_instance;
                assert!(apart || pair[0] < pair[1], "{dialog} member {n}: {places:?}");
            }
        }
    }
    Incident { bridges, posted: posted as u64, missing }
}
