//! What the comparator knows beside its units: found without looking through it, and never let go silently.

#[path = "kit/seen.rs"]
mod kit;

use std::time::{Duration, Instant};

use bridge_core::Millis;
use bridge_core::compare::{Cause, Class, Comparator, Fact, Limits, Seen};
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
fn a_fact_that_was_let_go_early_is_counted_and_makes_no_late_update_neutral() {
    let mut comparator = comparator(64 << 10);
    let many = 50_000_u32;
    for n in 0..many {
        let at = 10 + u64::from(n);
        comparator.observe(started(at, u64::from(n)));
        comparator.observe(accepted(at, u64::from(n), n));
        assert!(comparator.facts() <= 64 << 10, "{}", comparator.facts());
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
