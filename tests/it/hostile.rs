//! Hostile clients of every kind: what they get, what the process takes meanwhile, and what the others notice.
//!
//! `HOSTILE_ROUNDS` (rounds of each kind, default 6), `HOSTILE_KINDS` (a part of their names), `just hostile`.

mod clients;

use std::time::{Duration, Instant};

use updates_bridge::demo::StandInOptions;

use self::clients::{AtWork, KINDS, Kind, USER};
use crate::kit::bridge::{Bridge, Setup};
use crate::kit::crowd::{Crowd, Round, at_once};
use crate::kit::world::World;
use crate::kit::{eventually, s};

const LIMIT: u64 = 224 << 20;
const MEMBERS: usize = 50;
/// Bytes of a message.
const BYTES: usize = 1_000;
/// Messages a second, and seconds of a round, of the measurement.
const RATE: u32 = 20;
const ROUND: Duration = s(6);

/// A gateway with a room of fifty.
struct Place {
    bridge: Bridge,
    crowd: Crowd,
    /// The dialog of hostile clients.
    own: String,
}

fn gather(world: &World) -> Place {
    let users: Vec<String> = (0..MEMBERS).map(|n| format!("well_{n}")).collect();
    let dialog = world.chat3.add_dialog(&users.iter().map(String::as_str).collect::<Vec<_>>());
    let own = world.chat3.add_dialog(&[USER]);
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_CHAT3__TIMEOUT", "30s")
        .env("BRIDGE_MEMORY__LIMIT", "224MiB")
        .env("BRIDGE_SHADOW__MAX_MEMORY", "16MiB")
        .env("BRIDGE_HTTP__HEAD_TIMEOUT", "2s")
        .env("BRIDGE_SOCKET__BUFFER", "256KiB")
        .start();
    let crowd = Crowd::gather(&bridge, &dialog, &users);
    Place { bridge, crowd, own }
}

fn picked() -> impl Iterator<Item = Kind> {
    let picked = std::env::var("HOSTILE_KINDS").unwrap_or_default();
    KINDS.into_iter().filter(move |kind| format!("{kind:?}").contains(&picked))
}

