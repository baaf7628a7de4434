//! Faults of whole nodes: one that is drained, one of three that dies, and those under topologies with one queue for all.

use std::time::Duration;

use crate::kit::rabbit::Rabbit;
use crate::kit::s;
use crate::kit::stand::Stand;

#[test]
fn a_node_that_is_drained_is_a_gap_until_it_is_revived() {
    let stand = Stand::on_node("drained", |_, setup| setup);
    stand.place.ctl(&["eval", "rabbit_maintenance:drain()."]);
    stand.noticed();
    stand.pass(s(3));
    stand.place.ctl(&["eval", "rabbit_maintenance:revive()."]);
    let outcome = stand.whole("node drained, revived");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn a_node_of_three_that_dies_is_a_gap_and_the_others_serve() {
    let [ours, other, _third] = Rabbit::cluster::<3>();
    // What is published elsewhere in the cluster than where it is consumed.
    let stand = Stand::on_others(other.url(), "cluster", |_, setup| {
        setup.rabbit(format!("{},{}", ours.url(), other.url()))
    });
    let before = ours.queues().iter().filter(|[name, ..]| name.starts_with("user_cluster_")).count();
    assert_eq!(before, 11);
    ours.kill();
    let outcome = stand.whole("node of three killed");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

fn killed_and_frozen(topology: &str) {
    let mut stand = Stand::on_node(topology, |_, setup| setup.env("BRIDGE_RABBITMQ__TOPOLOGY", topology));
    stand.place.restart(Duration::from_secs(1));
    stand.all_hear_from_now("after the restart");
    stand.place.own().signal("-STOP");
    println!("{topology}: noticed after {:?}", stand.noticed());
    stand.pass(s(2));
    stand.place.own().signal("-CONT");
    let outcome = stand.whole(&format!("{topology}: killed, frozen"));
    assert_eq!(outcome.resyncs["broker_lost"], 24, "twice for each");
}

#[test]
fn a_kill_and_a_freeze_are_gaps_with_one_queue_for_all() {
    killed_and_frozen("per_instance");
}

#[test]
fn a_kill_and_a_freeze_are_gaps_with_a_queue_of_everything() {
    killed_and_frozen("firehose");
}
