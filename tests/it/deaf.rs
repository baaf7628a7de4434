//! One client among many in a room that stops reading: what becomes of it, and what the others notice.
//!
//! `CROWD_MEMBERS` (default 999), `CROWD_ROUNDS` (8), `CROWD_RATE` (messages a second, 5), `just deaf`.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, Setup};
use crate::kit::crowd::{Crowd, Plain, Round, at_once, member};
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

/// What waits for one client at most, in bytes.
const BUFFER: u64 = 512 << 10;
/// What the client's own kernel holds.
const RECEIVES: u32 = 8 << 10;
const MESSAGE: usize = 4_000;
/// Seconds of a round.
const ROUND: u64 = 12;

fn of_env(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn names(members: u32) -> Vec<String> {
    (0..members).map(|n| format!("crowd_{n}")).collect()
}

fn gather(world: &World, members: u32) -> (Bridge, String, Crowd) {
    let users = names(members);
    let mut all: Vec<&str> = users.iter().map(String::as_str).collect();
    all.push("crowd_deaf");
    let dialog = world.chat3.add_dialog(&all);
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_SOCKET__BUFFER", "512KiB")
        .env("BRIDGE_HTTP__ADDRESS_CONNECTIONS", "5000")
        .start();
    let crowd = Crowd::gather(&bridge, &dialog, &users);
    (bridge, dialog, crowd)
}

fn cut(bridge: &Bridge) -> u64 {
    bridge.series(r#"bridge_sockets_cut_total{reason="slow"}"#)
}

/// Bytes that wait in outboxes.
fn waiting(bridge: &Bridge) -> u64 {
    bridge.series(r#"bridge_memory_bytes{of="outboxes"}"#)
}

#[test]
fn a_client_that_reads_nothing_is_cut_and_named_and_the_room_hears_everything() {
    let world = World::alone(StandInOptions::default());
    let (bridge, dialog, crowd) = gather(&world, 20);
    let deaf = runtime().block_on(member(&bridge.http, "crowd_deaf", &dialog, Some(RECEIVES)));
    while cut(&bridge) == 0 {
        crowd.round(Duration::from_millis(500), 40, 8 * MESSAGE);
        assert!(crowd.posted().len() < 2_000, "it is still there");
    }
    assert_eq!(cut(&bridge), 1);
    let log = eventually("it is said", s(5), || Some(bridge.log()).filter(|log| log.contains("crowd_deaf")));
    assert!(log.contains("socket.buffer: a client that does not read was cut"), "{log}");
    crowd.round(Duration::from_millis(500), 40, MESSAGE);
    drop(deaf);
}

/// A client that reads nothing, for which the kernels hold all that they take, and much waits.
fn stuffed(bridge: &Bridge, dialog: &str, own: &str) -> Plain {
    let one = runtime().block_on(member(&bridge.http, "crowd_deaf", dialog, Some(RECEIVES)));
    let joined = runtime().block_on(async {
        let mut one = one;
        let join = json!({"event": "dialog:join", "data": own, "id": 3});
        one.send(Message::text(join.to_string())).await.expect("sent");
        while !one.next().await.is_some_and(|ack| ack.is_ok_and(|ack| ack.to_string().contains("\"id\":3"))) {}
        one
    });
    let filler = "x".repeat(100_000);
    while waiting(bridge) < BUFFER / 4 * 3 {
        // Chat3 refuses what is said twice.
        let message = json!({"content": format!("big {:?}", Instant::now()), "meta": {"filler": filler}});
        assert_eq!(bridge.post_message("crowd_deaf", own, &message).0, 201);
        // The gauge is of the last look.
        std::thread::sleep(Duration::from_millis(300));
    }
    joined
}

/// A gateway, the dialog of its room, one of the deaf one's own, and who reads.
struct Room {
    bridge: Bridge,
    dialog: String,
    own: String,
    crowd: Crowd,
}

/// One round of both rooms at the same time. In the first is a client that reads nothing: the time is told from the moment
/// when more waited for it than may until it was cut; in the other the same client reads.
fn round([deaf, reading]: [&Room; 2], rate: u32) -> ([Round; 2], Duration) {
    let reads = {
        let mut one = runtime().block_on(member(&reading.bridge.http, "crowd_deaf", &reading.dialog, None));
        runtime().spawn(async move { while let Some(Ok(_)) = one.next().await {} })
    };
    let one = stuffed(&deaf.bridge, &deaf.dialog, &deaf.own);
    let (before, waits) = (deaf.crowd.posted().len(), waiting(&deaf.bridge));
    let cuts = [cut(&deaf.bridge), cut(&reading.bridge)];
    let (figures, cut_at) = std::thread::scope(|scope| {
        let talk = scope.spawn(|| at_once([&deaf.crowd, &reading.crowd], s(ROUND), rate, MESSAGE));
        let mut cut_at = None;
        while !talk.is_finished() {
            if cut_at.is_none() && cut(&deaf.bridge) > cuts[0] {
                cut_at = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        (talk.join().expect("a round"), cut_at)
    });
    reads.abort();
    drop(one);
    assert_eq!(cut(&reading.bridge), cuts[1], "nobody is cut who reads");
    let cut_at = cut_at.expect("it was cut within the round");
    // What an outbox counts for a message is a little more than its content.
    let left = usize::try_from(BUFFER.saturating_sub(waits)).expect("few");
    let full = before + left / (MESSAGE + 500);
    (figures, cut_at.saturating_duration_since(deaf.crowd.posted()[full]))
}

#[test]
#[ignore = "a measurement: just deaf"]
fn what_a_room_of_a_thousand_notices_of_one_that_stops_reading() {
    let (members, rounds) = (of_env("CROWD_MEMBERS", 999), of_env("CROWD_ROUNDS", 8));
    let rate = of_env("CROWD_RATE", 5);
    let world = World::alone(StandInOptions::default());
    let room = || {
        let (bridge, dialog, crowd) = gather(&world, members);
        Room { bridge, dialog, own: world.chat3.add_dialog(&["crowd_deaf"]), crowd }
    };
    let rooms = [room(), room()];
    at_once([&rooms[0].crowd, &rooms[1].crowd], s(3), rate, MESSAGE);
    let (mut with, mut without, mut waited) = (Round::default(), Round::default(), Duration::ZERO);
    for number in 0..rounds {
        let pair = if number % 2 == 0 { [&rooms[0], &rooms[1]] } else { [&rooms[1], &rooms[0]] };
        let ([deaf, reading], took) = round(pair, rate);
        let figures = [deaf.within(50), reading.within(50), deaf.within(99), reading.within(99)];
        println!(
            "round {number}: p50, p99 with one that reads nothing and without, ms: {figures:.1?}; cut after {took:?}"
        );
        with.add(&deaf);
        without.add(&reading);
        waited = waited.max(took);
    }
    let ratio = with.within(99) / without.within(99);
    println!(
        "{members} members, {rate} messages a second of {MESSAGE} bytes: p50 {:.1} and {:.1} ms, p99 {:.1} and {:.1} ms: \
         × {ratio:.3}; cut within {waited:?} of being over its bound",
        with.within(50),
        without.within(50),
        with.within(99),
        without.within(99),
    );
    assert!(ratio <= 1.05, "the others wait {ratio} times as long");
    assert!(waited <= s(2), "it took {waited:?}");
}
