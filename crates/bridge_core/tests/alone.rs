//! An update that seems to have no twin is held and closed in a shorter way: whatever comes, it says the same.

#[path = "kit/seen.rs"]
mod seen;

use bridge_core::compare::{Comparator, Event, Fact, Limits, Payload, Seen};
use bridge_core::{DialogId, Millis, Path, Stage};
use proptest::prelude::*;
use seen::*;

const USERS: [&str; 3] = ["u", "v", "w"];

/// Messages below are posted here if at all, by the POST of their number; the others elsewhere.
const OURS: usize = 3;

#[derive(Clone, Debug)]
enum Happens {
    /// To whom, which message, whether it makes one, AMQP's flag.
    Update(usize, usize, bool, bool),
    Legacy(usize, usize),
    Started(usize),
    /// It makes no message here.
    Other,
    Accepted(usize),
    Refused(usize),
    Unknown(usize),
    Churn(usize),
    Session(bool),
    Renewed(usize),
    Stage(usize, bool),
    Released(usize, usize),
    Shed,
}

/// What is known of a POST of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Post {
    #[default]
    None,
    Open(u64),
    Accepted,
    /// There may be a message.
    Unknown,
    Refused,
}

/// Keeps to what can be: no copy of a message before its POST began, no answer to one that is not open, and none that
/// stays open for minutes.
#[derive(Default)]
struct World([Post; OURS]);

impl World {
    fn events(&mut self, at: u64, happens: &Happens) -> Vec<Event> {
        let mut events = Vec::new();
        for (n, post) in self.0.iter_mut().enumerate() {
            if matches!(post, Post::Open(began) if at > *began + 20_000) {
                *post = Post::Unknown;
                events.push(fact(at, Fact::PostUnknown { post: n as u64 }));
            }
        }
        events.extend(self.event(at, happens));
        events
    }

    fn event(&mut self, at: u64, happens: &Happens) -> Option<Event> {
        let of = |n: usize| self.0.get(n).copied();
        let number = |n: usize| u32::try_from(n).unwrap();
        let tell = |told| Some(fact(at, told));
        match *happens {
            Happens::Update(to, n, creation, redelivered) => {
                if creation && matches!(of(n), Some(Post::None | Post::Refused)) {
                    return None;
                }
                let kind = if creation { "message.create" } else { "message.update" };
                let update = update(USERS[to], number(n), "hello", kind);
                let (key, payload) = (update.key.clone(), Payload::Update(update));
                let base = seen(at, Path::Rabbitmq, USERS[to], number(n));
                Some(see(Seen { key, message: None, sender: None, redelivered, payload, ..base }))
            }
            Happens::Legacy(to, n) => {
                let posted = matches!(of(n), Some(Post::Open(_) | Post::Accepted));
                posted.then(|| see(seen(at, Path::Legacy, USERS[to], number(n))))
            }
            Happens::Started(n) => {
                if of(n) != Some(Post::None) {
                    return None;
                }
                self.0[n] = Post::Open(at);
                Some(started(at, n as u64))
            }
            Happens::Other => {
                let dialog = DialogId::new("dlg_2").unwrap();
                tell(Fact::PostStarted { post: at + 100, dialog, sender: user("sender") })
            }
            Happens::Accepted(n) | Happens::Refused(n) | Happens::Unknown(n) => {
                if !matches!(of(n), Some(Post::Open(_))) {
                    return None;
                }
                let post = n as u64;
                let (after, event) = match happens {
                    Happens::Accepted(_) => (Post::Accepted, accepted(at, post, number(n))),
                    Happens::Refused(_) => (Post::Refused, fact(at, Fact::PostRefused { post })),
                    _ => (Post::Unknown, fact(at, Fact::PostUnknown { post })),
                };
                self.0[n] = after;
                Some(event)
            }
            Happens::Churn(to) => tell(Fact::Churn { user: user(USERS[to]) }),
            Happens::Session(up) => tell(Fact::Session { up }),
            Happens::Renewed(to) => tell(Fact::QueueRenewed { user: user(USERS[to]) }),
            Happens::Stage(to, path) => {
                let to_stage = if path { Stage::Complete } else { Stage::Live };
                tell(Fact::StageChanged { user: user(USERS[to]), from: Stage::Shadow, to: to_stage })
            }
            Happens::Released(to, n) => {
                let (key, why) = (legacy(at, number(n)).key, bridge_core::gate::Why::Rescued);
                tell(Fact::Released { user: user(USERS[to]), key, why })
            }
            Happens::Shed => Some(Event::Shed(Millis(at), 1)),
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let (to, of, ours) = (0..USERS.len(), 0..OURS + 2, 0..OURS);
    prop_oneof![
        12 => (to.clone(), of.clone(), any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(to, n, creation, again)| Happens::Update(to, n, creation, again)),
        4 => (to.clone(), ours.clone()).prop_map(|(to, n)| Happens::Legacy(to, n)),
        4 => ours.clone().prop_map(Happens::Started),
        1 => Just(Happens::Other),
        2 => ours.clone().prop_map(Happens::Accepted),
        1 => ours.clone().prop_map(Happens::Refused),
        1 => ours.prop_map(Happens::Unknown),
        1 => to.clone().prop_map(Happens::Churn),
        1 => any::<bool>().prop_map(Happens::Session),
        1 => to.clone().prop_map(Happens::Renewed),
        1 => (to.clone(), any::<bool>()).prop_map(|(to, path)| Happens::Stage(to, path)),
        1 => (to, of).prop_map(|(to, n)| Happens::Released(to, n)),
        1 => Just(Happens::Shed),
    ]
}

/// Of each step what closed, and the numbers at the end. Where payloads are kept, nothing is taken for alone.
fn told(steps: &[(u64, Happens)], whole: bool) -> (Vec<String>, String) {
    let mut comparator = Comparator::new(Limits { window: WINDOW, memory: 16 << 20 });
    comparator.keep_payloads(whole);
    comparator.observe(up(1));
    let (mut at, mut told, mut world) = (10, Vec::new(), World::default());
    let mut look = |comparator: &mut Comparator, at: u64| {
        for mut closed in comparator.expire(Millis(at)) {
            closed.payloads.clear();
            told.push(format!("{closed:?}"));
        }
    };
    for (later, happens) in steps {
        at += later;
        look(&mut comparator, at);
        world.events(at, happens).into_iter().for_each(|event| comparator.observe(event));
    }
    look(&mut comparator, at + WINDOW);
    look(&mut comparator, at + 200_000);
    (told, format!("{:?} {} {}", comparator.summary(), comparator.names(), comparator.bytes()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_said_does_not_depend_on_how_it_was_held(
        steps in proptest::collection::vec((prop_oneof![0..200_u64, 500..1_500_u64, Just(61_000)], happens()), 1..40),
    ) {
        prop_assert_eq!(told(&steps, false), told(&steps, true));
    }
}
