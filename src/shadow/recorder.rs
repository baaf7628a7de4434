//! The recorder: takes what paths see, off the delivery's back, and lets the comparator work on a thread of its own.
//!
//! A delivery never waits for it: what does not fit is shed, counted, and said to the comparator, which then trusts
//! no unit that was open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_core::compare::{Event, Payload, Seen};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use metrics::{Counter, Gauge, counter, gauge};

use super::desk::Desk;
use crate::clock::Clock;
use crate::delivery::Tap;

/// How often windows are looked at, and the log is written.
const EXPIRE: Duration = Duration::from_millis(100);
/// Most events between two looks at the clock.
const BATCH: usize = 1_024;

/// The delivery's end.
pub struct Recorder {
    sender: Sender<(usize, Event)>,
    waiting: Arc<Waiting>,
    clock: Clock,
    limit_bytes: usize,
    shed_total: Counter,
    stop: Arc<AtomicBool>,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// What is on its way to the comparator.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    shed: AtomicU64,
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
        let (sender, receiver) = bounded(limits.events);
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
        let thread = std::thread::Builder::new().name("comparator".into()).spawn(move || worker.run())?;
        Ok(Arc::new(Self {
            sender,
            waiting,
            clock,
            limit_bytes: limits.bytes,
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
        let bytes = weight(&event);
        if self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit_bytes {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        match self.sender.try_send((bytes, event)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
                false
            }
        }
    }
}

/// Bytes that an event keeps alive, roughly: the payload is shared with the delivery, but may outlive it here.
fn weight(event: &Event) -> usize {
    let seen = |seen: &Seen| {
        512 + seen.list_bytes()
            + match &seen.payload {
                Payload::Legacy(data) => data.get().len(),
                Payload::Update(update) => update.body.get().len(),
            }
    };
    match event {
        Event::Seen(it) | Event::Leak(it) => seen(it),
        Event::Fact(..) | Event::Shed(..) => 192,
    }
}

struct Worker {
    receiver: Receiver<(usize, Event)>,
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
                Ok(first) => self.take(first),
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

    fn take(&self, first: (usize, Event)) {
        let batch = std::iter::once(first).chain(self.receiver.try_iter().take(BATCH));
        self.desk.observe(batch.map(|(bytes, event)| {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            event
        }));
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::UserId;
    use bridge_core::compare::Fact;

    use super::*;

    const THREADS: u64 = 4;
    const EVENTS: u64 = 50_000;

    /// A recorder whose comparator takes nothing.
    fn stalled(limits: RecorderLimits) -> (Recorder, Receiver<(usize, Event)>) {
        let (sender, receiver) = bounded(limits.events);
        let recorder = Recorder {
            sender,
            waiting: Arc::default(),
            clock: Clock::default(),
            limit_bytes: limits.bytes,
            shed_total: counter!("bridge_shadow_shed_total"),
            stop: Arc::default(),
            thread: parking_lot::Mutex::default(),
        };
        (recorder, receiver)
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
            assert!(longest < Duration::from_millis(500), "{longest:?}: only the scheduler may hold a thread up");
            assert!(recorder.waiting.bytes.load(Ordering::Relaxed) <= limits.bytes);
            let (mut taken, mut shed) = (0, 0);
            let mut count = || {
                for (bytes, event) in receiver.try_iter() {
                    recorder.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
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
