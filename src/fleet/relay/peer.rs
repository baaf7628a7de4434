//! One other instance: what waits for it, and the task that hands it over.

use std::sync::Arc;
use std::time::Duration;

use bridge_core::Millis;
use http::{Method, StatusCode};
use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, CopyOnWire, Gap, Receipt};
use super::queue::{Item, Queue};
use super::{Identity, PeerView};
use crate::clock::Clock;
use crate::fleet::Node;

/// One request may take so long.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two tries, at first and at most.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MOST: Duration = Duration::from_secs(1);
/// An idle one is asked who it is so often: another may have its address.
const IDLE: Duration = Duration::from_secs(10);

/// The answer took some time to come, in ms.
const SLACK: u64 = 1_000;

pub(super) struct Peer {
    node: Node,
    own: Identity,
    clock: Clock,
    state: Mutex<State>,
    /// Something waits.
    more: Notify,
    ended: CancellationToken,
    handed: Counter,
    away: Counter,
    lost: Counter,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// What it said of itself last.
    met: Option<Receipt>,
    /// Why it does not take anything at the moment; `None`: it does.
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
enum Fault {
    /// Nobody listens there: nobody is connected there either.
    NotRunning,
    /// Anything else.
    Other(String),
}

impl Peer {
    pub(super) fn new(node: Node, own: Identity, clock: Clock) -> Arc<Self> {
        let count = |outcome: &'static str| counter!("bridge_relay_copies_total", "outcome" => outcome);
        Arc::new(Self {
            node,
            own,
            clock,
            state: Mutex::default(),
            more: Notify::new(),
            ended: CancellationToken::new(),
            handed: count("handed"),
            away: count("away"),
            lost: count("lost"),
        })
    }

    /// Never waits.
    pub(super) fn hand(&self, item: Item) {
        let mut state = self.state.lock();
        if self.is_self(&state) {
            return;
        }
        let dropped = state.queue.push(item);
        self.count_lost(&state, dropped);
        drop(state);
        self.more.notify_one();
    }

    /// It is named no more, since long enough: what still waits for it is not handed over.
    pub(super) fn end(&self) {
        self.ended.cancel();
        let mut state = self.state.lock();
        self.count_lost(&state, state.queue.len());
        state.queue.clear();
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.lock().fault.is_none()
    }

    /// `None` for this instance itself.
    pub(super) fn view(&self) -> Option<PeerView> {
        let state = self.state.lock();
        if self.is_self(&state) {
            return None;
        }
        Some(PeerView {
            node: self.node.url.clone(),
            instance: state.met.as_ref().map(|met| met.instance.clone()),
            up: state.met.is_some() && state.fault.is_none(),
            waiting: state.queue.len(),
            why: state.fault.as_ref().map(|fault| match fault {
                Fault::NotRunning => "nobody listens there".into(),
                Fault::Other(reason) => reason.clone(),
            }),
        })
    }

    fn is_self(&self, state: &State) -> bool {
        let Some(met) = &state.met else { return false };
        met.instance == self.own.instance && met.boot == self.own.boot
    }

    fn count_lost(&self, state: &State, count: usize) {
        let counter = if matches!(state.fault, Some(Fault::NotRunning)) { &self.away } else { &self.lost };
        counter.increment(count as u64);
    }

    /// Hands over, in order, until `stop` or its end.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let work = self.work();
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
            () = self.ended.cancelled() => {}
        }
    }

    async fn work(&self) {
        let (mut greeted, mut again) = (false, AGAIN);
        loop {
            if greeted && !self.state.lock().queue.is_busy() {
                greeted = tokio::time::timeout(IDLE, self.more.notified()).await.is_ok();
                continue;
            }
            // Who it is, and since when it runs, is known before it is handed anything, anew after each fault.
            let items = if greeted { self.state.lock().queue.batch() } else { Vec::new() };
            let called = self.call(&items, greeted).await;
            greeted = called.is_ok();
            if greeted {
                again = AGAIN;
            } else {
                sleep(again).await;
                again = (again * 2).min(AGAIN_MOST);
            }
        }
    }

    /// One request; what came of it is noted.
    async fn call(&self, items: &[Item], greeted: bool) -> Result<(), ()> {
        let now = self.clock.now();
        let gaps = if greeted { self.state.lock().queue.tell() } else { Vec::new() };
        let age_ms = |since: &Millis| now.since(*since);
        let copy = |item: &Item| CopyOnWire {
            number: item.number,
            dialog: item.copy.dialog.to_string(),
            sender: item.copy.sender.to_string(),
            age_ms: age_ms(&item.since),
            data: item.copy.data.to_raw(),
        };
        let gap = |(dialog, since): &(Option<bridge_core::DialogId>, Millis)| Gap {
            dialog: dialog.as_ref().map(ToString::to_string),
            age_ms: age_ms(since),
        };
        let batch = Batch {
            from: self.own.instance.clone(),
            boot: self.own.boot.clone(),
            copies: items.iter().map(copy).collect(),
            lost: gaps.iter().map(gap).collect(),
        };
        let answer =
            self.node.request(Method::POST, "/admin/fleet/relay").timeout(LIMIT).json(&batch).send().await;
        let last = items.last().map_or(0, |item| item.number);
        let fault = match answer {
            Ok(answer) if answer.status().is_success() => match answer.json::<Receipt>().await {
                Ok(receipt) => {
                    self.took(receipt, last, greeted);
                    return Ok(());
                }
                Err(error) => Fault::Other(format!("its answer can't be read: {}", error.without_url())),
            },
            Ok(answer) => {
                let status = answer.status();
                // What can't be read there never will be: it must not hold up what comes after it.
                if matches!(
                    status,
                    StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
                ) {
                    let count = self.state.lock().queue.refused(last);
                    self.lost.increment(count as u64);
                }
                Fault::Other(format!("it answers {status}"))
            }
            Err(error) if is_refused(&error) => Fault::NotRunning,
            Err(error) if error.is_timeout() => Fault::Other("no answer in time".into()),
            Err(error) => Fault::Other(error.without_url().to_string()),
        };
        let mut state = self.state.lock();
        let is_news = match (&state.fault, &fault) {
            (Some(Fault::NotRunning), Fault::NotRunning) => false,
            (Some(Fault::Other(before)), Fault::Other(now)) => before != now,
            _ => true,
        };
        if is_news {
            match &fault {
                Fault::NotRunning => {
                    tracing::info!(node = %self.node.url, "an instance of the fleet is not running")
                }
                Fault::Other(reason) => {
                    tracing::warn!(node = %self.node.url, %reason, "an instance of the fleet takes no broadcasts");
                }
            }
        }
        state.fault = Some(fault);
        let count = state.queue.expire(self.clock.now());
        self.count_lost(&state, count);
        Err(())
    }

    fn took(&self, receipt: Receipt, last: u64, told: bool) {
        let start = Millis(self.clock.now().0.saturating_sub(receipt.up_ms.saturating_add(SLACK)));
        let mut state = self.state.lock();
        self.handed.increment(state.queue.done(last) as u64);
        if told {
            state.queue.told();
        }
        if state.fault.take().is_some() {
            tracing::info!(node = %self.node.url, instance = %receipt.instance, "an instance of the fleet takes broadcasts");
        }
        state.met = Some(receipt);
        if self.is_self(&state) {
            state.queue.clear();
            return;
        }
        self.away.increment(state.queue.began(start) as u64);
    }
}

/// Whether nobody listens there.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}
