//! Who is a member: refused, counted and put out.

use reqwest::Method;
use serde_json::json;
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

/// The value of a line of `/metrics` that begins with `line`.
fn metric(bridge: &Bridge, line: &str) -> Option<f64> {
    let (_, text) = bridge.admin(Method::GET, "/metrics", None);
    let found = text.as_str()?.lines().find(|other| other.starts_with(line))?;
    found.rsplit(' ').next()?.parse().ok()
}

fn rooms(bridge: &Bridge, user: &str) -> usize {
    let sessions = bridge.admin(Method::GET, "/admin/sessions", None).1;
    let sessions = sessions["sessions"].as_array().unwrap().iter();
    let own = sessions.filter(|session| session["user"] == user).flat_map(|s| s["sockets"].as_array().unwrap());
    own.map(|socket| socket["rooms"].as_array().unwrap().len()).sum()
}

#[test]
fn what_would_be_refused_is_counted_and_logged() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["rep_a"]);
    let setup = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "report");
    let bridge = setup.env("BRIDGE_MEMBERSHIP__CACHE", "0s").start();
    let count =
        |act: &str| metric(&bridge, &format!("bridge_membership_refusals_total{{act=\"{act}\",mode=\"report\"}}"));
    for act in ["join", "post", "removal"] {
        assert_eq!(count(act), Some(0.0), "{act}: it is there from the start");
    }
    let mut js = Js::start();
    js.sign_on("a", &bridge, "rep_a");
    js.sign_on("x", &bridge, "rep_x");
    js.join("x", &dialog);
    js.join("a", &dialog);
    bridge.say("rep_x", &dialog, "from outside");
    eventually("the join counts", s(20), || (count("join") == Some(1.0)).then_some(()));
    eventually("the POST counts", s(20), || (count("post") == Some(1.0)).then_some(()));
    // Who is in the room and no member would be put out: counted once, not with each look.
    eventually("the removal counts", s(20), || (count("removal") == Some(1.0)).then_some(()));
    std::thread::sleep(s(3));
    assert_eq!(count("removal"), Some(1.0));
    assert_eq!((rooms(&bridge, "rep_x"), rooms(&bridge, "rep_a")), (1, 1), "nobody is refused");
    for act in ["join", "post", "removal"] {
        assert!(bridge.log().contains(&format!("would be refused act=\"{act}\"")), "{act}: {}", bridge.log());
    }
}

#[test]
fn without_a_cache_a_removed_member_leaves_the_room_too() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["nocache_a", "nocache_b"]);
    let setup = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "enforce");
    let bridge = setup.env("BRIDGE_MEMBERSHIP__CACHE", "0s").start();
    let mut js = Js::start();
    for user in ["nocache_a", "nocache_b"] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialog);
    }
    world.chat3.remove_member(&dialog, "nocache_b");
    eventually("out", s(20), || (rooms(&bridge, "nocache_b") == 0).then_some(()));
    assert_eq!(rooms(&bridge, "nocache_a"), 1);
    assert_eq!(metric(&bridge, "bridge_membership_refusals_total{act=\"removal\",mode=\"enforce\"}"), Some(1.0));
}

#[test]
fn who_is_invited_gets_in_at_once() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["inv_a"]);
    let bridge = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start();
    let mut js = Js::start();
    js.sign_on("b", &bridge, "inv_b");
    let join = |js: &mut Js| js.call("b", "dialog:join", &[json!(dialog)]);
    assert_eq!(join(&mut js)["error"], "not a member");
    world.chat3.add_member(&dialog, "inv_b");
    std::thread::sleep(s(1));
    assert_eq!(join(&mut js), json!({"ok": true}));
    let (status, answer) = bridge.post_message("inv_b", &dialog, &json!({"content": "here I am"}));
    assert_eq!(status, 201, "{answer}");
}
