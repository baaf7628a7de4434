//! What becomes of the others when the process is killed, stopped, or finds no room on disk or among its descriptors.

use std::time::Duration;

use serde_json::json;
use updates_bridge::demo::StandInOptions;

use super::kit::js::Js;
use super::kit::rabbit;
use super::kit::world::World;
use super::kit::{eventually, raw, s};

#[test]
fn a_killed_process_leaves_no_queue() {
    let world = World::shared(StandInOptions::default());
    let mut bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "kil_a");
    let queues = || rabbit::shared(|node| node.queues_of("kil_a").len());
    eventually("a queue", s(10), || (queues() == 1).then_some(()));
    bridge.signal("-KILL");
    bridge.wait(s(5));
    eventually("no queue", s(20), || (queues() == 0).then_some(()));
}

#[test]
fn a_process_that_stood_still_goes_on_and_nobody_lacks_what_is_not_told() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["stp_a", "stp_b"]);
    // Shorter than the pause: the broker has given the session up meanwhile.
    let bridge = world.setup("live").env("BRIDGE_RABBITMQ__HEARTBEAT", "2s").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "stp_a");
    js.join("a", &dialog);
    bridge.signal("-STOP");
    world.update("stp_a", "message.create", "msg_meanwhile");
    std::thread::sleep(s(12));
    bridge.signal("-CONT");
    eventually("what came meanwhile, or word of it", s(30), || {
        let told = !js.got("a", "bridge:resync").is_empty();
        let came = js.got("a", "update").iter().any(|update| update["entityId"] == "msg_meanwhile");
        (told || came).then_some(())
    });
    let mut number = 0;
    eventually("updates again", s(30), || {
        number += 1;
        let entity = format!("msg_after_{number}");
        world.update("stp_a", "message.create", &entity);
        std::thread::sleep(Duration::from_millis(300));
        js.got("a", "update").iter().any(|update| update["entityId"] == entity.as_str()).then_some(())
    });
    bridge.say("stp_b", &dialog, "still here");
}

#[test]
fn with_a_full_disk_the_log_stops_and_deliveries_and_a_rollback_do_not() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["dsk_a", "dsk_b"]);
    let bridge = world
        .setup("shadow")
        .env("BRIDGE_SHADOW__SAMPLE", "1")
        .env("BRIDGE_SHADOW__WINDOW", "500ms")
        // No file grows beyond 8 KiB.
        .under("trap '' XFSZ; ulimit -f 8")
        .start()
        .ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "dsk_a");
    js.join("a", &dialog);
    for n in 0..60 {
        bridge.say("dsk_b", &dialog, &format!("message {n}"));
    }
    eventually("records are lost", s(20), || (bridge.metric("bridge_shadow_log_lost_total") > 0.0).then_some(()));
    assert_eq!(js.wait_count("a", "message:new", 60, s(10)).len(), 60);
    let (status, view) = bridge.rollback();
    assert_eq!((status, &view["stage"]), (200, &json!("legacy")), "{view}");
    bridge.say("dsk_b", &dialog, "after it");
    js.wait_count("a", "message:new", 61, s(10));
}

#[test]
fn without_descriptors_it_neither_spins_nor_loses_whom_it_has() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["dsc_a", "dsc_b"]);
    let bridge = world.setup("legacy").unset(&["RABBITMQ_URL"]).under("ulimit -n 96").start();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "dsc_a");
    js.join("a", &dialog);
    let held: Vec<_> = (0..200).map(|_| raw::connect(&bridge.http)).collect();
    eventually("it is full", s(10), || (bridge.metric("bridge_limit_refusals_total") > 50.0).then_some(()));
    let before = bridge.cpu();
    std::thread::sleep(s(2));
    let used = bridge.cpu() - before;
    assert!(used < s(1), "it spins: {used:?} of two seconds");
    assert_eq!(bridge.flag()["stage"], "legacy", "the admin side has descriptors left");
    assert_eq!(bridge.rollback().0, 200);
    drop(held);
    eventually("there is room again", s(20), || (bridge.get("/health").0 == 200).then_some(()));
    bridge.say("dsc_b", &dialog, "still here");
    js.wait_for("a", "message:new", s(10));
}

/// Sets the clock of one process.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn a_clock_that_is_set_by_an_hour_is_followed_and_nothing_takes_an_hour() {
    if !std::path::Path::new(FAKETIME).exists() {
        println!("SKIPPED: there is no libfaketime here (Debian: apt-get install libfaketime)");
        return;
    }
    for (wrong, user) in [("+3600", "clk_a"), ("-3600", "clk_b")] {
        let world = World::shared(StandInOptions::default());
        let dialog = world.chat3.add_dialog(&[user, "clk_c"]);
        let dir = tempfile::tempdir().unwrap();
        let clock = dir.path().join("clock");
        std::fs::write(&clock, wrong).unwrap();
        let bridge = world
            .setup("live")
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("BRIDGE_SHADOW__SAMPLE", "1")
            .start()
            .ready();
        let mut js = Js::start();
        js.sign_on("a", &bridge, user);
        js.join("a", &dialog);
        bridge.say("clk_c", &dialog, "before");
        js.wait_count("a", "update", 1, s(10));
        std::fs::write(&clock, "+0").unwrap();
        eventually("it is noticed", s(20), || {
            bridge.log().contains("the clock of the machine was set").then_some(())
        });
        bridge.say("clk_c", &dialog, "after");
        js.wait_count("a", "update", 2, s(10));
        eventually("both are compared", s(20), || (bridge.summary()["classes"]["match"] == 2).then_some(()));
        let records = bridge.admin(reqwest::Method::GET, "/admin/shadow/records?order=desc&since=10m", None).1;
        let newest = records["records"][0]["at"].as_str().unwrap_or_default();
        let at: jiff::Timestamp = newest.parse().unwrap_or_else(|_| panic!("{records}"));
        let apart = at.duration_since(jiff::Timestamp::now()).abs();
        assert!(apart < jiff::SignedDuration::from_mins(10), "{newest}");
        let checks = bridge.admin(reqwest::Method::GET, "/admin/preflight", None).1;
        let lag = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "lag");
        assert_ne!(lag.unwrap_or_else(|| panic!("{checks}"))["ok"], false, "{checks}");
        assert_eq!(bridge.rollback().0, 200);
        let changed = bridge.flag()["changed_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(
            changed.duration_since(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_mins(10),
            "{changed}"
        );
        assert!(js.got("a", "disconnect").is_empty());
    }
}
