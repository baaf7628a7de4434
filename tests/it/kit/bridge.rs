//! The real binary.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{eventually, runtime, s};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
pub(crate) const TOKEN: &str = "an admin token of some length";

pub(crate) struct Bridge {
    child: Child,
    pub(crate) http: String,
    pub(crate) admin: String,
    pub(crate) state: tempfile::TempDir,
    /// The variables that it was started with.
    pub(crate) env: Vec<(String, String)>,
    client: reqwest::Client,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

/// A bridge to be started.
pub(crate) struct Setup {
    env: Vec<(String, String)>,
    state: Option<tempfile::TempDir>,
    config: Option<std::path::PathBuf>,
    under: Option<String>,
}

impl Setup {
    /// With no settings but addresses, the stage's flags and what `serve` needs.
    pub(crate) fn new(stage: &str, chat3_url: &str) -> Self {
        let (rabbitmq, shadow) = match stage {
            "legacy" => ("false", "false"),
            "shadow" => ("false", "true"),
            "live" => ("true", "true"),
            "complete" => ("true", "false"),
            other => panic!("no stage {other}"),
        };
        let env = [
            ("USE_RABBITMQ_UPDATES", rabbitmq),
            ("SHADOW_MODE", shadow),
            ("CHAT3_API_URL", chat3_url),
            ("CHAT3_API_KEY", "key"),
            ("BRIDGE_CHAT3__MESSAGE_TYPE_MAP", r#"{"text":"internal.text"}"#),
            ("JWT_SECRET", SECRET),
            ("BRIDGE_ADMIN__TOKEN", TOKEN),
            ("BRIDGE_HTTP__LISTEN", "127.0.0.1:0"),
            ("BRIDGE_ADMIN__LISTEN", "127.0.0.1:0"),
            ("BRIDGE_SHADOW__WINDOW", "2s"),
        ];
        Self {
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            state: None,
            config: None,
            under: None,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn unset(mut self, names: &[&str]) -> Self {
        self.env.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    pub(crate) fn rabbit(self, url: impl Into<String>) -> Self {
        self.env("RABBITMQ_URL", url)
    }

    pub(crate) fn state(mut self, state: tempfile::TempDir) -> Self {
        self.state = Some(state);
        self
    }

    /// As the shell leaves the process after `commands`.
    pub(crate) fn under(mut self, commands: &str) -> Self {
        self.under = Some(commands.into());
        self
    }

    /// With files of settings.
    pub(crate) fn config_dir(mut self, dir: &std::path::Path) -> Self {
        self.config = Some(dir.to_owned());
        self
    }

    pub(crate) fn start(self) -> Bridge {
        let state = self.state.unwrap_or_else(|| tempfile::tempdir().expect("a directory"));
        // A long run goes on with its own copy while others build.
        let binary =
            std::env::var("BRIDGE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_updates-bridge").into());
        let mut command = Command::new(if self.under.is_some() { "bash" } else { &binary });
        if let Some(commands) = &self.under {
            command.args(["-c", &format!("{commands}; exec \"$0\" \"$@\""), &binary]);
        }
        let mut child = command
            .arg("serve")
            .args(self.config.iter().flat_map(|dir| [std::ffi::OsStr::new("--config-dir"), dir.as_os_str()]))
            .env_clear()
            .envs(std::env::var("PATH").map(|path| ("PATH", path)))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("BRIDGE_STATE_DIR", state.path())
            .current_dir(state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let log = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let (mut stderr, kept) = (child.stderr.take().expect("its log"), std::sync::Arc::clone(&log));
        std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(count @ 1..) = stderr.read(&mut chunk) {
                kept.lock().expect("the log").push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let addresses: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("no addresses: {line:?}\n{}", log.lock().expect("the log"));
        });
        let url = |key: &str| format!("http://{}", addresses[key].as_str().expect("an address"));
        let client = reqwest::Client::new();
        Bridge { child, http: url("http"), admin: url("admin"), state, env: self.env, client, log }
    }
}

impl Bridge {
    fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        runtime().block_on(async {
            let answer = request.timeout(s(60)).send().await.expect("an answer");
            let status = answer.status().as_u16();
            let body = answer.bytes().await.expect("a body");
            let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
            (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
        })
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.http)))
    }

    pub(crate) fn post_message(&self, user: &str, dialog: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/api/messages/dialog/{dialog}", self.http);
        self.send(self.client.post(url).bearer_auth(token(user)).json(body))
    }

