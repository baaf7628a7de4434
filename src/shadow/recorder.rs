//! The recorder: takes what paths see, off the delivery's back, and lets the comparator work on a thread of its own.
//!
//! A delivery never waits for it: what does not fit is shed, counted, and said to the comparator, which then trusts
//! no unit that was open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_core::compare::{Event, Payload};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, unbounded};
use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;

use super::desk::Desk;
use crate::clock::Clock;
use crate::delivery::Tap;

/// How often windows are looked at, and the log is written.
const EXPIRE: Duration = Duration::from_millis(100);
/// Most events between two looks at the clock.
const BATCH: usize = 1_024;
/// How long events are let come together before they are taken: to wake a thread for each costs more than to compare it.
const TOGETHER: Duration = Duration::from_millis(10);
/// A payload with more bytes is charged once for all recipients that share it. Of smaller ones that is not worth a
/// look.
const SHARED: usize = 4 * 1_024;

/// The delivery's end.
pub struct Recorder {
    sender: Sender<Event>,
    waiting: Arc<Waiting>,
    clock: Clock,
    limits: RecorderLimits,
    shed_total: Counter,
    stop: Arc<AtomicBool>,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// What is on its way to the comparator.
#[derive(Default)]
struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
    shed: AtomicU64,
    /// How many events hold the large payload at a place; while one does, nothing else is there.
    large: Mutex<HashMap<usize, usize>>,
}

impl Waiting {
    /// Charges `event`; all that waits now, events and bytes.
    fn enter(&self, event: &Event) -> (usize, usize) {
        let own = weight(event);
        let shared = large(event).map_or(0, |payload| {
            let mut large = self.large.lock();
            let holders = large.entry(payload.place()).or_default();
            *holders += 1;
            if *holders == 1 { payload.bytes() } else { 0 }
        });
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        (events, self.bytes.fetch_add(own + shared, Ordering::Relaxed) + own + shared)
    }

    /// Takes the charge of `event` back.
    fn leave(&self, event: &Event) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        let shared = large(event).map_or(0, |payload| {
            let mut large = self.large.lock();
            let Entry::Occupied(mut holders) = large.entry(payload.place()) else { return 0 };
            *holders.get_mut() -= 1;
            if *holders.get() > 0 {
                return 0;
            }
            holders.remove();
            payload.bytes()
        });
        self.bytes.fetch_sub(weight(event) + shared, Ordering::Relaxed);
    }
}

/// What the recorder may hold.
#[derive(Clone, Copy, Debug)]
pub struct RecorderLimits {
    /// Most events on their way.
    pub events: usize,
    /// Most bytes on their way, payloads included.
    pub bytes: usize,
}

impl Recorder {
    /// Starts the comparator's thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(limits: RecorderLimits, clock: Clock, desk: Arc<Desk>) -> std::io::Result<Arc<Self>> {
        // It takes memory only while something waits, which `waiting` bounds.
        let (sender, receiver) = unbounded();
        let waiting = Arc::new(Waiting::default());
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            receiver,
            waiting: Arc::clone(&waiting),
            clock,
            desk,
            stop: Arc::clone(&stop),
            bytes: gauge!("bridge_shadow_waiting_bytes"),
        };
        let thread = std::thread::Builder::new()
            .name("comparator".into())
            .spawn(move || crate::vital::thread("comparator", || worker.run()))?;
        Ok(Arc::new(Self {
            sender,
            waiting,
            clock,
            limits,
            shed_total: counter!("bridge_shadow_shed_total"),
            stop,
            thread: parking_lot::Mutex::new(Some(thread)),
        }))
    }

    /// Lets the comparator finish what it has and ends its thread.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the comparator's thread has panicked");
        }
    }
}

impl Tap for Recorder {
    fn event(&self, event: Event) {
        let shed = self.waiting.shed.swap(0, Ordering::AcqRel);
        if shed > 0 && !self.pass(Event::Shed(self.clock.now(), shed)) {
            self.waiting.shed.fetch_add(shed + 1, Ordering::AcqRel);
            self.shed_total.increment(1);
            return;
        }
        if !self.pass(event) {
            self.waiting.shed.fetch_add(1, Ordering::AcqRel);
            self.shed_total.increment(1);
        }
    }
}

impl Recorder {
    fn pass(&self, event: Event) -> bool {
        let (events, bytes) = self.waiting.enter(&event);
        if events > self.limits.events || bytes > self.limits.bytes {
            self.waiting.leave(&event);
            return false;
        }
        // It fails when the comparator's thread is gone.
        match self.sender.send(event) {
            Ok(()) => true,
            Err(SendError(event)) => {
                self.waiting.leave(&event);
                false
            }
        }
    }
}

/// Bytes that an event keeps alive, roughly, beside a large payload: payloads are shared with the delivery, but may
/// outlive it here.
fn weight(event: &Event) -> usize {
    match event {
        Event::Seen(it) | Event::Leak(it) => {
            let payload = if it.payload.bytes() > SHARED { 0 } else { it.payload.bytes() };
            512 + it.list_bytes() + payload
        }
        Event::Fact(..) | Event::Shed(..) => 192,
    }
}

fn large(event: &Event) -> Option<&Payload> {
    match event {
        Event::Seen(it) | Event::Leak(it) => Some(&it.payload).filter(|payload| payload.bytes() > SHARED),
        Event::Fact(..) | Event::Shed(..) => None,
    }
}

struct Worker {
    receiver: Receiver<Event>,
    waiting: Arc<Waiting>,
    clock: Clock,
    desk: Arc<Desk>,
    stop: Arc<AtomicBool>,
    bytes: Gauge,
}