/// What the gateway has refused or ended of such clients so far, as it counts it.
fn counted(bridge: &Bridge, kind: Kind) -> u64 {
    match kind {
        Kind::SlowHead => bridge.series(r#"bridge_limit_refusals_total{limit="head"}"#),
        Kind::SlowBody => bridge.series(r#"bridge_forwards_refused_total{share="user"}"#),
        Kind::NeverReads | Kind::Acks => bridge.series(r#"bridge_sockets_cut_total{reason="slow"}"#),
        Kind::Joins => bridge.counted("bridge_client_events_refused_total"),
        Kind::Tabs => bridge.series(r#"bridge_limit_refusals_total{limit="user_sockets"}"#),
        // They are let in and go; they are told so, and closed.
        Kind::Flaps | Kind::Lies => 0,
    }
}

/// So many have to be refused or ended; of those that are not counted, so many have come.
const fn enough(kind: Kind) -> u64 {
    match kind {
        Kind::SlowHead => 300,
        Kind::SlowBody => 40,
        Kind::NeverReads => 10,
        Kind::Acks => 10,
        Kind::Joins => 1_000,
        Kind::Tabs => 100,
        Kind::Flaps | Kind::Lies => 100,
    }
}

/// Looks at what is resident while `work` is done.
fn most_resident<T: Send>(bridge: &Bridge, work: impl FnOnce() -> T + Send) -> (T, u64) {
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let mut most = 0;
        while !work.is_finished() {
            most = most.max(bridge.resident());
            std::thread::sleep(Duration::from_millis(20));
        }
        (work.join().expect("it is done: all have heard all, once"), most)
    })
}

#[test]
fn hostile_clients_of_every_kind_are_bounded_and_the_others_hear_everything_once() {
    let world = World::alone(StandInOptions::default());
    let Place { bridge, crowd, own } = &gather(&world);
    for kind in picked() {
        let (before, began) = (counted(bridge, kind), Instant::now());
        let at_work = AtWork::begin(kind, &bridge.http, own);
        let ((), most) = most_resident(bridge, || {
            loop {
                crowd.round(s(1) / 2, 10, BYTES);
                if matches!(kind, Kind::Flaps | Kind::Lies) || counted(bridge, kind) - before >= enough(kind) {
                    break;
                }
                let got = counted(bridge, kind) - before;
                assert!(began.elapsed() < s(120), "{kind:?}: {got} were refused or ended");
            }
        });
        let got = counted(bridge, kind) - before;
        let (did, ended) = at_work.end();
        println!(
            "{kind:?}: {did} done, {ended} ended, {got} counted, {} MiB, {:.1?}",
            most >> 20,
            began.elapsed()
        );
        assert!(most < LIMIT, "{kind:?}: {most} bytes were resident");
        assert!(did > 0 && (ended > 0 || kind != Kind::Lies), "{kind:?}: {did} done, {ended} ended");
    }
    // Connections of those who post are kept for a while.
    eventually("only the others are left", s(30), || {
        let sockets = bridge.counted("bridge_sockets");
        (sockets == MEMBERS as u64 && bridge.series("bridge_connections") <= 2 * sockets).then_some(())
    });
    crowd.round(s(1), 10, BYTES);
}

/// What it has worked, and could have worked had there been a processor.
fn busy(place: &Place) -> [Duration; 2] {
    [place.bridge.cpu(), place.bridge.starved()]
}

/// Two gateways at the same time, one of which has hostile clients, in turns.
#[test]
#[ignore = "a measurement: just hostile"]
fn what_the_others_notice_of_hostile_clients() {
    let rounds = std::env::var("HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let world = World::alone(StandInOptions::default());
    let places = [gather(&world), gather(&world)];
    at_once([&places[0].crowd, &places[1].crowd], s(3), RATE, BYTES);
    println!(
        "| hostile clients | what they did | p99 of the others beside, alone | × | resident | counted | ended |"
    );
    let mut bad = Vec::new();
    for kind in picked() {
        let (mut beside, mut alone, mut most) = (Round::default(), Round::default(), 0);
        let (mut did, mut ended, mut got, mut lasted) = (0, 0, 0, Duration::ZERO);
        let mut cpu = [[Duration::ZERO; 2]; 2];
        for round in 0..rounds {
            let (place, other) = (&places[round % 2], &places[1 - round % 2]);
            let (before, began) = (counted(&place.bridge, kind), Instant::now());
            let was = [busy(place), busy(other)];
            let at_work = AtWork::begin(kind, &place.bridge.http, &place.own);
            let ([with, without], resident) =
                most_resident(&place.bridge, || at_once([&place.crowd, &other.crowd], ROUND, RATE, BYTES));
            for (sum, (now, was)) in cpu.iter_mut().zip([busy(place), busy(other)].into_iter().zip(was)) {
                *sum = [sum[0] + (now[0] - was[0]), sum[1] + (now[1] - was[1])];
            }
            got += counted(&place.bridge, kind) - before;
            let (some, gone) = at_work.end();
            lasted += began.elapsed();
            (did, ended, most) = (did + some, ended + gone, most.max(resident));
            beside.add(&with);
            alone.add(&without);
        }
        let (beside, alone) = (beside.within(99), alone.within(99));
        let (ratio, rate) = (beside / alone, u128::from(did) * 1_000 / lasted.as_millis());
        println!(
            "| {kind:?} | {rate} a second | {beside:.1}, {alone:.1} ms | {ratio:.2} | {} of {} MiB | {got} | {ended} | {cpu:.1?} of {lasted:.0?} |",
            most >> 20,
            LIMIT >> 20,
        );
        if ratio > 1.2 || most >= LIMIT {
            bad.push(kind);
        }
    }
    assert!(bad.is_empty(), "{bad:?}");
}
