//! HTTP byte for byte: what clients of libraries never send.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::s;

/// A connection to `url` (`http://host:port`).
pub(crate) fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(s(60))).expect("a limit");
    stream
}

/// Sends `request` on a connection of its own; the status and everything after it.
pub(crate) fn ask(url: &str, request: &[u8]) -> (u16, String) {
    let mut stream = connect(url);
    stream.write_all(request).expect("a request");
    answer(&mut stream)
}

/// Reads one answer to the end of its body.
pub(crate) fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            _ => return (0, String::from_utf8_lossy(&text).into_owned()),
        }
    }
    let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).expect("a body");
    text.extend_from_slice(&body);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, String::from_utf8_lossy(&text).into_owned())
}

/// A backend that notes the heads of requests, and answers all alike.
pub(crate) struct Backend {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    seen: Vec<String>,
    answer: String,
}

impl Backend {
    /// Answers 200.
    pub(crate) fn start() -> Self {
        Self::answering(200, "ok")
    }

    pub(crate) fn answering(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Mutex::new(Shared { seen: Vec::new(), answer: text(status, body) }));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, shared }
    }

    /// What is answered from now on.
    pub(crate) fn answer(&self, status: u16, body: &str) {
        self.shared.lock().expect("the answer").answer = text(status, body);
    }

    /// The heads so far; forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().expect("the list").seen)
    }
}

fn text(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)];
    let _the_other_end_may_be_gone = stream.read_exact(&mut body);
    let answer = {
        let mut shared = shared.lock().expect("the list");
        shared.seen.push(head);
        shared.answer.clone()
    };
    let _the_other_end_may_be_gone = stream.write_all(answer.as_bytes());
}
