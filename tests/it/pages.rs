//! The commands of the pages for operators run as they are written: what is said once there is said once here.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// The blocks of commands of a page, in order.
fn blocks(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let (mut blocks, mut block) = (Vec::new(), None::<String>);
    for line in text.lines() {
        let command = line.trim_start();
        match (&mut block, command) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(own), _) => {
                own.push_str(command);
                own.push('\n');
            }
            // What is to be typed stands in a block, so that it is run here.
            (None, _) => assert!(!command.contains("`updates-bridge "), "{page}: {command}"),
        }
    }
    blocks
}

/// Runs a page's commands in one shell, where each has to succeed; `said` is what the page says once, as it is here.
fn run(page: &str, bridge: &Bridge, said: &[(&str, &str)]) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut exported = 0;
    for line in blocks(page).concat().lines() {
        let name = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')).map(|(name, _)| name);
        if said.iter().any(|(own, _)| Some(*own) == name) {
            exported += 1;
            continue;
        }
        script.push_str(line);
        script.push('\n');
    }
    assert_eq!(exported, said.len(), "{page}: each is said once");
    let dir = tempfile::tempdir().unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    std::os::unix::fs::symlink(config, dir.path().join("config")).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_updates-bridge")).parent().unwrap().to_owned();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-x", "-c", &script])
        .current_dir(dir.path())
        .env_clear()
        .envs(bridge.env.iter().map(|(name, value)| (name, value)))
        .env("PATH", path)
        .envs(said.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{page}: {}\n{out}\n{err}", output.status);
    out + &err
}

/// What `run` gives, while messages are posted to `dialog`.
fn while_people_talk(bridge: &Bridge, dialog: &str, run: impl FnOnce() -> String) -> String {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                count += 1;
                bridge.say("page_b", dialog, &format!("line {count}"));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let told = std::panic::catch_unwind(AssertUnwindSafe(run));
        over.store(true, Ordering::Relaxed);
        told.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

#[test]
fn the_commands_of_the_pages_for_operators_run_as_they_are_written() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["page_a", "page_b"]);
    // A staging or production environment asks for the same; here it is reached in seconds.
    let bridge = world
        .setup("legacy")
        .env("BRIDGE_SHADOW__TARGET_RATE", "0.3")
        .env("BRIDGE_SHADOW__CONFIDENCE", "0.8")
        .env("BRIDGE_SHADOW__SAMPLE", "1")
        .env("BRIDGE_FLAG__REQUIRE_VERDICT", "SAFE")
        .env("BRIDGE_SHADOW__REQUIRE_DRILL", "true")
        .start()
        .ready();
    let host = bridge.admin.trim_start_matches("http://");
    let token = ("BRIDGE_ADMIN__TOKEN", "an admin token of some length");
    let node = ("BRIDGE_NODES", host);
    let mut js = Js::start();
    js.sign_on("a", &bridge, "page_a");
    js.join("a", &dialog);
    // People talk meanwhile.
    let told = while_people_talk(&bridge, &dialog, || run("02-rollout.md", &bridge, &[node, token]));
    assert!(told.contains("; SAFE at a target of") && told.contains("bridge_stage{"), "{told}");
    assert_eq!(bridge.flag()["stage"], "complete", "{told}");

    let pid = bridge.pid().to_string();
    let told = run("03-rollback.md", &bridge, &[node, token, ("PID", &pid)]);
    assert_eq!(bridge.flag()["stage"], "legacy", "{told}");
    eventually("the broker is left", s(30), || bridge.flag()["transition"].is_null().then_some(()));

    assert_eq!(bridge.set("shadow", &serde_json::json!({})).0, 200);
    let before = bridge.summary()["classes"]["payload_mismatch"].as_u64().unwrap();
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    bridge.say("page_b", &dialog, "altered");
    eventually("a bad one", s(30), || {
        (bridge.summary()["classes"]["payload_mismatch"].as_u64().unwrap() > before).then_some(())
    });
    let state = bridge.state.path().to_str().unwrap();
    let told = run("04-reading-the-shadow-log.md", &bridge, &[node, token, ("STATE", state)]);
    assert!(told.contains("differs at /content"), "{told}");

    let told = run("runbook.md", &bridge, &[node, token]);
    assert!(told.contains("differs at /content"), "{told}");
    run("playbooks.md", &bridge, &[node, token]);
    world.chat3.set_faults(Faults::default());
    assert_eq!(bridge.set("shadow", &serde_json::json!({})).0, 200);
    let told = while_people_talk(&bridge, &dialog, || run("qa.md", &bridge, &[node, token]));
    assert!(told.contains("; SAFE at a target of"), "{told}");
    run("18-finish.md", &bridge, &[node, token]);
    run("reference/settings.md", &bridge, &[]);

    let http = bridge.http.trim_start_matches("http://");
    let told = run("06-kubernetes.md", &bridge, &[("ADMIN", host), token, ("HTTP", http)]);
    assert!(told.contains("\"ready\":true"), "{told}");
}
