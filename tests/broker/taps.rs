//! Deliveries: handed over before they are acknowledged, whole, in order, and once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Holds what says so until it is let go, and rejects what is bad.
#[derive(Default)]
struct Judge {
    seen: Mutex<Vec<(String, bool)>>,
    sessions: Mutex<Vec<bool>>,
    let_go: AtomicBool,
    batches: Mutex<Vec<usize>>,
}

impl Inbox for Judge {
    fn deliver(&self, delivery: Delivery) -> Disposition {
        let body = String::from_utf8_lossy(delivery.body).into_owned();
        let limit = Instant::now() + Duration::from_secs(60);
        while body == "hold" && !self.let_go.load(Ordering::Acquire) && Instant::now() < limit {
            // Others are to go on.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(5)));
        }
        let bad = body.starts_with("bad");
        self.seen.lock().push((body, delivery.redelivered));
        if bad { Disposition::Reject } else { Disposition::Ack }
    }
    fn batch_end(&self) {
        let seen = self.seen.lock().len();
        self.batches.lock().push(seen);
    }
    fn session(&self, up: bool) {
        self.sessions.lock().push(up);
    }
    fn queue_live(&self, _user: &UserId, _gap: Option<(GapReason, Millis)>) {}
    fn queue_lost(&self, _user: &UserId, _since: bridge_core::Millis) {}
}

fn judged(settings: Rabbitmq) -> (Arc<AmqpBroker>, Arc<Judge>) {
    let inbox = Arc::new(Judge::default());
    let own: Arc<dyn Inbox> = Arc::clone(&inbox) as _;
    (AmqpBroker::new(settings, "inst".into(), own, Clock::default(), workers()), inbox)
}

/// How many updates of all queues, or of one, are not acknowledged, and how many there are at all.
fn messages(rabbit: &Rabbit, queue: &str) -> (u64, u64) {
    let list = rabbit.ctl(&["list_queues", "--no-table-headers", "name", "messages_unacknowledged", "messages"]);
    let rows = list.lines().filter(|line| line.starts_with(queue));
    rows.fold((0, 0), |(unacknowledged, all), row| {
        let mut numbers = row.split_whitespace().skip(1).map(|number| number.parse::<u64>().unwrap());
        (unacknowledged + numbers.next().unwrap(), all + numbers.next().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nobody_has_handled_is_not_acknowledged() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = judged(Rabbitmq { channels: 1, ..settings(&rabbit.url()) });
    broker.start();
    ["a", "b"].iter().for_each(|user| broker.want(&id(user), None));
    live(&broker, 2).await;
    publisher.publish("user.a.x", "hold").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for n in 0..10 {
        publisher.publish("user.b.x", &format!("{n}")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The other's updates came after it on the same channel.
    let held = messages(&rabbit, "user_a.");
    inbox.let_go.store(true, Ordering::Release);
    assert_eq!(held, (1, 1), "it is still being handled");
    eventually("all acknowledged", 20, || messages(&rabbit, "user_").1 == 0).await;
    assert_eq!(inbox.seen.lock().len(), 11);
    assert!(inbox.seen.lock().iter().all(|(_, redelivered)| !redelivered));
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_rejected_by_itself_and_large_bodies_are_whole() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    for topology in [Topology::PerUser, Topology::PerInstance, Topology::Firehose] {
        let (broker, inbox) = judged(Rabbitmq { topology, channels: 2, ..settings(&rabbit.url()) });
        broker.start();
        (0..5).for_each(|n| broker.want(&id(&format!("u{n}")), None));
        live(&broker, 5).await;
        let large: Vec<String> = (1..6).map(|n| format!("{n}").repeat(100_000 * n)).collect();
        let mut expected = Vec::new();
        for n in 0..300 {
            let body = match n % 7 {
                0 | 1 => format!("bad {n}"),
                2 if n % 10 == 0 => large[n / 70].clone(),
                _ => format!("good {n}"),
            };
            publisher.publish(&format!("user.u{}.x", n % 5), &body).await;
            expected.push(body);
        }
        eventually("all there", 30, || inbox.seen.lock().len() >= 300).await;
        eventually("all settled", 30, || messages(&rabbit, "").1 == 0).await;
        let mut seen: Vec<String> = inbox.seen.lock().iter().map(|(body, _)| body.clone()).collect();
        seen.sort();
        expected.sort();
        assert!(seen == expected, "{topology:?}: each once, and whole");
        assert!(inbox.seen.lock().iter().all(|(_, redelivered)| !redelivered), "{topology:?}");
        let batches = inbox.batches.lock().clone();
        assert_eq!(batches.last(), Some(&300), "{topology:?}: a batch ends after its last update");
        assert!(batches.is_sorted(), "{topology:?}");
        assert_eq!(*inbox.sessions.lock(), [true], "{topology:?}");
        broker.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_while_nothing_but_updates_comes() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    // The library hears nothing else for many heartbeats, and would take the broker for dead.
    let url = format!("{}?heartbeat=1", rabbit.url());
    let (broker, inbox) = judged(Rabbitmq { watch_bindings: false, ..settings(&url) });
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    let end = Instant::now() + Duration::from_secs(8);
    let mut sent = 0;
    while Instant::now() < end {
        publisher.publish("user.a.x", "good").await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("delivered", 20, || inbox.seen.lock().len() == sent).await;
    assert_eq!(*inbox.sessions.lock(), [true]);
    // Nor does it die when nothing comes at all.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*inbox.sessions.lock(), [true]);
    broker.stop(Duration::from_secs(5)).await;
}

/// Closes the connections that are not the publisher's.
fn close_ours(rabbit: &Rabbit) {
    let list = rabbit.ctl(&["list_connections", "--no-table-headers", "pid", "client_properties"]);
    let ours = list.lines().filter(|line| line.contains("updates-bridge"));
    for pid in ours.filter_map(|line| line.split_whitespace().next()) {
        rabbit.ctl(&["close_connection", pid, "forced"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_close_in_a_flood_is_a_gap_like_any_other() {
    let rabbit = Rabbit::start();
    let (broker, inbox) = broker(settings(&rabbit.url()));
    let publisher = Publisher::new(&rabbit.url()).await;
    broker.start();
    (0..20).for_each(|n| broker.want(&id(&format!("u{n}")), None));
    live(&broker, 20).await;
    for round in 1..=2 {
        let flood = async {
            for n in 0..2_000 {
                publisher.publish(&format!("user.u{}.x", n % 20), "flood").await;
            }
        };
        let close = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            tokio::task::block_in_place(|| close_ours(&rabbit));
        };
        tokio::join!(flood, close);
        eventually("lost", 20, || inbox.sessions.lock().len() > 2 * round - 1).await;
        live(&broker, 20).await;
        let live_with_gap = inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count();
        assert_eq!(live_with_gap, 20 * round, "everybody is told");
        for n in 0..20 {
            publisher.publish(&format!("user.u{n}.x"), &format!("after {round}")).await;
        }
        let after = format!("after {round}");
        let come = || inbox.deliveries.lock().iter().filter(|(.., body)| *body == after).count();
        eventually("delivered", 20, || come() == 20).await;
    }
    broker.stop(Duration::from_secs(5)).await;
    assert_eq!(*inbox.sessions.lock(), [true, false, true, false, true, false]);
}
