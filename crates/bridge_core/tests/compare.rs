//! The comparator: each class and cause once, their order of precedence, and sums that add up whatever happens.

#[path = "kit/seen.rs"]
mod seen;

use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Comparator, Event, Fact, Limits, Modifier, Payload, Seen};
use bridge_core::gate::Sockets;
use bridge_core::update::Update;
use bridge_core::{DialogId, Key, MessageId, Millis, Path, Stage};
use proptest::prelude::*;
use seen::*;
use serde_json::json;
use serde_json::value::RawValue;

#[test]
fn both_equal_is_a_match_in_either_order() {
    assert_eq!(verdict(vec![see(legacy(10, 1)), see(rabbitmq(20, 1))]), (Class::Match, None));
    assert_eq!(verdict(vec![see(rabbitmq(10, 1)), see(legacy(20, 1))]), (Class::Match, None));
    let (_, closed) = run(vec![up(1), see(legacy(10, 1)), see(rabbitmq(20, 1))]);
    assert_eq!(closed[0].rules, ["empty_dropped"], "the only thing that had to be smoothed");
}

#[test]
fn missing_in_rabbitmq_has_its_causes_in_order() {
    let missing = |cause| (Class::MissingInRabbitmq, Some(cause));
    let down = Seen { broker_up: false, queue_ready: false, ..legacy(10, 1) };
    assert_eq!(verdict(vec![see(down)]), missing(Cause::BrokerDown));
    let rejected = fact(15, Fact::Rejected { user: None, entity: Some("msg_1".into()) });
    let not_ready = Seen { queue_ready: false, ..legacy(10, 1) };
    assert_eq!(verdict(vec![see(not_ready), rejected.clone()]), missing(Cause::QueueNotReady));
    let (_, closed) = run(vec![up(1), see(legacy(10, 1)), rejected, see(seen(20, Path::Rabbitmq, "v", 1))]);
    let of_u = closed.iter().find(|closed| &*closed.user == "u").unwrap();
    assert_eq!((of_u.class, of_u.cause), missing(Cause::Dropped));
    let (_, closed) = run(vec![up(1), see(legacy(10, 1)), see(seen(20, Path::Rabbitmq, "v", 1))]);
    let of_u = closed.iter().find(|closed| &*closed.user == "u").unwrap();
    assert_eq!((of_u.class, of_u.cause), missing(Cause::PartialFanout));
    assert_eq!(verdict(vec![see(legacy(10, 1))]), missing(Cause::NoUpdate));
}

#[test]
fn a_recorded_fact_makes_a_missing_update_expected() {
    let expected = |cause| (Class::MissingInRabbitmqExpected, Some(cause));
    let outsider = Seen { member: Some(false), subscribed: Sockets::new(), ..legacy(10, 1) };
    assert_eq!(verdict(vec![see(outsider)]), expected(Cause::NotMember));
    let deaf = Seen { subscribed: Sockets::new(), broker_up: false, ..legacy(10, 1) };
    assert_eq!(verdict(vec![see(deaf)]), expected(Cause::NotSubscribed));
    // It unsubscribed between the two copies, and the update came all the same.
    let unwanted = |to: &str| fact(20, Fact::Unwanted { user: user(to), key: legacy(10, 1).key });
    assert_eq!(verdict(vec![see(legacy(10, 1)), unwanted("u")]), expected(Cause::NotSubscribed));
    let of_another = verdict(vec![see(legacy(10, 1)), unwanted("v")]);
    assert_eq!(of_another, (Class::MissingInRabbitmq, Some(Cause::NoUpdate)));
}

