//! What the gate promises, one promise a test.

use bridge_core::gate::{Arrival, Emission, Gate, Limits, Sockets, Why};
use bridge_core::{Key, Millis, Path, SocketId, Stage};

const A: SocketId = SocketId(1);
const B: SocketId = SocketId(2);

fn limits() -> Limits {
    Limits { window: 100, dwell: 100, after_twin: 300, remember: 1_000, ..Limits::default() }
}

fn arrival(path: Path, ids: &[u128], sockets: &[SocketId]) -> Arrival<&'static str> {
    let key = Key::of_numbers(ids, true);
    Arrival { path, key, sockets: Sockets::from_slice(sockets), since: Millis(0), payload: "copy", bytes: 100 }
}

fn sockets(list: &[SocketId]) -> Sockets {
    Sockets::from_slice(list)
}

fn keys(owed: &[Emission<&str>]) -> Vec<u128> {
    owed.iter().map(|emission| emission.key.first()).collect()
}

#[test]
fn a_message_is_known_under_either_of_its_ids() {
    let mut gate = Gate::new(limits(), Stage::Shadow);
    // The answer has messageId (1) and _id (2), the update of 2025-11-05 only the _id.
    assert_eq!(gate.arrive(Millis(1), &arrival(Path::Legacy, &[1, 2], &[A])).emit, sockets(&[A]));
    gate.flip(Millis(2), Stage::Live);
    let late = gate.arrive(Millis(3), &arrival(Path::Rabbitmq, &[2], &[A, B]));
    assert_eq!(late.emit, sockets(&[B]), "only the tab that had not joined");
    assert!(late.already);
}

#[test]
fn two_names_that_turn_out_to_be_one_message_become_one_entry() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.arrive(Millis(1), &arrival(Path::Rabbitmq, &[1], &[A]));
    gate.arrive(Millis(1), &arrival(Path::Rabbitmq, &[2], &[B]));
    let both = gate.arrive(Millis(2), &arrival(Path::Rabbitmq, &[1, 2], &[A, B]));
    assert!(both.emit.is_empty() && both.already);
    for id in [1, 2] {
        let one = gate.arrive(Millis(3), &arrival(Path::Rabbitmq, &[id], &[A, B]));
        assert!(one.emit.is_empty(), "{id}: whoever has it under one name has it under both");
    }
}

#[test]
fn a_flip_flushes_in_source_order_and_only_what_was_not_delivered() {
    let mut gate = Gate::new(limits(), Stage::Live);
    for id in [3, 1, 2] {
        assert!(gate.arrive(Millis(1), &arrival(Path::Legacy, &[id], &[A])).held);
    }
    gate.arrive(Millis(2), &arrival(Path::Rabbitmq, &[1], &[A]));
    let owed = gate.flip(Millis(3), Stage::Legacy);
    assert_eq!(keys(&owed), [3, 2]);
    assert!(owed.iter().all(|emission| emission.why == Why::Flushed && emission.path == Path::Legacy));
    assert!(gate.arrive(Millis(4), &arrival(Path::Rabbitmq, &[3], &[A])).emit.is_empty(), "flushed, so not again");
}

#[test]
fn in_live_what_does_not_come_is_rescued_when_the_window_closes_and_not_before() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.arrive(Millis(10), &arrival(Path::Legacy, &[1], &[A]));
    assert!(gate.tick(Millis(109), |_| true).is_empty());
    let owed = gate.tick(Millis(110), |_| true);
    assert_eq!((keys(&owed), owed[0].why), (vec![1], Why::Rescued));
    assert!(gate.arrive(Millis(111), &arrival(Path::Rabbitmq, &[1], &[A])).emit.is_empty());
}

#[test]
fn in_complete_nothing_is_rescued_but_a_way_back_within_the_window_loses_nothing() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.flip(Millis(1), Stage::Complete);
    let posted = |id| Arrival { since: Millis(2), ..arrival(Path::Legacy, &[id], &[A]) };
    gate.arrive(Millis(3), &posted(1));
    assert!(gate.tick(Millis(103), |_| true).is_empty());
    gate.arrive(Millis(104), &posted(2));
    assert_eq!(keys(&gate.flip(Millis(105), Stage::Legacy)), [2]);
}

#[test]
fn updates_other_than_creations_are_never_held() {
    let mut gate = Gate::new(limits(), Stage::Shadow);
    let other = Arrival { key: Key::of_numbers(&[9], false), ..arrival(Path::Rabbitmq, &[9], &[A]) };
    let decision = gate.arrive(Millis(1), &other);
    assert!(decision.emit.is_empty() && !decision.held);
    assert!(gate.flip(Millis(2), Stage::Live).is_empty());
    assert_eq!(gate.arrive(Millis(3), &other).emit, sockets(&[A]));
    assert!(gate.arrive(Millis(4), &other).emit.is_empty(), "a second copy is dropped");
}

#[test]
fn after_a_flip_back_the_first_arrival_wins_for_one_window() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.flip(Millis(0), Stage::Legacy);
    assert_eq!(gate.draining(Millis(99)), Some(Millis(100)));
    assert_eq!(gate.arrive(Millis(99), &arrival(Path::Rabbitmq, &[1], &[A])).emit, sockets(&[A]));
    assert!(gate.arrive(Millis(99), &arrival(Path::Legacy, &[1], &[A])).emit.is_empty());
    assert!(gate.arrive(Millis(100), &arrival(Path::Rabbitmq, &[2], &[A])).emit.is_empty(), "the window is over");
}

