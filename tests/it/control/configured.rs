//! The flag as settings, signals and a restart change it.

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use updates_bridge::demo::StandInOptions;

use super::cli;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

#[test]
fn a_restart_in_an_incident_stays_rolled_back_and_a_new_configured_value_wins() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    assert_eq!(bridge.flag()["source"], "env");
    let (_, view) = bridge.rollback();
    assert_eq!((&view["stage"], &view["persisted"]), (&json!("legacy"), &json!(true)));
    let state = bridge.stop();
    let bridge = world.setup("live").state(state).start();
    let view = bridge.flag();
    assert_eq!(
        (&view["stage"], &view["source"], &view["version"]),
        (&json!("legacy"), &json!("state"), &json!(1)),
        "{view}"
    );
    let state = bridge.stop();
    let bridge = world.setup("shadow").state(state).start().ready();
    let view = bridge.flag();
    assert_eq!((&view["stage"], &view["source"]), (&json!("shadow"), &json!("env")), "{view}");
    let audit = bridge.admin(Method::GET, "/admin/audit", None).1;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{audit}");
    assert_eq!((&entries[0]["automatic"], &entries[1]["to"]), (&json!(true), &json!("legacy")));
    let (code, _, err) = cli(&bridge, &["flag", "history", "--verify"]);
    assert_eq!(code, Some(0), "{err}");
    let path = bridge.state.path().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("rollback", "nothing", 1)).unwrap();
    let (code, _, err) = cli(&bridge, &["flag", "history", "--verify"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("line 1"), "{err}");
}

#[test]
fn signals_files_and_a_corrupt_state() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("flag.json"), "not JSON").unwrap();
    std::fs::create_dir(state.path().join("config")).unwrap();
    let file = state.path().join("config/default.toml");
    let write = |text: &str| {
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
    };
    write("[flag]\nuse_rabbitmq_updates = true\nshadow_mode = true\n");
    let bridge = world.setup("live").unset(&["USE_RABBITMQ_UPDATES", "SHADOW_MODE"]).state(state).start().ready();
    assert_eq!((&bridge.flag()["stage"], &bridge.flag()["source"]), (&json!("live"), &json!("file")));
    assert!(bridge.log().contains("CORRUPT"), "{}", bridge.log());
    bridge.signal("-USR1");
    eventually("rolled back", s(2), || (bridge.flag()["stage"] == "legacy").then_some(()));
    assert_eq!(bridge.flag()["source"], "signal");
    // A value that moves back, or only a little, from where it was configured applies within 5 s.
    write("[flag]\nuse_rabbitmq_updates = false\nshadow_mode = true\n");
    eventually("shadow", s(5), || (bridge.flag()["stage"] == "shadow").then_some(()));
    assert_eq!(bridge.flag()["source"], "file");
    // One key of the two is enough to say where the stage comes from.
    write("[flag]\nshadow_mode = true\n[log]\nlevel = \"info\"\n");
    std::thread::sleep(s(3));
    assert_eq!((&bridge.flag()["stage"], &bridge.flag()["source"]), (&json!("shadow"), &json!("file")));
    write("[flag]\nuse_rabbitmq_updates = \"maybe\"\n");
    eventually("said", s(5), || bridge.log().contains("the old one stays").then_some(()));
    assert_eq!(bridge.flag()["stage"], "shadow");
    // Two stages at once is against the order: refused, and audited.
    write("[flag]\nuse_rabbitmq_updates = true\nshadow_mode = false\n");
    eventually("refused", s(5), || bridge.log().contains("IS REFUSED").then_some(()));
    assert_eq!(bridge.flag()["stage"], "shadow");
    let second = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .arg("serve")
        .env_clear()
        .envs([
            ("BRIDGE_STATE_DIR", bridge.state.path().to_str().unwrap()),
            ("CHAT3_API_URL", "http://127.0.0.1:1/api"),
            ("CHAT3_API_KEY", "key"),
            ("JWT_SECRET", "0123456789012345678901234567890123"),
        ])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("belongs to another instance"));
}

#[test]
fn a_signal_takes_a_configured_move_back_and_nothing_unrelated_brings_it_again() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("config")).unwrap();
    let file = state.path().join("config/default.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let unanswered = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // A broker that takes the connection and says nothing: the preflight waits.
    let mute = unanswered();
    let broker = format!("amqp://127.0.0.1:{}", mute.local_addr().unwrap().port());
    write("[flag]\nshadow_mode = false\n");
    let setup = world.setup("legacy").unset(&["USE_RABBITMQ_UPDATES", "SHADOW_MODE"]).rabbit(broker);
    let bridge = setup.state(state).start();
    eventually("ready", s(20), || (bridge.get("/readyz").0 == 200).then_some(()));
    write("[flag]\nshadow_mode = true\n");
    eventually("noticed", s(6), || bridge.log().contains("the configuration has changed").then_some(()));
    let limit = bridge.at_its_pace(s(2));
    let asked = std::time::Instant::now();
    bridge.signal("-USR1");
    eventually("taken back", s(2), || bridge.log().contains("superseded by a rollback").then_some(()));
    assert!(asked.elapsed() < limit, "{:?}", asked.elapsed());
    write("[flag]\nshadow_mode = true\n[shadow]\nsample = 0.5\n");
    eventually("noticed", s(6), || {
        (bridge.log().matches("the configuration has changed").count() == 2).then_some(())
    });
    std::thread::sleep(s(1));
    assert_eq!(bridge.log().matches("IS REFUSED").count(), 1, "{}", bridge.log());
    assert_eq!(bridge.flag()["stage"], "legacy");
}

