//! What clients may say, whatever they say it over: their events, with acks and errors.

mod answer;
mod payload;
mod sign_on;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bridge_core::DialogId;
use futures::FutureExt as _;
use metrics::{Counter, counter};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Cut, Front, Link, Refused, Signed};
use crate::auth::{Authenticator, Identity};
use crate::memory::{Account, Of};

use answer::{answer_error, count, emit, failure, reply, wrong};
pub(crate) use answer::{too_many, too_often};
pub(crate) use payload::{Credentials, weight};
use sign_on::over;

/// Events of one client that wait for their turn, where its transport can't be held up; one more is refused.
pub(crate) const WAITING: usize = 4_096;
/// Their bytes.
pub(crate) const WAITING_BYTES: usize = 1024 * 1024;
/// Events that wait where the transport is held up instead.
pub(crate) const WAITING_FEW: usize = 32;
/// So many of the events that wait are looked at, for joins whose question to Chat3 may begin.
const AHEAD: usize = 16;
/// Answers of one client that wait for its queue; what comes after them waits for its turn.
const ANSWERS: usize = 32;
/// Between two looks at a client that does not take its answers.
const LOOK: Duration = Duration::from_millis(50);
/// How long a client that is sent away may take to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two looks at the clock on the wall.
const CLOCK: Duration = Duration::from_secs(60);

/// Answers one event; called at most once.
pub(crate) type Ack = Box<dyn FnOnce(Value) + Send>;

/// One event of a client. A channel of them has room for 32 from the start: they are in boxes there.
pub(crate) struct Incoming {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) ack: Option<Ack>,
    /// Its room among those that wait.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// What it takes meanwhile.
    pub(crate) counted: Option<Counted>,
    /// What it will ask for was announced.
    pub(crate) expected: bool,
}

/// Memory that an event takes while it waits.
pub(crate) struct Counted {
    account: Arc<Account>,
    bytes: u64,
}

impl Counted {
    pub(crate) fn new(account: Arc<Account>, bytes: u64) -> Self {
        account.add(Of::Events, bytes);
        Self { account, bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.account.sub(Of::Events, self.bytes);
    }
}

/// What all connections share.
pub(crate) struct Room {
    pub(crate) front: Arc<dyn Front>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) refused: Counter,
    /// Acks that wait for Chat3; the end of the process waits for them.
    pub(crate) in_flight: TaskTracker,
    /// How long a client that has to may take to authenticate.
    handshake: Duration,
}

impl Room {
    pub(crate) fn new(
        front: Arc<dyn Front>,
        auth: Arc<Authenticator>,
        in_flight: TaskTracker,
        handshake: Duration,
    ) -> Arc<Self> {
        let refused = counter!("bridge_client_events_refused_total");
        Arc::new(Self { front, auth, refused, in_flight, handshake })
    }
}

/// One client's connection.
pub(crate) struct Connection {
    room: Arc<Room>,
    link: Arc<dyn Link>,
    signed: Option<Signed>,
    expires: Option<SystemTime>,
    /// Until when it has to authenticate.
    sign_on_by: Option<Instant>,
    /// There is no room for it, and it was told so.
    is_one_too_many: bool,
    /// What the handshake declared, for an `authenticate` that does not.
    declared: Credentials,
    /// Places for answers that wait for the queue.
    answers: Arc<Semaphore>,
    /// Ends those that still wait with the connection.
    over: CancellationToken,
}

impl Connection {
    /// `must_sign_on`: it is ended when it has not authenticated in time.
    pub(crate) fn new(room: Arc<Room>, link: Arc<dyn Link>, must_sign_on: bool, declared: Credentials) -> Self {
        let sign_on_by = must_sign_on.then(|| Instant::now() + room.handshake);
        let answers = Arc::new(Semaphore::new(ANSWERS));
        let over = CancellationToken::new();
        Self {
            room,
            link,
            signed: None,
            expires: None,
            sign_on_by,
            is_one_too_many: false,
            declared,
            answers,
            over,
        }
    }

    /// Serves events in order until the sender is dropped, then signs off. The wait for a queue does not hold up what
    /// comes after it, up to a number of answers that wait; a client that does not take its answers is not served.
    pub(crate) async fn run(
        mut self,
        first: Option<(Identity, Credentials)>,
        mut events: mpsc::Receiver<Box<Incoming>>,
    ) {
        let served = AssertUnwindSafe(self.serve_all(first, &mut events)).catch_unwind().await;
        // What is left of the connection only has to be read, so that its sender notices the end.
        events.close();
        self.over.cancel();
        if served.is_err() {
            // What panicked, and where, stands in the line before. Its client comes back and resumes; nobody else notices.
            let user = self.signed.as_ref().map(|signed| signed.user.as_str()).unwrap_or_default();
            tracing::error!(user, "a connection is cut: what its client asked for panicked");
            self.link.cut(Cut::Failed);
        }
        if let Some(signed) = &self.signed {
            self.room.front.sign_off(signed, &self.link, false);
        }
    }

    async fn serve_all(
        &mut self,
        first: Option<(Identity, Credentials)>,
        events: &mut mpsc::Receiver<Box<Incoming>>,
    ) {
        if let Some((identity, credentials)) = first {
            let place = Arc::clone(&self.answers).try_acquire_owned().ok();
            self.sign_on(identity, credentials, None, place);
        }
        let mut waiting = VecDeque::new();
        loop {
            let over = over(&self.room.auth, self.expires, self.sign_on_by, CLOCK);
            let turn = async {
                let place = self.place(events).await;
                (place, next(&mut waiting, events).await)
            };
            tokio::select! {
                (place, event) = turn => match event {
                    // Nobody waits for its answer any more; what is heard by others (`typing:stop`) is still served.
                    Some(event) if event.event == "dialog:join" && events.is_closed() => {}
                    Some(event) => {
                        self.look_ahead(&event, &mut waiting, events);
                        // Not a part of this future, which every client has.
                        Box::pin(self.serve(*event, place)).await;
                    }
                    None => break,
                },
                () = over => {
                    let error = if self.signed.is_some() { "token expired" } else { "Authentication token required" };
                    if self.signed.is_none() {
                        let limit = if self.is_one_too_many { None } else { Some("handshake") };
                        limit.into_iter().for_each(count);
                    }
                    if !self.is_one_too_many {
                        self.emit("unauthorized", &failure(error));
                    }
                    self.told().await;
                    self.link.cut(Cut::Unauthenticated);
                    break;
                }
            }
        }
    }

