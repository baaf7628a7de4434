//! Bodies that do not end: they hold little memory, and nobody else up.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::{Bridge, token};
use crate::kit::raw::{answer, connect};
use crate::kit::world::World;
use crate::kit::{eventually, s};

const MIB: usize = 1024 * 1024;

/// Posts all of a MiB but its last bytes.
fn stall(bridge: &Bridge, user: &str, dialog: &str) -> TcpStream {
    let mut stream = connect(&bridge.http);
    let head = format!(
        "POST /api/messages/dialog/{dialog} HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {}\r\n\
         content-length: {MIB}\r\n\r\n{{\"content\":\"",
        token(user)
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It may have been refused and closed already.
    let _sent = stream.write_all(&vec![b'x'; MIB - 64]);
    stream
}

fn stall_many(
    bridge: &Bridge,
    count: usize,
    dialog: &str,
    user: impl Fn(usize) -> String + Sync,
) -> Vec<TcpStream> {
    std::thread::scope(|scope| {
        let user = &user;
        let halves: Vec<_> = (0..8)
            .map(|part| {
                let mine = move || (part..count).step_by(8).map(|n| stall(bridge, &user(n), dialog)).collect();
                scope.spawn(mine)
            })
            .collect();
        halves.into_iter().flat_map(|half| -> Vec<TcpStream> { half.join().expect("a thread") }).collect()
    })
}

#[test]
fn six_hundred_stalled_bodies_hold_little_memory_and_nobody_elses_place() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["body_a", "body_b"]);
    let bridge = world.setup("legacy").start();
    let before = bridge.resident();
    // One user: others are served.
    let mut stalled = stall_many(&bridge, 100, &dialog, |_| "body_a".into());
    assert_eq!(bridge.post_message("body_b", &dialog, &json!({"content": "x"})).0, 201);
    let metrics = bridge.admin(reqwest::Method::GET, "/metrics", None).1;
    assert!(metrics.as_str().unwrap().contains("bridge_forwards_refused_total{share=\"user\"}"));
    // As many users as there are bodies.
    stalled.extend(stall_many(&bridge, 600, &dialog, |n| format!("body_{n}")));
    let held = bridge.resident();
    println!("resident: {} MiB before, {} MiB with 700 stalled bodies", before >> 20, held >> 20);
    // 64 MiB of them are bodies. A build for tests is larger from its beginning (39 MiB) than one for use (28 MiB).
    assert!(held < 150 << 20, "{} MiB", held >> 20);
    assert_eq!(bridge.get("/health").0, 200);
    drop(stalled);
    eventually("room again", s(60), || {
        (bridge.post_message("body_a", &dialog, &json!({"content": "again"})).0 == 201).then_some(())
    });
}

#[test]
fn a_body_that_stalls_is_given_up_and_its_place_is_free() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["stall_a"]);
    let bridge = world.setup("legacy").env("BRIDGE_HTTP__USER_FORWARDS", "1").start();
    let mut stalled = stall(&bridge, "stall_a", &dialog);
    let (status, answer) = answer(&mut stalled);
    assert_eq!(status, 408, "{answer}");
    assert_eq!(bridge.post_message("stall_a", &dialog, &json!({"content": "x"})).0, 201);
}

#[test]
fn one_user_has_a_share_of_the_forwards() {
    let world = World::alone(StandInOptions { refuse_repeats: false, ..StandInOptions::default() });
    let dialog = world.chat3.add_dialog(&["share_a", "share_b"]);
    let bridge = world.setup("legacy").env("BRIDGE_HTTP__USER_FORWARDS", "70").start();
    world.chat3.set_faults(Faults { answer_late_ms: 8_000, ..Faults::default() });
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let post = |user: &'static str| {
            let (bridge, dialog) = (&bridge, &dialog);
            move || bridge.post_message(user, dialog, &json!({"content": "x"})).0
        };
        let many: Vec<_> = (0..80).map(|_| scope.spawn(post("share_a"))).collect();
        let other = scope.spawn(post("share_b"));
        let mut statuses: Vec<u16> = many.into_iter().map(|one| one.join().unwrap()).collect();
        statuses.push(other.join().unwrap());
        statuses
    });
    let count = |status: u16| statuses[..80].iter().filter(|other| **other == status).count();
    assert_eq!((count(503), statuses[80]), (80 - count(201), 201), "{statuses:?}");
    assert!(count(503) >= 1, "{statuses:?}");
}
