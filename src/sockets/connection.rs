//! What clients may say, whatever they say it over: CONTRACT's table of events, with their acks and errors.

mod payload;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bridge_core::{DialogId, UserId};
use metrics::{Counter, counter};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Cut, Link, Packet};
use super::{Front, Refused, SignOn, Signed};
use crate::auth::{AuthError, Authenticator, Identity};

pub(crate) use payload::Credentials;

/// Events of one client that wait for their turn; one more is refused.
pub(crate) const WAITING: usize = 256;
/// How long a client that has to may take to authenticate.
const SIGN_ON: Duration = Duration::from_secs(10);

/// Answers one event; called at most once.
pub(crate) type Ack = Box<dyn FnOnce(Value) + Send>;

/// One event of a client.
pub(crate) struct Incoming {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) ack: Option<Ack>,
}

/// What all connections share.
pub(crate) struct Room {
    pub(crate) front: Arc<dyn Front>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) refused: Counter,
}

impl Room {
    pub(crate) fn new(front: Arc<dyn Front>, auth: Arc<Authenticator>) -> Arc<Self> {
        Arc::new(Self { front, auth, refused: counter!("bridge_client_events_refused_total") })
    }
}

/// One client's connection.
pub(crate) struct Connection {
    room: Arc<Room>,
    link: Arc<dyn Link>,
    signed: Option<Signed>,
    expires: Option<Instant>,
    /// Until when it has to authenticate.
    sign_on_by: Option<Instant>,
    /// What the handshake declared, for an `authenticate` that does not.
    declared: Credentials,
}

impl Connection {
    /// `must_sign_on`: it is ended when it has not authenticated in time.
    pub(crate) fn new(room: Arc<Room>, link: Arc<dyn Link>, must_sign_on: bool, declared: Credentials) -> Self {
        let sign_on_by = must_sign_on.then(|| Instant::now() + SIGN_ON);
        Self { room, link, signed: None, expires: None, sign_on_by, declared }
    }

