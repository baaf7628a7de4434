//! One instance as its shell would run it: lookups, connections, tokens and queues around the real recipients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bridge_core::compare::{Closed, Comparator, Event, Fact, Limits as CompareLimits};
use bridge_core::gate::Limits;
use bridge_core::recipient::{Answer, Effect, Input, LinkId, Recipient, ReplayLimit, Rules, World};
use bridge_core::update::Update;
use bridge_core::{DialogId, Millis, SocketId, Stage, UserId};

use crate::client::Link;
use crate::plan::{Plan, WINDOW};

/// What the instance knows beside its recipients.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) session_up: bool,
    pub(crate) running: bool,
    /// Since when nothing comes from the broker, which nobody has noticed.
    pub(crate) silent: Option<u64>,
    pub(crate) posts: BTreeMap<usize, (Millis, usize)>,
    pub(crate) strangers: BTreeSet<(DialogId, UserId)>,
    pub(crate) replay: ReplayLimit,
    /// Up to which serial each connection's transport took everything.
    pub(crate) taken: BTreeMap<LinkId, u64>,
    /// Whom the question about a member is about.
    pub(crate) user: Option<UserId>,
}

impl World for Facts {
    fn is_member(&self, dialog: &DialogId) -> Option<bool> {
        let user = self.user.clone()?;
        Some(!self.strangers.contains(&(dialog.clone(), user)))
    }

    fn dialog_of(&self, update: &Update) -> Option<DialogId> {
        update.dialog().and_then(|id| DialogId::new(id).ok())
    }

    fn posted_in(&self) -> Vec<DialogId> {
        self.posts.values().map(|(_, dialog)| dialog_id(*dialog)).collect()
    }

    fn session_is_up(&self) -> bool {
        self.session_up
    }

    fn heard(&self) -> Option<Millis> {
        self.silent.map(Millis)
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn members_hear_legacy(&self) -> bool {
        false
    }

    fn replay_limit(&self) -> ReplayLimit {
        self.replay
    }

    fn handed(&self, link: LinkId) -> u64 {
        self.taken.get(&link).copied().unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Pending { generation: u64, lost: Option<(Millis, bool)> },
    Live { generation: u64 },
}

/// An update that a silent line holds back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) user: usize,
    pub(crate) generation: u64,
    pub(crate) message: usize,
    pub(crate) altered: bool,
    pub(crate) at: u64,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) stage: Stage,
    pub(crate) facts: Facts,
    pub(crate) session_lost: Option<Millis>,
    pub(crate) generation: u64,
    pub(crate) recipients: BTreeMap<usize, Recipient>,
    pub(crate) rooms: BTreeMap<DialogId, BTreeSet<usize>>,
    pub(crate) tokens: BTreeMap<u64, (usize, SocketId)>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) queues: BTreeMap<usize, Queue>,
    pub(crate) held: Vec<Held>,
    pub(crate) ticks: BTreeMap<usize, u64>,
    pub(crate) next: u64,
    /// When it was short of memory last.
    pub(crate) short: u64,
    pub(crate) draining: bool,
    pub(crate) flipping: bool,
    pub(crate) comparator: Comparator,
    pub(crate) closed: Vec<Closed>,
    /// Stage from when on, for the oracle.
    pub(crate) stages: Vec<(u64, Stage)>,
    pub(crate) outages: Vec<(u64, Option<u64>)>,
    rules: Arc<Rules>,
}

/// Of a comparison, in bytes: what a short world needs many times over, because its sets are made anew in every world.
const MEMORY: usize = 1 << 20;

pub(crate) fn dialog_id(dialog: usize) -> DialogId {
    DialogId::new(&format!("dlg_{dialog}")).expect("a dialog id")
}

pub(crate) fn user_id(user: usize) -> UserId {
    UserId::new(&format!("usr_{user}")).expect("a user id")
}

impl Instance {
    pub(crate) fn new(plan: &Plan, at: u64) -> Self {
        let gate = Limits { window: WINDOW, dwell: WINDOW, ..Limits::default() };
        let rules = Rules { tenant: "tnt".into(), gate, linger: plan.linger, replay_age: plan.linger + 60_000 };
        let mut strangers = BTreeSet::new();
        for (dialog, members) in plan.members.iter().enumerate() {
            for (user, _) in members.iter().enumerate().filter(|(_, member)| !**member) {
                strangers.insert((dialog_id(dialog), user_id(user)));
            }
        }
        let running = plan.start.runs_rabbitmq();
        let mut comparator = Comparator::new(CompareLimits { window: WINDOW, memory: MEMORY });
        comparator.observe(Event::Fact(Millis(at), Fact::Session { up: true }));
        Self {
            stage: plan.start,
            facts: Facts {
                session_up: true,
                running,
                silent: None,
                posts: BTreeMap::new(),
                strangers,
                replay: plan.replay,
                taken: BTreeMap::new(),
                user: None,
            },
            session_lost: None,
            generation: 1,
            recipients: BTreeMap::new(),
            rooms: BTreeMap::new(),
            tokens: BTreeMap::new(),
            links: BTreeMap::new(),
            queues: BTreeMap::new(),
            held: Vec::new(),
            ticks: BTreeMap::new(),
            next: at * 1_000,
            short: 0,
            draining: false,
            flipping: false,
            comparator,
            closed: Vec::new(),
            stages: vec![(at, plan.start)],
            outages: Vec::new(),
            rules: Arc::new(rules),
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn fact(&mut self, now: u64, fact: Fact) {
        self.observe(now, Event::Fact(Millis(now), fact));
    }

    pub(crate) fn observe(&mut self, now: u64, event: Event) {
        self.closed.extend(self.comparator.expire(Millis(now)));
        self.comparator.observe(event);
    }

    /// One input for one user; the user is made when it signs on.
    pub(crate) fn apply(&mut self, now: u64, user: usize, input: Input<'_>) -> (Answer, Vec<Effect>) {
        let mut effects = Vec::new();
        let makes = matches!(input, Input::SignedOn(_));
        if makes && !self.recipients.contains_key(&user) {
            let made = Recipient::new(user_id(user), Arc::clone(&self.rules), self.stage);
            self.recipients.insert(user, made);
        }
        let Some(recipient) = self.recipients.get_mut(&user) else { return (Answer::Gone, effects) };
        self.facts.user = Some(user_id(user));
        let answer = recipient.apply(Millis(now), input, &self.facts, &mut effects);
        self.facts.user = None;
        let load = recipient.load();
        assert!(load.ledger_overflow == 0 && load.ring_overflow == 0, "nothing overflows: {load:?}");
        let sockets = recipient.sockets().len();
        assert!(recipient.replay_bytes() <= sockets * self.facts.replay.most, "replays are bounded");
        if sockets == 0 {
            self.recipients.remove(&user);
            self.queues.remove(&user);
        }
        (answer, effects)
    }

    pub(crate) fn queue_is_live(&self, user: usize) -> bool {
        matches!(self.queues.get(&user), Some(Queue::Live { .. }))
    }
}
