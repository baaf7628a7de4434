//! The broker session against private RabbitMQ nodes, without the rest of the gateway.
#![expect(clippy::print_stdout, reason = "figures")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bridge_core::{Millis, UserId};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use parking_lot::Mutex;
use updates_bridge::broker::{AmqpBroker, Broker, Delivery, Disposition, GapReason, Inbox, QueueState};
use updates_bridge::clock::Clock;
use updates_bridge::config::{Rabbitmq, Settings, Topology};

#[path = "it/kit/rabbit.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
mod rabbit;
use rabbit::Rabbit;

#[path = "broker/formats.rs"]
mod formats;
#[path = "broker/lines.rs"]
mod lines;
#[path = "broker/losses.rs"]
mod losses;
#[path = "broker/policies.rs"]
mod policies;
#[path = "broker/taps.rs"]
mod taps;

const EXCHANGE: &str = "chat3_updates";

/// A user whose queue went live, and the reason and begin of a gap before.
type Live = (String, Option<(GapReason, Millis)>);

#[derive(Default)]
struct Recorder {
    deliveries: Mutex<Vec<(Option<String>, String, String)>>,
    sessions: Mutex<Vec<bool>>,
    live: Mutex<Vec<Live>>,
}

impl Inbox for Recorder {
    fn deliver(&self, delivery: Delivery) -> Disposition {
        let of = delivery.queue_of.map(|user| user.as_str().to_owned());
        let body = String::from_utf8_lossy(delivery.body).into_owned();
        self.deliveries.lock().push((of, delivery.routing_key.to_string(), body));
        Disposition::Ack
    }
    fn session(&self, up: bool) {
        self.sessions.lock().push(up);
    }
    fn queue_live(&self, user: &UserId, gap: Option<(GapReason, Millis)>) {
        self.live.lock().push((user.as_str().to_owned(), gap));
    }
    fn queue_lost(&self, _user: &UserId, _since: bridge_core::Millis) {}
}

fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}

fn settings(url: &str) -> Rabbitmq {
    Rabbitmq { url: url.into(), heartbeat: Duration::from_secs(5), ..Settings::default().rabbitmq }
}

/// With as many lines as `BROKER_WORKERS` says, else one.
fn broker(settings: Rabbitmq) -> (Arc<AmqpBroker>, Arc<Recorder>) {
    broker_of(settings, workers())
}

fn workers() -> usize {
    std::env::var("BROKER_WORKERS").map_or(1, |count| count.parse().expect("a number"))
}

fn broker_of(settings: Rabbitmq, workers: usize) -> (Arc<AmqpBroker>, Arc<Recorder>) {
    let inbox = Arc::new(Recorder::default());
    let own: Arc<dyn Inbox> = Arc::clone(&inbox) as _;
    (AmqpBroker::new(settings, "inst".into(), own, Clock::default(), workers), inbox)
}

struct Publisher {
    channel: Channel,
    connection: Connection,
}

