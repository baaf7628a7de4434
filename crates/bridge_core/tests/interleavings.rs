//! Exhaustive search over short histories of the real gate: whatever the order of acceptance, answer, update, flip,
//! broker death and waiting, a client that should see a message gets it exactly once. And the search is worth
//! something: without ledger, ring, or dwell it finds a history that loses or doubles one.
#![expect(clippy::print_stdout, reason = "what was found, for who looks on")]

use bridge_core::gate::{Arrival, Gate, Limits, Sockets};
use bridge_core::{Key, Millis, Path, SocketId, Stage};

const WINDOW: u64 = 100;
const SOCKET: SocketId = SocketId(1);

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Chat3 accepts the next message.
    Accept(usize),
    /// The bridge reads Chat3's answer to it.
    Answer(usize),
    /// Its update arrives.
    Update(usize),
    /// A copy of its update arrives again.
    Again(usize),
    /// Its update was published before there was a queue.
    NoQueue(usize),
    Flip(Stage),
    /// The broker dies, with every update that is on its way.
    Kill,
    /// Half a window passes.
    Wait,
}

#[derive(Clone, Copy, PartialEq)]
enum Pending {
    Due,
    Done,
    Lost,
}

#[derive(Clone)]
struct Message {
    accepted: Millis,
    /// It was accepted while no queue was bound.
    unbound: bool,
    answer: Pending,
    update: Pending,
    again: bool,
    /// It was posted on another instance: only its update comes here, and is owed where rabbitmq was authoritative.
    elsewhere: bool,
    owed: bool,
    delivered: u32,
}

#[derive(Clone)]
struct World {
    gate: Gate<usize>,
    now: Millis,
    messages: Vec<Message>,
    flips: usize,
    waits: usize,
    killed: bool,
    history: Vec<Step>,
    scope: Scope,
}

/// How far the search goes.
#[derive(Clone, Copy)]
struct Scope {
    messages: usize,
    flips: usize,
    waits: usize,
    kill: bool,
    again: bool,
    /// The first message is posted on another instance.
    elsewhere: bool,
    /// Chat3's worker is behind: updates come at any time, forward flips go as far as `live`.
    late: bool,
    start: Stage,
}

fn key(message: usize) -> Key {
    Key::of_numbers(&[message as u128], true)
}

impl World {
    fn new(limits: Limits, scope: Scope) -> Self {
        let gate = Gate::new(limits, scope.start);
        Self {
            gate,
            now: Millis(1_000),
            messages: vec![],
            flips: 0,
            waits: 0,
            killed: false,
            history: vec![],
            scope,
        }
    }

    fn arrive(&mut self, path: Path, message: usize) {
        let sockets = Sockets::from_slice(&[SOCKET]);
        let since = self.messages[message].accepted;
        let arrival = Arrival { path, key: key(message), sockets, since, payload: message, bytes: 1 };
        let decision = self.gate.arrive(self.now, &arrival);
        self.messages[message].delivered += u32::from(!decision.emit.is_empty());
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for emission in self.gate.tick(self.now, |_| true) {
            self.messages[emission.payload].delivered += 1;
        }
    }

    /// Everything that could happen next.
    fn steps(&self, scope: Scope) -> Vec<Step> {
        let mut steps = Vec::new();
        let count = self.messages.len();
        if count < scope.messages {
            steps.push(Step::Accept(count));
        }
        for (n, message) in self.messages.iter().enumerate() {
            if message.answer == Pending::Due {
                steps.push(Step::Answer(n));
            }
            if message.update == Pending::Due {
                steps.push(Step::Update(n));
                if message.unbound {
                    steps.push(Step::NoQueue(n));
                }
            }
            if scope.again && message.update == Pending::Done && !message.again && !self.killed {
                steps.push(Step::Again(n));
            }
        }
        let stage = self.gate.stage();
        if self.flips < scope.flips {
            // Forward one stage at a time and with a living broker; back any distance, always.
            let forward = stage.next().filter(|to| !(self.killed || scope.late && *to == Stage::Complete));
            let back = Stage::ALL.into_iter().filter(|to| *to < stage);
            steps.extend(forward.into_iter().chain(back).map(Step::Flip));
        }
        if scope.kill && !self.killed && stage != Stage::Complete {
            steps.push(Step::Kill);
        }
        if self.waits < scope.waits && self.may_wait() {
            steps.push(Step::Wait);
        }
        steps
    }

    fn is_elsewhere(&self) -> bool {
        self.scope.elsewhere && self.messages.is_empty()
    }

    /// Answers and updates come within the window of their acceptance; only so much is promised.
    fn may_wait(&self) -> bool {
        let late = |message: &Message| self.now.plus(WINDOW / 2).since(message.accepted) >= WINDOW;
        let due = |message: &&Message| {
            message.answer == Pending::Due || (message.update == Pending::Due && !self.scope.late)
        };
        !self.messages.iter().filter(due).any(late)
    }

    fn take(&mut self, step: Step) {
        self.history.push(step);
        self.pass(1);
        match step {
            Step::Accept(_) => self.messages.push(Message {
                accepted: self.now,
                unbound: self.gate.stage() == Stage::Legacy,
                answer: if self.is_elsewhere() { Pending::Done } else { Pending::Due },
                elsewhere: self.is_elsewhere(),
                owed: !self.is_elsewhere() || self.gate.stage().use_rabbitmq_updates(),
                update: if self.killed { Pending::Lost } else { Pending::Due },
                again: false,
                delivered: 0,
            }),
            Step::Answer(n) => {
                self.messages[n].answer = Pending::Done;
                self.arrive(Path::Legacy, n);
            }
            Step::Update(n) => {
                self.messages[n].update = Pending::Done;
                self.arrive(Path::Rabbitmq, n);
            }
            Step::Again(n) => {
                self.messages[n].again = true;
                self.arrive(Path::Rabbitmq, n);
            }
            Step::NoQueue(n) => self.messages[n].update = Pending::Lost,
            Step::Flip(to) => {
                self.flips += 1;
                for emission in self.gate.flip(self.now, to) {
                    self.messages[emission.payload].delivered += 1;
                }
            }
            Step::Kill => {
                self.killed = true;
                for message in &mut self.messages {
                    if message.update == Pending::Due {
                        message.update = Pending::Lost;
                        message.owed &= !message.elsewhere;
                    }
                }
            }
            Step::Wait => {
                self.waits += 1;
                self.pass(WINDOW / 2);
            }
        }
    }

