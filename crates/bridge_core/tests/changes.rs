//! Changes of stages and queues under traffic: a message that both paths carried without a fault never closes in a bad
//! class, wherever the change falls; and a message that began after the change is judged as strictly as ever.

#[path = "kit/seen.rs"]
mod kit;

use bridge_core::compare::{Cause, Class, Closed, Comparator, Event, Fact, Limits, Seen};
use bridge_core::{Millis, Path, Stage};
use kit::user;
use proptest::prelude::*;

const WINDOW: u64 = 100;

fn seen(at: u64, path: Path, stage: Stage) -> Seen {
    Seen { stage, ..kit::seen(at, path, "u", 1) }
}

/// What happens to one message at which moment.
#[derive(Clone, Debug, Default)]
struct Story {
    posted: u64,
    answered: u64,
    updated: u64,
    /// Changes of the stage, in order of time.
    stages: Vec<(u64, Stage)>,
    /// The broker session is lost at the first moment, and there again, with new queues, at the second.
    outage: Option<(u64, u64)>,
    /// The update is lost though nothing else is wrong.
    lost: bool,
}

impl Story {
    fn stage_at(&self, at: u64) -> Stage {
        self.stages.iter().take_while(|(since, _)| *since <= at).last().map_or(Stage::Legacy, |(_, stage)| *stage)
    }

    fn events(&self) -> Vec<(u64, Event)> {
        let fact = |at: u64, fact: Fact| (at, Event::Fact(Millis(at), fact));
        let data = seen(0, Path::Legacy, Stage::Legacy);
        let (dialog, sender) = (data.dialog.clone().unwrap(), user("s"));
        let mut events = vec![
            fact(0, Fact::Session { up: true }),
            fact(self.posted, Fact::PostStarted { post: 1, dialog, sender }),
        ];
        let mut from = Stage::Legacy;
        for (at, to) in &self.stages {
            events.push(fact(*at, Fact::StageChanged { user: user("u"), from, to: *to }));
            from = *to;
        }
        let deaf = self.outage.is_some_and(|(lost, again)| (lost..again).contains(&self.updated));
        if let Some((lost, again)) = self.outage {
            events.push(fact(lost, Fact::Session { up: false }));
            events.push(fact(again, Fact::Session { up: true }));
            events.push(fact(again, Fact::QueueRenewed { user: user("u") }));
        }
        let mut copy = |at: u64, path: Path| {
            let stage = self.stage_at(at);
            if stage.shadow_mode() {
                let up = !self.outage.is_some_and(|(lost, again)| (lost..again).contains(&at));
                let seen = Seen { broker_up: up, queue_ready: up, ..seen(at, path, stage) };
                events.push((at, Event::Seen(Box::new(seen))));
            }
        };
        copy(self.answered, Path::Legacy);
        if !deaf && !self.lost {
            copy(self.updated, Path::Rabbitmq);
        }
        events.push(fact(self.answered, Fact::PostAccepted { post: 1, key: data.key, dialog_mongo: None }));
        events.sort_by_key(|(at, _)| *at);
        events
    }

    /// How it closes, while the comparator looks all the time.
    fn told(&self) -> Vec<Closed> {
        let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
        let mut closed = Vec::new();
        for (at, event) in self.events() {
            closed.extend(comparator.expire(Millis(at)));
            comparator.observe(event);
        }
        closed.extend(comparator.expire(Millis(100_000)));
        closed
    }
}

/// Both one path's beginnings and ends, and a detour.
fn changes() -> Vec<[Stage; 2]> {
    let all = [Stage::Legacy, Stage::Shadow, Stage::Live, Stage::Complete];
    all.iter().flat_map(|from| all.map(|to| [*from, to])).filter(|[from, to]| from != to).collect()
}

#[test]
fn no_change_of_stage_makes_a_bad_class_of_a_message_without_a_fault() {
    let moments = [10, 20, 30, 40, 50, 60];
    let mut told = 0;
    for [first, second] in changes() {
        for posted in moments {
            for answered in moments.iter().copied().filter(|at| *at > posted) {
                for updated in moments.iter().copied().filter(|at| *at > posted) {
                    for changed in (5..70).step_by(10) {
                        let stages = vec![(1, first), (changed, second)];
                        let story = Story { posted, answered, updated, stages, ..Story::default() };
                        for closed in story.told() {
                            assert!(!closed.class.is_bad(), "{story:?}: {:?}/{:?}", closed.class, closed.cause);
                            told += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(told > 1_000, "{told}");
}

#[test]
fn a_slow_post_around_a_change_is_no_fault_however_slow() {
    // Longer than the window: in `complete` the update was not compared, in `live` the answer is.
    let stages = || vec![(1, Stage::Complete), (50, Stage::Live)];
    let slow = Story { posted: 10, updated: 12, answered: 900, stages: stages(), ..Story::default() };
    let told = slow.told();
    assert_eq!((told.len(), told[0].class, told[0].cause), (1, Class::Indeterminate, Some(Cause::StageChanged)));
}

#[test]
fn what_began_after_the_change_is_judged_as_ever() {
    let stages = vec![(1, Stage::Shadow)];
    let told =
        Story { posted: 10, answered: 20, updated: 15, stages: stages.clone(), lost: true, outage: None }.told();
    assert_eq!((told[0].class, told[0].cause), (Class::MissingInRabbitmq, Some(Cause::NoUpdate)));
    let outage = Some((2, 9));
    let told = Story { posted: 10, answered: 20, updated: 15, stages: stages.clone(), lost: true, outage }.told();
    assert_eq!(
        (told[0].class, told[0].cause),
        (Class::MissingInRabbitmq, Some(Cause::NoUpdate)),
        "after an outage"
    );
    let told = Story { posted: 10, answered: 20, updated: 15, stages, lost: false, outage }.told();
    assert_eq!(told[0].class, Class::Match);
    // Both copies were seen after the path began, though its POST is older: equal is equal.
    let told =
        Story { posted: 10, answered: 30, updated: 40, stages: vec![(20, Stage::Shadow)], ..Story::default() }
            .told();
    assert_eq!(told[0].class, Class::Match);
}

#[test]
fn an_update_that_came_before_its_queue_was_made_anew_is_no_fault() {
    // Published while the session was away; the answer comes when all is well again.
    let stages = vec![(1, Stage::Shadow)];
    let story = Story { posted: 10, updated: 20, answered: 40, outage: Some((15, 30)), stages, lost: false };
    let told = story.told();
    assert_eq!((told[0].class, told[0].cause), (Class::Indeterminate, Some(Cause::Reconnected)));
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::Legacy), Just(Stage::Shadow), Just(Stage::Live), Just(Stage::Complete)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn many_changes_make_no_bad_class_either(
        posted in 10..60_u64, answer in 1..90_u64, update in 1..90_u64,
        changes in proptest::collection::btree_map(2..200_u64, stage(), 0..5),
        // Over before the first window closes: what is still away then was not made anew.
        outage in proptest::option::of((5..60_u64, 1..40_u64)),
    ) {
        let stages = changes.into_iter().collect();
        let outage = outage.map(|(lost, length)| (lost, lost + length));
        let (answered, updated) = (posted + answer, posted + update);
        let story = Story { posted, answered, updated, stages, outage, lost: false };
        for closed in story.told() {
            // A broker that is down when legacy reaches the user is a fault of the path, and counts.
            let down = [Some(Cause::BrokerDown), Some(Cause::QueueNotReady)].contains(&closed.cause);
            prop_assert!(!closed.class.is_bad() || down, "{:?}: {:?}/{:?}", story, closed.class, closed.cause);
        }
    }
}
