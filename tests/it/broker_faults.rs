//! The broker's faults, one by one: numbered updates to ten users and one with two tabs, a fault, its end. Each update
//! that the broker confirmed reaches each socket once, or `bridge:resync` covers it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::kit::bridge::Setup;
use crate::kit::line::{Line, Quality};
use crate::kit::stand::{Place, Stand};
use crate::kit::{eventually, s};

fn as_it_is(_: &Place, setup: Setup) -> Setup {
    setup
}

#[test]
fn an_application_that_is_stopped_and_started_is_a_gap() {
    let stand = Stand::on_node("app", as_it_is);
    stand.place.ctl(&["stop_app"]);
    stand.noticed();
    stand.place.ctl(&["start_app"]);
    let outcome = stand.whole("stop_app, start_app");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn connections_that_are_all_closed_are_a_gap() {
    let stand = Stand::in_host("closed", as_it_is);
    stand.place.ctl_here("close_all_connections", &["test"]);
    let outcome = stand.whole("close_all_connections");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn an_alarm_of_memory_or_disk_loses_nothing() {
    let stand = Stand::on_node("alarm", as_it_is);
    for (on, off, lasts) in [
        // So long that probes of the bindings fail, again and again.
        (["set_vm_memory_high_watermark", "absolute", "1"].as_slice(), ["set_vm_memory_high_watermark", "0.4"], 8),
        (["set_disk_free_limit", "900000GB"].as_slice(), ["set_disk_free_limit", "50MB"], 2),
    ] {
        stand.place.ctl(on);
        eventually("publishers are blocked", s(20), || {
            let before = stand.numbers.count();
            stand.pass(s(1));
            (stand.numbers.count() == before).then_some(())
        });
        stand.pass(s(lasts));
        stand.place.ctl(&off);
        stand.all_hear_from_now("after the alarm");
    }
    let outcome = stand.whole("memory and disk alarm");
    assert_eq!((outcome.told, outcome.resyncs.len()), (0, 0));
}

#[test]
fn a_queue_that_is_deleted_is_a_gap_of_its_user_alone() {
    let stand = Stand::in_host("queue", as_it_is);
    let name = stand.place.queues_of("queue_0").remove(0);
    stand.place.ctl_here("delete_queue", &[&name]);
    let outcome = stand.whole("queue deleted");
    assert_eq!(outcome.resyncs, HashMap::from([("queue_lost".to_owned(), 2)]), "of its two tabs");
}

/// Deletes the exchange and declares it with another type.
fn declare(stand: &Stand, kind: &str) {
    let name = format!(r#"rabbit_misc:r(<<"{}">>, exchange, <<"chat3_updates">>)"#, stand.place.name());
    let steps = [
        "delete(X, false, <<\"t\">>)".to_owned(),
        format!("declare(X, {kind}, true, false, false, [], <<\"t\">>)"),
    ];
    stand
        .place
        .ctl(&["eval", &format!("X = {name}, rabbit_exchange:{}, rabbit_exchange:{}.", steps[0], steps[1])]);
}

#[test]
fn an_exchange_that_is_of_another_type_for_some_time_is_a_gap() {
    let stand = Stand::in_host("type", as_it_is);
    declare(&stand, "fanout");
    stand.noticed();
    stand.pass(s(2));
    declare(&stand, "topic");
    let outcome = stand.whole("exchange of another type");
    assert!(outcome.resyncs["queue_lost"] >= 12);
}

/// The bridge as a user of its own, that publishers do not share.
fn as_gate(place: &Place, setup: Setup) -> Setup {
    let gate = format!("gate_{}", place.name());
    place.ctl(&["add_user", &gate, "gate"]);
    place.ctl_here("set_permissions", &[&gate, ".*", ".*", ".*"]);
    setup.rabbit(place.url().replace("guest:guest", &format!("{gate}:gate")))
}

#[test]
fn permissions_that_are_revoked_keep_out_new_users_until_they_are_given_back() {
    let mut stand = Stand::in_host("permit", as_gate);
    stand.place.ctl_here("clear_permissions", &["gate_permit"]);
    stand.comes("late", "permit_l");
    stand.noticed();
    stand.pass(s(5));
    stand.place.ctl_here("set_permissions", &["gate_permit", ".*", ".*", ".*"]);
    stand.hears("late", "permit_l");
    let outcome = stand.whole("permissions revoked");
    assert_eq!(outcome.told, 0, "who was there lost nothing: {outcome:?}");
}

#[test]
fn credentials_that_are_changed_are_a_gap_until_they_are_given_back() {
    let stand = Stand::in_host("secret", as_gate);
    stand.place.ctl(&["change_password", "gate_secret", "another"]);
    stand.place.ctl_here("close_all_connections", &["test"]);
    stand.noticed();
    stand.pass(s(3));
    stand.place.ctl(&["change_password", "gate_secret", "gate"]);
    let outcome = stand.whole("credentials changed");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn limits_of_queues_and_connections_are_survived() {
    let mut stand = Stand::in_host("limit", as_it_is);
    stand.place.ctl_here("set_vhost_limits", &[r#"{"max-queues": 1}"#]);
    stand.comes("late", "limit_l");
    stand.noticed();
    stand.pass(s(2));
    stand.place.ctl_here("clear_vhost_limits", &[]);
    stand.hears("late", "limit_l");
    stand.all_hear_from_now("after the limit of queues");
    for (socket, _) in &stand.sockets {
        assert!(stand.js.got(socket, "bridge:resync").is_empty(), "who was there lost nothing");
    }
    stand.place.ctl_here("set_vhost_limits", &[r#"{"max-connections": 0}"#]);
    stand.place.ctl_here("close_all_connections", &["test"]);
    stand.noticed();
    stand.pass(s(2));
    stand.place.ctl_here("clear_vhost_limits", &[]);
    let outcome = stand.whole("limits of queues and connections");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn a_consumer_that_the_broker_gives_up_on_is_a_gap() {
    let stand = Stand::on_node("timeout", |place, setup| {
        place.ctl(&["eval", &timeouts(4_000, 1_000)]);
        setup.env("BRIDGE_RABBITMQ__HEARTBEAT", "60s")
    });
    stand.pass(s(7));
    assert_eq!(stand.degraded(), json!([]), "who acknowledges is left alone");
    stand.bridge.signal("-STOP");
    stand.pass(s(9));
    stand.bridge.signal("-CONT");
    stand.place.ctl(&["eval", &timeouts(1_800_000, 60_000)]);
    stand.whole("consumer_timeout");
}

/// Sets how long a consumer may keep an update, and how often the broker looks (ms).
fn timeouts(consumer: u32, tick: u32) -> String {
    let set = |name, value| format!("application:set_env(rabbit, {name}, {value})");
    format!("{}, {}.", set("consumer_timeout", consumer), set("channel_tick_interval", tick))
}

#[test]
fn a_broker_that_stands_still_is_waited_for_or_given_up() {
    let stand = Stand::on_node("frozen", as_it_is);
    stand.place.own().signal("-STOP");
    stand.pass(s(2));
    stand.place.own().signal("-CONT");
    stand.all_hear_from_now("after two seconds");
    stand.place.own().signal("-STOP");
    println!("noticed after {:?}", stand.noticed());
    stand.pass(s(4));
    stand.place.own().signal("-CONT");
    let outcome = stand.whole("broker frozen");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

/// On a line to the broker.
fn on_line(name: &str) -> (Line, Stand) {
    let mut line = None;
    let stand = Stand::in_host(name, |place, setup| {
        let url = place.url();
        let made = line.insert(Line::to(&url));
        setup.rabbit(format!("amqp://guest:guest@127.0.0.1:{}/{}", made.port, place.name()))
    });
    (line.expect("a line"), stand)
}

/// While nothing comes through.
fn line_fails(quality: Quality) {
    let (line, stand) = on_line(&format!("{quality:?}").to_lowercase());
    line.becomes(quality);
    println!("{quality:?}: noticed after {:?}", stand.noticed());
    stand.pass(s(2));
    line.becomes(Quality::Good);
    let outcome = stand.whole(&format!("line: {quality:?}"));
    assert_eq!(outcome.resyncs["broker_lost"], 12, "{quality:?}");
}

#[test]
fn a_line_that_is_cut_is_a_gap() {
    line_fails(Quality::Cut);
}

#[test]
fn a_line_that_is_cut_on_our_side_alone_is_a_gap() {
    line_fails(Quality::Zombie);
}

#[test]
fn a_line_that_swallows_everything_is_noticed_and_a_gap() {
    line_fails(Quality::Blackhole);
}

#[test]
fn a_line_that_is_slow_loses_nothing() {
    let (line, stand) = on_line("late");
    line.becomes(Quality::Late(Duration::from_millis(200)));
    stand.pass(s(5));
    line.becomes(Quality::Good);
    let outcome = stand.whole("line: 200 ms late");
    assert_eq!((outcome.told, outcome.resyncs.len()), (0, 0));
}