#[test]
fn missing_in_legacy_has_to_be_proved() {
    let expected = |cause| (Class::MissingInLegacyExpected, Some(cause));
    let unexpected = (Class::MissingInLegacyUnexpected, None);
    let typing = update("u", 1, "", "dialog.typing");
    let other =
        Seen { key: typing.key.clone(), message: None, payload: Payload::Update(typing), ..rabbitmq(10, 1) };
    assert_eq!(verdict(vec![see(other)]), expected(Cause::EventNotInLegacy));
    let outside = || Seen { joined: Some(Sockets::new()), ..rabbitmq(10, 1) };
    assert_eq!(verdict(vec![see(outside())]), expected(Cause::PostedElsewhere));
    assert_eq!(verdict(vec![started(5, 1), see(outside()), accepted(20, 1, 1)]), expected(Cause::NotJoined));
    assert_eq!(verdict(vec![started(5, 1), see(rabbitmq(10, 1)), accepted(20, 1, 1)]), unexpected);
    let unknown = fact(20, Fact::PostUnknown { post: 1 });
    let indeterminate = (Class::Indeterminate, Some(Cause::PostUnknown));
    assert_eq!(verdict(vec![started(5, 1), see(rabbitmq(10, 1)), unknown]), indeterminate);
}

#[test]
fn a_mongo_dialog_id_that_is_mapped_later_proves_by_what_was_recorded() {
    let body = json!({"tenantId": "t", "userId": "u", "entityId": "6b042c4658408bbf7fd910a7", "eventId": "e",
        "eventType": "message.create", "data": {"_id": "6b042c4658408bbf7fd910a7",
            "dialogId": "6b042c4058408bbf7fd91056", "senderId": "sender"}});
    let update = Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap());
    let of = |rooms: Vec<DialogId>| Seen {
        key: update.key.clone(),
        dialog: None,
        joined: None,
        rooms,
        payload: Payload::Update(Arc::clone(&update)),
        ..rabbitmq(10, 1)
    };
    let mapped = || {
        let mongo = Some("6b042c4058408bbf7fd91056".into());
        fact(20, Fact::PostAccepted { post: 1, key: update.key.clone(), dialog_mongo: mongo })
    };
    let expected = (Class::MissingInLegacyExpected, Some(Cause::NotJoined));
    assert_eq!(verdict(vec![started(5, 1), see(of(vec![])), mapped()]), expected);
    let joined = vec![started(5, 1), see(of(vec![dialog()])), mapped()];
    assert_eq!(verdict(joined), (Class::MissingInLegacyUnexpected, None));
}

#[test]
fn duplicates_mismatches_and_audiences_are_found() {
    let twice =
        |redelivered| vec![see(legacy(10, 1)), see(rabbitmq(20, 1)), see(Seen { redelivered, ..rabbitmq(30, 1) })];
    assert_eq!(verdict(twice(false)), (Class::Duplicate, None));
    assert_eq!(verdict(twice(true)), (Class::Match, None), "flagged redelivered");
    let altered = Payload::Update(update("u", 1, "altered", "message.create"));
    let differs = Seen { payload: altered.clone(), ..rabbitmq(20, 1) };
    assert_eq!(verdict(vec![see(legacy(10, 1)), see(differs)]), (Class::PayloadMismatch, None));
    let both = Sockets::from_slice(&[A, B]);
    let two = || Seen { sockets: both.clone(), present: both.clone(), subscribed: both.clone(), ..legacy(10, 1) };
    let one = || Seen { present: both.clone(), subscribed: both.clone(), ..rabbitmq(20, 1) };
    assert_eq!(verdict(vec![see(two()), see(one())]), (Class::AudienceMismatch, None));
    let worse = Seen { payload: altered, ..one() };
    assert_eq!(verdict(vec![see(two()), see(worse)]), (Class::PayloadMismatch, None), "payload before audience");
    let deaf = Seen { subscribed: Sockets::from_slice(&[A]), ..one() };
    assert_eq!(verdict(vec![see(two()), see(deaf)]), (Class::Match, None), "a tab that is not subscribed");
    let gone = Seen { present: Sockets::from_slice(&[A]), ..one() };
    assert_eq!(verdict(vec![see(two()), see(gone)]), (Class::Match, None), "a tab that left");
    let wider = Seen { sockets: both.clone(), present: both.clone(), subscribed: both.clone(), ..rabbitmq(20, 1) };
    let tab = Seen { present: both.clone(), subscribed: both.clone(), ..legacy(10, 1) };
    let (_, closed) = run(vec![up(1), see(tab), see(wider)]);
    assert_eq!((closed[0].class, closed[0].rules.contains(&"tab_not_joined".to_owned())), (Class::Match, true));
}