    pub(crate) fn say(&self, user: &str, dialog: &str, content: &str) -> Value {
        let (status, answer) = self.post_message(user, dialog, &json!({"content": content}));
        assert_eq!(status, 201, "{answer}");
        answer["data"].clone()
    }

    pub(crate) fn raw_post(&self, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = self.client.post(format!("{}{path}", self.http)).body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        self.send(request.header("content-type", "application/json"))
    }

    pub(crate) fn admin(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.admin)).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request)
    }

    pub(crate) fn admin_as(
        &self,
        token: Option<&str>,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.admin));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.admin(reqwest::Method::GET, "/metrics", None).1;
        let lines = metrics.as_str().expect("text").lines();
        let own = lines.filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        own.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The value of one series of a metric, by its whole name with its labels; 0 where it is not there.
    pub(crate) fn series(&self, name: &str) -> u64 {
        let (_, metrics) = self.admin(reqwest::Method::GET, "/metrics", None);
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok();
        let found = metrics.as_str().and_then(|text| text.lines().find_map(value));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let found = found.unwrap_or_default() as u64;
        found
    }

    pub(crate) fn without_token(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.admin)))
    }

    pub(crate) fn flag(&self) -> Value {
        self.admin(reqwest::Method::GET, "/admin/flag", None).1
    }

    pub(crate) fn summary(&self) -> Value {
        self.admin(reqwest::Method::GET, "/admin/shadow/summary", None).1
    }

    /// The value of a metric, all its labels added.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let (_, text) = self.admin(reqwest::Method::GET, "/metrics", None);
        let of = |line: &str| {
            let (metric, value) = line.split_once(' ')?;
            (metric.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok()).flatten()
        };
        let sum: f64 = text.as_str().unwrap_or_default().lines().filter_map(of).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let sum = sum as u64;
        sum
    }

    pub(crate) fn set(&self, stage: &str, more: &Value) -> (u16, Value) {
        let mut body = json!({"use_rabbitmq_updates": matches!(stage, "live" | "complete"),
            "shadow_mode": matches!(stage, "shadow" | "live"), "actor": "test", "reason": "test"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.admin(reqwest::Method::PUT, "/admin/flag", Some(&body))
    }

    pub(crate) fn rollback(&self) -> (u16, Value) {
        self.admin(reqwest::Method::POST, "/admin/rollback", None)
    }

    /// Waits until every path has come up.
    pub(crate) fn ready(self) -> Self {
        eventually("ready", s(20), || {
            let (status, report) = self.get("/readyz");
            (status == 200 && report["degraded"].as_array().is_some_and(Vec::is_empty)).then_some(())
        });
        self
    }

    /// What takes at most `limit` on a quiet machine may take so long on this one: a call that asks for nothing tells how
    /// busy it is.
    pub(crate) fn at_its_pace(&self, limit: Duration) -> Duration {
        let call = |_| {
            let asked = Instant::now();
            self.flag();
            asked.elapsed()
        };
        limit + 20 * (0..5).map(call).max().unwrap_or_default()
    }

    /// Bytes of it that are resident.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1_024
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Time that it has worked.
    pub(crate) fn cpu(&self) -> Duration {
        super::worked(self.child.id())
    }

    /// Time that its threads could have worked and had no processor, as the system counts it.
    pub(crate) fn starved(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        let waited = |stat: String| stat.split_whitespace().nth(1)?.parse::<u64>().ok();
        Duration::from_nanos(stats.filter_map(waited).sum())
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for the end; returns the exit code.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<i32> {
        eventually("the end of the bridge", limit, || self.child.try_wait().expect("its state")).code()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Ends it and gives its state directory to the next.
    pub(crate) fn stop(self) -> tempfile::TempDir {
        self.stop_by("-TERM")
    }

    /// The same by another signal.
    pub(crate) fn stop_by(mut self, signal: &str) -> tempfile::TempDir {
        self.signal(signal);
        self.wait(s(8));
        std::mem::replace(&mut self.state, tempfile::tempdir().expect("a directory"))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the bridge\n{}", self.log());
        }
    }
}

/// A token of `user` for an hour.
pub(crate) fn token(user: &str) -> String {
    token_until(user, 4_000_000_000)
}

pub(crate) fn token_until(user: &str, exp: u64) -> String {
    let claims = json!({"userId": user, "name": format!("Name of {user}"), "exp": exp});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}
