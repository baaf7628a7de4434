//! The comparison for minutes under load: it holds no more afterwards than before.
//!
//! `SOAK_SECONDS` (default 20), `SOAK_RATE` (messages a second, default 100), `just soak-compare` is the
//! long run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::MissedTickBehavior;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Version;

use crate::kit::bridge::{Bridge, token};
use crate::kit::load::{Got, client};
use crate::kit::world::World;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

const DIALOGS: u64 = 20;
const MEMBERS: u64 = 2;
/// Most updates that are posted and not yet seen by the bridge: on a slow machine the rate is what it can.
const AHEAD: u64 = 2_000;

fn of_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn post(
    http: String,
    dialog: String,
    user: String,
    every: Duration,
    until: Instant,
    counts: Arc<[AtomicU64; 2]>,
) {
    let client = reqwest::Client::new();
    let url = format!("{http}/api/messages/dialog/{dialog}");
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let [posted, received] = &*counts;
    while Instant::now() < until {
        ticks.tick().await;
        while posted.load(Ordering::Acquire) * MEMBERS > received.load(Ordering::Acquire) + AHEAD {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let number = posted.fetch_add(1, Ordering::AcqRel);
        let body = json!({"content": format!("message {number}"), "meta": {"number": number}});
        let answer = client.post(&url).bearer_auth(token(&user)).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201);
    }
}

fn held(bridge: &Bridge) -> u64 {
    bridge.counted("bridge_shadow_memory_bytes")
}

/// Bytes that the comparison holds before and after, at rest.
fn soak(version: Version, seconds: u64, rate: u64) -> (u64, u64) {
    let options = StandInOptions { version, refuse_repeats: false, ..StandInOptions::default() };
    let world = World::on(rabbit::shared(|node| node.url()), options, Turn::alone());
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__WINDOW", "5s").start().ready();
    let (up, cut) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut dialogs = Vec::new();
    for number in 0..DIALOGS {
        let users: Vec<String> = (0..MEMBERS).map(|n| format!("soak_{version}_{number}_{n}")).collect();
        let members: Vec<&str> = users.iter().map(String::as_str).collect();
        let dialog = world.chat3.add_dialog(&members);
        let url = bridge.http.replace("http://", "ws://") + "/ws";
        for user in &users {
            let (up, cut) = (Arc::clone(&up), Arc::clone(&cut));
            runtime().spawn(client(url.clone(), user.clone(), dialog.clone(), Got::default(), up, cut));
        }
        dialogs.push((dialog, users[0].clone()));
    }
    let sockets = usize::try_from(DIALOGS * MEMBERS).expect("small");
    eventually("all joined", s(60), || (up.load(Ordering::Acquire) == sockets).then_some(()));
    let before = held(&bridge);
    let (started, counts) = (Instant::now(), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
    let until = started + Duration::from_secs(seconds);
    let every = Duration::from_micros(1_000_000 * DIALOGS / rate);
    let tasks: Vec<_> = dialogs
        .into_iter()
        .map(|(dialog, user)| {
            runtime().spawn(post(bridge.http.clone(), dialog, user, every, until, Arc::clone(&counts)))
        })
        .collect();
    let mut shown = started;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        counts[1].store(bridge.counted("bridge_updates_received_total"), Ordering::Release);
        if shown.elapsed() > s(60) {
            shown = Instant::now();
            println!("{version} {:?}: held {}, resident {}", started.elapsed(), held(&bridge), bridge.resident());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let lasted = started.elapsed();
    runtime().block_on(async {
        for task in tasks {
            task.await.expect("every message is accepted");
        }
    });
    let posted = counts[0].load(Ordering::Acquire);
    let summary = eventually("closed", s(60), || {
        let summary = bridge.summary();
        (summary["open"] == 0).then_some(summary)
    });
    let loaded = held(&bridge);
    // Facts are remembered for a minute and two windows.
    eventually("all that is remembered for a minute is forgotten", s(120), || {
        (held(&bridge) <= before + before / 100).then_some(())
    });
    let after = held(&bridge);
    println!(
        "{version}: {posted} messages in {lasted:?}; held {before} before, {loaded} at the end, {after} after; resident {}; classes {}, shed {}, forgotten {}",
        bridge.resident(),
        summary["classes"],
        summary["shed"],
        bridge.counted("bridge_shadow_forgotten_total"),
    );
    assert_eq!(cut.load(Ordering::Acquire), 0);
    assert_eq!(summary["shed"], 0, "{summary}");
    (before, after)
}

#[test]
#[ignore = "minutes: just soak-compare"]
fn what_the_comparison_holds_after_a_soak_is_what_it_held_before() {
    let (seconds, rate) = (of_env("SOAK_SECONDS", 20), of_env("SOAK_RATE", 100));
    for version in [Version::November5, Version::June] {
        let (before, after) = soak(version, seconds, rate);
        assert!(after.abs_diff(before) <= before / 20, "{version}: {before} before, {after} after");
    }
}
