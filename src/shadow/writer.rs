//! The only thread of the comparison that waits for a disk.
//!
//! A disk may hang for ever. Nobody waits for it here: what the thread can't take at once is lost, and counted. Records
//! stay in memory, in the stream and in the numbers all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_core::compare::Record;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::evidence::keep;
use super::log::{Lost, ShadowLog};

/// Most jobs, and most bytes of them, that wait for the disk.
const JOBS: usize = 16_384;
const BYTES: usize = 16 << 20;
/// How long the end of the process waits for it.
const FINISH: Duration = Duration::from_secs(1);

enum Job {
    Line(Vec<u8>),
    Evidence(Vec<u8>),
    Stop(Sender<()>),
}

/// The comparator's end.
pub(super) struct Writer {
    sender: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    lost: Lost,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(log: ShadowLog, evidence: PathBuf, lost: Lost) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(JOBS);
        let waiting = Arc::new(AtomicUsize::new(0));
        let worker = Worker { receiver, waiting: Arc::clone(&waiting), log, evidence, failing: false };
        std::thread::Builder::new()
            .name("shadow-log".into())
            .spawn(move || crate::vital::thread("shadow log", || worker.run()))?;
        Ok(Self { sender, waiting, lost })
    }

    /// One record for the log.
    pub(super) fn record(&self, record: &Record) {
        let line = serde_json::to_vec(record).unwrap_or_default();
        let bytes = line.len();
        let room = self.waiting.load(Ordering::Relaxed) + bytes <= BYTES;
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if !room || self.sender.try_send(Job::Line(line)).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.one();
        }
    }

    /// The evidence as it is to be found after a restart. Losing it costs time, no message.
    pub(super) fn evidence(&self, text: Vec<u8>) {
        let _the_next_one_comes_soon = self.sender.try_send(Job::Evidence(text));
    }

    /// Records that are in no file.
    pub(super) fn lost(&self) -> u64 {
        self.lost.total()
    }

    /// Writes what waits, and the evidence; `false` when the disk did not take it in time.
    pub(super) fn finish(&self, evidence: Vec<u8>) -> bool {
        let until = Instant::now() + FINISH;
        let (done, ended) = bounded(1);
        self.sender.send_deadline(Job::Evidence(evidence), until).is_ok()
            && self.sender.send_deadline(Job::Stop(done), until).is_ok()
            && ended.recv_deadline(until).is_ok()
    }
}

struct Worker {
    receiver: Receiver<Job>,
    waiting: Arc<AtomicUsize>,
    log: ShadowLog,
    evidence: PathBuf,
    /// The evidence could not be written.
    failing: bool,
}

impl Worker {
    fn run(mut self) {
        while let Ok(first) = self.receiver.recv() {
            let mut stop = None;
            let jobs: Vec<Job> = std::iter::once(first).chain(self.receiver.try_iter().take(JOBS)).collect();
            for job in jobs {
                match job {
                    Job::Line(line) => {
                        self.log.write(&line);
                        self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    }
                    Job::Evidence(text) => self.keep(&text),
                    Job::Stop(done) => stop = Some(done),
                }
            }
            self.log.flush();
            if let Some(done) = stop {
                let _nobody_may_wait = done.send(());
            }
        }
    }

    /// A disk that takes nothing is said once, until it takes something again.
    fn keep(&mut self, text: &[u8]) {
        let kept = keep(&self.evidence, text);
        if let Err(error) = &kept
            && !self.failing
        {
            tracing::error!(path = %self.evidence.display(), %error,
                "the evidence can't be written: after a restart it begins anew");
        }
        self.failing = kept.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use bridge_core::Json;
    use bridge_core::compare::{Event, Fact, Payload, Seen};
    use bridge_core::gate::Sockets;
    use bridge_core::update::LegacyMessage;
    use bridge_core::{DialogId, Millis, Path, SocketId, Stage, UserId};
    use serde_json::value::RawValue;

    use crate::clock::Clock;
    use crate::config::Settings;
    use crate::shadow::{Desk, DeskSettings, Filter, Order};

    fn desk(dir: &std::path::Path) -> std::sync::Arc<Desk> {
        desk_of(dir, dir, 5)
    }

    /// A message that only legacy brings, seen at `at`.
    fn lonely(at: Millis, n: u64) -> Event {
        let data = format!(r#"{{"messageId":"msg_{n}","dialogId":"dlg_1"}}"#);
        let data: Json = RawValue::from_string(data).unwrap().into();
        let id = LegacyMessage::read(data.get()).message;
        let sockets = Sockets::from_slice(&[SocketId(1)]);
        Event::Seen(Box::new(Seen {
            at,
            path: Path::Legacy,
            user: UserId::new("u").unwrap(),
            tenant: "t".into(),
            key: id.key("t").unwrap(),
            message: Some(id),
            dialog: DialogId::new("dlg_1").ok(),
            sender: None,
            stage: Stage::Shadow,
            sockets: sockets.clone(),
            present: sockets.clone(),
            joined: Some(sockets.clone()),
            rooms: Vec::new(),
            subscribed: sockets,
            routing_key: None,
            redelivered: false,
            broker_up: true,
            queue_ready: true,
            member: None,
            drill: false,
            payload: Payload::Legacy(data),
        }))
    }

    fn feed(desk: &Desk, from: u64, count: u64) {
        let now = Clock::default().now();
        desk.observe(std::iter::once(Event::Fact(now, Fact::Session { up: true })));
        desk.observe((from..from + count).map(|n| lonely(now, n)));
        desk.expire(now.plus(60_000));
    }

    #[test]
    fn records_are_in_the_file_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path());
        feed(&desk, 0, 100);
        let log = dir.path().join("shadow-a.jsonl");
        let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        let until = Instant::now() + Duration::from_millis(500);
        while lines() < 100 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(lines(), 100);
        desk.finish();
        assert!(dir.path().join("evidence.json").exists());
        assert_eq!(desk.summary().log_lost, 0);
    }

