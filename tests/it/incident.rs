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
