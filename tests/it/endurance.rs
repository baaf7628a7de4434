//! Everything at once, for as long as wanted: load, flips through all four stages, faults of the broker, of Chat3 and of
//! the gateways themselves, clients that come and go and resume, at two gateways that are one fleet.
//!
//! `just soak 1h` is the long run; `SOAK_DURATION`, `SOAK_SEED`. A seed replays what happens when.

mod census;
mod client;
mod direct;
mod judge;
mod plan;
mod posts;
mod publisher;
mod record;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::{Publication, Publisher};

use self::census::Ward;
use self::client::Life;
use self::direct::{Stage, address};
use self::judge::Judge;
use self::plan::Dice;
use self::posts::Poster;
use self::publisher::Confirming;
use self::record::{Device, Findings, Record, Unrest, now};
use self::report::{Report, left_behind, progress, rows, warm_up};
use super::chat3_faults::front;
use super::relays::free_address;
use crate::kit::bridge::Setup;
use crate::kit::line::Line;
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{runtime, s};

/// How much of everything.
struct Size {
    dialogs: usize,
    members: usize,
    /// Between two messages of a dialog, in ms.
    every: u64,
    lasts: Duration,
}

/// Judged while it runs is what was answered so long ago, in ms: the longest fault and its mending are over.
const SETTLED: u64 = 150_000;

const FLEET_TOKEN: &str = "a token of the fleet of some length";

fn people(size: &Size) -> (Vec<Vec<String>>, Vec<Arc<Device>>) {
    let mut members: Vec<Vec<String>> = Vec::new();
    let mut devices = Vec::new();
    let device = |name: String, user: &str, home: usize, dialogs: Vec<usize>| {
        Arc::new(Device { name, user: user.into(), home, dialogs, seen: Mutex::default() })
    };
    for dialog in 0..size.dialogs {
        let own: Vec<String> = (0..size.members).map(|n| format!("soak_{dialog}_{n}")).collect();
        // The first of the dialog before is in this one too.
        let before = (dialog > 0).then(|| format!("soak_{}_0", dialog - 1));
        for (n, user) in own.iter().enumerate() {
            let mut dialogs = vec![dialog];
            if n == 0 && dialog + 1 < size.dialogs {
                dialogs.push(dialog + 1);
            }
            let home = (dialog + n) % 2;
            devices.push(device(user.clone(), user, home, dialogs.clone()));
            // A second device, at the other gateway or beside the first.
            if n == 1 {
                devices.push(device(format!("{user}_tab"), user, dialog % 2, dialogs));
            }
        }
        members.push(own.into_iter().chain(before).collect());
    }
    for home in 0..2 {
        let user = format!("soak_stranger_{home}");
        devices.push(device(user.clone(), &user, home, Vec::new()));
    }
    (members, devices)
}

/// Updates of another tenant, and of users who are not connected: nobody gets them.
async fn noise(publisher: Arc<Confirming>, users: Vec<String>, mut dice: Dice, stop: Arc<AtomicBool>) {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(dice.ms(500, 2_000)).await;
        number += 1;
        let foreign = dice.chance(70);
        let user = if foreign { users[dice.below(users.len())].clone() } else { "soak_nobody".into() };
        let tenant = if foreign { "tnt_other" } else { "tnt_default" };
        let body = json!({"tenantId": tenant, "userId": user, "entityId": format!("msg_noise_{number}"),
            "eventId": format!("evt_noise_{number}"), "eventType": "message.create",
            "data": {"message": {"content": "for nobody here"}}});
        let routing_key = format!("user.user.{user}.messageupdate");
        let body = body.to_string().into_bytes().into();
        publisher.send(Publication { routing_key, headers: Vec::new(), timestamp: now(), body });
    }
}

