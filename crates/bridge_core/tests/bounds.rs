//! The comparator's bounds: how much it holds, for how long, and what it says of what it let go.

#[path = "kit/seen.rs"]
mod seen;

use bridge_core::compare::{Cause, Class, Comparator, Event, IgnoreRule, Limits, Modifier, Payload, Seen};
use bridge_core::gate::Sockets;
use bridge_core::{DialogId, Millis, SocketId};
use seen::*;

#[test]
fn over_its_memory_it_sheds_and_says_so() {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 64 * 1024 });
    comparator.observe(up(1));
    for n in 0..2_000 {
        comparator.observe(see(legacy(10, n)));
        assert!(comparator.bytes() <= 72 * 1024, "{}", comparator.bytes());
    }
    let shed = comparator.summary().shed;
    assert!(shed > 0);
    let closed = comparator.expire(Millis(100_000));
    assert!(closed.iter().any(|closed| closed.cause == Some(Cause::Shed)));
}

#[test]
fn lists_of_sockets_and_rooms_count_and_go_when_memory_is_short() {
    let memory = 1 << 20;
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory });
    comparator.observe(up(1));
    let crowd: Sockets = (0..2_000).map(SocketId).collect();
    let rooms: Vec<DialogId> = (0..100).map(|n| DialogId::new(&format!("dlg_{n}")).unwrap()).collect();
    for n in 0..500 {
        let (sockets, present) = (crowd.clone(), crowd.clone());
        let heavy = Seen { sockets, present, dialog: None, joined: None, rooms: rooms.clone(), ..rabbitmq(10, n) };
        assert!(heavy.list_bytes() > 32_000);
        comparator.observe(see(heavy));
        comparator.observe(see(legacy(11, n)));
        assert!(comparator.bytes() <= memory + 64 * 1_024, "{}", comparator.bytes());
    }
    assert!(comparator.summary().shed > 0);
    let closed = comparator.expire(Millis(100_000));
    assert!(closed.iter().all(|closed| closed.rabbitmq.as_ref().is_some_and(|side| side.sockets == 2_000)));
    assert_eq!(comparator.bytes(), 0);
}

#[test]
fn a_copy_too_many_is_a_duplicate_after_the_window_too_and_a_redelivery_is_none() {
    let pair = vec![up(1), see(legacy(10, 1)), see(rabbitmq(20, 1))];
    let (mut comparator, closed) = run(pair);
    assert_eq!((closed[0].class, comparator.bytes()), (Class::Match, 0), "of a match nothing is kept");
    let late = Millis(1_000_000);
    comparator.observe(see(Seen { redelivered: true, at: late, ..rabbitmq(0, 1) }));
    assert_eq!(comparator.summary().opened, 1);
    comparator.observe(see(Seen { at: late, ..rabbitmq(0, 1) }));
    let again = comparator.expire(late.plus(WINDOW));
    assert_eq!((again.len(), again[0].class), (1, Class::Duplicate));
    assert!(again[0].modifiers.contains(&Modifier::Late) && again[0].amends.is_none());

    // Posted elsewhere, as it seemed; then its answer comes after all.
    let (mut comparator, closed) = run(vec![up(1), see(rabbitmq(10, 1))]);
    assert_eq!(closed[0].cause, Some(Cause::PostedElsewhere));
    comparator.observe(see(Seen { at: late, ..legacy(0, 1) }));
    assert!(comparator.expire(late.plus(WINDOW)).is_empty());
}

#[test]
fn a_post_whose_end_was_shed_explains_nothing_for_ever() {
    let (mut comparator, _) = run_until(11, vec![up(1), started(5, 1), Event::Shed(Millis(10), 1)]);
    let soon = Millis(10 + WINDOW + 1);
    comparator.observe(see(Seen { at: soon, ..rabbitmq(0, 6) }));
    assert_eq!(
        comparator.expire(soon.plus(WINDOW))[0].cause,
        Some(Cause::PostUnknown),
        "it may have made this one"
    );
    let late = Millis(1_000_000);
    comparator.expire(late);
    comparator.observe(see(Seen { at: late, ..rabbitmq(0, 7) }));
    let closed = comparator.expire(late.plus(WINDOW));
    assert_eq!((closed[0].class, closed[0].cause), (Class::MissingInLegacyExpected, Some(Cause::PostedElsewhere)));
}

#[test]
fn what_is_shed_is_counted_one_by_one() {
    let (comparator, _) = run(vec![up(1), Event::Shed(Millis(10), 3), Event::Shed(Millis(11), 4)]);
    assert_eq!(comparator.summary().shed, 7);
    let mut full = Comparator::new(Limits { window: WINDOW, memory: 64 * 1024 });
    full.observe(up(1));
    for n in 0..2_000 {
        // Other updates hold no copy that could be let go.
        let key = bridge_core::Key::of_numbers(&[u128::from(n) + 1], false);
        full.observe(see(Seen { key, message: None, ..rabbitmq(10, n) }));
    }
    let summary = full.summary();
    assert!(summary.opened < 200, "{}", summary.opened);
    assert_eq!(summary.opened + summary.shed, 2_000, "each was opened or counted as shed");
    assert_eq!(full.units(), (summary.opened, summary.opened));
}

