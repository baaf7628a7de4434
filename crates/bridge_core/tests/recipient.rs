//! One user: with very many sockets it holds nobody up, and it is told what another instance could not hand over.

use std::sync::Arc;
use std::time::Instant;

use bridge_core::form::Form;
use bridge_core::gate::Limits;
use bridge_core::recipient::{
    Answer, Claim, Effect, Input, LinkId, Parcel, Presence, Reason, Recipient, ReplayLimit, Resync, Rules, SignOn,
    World,
};
use bridge_core::update::Update;
use bridge_core::{DialogId, Millis, SocketId, Stage, UserId};

/// How many bytes a socket may keep.
struct Nothing {
    /// Room for replays, in bytes.
    most: usize,
    /// Until when the broker was heard.
    heard: Option<Millis>,
}

const fn room(most: usize) -> Nothing {
    Nothing { most, heard: None }
}

const PLENTY: Nothing = room(1 << 20);

/// A client that says nothing of itself.
const fn sign_on(number: u64) -> SignOn<'static> {
    SignOn {
        socket: SocketId(number),
        link: LinkId(number),
        name: None,
        accepts: None,
        undeclared: Form::Update,
        selection: None,
        claim: None,
    }
}

impl World for Nothing {
    fn is_member(&self, _dialog: &DialogId) -> Option<bool> {
        None
    }
    fn dialog_of(&self, _update: &Update) -> Option<DialogId> {
        None
    }
    fn posted_in(&self) -> Vec<DialogId> {
        Vec::new()
    }
    fn session_is_up(&self) -> bool {
        true
    }
    fn heard(&self) -> Option<Millis> {
        self.heard
    }
    fn is_running(&self) -> bool {
        false
    }
    fn members_hear_legacy(&self) -> bool {
        false
    }
    fn replay_limit(&self) -> ReplayLimit {
        ReplayLimit { most: self.most, share: self.most }
    }
    fn handed(&self, _link: LinkId) -> u64 {
        0
    }
}

/// Seconds that it takes until `count` sockets in a hundred rooms each are gone after they were lost together.
fn seconds_to_end(count: u64) -> f64 {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let user = UserId::new("many").unwrap();
    let mut recipient = Recipient::new(user, Arc::new(rules), Stage::Legacy);
    let mut effects = Vec::new();
    for n in 1..=count {
        recipient.apply(Millis(0), Input::SignedOn(sign_on(n)), &PLENTY, &mut effects);
        for room in 0..100 {
            let dialog = DialogId::new(&format!("dlg_{room}")).unwrap();
            let joined = Input::Joined { socket: SocketId(n), dialog };
            assert_eq!(recipient.apply(Millis(0), joined, &PLENTY, &mut effects), Answer::Done);
        }
        recipient.apply(
            Millis(1),
            Input::Lost { link: LinkId(n), handed: 0, for_good: false },
            &PLENTY,
            &mut Vec::new(),
        );
    }
    effects.clear();
    let started = Instant::now();
    recipient.apply(Millis(5_001), Input::Tick, &PLENTY, &mut effects);
    assert!(recipient.sockets().is_empty() && recipient.rooms().next().is_none());
    let ended = effects.iter().filter(|effect| matches!(effect, Effect::Ended { .. })).count() as u64;
    let left = effects.iter().filter(|effect| matches!(effect, Effect::Left(_))).count();
    assert_eq!((ended, left), (count, 100));
    started.elapsed().as_secs_f64()
}

#[test]
fn ten_thousand_sockets_in_a_hundred_rooms_end_in_time_that_grows_with_them_and_not_with_their_square() {
    // The best of some tries: others may want the processor meanwhile.
    let best = |count| (0..5).map(|_| seconds_to_end(count)).fold(f64::INFINITY, f64::min);
    let (few, many) = (best(1_000), best(10_000));
    assert!(many < few * 50.0, "{few} s for 1,000, {many} s for 10,000");
}