    #[test]
    fn a_disk_that_hangs_holds_nobody_up_and_what_it_does_not_take_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        // To open a FIFO that nobody reads waits for ever.
        for name in ["shadow-a.jsonl", "evidence.new"] {
            assert!(Command::new("mkfifo").arg(dir.path().join(name)).status().unwrap().success());
        }
        let desk = desk(dir.path());
        let started = Instant::now();
        for round in 0..3 {
            feed(&desk, round * 10_000, 10_000);
        }
        let summary = serde_json::to_value(desk.summary()).unwrap();
        assert_eq!((&summary["closed"], &summary["open"]), (&30_000.into(), &0.into()));
        assert!(summary["log_lost"].as_u64().unwrap() > 0, "{summary}");
        assert_eq!(summary["shed"], 0, "every unit was compared");
        assert_eq!(desk.evidence()["closed"], 30_000);
        assert_eq!(desk.records(&Filter::default(), Order::Ascending, None, 10).records.len(), 10);
        let ending = Instant::now();
        desk.finish();
        assert!(ending.elapsed() < Duration::from_secs(2) && started.elapsed() < Duration::from_secs(20));
    }
    /// A desk like [`desk`], in a state directory of its own, under settings of its own.
    fn desk_of(state: &std::path::Path, shared: &std::path::Path, window: u64) -> std::sync::Arc<Desk> {
        let shadow = crate::config::Shadow { window: Duration::from_secs(window), ..Settings::default().shadow };
        let notifier = crate::notice::Notifier::none();
        let settings = DeskSettings {
            instance: "a".into(),
            dir: shared.into(),
            state_dir: state.into(),
            shadow,
            relayed: false,
            notifier,
        };
        Desk::new(settings, Clock::default()).unwrap()
    }

    fn three() -> (tempfile::TempDir, tempfile::TempDir, tempfile::TempDir) {
        let dir = || tempfile::tempdir().unwrap();
        (dir(), dir(), dir())
    }

    /// Messages in the evidence, and the verdict.
    fn verdict(desk: &Desk) -> (serde_json::Value, serde_json::Value) {
        let verdict = &serde_json::to_value(desk.summary()).unwrap()["verdict"];
        (verdict["messages"].clone(), verdict["value"].clone())
    }

    #[test]
    fn evidence_is_kept_although_nothing_was_written_before_and_each_instance_has_its_own() {
        let (one, other, shared) = three();
        let log = shared.path().join("not/made/yet");
        let open = |state: &std::path::Path| desk_of(state, &log, 5);
        let (first, second) = (open(one.path()), open(other.path()));
        first.finish();
        second.finish();
        // A quiet, healthy start: nothing was sampled.
        assert!(!log.exists() && one.path().join("evidence.json").exists());
        feed(&first, 0, 3);
        feed(&second, 0, 7);
        first.finish();
        second.finish();
        assert_eq!((verdict(&open(one.path())).0, verdict(&open(other.path())).0), (3.into(), 7.into()));
    }

    #[test]
    fn evidence_that_was_kept_beside_the_log_is_taken_over_by_one() {
        let (one, other, shared) = three();
        let before = desk_of(shared.path(), shared.path(), 5);
        feed(&before, 0, 3);
        before.finish();
        let open = |state: &std::path::Path| verdict(&desk_of(state, shared.path(), 5)).0;
        assert_eq!((open(one.path()), open(other.path()), open(one.path())), (3.into(), 0.into(), 3.into()));
        let left = std::fs::read_dir(shared.path()).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().contains("evidence")).count(), 0);
    }

    #[test]
    fn evidence_from_before_another_window_is_stale_from_the_moment_that_it_takes_effect() {
        let dir = tempfile::tempdir().unwrap();
        let first = desk_of(dir.path(), dir.path(), 5);
        // It takes effect at the next start: until then units close by the old one.
        first.reload(&crate::config::Shadow { window: Duration::from_secs(9), ..Settings::default().shadow });
        feed(&first, 0, 10);
        assert_eq!(verdict(&first), (10.into(), "NOT_SAFE".into()));
        first.finish();
        assert_eq!(verdict(&desk_of(dir.path(), dir.path(), 9)), (0.into(), "STALE".into()));
    }
}
