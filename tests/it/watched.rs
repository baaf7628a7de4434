//! What the terminal shows as it changes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::TOKEN;
use crate::kit::js::Js;
use crate::kit::world::World;

#[test]
fn a_report_that_is_watched_is_shown_again_when_it_changes_and_says_who_is_gone() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["watched_a", "watched_b"]);
    let mut bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "watched_a");
    js.join("a", &dialog);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(["shadow", "report", "--watch", "--json", "--node", &bridge.admin, "--token", TOKEN])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let reports = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut reports = reports.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(reports.next().unwrap()["classes"]["match"], 0);
    bridge.say("watched_b", &dialog, "shown");
    let shown = reports.find(|report| report["classes"]["match"] == 1);
    assert!(shown.is_some());
    bridge.signal("-KILL");
    bridge.wait(crate::kit::s(10));
    let told = BufReader::new(watch.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(told.ends_with("no connection"), "{told}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
