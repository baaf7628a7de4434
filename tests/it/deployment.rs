//! What stands in Dockerfile, docker-compose.yml and deploy/ is true of this gateway: settings, ports, paths and commands. No
//! engine is needed: the composition runs as processes, and tools that read the files are asked where they are.

mod archive;
mod compose;
mod image;
mod manifests;
mod running;
mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"))
}

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_updates-bridge"));
    command.env_clear();
    command
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// The settings in force, where they are valid.
fn settings(config: &Path, environment: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let output = gateway()
        .args(["config", "explain", "--json", "--config-dir"])
        .arg(config)
        .envs(environment)
        .output()
        .unwrap();
    assert!(output.status.success(), "{environment:#?}\n{}", said(&output));
    assert!(output.stderr.is_empty(), "warnings: {}", said(&output));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().map(|one| (text(&one["key"]), one["value"].clone())).collect()
}

fn seconds(text: &str) -> u64 {
    text.trim_matches('"').trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text}: seconds"))
}

/// A tool that scripts/test installs beside this test, where it can be had.
fn tool(name: &str) -> Option<Command> {
    let packages = root().join("tests/deploy/packages");
    let program = packages.join("bin").join(name);
    if !program.exists() {
        println!("SKIPPED: {name} is not here; scripts/test installs it where it can be had");
        return None;
    }
    let mut command = Command::new(program);
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

#[test]
fn tools_that_read_the_files_find_no_fault() {
    if let Some(mut compose) = tool("docker-compose") {
        let output = compose.current_dir(root()).args(["config", "--quiet"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }
    if let Some(mut hadolint) = tool("hadolint") {
        let output = hadolint.arg(root().join("Dockerfile")).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let ask = |program: &str, args: &[&str], paths: &[PathBuf]| {
        if let Ok(output) = Command::new(program).args(args).args(paths).output() {
            assert!(output.status.success(), "{program}: {}", said(&output));
        } else {
            println!("SKIPPED: there is no {program} here");
        }
    };
    ask("promtool", &["check", "config"], &[root().join("deploy/prometheus/prometheus.yml")]);
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("updates-bridge.service");
    // It looks for the program too.
    let own = read("deploy/systemd/updates-bridge.service")
        .replace("/usr/local/bin/updates-bridge", env!("CARGO_BIN_EXE_updates-bridge"));
    std::fs::write(&unit, own).unwrap();
    ask("systemd-analyze", &["verify", "--man=no"], &[unit]);
}
