//! The three topologies deliver the same.

use serde_json::json;
use updates_bridge::demo::{StandInOptions, Version};

use crate::kit::js::Js;
use crate::kit::rabbit::{Rabbit, shared};
use crate::kit::world::World;
use crate::kit::{Turn, eventually, s};

#[test]
fn every_topology_delivers_compares_and_leaves_nothing() {
    for topology in ["per_user", "per_instance", "firehose"] {
        let world = World::shared(StandInOptions { version: Version::June, ..StandInOptions::default() });
        let [a, b] = ["a", "b"].map(|who| format!("top_{topology}_{who}"));
        let dialog = world.chat3.add_dialog(&[&a, &b]);
        let workers = if topology == "per_instance" { "1" } else { "3" };
        let setup = world.setup("live").env("BRIDGE_RABBITMQ__TOPOLOGY", topology);
        let setup = setup.env("BRIDGE_RUNTIME__WORKERS", workers);
        let mut bridge = setup.env("BRIDGE_INSTANCE_ID", format!("top-{topology}")).start().ready();
        let mut js = Js::start();
        for user in [&a, &b] {
            assert_eq!(js.sign_on(user, &bridge, user)["ready"], true);
            js.join(user, &dialog);
        }
        js.call(&b, "subscribe", &[json!(["messageupdate"])]);
        for n in 0..10 {
            bridge.say(&a, &dialog, &format!("{n}"));
        }
        let of_messages = |user: &str| {
            let updates =
                js.got(user, "update").into_iter().filter(|update| update["updateType"] == "update.message");
            updates.map(|update| update["data"]["message"]["content"].clone()).collect::<Vec<_>>()
        };
        js.wait_count(&b, "update", 10, s(5));
        std::thread::sleep(s(3));
        assert_eq!(of_messages(&a).len(), 10, "{topology}");
        assert_eq!(js.got(&b, "update").len(), 10, "{topology}: only what it subscribed to");
        eventually("matches", s(10), || (bridge.summary()["classes"]["match"] == 20).then_some(()));
        let mine = || {
            let queues = shared(|node| node.queues()).into_iter();
            queues.filter(|[name, ..]| name.contains(&format!("top-{topology}."))).count()
        };
        assert_eq!(mine(), if topology == "per_user" { 2 } else { 1 }, "{topology}");
        bridge.signal("-TERM");
        assert_eq!(bridge.wait(s(5)), Some(0));
        assert_eq!(mine(), 0, "{topology}");
    }
}

#[test]
fn a_queue_of_the_instance_that_is_deleted_is_made_anew() {
    let rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    for topology in ["per_instance", "firehose"] {
        let bridge = world.setup("live").env("BRIDGE_RABBITMQ__TOPOLOGY", topology).start().ready();
        let mut js = Js::start();
        let users = ["a", "b"].map(|who| format!("del_{topology}_{who}"));
        for user in &users {
            assert_eq!(js.sign_on(user, &bridge, user)["ready"], true);
        }
        let queue = || {
            let mut names = rabbit.queues().into_iter().map(|[name, ..]| name);
            names.find(|name| name.starts_with("bridge_") && !name.starts_with("bridge_lookout")).expect("a queue")
        };
        let deleted = queue();
        rabbit.ctl(&["delete_queue", &deleted]);
        for user in &users {
            assert_eq!(js.wait_for(user, "bridge:resync", s(8))[0]["reason"], "queue_lost", "{topology}");
            world.update(user, "message.create", &format!("msg_{user}"));
        }
        for user in &users {
            js.wait_count(user, "update", 1, s(5));
        }
        assert_ne!(queue(), deleted);
        assert_eq!(bridge.log().matches("broker session is up").count(), 1, "{topology}: the session lived on");
    }
}

#[test]
fn a_user_who_wants_no_messages_is_compared_alike_in_every_topology() {
    for topology in ["per_user", "per_instance", "firehose"] {
        let world = World::shared(StandInOptions { version: Version::June, ..StandInOptions::default() });
        let [a, b] = ["a", "b"].map(|who| format!("deaf_{topology}_{who}"));
        let dialog = world.chat3.add_dialog(&[&a, &b]);
        let bridge = world.setup("shadow").env("BRIDGE_RABBITMQ__TOPOLOGY", topology).start().ready();
        let mut js = Js::start();
        for user in [&a, &b] {
            assert_eq!(js.sign_on(user, &bridge, user)["ready"], true);
            js.call(user, "subscribe", &[json!([if *user == a { "message" } else { "nothing" }])]);
            js.join(user, &dialog);
        }
        for n in 0..5 {
            bridge.say(&a, &dialog, &format!("{n}"));
        }
        let summary = eventually("all closed", s(10), || {
            let summary = bridge.summary();
            (summary["open"] == 0 && summary["closed"].as_u64() >= Some(10)).then_some(summary)
        });
        assert_eq!(summary["opened"], 10, "{topology}: {summary}");
        assert_eq!(summary["classes"]["match"], 5, "{topology}: {summary}");
        assert_eq!(summary["causes"]["missing_in_rabbitmq_expected/not_subscribed"], 5, "{topology}: {summary}");
    }
}