#[test]
fn what_another_instance_could_not_hand_over_is_told_to_those_concerned_where_legacy_delivers() {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let mut recipient = Recipient::new(UserId::new("u").unwrap(), Arc::new(rules), Stage::Legacy);
    let mut effects = Vec::new();
    let dialog = DialogId::new("dlg_a").unwrap();
    for n in 1..=2 {
        recipient.apply(Millis(0), Input::SignedOn(sign_on(n)), &PLENTY, &mut effects);
    }
    let joined = Input::Joined { socket: SocketId(1), dialog: dialog.clone() };
    recipient.apply(Millis(0), joined, &PLENTY, &mut effects);
    let told = |recipient: &mut Recipient, dialog: Option<DialogId>, everywhere| {
        let mut effects = Vec::new();
        let input = Input::Unrelayed { dialog, everywhere, since: Millis(5) };
        recipient.apply(Millis(9), input, &PLENTY, &mut effects);
        let gap = Resync { reason: Reason::RelayLost, since: Millis(5) };
        let link = |effect: &Effect| match effect {
            Effect::Send { link, parcel: Parcel::Resync(own), .. } if *own == gap => Some(link.0),
            _ => None,
        };
        effects.iter().filter_map(link).collect::<Vec<u64>>()
    };
    assert_eq!(told(&mut recipient, Some(dialog.clone()), false), [1], "who is in the room");
    assert_eq!(told(&mut recipient, Some(dialog.clone()), true), [1, 2], "a member");
    assert_eq!(told(&mut recipient, None, false), [1, 2], "nobody knows of which dialog");
    assert_eq!(told(&mut recipient, DialogId::new("dlg_b").ok(), false), [0_u64; 0]);
    let flip = Input::Flip { to: Stage::Live, session_lost: None };
    recipient.apply(Millis(10), flip, &PLENTY, &mut effects);
    assert_eq!(told(&mut recipient, Some(dialog), true), [0_u64; 0], "its update comes from the broker");
}

/// A socket that signs on with a token of which nothing is known any more, while the queue is not live.
fn with_a_gap_since(recipient: &mut Recipient, since: u64, socket: u64) {
    let claim = Some(Claim::Unknown { since: Millis(since) });
    recipient.apply(Millis(2_000), Input::SignedOn(SignOn { claim, ..sign_on(socket) }), &PLENTY, &mut Vec::new());
}

#[test]
fn of_two_gaps_that_a_socket_is_owed_it_is_told_since_the_earlier() {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let rules = Arc::new(rules);
    let told = |recipient: &mut Recipient, input| {
        let mut effects = Vec::new();
        recipient.apply(Millis(9_000), input, &PLENTY, &mut effects);
        let since = |effect: &Effect| match effect {
            Effect::Send { link, parcel: Parcel::Resync(gap), .. } => Some((link.0, gap.since.0)),
            _ => None,
        };
        effects.iter().filter_map(since).collect::<Vec<_>>()
    };
    let lost = |since| Input::QueueLive { gap: Some(Resync { reason: Reason::BrokerLost, since: Millis(since) }) };
    let user = || UserId::new("u").unwrap();
    // A tab that comes back in vain while the broker is away for all.
    let mut recipient = Recipient::new(user(), Arc::clone(&rules), Stage::Live);
    with_a_gap_since(&mut recipient, 700, 1);
    with_a_gap_since(&mut recipient, 1_500, 2);
    assert_eq!(told(&mut recipient, lost(1_000)), [(1, 700), (2, 1_000)]);
    // One whose queue was late before its earlier socket turned out to be unknown, and the other way round.
    for (owed, late) in [(700, 800), (800, 700)] {
        let mut recipient = Recipient::new(user(), Arc::clone(&rules), Stage::Live);
        with_a_gap_since(&mut recipient, owed, 1);
        let late = Input::Late { socket: SocketId(1), since: Millis(late) };
        recipient.apply(Millis(3_000), late, &PLENTY, &mut Vec::new());
        recipient.apply(Millis(3_000), Input::Greeted { socket: SocketId(1) }, &PLENTY, &mut Vec::new());
        assert_eq!(told(&mut recipient, Input::QueueLive { gap: None }), [(1, 700)]);
    }
}

#[test]
fn what_is_let_go_for_want_of_memory_is_told_to_who_comes_back_for_it() {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let mut recipient = Recipient::new(UserId::new("u").unwrap(), Arc::new(rules), Stage::Legacy);
    let mut effects = Vec::new();
    recipient.apply(Millis(0), Input::SignedOn(sign_on(1)), &PLENTY, &mut effects);
    let sent = Input::Unrelayed { dialog: None, everywhere: true, since: Millis(5) };
    recipient.apply(Millis(9), sent, &PLENTY, &mut effects);
    recipient.apply(
        Millis(20),
        Input::Lost { link: LinkId(1), handed: 0, for_good: false },
        &PLENTY,
        &mut effects,
    );
    assert!(recipient.replay_bytes() > 0, "it is kept");
    recipient.apply(Millis(30), Input::Tick, &room(0), &mut effects);
    assert_eq!(recipient.replay_bytes(), 0);
    let expected = Presence::Spoiled { since: Millis(20), whole_until: Millis(5) };
    assert_eq!(recipient.sockets()[0].presence(), expected);
}

/// Of one user whose queue is live.
fn recipient(stage: Stage) -> Recipient {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let mut recipient = Recipient::new(UserId::new("u").unwrap(), Arc::new(rules), stage);
    told(&mut recipient, 0, Input::SignedOn(sign_on(1)));
    told(&mut recipient, 1, Input::QueueLive { gap: None });
    recipient
}

