//! Captured traffic, replayed.

use std::path::PathBuf;

use serde_json::Value;
use updates_bridge::demo::StandInOptions;

use crate::kit::js::Js;
use crate::kit::s;
use crate::kit::world::World;

#[test]
fn every_captured_update_arrives_unchanged_and_no_queue_stalls() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut js = Js::start();
    let users = ["usr_qk2ddpnx", "usr_e86m1drv", "usr_zzzz1111"];
    for user in users {
        js.sign_on(user, &bridge, user);
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut expected = users.map(|_| Vec::new());
    for version in ["e25375c", "d9f2237", "95f9355", "b082001"] {
        let capture = std::fs::read_to_string(root.join(version).join("all.amqp.jsonl")).unwrap();
        for line in capture.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            if line["exchange"] != "chat3_updates" {
                continue;
            }
            let (key, body) = (line["routingKey"].as_str().unwrap(), line["bodyRaw"].as_str().unwrap());
            world.publish(key, Vec::new(), body.as_bytes());
            let body: Value = serde_json::from_str(&updates_bridge_repair(body)).unwrap();
            let place = users.iter().position(|user| body["userId"] == *user).expect("one of the three");
            // A redelivered copy has the same identity, and arrives once.
            if !expected[place].contains(&body) {
                expected[place].push(body);
            }
        }
    }
    let half = r#"{"tenantId":"tnt_default","userId":"usr_qk2ddpnx","entityId":"msg_half","eventId":"e","eventType":"message.create","data":{"content":"x\ud83d","messageId":"msg_half"}}"#;
    world.publish("user.user.usr_qk2ddpnx.messageupdate", Vec::new(), half.as_bytes());
    expected[0].push(serde_json::from_str(&half.replace("\\ud83d", "\u{fffd}")).unwrap());
    for (user, expected) in users.iter().zip(expected) {
        let got = js.wait_count(user, "update", expected.len(), s(10));
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got, expected);
        }
    }
    assert!(!bridge.log().contains("Привет"), "no text of people in the log");
}

fn updates_bridge_repair(body: &str) -> String {
    bridge_core::update::repair(body).into_owned()
}
