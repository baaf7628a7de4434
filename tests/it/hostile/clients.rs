//! The hostile clients: a process of their own, as if they were on another machine. It goes on until its input ends.
//!
//! It says on its stderr when all have begun, and at its end what they did.

use std::io::Read as _;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::bridge::token;
use crate::kit::crowd::Plain;
use crate::kit::{runtime, s};

/// The name of the user whose clients these are.
pub(crate) const USER: &str = "hostile";
/// What the kernel of a client that reads nothing holds for it, in bytes.
const RECEIVES: u32 = 8 << 10;
/// Joins of one client at once.
const JOINS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 300 connections whose request never has the end of its head.
    SlowHead,
    /// 300 whose message never has the end of its body.
    SlowBody,
    /// 25 tabs that read nothing of what a room of theirs is told.
    NeverReads,
    /// 20 tabs that ask on and on, and read no ack.
    Acks,
    /// Two tabs that join 10,000 dialogs at once, which are not there.
    Joins,
    /// Tabs that come, join and go.
    Flaps,
    /// Lengths and compressions that are not so.
    Lies,
    /// 1,000 tabs that there may be and 100 that may not, in a room in which somebody speaks.
    Tabs,
}

pub(crate) const KINDS: [Kind; 8] = [
    Kind::SlowHead,
    Kind::SlowBody,
    Kind::NeverReads,
    Kind::Acks,
    Kind::Joins,
    Kind::Flaps,
    Kind::Lies,
    Kind::Tabs,
];

/// Clients of one kind at work.
pub(crate) struct AtWork {
    process: Child,
    says: ChildStderr,
}

impl AtWork {
    /// Returns when all of them have begun.
    pub(crate) fn begin(kind: Kind, http: &str, own: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("the tests"))
            .args(["--exact", "hostile::clients::of_one_kind", "--ignored", "--nocapture"])
            .env("HOSTILE_KIND", format!("{kind:?}"))
            .env("HOSTILE_HTTP", http)
            .env("HOSTILE_OWN", own)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hostile clients");
        let mut says = process.stderr.take().expect("what they say");
        let mut said = String::new();
        while !said.contains(BEGUN) {
            let mut byte = [0];
            assert_eq!(says.read(&mut byte).expect("what they say"), 1, "{kind:?}: they are gone: {said}");
            said.push(char::from(byte[0]));
        }
        Self { process, says }
    }

    /// Ends them; how much they did and how often the gateway ended one of their connections.
    pub(crate) fn end(mut self) -> (u64, u64) {
        drop(self.process.stdin.take());
        let mut said = String::new();
        self.says.read_to_string(&mut said).expect("what they say");
        let number = |name: &str| {
            let rest = said.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
            rest.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name}: {said}"))
        };
        (number("did="), number("ended="))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

const BEGUN: &str = "they have begun\n";

#[test]
#[ignore = "what other tests start"]
fn of_one_kind() {
    let said = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("no {name}"));
    let kind = said("HOSTILE_KIND");
    let kind = KINDS.into_iter().find(|one| format!("{one:?}") == kind).expect("a kind");
    let client = Client {
        http: said("HOSTILE_HTTP"),
        own: said("HOSTILE_OWN"),
        did: Arc::default(),
        ended: Arc::default(),
    };
    runtime().block_on(client.begin(kind));
    eprint!("{BEGUN}");
    let _until_the_end = std::io::stdin().read_to_end(&mut Vec::new());
    let count = |of: &AtomicU64| of.load(Ordering::Acquire);
    eprintln!("did={} ended={}", count(&client.did), count(&client.ended));
}

#[derive(Clone)]
struct Client {
    http: String,
    /// A dialog in which nobody else is.
    own: String,
    /// Connections, events or pieces of bodies, as the kind is.
    did: Arc<AtomicU64>,
    /// Connections that the gateway has ended.
    ended: Arc<AtomicU64>,
}