#[expect(clippy::too_many_lines, reason = "one run from its beginning to its end")]
fn run(seed: u64, size: &Size) -> Report {
    println!("seed {seed}, {:?}", size.lasts);
    let rabbit = Rabbit::start();
    let options = StandInOptions {
        refuse_repeats: false,
        update_delay: 5..6,
        answer_delay: 1..10,
        ..StandInOptions::default()
    };
    let publisher = Confirming::start(rabbit.url());
    let world = World::alone(options);
    world.publish_through(Arc::clone(&publisher) as Arc<dyn Publisher>);
    let (members, devices) = people(size);
    let ids: Arc<Vec<String>> = Arc::new(
        members
            .iter()
            .map(|users| world.chat3.add_dialog(&users.iter().map(String::as_str).collect::<Vec<_>>()))
            .collect(),
    );
    let spoiling = runtime().block_on(front("127.0.0.1:0", address(&world.chat3.url()))).0;
    let chat3 = Line::to(&format!("chat3@{spoiling}/"));
    let lines = [0, 1].map(|_| Line::to(&rabbit.url()));
    let (https, admins) = ([0; 2].map(|_| free_address()), [0; 2].map(|_| free_address()));
    let setup = {
        let ports = [lines[0].port, lines[1].port];
        let (https, admins, chat3) = (https.clone(), admins.clone(), chat3.port);
        move |which: usize| {
            Setup::new("legacy", &format!("http://127.0.0.1:{chat3}/api"))
                .rabbit(format!("amqp://guest:guest@127.0.0.1:{}/%2f", ports[which]))
                .env("BRIDGE_HTTP__LISTEN", https[which].as_str())
                .env("BRIDGE_ADMIN__LISTEN", admins[which].as_str())
                .env("BRIDGE_FLEET__NODES", admins.join(","))
                .env("BRIDGE_FLEET__TOKEN", FLEET_TOKEN)
                .env("BRIDGE_LEGACY__RELAY", "true")
                .env("BRIDGE_MEMBERSHIP__MODE", "enforce")
                .env("BRIDGE_CHAT3__TIMEOUT", "2s")
        }
    };
    let bridges = [0, 1].map(|which| setup(which).start().ready());
    let wards = bridges.each_ref().map(|bridge| Mutex::new(Ward::of(bridge.pid())));
    let urls = bridges.each_ref().map(|bridge| bridge.http.clone());
    let record = Arc::new(Record {
        posts: Mutex::new(vec![Vec::new(); size.dialogs]),
        members,
        devices,
        faults: Unrest::default(),
        moves: Unrest::default(),
        findings: Findings::default(),
    });
    let stage = Stage {
        record: Arc::clone(&record),
        world,
        rabbit: Mutex::new(rabbit),
        lines,
        chat3,
        word: Arc::new(Mutex::new("says")),
        bridges: bridges.map(|bridge| Mutex::new(Some(bridge))),
        wards,
        setup: Box::new(setup),
        admins,
        done: Mutex::default(),
        stop: AtomicBool::new(false),
    };
    let [stay, end, stop] = [0; 3].map(|_| Arc::<AtomicBool>::default());
    let up = Arc::<AtomicUsize>::default();
    let mut tasks = Vec::new();
    for (n, device) in record.devices.iter().enumerate() {
        let life = Life {
            record: Arc::clone(&record),
            device: Arc::clone(device),
            url: urls[device.home].clone(),
            plain: n % 3 == 0,
            ids: Arc::clone(&ids),
            stranger: device.dialogs.is_empty(),
            stay: Arc::clone(&stay),
            end: Arc::clone(&end),
            up: Arc::clone(&up),
        };
        tasks.push(runtime().spawn(life.live(Dice::of(seed, 1_000 + n as u64))));
    }
    let all_up = |limit: Duration| {
        let begun = Instant::now();
        while up.load(Ordering::Acquire) < record.devices.len() {
            if begun.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    };
    if !all_up(s(120)) {
        record.findings.add("sign-on", "not everybody was in after two minutes");
    }
    let posters: Vec<_> = (0..size.dialogs)
        .map(|dialog| {
            let poster = Poster {
                record: Arc::clone(&record),
                dialog,
                id: ids[dialog].clone(),
                urls: urls.clone(),
                word: Arc::clone(&stage.word),
                stop: Arc::clone(&stop),
                every: size.every,
            };
            runtime().spawn(poster.post(Dice::of(seed, 100_000 + dialog as u64)))
        })
        .collect();
    let users = record.devices.iter().map(|device| device.user.clone()).collect();
    runtime().spawn(noise(Arc::clone(&publisher), users, Dice::of(seed, 3), Arc::clone(&stop)));
    let begun = Instant::now();
    let unsettled = size.lasts.saturating_sub(s(10));
    let judge = |settled| Judge { record: &record, published: &publisher.published, settled };
    std::thread::scope(|scope| {
        let faults = scope.spawn(|| stage.faults(plan::faults(seed, unsettled), Dice::of(seed, 4)));
        let moves = scope.spawn(|| stage.moves(plan::moves(seed, unsettled)));
        let (mut shown, every) = (Instant::now(), (size.lasts / 30).clamp(s(10), s(60)));
        while begun.elapsed() < size.lasts || !faults.is_finished() || !moves.is_finished() {
            std::thread::sleep(s(1));
            if begun.elapsed() > size.lasts + s(60) {
                stage.stop.store(true, Ordering::Release);
            }
            if shown.elapsed() < every {
                continue;
            }
            shown = Instant::now();
            stage.keep_logs();
            let holds = stage.wards.each_ref().map(|ward| ward.lock().look(warm_up(size.lasts)));
            let sums = judge(now() - SETTLED).judge(true);
            println!("{:>5} s  {}", begun.elapsed().as_secs(), progress(&record, &sums, &up));
            for (n, holds) in holds.iter().enumerate() {
                let (mib, fds, threads) = (holds.resident >> 20, holds.descriptors, holds.threads);
                println!("         gateway {n}: {mib} MiB, {fds} descriptors, {threads} threads");
            }
        }
        stop.store(true, Ordering::Release);
    });
    // What is owed comes now; nobody leaves any more.
    stay.store(true, Ordering::Release);
    runtime().block_on(async {
        for poster in posters {
            poster.await.expect("a poster");
        }
    });
    if !all_up(s(90)) {
        record.findings.add("sign-on", "not everybody was back a minute and a half after the last fault");
    }
    let settling = Instant::now();
    while judge(u64::MAX - 1).judge(false).lost > 0 && settling.elapsed() < s(90) {
        std::thread::sleep(s(1));
    }
    // A second copy would come by then.
    std::thread::sleep(s(5));
    let holds_loaded = stage.wards.each_ref().map(|ward| ward.lock().look(Duration::ZERO));
    let sums = judge(u64::MAX - 1).judge(true);
    stage.keep_logs();
    end.store(true, Ordering::Release);
    runtime().block_on(async {
        for task in tasks {
            if let Err(error) = task.await {
                record.findings.add("client", &format!("a client of the soak itself failed: {error}"));
            }
        }
    });
    let mut rows = rows(&record, &sums, size.lasts);
    left_behind(&stage, &record, size.lasts, &mut rows, holds_loaded.map(|holds| holds.resident));
    for (what, count) in stage.done.lock().iter() {
        rows.push((what.clone(), count.to_string()));
    }
    Report { rows, findings: record.findings.all() }
}

fn of_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[test]
#[ignore = "minutes to hours: just soak"]
fn whatever_happens_for_however_long_each_gets_each_message_once_or_is_told() {
    let lasts =
        of_env("SOAK_DURATION").map_or(s(120), |text| humantime::parse_duration(&text).expect("a duration"));
    let seed = of_env("SOAK_SEED")
        .map_or_else(|| rand::random_range(1..1_000_000), |text| text.parse().expect("a number"));
    let report = run(seed, &Size { dialogs: 24, members: 4, every: 2_000, lasts });
    let width = report.rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    println!("\nseed {seed}");
    for (what, figure) in &report.rows {
        println!("{what:<width$}  {figure}");
    }
    if let Some(path) = of_env("SOAK_JSON") {
        let figures: Map<String, Value> =
            report.rows.iter().map(|(what, figure)| (what.clone(), figure.as_str().into())).collect();
        let whole = json!({"seed": seed, "figures": figures, "findings": report.findings});
        std::fs::write(path, whole.to_string()).expect("its file");
    }
    println!("findings: {}", report.findings.len());
    for finding in &report.findings {
        println!("  {finding}");
    }
    assert!(report.findings.is_empty(), "seed {seed}: {}", report.findings[0]);
}
