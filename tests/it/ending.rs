//! The end of a process: what is in flight finishes, nothing new begins.

use std::time::Instant;

use serde_json::json;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::token;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

#[test]
fn an_end_lets_what_is_in_flight_finish_and_closes_the_port() {
    let world = World::shared(StandInOptions::default());
    let mut bridge = world.setup("live").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start().ready();
    let (dialog, other) = (world.chat3.add_dialog(&["end_a"]), world.chat3.add_dialog(&["end_a"]));
    let mut js = Js::start();
    js.sign_on("a", &bridge, "end_a");
    js.join("a", &dialog);
    world.chat3.set_faults(Faults { members_late_ms: 1_500, answer_late_ms: 1_500, ..Faults::default() });
    let url = format!("{}/api/messages/dialog/{dialog}", bridge.http);
    let client = reqwest::Client::new();
    let post = client.post(url).bearer_auth(token("end_a")).json(&json!({"content": "last words"})).send();
    let post = crate::kit::runtime().spawn(post);
    let (limit, asked) = (bridge.at_its_pace(s(5)), world.chat3.asked());
    let bridge_ends = std::thread::scope(|scope| {
        let joining = scope.spawn(|| js.call("a", "dialog:join", &[json!(other)]));
        eventually("both are on their way", s(1), || {
            (world.chat3.posted() > 0 && world.chat3.asked() > asked).then_some(())
        });
        let start = Instant::now();
        bridge.signal("-TERM");
        let port = bridge.http.trim_start_matches("http://").to_owned();
        eventually("the port is closed", s(2), || std::net::TcpStream::connect(&port).is_err().then_some(()));
        assert_eq!(joining.join().unwrap(), json!({"ok": true}), "an ack that was in flight");
        start
    });
    let answer = crate::kit::runtime().block_on(post).unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 201, "a POST that was in flight");
    assert_eq!(bridge.wait(s(5)), Some(0), "{}", bridge.log());
    assert!(bridge_ends.elapsed() < limit, "{:?}", bridge_ends.elapsed());
}