impl Client {
    async fn begin(&self, kind: Kind) {
        let each = |count: usize| (0..count).map(|_| self.clone());
        match kind {
            Kind::SlowHead => {
                let head = "GET /health HTTP/1.1\r\nhost: h\r\n";
                each(300).for_each(|one| drop(tokio::spawn(one.drips(head.into(), b"x: y\r\n"))));
            }
            Kind::SlowBody => {
                let head = format!("{}content-length: 1000000\r\n\r\n", self.post());
                each(300).for_each(|one| drop(tokio::spawn(one.drips(head.clone(), &[b' '; 512]))));
            }
            Kind::NeverReads => {
                for one in each(25) {
                    let first = one.sign_on(Some(RECEIVES)).await;
                    tokio::spawn(one.never_reads(first));
                }
                tokio::spawn(self.clone().speaks(Duration::from_millis(100), 96_000));
            }
            Kind::Acks => each(20).for_each(|one| drop(tokio::spawn(one.asks()))),
            Kind::Joins => each(2).for_each(|one| drop(tokio::spawn(one.joins()))),
            Kind::Flaps => each(20).for_each(|one| drop(tokio::spawn(one.flaps()))),
            Kind::Lies => (0..20).for_each(|number| drop(tokio::spawn(self.clone().lies(number)))),
            Kind::Tabs => {
                for one in each(1_100) {
                    let Some(mut socket) = one.sign_on(None).await else { continue };
                    tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
                }
                tokio::spawn(self.clone().speaks(s(1), 1_000));
            }
        }
    }

    fn did(&self) {
        self.did.fetch_add(1, Ordering::AcqRel);
    }