    /// What went wrong once everything has come and all windows have closed.
    fn verdict(mut self, scope: Scope) -> Option<String> {
        if self.messages.len() < scope.messages || self.messages.iter().any(|m| m.answer == Pending::Due) {
            return None;
        }
        if self.messages.iter().any(|m| m.update == Pending::Due) {
            return None;
        }
        for _ in 0..5 {
            self.pass(WINDOW);
        }
        let wrong = self.messages.iter().position(|m| m.delivered > 1 || (m.owed && m.delivered == 0))?;
        let times = self.messages[wrong].delivered;
        Some(format!("message {wrong} was delivered {times} times\n  {:?} {:?}", scope.start, self.history))
    }
}

/// Searches all histories in `scope`; returns how many ended, or the first that went wrong.
fn search(limits: Limits, scope: Scope) -> Result<u64, String> {
    fn go(world: &World, scope: Scope, ended: &mut u64) -> Result<(), String> {
        if let Some(wrong) = world.clone().verdict(scope) {
            return Err(wrong);
        }
        let steps = world.steps(scope);
        *ended += u64::from(steps.is_empty());
        for step in steps {
            let mut next = world.clone();
            next.take(step);
            go(&next, scope, ended)?;
        }
        Ok(())
    }
    let mut ended = 0;
    go(&World::new(limits, scope), scope, &mut ended).map(|()| ended)
}

fn limits() -> Limits {
    Limits { window: WINDOW, dwell: WINDOW, ..Limits::default() }
}

fn scopes() -> Vec<Scope> {
    let one = Scope {
        messages: 1,
        flips: 3,
        waits: 2,
        kill: true,
        again: true,
        elsewhere: false,
        late: false,
        start: Stage::Legacy,
    };
    let two = Scope {
        messages: 2,
        flips: 2,
        waits: 1,
        kill: true,
        again: false,
        elsewhere: false,
        late: false,
        start: Stage::Legacy,
    };
    let three = Scope {
        messages: 3,
        flips: 1,
        waits: 0,
        kill: false,
        again: false,
        elsewhere: false,
        late: false,
        start: Stage::Legacy,
    };
    let elsewhere = Scope { elsewhere: true, kill: false, ..two };
    let late = Scope { late: true, waits: 4, kill: false, ..one };
    let late_two = Scope { late: true, waits: 2, kill: false, ..two };
    let starts = |scope: Scope| {
        let starts = Stage::ALL.into_iter().filter(move |start| !scope.late || *start == Stage::Legacy);
        starts.map(move |start| Scope { start, ..scope })
    };
    [one, two, three, elsewhere, late, late_two].into_iter().flat_map(starts).collect()
}

fn search_all(limits: Limits) -> Result<u64, String> {
    scopes().into_iter().try_fold(0, |sum, scope| search(limits, scope).map(|ended| sum + ended))
}

#[test]
fn no_history_loses_or_doubles_a_message() {
    match search_all(limits()) {
        Ok(ended) => assert!(ended > 100_000, "only {ended} histories: the search has shrunk"),
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn nor_where_every_delivery_is_packed_at_once() {
    let scopes = scopes().into_iter().filter(|scope| scope.messages < 2);
    for scope in scopes {
        if let Err(wrong) = search(Limits { ledger_fresh: 1, ..limits() }, scope) {
            panic!("{wrong}");
        }
    }
}

fn must_break(what: &str, limits: Limits, symptom: &str) {
    let wrong = search_all(limits).expect_err(what);
    println!("{what}: {wrong}");
    assert!(wrong.contains(symptom), "{what}: expected {symptom:?}: {wrong}");
}

#[test]
fn without_ledger_a_message_is_doubled() {
    must_break("no ledger", Limits { ledger_keys: 0, ..limits() }, "delivered 2 times");
}

#[test]
fn with_a_ledger_that_forgets_too_soon_a_message_is_doubled() {
    let forgetful = Limits { after_twin: 1, remember: 1, ..limits() };
    must_break("forgetful ledger", forgetful, "delivered 2 times");
}

#[test]
fn with_a_ledger_that_forgets_after_some_windows_a_late_update_is_a_second_one() {
    let forgetful = Limits { remember: 2 * WINDOW, after_twin: 2 * WINDOW, ..limits() };
    must_break("short memory", forgetful, "delivered 2 times");
}

#[test]
fn without_ring_a_message_is_lost() {
    must_break("no ring", Limits { ring_copies: 0, ..limits() }, "delivered 0 times");
}

#[test]
fn with_a_ring_of_one_a_message_is_lost() {
    must_break("ring of one", Limits { ring_copies: 1, ..limits() }, "delivered 0 times");
}

#[test]
fn without_dwell_an_update_on_its_way_is_lost() {
    must_break("no dwell", Limits { dwell: 0, ..limits() }, "delivered 0 times");
}

#[test]
fn without_rescue_a_dead_broker_loses_a_message() {
    must_break("no rescue", Limits { rescue: false, ..limits() }, "delivered 0 times");
}
