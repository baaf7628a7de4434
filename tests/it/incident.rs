//! What was rolled back stays so, whatever the configuration says that was refused, and whenever the process restarts.

use serde_json::{Value, json};
use tempfile::TempDir;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn stage(rabbitmq: bool, shadow: bool) -> String {
    format!("[flag]\nuse_rabbitmq_updates = {rabbitmq}\nshadow_mode = {shadow}\n")
}

fn configure(state: &TempDir, text: &str) {
    let dir = state.path().join("config");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("default.toml"), text).unwrap();
}

fn start(world: &World, state: TempDir) -> Bridge {
    world.setup("legacy").unset(&["USE_RABBITMQ_UPDATES", "SHADOW_MODE"]).state(state).start().ready()
}

/// The bridge refuses what is configured from now on.
fn refuses(bridge: &Bridge, text: &str) {
    configure(&bridge.state, text);
    eventually("refused", s(6), || bridge.log().contains("IS REFUSED").then_some(()));
}

fn is(bridge: &Bridge, stage: &str, source: &str) {
    let view = bridge.flag();
    assert_eq!((&view["stage"], &view["source"]), (&json!(stage), &json!(source)), "{view}");
}

#[test]
fn a_rollback_where_legacy_is_already_holds_what_is_configured_off() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    configure(&state, &stage(false, false));
    let bridge = start(&world, state);
    let quiet = bridge.rollback().1;
    assert_eq!(
        (&quiet["version"], &quiet["persisted"]),
        (&json!(0), &json!(true)),
        "nothing to hold off: {quiet}"
    );
    refuses(&bridge, &stage(true, true));
    let held = bridge.rollback().1;
    let expected: Vec<Value> = vec![json!("legacy"), json!("admin"), json!(1), json!(true)];
    assert_eq!(
        [&held["stage"], &held["source"], &held["version"], &held["persisted"]].map(Value::clone),
        expected[..]
    );
    assert_eq!(bridge.rollback().1["version"], 1, "it is held off already");
    let bridge = start(&world, bridge.stop());
    is(&bridge, "legacy", "state");
    let audit = bridge.admin(reqwest::Method::GET, "/admin/audit", None).1;
    assert_eq!(audit["entries"][0]["reason"], "rollback", "{audit}");
    assert_eq!(audit["verification"]["ok"], true, "{audit}");
}

#[test]
fn an_override_outlives_a_configured_move_that_was_refused() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    configure(&state, &stage(true, true));
    let bridge = start(&world, state);
    bridge.rollback();
    refuses(&bridge, &stage(true, false));
    is(&bridge, "legacy", "admin");
    let bridge = start(&world, bridge.stop());
    is(&bridge, "legacy", "state");
    // What is configured anew, and allowed, wins.
    configure(&bridge.state, &stage(false, true));
    eventually("shadow", s(6), || (bridge.flag()["stage"] == "shadow").then_some(()));
    is(&bridge, "shadow", "file");
}

#[test]
fn a_rollback_takes_back_a_move_that_waits_for_the_disk_behind_the_one_before() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("shadow").start().ready();
    let forced = json!({"force": true, "reason": "on"});
    // A pipe that nobody reads: whoever opens it waits, as on a disk that hangs.
    let audit = bridge.state.path().join("audit.jsonl");
    let _none_yet = std::fs::remove_file(&audit);
    assert!(std::process::Command::new("mkfifo").arg(&audit).status().unwrap().success());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| bridge.set("live", &forced));
        eventually("flipped", s(10), || (bridge.flag()["stage"] == "live").then_some(()));
        // Its audit entry is on its way to the disk: the next one waits behind it.
        let second = scope.spawn(|| {
            loop {
                let (status, answer) = bridge.set("complete", &forced);
                if answer["error"] != "flip_in_progress" {
                    return (status, answer);
                }
            }
        });
        assert_eq!(first.join().unwrap().0, 200);
        std::thread::sleep(s(1));
        let (status, view) = bridge.rollback();
        assert_eq!((status, &view["stage"]), (200, &json!("legacy")), "{view}");
        let reader = std::thread::spawn(move || std::fs::read(&audit));
        let (status, answer) = second.join().unwrap();
        assert_eq!((status, &answer["error"]), (409, &json!("superseded")), "{answer}");
        drop(reader);
    });
    assert_eq!(bridge.flag()["stage"], "legacy", "it stays rolled back");
}
