//! What a gateway counted, told to Prometheus's own tool as a history.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use super::bridge::Bridge;

/// Seconds between two scrapes, and scrapes for which a state lasts.
pub(crate) const SCRAPE: usize = 15;
pub(crate) const LASTS: usize = 12;

pub(crate) fn is_here() -> bool {
    let found = Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: there is no promtool here (Debian: apt-get install prometheus)");
    }
    found
}

/// Every series with its value.
pub(crate) fn scrape(bridge: &Bridge) -> Vec<(String, String)> {
    let (status, Value::String(text)) = bridge.admin(Method::GET, "/metrics", None) else { panic!("no text") };
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with("bridge_"));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The series as Prometheus would store it.
fn stored(series: &str) -> String {
    let own = r#"instance="a",job="bridge""#;
    match series.split_once('{') {
        Some((name, labels)) => format!("{name}{{{own},{labels}"),
        None => format!("{series}{{{own}}}"),
    }
}

/// The beginning of a test for `promtool test rules`: these states follow each other.
pub(crate) fn history(rules: Option<&Path>, states: &[Vec<(String, String)>]) -> String {
    let mut names: Vec<&String> = states.iter().flatten().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let rules: Vec<&str> = rules.iter().filter_map(|rules| rules.to_str()).collect();
    let mut test = format!("rule_files: {rules:?}\nevaluation_interval: {SCRAPE}s\ntests:\n");
    let _ = write!(test, "- interval: {SCRAPE}s\n  input_series:\n");
    for name in names {
        let values: Vec<String> = states
            .iter()
            .map(|state| match state.iter().find(|(own, _)| own == name) {
                Some((_, value)) => format!("{value}+0x{}", LASTS - 1),
                None => format!("_x{LASTS}"),
            })
            .collect();
        let _ = write!(test, "  - series: '{}'\n    values: '{}'\n", stored(name), values.join(" "));
    }
    test
}

/// Whether it passes, and what is said of it.
pub(crate) fn test(test: &str) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.yml");
    std::fs::write(&file, test).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}