#[test]
fn a_configured_way_back_does_not_wait_for_a_configured_way_forward() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("config")).unwrap();
    let file = state.path().join("config/default.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    // A broker that takes the connection and says nothing: what goes forward waits for its preflight.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = format!("amqp://127.0.0.1:{}", mute.local_addr().unwrap().port());
    write("[flag]\nshadow_mode = false\n");
    let setup = world.setup("legacy").unset(&["USE_RABBITMQ_UPDATES", "SHADOW_MODE"]).rabbit(broker);
    let bridge = setup.state(state).start();
    write("[flag]\nshadow_mode = true\n");
    let noticed = |times: usize| {
        eventually("noticed", s(6), || {
            (bridge.log().matches("the configuration has changed").count() == times).then_some(())
        });
    };
    noticed(1);
    write("[flag]\nshadow_mode = false\n");
    noticed(2);
    eventually("in force", s(2), || bridge.log().contains("superseded by the configuration").then_some(()));
    eventually("legacy is in force", s(2), || {
        bridge.log().contains("the configured stage is in force stage=legacy").then_some(())
    });
    assert_eq!(bridge.flag()["stage"], "legacy");
}

#[test]
fn a_reload_that_changes_neither_flag_nor_rollout_touches_no_change_in_progress() {
    let world = World::shared(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("config")).unwrap();
    let file = state.path().join("config/default.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    // A broker that takes the connection and says nothing: the flip waits for its queues.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = format!("amqp://127.0.0.1:{}", mute.local_addr().unwrap().port());
    write("[flag]\nshadow_mode = false\n");
    let setup = world.setup("legacy").unset(&["USE_RABBITMQ_UPDATES", "SHADOW_MODE"]).rabbit(broker);
    let bridge = setup.env("BRIDGE_FLAG__FLIP_TIMEOUT", "40s").state(state).start();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "reload_a");
    let noticed = |times: usize| {
        eventually("noticed", s(20), || {
            (bridge.log().matches("the configuration has changed").count() == times).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let flip = scope.spawn(|| bridge.set("shadow", &json!({"force": true})));
        eventually("warming", s(20), || (bridge.flag()["transition"]["phase"] == "warming").then_some(()));
        write("[flag]\nshadow_mode = false\n[shadow]\nsample = 0.5\n");
        noticed(1);
        std::thread::sleep(s(1));
        assert_eq!(bridge.flag()["transition"]["phase"], "warming", "{}", bridge.log());
        // What does change the flag, and stays below where the change leads, takes its place.
        write("[flag]\nshadow_mode = false\n[flag.rollout]\npercent = 50.0\n[shadow]\nsample = 0.5\n");
        noticed(2);
        let (status, answer) = flip.join().unwrap();
        assert_eq!((status, &answer["error"]), (409, &json!("superseded")), "{answer}");
    });
    assert_eq!(bridge.flag()["stage"], "legacy");
}

#[test]
fn a_signal_rolls_back_while_a_reading_of_the_configuration_hangs() {
    let world = World::alone(StandInOptions::default());
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("default.toml"), "").unwrap();
    // There need not be a broker behind it.
    let bridge = world.setup("live").rabbit("amqp://127.0.0.1:1").state(state).start();
    assert_eq!(bridge.flag()["stage"], "live");
    // A pipe that nobody writes to: whoever opens it waits, as on a mount that hangs.
    let (pipe, file) = (config.join("pipe"), config.join("default.toml"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, &file).unwrap();
    bridge.signal("-HUP");
    std::thread::sleep(s(3));
    bridge.signal("-USR1");
    eventually("the rollback", s(20), || (bridge.flag()["stage"] == "legacy").then_some(()));
    // A second one finds the first still waiting.
    bridge.signal("-HUP");
    let mut bridge = bridge;
    bridge.signal("-TERM");
    assert_eq!(bridge.wait(s(30)), Some(0));
}

#[test]
fn a_start_that_waits_for_its_configuration_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("default.toml");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(["serve", "--config-dir"])
        .arg(dir.path())
        .spawn()
        .unwrap();
    let signal = |name: &str| {
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    std::thread::sleep(s(3));
    signal("-USR1");
    signal("-TERM");
    let deadline = std::time::Instant::now() + s(20);
    let mut ended = None;
    while ended.is_none() && std::time::Instant::now() < deadline {
        std::thread::sleep(s(1) / 10);
        ended = child.try_wait().unwrap();
    }
    let _already_gone = child.kill();
    child.wait().unwrap();
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
}
