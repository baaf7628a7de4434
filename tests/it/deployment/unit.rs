//! The unit of systemd.

use std::collections::BTreeMap;

use super::{gateway, read, root, said, seconds, settings, text};

#[test]
fn the_unit_starts_what_there_is_and_waits_for_its_end() {
    let unit = read("deploy/systemd/updates-bridge.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let start = value("ExecStart");
    let args: Vec<&str> = start.split_whitespace().collect();
    assert_eq!(args[..2], ["/usr/local/bin/updates-bridge", "serve"]);
    let output = gateway().args(&args[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let state = value("Environment").replace("%S", "/var/lib");
    let (name, dir) = state.split_once('=').unwrap();
    assert_eq!(dir, format!("/var/lib/{}", value("StateDirectory")));
    let mut variables = BTreeMap::from([(name.into(), dir.into())]);
    variables.insert("JWT_SECRET".into(), "a secret of at least thirty-two bytes".into());
    variables.insert("CHAT3_API_KEY".into(), "a key of some length".into());
    let settings = settings(&root().join("config"), &variables);
    assert_eq!(settings["state_dir"], dir);
    assert!(seconds(&value("TimeoutStopSec")) > seconds(&text(&settings["http.drain_timeout"])));
}
