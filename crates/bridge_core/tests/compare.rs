//! The comparator: each class and cause once, their order of precedence, and sums that add up whatever happens.

use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Closed, Comparator, Event, Fact, Limits, Modifier, Payload, Seen};
use bridge_core::gate::Sockets;
use bridge_core::update::{LegacyMessage, Update};
use bridge_core::{DialogId, Millis, Path, SocketId, Stage, UserId};
use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;

const WINDOW: u64 = 1_000;
const A: SocketId = SocketId(1);
const B: SocketId = SocketId(2);

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn dialog() -> DialogId {
    DialogId::new("dlg_1").unwrap()
}

fn update(to: &str, n: u32, content: &str, event: &str) -> Arc<Update> {
    let body = json!({"tenantId": "t", "userId": to, "entityId": format!("msg_{n}"), "eventId": format!("evt_{n}"),
        "eventType": event, "data": {"message": {"messageId": format!("msg_{n}"), "dialogId": "dlg_1",
            "senderId": "sender", "type": "internal.text", "content": content}}});
    Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap())
}

fn answer(n: u32) -> Arc<RawValue> {
    let data = json!({"messageId": format!("msg_{n}"), "dialogId": "dlg_1", "senderId": "sender",
        "type": "internal.text", "content": "hello", "meta": {}});
    RawValue::from_string(data.to_string()).unwrap().into()
}

fn seen(at: u64, path: Path, to: &str, n: u32) -> Seen {
    let sockets = Sockets::from_slice(&[A]);
    let payload = match path {
        Path::Legacy => Payload::Legacy(answer(n)),
        Path::Rabbitmq => Payload::Update(update(to, n, "hello", "message.create")),
    };
    let id = LegacyMessage::read(&answer(n)).message;
    Seen {
        at: Millis(at),
        path,
        user: user(to),
        tenant: "t".into(),
        key: id.key("t").unwrap(),
        message: Some(id),
        dialog: Some(dialog()),
        event: "message.create".into(),
        sender: Some("sender".into()),
        stage: Stage::Shadow,
        sockets: sockets.clone(),
        present: sockets.clone(),
        joined: Some(sockets.clone()),
        rooms: Vec::new(),
        subscribed: sockets,
        routing_key: None,
        redelivered: false,
        broker_up: true,
        queue_ready: true,
        member: None,
        drill: false,
        payload,
    }
}

fn legacy(at: u64, n: u32) -> Seen {
    seen(at, Path::Legacy, "u", n)
}

fn rabbitmq(at: u64, n: u32) -> Seen {
    seen(at, Path::Rabbitmq, "u", n)
}

fn see(seen: Seen) -> Event {
    Event::Seen(Box::new(seen))
}

fn fact(at: u64, fact: Fact) -> Event {
    Event::Fact(Millis(at), fact)
}

fn up(at: u64) -> Event {
    fact(at, Fact::Session { up: true })
}

fn started(at: u64, post: u64) -> Event {
    fact(at, Fact::PostStarted { post, dialog: dialog(), sender: user("sender") })
}

fn accepted(at: u64, post: u64, n: u32) -> Event {
    let key = LegacyMessage::read(&answer(n)).message.key("t").unwrap();
    fact(at, Fact::PostAccepted { post, key, dialog_mongo: None })
}

/// Everything that closes of `events`, with the comparator.
fn run(events: Vec<Event>) -> (Comparator, Vec<Closed>) {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    events.into_iter().for_each(|event| comparator.observe(event));
    let closed = comparator.expire(Millis(1_000_000));
    (comparator, closed)
}

/// Class and cause of the only unit of `events`, in a session that is up.
fn verdict(events: Vec<Event>) -> (Class, Option<Cause>) {
    let (_, closed) = run(std::iter::once(up(1)).chain(events).collect());
    assert_eq!(closed.len(), 1, "{closed:?}");
    (closed[0].class, closed[0].cause)
}

#[test]
fn both_equal_is_a_match_in_either_order() {
    assert_eq!(verdict(vec![see(legacy(10, 1)), see(rabbitmq(20, 1))]), (Class::Match, None));
    assert_eq!(verdict(vec![see(rabbitmq(10, 1)), see(legacy(20, 1))]), (Class::Match, None));
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
    // In flight: it may be this one.
    assert_eq!(verdict(vec![started(5, 1), see(rabbitmq(10, 1))]), unexpected);
    // Another message of the same dialog and sender was answered: that one is not this one.
    assert_eq!(
        verdict(vec![started(5, 1), see(rabbitmq(10, 1)), accepted(20, 1, 2)]),
        expected(Cause::PostedElsewhere)
    );
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
    assert_eq!(with(change(Stage::Live, Stage::Complete)), indeterminate(Cause::StageChanged));
    assert_eq!(with(change(Stage::Shadow, Stage::Live)), (Class::Match, None), "only the authority changed");
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
    let (mut comparator, _) = run(vec![up(1), started(5, 1), Event::Shed(Millis(10), 1)]);
    let late = Millis(1_000_000);
    comparator.observe(see(Seen { at: late, ..rabbitmq(0, 7) }));
    let closed = comparator.expire(late.plus(WINDOW));
    assert_eq!((closed[0].class, closed[0].cause), (Class::MissingInLegacyExpected, Some(Cause::PostedElsewhere)));
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
fn a_drills_units_count_nowhere_else() {
    let (comparator, closed) = run(vec![up(1), see(Seen { drill: true, ..legacy(10, 1) })]);
    let summary = comparator.summary();
    assert_eq!((closed.len(), summary.opened, summary.closed), (1, 0, 0));
    assert_eq!(summary.drill["missing_in_rabbitmq/no_update"], 1);
}

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
