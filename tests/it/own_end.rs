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