#[test]
fn a_side_that_is_nested_too_deep_to_be_read_equals_nothing() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let ours = |depth: usize, content: &str| {
        let data = format!(
            r#"{{"messageId":"msg_1","dialogId":"dlg_1","senderId":"sender","type":"internal.text","content":"{content}","meta":{{"deep":{}}}}}"#,
            deep(depth)
        );
        Seen { payload: Payload::Legacy(RawValue::from_string(data).unwrap().into()), ..legacy(10, 1) }
    };
    let theirs = |depth: usize| {
        let body = format!(
            r#"{{"tenantId":"t","userId":"u","entityId":"msg_1","eventId":"e","eventType":"message.create","data":{{"message":{{"messageId":"msg_1","dialogId":"dlg_1","senderId":"sender","type":"internal.text","content":"hello","meta":{{"deep":{}}}}}}}}}"#,
            deep(depth)
        );
        Seen { payload: Payload::Update(Update::read(body.as_bytes(), 0).unwrap().into()), ..rabbitmq(20, 1) }
    };
    let told = |ours: Seen, theirs: Seen| {
        let (_, mut closed) = run(vec![up(1), see(ours), see(theirs)]);
        let closed = closed.remove(0);
        (closed.class, closed.diff.into_iter().map(|difference| difference.path).collect::<Vec<_>>())
    };
    let mismatch = |path: &str| (Class::PayloadMismatch, vec![path.to_owned()]);
    assert_eq!(told(ours(100, "hello"), theirs(100)), (Class::Match, vec![]));
    assert_eq!(told(ours(100, "altered"), theirs(100)), mismatch("/content"));
    for (one, other) in [(140, 140), (140, 1), (1, 140)] {
        assert_eq!(told(ours(one, "altered"), theirs(other)), mismatch(""), "{one} and {other}");
    }
}

#[test]
fn what_could_not_be_seen_is_indeterminate_and_goes_before_mismatch_but_after_duplicate() {
    let pair = || vec![see(legacy(10, 1)), see(rabbitmq(20, 1))];
    let with = |event: Event| verdict(pair().into_iter().chain([event]).collect());
    let indeterminate = |cause| (Class::Indeterminate, Some(cause));
    let (_, closed) = run(pair());
    assert_eq!((closed[0].class, closed[0].cause), indeterminate(Cause::Startup), "before the first session");
    assert_eq!(with(Event::Shed(Millis(30), 1)), indeterminate(Cause::Shed));
    assert_eq!(with(up(30)), indeterminate(Cause::Reconnected));
    assert_eq!(with(fact(30, Fact::QueueRenewed { user: user("u") })), indeterminate(Cause::Reconnected));
    assert_eq!(with(fact(30, Fact::QueueRenewed { user: user("v") })), (Class::Match, None));
    let change = |from, to| fact(30, Fact::StageChanged { user: user("u"), from, to });
    assert_eq!(with(change(Stage::Live, Stage::Complete)), (Class::Match, None), "both sides were seen");
    let alone = |from, to| verdict(vec![see(legacy(10, 1)), change(from, to)]);
    assert_eq!(alone(Stage::Live, Stage::Complete), indeterminate(Cause::StageChanged));
    let missing = (Class::MissingInRabbitmq, Some(Cause::NoUpdate));
    assert_eq!(alone(Stage::Shadow, Stage::Live), missing, "only the authority changed");
    let mut twice = pair();
    twice.extend([see(rabbitmq(25, 1)), up(30)]);
    assert_eq!(verdict(twice), (Class::Duplicate, None));
}

#[test]
fn a_leak_opens_a_unit_of_its_own_and_changes_no_other() {
    let leak = Event::Leak(Box::new(rabbitmq(15, 1)));
    let (comparator, closed) = run(vec![up(1), see(legacy(10, 1)), leak, see(rabbitmq(20, 1))]);
    let classes: Vec<Class> = closed.iter().map(|closed| closed.class).collect();
    assert_eq!(classes, [Class::Match, Class::Leak]);
    assert_eq!(comparator.summary().opened, 2);
}

