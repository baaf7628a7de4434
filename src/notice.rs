//! Told when it happens: a JSON POST to `notify.url` for a flip, a rollback, a step of the guard, a verdict that changes.
//!
//! Whoever has something to tell puts it into a bounded queue and goes on. What does not fit, or is not taken after some
//! tries, is let go and counted: nothing ever waits for somebody else's server.

use std::time::Duration;

use metrics::{Counter, counter};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;

/// Notices that wait.
const WAITING: usize = 256;
/// One try may take this long.
const TRY: Duration = Duration::from_secs(10);
/// Pauses before the second and every later try.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// What the end of the process leaves for what still waits.
const LAST: Duration = Duration::from_millis(400);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// `flip`, `rollback`, `refused`, `guard`, `verdict`, `reset`, `reveal`.
    pub event: &'static str,
    /// In words, for people.
    pub text: String,
    /// For programs.
    pub details: Value,
}

/// Where notices are put.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// `None`: nobody is told.
    sender: Option<Sender<(String, Notice)>>,
    dropped: Counter,
}

impl Notifier {
    /// Nobody is told.
    #[must_use]
    pub fn none() -> Self {
        Self { sender: None, dropped: counter!("bridge_notices_dropped_total", "reason" => "full") }
    }

    /// One that puts notices into a queue, and what sends them to `url` for `instance`; none where `url` is empty.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(url: &str, instance: &str, environment: &str) -> Result<(Self, Option<Postman>), reqwest::Error> {
        if url.is_empty() {
            return Ok((Self::none(), None));
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            // What is set in the environment is for other calls; an address that moved is to be named anew.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        let postman = Postman {
            http,
            url: url.into(),
            instance: instance.into(),
            environment: environment.into(),
            receiver,
            sent: counter!("bridge_notices_sent_total"),
            failed: counter!("bridge_notices_failed_total"),
            given_up: counter!("bridge_notices_dropped_total", "reason" => "not_taken"),
        };
        Ok((Self { sender: Some(sender), ..Self::none() }, Some(postman)))
    }

    /// Tells it, some time.
    pub fn tell(&self, notice: Notice) {
        let Some(sender) = &self.sender else { return };
        let at = format!("{:.3}", jiff::Timestamp::now());
        if sender.try_send((at, notice)).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// Sends what waits, one after the other.
pub struct Postman {
    http: reqwest::Client,
    url: String,
    instance: String,
    environment: String,
    receiver: Receiver<(String, Notice)>,
    sent: Counter,
    failed: Counter,
    given_up: Counter,
}

/// Why a try failed.
enum Failure {
    /// Another try may do.
    ForNow(String),
    /// It is not taken, whoever asks how often.
    ForGood(String),
}

impl Postman {
    /// Until `stop`; then what waits is tried once more, for a short time.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some((at, notice))) = stop.run_until_cancelled(self.receiver.recv()).await {
            let body = self.body(&at, &notice);
            if stop.run_until_cancelled(self.deliver(&body)).await.is_none() {
                self.last(Some(body)).await;
                return;
            }
        }
        self.last(None).await;
    }

    fn body(&self, at: &str, Notice { event, text, details }: &Notice) -> Value {
        let Self { instance, environment, .. } = self;
        json!({"text": format!("updates-bridge {environment} {instance}: {text}"), "event": event, "at": at,
            "instance": instance, "environment": environment, "details": details})
    }

    async fn deliver(&self, body: &Value) {
        let mut pauses = PAUSES.iter();
        loop {
            let (reason, again) = match self.post(body).await {
                Ok(()) => return self.sent.increment(1),
                Err(Failure::ForNow(reason)) => (reason, true),
                Err(Failure::ForGood(reason)) => (reason, false),
            };
            self.failed.increment(1);
            let Some(pause) = pauses.next().filter(|_| again) else {
                self.given_up.increment(1);
                tracing::warn!(event = %body["event"], %reason, "notify.url does not take a notice: it is let go");
                return;
            };
            tokio::time::sleep(*pause).await;
        }
    }

    /// The URL is a secret: no error shows it.
    async fn post(&self, body: &Value) -> Result<(), Failure> {
        match self.http.post(&self.url).timeout(TRY).json(body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                let (status, reason) = (answer.status(), format!("answered {}", answer.status()));
                let for_now = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
                Err(if for_now { Failure::ForNow(reason) } else { Failure::ForGood(reason) })
            }
            Err(error) if error.is_timeout() => Err(Failure::ForNow("no answer in time".into())),
            Err(error) if error.is_connect() => Err(Failure::ForNow("no connection".into())),
            Err(error) => Err(Failure::ForNow(error.without_url().to_string())),
        }
    }

    /// The process ends.
    async fn last(&mut self, first: Option<Value>) {
        let all = async {
            let mut next = first;
            loop {
                let body = match next.take() {
                    Some(body) => body,
                    None => match self.receiver.try_recv() {
                        Ok((at, notice)) => self.body(&at, &notice),
                        Err(_) => return,
                    },
                };
                match self.post(&body).await {
                    Ok(()) => self.sent.increment(1),
                    Err(_) => self.given_up.increment(1),
                }
            }
        };
        if tokio::time::timeout(LAST, all).await.is_err() {
            tracing::warn!("notices were not sent before the end");
        }
    }
}
