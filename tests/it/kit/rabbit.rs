//! Private RabbitMQ nodes. A node ends when the standard input of its script does: with its owner, or with this process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

pub(crate) struct Rabbit {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
    pid: u32,
    port: u16,
    dir: tempfile::TempDir,
}

/// Three free ports, as far apart as the system gives them.
fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

impl Rabbit {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// With the management API at this port.
    pub(crate) fn start_with(management: Option<u16>) -> Self {
        Self::run(management, None)
    }

    /// Nodes that are one broker.
    pub(crate) fn cluster<const NODES: usize>() -> [Self; NODES] {
        let [epmd, ..] = free_ports();
        // Whoever is to join knows the others' secret.
        let nodes = [(); NODES].map(|()| Self::run(None, Some((epmd, &format!("cluster-of-{epmd}")))));
        let first = nodes[0].name();
        for node in &nodes[1..] {
            for command in [vec!["stop_app"], vec!["join_cluster", &first], vec!["start_app"]] {
                node.ctl(&command);
            }
        }
        nodes
    }

    /// The name of its Erlang node.
    fn name(&self) -> String {
        format!("bridge{}@localhost", self.port)
    }

    fn run(management: Option<u16>, cluster: Option<(u16, &str)>) -> Self {
        let dir = tempfile::Builder::new().prefix("bridge-rabbit-").tempdir().expect("a directory");
        let [port, own, dist] = free_ports();
        let (epmd, cookie) = cluster.map_or((own, None), |(epmd, cookie)| (epmd, Some(cookie)));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rabbit-node.sh");
        let mut child = Command::new(script)
            .arg(dir.path().join("node"))
            .args([port, epmd, dist].map(|port| port.to_string()))
            .args(management.map(|port| port.to_string()))
            .envs(cookie.map(|cookie| ("NODE_COOKIE", cookie)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node's script");
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut rabbit = Self { child, input, lines, pid: 0, port, dir };
        rabbit.wait_ready();
        rabbit
    }

    fn wait_ready(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the script's output");
        let pid = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("no RabbitMQ node: {line:?}"));
        self.pid = pid.parse().expect("a process id");
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// To a virtual host.
    pub(crate) fn url_of(&self, host: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{host}", self.port)
    }

    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        let output =
            Command::new(self.dir.path().join("node/ctl")).arg("-q").args(args).output().expect("rabbitmqctl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Name, durable, auto_delete, exclusive of every queue.
    pub(crate) fn queues(&self) -> Vec<[String; 4]> {
        self.queues_in("/")
    }

    /// The same for a virtual host.
    pub(crate) fn queues_in(&self, host: &str) -> Vec<[String; 4]> {
        let command = ["list_queues", "--no-table-headers", "-p", host];
        let list = self.ctl(&[&command[..], &["name", "durable", "auto_delete", "exclusive"]].concat());
        let row = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let mut next = || words.next().unwrap_or_default();
            [next(), next(), next(), next()]
        };
        list.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
    }

    pub(crate) fn queues_of(&self, user: &str) -> Vec<[String; 4]> {
        let prefix = format!("user_{user}.");
        self.queues().into_iter().filter(|[name, ..]| name.starts_with(&prefix)).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid.to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }

    /// Starts it again after [`Self::kill`], on the same port.
    pub(crate) fn restart(&mut self) {
        let input = self.input.as_mut().expect("its input");
        input.write_all(b"restart\n").and_then(|()| input.flush()).expect("the script takes it");
        self.wait_ready();
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.child.wait();
    }
}

static SHARED: OnceLock<Mutex<Rabbit>> = OnceLock::new();

/// Asks the node that tests share who do not harm it.
pub(crate) fn shared<T>(ask: impl FnOnce(&Rabbit) -> T) -> T {
    let node = SHARED.get_or_init(|| Mutex::new(Rabbit::start()));
    // A test that failed while it asked has not harmed the node.
    ask(&node.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