#[test]
fn an_amendment_has_the_id_of_what_it_amends_also_where_it_brings_another_name() {
    let key = |ids: &[u128]| Key::of_numbers(ids, true);
    let events = vec![
        up(1),
        started(5, 1),
        see(Seen { key: key(&[2]), ..rabbitmq(10, 1) }),
        fact(20, Fact::PostUnknown { post: 1 }),
    ];
    let (mut comparator, first) = run_until(1_200, events);
    assert_eq!(first[0].cause, Some(Cause::PostUnknown));
    comparator.observe(see(Seen { key: key(&[1, 2]), ..legacy(1_300, 1) }));
    let amended = comparator.expire(Millis(1_500));
    assert_eq!((amended[0].id, amended[0].amends), (first[0].id, Some(Class::Indeterminate)));
}

#[test]
fn a_unit_closes_at_the_end_of_its_window_and_a_late_twin_amends_it() {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    [up(1), see(legacy(10, 1)), see(rabbitmq(20, 2)), see(legacy(20, 2))]
        .into_iter()
        .for_each(|e| comparator.observe(e));
    assert!(comparator.expire(Millis(1_009)).is_empty());
    let first = comparator.expire(Millis(1_010));
    assert_eq!((first.len(), first[0].class), (1, Class::MissingInRabbitmq));
    comparator.observe(see(rabbitmq(1_500, 1)));
    let amended = comparator.expire(Millis(1_500));
    let late = amended.iter().find(|closed| closed.amends.is_some()).unwrap();
    assert_eq!((late.id, late.class, late.amends), (first[0].id, Class::Match, Some(Class::MissingInRabbitmq)));
    assert!(late.modifiers.contains(&Modifier::Late));
    let summary = comparator.summary();
    assert_eq!((summary.classes["match"], summary.classes["missing_in_rabbitmq"], summary.closed), (2, 0, 2));
}

#[test]
fn a_copy_that_comes_after_everybody_stopped_waiting_is_no_message_of_others() {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    [up(1), started(5, 1), accepted(8, 1, 1), see(legacy(10, 1))].into_iter().for_each(|e| comparator.observe(e));
    let mut closed: Vec<_> = (1..=70).flat_map(|second| comparator.expire(Millis(second * 1_000))).collect();
    comparator.observe(see(rabbitmq(70_000, 1)));
    let outside = seen(70_001, Path::Rabbitmq, "outside", 1);
    comparator.observe(see(Seen { joined: Some(Sockets::new()), ..outside }));
    closed.extend(comparator.expire(Millis(90_000)));
    let kinds: Vec<_> = closed.iter().map(|closed| (closed.user.as_ref(), closed.class, closed.cause)).collect();
    // Nor is a copy too many.
    comparator.observe(see(rabbitmq(300_000, 1)));
    assert_eq!(comparator.expire(Millis(310_000))[0].class, Class::Duplicate);
    let missing = ("u", Class::MissingInRabbitmq, Some(Cause::NoUpdate));
    assert_eq!(kinds, [missing, ("outside", Class::MissingInLegacyExpected, Some(Cause::NotJoined))]);
}

#[test]
fn another_order_of_the_same_dialog_is_noted() {
    let (_, closed) =
        run(vec![up(1), see(legacy(10, 1)), see(legacy(11, 2)), see(rabbitmq(20, 2)), see(rabbitmq(21, 1))]);
    let reordered = closed.iter().filter(|closed| closed.modifiers.contains(&Modifier::Reordered)).count();
    assert_eq!((closed.len(), reordered), (2, 1));
    assert!(closed.iter().all(|closed| closed.class == Class::Match));
}

