//! Official socket.io clients, in one Node process.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::bridge::{Bridge, token};
use super::{eventually, s};

pub(crate) struct Js {
    child: Child,
    input: ChildStdin,
    seen: Arc<Mutex<Seen>>,
    calls: u64,
}

#[derive(Default)]
struct Seen {
    /// Event name, arguments and when it came (ms since 1970), for each client.
    events: HashMap<String, Vec<(String, Value, u64)>>,
    acks: HashMap<u64, Value>,
}

impl Js {
    pub(crate) fn start() -> Self {
        Self::run(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/js/client.mjs"))
    }

    /// The same for the browser client.
    pub(crate) fn start_web() -> Self {
        build_web_client();
        Self::run(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/js/web-client.mjs"))
    }

    /// A script that reports as they do.
    pub(crate) fn run(script: &Path) -> Self {
        let mut child =
            Command::new("node").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node");
        let (input, output) = (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).expect("JSON");
                let mut seen = noted.lock().expect("what was seen");
                if let Some(call) = message["call"].as_u64() {
                    seen.acks.insert(call, message["ack"].clone());
                } else {
                    let (id, on) =
                        (message["id"].as_str().expect("an id"), message["on"].as_str().expect("an event"));
                    seen.events.entry(id.into()).or_default().push((
                        on.into(),
                        message["args"].clone(),
                        message["at"].as_u64().unwrap_or_default(),
                    ));
                }
            }
        });
        Self { child, input, seen, calls: 0 }
    }

    fn tell(&mut self, command: &Value) {
        writeln!(self.input, "{command}").expect("node takes it");
    }

    pub(crate) fn connect(&mut self, id: &str, url: &str, options: &Value) {
        self.tell(&json!({"do": "connect", "id": id, "url": url, "options": options}));
    }

    /// Connects `user` with a token and waits until it is authenticated.
    pub(crate) fn sign_on(&mut self, id: &str, bridge: &Bridge, user: &str) -> Value {
        self.sign_on_with(id, bridge, json!({"token": token(user)}))
    }

    pub(crate) fn sign_on_with(&mut self, id: &str, bridge: &Bridge, auth: Value) -> Value {
        self.connect(id, &bridge.http, &json!({"auth": auth}));
        self.wait_for(id, "authenticated", s(15))[0].clone()
    }

    pub(crate) fn join(&mut self, id: &str, dialog: &str) {
        let ack = self.call(id, "dialog:join", &[json!(dialog)]);
        assert_eq!(ack, json!({"ok": true}));
    }

    pub(crate) fn emit(&mut self, id: &str, event: &str, args: &[Value]) {
        self.tell(&json!({"do": "emit", "id": id, "event": event, "args": args}));
    }

    /// Emits and waits for the ack.
    pub(crate) fn call(&mut self, id: &str, event: &str, args: &[Value]) -> Value {
        self.calls += 1;
        let call = self.calls;
        self.tell(&json!({"do": "emit", "id": id, "call": call, "event": event, "args": args}));
        let seen = Arc::clone(&self.seen);
        eventually(&format!("ack of {event}"), s(25), || seen.lock().expect("seen").acks.remove(&call))[0].clone()
    }

    /// Calls a method of a browser client; gives `{ok, value}` or `{ok, name, error}`.
    pub(crate) fn ask(&mut self, id: &str, method: &str, args: &[Value]) -> Value {
        self.calls += 1;
        let call = self.calls;
        self.tell(&json!({"do": "call", "id": id, "call": call, "method": method, "args": args}));
        let seen = Arc::clone(&self.seen);
        eventually(&format!("answer of {method}"), s(45), || seen.lock().expect("seen").acks.remove(&call))[0]
            .clone()
    }

    pub(crate) fn act(&mut self, id: &str, action: &str, more: &Value) {
        let mut command = json!({"do": action, "id": id});
        for (key, value) in more.as_object().into_iter().flatten() {
            command[key] = value.clone();
        }
        self.tell(&command);
    }

    /// First argument of every `event` that the client got.
    pub(crate) fn got(&self, id: &str, event: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("seen");
        let events = seen.events.get(id).into_iter().flatten();
        events.filter(|(on, ..)| on == event).map(|(_, args, _)| args[0].clone()).collect()
    }

    /// The same, each with the moment at which it came (ms since 1970).
    pub(crate) fn got_at(&self, id: &str, event: &str) -> Vec<(Value, u64)> {
        let seen = self.seen.lock().expect("seen");
        let events = seen.events.get(id).into_iter().flatten();
        events.filter(|(on, ..)| on == event).map(|(_, args, at)| (args[0].clone(), *at)).collect()
    }

    /// Forgets what a client got.
    pub(crate) fn forget(&self, id: &str) {
        self.seen.lock().expect("seen").events.remove(id);
    }

    /// Waits for the first `event` of a client; returns its arguments.
    pub(crate) fn wait_for(&self, id: &str, event: &str, limit: Duration) -> Value {
        eventually(&format!("{event} at {id}"), limit, || {
            let seen = self.seen.lock().expect("seen");
            let found = seen.events.get(id)?.iter().find(|(on, ..)| on == event)?;
            Some(found.1.clone())
        })
    }

    /// Waits until a client got `count` of `event`.
    pub(crate) fn wait_count(&self, id: &str, event: &str, count: usize, limit: Duration) -> Vec<Value> {
        eventually(&format!("{count} × {event} at {id} (has {})", self.got(id, event).len()), limit, || {
            let got = self.got(id, event);
            (got.len() >= count).then_some(got)
        })
    }
}

impl Drop for Js {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Builds the browser client where it is older than its sources.
pub(crate) fn build_web_client() {
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/web");
        let npm = |args: &[&str]| {
            let ended = Command::new("npm").args(args).current_dir(&root).stdout(Stdio::null()).status();
            assert!(ended.expect("npm").success(), "npm {args:?} in clients/web failed");
        };
        if !root.join("node_modules/.package-lock.json").exists() {
            npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        }
        npm(&["run", "build", "--silent"]);
    });
}
