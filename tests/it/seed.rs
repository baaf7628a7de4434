//! The seed's two scenarios.

use serde_json::json;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Setup;
use crate::kit::js::Js;
use crate::kit::s;
use crate::kit::world::World;

#[test]
fn scenario_1_in_legacy_needs_no_broker() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["s1l_a", "s1l_b"]);
    let bridge = Setup::new("legacy", &world.chat3.url()).env("RABBITMQ_URL", "amqp://127.0.0.1:1").start();
    let mut js = Js::start();
    for user in ["s1l_a", "s1l_b"] {
        let ack = js.sign_on(user, &bridge, user);
        assert_eq!((&ack["ok"], &ack["ready"], &ack["userId"]), (&json!(true), &json!(true), &json!(user)));
        js.join(user, &dialog);
    }
    let data = bridge.say("s1l_a", &dialog, "Hello!");
    assert_eq!(data["content"], "Hello!");
    for user in ["s1l_a", "s1l_b"] {
        assert_eq!(
            js.wait_count(user, "message:new", 1, s(5)),
            std::slice::from_ref(&data),
            "the sender's sockets included"
        );
    }
    std::thread::sleep(s(1));
    assert!(js.got("s1l_b", "update").is_empty());
}

#[test]
fn scenario_2_two_instances_in_complete() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["s2c_a", "s2c_b"]);
    let (one, two) = (world.setup("complete").start().ready(), world.setup("complete").start().ready());
    let mut js = Js::start();
    js.sign_on("a", &one, "s2c_a");
    js.sign_on("b", &two, "s2c_b");
    // The same user on two instances at once: a name of its own for each queue, so nothing is locked.
    js.sign_on("b on one", &one, "s2c_b");
    let data = one.say("s2c_a", &dialog, "Hello over there!");
    for client in ["a", "b", "b on one"] {
        let update = js.wait_count(client, "update", 1, s(5)).remove(0);
        assert_eq!(update["data"]["message"]["messageId"], data["messageId"]);
        assert!(js.got(client, "message:new").is_empty());
    }
}