#[test]
fn the_same_order_and_another_dialogs_order_are_not_noted() {
    let other = |mut seen: Seen| {
        seen.dialog = Some(DialogId::new("dlg_2").unwrap());
        see(seen)
    };
    let in_order = [see(legacy(10, 1)), see(legacy(11, 2)), see(rabbitmq(20, 1)), see(rabbitmq(21, 2))];
    // Before the first of the other dialog came on one path, after it on the other.
    let across = [other(legacy(9, 3)), other(rabbitmq(22, 3))];
    let (_, closed) = run(std::iter::once(up(1)).chain(in_order).chain(across).collect());
    assert_eq!(closed.len(), 3);
    assert!(closed.iter().all(|closed| !closed.modifiers.contains(&Modifier::Reordered)), "{closed:?}");
}

#[test]
fn a_unit_says_what_its_two_sides_know_together() {
    let named = |message: Option<&str>, mongo: Option<&str>| MessageId {
        message: message.map(Into::into),
        mongo: mongo.map(Into::into),
    };
    // The answer of 2025-11-05 has both ids, its update only Mongo's, and a dialog that only Mongo knows.
    let both = named(Some("msg_1"), Some("0123456789abcdef01234567"));
    let bare = named(None, Some("0123456789abcdef01234567"));
    let answered = Seen { key: both.key("t").unwrap(), message: Some(both), ..legacy(20, 1) };
    let updated = Seen {
        key: bare.key("t").unwrap(),
        message: Some(bare),
        dialog: None,
        routing_key: Some("user.u.message".into()),
        ..rabbitmq(10, 1)
    };
    let (_, closed) = run(vec![up(1), see(updated), see(answered)]);
    assert_eq!(closed.len(), 1, "{closed:?}");
    let unit = &closed[0];
    assert_eq!(unit.message(), Some("msg_1"));
    assert_eq!(unit.dialog.as_deref(), Some("dlg_1"));
    assert_eq!((unit.event(), unit.event_id()), ("message.create", Some("evt_1")));
    assert_eq!(unit.routing_key.as_deref(), Some("user.u.message"));
    assert_eq!(unit.skew_ms(), Some(-10));
}

#[test]
fn a_drills_units_count_nowhere_else() {
    let (comparator, closed) = run(vec![up(1), see(Seen { drill: true, ..legacy(10, 1) })]);
    let summary = comparator.summary();
    assert_eq!((closed.len(), summary.opened, summary.closed), (1, 0, 0));
    assert_eq!(summary.drill["missing_in_rabbitmq/no_update"], 1);
}

/// One thing that may happen to a stream.
#[derive(Clone, Debug)]
enum Step {
    Legacy(u32, u64),
    Rabbitmq(u32, u64),
    Again(u32, u64),
    Session(bool),
    Shed,
    Stage,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..30_u32, 0..300_u64).prop_map(|(n, pause)| Step::Legacy(n, pause)),
        (0..30_u32, 0..300_u64).prop_map(|(n, pause)| Step::Rabbitmq(n, pause)),
        (0..30_u32, 0..300_u64).prop_map(|(n, pause)| Step::Again(n, pause)),
        any::<bool>().prop_map(Step::Session),
        Just(Step::Shed),
        Just(Step::Stage),
        Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn classes_add_up_whatever_happens(steps in proptest::collection::vec(step(), 0..120)) {
        let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
        let (mut now, mut closed) = (10, 0_u64);
        for step in steps {
            match step {
                Step::Legacy(n, pause) => { now += pause; comparator.observe(see(legacy(now, n))); }
                Step::Rabbitmq(n, pause) => { now += pause; comparator.observe(see(rabbitmq(now, n))); }
                Step::Again(n, pause) => {
                    now += pause;
                    comparator.observe(see(Seen { redelivered: true, ..rabbitmq(now, n) }));
                }
                Step::Session(up) => comparator.observe(fact(now, Fact::Session { up })),
                Step::Shed => comparator.observe(Event::Shed(Millis(now), 1)),
                Step::Stage => comparator.observe(fact(now, Fact::StageChanged {
                    user: user("u"), from: Stage::Shadow, to: Stage::Legacy,
                })),
                Step::Expire => {
                    let out = comparator.expire(Millis(now));
                    closed += out.iter().filter(|closed| closed.amends.is_none()).count() as u64;
                }
            }
            let summary = comparator.summary();
            prop_assert_eq!(summary.opened, summary.closed + summary.open);
            prop_assert_eq!(summary.classes.values().sum::<u64>(), summary.closed);
            prop_assert_eq!(summary.closed, closed);
        }
    }

    #[test]
    fn a_stream_without_faults_has_no_bad_class(delays in proptest::collection::vec((0..400_u64, 0..400_u64), 1..60)) {
        let mut events: Vec<(u64, u32, Path)> = Vec::new();
        for (n, (ours, theirs)) in delays.iter().enumerate() {
            let (n, at) = (u32::try_from(n).unwrap(), 10 + n as u64 * 20);
            events.extend([(at + ours, n, Path::Legacy), (at + theirs, n, Path::Rabbitmq)]);
        }
        events.sort_by_key(|(at, ..)| *at);
        let stream = std::iter::once(up(1)).chain(events.iter().map(|(at, n, path)| see(seen(*at, *path, "u", *n))));
        let (comparator, _) = run(stream.collect());
        prop_assert_eq!(comparator.summary().classes["match"], delays.len() as u64);
    }
}

