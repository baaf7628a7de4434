//! Clients that come, go, and come back: on `/ws` or on a Socket.IO WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::plan::Dice;
use super::record::{Device, Form, Record, Seen, Sign, marked, now};
use crate::kit::bridge::token;
use crate::kit::driven::Socket;
use crate::kit::s;

/// What a client of a soak needs.
pub(super) struct Life {
    pub(super) record: Arc<Record>,
    pub(super) device: Arc<Device>,
    /// `http://host:port` of its gateway.
    pub(super) url: String,
    /// `/ws`; else Socket.IO.
    pub(super) plain: bool,
    /// Ids of all dialogs, by number.
    pub(super) ids: Arc<Vec<String>>,
    /// It belongs to no dialog, and tries to get into one.
    pub(super) stranger: bool,
    /// The load is over: it stays where it is.
    pub(super) stay: Arc<AtomicBool>,
    /// It ends.
    pub(super) end: Arc<AtomicBool>,
    pub(super) up: Arc<AtomicUsize>,
}

/// How a connection came to its end.
enum Over {
    /// The client wanted it.
    Own,
    Cut,
}

struct Resume {
    token: Value,
    last: Option<String>,
    /// Dialogs that it was let into.
    joined: Vec<usize>,
}

impl Life {
    pub(super) async fn live(self, mut dice: Dice) {
        let mut resume: Option<Resume> = None;
        while !self.end.load(Ordering::Acquire) {
            let until = Instant::now() + dice.ms(4_000, 90_000);
            let clean = dice.chance(50);
            let (connected, over) = self.connection(&mut resume, until, clean).await;
            if connected {
                let (at, cut) = (now(), matches!(over, Over::Cut));
                self.up.fetch_sub(1, Ordering::AcqRel);
                self.device.note(Seen::Gone(at, cut));
                if cut && !self.record.faults.touches(at - 1_000, at) {
                    let text = format!("{} of gateway {} at {at}", self.device.name, self.device.home);
                    self.record.findings.add("cut", &text);
                }
            }
            // Within the time for which its socket is kept, mostly; some come as somebody new.
            let away = if dice.chance(75) { dice.ms(20, 900) } else { dice.ms(900, 6_000) };
            if dice.chance(12) {
                resume = None;
            }
            sleep(away).await;
        }
    }

    async fn open(&self, resume: Option<&Resume>) -> Option<Socket> {
        let mut auth = json!({"token": token(&self.device.user)});
        if let Some(resume) = resume {
            auth["resume"] = match &resume.last {
                Some(last) => json!({"token": resume.token, "last": last}),
                None => resume.token.clone(),
            };
        }
        let path = if self.plain { "/ws" } else { "/socket.io/?EIO=4&transport=websocket" };
        let url = self.url.replace("http://", "ws://") + path;
        let (mut socket, _) = timeout(s(60), connect_async(url)).await.ok()?.ok()?;
        let first = match self.plain {
            true => json!({"event": "authenticate", "data": auth}).to_string(),
            false => format!("40{auth}"),
        };
        socket.send(Frame::text(first)).await.ok()?;
        Some(socket)
    }

    async fn emit(&self, socket: &mut Socket, id: usize, event: &str, data: &str) {
        let frame = match self.plain {
            true => json!({"event": event, "data": data, "id": id}).to_string(),
            false => format!("42{id}{}", json!([event, data])),
        };
        let _gone = timeout(s(60), socket.send(Frame::text(frame))).await;
    }

    /// Reads one frame: an event's name and argument, or the number and argument of an ack (as event `ack`).
    fn read(&self, text: &str) -> Option<(String, Value, usize)> {
        if self.plain {
            let frame: Value = serde_json::from_str(text).ok()?;
            let id = frame["id"].as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or(0);
            return Some((frame["event"].as_str()?.to_owned(), frame["data"].clone(), id));
        }
        if let Some(event) = text.strip_prefix("42") {
            let event: Value = serde_json::from_str(event).ok()?;
            return Some((event[0].as_str()?.to_owned(), event[1].clone(), 0));
        }
        let ack = text.strip_prefix("43")?;
        let digits = ack.find('[')?;
        let data: Value = serde_json::from_str(&ack[digits..]).ok()?;
        Some(("ack".into(), data[0].clone(), ack[..digits].parse().ok()?))
    }

