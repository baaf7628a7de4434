//! Slow clients.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use updates_bridge::demo::StandInOptions;

use crate::kit::driven;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

fn big_update(user: &str, n: usize, bytes: usize) -> Value {
    json!({"tenantId": "tnt_default", "userId": user, "entityId": format!("msg_{n}"), "eventId": format!("e{n}"),
        "eventType": "message.create", "data": {"content": "x".repeat(bytes), "messageId": format!("msg_{n}")}})
}

#[test]
fn a_client_that_takes_nothing_is_cut_alone() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut js = Js::start();
    js.sign_on("reads", &bridge, "slow_a");
    let stuck = runtime().block_on(driven::socket_io(&bridge, &driven::credentials("slow_a", None))).socket;
    let key = "user.user.slow_a.messageupdate";
    for n in 0..400 {
        world.publish(key, Vec::new(), big_update("slow_a", n, 50_000).to_string().as_bytes());
    }
    js.wait_count("reads", "update", 400, s(30));
    assert!(js.got("reads", "disconnect").is_empty());
    eventually("the stuck one is gone", s(10), || {
        let metrics = bridge.admin(reqwest::Method::GET, "/metrics", None).1;
        metrics.as_str()?.contains(r#"bridge_sockets_cut_total{reason="slow"} 1"#).then_some(())
    });
    drop(stuck);
}

#[test]
fn a_client_that_reads_slowly_gets_a_burst_whole_and_in_order() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut socket = runtime().block_on(driven::socket_io(&bridge, &driven::credentials("slow_b", None))).socket;
    let key = "user.user.slow_b.messageupdate";
    for n in 0..200 {
        world.publish(key, Vec::new(), big_update("slow_b", n, 100_000).to_string().as_bytes());
    }
    runtime().block_on(async {
        let mut next = 0;
        while next < 200 {
            let frame = tokio::time::timeout(s(20), socket.next()).await.expect("in time");
            let text = frame.expect("not cut").expect("not cut").into_text().expect("text");
            if text.as_str() == "2" {
                socket.send(Message::text("3")).await.expect("sent");
            } else if let Some(event) = text.strip_prefix("42") {
                let event: Value = serde_json::from_str(event).expect("JSON");
                assert_eq!(event[1]["entityId"], format!("msg_{next}"));
                next += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}
