//! The demo and the rehearsal, as a newcomer runs them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::kit::page::{has_browser, person};
use crate::kit::rabbit;
use crate::kit::{Turn, eventually, runtime, s};

/// A demo that runs until it is dropped.
struct Demo {
    child: Child,
    /// What it printed, with the time of each line.
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        // Two that start at the same moment would look for the same usual ports.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut child = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
            .arg("demo")
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        let lines = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let (output, kept) = (child.stdout.take().expect("its output"), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.lock().expect("the lines").push((Instant::now(), line));
            }
        });
        let demo = Self { child, lines };
        demo.address("gateway");
        demo
    }

    fn lines(&self) -> Vec<(Instant, String)> {
        self.lines.lock().expect("the lines").clone()
    }

    /// The address that is printed beside `name`.
    fn address(&self, name: &str) -> String {
        eventually(&format!("the address of {name}"), s(20), || {
            let lines = self.lines();
            let found = lines
                .iter()
                .find_map(|(_, line)| line.strip_prefix(name)?.trim().split(' ').next().map(str::to_owned));
            found.filter(|url| url.starts_with("http://"))
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn ask(url: &str) -> Value {
    runtime().block_on(async {
        let answer = reqwest::get(url).await.expect("an answer");
        answer.json().await.expect("JSON")
    })
}

#[test]
fn the_demo_is_safe_within_two_minutes_and_says_little() {
    let _turn = Turn::beside();
    let started = Instant::now();
    let mut demo = Demo::start(&[]);
    let console = demo.address("console");
    println!("addresses after {:?}", started.elapsed());
    let summary = console.replace("/console", "/admin/shadow/summary");
    let verdict = eventually("SAFE", s(120), || {
        let verdict = ask(&summary)["verdict"].clone();
        (verdict["value"] == "SAFE").then_some(verdict)
    });
    println!("SAFE after {:?}: {}", started.elapsed(), verdict["says"]);
    let lines = demo.lines();
    let first = lines.first().expect("a line").0;
    // After the addresses, a line a second at most.
    let later: Vec<_> = lines.iter().filter(|(at, _)| *at > first + s(2)).collect();
    assert!(later.windows(2).all(|pair| pair[1].0 - pair[0].0 >= s(1)), "{later:?}");
    let sent = Command::new("kill").args(["-TERM", &demo.child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let code = eventually("the end", s(10), || demo.child.try_wait().expect("its state")).code();
    assert_eq!(code, Some(0));
}

#[test]
fn the_chat_page_shows_every_message_once_through_all_stages() {
    if !has_browser() {
        return;
    }
    let _turn = Turn::beside();
    for version in ["2025-11-05", "2025-11-26", "2026-06"] {
        let demo = Demo::start(&["--chat3", version]);
        let chat = demo.address("chat");
        let settings = json!({"url": chat, "shots": std::env::var("SHOTS").ok(), "name": version});
        let end = person("chat.mjs", "stages", &settings, |_| ());
        assert_eq!(end["found"], json!([]), "{version}: errors, outside requests or serious findings");
        assert_eq!(end["doubled"], json!([]), "{version}");
        assert_eq!(end["lost"], json!([]), "{version}");
        assert!(end["messages"].as_u64() > Some(20), "{version}: {end}");
        assert!(end["by_room"].as_u64() > Some(0) && end["by_queue"].as_u64() > Some(0), "{version}: {end}");
        assert_eq!(end["planted"], "payload_mismatch", "{version}: what the console calls #altered");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn the_rehearsal_works_as_it_is_written() {
    let _turn = Turn::beside();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-docs/12-rehearsal.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut script = String::from("set -eu\n");
    for block in page.split("```sh\n").skip(1) {
        script += block.split("```").next().expect("its end");
    }
    for port in ["3001", "3002", "3011", "3012"] {
        script = script.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", free_port()));
    }
    script = script.replace("amqp://localhost", &rabbit::shared(|node| node.url()));
    let dir = tempfile::tempdir().expect("a directory");
    let bin = PathBuf::from(env!("CARGO_BIN_EXE_updates-bridge"));
    let path =
        format!("{}:{}", bin.parent().expect("its folder").display(), std::env::var("PATH").expect("a PATH"));
    let started = Instant::now();
    let ended = Command::new("bash")
        .args(["-c", &format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}")])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", path)
        .output()
        .expect("bash");
    let text = format!("{}\n{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    println!("{text}\nrehearsed in {:?}", started.elapsed());
    assert!(ended.status.success(), "{:?}", ended.status);
    let read = |name: &str| std::fs::read_to_string(dir.path().join("rehearsal").join(name)).unwrap_or_default();
    // The report names every class, with a 0; a record names whom it is about.
    let found = |line: &str| line.contains("payload_mismatch") && line.contains("usr_demo");
    assert!(text.lines().any(found), "the planted fault is found");
    assert!(
        !read("chat3.log").contains("were not taken") || read("chat3.log").contains("copies came"),
        "{}",
        read("chat3.log")
    );
}