#[test]
fn facts_are_kept_as_long_as_a_late_twin_may_need_them_and_no_longer() {
    let cause = |looked: u64| {
        let (mut comparator, _) = run_until(1, vec![up(1), started(5, 1), accepted(10, 1, 7)]);
        comparator.expire(Millis(looked));
        let absent = Seen { joined: Some(Sockets::new()), ..rabbitmq(looked, 7) };
        comparator.observe(see(absent));
        comparator.expire(Millis(looked + WINDOW))[0].cause
    };
    assert_eq!(cause(61_500), Some(Cause::NotJoined), "it was accepted here");
    assert_eq!(cause(300_000), Some(Cause::NotJoined), "an update may come much later than its twin would");
    assert_eq!(cause(900_000), Some(Cause::PostedElsewhere), "nobody remembers");
}

#[test]
fn a_late_twin_counts_up_to_a_minute_after_the_window() {
    for (after, amends) in [(59_999, true), (60_000, false)] {
        let (mut comparator, _) = run_until(10 + WINDOW, vec![up(1), see(legacy(10, 1))]);
        let at = Millis(10 + WINDOW + after);
        comparator.expire(at);
        assert_eq!(comparator.bytes() > 0, amends, "{after}");
        comparator.observe(see(Seen { at, ..rabbitmq(0, 1) }));
        let amended = comparator.expire(at);
        assert_eq!(
            amended.iter().any(|closed| closed.amends == Some(Class::MissingInRabbitmq)),
            amends,
            "{after}"
        );
    }
}

#[test]
fn an_amendment_takes_back_what_was_counted_and_nothing_else() {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    let pairs = [up(1), see(legacy(9, 2)), see(Seen { redelivered: true, ..rabbitmq(9, 2) }), see(legacy(10, 1))];
    pairs.into_iter().for_each(|event| comparator.observe(event));
    comparator.expire(Millis(10 + WINDOW));
    assert_eq!(comparator.summary().modifiers["redelivered"], 1);
    comparator.observe(see(Seen { redelivered: true, ..rabbitmq(10 + WINDOW + 5, 1) }));
    let summary = comparator.summary();
    assert_eq!((summary.modifiers["redelivered"], summary.modifiers["late"]), (2, 1));
    assert_eq!((summary.classes["match"], summary.classes["missing_in_rabbitmq"]), (2, 0));
}

#[test]
fn what_was_shed_is_not_kept_for_a_twin_that_could_not_help() {
    let (mut comparator, _) = run_until(1, vec![up(1), see(legacy(10, 1)), Event::Shed(Millis(11), 1)]);
    let kept = comparator.expire(Millis(10 + WINDOW));
    assert_eq!(kept[0].cause, Some(Cause::Shed));
    let mut small = Comparator::new(Limits { window: WINDOW, memory: 2 * 1_024 });
    [up(1), see(legacy(10, 1)), see(legacy(10, 2))].into_iter().for_each(|event| small.observe(event));
    small.expire(Millis(10 + WINDOW));
    assert_eq!(small.bytes(), 0);
}

#[test]
fn a_leak_weighs_and_is_counted_like_any_unit() {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    comparator.observe(up(1));
    comparator.observe(Event::Leak(Box::new(rabbitmq(10, 1))));
    comparator.observe(Event::Leak(Box::new(rabbitmq(11, 1))));
    assert!(comparator.bytes() > 2_000);
    let closed = comparator.expire(Millis(10_000));
    assert_eq!(closed.iter().filter(|closed| closed.class == Class::Leak).count(), 2, "each a unit of its own");
    assert_ne!(closed[0].id, closed[1].id);
    assert_eq!(comparator.bytes(), 0);
}

#[test]
fn a_difference_that_somebody_answers_for_is_named_and_no_mismatch_until_it_expires() {
    let rule = |until| IgnoreRule { name: "ticket_7".into(), path: "/content".into(), until: Millis(until) };
    let altered = || Payload::Update(update("u", 1, "altered", "message.create"));
    let judged = |until: u64| {
        let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
        comparator.set_ignore(vec![rule(until)]);
        for event in [up(1), see(legacy(10, 1)), see(Seen { payload: altered(), ..rabbitmq(20, 1) })] {
            comparator.observe(event);
        }
        let closed = comparator.expire(Millis(10_000)).remove(0);
        (closed.class, closed.rules.contains(&"ticket_7".to_owned()))
    };
    assert_eq!(judged(20), (Class::Match, true));
    assert_eq!(judged(19), (Class::PayloadMismatch, false));
}

#[test]
fn names_are_those_of_the_records_and_only_six_classes_are_bad() {
    let written = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    for class in Class::ALL {
        assert_eq!(written(serde_json::to_value(class).unwrap()), class.name());
    }
    for modifier in [
        Modifier::Late,
        Modifier::Reordered,
        Modifier::Redelivered,
        Modifier::Flushed,
        Modifier::Rescued,
        Modifier::Drill,
        Modifier::InFlip,
        Modifier::InChurn,
    ] {
        assert_eq!(written(serde_json::to_value(modifier).unwrap()), modifier.name());
    }
    let bad: Vec<&str> = Class::ALL.iter().filter(|class| class.is_bad()).map(|class| class.name()).collect();
    let due = [
        "payload_mismatch",
        "missing_in_rabbitmq",
        "missing_in_legacy_unexpected",
        "duplicate",
        "audience_mismatch",
        "leak",
    ];
    assert_eq!(bad.len(), due.len(), "{bad:?}");
    assert!(due.iter().all(|name| bad.contains(name)), "{bad:?}");
}

#[test]
fn two_users_without_an_update_are_no_partial_fanout() {
    let other = Seen { user: user("v"), ..legacy(11, 1) };
    let (_, closed) = run(vec![up(1), see(legacy(10, 1)), see(other)]);
    assert!(closed.iter().all(|closed| closed.cause == Some(Cause::NoUpdate)), "{closed:?}");
    assert_eq!(closed.len(), 2);
}
