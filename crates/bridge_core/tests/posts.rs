//! What POSTs prove of an update without a legacy copy: only what was accepted here, and only while the user was there
//! to see it, counts against the legacy path.

#[path = "kit/seen.rs"]
mod kit;

use std::sync::Arc;

use bridge_core::compare::{Cause, Class, Closed, Comparator, Event, Fact, Limits, Payload, Seen};
use bridge_core::gate::Sockets;
use bridge_core::update::Update;
use bridge_core::{DialogId, MessageId, Millis};
use kit::*;
use serde_json::json;

const ELSEWHERE: (Class, Option<Cause>) = (Class::MissingInLegacyExpected, Some(Cause::PostedElsewhere));
const UNKNOWN: (Class, Option<Cause>) = (Class::Indeterminate, Some(Cause::PostUnknown));

fn told(mut events: Vec<(u64, Event)>) -> Vec<Closed> {
    events.sort_by_key(|(at, _)| *at);
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 1 << 20 });
    comparator.observe(up(1));
    let mut closed = Vec::new();
    for (at, event) in events {
        closed.extend(comparator.expire(Millis(at)));
        comparator.observe(event);
    }
    closed.extend(comparator.expire(Millis(10_000_000)));
    closed
}

#[test]
fn one_sender_whose_posts_alternate_between_two_instances_makes_nothing_bad() {
    // Thirty messages, every second one posted here; each takes longer than the pause to the next.
    let mut events = Vec::new();
    for n in 0..30_u32 {
        let at = 10 + u64::from(n) * 40;
        events.push((at + 50, see(rabbitmq(at + 50, n))));
        if n % 2 == 0 {
            events.push((at, started(at, u64::from(n))));
            events.push((at + 90, see(legacy(at + 90, n))));
            events.push((at + 91, accepted(at + 91, u64::from(n), n)));
        }
    }
    let closed = told(events);
    let count = |class: Class, cause: Option<Cause>| {
        closed.iter().filter(|closed| (closed.class, closed.cause) == (class, cause)).count()
    };
    assert_eq!((closed.len(), count(Class::Match, None), count(ELSEWHERE.0, ELSEWHERE.1)), (30, 15, 15));
}

#[test]
fn a_post_that_began_later_was_answered_otherwise_or_went_elsewhere_proves_nothing() {
    let began_later = vec![see(rabbitmq(10, 1)), started(15, 1)];
    assert_eq!(verdict(began_later), ELSEWHERE);
    let answered_otherwise = vec![started(5, 1), see(rabbitmq(10, 1)), accepted(20, 1, 2)];
    assert_eq!(verdict(answered_otherwise), ELSEWHERE);
    let refused = vec![started(5, 1), see(rabbitmq(10, 1)), fact(20, Fact::PostRefused { post: 1 })];
    assert_eq!(verdict(refused), ELSEWHERE);
    let other = DialogId::new("dlg_2").unwrap();
    let other_dialog = fact(5, Fact::PostStarted { post: 1, dialog: other, sender: user("sender") });
    assert_eq!(verdict(vec![other_dialog, see(rabbitmq(10, 1))]), ELSEWHERE);
    let other_sender = fact(5, Fact::PostStarted { post: 1, dialog: dialog(), sender: user("another") });
    assert_eq!(verdict(vec![other_sender, see(rabbitmq(10, 1))]), ELSEWHERE);
}

#[test]
fn an_answer_teaches_what_chat3_calls_its_dialog() {
    let mongo = "6b042c4058408bbf7fd91056";
    let body = json!({"tenantId": "t", "userId": "u", "entityId": "6b042c4658408bbf7fd910a7", "eventId": "e",
        "eventType": "message.create", "data": {"_id": "6b042c4658408bbf7fd910a7", "dialogId": mongo,
            "senderId": "sender"}});
    let update = Arc::new(Update::read(body.to_string().as_bytes(), 0).unwrap());
    let (key, payload) = (update.key.clone(), Payload::Update(update));
    let of_dialog_1 = Seen { key, dialog: None, joined: None, payload, ..rabbitmq(10, 1) };
    // While an update of the first dialog comes, its sender's POST to the second is not answered yet.
    let other = DialogId::new("dlg_2").unwrap();
    let open = fact(9, Fact::PostStarted { post: 2, dialog: other, sender: user("sender") });
    let after = |dialog_mongo: Option<&str>| {
        let (key, dialog_mongo) = (legacy(0, 7).key, dialog_mongo.map(Into::into));
        let before = fact(4, Fact::PostAccepted { post: 1, key, dialog_mongo });
        verdict(vec![started(3, 1), before, open.clone(), see(of_dialog_1.clone())])
    };
    assert_eq!(after(Some(mongo)), ELSEWHERE);
    assert_eq!(after(None), UNKNOWN, "it may be of any dialog");
}