#[test]
fn a_key_is_remembered_for_a_while_after_its_twin_and_much_longer_without_one_in_every_stage() {
    for stage in Stage::ALL {
        let (path, twin) = (stage.authority(), stage.authority().other());
        let mut gate = Gate::new(limits(), stage);
        gate.arrive(Millis(0), &arrival(path, &[1], &[A]));
        gate.arrive(Millis(0), &arrival(path, &[2], &[A]));
        gate.arrive(Millis(400), &arrival(twin, &[1], &[A]));
        gate.tick(Millis(699), |_| true);
        assert_eq!(gate.load().ledger_keys, 2, "{stage}");
        gate.tick(Millis(700), |_| true);
        assert_eq!(gate.load().ledger_keys, 1, "{stage}: its twin has come");
        gate.tick(Millis(999), |_| true);
        assert_eq!(gate.load().ledger_keys, 1, "{stage}");
        assert!(gate.arrive(Millis(999), &arrival(path, &[2], &[A])).emit.is_empty(), "{stage}");
        gate.tick(Millis(1_000), |_| true);
        assert_eq!(gate.load().ledger_keys, 0, "{stage}");
        assert!(gate.is_idle(), "{stage}");
    }
}

#[test]
fn an_update_that_comes_minutes_after_the_message_was_delivered_by_legacy_is_no_second_one() {
    let mut gate = Gate::new(Limits::default(), Stage::Legacy);
    for id in 0..5 {
        gate.arrive(Millis(1_000 * id), &arrival(Path::Legacy, &[u128::from(id)], &[A]));
    }
    for at in (10_000..300_000).step_by(5_000) {
        gate.tick(Millis(at), |_| true);
    }
    gate.flip(Millis(300_000), Stage::Shadow);
    gate.flip(Millis(301_000), Stage::Live);
    for id in 0..5 {
        let late = gate.arrive(Millis(302_000), &arrival(Path::Rabbitmq, &[id], &[A]));
        assert!(late.emit.is_empty() && late.already, "{id}");
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut gate = Gate::new(Limits { ledger_keys: 2, ring_copies: 2, ..limits() }, Stage::Live);
    for id in 0..5 {
        gate.arrive(Millis(1), &arrival(Path::Rabbitmq, &[id], &[A]));
        gate.arrive(Millis(1), &arrival(Path::Legacy, &[100 + id], &[A]));
    }
    let load = gate.load();
    assert_eq!((load.ledger_keys, load.ring_copies, load.ledger_overflow, load.ring_overflow), (2, 2, 3, 3));
}

#[test]
fn the_ring_is_bounded_in_bytes_and_knows_what_it_holds() {
    let mut gate = Gate::new(Limits { ring_bytes: 250, ..limits() }, Stage::Live);
    let legacy = |id| arrival(Path::Legacy, &[id], &[A]);
    (0..3).for_each(|id| drop(gate.arrive(Millis(1), &legacy(id))));
    assert_eq!((gate.load().ring_copies, gate.load().ring_bytes, gate.load().ring_overflow), (2, 200, 1));
    gate.arrive(Millis(2), &arrival(Path::Rabbitmq, &[1], &[A]));
    assert_eq!(gate.load().ring_bytes, 100, "its twin was delivered");
    gate.arrive(Millis(3), &Arrival { bytes: 1_000, ..legacy(9) });
    assert_eq!((gate.load().ring_copies, gate.load().ring_bytes), (1, 1_000), "one copy, however large");
    assert_eq!(keys(&gate.tick(Millis(200), |_| true)), [9]);
    assert_eq!(gate.load().ring_bytes, 0);
    gate.arrive(Millis(201), &legacy(10));
    gate.forget(A);
    assert_eq!(gate.load().ring_bytes, 0);
    gate.arrive(Millis(202), &legacy(11));
    assert_eq!(keys(&gate.flip(Millis(203), Stage::Legacy)), [11]);
    assert_eq!(gate.load().ring_bytes, 0);
}

#[test]
fn who_goes_on_as_another_socket_gets_nothing_twice_and_is_owed_what_it_was() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.arrive(Millis(1), &arrival(Path::Rabbitmq, &[1], &[A]));
    gate.arrive(Millis(2), &arrival(Path::Legacy, &[2], &[A]));
    gate.inherit(A, B);
    assert!(gate.arrive(Millis(3), &arrival(Path::Rabbitmq, &[1], &[B])).emit.is_empty(), "A had it");
    let owed = gate.flip(Millis(4), Stage::Legacy);
    assert_eq!((keys(&owed), &owed[0].sockets), (vec![2], &sockets(&[B])));
}

#[test]
fn a_socket_that_is_gone_is_forgotten() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.arrive(Millis(1), &arrival(Path::Legacy, &[1], &[A]));
    gate.forget(A);
    assert!(gate.tick(Millis(500), |_| true).is_empty());
    assert!(gate.flip(Millis(500), Stage::Shadow).is_empty());
}

#[test]
fn whom_a_rescue_does_not_reach_gets_the_update_when_it_comes_after_all() {
    let mut gate = Gate::new(limits(), Stage::Live);
    gate.arrive(Millis(10), &arrival(Path::Legacy, &[1], &[A, B]));
    let owed = gate.tick(Millis(110), |socket| socket == A);
    assert_eq!((owed.len(), &owed[0].sockets), (1, &sockets(&[A])));
    let late = gate.arrive(Millis(200), &arrival(Path::Rabbitmq, &[1], &[A, B]));
    assert_eq!(late.emit, sockets(&[B]), "it wanted none when it was rescued, and has had none");
}
