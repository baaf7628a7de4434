//! One budget for the memory that clients can fill.

use std::sync::atomic::Ordering;
use std::sync::{Arc, atomic::AtomicUsize};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use updates_bridge::demo::StandInOptions;

use super::kit::bridge::{Setup, token};
use super::kit::crowd::member;
use super::kit::world::World;
use super::kit::{eventually, runtime, s};

const LIMIT: u64 = 224 << 20;
/// Clients that read nothing.
const DEAF: usize = 40;

#[test]
fn who_reads_nothing_is_cut_before_the_limit_is_reached_and_nobody_else_notices() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["mem_good", "mem_deaf"]);
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_MEMORY__LIMIT", "224MiB")
        .env("BRIDGE_SHADOW__MAX_MEMORY", "16MiB")
        .env("BRIDGE_SOCKET__BUFFER", "64MiB")
        .start();
    let connect = |user: &str| {
        let url = format!("{}/ws", bridge.http.replace("http", "ws"));
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("authorization", format!("Bearer {}", token(user)).parse().expect("text"));
        let join = json!({"event": "dialog:join", "data": dialog, "id": 1}).to_string();
        async move {
            let (mut socket, _) = connect_async(request).await.expect("a connection");
            socket.send(Message::text(join)).await.expect("sent");
            while !matches!(socket.next().await, Some(Ok(Message::Text(text))) if text.contains("\"ack\"")) {}
            socket
        }
    };
    let mut deaf = Vec::new();
    let heard = Arc::<AtomicUsize>::default();
    runtime().block_on(async {
        for _ in 0..DEAF {
            deaf.push(connect("mem_deaf").await);
        }
        let (mut good, heard) = (connect("mem_good").await, Arc::clone(&heard));
        tokio::spawn(async move {
            while let Some(Ok(message)) = good.next().await {
                if message.to_text().is_ok_and(|text| text.contains("message:new")) {
                    heard.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
    });
    let blob = "x".repeat(500_000);
    let say = |n: usize| {
        let message = json!({"content": format!("message {n}"), "meta": {"blob": blob}});
        let (status, answer) = bridge.post_message("mem_good", &dialog, &message);
        assert_eq!(status, 201, "{answer}");
    };
    let (mut sent, mut most) = (0, 0);
    while bridge.metric("bridge_memory_shed_total") < 3.0 {
        say(sent);
        sent += 1;
        most = most.max(bridge.resident());
        assert!(sent < 200, "nobody was cut");
    }
    for _ in 0..20 {
        say(sent);
        sent += 1;
        most = most.max(bridge.resident());
    }
    assert!(most < LIMIT, "{most} bytes were resident");
    eventually("all messages", s(20), || (heard.load(Ordering::Acquire) == sent).then_some(()));
    assert!(bridge.counted("bridge_sockets_cut_total") >= 3);
    assert!(bridge.log().contains("memory.limit: a connection for which most is held was cut"), "it is said");
    assert!(bridge.log().contains("mem_deaf"), "and of whom");
    drop(deaf);
    eventually("what was held is given back", s(20), || {
        let held = bridge.admin(reqwest::Method::GET, "/metrics", None).1;
        let of = "bridge_memory_bytes{of=\"outboxes\"} ";
        let held = held.as_str()?.lines().find_map(|line| line.strip_prefix(of)?.parse::<f64>().ok())?;
        (held == 0.0).then_some(())
    });
}

#[test]
fn what_is_kept_for_clients_that_are_gone_is_let_go_before_the_limit_is_reached() {
    const GONE: usize = 40;
    let world = World::alone(StandInOptions::default());
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_MEMORY__LIMIT", "224MiB")
        .env("BRIDGE_SHADOW__MAX_MEMORY", "16MiB")
        .env("BRIDGE_SOCKET__BUFFER", "64MiB")
        .env("BRIDGE_RABBITMQ__LINGER", "10m")
        .start();
    let blob = "x".repeat(500_000);
    let users: Vec<String> = (0..GONE).map(|n| format!("kept_{n}")).collect();
    let dialogs: Vec<String> = users.iter().map(|user| world.chat3.add_dialog(&[user])).collect();
    runtime().block_on(async {
        for (user, dialog) in users.iter().zip(&dialogs) {
            drop(member(&bridge.http, user, dialog, None).await);
        }
    });
    let held = || bridge.series(r#"bridge_memory_bytes{of="replays"}"#);
    let (mut most, mut sent) = (0, 0_u64);
    for _ in 0..10 {
        for (user, dialog) in users.iter().zip(&dialogs) {
            let message = json!({"content": "for later", "meta": {"blob": blob}});
            let (status, answer) = bridge.post_message(user, dialog, &message);
            assert!(status == 201 || status == 503, "{status} {answer}");
            if status == 201 {
                sent += 500_000;
            } else {
                // What is let go is let go a moment later.
                std::thread::sleep(s(1));
            }
            most = most.max(bridge.resident());
        }
    }
    assert!(sent > LIMIT / 2, "{sent} bytes: there was room meanwhile");
    assert!(most < LIMIT, "{most} bytes were resident");
    assert!(held() > 0, "and not all of it went");
    assert!(bridge.metric("bridge_memory_replays_shed_bytes_total") > 0.0);
    let log = bridge.log();
    assert!(log.contains("memory.limit: what is kept for a resume was let go") && log.contains("kept_"), "{log}");
}