    /// Waits until the client took what it was told, for a while: the end of the connection drops what waits.
    async fn told(&self) {
        self.link.flush();
        let told = async {
            while !self.link.is_idle() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _too_slow = timeout(LAST_WORDS, told).await;
    }

    /// Joins are served in order, but one does not wait until Chat3 was asked about all before it.
    fn look_ahead(
        &self,
        first: &Incoming,
        waiting: &mut VecDeque<Box<Incoming>>,
        events: &mut mpsc::Receiver<Box<Incoming>>,
    ) {
        while waiting.len() < AHEAD
            && let Ok(event) = events.try_recv()
        {
            waiting.push_back(event);
        }
        if self.signed.is_none() || waiting.is_empty() {
            return;
        }
        if !first.expected {
            self.expect(first);
        }
        // Once each: where Chat3 fails, asking again and again would not help it.
        for incoming in waiting.iter_mut().filter(|incoming| !incoming.expected) {
            incoming.expected = true;
            self.expect(incoming);
        }
    }

    fn expect(&self, incoming: &Incoming) {
        if incoming.event == "dialog:join"
            && let Ok(id) = dialog(&incoming.data)
            && let Some(signed) = &self.signed
        {
            self.room.front.expect(signed, &id);
        }
    }

    /// Waits until the client may be answered once more; `None` when it is gone.
    async fn place(&self, events: &mpsc::Receiver<Box<Incoming>>) -> Option<OwnedSemaphorePermit> {
        loop {
            if events.is_closed() {
                return None;
            }
            if !self.link.is_full()
                && let Ok(place) = timeout(LOOK, Arc::clone(&self.answers).acquire_owned()).await
            {
                // It is never closed.
                return place.ok();
            }
            sleep(LOOK).await;
        }
    }

    async fn serve(&mut self, incoming: Incoming, waits: Option<OwnedSemaphorePermit>) {
        let Incoming { event, data, ack, place: _until_it_is_served, counted: _too, expected: _ } = incoming;
        if event == "authenticate" {
            self.authenticate(data, ack, waits).await;
            return;
        }
        let Some(signed) = self.signed.clone() else {
            self.refuse(&event, ack, "not authenticated");
            return;
        };
        let front = Arc::clone(&self.room.front);
        let answer = match event.as_str() {
            "dialog:join" => match dialog(&data) {
                Ok(dialog) => {
                    let _in_flight = self.room.in_flight.token();
                    front.join(&signed, &dialog).await.map(|()| json!({"ok": true}))
                }
                Err(error) => Err(error),
            },
            "dialog:leave" => {
                dialog(&data).and_then(|dialog| front.leave(&signed, &dialog)).map(|()| json!({"ok": true}))
            }
            "typing:start" | "typing:stop" => {
                let dialog = data.get("dialogId").map_or_else(|| Err(wrong("{dialogId}")), dialog);
                let start = event == "typing:start";
                dialog.and_then(|dialog| front.typing(&signed, &dialog, start)).map(|()| json!({"ok": true}))
            }
            "subscribe" | "unsubscribe" => {
                match payload::types(&data) {
                    Ok(types) => self.select(signed, event, types, ack, waits),
                    Err(error) => self.refuse(&event, ack, &error.0),
                }
                return;
            }
            _ => Err(Refused("unknown event".into())),
        };
        match answer {
            Ok(answer) => reply(ack, answer),
            Err(Refused(error)) => self.refuse(&event, ack, &error),
        }
    }

    /// The change counts at once, in order; the answer waits for the bindings.
    fn select(
        &self,
        signed: Signed,
        event: String,
        types: Vec<String>,
        ack: Option<Ack>,
        waits: Option<OwnedSemaphorePermit>,
    ) {
        let front = &self.room.front;
        let changed =
            if event == "subscribe" { front.subscribe(&signed, types) } else { front.unsubscribe(&signed, types) };
        match changed {
            Ok(subscriptions) => self.when_ready(signed, waits, move |_, _, _, _| {
                reply(ack, json!({"ok": true, "subscriptions": subscriptions}));
            }),
            Err(Refused(error)) => self.refuse(&event, ack, &error),
        }
    }

    fn refuse(&self, event: &str, ack: Option<Ack>, error: &str) {
        self.room.refused.increment(1);
        answer_error(&*self.link, event, ack, error);
    }

    fn emit(&self, event: &'static str, data: &Value) {
        emit(&*self.link, event, data);
    }
}

/// The next event: one of those that were looked at already, else one that comes.
async fn next(
    waiting: &mut VecDeque<Box<Incoming>>,
    events: &mut mpsc::Receiver<Box<Incoming>>,
) -> Option<Box<Incoming>> {
    match waiting.pop_front() {
        Some(event) => Some(event),
        None => events.recv().await,
    }
}

fn dialog(data: &Value) -> Result<DialogId, Refused> {
    let id = data.as_str().ok_or_else(|| wrong("a dialog id"))?;
    DialogId::new(id).map_err(|error| Refused(error.to_string()))
}
