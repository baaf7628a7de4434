//! The archive of a release.

use std::process::Command;

use super::{root, said};

#[test]
fn the_archive_of_a_release_has_the_program_and_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("scripts/release"))
        .env("BINARY", env!("CARGO_BIN_EXE_updates-bridge"))
        .env("OUT", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mut unpack = Command::new("sh");
    unpack.args(["-c", "sha256sum -c *.sha256 && rm -r */ && tar xzf *.tar.gz && rm *.gz *.sha256"]);
    let checked = unpack.current_dir(dir.path()).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let name = format!("updates-bridge-{}-", env!("CARGO_PKG_VERSION"));
    let own = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
    assert!(own.file_name().to_str().unwrap().starts_with(&name));
    let runs = Command::new(own.path().join("updates-bridge")).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&runs.stdout).trim(),
        name.replace("bridge-", "bridge ").trim_end_matches('-')
    );
    let bash = std::fs::read_to_string(own.path().join("completions/updates-bridge.bash")).unwrap();
    assert!(bash.contains("complete -F") && bash.contains("rollback"), "{bash}");
    assert!(own.path().join("updates-bridge.service").exists() && own.path().join("config/default.toml").exists());
}