#[test]
fn a_post_of_unknown_end_explains_only_what_it_may_have_made() {
    let unknown = || vec![started(5, 9), fact(6, Fact::PostUnknown { post: 9 })];
    let with = |events: Vec<Event>| verdict(unknown().into_iter().chain(events).collect());
    assert_eq!(with(vec![see(rabbitmq(10, 1))]), (Class::Indeterminate, Some(Cause::PostUnknown)));
    assert_eq!(with(vec![see(legacy(10, 1)), see(rabbitmq(11, 1))]), (Class::Match, None), "it has its copy");
    let accepted_here = vec![started(7, 1), accepted(8, 1, 1)];
    let absent = Seen { joined: Some(Sockets::new()), ..rabbitmq(10, 1) };
    let events = accepted_here.into_iter().chain([see(absent)]).collect();
    assert_eq!(with(events), (Class::MissingInLegacyExpected, Some(Cause::NotJoined)), "another POST made it");
    let other = Seen { key: bridge_core::Key::of_numbers(&[7], false), message: None, ..rabbitmq(10, 1) };
    let due = (Class::MissingInLegacyExpected, Some(Cause::EventNotInLegacy));
    assert_eq!(with(vec![see(other)]), due, "no POST makes it");
    let stranger = Seen { sender: Some("somebody else".into()), ..rabbitmq(10, 1) };
    assert_eq!(with(vec![see(stranger)]), (Class::MissingInLegacyExpected, Some(Cause::PostedElsewhere)));
    let dialog = DialogId::new("dlg_2").ok();
    let elsewhere = Seen { dialog, ..rabbitmq(10, 1) };
    assert_eq!(with(vec![see(elsewhere)]), (Class::MissingInLegacyExpected, Some(Cause::PostedElsewhere)));
}

#[test]
fn a_unit_that_is_open_while_its_users_stage_changes_is_in_flip_and_compared_all_the_same() {
    let in_flip = |from, to| {
        let change = fact(15, Fact::StageChanged { user: user("u"), from, to });
        let (_, closed) = run(vec![up(1), see(legacy(10, 1)), change, see(rabbitmq(20, 1))]);
        (closed[0].class, closed[0].modifiers.contains(&Modifier::InFlip))
    };
    let all = [Stage::Legacy, Stage::Shadow, Stage::Live, Stage::Complete];
    for (from, to) in all.iter().flat_map(|from| all.map(|to| (*from, to))).filter(|(from, to)| from != to) {
        assert_eq!(in_flip(from, to), (Class::Match, true), "{from} to {to}");
    }
    let (_, closed) = run(vec![
        up(1),
        fact(5, Fact::StageChanged { user: user("u"), from: Stage::Legacy, to: Stage::Shadow }),
        see(legacy(10, 1)),
        see(rabbitmq(20, 1)),
        fact(20, Fact::StageChanged { user: user("v"), from: Stage::Shadow, to: Stage::Legacy }),
    ]);
    assert!(closed[0].modifiers.is_empty(), "before it was opened, and another's");
}