/// What the socket is told of gaps.
fn told(recipient: &mut Recipient, at: u64, input: Input) -> Vec<Resync> {
    let mut effects = Vec::new();
    recipient.apply(Millis(at), input, &PLENTY, &mut effects);
    let gap = |effect| match effect {
        Effect::Send { parcel: Parcel::Resync(gap), .. } => Some(gap),
        _ => None,
    };
    effects.into_iter().filter_map(gap).collect()
}

#[test]
fn what_was_lost_with_a_queue_is_told_with_a_flip_back_and_only_once() {
    for (session_lost, reason, since) in
        [(None, Reason::QueueLost, 50), (Some(Millis(70)), Reason::BrokerLost, 50)]
    {
        let mut recipient = recipient(Stage::Complete);
        let mut told = |at, input| told(&mut recipient, at, input);
        assert!(told(60, Input::QueueLost { reason: Reason::QueueLost, since: Millis(50) }).is_empty());
        let gap = Resync { reason, since: Millis(since) };
        assert_eq!(told(100, Input::Flip { to: Stage::Shadow, session_lost }), [gap], "nobody asks for it later");
        let late = Some(Resync { reason: Reason::QueueLost, since: Millis(50) });
        assert!(told(200, Input::QueueLive { gap: late }).is_empty(), "it was told");
    }
}

/// Lets everybody know of a gap since then: a parcel like any other.
fn tell(recipient: &mut Recipient, at: u64, since: u64) {
    let sent = Input::Unrelayed { dialog: None, everywhere: true, since: Millis(since) };
    recipient.apply(Millis(at), sent, &PLENTY, &mut Vec::new());
}

fn loses(recipient: &mut Recipient, at: u64, link: u64, handed: u64) {
    let lost = Input::Lost { link: LinkId(link), handed, for_good: false };
    recipient.apply(Millis(at), lost, &PLENTY, &mut Vec::new());
}

/// Until when somebody has everything who signs on as `socket` with `claim`, and whether it was recovered.
fn comes_back(recipient: &mut Recipient, at: u64, socket: u64, claim: Claim<'_>) -> (bool, u64) {
    let input = Input::SignedOn(SignOn { claim: Some(claim), ..sign_on(socket) });
    match recipient.apply(Millis(at), input, &PLENTY, &mut Vec::new()) {
        Answer::Signed { recovered, whole_until, .. } => (recovered, whole_until.0),
        other => panic!("{other:?}"),
    }
}

