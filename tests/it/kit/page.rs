//! A person at a browser: runs one scenario of a script of `tests/js`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Whether there is a Chromium; says so where there is none. `scripts/test` installs it.
pub(crate) fn has_browser() -> bool {
    let given = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    let has = Path::new(&given).exists();
    assert!(has || std::env::var_os("BRIDGE_TESTS_NEED_CHROMIUM").is_none(), "no Chromium at {given}");
    if !has {
        println!("SKIPPED: no Chromium at {given}; install it, or name one by CHROMIUM");
    }
    has
}

/// Runs `scenario`; `deed` does what it asks for. Gives what it found.
pub(crate) fn person(script: &str, scenario: &str, settings: &Value, mut deed: impl FnMut(&str)) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/js").join(script);
    let mut child = Command::new("node")
        .arg(script)
        .args([scenario, &settings.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let mut input = child.stdin.take().expect("its input");
    let mut end = None;
    for line in BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if let Some(what) = line["ask"].as_str() {
            deed(what);
            writeln!(input, "done").expect("it takes an answer");
        } else {
            end = Some(line);
        }
    }
    let _reaped = child.wait();
    let end = end.unwrap_or_else(|| panic!("{scenario} ended without a word"));
    assert!(end["failed"].is_null(), "{scenario}: {}", end["failed"].as_str().unwrap_or_default());
    end["done"].clone()
}
