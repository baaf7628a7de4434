//! Planted faults among much that is right: each is found and named, and none is invented.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Plant;

use crate::kit::bridge::{Bridge, token};
use crate::kit::load::{Got, client};
use crate::kit::world::World;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

const MEMBERS: u64 = 10;
const DIALOGS: u64 = 36;
/// Messages of each dialog; every eleventh or so asks for its dialog's fault.
const MESSAGES: u64 = 560;
/// Messages for each fault.
const PLANTED: u64 = 50;
/// What is not late on any machine comes within the window; what is late comes when it is over, and before the bridge
/// gives an answer up.
const WINDOW: &str = "12s";
const LATE: Duration = Duration::from_secs(20);
const GIVEN_UP: &str = "29s";
/// Most updates that are posted and not yet seen by the bridge: the machine says how fast the posts come.
const AHEAD: u64 = 4_000;

/// Class, cause and number of units that a fault's message opens, besides its matches.
fn expected(plant: Plant) -> (&'static str, Option<&'static str>, u64) {
    match plant {
        Plant::Altered => ("payload_mismatch", None, 1),
        Plant::LostForOne => ("missing_in_rabbitmq", Some("partial_fanout"), 1),
        Plant::Lost => ("missing_in_rabbitmq", Some("no_update"), MEMBERS),
        Plant::Unreadable => ("missing_in_rabbitmq", Some("dropped"), 1),
        Plant::Twice => ("duplicate", None, 1),
        Plant::Leaked => ("leak", None, 1),
        // These two lack a side at first, and are amended when the late twin comes.
        Plant::SlowAnswer => ("indeterminate", Some("post_unknown"), MEMBERS),
        Plant::Late => ("missing_in_rabbitmq", Some("partial_fanout"), 1),
        Plant::Unanswered => ("indeterminate", Some("post_unknown"), MEMBERS),
    }
}

/// How far the bridge is.
#[derive(Default)]
struct Pace {
    posted: AtomicU64,
    received: AtomicU64,
}