impl Publisher {
    async fn new(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let this = Self { channel, connection };
        this.declare(ExchangeKind::Topic).await;
        this
    }
    async fn declare(&self, kind: ExchangeKind) {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        self.channel.exchange_declare(EXCHANGE.into(), kind, durable, FieldTable::default()).await.unwrap();
    }
    async fn delete(&self) {
        self.channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
    async fn publish(&self, key: &str, body: &str) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(
            EXCHANGE.into(),
            key.into(),
            options,
            body.as_bytes(),
            // As Chat3 does.
            BasicProperties::default().with_timestamp(now().0),
        );
        let _unconfirmed = sent.await.unwrap();
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Millis(u64::try_from(since.as_millis()).unwrap())
}

/// The queues that carry Updates.
fn carriers(rabbit: &Rabbit) -> Vec<[String; 4]> {
    rabbit.queues().into_iter().filter(|[name, ..]| !name.starts_with("bridge_lookout")).collect()
}

/// How many times longer than on a quiet machine is waited for what has to come: nobody waits for it but a test that
/// fails.
const PATIENCE: u64 = 6;

/// Waits for what on a quiet machine takes at most `limit` seconds.
async fn eventually(what: &str, limit: u64, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(limit * PATIENCE),
            "not within {limit} s × {PATIENCE}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

async fn live(broker: &AmqpBroker, users: usize) -> Duration {
    eventually("all live", 20, || broker.ready() == (users, users)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_again_is_not_dropped() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(settings(&rabbit.url()));
    for round in 0..4 {
        broker.start();
        broker.want(&id("a"), None);
        live(&broker, 1).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        broker.stop(Duration::from_secs(5)).await;
        let seen = std::mem::take(&mut *inbox.sessions.lock());
        println!("round {round}: session events {seen:?}");
        assert_eq!(seen, [true, false], "round {round}");
        assert!(rabbit.queues().is_empty(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_deleted_and_comes_back_leaves_nothing_behind() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    for topology in [Topology::PerUser, Topology::PerInstance, Topology::Firehose] {
        let (broker, inbox) = broker(Rabbitmq { topology, ..settings(&rabbit.url()) });
        broker.start();
        broker.want(&id("a"), None);
        live(&broker, 1).await;
        publisher.delete().await;
        eventually("it is noticed", 8, || broker.session().borrow().exchange_ok == Some(false)).await;
        publisher.declare(ExchangeKind::Topic).await;
        live(&broker, 1).await;
        publisher.publish("user.a.x", "1").await;
        eventually("delivered", 5, || !inbox.deliveries.lock().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        println!("{topology:?}: {:?} {:?}", rabbit.queues(), inbox.live.lock());
        let connections = rabbit.ctl(&["list_connections", "--no-table-headers", "pid"]);
        println!("{topology:?}: connections {}", connections.lines().count());
        let queues = carriers(&rabbit).len();
        broker.stop(Duration::from_secs(5)).await;
        assert_eq!(queues, 1, "{topology:?}");
        assert!(rabbit.queues().is_empty(), "{topology:?} after stop: {:?}", rabbit.queues());
        assert!(matches!(inbox.live.lock()[..], [(_, None), (_, Some((GapReason::QueueLost, _)))]));
        assert_eq!(*inbox.sessions.lock(), [true, false, true, false], "{topology:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_becomes_another_type_is_noticed() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    publisher.delete().await;
    publisher.declare(ExchangeKind::Fanout).await;
    eventually("noticed", 8, || broker.session().borrow().exchange_ok == Some(false)).await;
    assert_eq!(broker.ready(), (0, 1));
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_sees_an_alarm_each_time_and_asks_the_rest() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    let good = broker.preflight(Duration::from_secs(12)).await;
    println!("good: {:?}", good.iter().map(|check| (check.name, check.ok)).collect::<Vec<_>>());
    assert!(good.iter().all(|check| check.ok == Some(true)), "{good:?}");
    rabbit.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut missed = 0;
    for round in 0..5 {
        let start = Instant::now();
        let checks = broker.preflight(Duration::from_secs(12)).await;
        let alarmed = checks.iter().find(|check| check.name == "broker_not_alarmed").unwrap().ok;
        missed += usize::from(alarmed != Some(false));
        if round < 3 {
            println!(
                "alarm, {:?}: {:?}",
                start.elapsed(),
                checks.iter().map(|check| (check.name, check.ok)).collect::<Vec<_>>()
            );
            for check in checks.iter().filter(|check| check.ok == Some(false)) {
                println!("   {}: {} -> {}", check.name, check.detail, check.remedy);
            }
        }
    }
    println!("alarm missed {missed} of 5");
    assert_eq!(missed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_and_sessions_use_any_node_of_the_list() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let urls = format!("amqp://guest:guest@127.0.0.1:1/%2f,{}", rabbit.url());
    let (broker, _inbox) = broker(settings(&urls));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    let checks = broker.preflight(Duration::from_secs(12)).await;
    println!("{:?}", checks.iter().map(|check| (check.name, check.ok)).collect::<Vec<_>>());
    broker.stop(Duration::from_secs(5)).await;
    assert_eq!(checks[0].ok, Some(true), "{}", checks[0].detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_ipv6_and_a_slash_without_virtual_host_are_connected_to() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    // The node listens on 127.0.0.1 only: what is sent to [::1] at this port goes there.
    let v6 = tokio::net::TcpListener::bind("[::1]:0").await.expect("an address of IPv6");
    let port = v6.local_addr().unwrap().port();
    let node = rabbit.url().rsplit(':').next().unwrap().trim_end_matches("/%2f").to_owned();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = v6.accept().await {
            let mut to = tokio::net::TcpStream::connect(format!("127.0.0.1:{node}")).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let (broker, _inbox) = broker(settings(&format!("amqp://guest:guest@[::1]:{port}/")));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_channels_are_enough() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    rabbit.ctl(&["eval", "application:set_env(rabbit, channel_max, 8)."]);
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    println!("channel_max 8: ready {:?}, {:?}", broker.ready(), *broker.session().borrow());
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_user_ends_wanted_and_a_released_one_leaves_no_queue() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    for round in 0..40_u64 {
        for n in 0..20 {
            let user = id(&format!("f{n}"));
            broker.want(&user, if round % 2 == 0 { None } else { Some(["message".to_owned()].into()) });
            if round < 39 && (round + n) % 3 > 0 {
                broker.release(&user);
            }
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    live(&broker, 20).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(carriers(&rabbit).len(), 20);
    for n in 0..20 {
        publisher.publish(&format!("user.f{n}.messageupdate"), "m").await;
        publisher.publish(&format!("user.f{n}.typingupdate"), "t").await;
    }
    eventually("delivered", 5, || inbox.deliveries.lock().len() >= 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(inbox.deliveries.lock().len(), 20);
    assert_eq!(*inbox.sessions.lock(), [true]);
    (0..20).for_each(|n| broker.release(&id(&format!("f{n}"))));
    eventually("no queue is left", 5, || carriers(&rabbit).is_empty()).await;
    assert_eq!(*broker.queue(&id("f1")).borrow(), QueueState::Absent);
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_noticed_and_stop_keeps_its_limit() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    (0..50).for_each(|n| broker.want(&id(&format!("z{n}")), None));
    live(&broker, 50).await;
    rabbit.signal("-STOP");
    let noticed = eventually("noticed", 20, || !broker.session().borrow().up).await;
    println!("frozen broker noticed after {noticed:?}");
    rabbit.signal("-CONT");
    println!("back {:?} after SIGCONT", live(&broker, 50).await);
    let gaps = inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count();
    assert_eq!(gaps, 50);
    rabbit.signal("-STOP");
    let start = Instant::now();
    broker.stop(Duration::from_secs(3)).await;
    let stopped = start.elapsed();
    rabbit.signal("-CONT");
    println!("stop on a frozen broker took {stopped:?}");
    // Without its limit it would take until the broker goes on, which it does not.
    assert!(stopped < Duration::from_secs(20), "{stopped:?}");
    assert_eq!(*inbox.sessions.lock(), [true, false, true, false], "a stop that was cut short is told too");
    eventually("queues gone", 20, || rabbit.queues().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_queues_are_back_soon_after_the_broker() {
    let mut rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    drop(publisher);
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    broker.start();
    (0..1_000).for_each(|n| broker.want(&id(&format!("k{n}")), None));
    println!("1,000 first live after {:?}", live(&broker, 1_000).await);
    rabbit.kill();
    eventually("noticed", 5, || !broker.session().borrow().up).await;
    rabbit.restart();
    // A broker that was killed may have lost the exchange.
    let _publisher = Publisher::new(&rabbit.url()).await;
    println!("1,000 back {:?} after the broker accepts", live(&broker, 1_000).await);
    broker.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_on_an_expendable_channel_costs_only_itself() {
    let rabbit = Rabbit::start();
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    (0..50).for_each(|n| broker.want(&id(&format!("k{n}")), None));
    eventually("exchange missing", 8, || broker.session().borrow().exchange_ok == Some(false)).await;
    let publisher = Publisher::new(&rabbit.url()).await;
    live(&broker, 50).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let after_late_exchange = inbox.sessions.lock().clone();
    println!("exchange that comes late: session events {after_late_exchange:?}");
    live(&broker, 50).await;
    inbox.sessions.lock().clear();
    for _ in 0..10 {
        let looking = broker.queues(Duration::from_secs(3));
        (0..40).for_each(|n| broker.release(&id(&format!("k{n}"))));
        looking.await;
        (0..40).for_each(|n| broker.want(&id(&format!("k{n}")), None));
        live(&broker, 50).await;
    }
    let while_looking = inbox.sessions.lock().clone();
    for n in 0..50 {
        publisher.publish(&format!("user.k{n}.x"), "once").await;
    }
    eventually("delivered", 5, || inbox.deliveries.lock().len() >= 50).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(inbox.deliveries.lock().len(), 50, "nobody has it twice");
    println!("lags of queues that are just deleted: session events {while_looking:?}");
    broker.stop(Duration::from_secs(5)).await;
    assert_eq!((after_late_exchange, while_looking), (vec![true], vec![]));
}
