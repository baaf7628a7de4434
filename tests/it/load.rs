//! A whole gateway under load, as a figure: `just bench`. It is no test of speed, which depends on the machine; it fails
//! when anything was lost, doubled or out of order.
//!
//! `LOAD_USERS` (default 500), `LOAD_SOCKETS` of each (1), `LOAD_MESSAGES` (100,000), `LOAD_BYTES` of content (200),
//! `LOAD_STAGE` (complete).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use futures::{SinkExt as _, StreamExt as _};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::token;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

/// Deliveries on their way at most.
const WINDOW: u64 = 2_000;

fn of_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// CPU seconds of a process, all threads, user and system.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks of a hundredth of a second")]
    let seconds = ticks as f64 / 100.0;
    seconds
}

/// Counts what comes, and checks that it comes in order.
async fn client(url: String, user: String, up: Arc<AtomicUsize>, got: Arc<AtomicU64>, wrong: Arc<AtomicU64>) {
    let (socket, _) = connect_async(url).await.expect("a connection");
    let (mut sink, mut source) = socket.split();
    let hello = json!({"event": "authenticate", "data": {"token": token(&user)}, "id": 1});
    sink.send(Message::text(hello.to_string())).await.expect("sent");
    let mut last = 0;
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else { continue };
        if text.starts_with(r#"{"event":"ack""#) {
            up.fetch_add(1, Ordering::AcqRel);
        } else if let Some((_, number)) = text.split_once(r#""entityId":"msg_"#) {
            let number: u64 = number.split('"').next().and_then(|text| text.parse().ok()).expect("a number");
            wrong.fetch_add(u64::from(number <= last), Ordering::AcqRel);
            last = number;
            got.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[test]
#[ignore = "a figure, not a test: just bench"]
fn what_a_delivery_costs() {
    let (users, sockets) = (of_env("LOAD_USERS", 500), of_env("LOAD_SOCKETS", 1));
    let (messages, bytes) = (of_env("LOAD_MESSAGES", 100_000), of_env("LOAD_BYTES", 200));
    let stage = std::env::var("LOAD_STAGE").unwrap_or_else(|_| "complete".into());
    let world = World::on(rabbit::shared(|node| node.url()), StandInOptions::default(), Turn::alone());
    let bridge = world.setup(&stage).start().ready();
    let (up, got, wrong) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let url = bridge.http.replace("http://", "ws://") + "/ws";
    let before = bridge.resident();
    for user in 0..users {
        for _ in 0..sockets {
            let counts = (Arc::clone(&up), Arc::clone(&got), Arc::clone(&wrong));
            runtime().spawn(client(url.clone(), format!("load_{user}"), counts.0, counts.1, counts.2));
        }
    }
    let all = usize::try_from(users * sockets).expect("fits");
    eventually("all signed on", s(120), || (up.load(Ordering::Acquire) == all).then_some(()));
    let idle = bridge.resident();
    let (pid, content) = (bridge.pid(), "x".repeat(usize::try_from(bytes).expect("fits")));
    let (started, began) = (Instant::now(), cpu(pid));
    runtime().block_on(async {
        let amqp = rabbit::shared(|node| node.url());
        let connection = Connection::connect(&amqp, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        for n in 1..=messages {
            while (n - 1) * sockets > got.load(Ordering::Acquire) + WINDOW {
                tokio::time::sleep(std::time::Duration::from_micros(200)).await;
            }
            let user = format!("load_{}", n % users);
            let body = json!({"tenantId": "tnt_default", "userId": user, "entityId": format!("msg_{n}"),
                "eventId": format!("evt_{n}"), "sourceEventType": "message.create", "updateType": "update.message",
                "data": {"message": {"messageId": format!("msg_{n}"), "dialogId": "dlg_1", "content": content}}});
            let key = format!("update.dialog.user.{user}.message");
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            let body = body.to_string();
            let sent = channel.basic_publish(
                "chat3_updates".into(),
                key.as_str().into(),
                options,
                body.as_bytes(),
                properties,
            );
            let _unconfirmed = sent.await.expect("published");
        }
    });
    let wanted = messages * sockets;
    eventually("all has come", s(120), || (got.load(Ordering::Acquire) >= wanted).then_some(()));
    let (lasted, used) = (started.elapsed().as_secs_f64(), cpu(pid) - began);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (deliveries, each) = (wanted as f64, (idle.saturating_sub(before)) as f64 / all as f64 / 1_024.0);
    println!(
        "{users} users × {sockets}, {bytes} B, {stage}: {:.0} deliveries/s, {:.1} CPU s for a million, {each:.0} KiB an idle socket, \
         resident {} MiB at the end",
        deliveries / lasted,
        used * 1e6 / deliveries,
        bridge.resident() >> 20,
    );
    assert_eq!((got.load(Ordering::Acquire), wrong.load(Ordering::Acquire)), (wanted, 0), "once each, in order");
}
