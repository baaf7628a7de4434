//! python-socketio's client, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::bridge::token;
use super::eventually;

pub(crate) struct Py {
    child: Child,
    input: ChildStdin,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Py {
    pub(crate) fn connect(url: &str, user: &str) -> Self {
        Self::connect_with(url, &json!({"token": token(user)}))
    }

    pub(crate) fn connect_with(url: &str, auth: &Value) -> Self {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/py");
        let packages = here.join("packages");
        assert!(packages.join("socketio").is_dir(), "{packages:?} is missing: scripts/test installs it");
        let mut child = Command::new("python3")
            .arg(here.join("client.py"))
            .args([url, &auth.to_string()])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let (input, output) = (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).expect("JSON");
                let on = message["on"].as_str().expect("an event").to_owned();
                noted.lock().expect("what was seen").push((on, message["args"].clone()));
            }
        });
        Self { child, input, seen }
    }

    /// First argument of every `event`.
    pub(crate) fn got(&self, event: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("seen");
        seen.iter().filter(|(on, _)| on == event).map(|(_, args)| args[0].clone()).collect()
    }

    pub(crate) fn wait_count(&self, event: &str, count: usize, limit: Duration) -> Vec<Value> {
        eventually(&format!("{count} × {event} (has {})", self.got(event).len()), limit, || {
            let got = self.got(event);
            (got.len() >= count).then_some(got)
        })
    }

    /// `polling` or `websocket`.
    pub(crate) fn transport(&mut self, limit: Duration) -> Value {
        let asked = self.got("transport").len();
        writeln!(self.input, "transport").expect("python takes it");
        self.wait_count("transport", asked + 1, limit)[asked].clone()
    }
}

impl Drop for Py {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