    fn was_ended(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// The head of a message to its own dialog, but for its length and end.
    fn post(&self) -> String {
        format!(
            "POST /api/messages/dialog/{} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n",
            self.own,
            token(USER)
        )
    }

    async fn connect(&self, receives: Option<u32>) -> Option<TcpStream> {
        let address = self.http.trim_start_matches("http://").parse().expect("an address");
        let socket = TcpSocket::new_v4().ok()?;
        if let Some(receives) = receives {
            socket.set_recv_buffer_size(receives).ok()?;
        }
        socket.connect(address).await.ok()
    }

    /// A tab in its own dialog; `None` where it is not let in.
    async fn sign_on(&self, receives: Option<u32>) -> Option<Plain> {
        let stream = self.connect(receives).await?;
        let (mut socket, _) = client_async(self.http.replace("http", "ws") + "/ws", stream).await.ok()?;
        for frame in [
            json!({"event": "authenticate", "data": {"token": token(USER)}, "id": 1}),
            json!({"event": "dialog:join", "data": self.own, "id": 2}),
        ] {
            socket.send(Message::text(frame.to_string())).await.ok()?;
        }
        while let Some(Ok(frame)) = socket.next().await {
            let Ok(text) = frame.into_text() else { continue };
            if text.contains(r#""event":"ack""#) && text.contains(r#""id":2"#) {
                self.did();
                return text.contains(r#""ok":true"#).then_some(socket);
            }
        }
        self.was_ended();
        None
    }

    /// Writes what begins like `begin`, and a piece of the rest every half second.
    async fn drips(self, begin: String, piece: &'static [u8]) {
        loop {
            if let Some(mut stream) = self.connect(None).await
                && stream.write_all(begin.as_bytes()).await.is_ok()
            {
                self.did();
                let mut answer = [0; 1_024];
                loop {
                    tokio::select! {
                        read = stream.read(&mut answer) => if !matches!(read, Ok(1..)) { break },
                        () = sleep(s(1) / 2) => if stream.write_all(piece).await.is_err() { break },
                    }
                }
                self.was_ended();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn never_reads(self, first: Option<Plain>) {
        let mut socket = first;
        loop {
            // A pong tells by its error that nobody is there any more; what came is not read.
            while let Some(open) = &mut socket {
                sleep(s(1) / 2).await;
                if open.send(Message::Pong(Vec::new().into())).await.is_err() {
                    self.was_ended();
                    break;
                }
            }
            socket = self.sign_on(Some(RECEIVES)).await;
            sleep(s(1) / 10).await;
        }
    }

    async fn speaks(self, pause: Duration, bytes: usize) {
        let (client, filler) = (reqwest::Client::new(), "x".repeat(bytes));
        let url = format!("{}/api/messages/dialog/{}", self.http, self.own);
        let mut ticks = interval(pause);
        for number in 0_u64.. {
            ticks.tick().await;
            let message = json!({"content": format!("number {number}"), "meta": {"filler": filler}});
            let sent = client.post(&url).bearer_auth(token(USER)).json(&message).send().await;
            if sent.is_ok() {
                self.did();
            }
        }
    }

    /// Fifty questions a second, as long as they are taken, whose acks say again what number each has: a long one.
    async fn asks(self) {
        let long = "x".repeat(16_000);
        loop {
            let Some(mut socket) = self.sign_on(Some(RECEIVES)).await else { continue };
            let mut ticks = interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let ask = json!({"event": "subscribe", "data": ["messageupdate"], "id": long});
                if socket.send(Message::text(ask.to_string())).await.is_err() {
                    self.was_ended();
                    break;
                }
                self.did();
            }
        }
    }

    async fn joins(self) {
        loop {
            let Some(socket) = self.sign_on(None).await else { continue };
            let (mut sink, mut source) = socket.split();
            let asking = async {
                for number in 0..JOINS {
                    let join = json!({"event": "dialog:join", "data": format!("dlg_no_{number}"), "id": number});
                    sink.feed(Message::text(join.to_string())).await.ok()?;
                    self.did();
                }
                sink.flush().await.ok()
            };
            let hearing = async {
                let mut answered = 0;
                while answered < JOINS {
                    let text = source.next().await?.ok()?.into_text().ok()?;
                    answered += u64::from(text.contains(r#""event":"ack""#));
                }
                Some(())
            };
            if tokio::join!(asking, hearing).1.is_none() {
                self.was_ended();
            }
        }
    }

    /// Ten times a second.
    async fn flaps(self) {
        let mut ticks = interval(s(1) / 10);
        loop {
            ticks.tick().await;
            drop(self.sign_on(None).await);
        }
    }

    /// Says that more follows than does, or that it is compressed, which was not agreed; ten times a second.
    async fn lies(self, number: usize) {
        let upgrade = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            sec-websocket-extensions: permessage-deflate\r\n\r\n";
        let frames: [&[u8]; 4] = [
            // 4 EiB of text; a compressed text; a control frame of 64 KiB; a continuation of nothing.
            &[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],
            &[0xc1, 0x84, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x89, 0xfe, 0xff, 0xff, 1, 2, 3, 4],
            &[0x80, 0x84, 1, 2, 3, 4, 5, 6, 7, 8],
        ];
        let post = self.post();
        let heads = [
            format!("{post}content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08\x08\x08"),
            format!("{post}content-length: 99999999999999999999\r\n\r\n{{}}"),
            format!("{post}content-length: 9223372036854775807\r\n\r\n{{}}"),
            format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{{}}"),
            format!("{post}content-length: 2\r\ncontent-length: 5\r\n\r\n{{}}"),
        ];
        let mut ticks = interval(s(1) / 10);
        for turn in number.. {
            ticks.tick().await;
            let Some(mut stream) = self.connect(None).await else { continue };
            let mut told = vec![0; 4_096];
            let lie = if turn % 2 == 0 {
                let _gone = stream.write_all(upgrade.as_bytes()).await;
                let _switching = timeout(s(5), stream.read(&mut told)).await;
                frames[turn / 2 % frames.len()].to_vec()
            } else {
                heads[turn / 2 % heads.len()].clone().into_bytes()
            };
            let _gone = stream.write_all(&lie).await;
            self.did();
            // A keep-alive answer ends nothing; who waits for what was promised is left alone.
            let end = async { while matches!(stream.read(&mut told).await, Ok(1..)) {} };
            if timeout(Duration::from_millis(300), end).await.is_ok() {
                self.was_ended();
            }
        }
    }
}