#[test]
fn a_post_without_an_answer_leaves_it_open_until_its_copy_comes() {
    let waiting = vec![started(5, 1), see(rabbitmq(10, 1))];
    assert_eq!(verdict(waiting), UNKNOWN, "it has none yet");
    let unread = vec![started(5, 1), see(rabbitmq(10, 1)), fact(20, Fact::PostUnknown { post: 1 })];
    assert_eq!(verdict(unread), UNKNOWN);
    let (slow, at) = (Seen { at: Millis(3_000), ..legacy(0, 1) }, 3_000);
    let events = vec![(5, started(5, 1)), (10, see(rabbitmq(10, 1))), (at, see(slow)), (at, accepted(at, 1, 1))];
    let closed = told(events);
    assert_eq!(closed.len(), 2, "{closed:?}");
    assert_eq!((closed[0].class, closed[0].cause), UNKNOWN);
    assert_eq!((closed[1].class, closed[1].amends), (Class::Match, Some(Class::Indeterminate)));
}

#[test]
fn what_was_accepted_here_while_the_user_was_in_the_room_is_unexpected() {
    let seen = |rooms: Sockets| {
        vec![started(5, 1), see(Seen { joined: Some(rooms), ..rabbitmq(10, 1) }), accepted(20, 1, 1)]
    };
    assert_eq!(verdict(seen(Sockets::from_slice(&[A]))), (Class::MissingInLegacyUnexpected, None));
    assert_eq!(verdict(seen(Sockets::new())), (Class::MissingInLegacyExpected, Some(Cause::NotJoined)));
}

#[test]
fn who_was_not_in_the_room_when_the_answer_came_was_not_to_see_it() {
    let moved = |at, joined| fact(at, Fact::Room { user: user("u"), dialog: dialog(), joined });
    let not_joined = (Class::MissingInLegacyExpected, Some(Cause::NotJoined));
    let unexpected = (Class::MissingInLegacyUnexpected, None);
    // The answer first: it joined between the two.
    let joins = |at| vec![started(5, 1), accepted(20, 1, 1), moved(at, true), see(rabbitmq(30, 1))];
    assert_eq!(verdict(joins(25)), not_joined);
    let before = vec![started(5, 1), moved(15, true), accepted(20, 1, 1), see(rabbitmq(30, 1))];
    assert_eq!(verdict(before), unexpected);
    // The update first: it left between the two.
    let leaves = |at| vec![started(5, 1), see(rabbitmq(10, 1)), moved(at, false), accepted(20, 1, 1)];
    assert_eq!(verdict(leaves(15)), not_joined);
    let after = vec![started(5, 1), see(rabbitmq(10, 1)), accepted(20, 1, 1), moved(500, false)];
    assert_eq!(verdict(after), unexpected);
    let other = fact(15, Fact::Room { user: user("v"), dialog: dialog(), joined: false });
    assert_eq!(verdict(vec![started(5, 1), see(rabbitmq(10, 1)), other, accepted(20, 1, 1)]), unexpected);
}

#[test]
fn recipients_know_a_message_by_different_names_and_it_is_one() {
    let named = |message: Option<&str>| MessageId {
        message: message.map(Into::into),
        mongo: Some("0123456789abcdef01234567".into()),
    };
    let (both, bare) = (named(Some("msg_1")), named(None));
    let (key, bare_key) = (both.key("t").unwrap(), bare.key("t").unwrap());
    let alone = Seen { key: bare_key.clone(), message: Some(bare.clone()), ..rabbitmq(10, 1) };
    let first = Seen { user: user("v"), ..alone.clone() };
    let then = Seen { user: user("v"), key: key.clone(), message: Some(both), ..legacy(20, 1) };
    let answered = fact(21, Fact::PostAccepted { post: 1, key, dialog_mongo: None });
    let (_, closed) = run(vec![up(1), started(5, 1), see(alone), see(first), see(then), answered]);
    assert_eq!((closed.len(), closed[0].key), (2, closed[1].key));
}

#[test]
fn a_queue_that_is_lost_while_the_update_is_awaited_is_the_cause() {
    let lost = |to| fact(15, Fact::QueueLost { user: user(to) });
    let cause = |to| verdict(vec![see(legacy(10, 1)), lost(to)]).1;
    assert_eq!((cause("u"), cause("v")), (Some(Cause::QueueNotReady), Some(Cause::NoUpdate)));
}

#[test]
fn a_broker_that_is_lost_while_the_update_is_awaited_is_the_cause() {
    let down = |at| fact(at, Fact::Session { up: false });
    let cause = |at| verdict(vec![see(legacy(10, 1)), down(at)]);
    assert_eq!(cause(15), (Class::MissingInRabbitmq, Some(Cause::BrokerDown)));
    assert_eq!(cause(10 + WINDOW), (Class::MissingInRabbitmq, Some(Cause::BrokerDown)));
    assert_eq!(cause(10 + WINDOW + 1), (Class::MissingInRabbitmq, Some(Cause::NoUpdate)), "too late to matter");
}