impl Pace {
    /// Waits until the bridge is not too far behind; faults make it seem to be, by some hundreds.
    async fn wait(&self) {
        let due = self.posted.fetch_add(MEMBERS, Ordering::AcqRel);
        while due > self.received.load(Ordering::Acquire) + AHEAD {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Posts one dialog's messages; notes the ids of those with a fault, where there was an answer.
async fn post(
    http: String,
    (dialog, sender): (String, String),
    plant: Plant,
    most: u64,
    (planted, pace): (Arc<Mutex<HashMap<String, Plant>>>, Arc<Pace>),
) {
    let client = reqwest::Client::new();
    let url = format!("{http}/api/messages/dialog/{dialog}");
    let mut ticks = tokio::time::interval(Duration::from_millis(130));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut slow = Vec::new();
    for number in 0..MESSAGES {
        ticks.tick().await;
        pace.wait().await;
        // None in the last seconds: what is late comes while the test still looks.
        let faulty = number % 40 == 20 && number / 40 < most;
        let content = if faulty { format!("{number} {}", plant.word()) } else { format!("message {number}") };
        let request = client.post(&url).bearer_auth(token(&sender)).json(&json!({"content": content}));
        let planted = Arc::clone(&planted);
        let posted = async move {
            let answer = request.send().await.expect("an answer");
            let hidden = faulty && plant == Plant::Unanswered;
            assert_eq!(answer.status().as_u16(), if hidden { 502 } else { 201 });
            let answer: Value = answer.json().await.expect("JSON");
            if let (true, Some(id)) = (faulty, answer["data"]["messageId"].as_str()) {
                planted.lock().insert(id.to_owned(), plant);
            }
        };
        if faulty {
            // It may take long.
            slow.push(runtime().spawn(posted));
        } else {
            posted.await;
        }
    }
    for posted in slow {
        posted.await.expect("an answer as planted");
    }
}

/// Bad and indeterminate records of the log, as `message, class/cause`, without those that amend others.
fn named(bridge: &Bridge) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for file in std::fs::read_dir(bridge.state.path().join("shadow")).expect("a log").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.starts_with("shadow-") {
            continue;
        }
        for line in std::fs::read_to_string(file.path()).expect("text").lines() {
            let record: Value = serde_json::from_str(line).expect("JSON");
            if record["class"] == "match" || record["amends"] == true {
                continue;
            }
            let message = record["message"].as_str().unwrap_or_default().to_owned();
            named.push((message, kind(record["class"].as_str().expect("a class"), record["cause"].as_str())));
        }
    }
    named
}

fn kind(class: &str, cause: Option<&str>) -> String {
    cause.map_or_else(|| class.to_owned(), |cause| format!("{class}/{cause}"))
}

#[test]
fn fifty_faults_of_each_kind_among_two_hundred_thousand_deliveries_are_all_named() {
    let options = StandInOptions { plants: true, late: LATE, ..StandInOptions::default() };
    let world = World::on(rabbit::shared(|node| node.url()), options, Turn::alone());
    let setup = world.setup("shadow").env("BRIDGE_SHADOW__WINDOW", WINDOW).env("BRIDGE_SHADOW__SAMPLE", "0.001");
    let setup = setup.env("BRIDGE_CHAT3__TIMEOUT", GIVEN_UP);
    // A busy machine must not be what is found.
    let setup = setup.env("BRIDGE_SHADOW__MAX_MEMORY", "512MiB");
    let bridge = setup.start().ready();
    let (up, cut) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let planted = Arc::<Mutex<HashMap<String, Plant>>>::default();
    let pace = Arc::<Pace>::default();
    let mut posts = Vec::new();
    for number in 0..DIALOGS {
        let users: Vec<String> = (0..MEMBERS).map(|n| format!("planted_{number}_{n}")).collect();
        let members: Vec<&str> = users.iter().map(String::as_str).collect();
        let dialog = world.chat3.add_dialog(&members);
        let url = bridge.http.replace("http://", "ws://") + "/ws";
        for user in &users {
            let (up, cut) = (Arc::clone(&up), Arc::clone(&cut));
            runtime().spawn(client(url.clone(), user.clone(), dialog.clone(), Got::default(), up, cut));
        }
        posts.push((number, dialog, users[0].clone()));
    }
    let sockets = usize::try_from(DIALOGS * MEMBERS).expect("small");
    eventually("all joined", s(60), || (up.load(Ordering::Acquire) == sockets).then_some(()));
    eventually("all queues live", s(60), || {
        let (_, queues) = bridge.admin(reqwest::Method::GET, "/admin/queues", None);
        let live = |queue: &&Value| queue["state"] == "live";
        (queues["queues"].as_array().is_some_and(|all| all.iter().filter(live).count() == sockets)).then_some(())
    });
    let started = Instant::now();
    let kinds = u64::try_from(Plant::ALL.len()).expect("small");
    let tasks: Vec<_> = posts
        .into_iter()
        .map(|(number, dialog, sender)| {
            let plant = Plant::ALL[usize::try_from(number % kinds).expect("small")];
            // 50 over the four dialogs of a kind.
            let (turn, dialogs) = (number / kinds, DIALOGS / kinds);
            let most = PLANTED / dialogs + u64::from(turn < PLANTED % dialogs);
            let shared = (Arc::clone(&planted), Arc::clone(&pace));
            runtime().spawn(post(bridge.http.clone(), (dialog, sender), plant, most, shared))
        })
        .collect();
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        pace.received.store(bridge.counted("bridge_updates_received_total"), Ordering::Release);
        std::thread::sleep(Duration::from_millis(50));
    }
    runtime().block_on(async {
        for task in tasks {
            task.await.expect("every message is accepted");
        }
    });
    let lasted = started.elapsed();
    // The twins of the last ones that are late come after their units have closed.
    let late = PLANTED * (1 + MEMBERS);
    let summary = eventually("closed, and the late twins are there", s(60), || {
        let summary = bridge.summary();
        let came = summary["modifiers"]["late"].as_u64().unwrap_or_default() >= late;
        (summary["open"] == 0 && came).then_some(summary)
    });
    println!("{} units in {lasted:?}: {}", summary["opened"], summary["causes"]);

    let mut kinds_due = BTreeMap::<String, u64>::new();
    for plant in Plant::ALL {
        let (class, cause, units) = expected(plant);
        *kinds_due.entry(kind(class, cause)).or_default() += PLANTED * units;
    }
    let named = named(&bridge);
    let mut kinds_found = BTreeMap::<String, u64>::new();
    for (_, kind) in &named {
        *kinds_found.entry(kind.clone()).or_default() += 1;
    }
    assert_eq!(kinds_found, kinds_due, "each with its class and cause, none invented");
    let planted = planted.lock();
    for (message, kind_found) in &named {
        let due = planted.get(message).map(|plant| {
            let (class, cause, _) = expected(*plant);
            kind(class, cause)
        });
        // Of these two nobody was told an id.
        let nameless = kind_found == "indeterminate/post_unknown";
        assert!(nameless || due.as_ref() == Some(kind_found), "{message}: {kind_found}, planted {due:?}");
    }
    let class = |name: &str| summary["classes"][name].as_u64().expect("a number");
    let messages = DIALOGS * MESSAGES;
    // A leak is a unit more than there are copies of messages.
    assert_eq!(summary["opened"], messages * MEMBERS + PLANTED);
    let good = [Plant::Leaked, Plant::Late, Plant::SlowAnswer];
    let bad = |plant: &&Plant| !good.contains(plant);
    let bad: u64 = Plant::ALL.iter().filter(bad).map(|plant| PLANTED * expected(*plant).2).sum();
    let twins = messages * MEMBERS - bad;
    assert_eq!(class("match"), twins, "late twins were amended: {summary}");
    assert_eq!((&summary["modifiers"]["late"], &summary["shed"]), (&json!(late), &json!(0)), "{summary}");
    assert!(messages * MEMBERS >= 200_000);
    assert_eq!(cut.load(Ordering::Acquire), 0);
}
