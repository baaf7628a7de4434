//! The broker's faults, one by one: numbered updates to ten users and one with two tabs, a fault, its end. Each update
//! that the broker confirmed reaches each socket once, or `bridge:resync` covers it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection};
use serde_json::json;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, Setup};
use crate::kit::js::Js;
use crate::kit::line::{Line, Quality};
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, runtime, s};

const EXCHANGE: &str = "chat3_updates";
/// Between two rounds of updates, one for each user.
const ROUND: Duration = Duration::from_millis(100);

/// The node whose faults these are: one at a time.
static NODE: Mutex<Option<Rabbit>> = Mutex::new(None);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}

/// One numbered update.
struct Sent {
    user: String,
    entity: String,
    /// When it was given to the broker (ms since 1970).
    at: u64,
    confirmed: bool,
}

/// Publishes to each of `users` until it is dropped, past every fault of the broker.
struct Numbers {
    users: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Numbers {
    fn start(url: String, users: Vec<String>) -> Self {
        let (users, sent) = (Arc::new(Mutex::new(users)), Arc::<Mutex<Vec<Sent>>>::default());
        let (whom, noted) = (Arc::clone(&users), Arc::clone(&sent));
        let task = runtime().spawn(async move {
            let (mut number, mut way) = (0, None);
            loop {
                tokio::time::sleep(ROUND).await;
                if way.is_none() {
                    way = tokio::time::timeout(s(5), connect(&url)).await.ok().flatten();
                }
                let Some((_, channel)) = &way else { continue };
                number += 1;
                let whom = whom.lock().unwrap().clone();
                let round = publish_round(channel, number, &whom, &noted);
                // A publisher that is blocked by an alarm waits; what it has sent is on its way.
                if round.await.is_none() {
                    way = None;
                }
            }
        });
        Self { users, sent, task }
    }

    fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(url: &str) -> Option<(Connection, Channel)> {
    let connection = updates_bridge::broker::connect(url).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
    Some((connection, channel))
}

async fn publish_round(channel: &Channel, number: u64, users: &[String], noted: &Mutex<Vec<Sent>>) -> Option<()> {
    let mut confirms = Vec::new();
    for user in users {
        let entity = format!("msg_{user}_{number}");
        let body = json!({"tenantId": "tnt_default", "userId": user, "entityId": entity,
            "eventId": format!("evt_{entity}"), "eventType": "message.create", "data": {"dialogId": "dlg_x"}});
        let index = {
            let mut noted = noted.lock().unwrap();
            noted.push(Sent { user: user.clone(), entity, at: now(), confirmed: false });
            noted.len() - 1
        };
        let (key, options) = (format!("user.user.{user}.messageupdate"), BasicPublishOptions::default());
        let body = body.to_string();
        let sent = channel.basic_publish(
            EXCHANGE.into(),
            key.as_str().into(),
            options,
            body.as_bytes(),
            BasicProperties::default(),
        );
        confirms.push((index, tokio::time::timeout(s(90), sent).await.ok()?.ok()?));
    }
    for (index, confirm) in confirms {
        let confirmed = tokio::time::timeout(s(90), confirm).await.ok()?.ok()?.is_ack();
        noted.lock().unwrap()[index].confirmed = confirmed;
    }
    Some(())
}

/// What a fault came to.
#[derive(Debug)]
struct Outcome {
    /// Updates that the broker confirmed, for each socket they were for.
    due: usize,
    /// Those of them that did not come, all covered by `bridge:resync`.
    told: usize,
    /// `bridge:resync` in all, by reason.
    resyncs: HashMap<String, usize>,
    /// From the end of the fault until each socket had an update published after it.
    recovered: Duration,
}

/// A bridge with its clients, on the node of faults.
struct Stand {
    numbers: Numbers,
    /// Socket and user.
    sockets: Vec<(String, String)>,
    js: Js,
    bridge: Bridge,
    _world: World,
    node: MutexGuard<'static, Option<Rabbit>>,
}

impl Stand {
    fn new(name: &str, setup: impl FnOnce(&Rabbit, Setup) -> Setup) -> Self {
        let mut node = NODE.lock().unwrap_or_else(|poisoned| {
            // Whoever failed may have left the fault behind.
            NODE.clear_poison();
            let mut node = poisoned.into_inner();
            node.take();
            node
        });
        let rabbit = node.get_or_insert_with(Rabbit::start);
        let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
        let bridge = setup(rabbit, world.setup("live")).start().ready();
        let url = rabbit.url();
        let users: Vec<String> = (0..11).map(|n| format!("{name}_{n}")).collect();
        let numbers = Numbers::start(url, users.clone());
        let mut stand = Self { numbers, sockets: Vec::new(), js: Js::start(), bridge, _world: world, node };
        for user in &users {
            stand.sign_on(user, user);
        }
        stand.sign_on("tab", &users[0]);
        stand.all_hear_from_now("before the fault");
        for (socket, _) in &stand.sockets {
            stand.js.forget(socket);
        }
        stand.numbers.sent.lock().unwrap().clear();
        stand.pass(s(1));
        stand
    }

    fn sign_on(&mut self, socket: &str, user: &str) {
        assert_eq!(self.js.sign_on(socket, &self.bridge, user)["ready"], true);
        self.sockets.push((socket.into(), user.into()));
    }

    fn node(&self) -> &Rabbit {
        self.node.as_ref().expect("a node")
    }

    fn ctl(&self, args: &[&str]) -> String {
        self.node().ctl(args)
    }

    #[expect(clippy::unused_self, reason = "reads as what is done")]
    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn degraded(&self) -> serde_json::Value {
        self.bridge.get("/readyz").1["degraded"].clone()
    }

    /// Waits until the bridge says that it lacks something; returns how long that took.
    fn noticed(&self) -> Duration {
        let begun = Instant::now();
        eventually("noticed", s(21), || (self.degraded() != json!([])).then_some(()));
        begun.elapsed()
    }

    /// Waits until each socket has an update that is published from now on.
    fn all_hear_from_now(&self, what: &str) -> Duration {
        let (begun, from) = (Instant::now(), now());
        for (socket, user) in &self.sockets {
            eventually(&format!("{socket} hears {what}"), s(30), || {
                let sent = self.numbers.sent.lock().unwrap();
                let later = sent.iter().filter(|sent| sent.at >= from && sent.user == *user);
                let later: std::collections::HashSet<&str> = later.map(|sent| sent.entity.as_str()).collect();
                let got = self.js.got(socket, "update");
                got.iter().any(|update| later.contains(update["entityId"].as_str().unwrap())).then_some(())
            });
        }
        begun.elapsed()
    }

    /// The confirmed updates that `socket` neither got nor was told of; how many were due, and told.
    fn missing(&self, socket: &str, user: &str) -> (Vec<String>, usize, usize) {
        let got = self.js.got(socket, "update");
        let got: std::collections::HashSet<&str> =
            got.iter().map(|update| update["entityId"].as_str().unwrap()).collect();
        let gaps: Vec<(u64, u64)> = self.js.got_at(socket, "bridge:resync").iter().map(gap).collect();
        let sent = self.numbers.sent.lock().unwrap();
        let (mut missing, mut due, mut told) = (Vec::new(), 0, 0);
        for sent in sent.iter().filter(|sent| sent.confirmed && sent.user == user) {
            due += 1;
            if got.contains(sent.entity.as_str()) {
            } else if gaps.iter().any(|(since, at)| (*since..=*at).contains(&sent.at)) {
                told += 1;
            } else {
                missing.push(format!("{} at {}", sent.entity, sent.at));
            }
        }
        (missing, due, told)
    }

    /// The fault is over: all hear again, and nobody lacks anything that was not told, or has anything twice.
    fn whole(self, fault: &str) -> Outcome {
        let recovered = self.all_hear_from_now("after the fault");
        eventually("nothing is lacking", s(20), || (self.degraded() == json!([])).then_some(()));
        self.numbers.users.lock().unwrap().clear();
        let mut outcome = Outcome { due: 0, told: 0, resyncs: HashMap::new(), recovered };
        for (socket, user) in &self.sockets {
            let begun = Instant::now();
            loop {
                let (missing, due, told) = self.missing(socket, user);
                if missing.is_empty() {
                    outcome.due += due;
                    outcome.told += told;
                    break;
                }
                let gaps: Vec<_> = self.js.got_at(socket, "bridge:resync");
                assert!(begun.elapsed() < s(60), "{fault}: {socket} lacks {missing:?}\ngaps {gaps:?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        // Another copy would come now.
        self.pass(s(2));
        for (socket, _) in &self.sockets {
            let mut copies = HashMap::<String, usize>::new();
            for update in self.js.got(socket, "update") {
                *copies.entry(update["entityId"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            copies.retain(|_, count| *count > 1);
            assert!(copies.is_empty(), "{fault}: {socket} has twice {copies:?}");
            assert!(self.js.got(socket, "disconnect").is_empty(), "{fault}: {socket} was disconnected");
            for resync in self.js.got(socket, "bridge:resync") {
                *outcome.resyncs.entry(resync["reason"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        println!("{fault}: {outcome:?} ({} sockets), whole after {:?}", self.sockets.len(), outcome.recovered);
        assert!(outcome.due > 20, "{fault}: {outcome:?}");
        outcome
    }
}

/// Since when and when it was told (ms since 1970).
fn gap((resync, at): &(serde_json::Value, u64)) -> (u64, u64) {
    let since = resync["since"].as_str().expect("a time");
    let since = since.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    (u64::try_from(since).expect("a time"), *at)
}

fn as_it_is(_: &Rabbit, setup: Setup) -> Setup {
    setup
}

#[test]
fn an_application_that_is_stopped_and_started_is_a_gap() {
    let stand = Stand::new("app", as_it_is);
    stand.ctl(&["stop_app"]);
    stand.noticed();
    stand.ctl(&["start_app"]);
    let outcome = stand.whole("stop_app, start_app");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn connections_that_are_all_closed_are_a_gap() {
    let stand = Stand::new("closed", as_it_is);
    stand.ctl(&["close_all_connections", "test"]);
    let outcome = stand.whole("close_all_connections");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn an_alarm_of_memory_or_disk_loses_nothing() {
    let stand = Stand::new("alarm", as_it_is);
    for (on, off) in [
        (["set_vm_memory_high_watermark", "absolute", "1"].as_slice(), ["set_vm_memory_high_watermark", "0.4"]),
        (["set_disk_free_limit", "900000GB"].as_slice(), ["set_disk_free_limit", "50MB"]),
    ] {
        stand.ctl(on);
        eventually("publishers are blocked", s(20), || {
            let before = stand.numbers.count();
            stand.pass(s(1));
            (stand.numbers.count() == before).then_some(())
        });
        stand.pass(s(8));
        stand.ctl(&off);
        stand.all_hear_from_now("after the alarm");
    }
    let outcome = stand.whole("memory and disk alarm");
    assert_eq!((outcome.told, outcome.resyncs.len()), (0, 0));
}

#[test]
fn a_queue_that_is_deleted_is_a_gap_of_its_user_alone() {
    let stand = Stand::new("queue", as_it_is);
    let name = stand.node().queues_of("queue_0")[0][0].clone();
    stand.ctl(&["delete_queue", &name]);
    let outcome = stand.whole("queue deleted");
    assert_eq!(outcome.resyncs, HashMap::from([("queue_lost".to_owned(), 2)]), "of its two tabs");
}

fn eval(stand: &Stand, call: &str, more: &str) {
    let name = format!(r#"rabbit_misc:r(<<"/">>, exchange, <<"{EXCHANGE}">>)"#);
    stand.ctl(&["eval", &format!(r#"rabbit_exchange:{call}({name}, {more}, <<"t">>)."#)]);
}

#[test]
fn an_exchange_that_is_of_another_type_for_some_time_is_a_gap() {
    let stand = Stand::new("type", as_it_is);
    eval(&stand, "delete", "false");
    eval(&stand, "declare", "fanout, true, false, false, []");
    stand.noticed();
    stand.pass(s(2));
    eval(&stand, "delete", "false");
    eval(&stand, "declare", "topic, true, false, false, []");
    let outcome = stand.whole("exchange of another type");
    assert!(outcome.resyncs["queue_lost"] >= 12);
}

/// The bridge as a user of its own, that publishers do not share.
fn as_gate(node: &Rabbit, setup: Setup) -> Setup {
    node.ctl(&["add_user", "gate", "gate"]);
    node.ctl(&["change_password", "gate", "gate"]);
    node.ctl(&["set_permissions", "-p", "/", "gate", ".*", ".*", ".*"]);
    setup.rabbit(node.url().replace("guest:guest", "gate:gate"))
}

#[test]
fn permissions_that_are_revoked_keep_out_new_users_until_they_are_given_back() {
    let mut stand = Stand::new("permit", as_gate);
    stand.ctl(&["clear_permissions", "-p", "/", "gate"]);
    stand.js.connect(
        "late",
        &stand.bridge.http,
        &json!({"auth": {"token": crate::kit::bridge::token("permit_l")}}),
    );
    stand.noticed();
    stand.pass(s(5));
    stand.ctl(&["set_permissions", "-p", "/", "gate", ".*", ".*", ".*"]);
    stand.numbers.users.lock().unwrap().push("permit_l".into());
    eventually("the late one hears", s(30), || (!stand.js.got("late", "update").is_empty()).then_some(()));
    stand.whole("permissions revoked");
}

#[test]
fn credentials_that_are_changed_are_a_gap_until_they_are_given_back() {
    let stand = Stand::new("secret", as_gate);
    stand.ctl(&["change_password", "gate", "another"]);
    stand.ctl(&["close_all_connections", "test"]);
    stand.noticed();
    stand.pass(s(3));
    stand.ctl(&["change_password", "gate", "gate"]);
    let outcome = stand.whole("credentials changed");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn limits_of_queues_and_connections_are_survived() {
    let mut stand = Stand::new("limit", as_it_is);
    stand.ctl(&["set_vhost_limits", "-p", "/", r#"{"max-queues": 1}"#]);
    stand.js.connect(
        "late",
        &stand.bridge.http,
        &json!({"auth": {"token": crate::kit::bridge::token("limit_l")}}),
    );
    stand.noticed();
    stand.pass(s(2));
    stand.ctl(&["clear_vhost_limits", "-p", "/"]);
    stand.numbers.users.lock().unwrap().push("limit_l".into());
    eventually("the late one hears", s(30), || (!stand.js.got("late", "update").is_empty()).then_some(()));
    stand.all_hear_from_now("after the limit of queues");
    for (socket, _) in &stand.sockets {
        assert!(stand.js.got(socket, "bridge:resync").is_empty(), "who was there lost nothing");
    }
    stand.ctl(&["set_vhost_limits", "-p", "/", r#"{"max-connections": 0}"#]);
    stand.ctl(&["close_all_connections", "test"]);
    stand.noticed();
    stand.pass(s(2));
    stand.ctl(&["clear_vhost_limits", "-p", "/"]);
    let outcome = stand.whole("limits of queues and connections");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn a_consumer_that_the_broker_gives_up_on_is_a_gap() {
    let stand = Stand::new("timeout", |node, setup| {
        node.ctl(&["eval", "application:set_env(rabbit, consumer_timeout, 4000)."]);
        node.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 1000)."]);
        setup.env("BRIDGE_RABBITMQ__HEARTBEAT", "60s")
    });
    stand.pass(s(8));
    assert_eq!(stand.degraded(), json!([]), "who acknowledges is left alone");
    stand.bridge.signal("-STOP");
    stand.pass(s(12));
    stand.bridge.signal("-CONT");
    stand.ctl(&["eval", "application:set_env(rabbit, consumer_timeout, 1800000)."]);
    stand.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 60000)."]);
    stand.whole("consumer_timeout");
}

#[test]
fn a_broker_that_stands_still_is_waited_for_or_given_up() {
    let stand = Stand::new("frozen", as_it_is);
    stand.node().signal("-STOP");
    stand.pass(s(2));
    stand.node().signal("-CONT");
    stand.all_hear_from_now("after two seconds");
    stand.node().signal("-STOP");
    println!("noticed after {:?}", stand.noticed());
    stand.pass(s(8));
    stand.node().signal("-CONT");
    let outcome = stand.whole("broker frozen");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn a_line_that_is_cut_half_cut_or_swallows_everything_is_a_gap() {
    for quality in [Quality::Cut, Quality::Zombie, Quality::Blackhole] {
        let mut line = None;
        let stand = Stand::new(&format!("{quality:?}").to_lowercase(), |node, setup| {
            let made = line.insert(Line::to(&node.url()));
            setup.rabbit(format!("amqp://guest:guest@127.0.0.1:{}/%2f", made.port))
        });
        let line = line.expect("a line");
        line.becomes(quality);
        println!("{quality:?}: noticed after {:?}", stand.noticed());
        stand.pass(s(2));
        line.becomes(Quality::Good);
        let outcome = stand.whole(&format!("line: {quality:?}"));
        assert_eq!(outcome.resyncs["broker_lost"], 12, "{quality:?}");
    }
}

#[test]
fn a_line_that_is_slow_loses_nothing() {
    let mut line = None;
    let stand = Stand::new("late", |node, setup| {
        let made = line.insert(Line::to(&node.url()));
        setup.rabbit(format!("amqp://guest:guest@127.0.0.1:{}/%2f", made.port))
    });
    let line = line.expect("a line");
    line.becomes(Quality::Late(Duration::from_millis(200)));
    stand.pass(s(5));
    line.becomes(Quality::Good);
    let outcome = stand.whole("line: 200 ms late");
    assert_eq!((outcome.told, outcome.resyncs.len()), (0, 0));
}