fn in_legacy() -> Recipient {
    let rules = Rules { tenant: "t".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let mut recipient = Recipient::new(UserId::new("u").unwrap(), Arc::new(rules), Stage::Legacy);
    recipient.apply(Millis(100_000), Input::SignedOn(sign_on(1)), &PLENTY, &mut Vec::new());
    recipient
}

const fn claim(last: Option<&'static str>) -> Claim<'static> {
    Claim::Of { socket: SocketId(1), last, handed: None }
}

#[test]
fn who_resumes_has_everything_until_what_it_missed_and_not_until_now() {
    let window = Limits::default().window;
    // Nothing was missed, but for what the gate may hold.
    let mut recipient = in_legacy();
    loses(&mut recipient, 110_000, 1, 0);
    assert_eq!(comes_back(&mut recipient, 111_000, 2, claim(None)), (true, 111_000 - window));
    // What it missed is sent now, and again if it is lost with this connection too.
    let mut recipient = in_legacy();
    tell(&mut recipient, 101_000, 101_000);
    loses(&mut recipient, 110_000, 1, 0);
    assert_eq!(comes_back(&mut recipient, 111_000, 2, claim(None)), (true, 101_000));
    loses(&mut recipient, 111_001, 2, 0);
    assert_eq!(comes_back(&mut recipient, 115_000, 3, claim(None)), (true, 101_000));
    // A gap that it was told of, and does not know of.
    let mut recipient = in_legacy();
    tell(&mut recipient, 109_000, 90_000);
    loses(&mut recipient, 110_000, 1, 0);
    assert_eq!(comes_back(&mut recipient, 111_000, 2, claim(None)), (true, 90_000));
}

#[test]
fn who_first_signed_on_anew_and_then_resumes_has_what_it_missed_from_when_it_missed_it() {
    let mut recipient = in_legacy();
    // A parcel like any other: it counts from when it was to be there, not from what it tells of.
    tell(&mut recipient, 101_000, 108_000);
    loses(&mut recipient, 109_000, 1, 0);
    recipient.apply(Millis(110_000), Input::SignedOn(sign_on(2)), &PLENTY, &mut Vec::new());
    let own = SignOn { claim: Some(claim(None)), ..sign_on(2) };
    let input = Input::Renewed { socket: SocketId(2), sign_on: own };
    let answer = recipient.apply(Millis(110_010), input, &PLENTY, &mut Vec::new());
    let whole_until = Millis(101_000);
    assert_eq!(answer, Answer::Signed { socket: SocketId(2), recovered: true, whole_until });
}

#[test]
fn a_resume_that_fails_tells_of_what_a_transport_took_and_of_what_was_owed() {
    // Of what was taken only the end is kept: what its client lacks began as long ago as things are kept.
    let mut recipient = in_legacy();
    tell(&mut recipient, 101_000, 101_000);
    tell(&mut recipient, 102_000, 102_000);
    recipient.apply(Millis(102_001), Input::HandedOver { link: LinkId(1), up_to: 2 }, &PLENTY, &mut Vec::new());
    recipient.apply(Millis(102_002), Input::Tick, &room(200), &mut Vec::new());
    loses(&mut recipient, 110_000, 1, 2);
    assert_eq!(comes_back(&mut recipient, 111_000, 2, claim(Some("another"))), (false, 45_000));
    // What it was owed already, because an earlier resume had failed, goes on being owed.
    let mut recipient = in_legacy();
    let unknown = Claim::Unknown { since: Millis(20_000) };
    assert_eq!(comes_back(&mut recipient, 103_000, 2, unknown), (false, 20_000));
    tell(&mut recipient, 104_000, 104_000);
    loses(&mut recipient, 105_000, 2, 0);
    recipient.apply(Millis(105_001), Input::Tick, &room(0), &mut Vec::new());
    let again = Claim::Of { socket: SocketId(2), last: None, handed: None };
    assert_eq!(comes_back(&mut recipient, 106_000, 3, again), (false, 20_000));
}

#[test]
fn what_turns_out_after_a_flip_back_to_have_been_lost_before_it_is_told_once() {
    let lost = |since| Input::QueueLost { reason: Reason::BrokerLost, since: Millis(since) };
    let unproved = |since| Input::Unproved { since: Millis(since) };
    let gap = |since| Resync { reason: Reason::BrokerLost, since: Millis(since) };
    for [first, second] in [[lost, unproved], [unproved, lost]] {
        let mut recipient = recipient(Stage::Complete);
        let mut told = |at, input| told(&mut recipient, at, input);
        assert!(
            told(100, Input::Flip { to: Stage::Shadow, session_lost: None }).is_empty(),
            "nothing is known yet"
        );
        assert_eq!(told(200, first(60)), [gap(60)]);
        assert!(told(210, second(60)).is_empty(), "it was told");
        assert!(told(220, Input::QueueLive { gap: Some(gap(60)) }).is_empty(), "it was told");
    }
    let mut recipient = recipient(Stage::Complete);
    let mut told = |at, input| told(&mut recipient, at, input);
    assert!(told(50, unproved(20)).is_empty(), "it still comes");
    told(100, Input::Flip { to: Stage::Shadow, session_lost: None });
    assert!(told(200, lost(150)).is_empty(), "what is lost now was not to be heard");
    told(300, Input::Flip { to: Stage::Live, session_lost: None });
    assert!(told(400, unproved(60)).is_empty(), "it still comes");
}

#[test]
fn who_resumes_while_the_broker_is_silent_has_everything_until_it_was_heard() {
    let window = Limits::default().window;
    let comes_back = |recipient: &mut Recipient, heard| {
        loses(recipient, 99_000, 1, 0);
        let world = Nothing { heard: Some(Millis(heard)), ..PLENTY };
        let input = Input::SignedOn(SignOn { claim: Some(claim(None)), ..sign_on(2) });
        match recipient.apply(Millis(100_000), input, &world, &mut Vec::new()) {
            Answer::Signed { recovered: true, whole_until, .. } => whole_until.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(comes_back(&mut recipient(Stage::Live), 99_900), 100_000 - window);
    assert_eq!(comes_back(&mut recipient(Stage::Live), 81_000), 81_000);
    assert_eq!(comes_back(&mut recipient(Stage::Shadow), 81_000), 100_000 - window, "nothing of it is emitted");
    // Until it is told, also after a flip back.
    let mut late = recipient(Stage::Live);
    told(&mut late, 90_000, Input::Flip { to: Stage::Shadow, session_lost: None });
    assert_eq!(comes_back(&mut late, 81_000), 81_000);
    // Its queue alone is lost.
    let mut alone = recipient(Stage::Live);
    told(&mut alone, 90_000, Input::QueueLost { reason: Reason::QueueLost, since: Millis(82_000) });
    assert_eq!(comes_back(&mut alone, 99_900), 82_000);
}