    /// One connection; whether it signed on, and how it ended.
    async fn connection(&self, resume: &mut Option<Resume>, until: Instant, clean: bool) -> (bool, Over) {
        let Some(mut socket) = self.open(resume.as_ref()).await else { return (false, Over::Cut) };
        let resumes = resume.is_some();
        let (mut signed, mut again) = (false, Vec::<usize>::new());
        let mut intrude = Instant::now() + s(2);
        loop {
            let look = Duration::from_millis(300);
            let over = signed && Instant::now() > until && !self.stay.load(Ordering::Acquire);
            if over || self.end.load(Ordering::Acquire) {
                if clean {
                    let _gone = timeout(s(5), socket.close(None)).await;
                }
                return (signed, Over::Own);
            }
            let frame = match timeout(look, socket.next()).await {
                Ok(Some(Ok(Frame::Text(text)))) => text,
                Ok(Some(Ok(Frame::Close(_)) | Err(_)) | None) => return (signed, Over::Cut),
                Ok(Some(Ok(_))) => continue,
                Err(_) => {
                    for dialog in again.drain(..) {
                        self.emit(&mut socket, dialog + 1, "dialog:join", &self.ids[dialog]).await;
                    }
                    if self.stranger && signed && Instant::now() > intrude {
                        intrude = Instant::now() + s(7);
                        self.emit(&mut socket, 1, "dialog:join", &self.ids[0]).await;
                    }
                    continue;
                }
            };
            if frame.as_str() == "2" {
                let _gone = timeout(s(60), socket.send(Frame::text("3"))).await;
                continue;
            }
            let Some((event, data, id)) = self.read(&frame) else { continue };
            match event.as_str() {
                "authenticated" if data["ok"] == true => {
                    let recovered = data["recovered"] == true;
                    let sign = match (resumes, recovered) {
                        (_, true) => Sign::Recovered,
                        (true, false) => Sign::NotRecovered,
                        (false, false) => Sign::Fresh,
                    };
                    self.device.note(Seen::Signed(now(), sign));
                    if !signed {
                        self.up.fetch_add(1, Ordering::AcqRel);
                    }
                    signed = true;
                    let earlier = resume.take().filter(|_| recovered);
                    let (last, joined) =
                        earlier.map_or((None, Vec::new()), |earlier| (earlier.last, earlier.joined));
                    again =
                        self.device.dialogs.iter().copied().filter(|dialog| !joined.contains(dialog)).collect();
                    *resume = Some(Resume { token: data["resume"].clone(), last, joined });
                    for dialog in again.drain(..) {
                        self.emit(&mut socket, dialog + 1, "dialog:join", &self.ids[dialog]).await;
                    }
                }
                "unauthorized" => {
                    let at = now();
                    // One that stood still hears late what it was told in time.
                    let late = data["error"] == "Authentication token required"
                        && self.record.faults.touches(at.saturating_sub(15_000), at);
                    if !late {
                        let text = format!("{} was refused at {at}: {data}", self.device.name);
                        self.record.findings.add("identity", &text);
                    }
                    return (signed, Over::Own);
                }
                "ack" if id > 0 && self.stranger && data["ok"] == true => {
                    self.record.findings.add("stranger", &format!("{} was let into a dialog", self.device.name));
                }
                "ack" if self.stranger => {}
                "ack" if id > 0 => match data["ok"] == true {
                    true => {
                        self.device.note(Seen::Joined(now(), id - 1));
                        if let Some(resume) = resume {
                            resume.joined.push(id - 1);
                        }
                    }
                    // Who is a member could not be asked, say.
                    false => again.push(id - 1),
                },
                "bridge:resync" => {
                    let since = data["since"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                    let since = since.and_then(|since| u64::try_from(since.as_millisecond()).ok());
                    let since = since.unwrap_or_else(|| {
                        self.record.findings.add("resync", &format!("without a time: {data}"));
                        0
                    });
                    self.device.note(Seen::Resync(now(), since));
                }
                "message:new" | "update" => {
                    let (form, last) = match event.as_str() {
                        "update" => (Form::Update, data["entityId"].as_str()),
                        _ => (Form::Legacy, data["messageId"].as_str()),
                    };
                    let Some(message) = marked(frame.as_bytes()) else {
                        let text = format!("{} got what was for nobody: {}", self.device.name, frame.as_str());
                        self.record.findings.add("stranger", &text);
                        continue;
                    };
                    if let Some(resume) = resume {
                        resume.last = last.map(ToOwned::to_owned);
                    }
                    self.device.note(Seen::Got(now(), message, form));
                }
                _ => {}
            }
        }
    }
}
