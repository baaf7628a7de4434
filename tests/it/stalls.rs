//! Chat3 accepts messages, and its update worker is silent.

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// What `/readyz`, `/admin/status`, the metrics and the log say of it.
fn said(bridge: &Bridge) -> [bool; 3] {
    let (status, report) = bridge.get("/readyz");
    assert_eq!(status, 200, "not unready: another instance would have no more: {report}");
    let warnings = bridge.admin(Method::GET, "/admin/status", None).1["warnings"].clone();
    let warns = |warning: &Value| warning.as_str().unwrap().starts_with("updates have stalled: ");
    [
        report["degraded"].as_array().unwrap().contains(&json!("updates_stalled")),
        warnings.as_array().unwrap().iter().any(warns),
        bridge.counted("bridge_updates_stalled") == 1,
    ]
}

#[test]
fn a_worker_that_is_silent_is_said_everywhere_until_it_is_back_and_nobody_lacks_a_message() {
    for stage in ["shadow", "live"] {
        let world = World::shared(StandInOptions::default());
        let (own, sender) = (format!("stl_{stage}_a"), format!("stl_{stage}_b"));
        let dialog = world.chat3.add_dialog(&[&own, &sender]);
        let bridge = world.setup(stage).env("BRIDGE_GUARD__SILENCE", "2s").start().ready();
        let mut js = Js::start();
        js.sign_on("a", &bridge, &own);
        js.join("a", &dialog);
        bridge.say(&sender, &dialog, "before");
        let event = if stage == "live" { "update" } else { "message:new" };
        js.wait_count("a", event, 1, s(10));
        assert_eq!(said(&bridge), [false; 3], "{stage}");

        world.chat3.set_faults(Faults { worker_stopped: true, ..Faults::default() });
        for n in 0..4 {
            bridge.say(&sender, &dialog, &format!("silent {n}"));
        }
        eventually("stalled", s(30), || (said(&bridge) == [true; 3]).then_some(()));
        // In live they come by rescue, in the client's own form.
        let got = || js.got("a", "message:new").len() + js.got("a", "update").len();
        eventually("all messages", s(20), || (got() == 5).then_some(()));
        let line = "UPDATES HAVE STALLED";
        assert!(bridge.log().contains("Look whether Chat3's update worker runs"), "the remedy");
        if stage == "live" {
            let guard = || bridge.admin(Method::GET, "/admin/status", None).1["guard"].clone();
            eventually("the guard", s(20), || (guard()["state"] == "alarmed").then_some(()));
            let alarms = bridge.admin(Method::GET, "/metrics", None).1;
            let alarm = "bridge_guard_alarms_total{cause=\"updates_stalled\"} 1";
            assert!(alarms.as_str().unwrap().contains(alarm), "{}", guard());
        }

        world.chat3.set_faults(Faults::default());
        eventually("they come again", s(30), || (said(&bridge) == [false; 3]).then_some(()));
        assert_eq!(bridge.log().matches(line).count(), 1, "once for the episode");
        assert!(bridge.log().contains("updates come again"));
        assert_eq!(bridge.counted("bridge_updates_stalls_total"), 1);
        bridge.say(&sender, &dialog, "after");
        eventually("what comes after", s(10), || (got() == 6).then_some(()));
        // What came late comes no second time.
        std::thread::sleep(s(2));
        assert_eq!(got(), 6, "{stage}: {:?} {:?}", js.got("a", "message:new"), js.got("a", "update"));
    }
}