impl Worker {
    fn run(self) {
        let mut expired = Instant::now();
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let wait = if stopping { Duration::ZERO } else { EXPIRE.saturating_sub(expired.elapsed()) };
            match self.receiver.recv_timeout(wait) {
                Ok(first) => {
                    if !stopping && self.receiver.len() < BATCH {
                        std::thread::sleep(TOGETHER);
                    }
                    self.take(first);
                }
                Err(RecvTimeoutError::Timeout) if stopping => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if expired.elapsed() >= EXPIRE {
                self.tell_shed();
                self.desk.expire(self.clock.now());
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                self.bytes.set(self.waiting.bytes.load(Ordering::Relaxed) as f64);
                expired = Instant::now();
            }
        }
        self.tell_shed();
        self.desk.expire(self.clock.now());
    }

    /// What was shed is usually said by the next event; there may be none before units close.
    fn tell_shed(&self) {
        let shed = self.waiting.shed.swap(0, Ordering::AcqRel);
        if shed > 0 {
            self.desk.observe(std::iter::once(Event::Shed(self.clock.now(), shed)));
        }
    }

    fn take(&self, first: Event) {
        let batch = std::iter::once(first).chain(self.receiver.try_iter().take(BATCH));
        self.desk.observe(batch.inspect(|event| self.waiting.leave(event)));
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::Json;
    use bridge_core::compare::{Fact, Seen};
    use bridge_core::gate::Sockets;
    use bridge_core::{Key, Path, Stage, UserId};
    use serde_json::value::RawValue;

    use super::*;

    const THREADS: u64 = 4;
    const EVENTS: u64 = 50_000;

    /// A recorder whose comparator takes nothing.
    fn stalled(limits: RecorderLimits) -> (Recorder, Receiver<Event>) {
        let (sender, receiver) = unbounded();
        let recorder = Recorder {
            sender,
            waiting: Arc::default(),
            clock: Clock::default(),
            limits,
            shed_total: counter!("bridge_shadow_shed_total"),
            stop: Arc::default(),
            thread: parking_lot::Mutex::default(),
        };
        (recorder, receiver)
    }

    fn seen(user: u32, payload: &Json) -> Event {
        Event::Seen(Box::new(Seen {
            at: bridge_core::Millis(1),
            path: Path::Legacy,
            user: UserId::new(&format!("u{user}")).unwrap(),
            tenant: "t".into(),
            key: Key::of_numbers(&[1], true),
            message: None,
            dialog: None,
            sender: None,
            stage: Stage::Shadow,
            sockets: Sockets::new(),
            present: Sockets::new(),
            joined: None,
            rooms: Vec::new(),
            subscribed: Sockets::new(),
            routing_key: None,
            redelivered: false,
            broker_up: true,
            queue_ready: true,
            member: None,
            drill: false,
            payload: Payload::Legacy(payload.clone()),
        }))
    }

    #[test]
    fn a_large_payload_is_charged_once_for_all_who_share_it() {
        let (recorder, receiver) = stalled(RecorderLimits { events: 1_000, bytes: 1 << 20 });
        let payload = |letter: &str| -> Json {
            RawValue::from_string(format!("\"{}\"", letter.repeat(400 << 10))).unwrap().into()
        };
        let (one, another) = (payload("x"), payload("y"));
        (0..100).for_each(|user| recorder.event(seen(user, &one)));
        (0..100).for_each(|user| recorder.event(seen(user, &another)));
        assert_eq!(recorder.waiting.shed.load(Ordering::Relaxed), 0);
        let held = recorder.waiting.bytes.load(Ordering::Relaxed);
        assert!((800 << 10..1 << 20).contains(&held), "{held}");
        recorder.event(seen(0, &payload("z")));
        assert_eq!(recorder.waiting.shed.load(Ordering::Relaxed), 1, "a third does not fit");
        receiver.try_iter().for_each(|event| recorder.waiting.leave(&event));
        assert_eq!(recorder.waiting.bytes.load(Ordering::Relaxed), 0);
        assert!(recorder.waiting.large.lock().is_empty());
    }

    #[test]
    fn a_comparer_that_is_stalled_holds_nobody_up_and_everything_shed_is_counted() {
        for limits in [
            RecorderLimits { events: 1_000, bytes: 1 << 30 },
            RecorderLimits { events: 1 << 20, bytes: 64 * 1024 },
        ] {
            let (recorder, receiver) = stalled(limits);
            let churn = || Event::Fact(recorder.clock.now(), Fact::Churn { user: UserId::new("u").unwrap() });
            let longest = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| {
                        scope.spawn(|| {
                            let timed = |_| {
                                let started = Instant::now();
                                recorder.event(churn());
                                started.elapsed()
                            };
                            (0..EVENTS).map(timed).max().unwrap()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
            });
            // One that waits for the comparer waits for ever; the scheduler may hold a thread up.
            assert!(longest < Duration::from_secs(30), "{longest:?}");
            assert!(recorder.waiting.bytes.load(Ordering::Relaxed) <= limits.bytes);
            let (mut taken, mut shed) = (0, 0);
            let mut count = || {
                for event in receiver.try_iter() {
                    recorder.waiting.leave(&event);
                    match event {
                        Event::Shed(_, more) => shed += more,
                        _ => taken += 1,
                    }
                }
            };
            count();
            // It goes on: the next event says first what was shed.
            recorder.event(churn());
            count();
            assert_eq!(taken + shed, THREADS * EVENTS + 1);
            assert!(shed > 0);
        }
    }
}
