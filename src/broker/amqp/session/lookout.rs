//! Are the bindings still there? An exchange that is deleted and declared anew has lost them, and nothing says so.
//!
//! A queue of the session's own on each of its lines is bound before any other, and each look publishes to them: what
//! comes back, or does not arrive, tells that all bindings are gone. The probe goes out on a connection of its own,
//! because an alarm of the broker blocks a connection that ever published, with all its acknowledgements.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_core::{Millis, UserId};
use futures::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::line::Line;
use super::sentinel::{Came, PROBE, Sentinel, There, body};
use super::{LOOK, Session};
use crate::broker::amqp::Shared;
use crate::broker::amqp::connect::{answer, connect_any, expendable};
use crate::broker::amqp::exchange::{self, Seen};

/// A broker that is slower to answer a look is the heartbeat's business.
const SLOW: Duration = Duration::from_secs(2);
/// A probe that did not come is repeated: this process may have been held up.
const TRIES: usize = 2;
/// Users who stand watch for formats that are left out.
const WATCH: usize = 16;

/// What a look showed.
#[derive(Debug)]
pub(super) enum Looked {
    /// All was well at this moment: proved, or, where that is not permitted, as far as can be seen.
    Whole(Millis),
    /// The exchange is there; whether the bindings are could not be asked this time.
    There,
    /// The exchange is there, and no binding is.
    Unbound,
    /// The exchange is missing or wrong.
    Gone(Seen),
    /// It could not be looked at.
    Unclear,
}

/// Looks after the bindings of one session.
pub(super) struct Lookout {
    sentinel: Option<Sentinel>,
    publisher: Option<Publisher>,
    /// Number of the latest probe: one that comes late proves nothing.
    probes: u64,
    /// Users whose updates in formats that are left out come to the sentinel.
    watch: Vec<(UserId, u64)>,
    /// The broker's user has not all the permissions for it, or it is not wanted.
    refused: bool,
    /// It was proved that no binding is there, and not said yet: what to bind anew could not be looked at.
    unbound: bool,
}

/// The connection on which probes go out.
struct Publisher {
    connection: Connection,
    channel: Channel,
}

/// What became of a published probe.
enum Sent {
    Routed,
    Returned,
    Failed,
    Refused(String),
}

/// Whether the bindings are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Bound,
    Unbound,
    None,
}

impl Lookout {
    /// Binds the sentinel; whatever is bound later is looked after.
    pub(super) async fn open(shared: &Shared, lines: &[Line]) -> Self {
        let refused = !shared.settings.watch_bindings;
        let mut own =
            Self { sentinel: None, publisher: None, probes: 0, watch: Vec::new(), refused, unbound: false };
        own.place(shared, lines).await;
        own
    }

