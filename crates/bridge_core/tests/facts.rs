//! What the comparator knows beside its units: found without looking through it, and never let go silently.

#[path = "kit/seen.rs"]
mod kit;

use std::time::{Duration, Instant};

use bridge_core::compare::{Cause, Class, Comparator, Fact, Limits, Seen};
use bridge_core::gate::Sockets;
use bridge_core::{MessageId, Millis};
use kit::*;

fn comparator(memory: usize) -> Comparator {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory });
    comparator.observe(up(1));
    comparator
}

/// How long 500 updates take beside so many POSTs of unknown end.
fn beside(posts: u64) -> Duration {
    let mut comparator = comparator(256 << 20);
    for post in 0..posts {
        let sender = user(&format!("s{}", post % 5_000));
        comparator.observe(fact(2, Fact::PostStarted { post, dialog: dialog(), sender }));
        comparator.observe(fact(3, Fact::PostUnknown { post }));
    }
    let started = Instant::now();
    (0..500).for_each(|n| comparator.observe(see(rabbitmq(10, n))));
    let closed = comparator.expire(Millis(10 + WINDOW));
    let took = started.elapsed();
    assert_eq!(closed.len(), 500);
    assert!(closed.iter().all(|closed| closed.cause == Some(Cause::PostedElsewhere)));
    took
}

#[test]
fn twenty_thousand_posts_of_unknown_end_are_not_looked_through() {
    // One beside the other on the same machine, and the best of several: how fast it is does not matter.
    let best = |posts| (0..5).map(|_| beside(posts)).min().unwrap_or_default();
    let (few, many) = (best(1), best(20_000));
    assert!(many < few * 8, "{many:?} beside {few:?}");
}

#[test]
fn posts_that_are_not_answered_have_a_bound_and_push_no_other_fact_out() {
    let mut comparator = comparator(1 << 20);
    comparator.observe(started(2, 1_000_000));
    comparator.observe(accepted(3, 1_000_000, 1));
    comparator.observe(started(2, 1_000_001));
    comparator.observe(accepted(3, 1_000_001, 3));
    let joined = Fact::Room { user: user("u"), dialog: dialog(), joined: true };
    comparator.observe(fact(4, joined));
    // As much of other facts as has its place beside no POSTs.
    (10..2_010).for_each(|n| comparator.observe(accepted(5, 2_000_000 + u64::from(n), n)));
    for post in 0..50_000 {
        comparator.observe(started(4 + post, post));
        assert!(comparator.facts() < 2 << 20, "{}", comparator.facts());
    }
    let at = Millis(50_000);
    comparator.expire(at);
    assert!(comparator.forgotten() > 40_000, "counted");
    // What was accepted is remembered; of what may have been, nothing can be said.
    let outside = |n: u32| Seen { at, joined: Some(Sockets::new()), sender: None, ..rabbitmq(0, n) };
    comparator.observe(see(outside(1)));
    comparator.observe(see(Seen { sender: Some("another".into()), ..outside(2) }));
    // So is when who is in the room now came into it.
    comparator.observe(see(Seen { at, ..rabbitmq(10, 3) }));
    let closed = comparator.expire(at.plus(WINDOW));
    let causes: Vec<_> = closed.iter().map(|closed| closed.cause).collect();
    assert_eq!(causes, [Some(Cause::NotJoined), Some(Cause::Shed), Some(Cause::NotJoined)]);
}

#[test]
fn a_fact_that_was_let_go_early_is_counted_and_makes_no_late_update_neutral() {
    let mut comparator = comparator(64 << 10);
    let many = 50_000_u32;
    for n in 0..many {
        let at = 10 + u64::from(n);
        comparator.observe(started(at, u64::from(n)));
        comparator.observe(accepted(at, u64::from(n), n));
        assert!(comparator.facts() <= 96 << 10, "{}", comparator.facts());
    }
    comparator.expire(Millis(10 + u64::from(many)));
    assert!(comparator.forgotten() > 0, "counted");
    let late = Millis(10 + u64::from(many) + 1_000);
    comparator.observe(see(Seen { at: late, ..rabbitmq(0, 3) }));
    let closed = comparator.expire(late.plus(WINDOW));
    assert_eq!((closed[0].class, closed[0].cause), (Class::Indeterminate, Some(Cause::Shed)));
    // When what was let go would have been forgotten anyway, an update of an unknown message was posted elsewhere.
    let much_later = Millis(10_000_000);
    comparator.expire(much_later);
    comparator.observe(see(Seen { at: much_later, ..rabbitmq(0, 4) }));
    let closed = comparator.expire(much_later.plus(WINDOW));
    assert_eq!(closed[0].cause, Some(Cause::PostedElsewhere));
}

#[test]
fn ids_learnt_from_the_second_copy_go_with_the_unit() {
    let mut comparator = comparator(1 << 20);
    let named = |message: Option<String>, mongo: String| MessageId {
        message: message.map(Into::into),
        mongo: Some(mongo.into()),
    };
    for n in 0..1_000_u32 {
        let at = u64::from(n) * 200;
        let both = named(Some(format!("msg_{n}")), format!("{n:024x}"));
        let bare = named(None, format!("{n:024x}"));
        let updated = Seen { key: bare.key("t").unwrap(), message: Some(bare), ..rabbitmq(at, n) };
        let answered = Seen { key: both.key("t").unwrap(), message: Some(both), ..legacy(at + 1, n) };
        comparator.observe(see(updated));
        comparator.observe(see(answered));
        comparator.expire(Millis(at + 1));
    }
    comparator.expire(Millis(300_000));
    assert_eq!((comparator.bytes(), comparator.names()), (0, 0));
    // Under each of its ids it is known to be over.
    let bare = named(Some("msg_999".into()), "f".repeat(24));
    let again = Seen { key: bare.key("t").unwrap(), message: Some(bare), ..legacy(300_001, 1) };
    comparator.observe(see(again));
    let closed = comparator.expire(Millis(302_000));
    assert_eq!((closed.len(), closed[0].class), (1, Class::Duplicate));
}