    /// Serves events in order until the sender is dropped, then signs off. Only the wait for a queue does not hold up
    /// what comes after it.
    pub(crate) async fn run(
        mut self,
        first: Option<(Identity, Credentials)>,
        mut events: mpsc::Receiver<Incoming>,
    ) {
        if let Some((identity, credentials)) = first {
            self.sign_on(identity, credentials, None);
        }
        loop {
            let deadline = self.expires.into_iter().chain(self.sign_on_by).min();
            let over = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.serve(event).await,
                    None => break,
                },
                () = over => {
                    let error = if self.signed.is_some() { "token expired" } else { "Authentication token required" };
                    self.emit("unauthorized", &failure(error));
                    self.link.cut(Cut::Unauthenticated);
                    break;
                }
            }
        }
        // What is left of the connection only has to be read, so that its sender notices the end.
        events.close();
        if let Some(signed) = &self.signed {
            self.room.front.sign_off(signed, &self.link, false);
        }
    }

    async fn serve(&mut self, incoming: Incoming) {
        let Incoming { event, data, ack } = incoming;
        if event == "authenticate" {
            self.authenticate(data, ack);
            return;
        }
        let Some(signed) = self.signed.clone() else {
            self.refuse(&event, ack, "not authenticated");
            return;
        };
        let front = Arc::clone(&self.room.front);
        let answer = match event.as_str() {
            "dialog:join" => match dialog(&data) {
                Ok(dialog) => front.join(&signed, &dialog).await.map(|()| json!({"ok": true})),
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
                    Ok(types) => self.select(signed, event, types, ack),
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
    fn select(&self, signed: Signed, event: String, types: Vec<String>, ack: Option<Ack>) {
        let (front, link) = (Arc::clone(&self.room.front), Arc::clone(&self.link));
        let refused = self.room.refused.clone();
        let changed =
            if event == "subscribe" { front.subscribe(&signed, types) } else { front.unsubscribe(&signed, types) };
        match changed {
            Ok(subscriptions) => {
                tokio::spawn(async move {
                    front.ready(&signed).await;
                    reply(ack, json!({"ok": true, "subscriptions": subscriptions}));
                });
            }
            Err(Refused(error)) => {
                refused.increment(1);
                answer_error(&*link, &event, ack, &error);
            }
        }
    }

    fn authenticate(&mut self, data: Value, ack: Option<Ack>) {
        let trusted = self.room.auth.is_trusted();
        let credentials = match Credentials::read(data, trusted) {
            Ok(credentials) => credentials,
            Err(Refused(error)) => return self.unauthorized(ack, &error),
        };
        let identity = if trusted {
            match credentials.user.as_deref().map(UserId::new) {
                Some(Ok(user)) => Identity { user, name: None, expires: None },
                Some(Err(error)) => return self.unauthorized(ack, &error.to_string()),
                None => return self.unauthorized(ack, "a user id is required"),
            }
        } else {
            match credentials.token.as_deref().map(|token| self.room.auth.verify(token)) {
                Some(Ok(identity)) => identity,
                Some(Err(AuthError::UserId)) => return self.unauthorized(ack, "invalid user id"),
                Some(Err(AuthError::Invalid)) => return self.unauthorized(ack, "Authentication failed"),
                None => return self.unauthorized(ack, "Authentication token required"),
            }
        };
        self.sign_on(identity, credentials, ack);
    }

    fn sign_on(&mut self, identity: Identity, credentials: Credentials, ack: Option<Ack>) {
        let expires = identity.expires.map(moment);
        let signed = match self.signed.clone() {
            Some(signed) if signed.user != identity.user => {
                return self.unauthorized(ack, "this socket belongs to another user");
            }
            Some(signed) => {
                let (subscribe, accepts) = (credentials.subscribe, credentials.accepts);
                if let Err(Refused(error)) = self.room.front.renew(&signed, subscribe, accepts) {
                    return self.unauthorized(ack, &error);
                }
                Signed { recovered: false, ..signed }
            }
            None => {
                let sign_on = SignOn {
                    user: identity.user,
                    name: identity.name,
                    accepts: credentials.accepts.or_else(|| self.declared.accepts.take()),
                    subscribe: credentials.subscribe.or_else(|| self.declared.subscribe.take()),
                    resume: credentials.resume.or_else(|| self.declared.resume.take()),
                    link: Arc::clone(&self.link),
                };
                match self.room.front.sign_on(sign_on) {
                    Ok(signed) => signed,
                    Err(Refused(error)) => return self.unauthorized(ack, &error),
                }
            }
        };
        self.expires = expires;
        self.sign_on_by = None;
        self.signed = Some(signed.clone());
        let (front, link) = (Arc::clone(&self.room.front), Arc::clone(&self.link));
        tokio::spawn(async move {
            let ready = front.ready(&signed).await;
            let answer = json!({"ok": true, "userId": signed.user, "ready": ready, "resume": signed.resume,
                "recovered": signed.recovered});
            emit(&*link, "authenticated", &answer);
            reply(ack, answer);
            front.greeted(&signed);
        });
    }

    fn unauthorized(&self, ack: Option<Ack>, error: &str) {
        self.room.refused.increment(1);
        self.emit("unauthorized", &failure(error));
        reply(ack, failure(error));
    }

    fn refuse(&self, event: &str, ack: Option<Ack>, error: &str) {
        self.room.refused.increment(1);
        answer_error(&*self.link, event, ack, error);
    }

    fn emit(&self, event: &'static str, data: &Value) {
        emit(&*self.link, event, data);
    }
}

/// An event of a client that does not fit into the queue any more.
pub(crate) fn too_many(link: &dyn Link, event: &str, ack: Option<Ack>) {
    counter!("bridge_client_events_refused_total").increment(1);
    answer_error(link, event, ack, "too many events at once");
}

fn answer_error(link: &dyn Link, event: &str, ack: Option<Ack>, error: &str) {
    match ack {
        Some(ack) => ack(failure(error)),
        None => emit(link, "error", &json!({"event": event, "error": error})),
    }
}

fn emit(link: &dyn Link, event: &'static str, data: &Value) {
    let data = to_raw_value(data).unwrap_or_default();
    link.emit(Packet { event, data: data.into(), message: None });
}

fn reply(ack: Option<Ack>, answer: Value) {
    if let Some(ack) = ack {
        ack(answer);
    }
}

fn failure(error: &str) -> Value {
    json!({"ok": false, "error": error})
}

fn wrong(expected: &str) -> Refused {
    Refused(format!("wrong payload: expected {expected}"))
}

fn dialog(data: &Value) -> Result<DialogId, Refused> {
    let id = data.as_str().ok_or_else(|| wrong("a dialog id"))?;
    DialogId::new(id).map_err(|error| Refused(error.to_string()))
}

/// When `at` will be, on the clock that timers use.
fn moment(at: SystemTime) -> Instant {
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    // Timers have an end; a token that outlives it is cut no later than in a year.
    Instant::now() + left.min(Duration::from_secs(365 * 86_400))
}