    /// Waits until it is time, and looks.
    pub(super) async fn next(mut self, session: Arc<Session>) -> (Self, Looked) {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = session.shared.look.notified() => {}
        }
        let looked = self.look(&session).await;
        self.stand_watch(&session).await;
        session.watched.store(self.sentinel.is_some() && !self.refused, Ordering::Relaxed);
        (self, looked)
    }

    /// Has a few users' updates come to the sentinel in the formats that are left out.
    async fn stand_watch(&mut self, session: &Session) {
        let Some(sentinel) = &self.sentinel else {
            // Their bindings went with it.
            self.watch.clear();
            return;
        };
        let left_out = session.shared.formats.left_out();
        let exchange = session.shared.settings.exchange.as_str();
        let here = |user: &UserId| session.made.lock().users.contains_key(user);
        let (stay, go): (Vec<_>, Vec<_>) =
            self.watch.drain(..).partition(|(user, formats)| *formats == left_out && here(user));
        self.watch = stay;
        for (user, formats) in go {
            for key in session.keys(&user, &None, formats) {
                let _gone_with_the_queue_at_the_latest = sentinel.watch().unbind(exchange, &key).await;
            }
        }
        if left_out == 0 {
            return;
        }
        let more: Vec<UserId> = {
            let made = session.made.lock();
            let new = made.users.keys().filter(|user| self.watch.iter().all(|(own, _)| own != *user));
            new.take(WATCH.saturating_sub(self.watch.len())).cloned().collect()
        };
        for user in more {
            for key in session.keys(&user, &None, left_out) {
                if sentinel.watch().bind_to(exchange, &key).await.is_err() {
                    return;
                }
            }
            self.watch.push((user, left_out));
        }
    }

    async fn look(&mut self, session: &Session) -> Looked {
        let (shared, lines) = (&session.shared, session.lines.as_slice());
        let begun = shared.clock.now();
        let mut proof = self.prove(shared, lines).await;
        if proof == Proof::Bound {
            return Looked::Whole(begun);
        }
        self.unbound |= proof == Proof::Unbound;
        if self.unbound {
            proof = Proof::Unbound;
        }
        let name = &shared.settings.exchange;
        // On each line: that one answers says nothing of another.
        let looks = join_all(lines.iter().map(|line| look_on(line, name, false))).await;
        let Some(looks) = looks.into_iter().collect::<Option<Vec<Seen>>>() else { return Looked::Unclear };
        let wrong = |seen: &&Seen| seen.problem().is_some();
        let Some(mut seen) = looks.iter().find(wrong).or(looks.first()).cloned() else { return Looked::Unclear };
        if seen == Seen::Missing && shared.settings.declare_exchange {
            proof = Proof::Unbound;
            let Some(declared) = look_on(&lines[0], name, true).await else {
                self.unbound = false;
                return Looked::Gone(seen);
            };
            seen = declared;
        }
        self.unbound = false;
        if seen.problem().is_some() {
            return Looked::Gone(seen);
        }
        if proof == Proof::Unbound || self.sentinel.is_none() {
            // Before all others, as at the beginning: none may be bound without being looked after.
            self.place(shared, lines).await;
            self.watch.clear();
        }
        match proof {
            Proof::Unbound => Looked::Unbound,
            _ if self.refused => Looked::Whole(begun),
            _ => Looked::There,
        }
    }

    async fn prove(&mut self, shared: &Shared, lines: &[Line]) -> Proof {
        for _ in 0..TRIES {
            let Some(sentinel) = self.sentinel.as_mut().filter(|_| !self.refused) else { return Proof::None };
            if !self.publisher.as_ref().is_some_and(Publisher::is_open) {
                self.publisher = Publisher::connect(shared).await.ok();
            }
            let Some(publisher) = &self.publisher else { return Proof::None };
            if publisher.connection.status().blocked() {
                return Proof::None;
            }
            self.probes += 1;
            match publisher.publish(&shared.settings.exchange, &sentinel.key, self.probes).await {
                Sent::Routed => match sentinel.receive(self.probes, &shared.formats).await {
                    Came::Everywhere => return Proof::Bound,
                    Came::Nowhere => {}
                    // Where it came, the exchange has its bindings: a line is slow.
                    Came::Somewhere => return Proof::None,
                    Came::Gone => {
                        self.sentinel = None;
                        return Proof::None;
                    }
                },
                Sent::Returned => {
                    let there = sentinel.there(lines).await;
                    if there != There::All && there != There::Unclear {
                        self.sentinel = None;
                    }
                    // One that exists, and is not bound, proves it for all.
                    let proved = there == There::All || there == There::Some;
                    return if proved { Proof::Unbound } else { Proof::None };
                }
                Sent::Failed => {
                    // One that an alarm blocks goes on when the alarm is over.
                    self.publisher.take_if(|publisher| !publisher.connection.status().blocked());
                    return Proof::None;
                }
                Sent::Refused(reason) => {
                    self.refuse(shared, &reason);
                    return Proof::None;
                }
            }
        }
        Proof::Unbound
    }

    /// Binds the sentinel, and makes it where it is not there.
    async fn place(&mut self, shared: &Shared, lines: &[Line]) {
        if self.refused {
            return;
        }
        let exchange = shared.settings.exchange.as_str();
        let placed = match self.sentinel.take() {
            Some(sentinel) if sentinel.is_open() => sentinel.bind(exchange).await,
            _ => Sentinel::make(lines, exchange).await,
        };
        match placed {
            Ok(sentinel) => self.sentinel = Some(sentinel),
            Err(reason) if reason.contains("ACCESS_REFUSED") => self.refuse(shared, &reason),
            Err(reason) => warn!(%reason, "the queue that watches the bindings could not be made: trying again"),
        }
    }

    fn refuse(&mut self, shared: &Shared, reason: &str) {
        (self.refused, self.sentinel, self.publisher) = (true, None, None);
        if !shared.unwatched.swap(true, Ordering::Relaxed) {
            warn!(
                %reason,
                "bindings are not watched: an exchange that is deleted and declared anew within {} s goes unnoticed. \
                 Give the user the permission to configure, write and read bridge_lookout.*, and to write to the exchange",
                LOOK.as_secs()
            );
        }
    }
}

/// `None` when it could not be looked at.
async fn look_on(line: &Line, exchange: &str, declare: bool) -> Option<Seen> {
    timeout(SLOW, exchange::look(line.connection(), exchange, declare)).await.ok()?.ok()
}

impl Publisher {
    async fn connect(shared: &Shared) -> Result<Self, String> {
        let connection = connect_any(&shared.settings).await?;
        let channel = expendable(&connection).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel })
    }

    fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    async fn publish(&self, exchange: &str, key: &str, probe: u64) -> Sent {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (body, properties) = (body(probe), BasicProperties::default());
        let published = timeout(PROBE, async {
            let send =
                self.channel.basic_publish(exchange.into(), key.into(), mandatory, body.as_bytes(), properties);
            send.await?.await
        });
        match published.await {
            Ok(Ok(confirmed)) if confirmed.is_ack() => match confirmed.take_message() {
                None => Sent::Routed,
                Some(_) => Sent::Returned,
            },
            Ok(Err(error)) => match exchange::code(&error) {
                Some(403) => Sent::Refused(error.to_string()),
                // The exchange itself is not there.
                Some(404) => Sent::Returned,
                _ => Sent::Failed,
            },
            Ok(Ok(_)) | Err(_) => Sent::Failed,
        }
    }
}
