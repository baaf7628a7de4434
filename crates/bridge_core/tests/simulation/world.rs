//! The world: what happens when, to whom.

mod broker;
mod connections;
mod flips;
mod posts;
mod silence;

use std::collections::BTreeMap;

use bridge_core::recipient::{Copy, Effect, Input, LinkId, Parcel};
use bridge_core::{SocketId, Stage};

use crate::client::{Page, Tab, Token, What};
use crate::instance::{Held, Instance, Queue};
use crate::plan::{Plan, Published, Step};

/// One message of the world.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) dialog: usize,
    pub(crate) instance: usize,
    pub(crate) started: u64,
    /// When the instance took Chat3's answer.
    pub(crate) accepted: Option<u64>,
    pub(crate) published: Vec<Published>,
    /// When its update reached an instance's recipient.
    pub(crate) arrived: BTreeMap<(usize, usize), u64>,
}

/// A member who is none any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) user: usize,
    pub(crate) dialog: usize,
    pub(crate) at: u64,
    pub(crate) learnt: u64,
}

/// An update that had no queue to come through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    pub(crate) instance: usize,
    pub(crate) user: usize,
    pub(crate) message: usize,
    pub(crate) at: u64,
    /// The queue was lost; else it was late.
    pub(crate) lost: bool,
    /// When it was live again.
    pub(crate) live: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Step(usize),
    Answer { message: usize, readable: bool },
    Refused { message: usize },
    Publish { message: usize, user: usize, altered: bool },
    Deliver { instance: usize, user: usize, generation: u64, message: usize, altered: bool },
    Take { instance: usize, link: LinkId },
    Arrive { instance: usize, link: LinkId },
    Tick { instance: usize, user: usize },
    QueueUp { instance: usize, user: usize, generation: u64 },
    SessionUp { instance: usize, generation: u64 },
    Flip { instance: usize, to: Stage },
    Warm { instance: usize, until: u64 },
    Drained { instance: usize },
    Heard { instance: usize, since: u64, lost: bool },
    Prove { instance: usize, flipped: u64 },
    Noticed { instance: usize, link: LinkId, user: usize },
    Check { instance: usize, user: usize, socket: SocketId, since: u64 },
    Join { tab: usize, dialog: usize },
    Renew { tab: usize, last: bool, token: Token },
    Removed { user: usize, dialog: usize },
}

/// See the module's text.
pub(crate) struct World<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) instances: Vec<Instance>,
    pub(crate) tabs: Vec<Tab>,
    pub(crate) pages: Vec<Page>,
    pub(crate) messages: BTreeMap<usize, Message>,
    /// When who was put out of which dialog, and when the instances learnt it.
    pub(crate) removals: Vec<Removal>,
    pub(crate) missed: Vec<Missed>,
    pub(crate) fault: Option<String>,
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        let instances = (0..plan.instances).map(|_| Instance::new(plan, 0)).collect();
        let tab = |user: &usize| Tab {
            user: *user,
            connection: None,
            socket: None,
            token: None,
            page: None,
            wants: Default::default(),
            last: None,
            stalled_until: 0,
        };
        let mut world = Self {
            plan,
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            instances,
            tabs: plan.tabs.iter().map(tab).collect(),
            pages: Vec::new(),
            messages: BTreeMap::new(),
            removals: Vec::new(),
            missed: Vec::new(),
            fault: None,
        };
        for (number, (at, _)) in plan.steps.iter().enumerate() {
            world.at(*at, Event::Step(number));
        }
        world
    }

    /// Runs until nothing happens any more.
    pub(crate) fn run(&mut self) {
        let mut count = 0_u32;
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.happen(event);
            count += 1;
            assert!(count < 200_000, "the world comes to rest");
        }
        let end = bridge_core::Millis(self.now + 200_000);
        for instance in &mut self.instances {
            let closed = instance.comparator.expire(end);
            instance.closed.extend(closed);
        }
    }

    /// Everything that clients saw and comparisons found, as one text.
    pub(crate) fn digest(&self) -> String {
        let closed: Vec<_> = self.instances.iter().map(|instance| format!("{:?}", instance.closed)).collect();
        format!("{:?} {closed:?} {:?}", self.pages, self.fault)
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at.max(self.now), self.sequence), event);
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    /// A delay that is the same for the same event, whatever else happens.
    pub(crate) fn jitter(&self, salt: u64, most: u64) -> u64 {
        crate::chance::Chance::new(salt.wrapping_mul(31).wrapping_add(self.now)).between(1, most)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(number) => self.step(number),
            Event::Answer { message, readable } => self.answered(message, readable),
            Event::Refused { message } => self.refused(message),
            Event::Publish { message, user, altered } => self.publish(message, user, altered),
            Event::Deliver { instance, user, generation, message, altered } => {
                let here = &mut self.instances[instance];
                if here.queues.get(&user) != Some(&Queue::Live { generation }) {
                    self.miss(instance, user, message);
                } else if here.facts.silent.is_some() {
                    here.held.push(Held { user, generation, message, altered, at: self.now });
                } else {
                    self.deliver(instance, user, message, altered);
                }
            }
            Event::Take { instance, link } => self.take(instance, link),
            Event::Arrive { instance, link } => self.arrive(instance, link),
            Event::Tick { instance, user } => {
                self.instances[instance].ticks.remove(&user);
                // Where they have a share, all of them may be short of memory for a moment.
                let plenty = self.instances[instance].facts.replay;
                if plenty.share < plenty.most && self.now.is_multiple_of(3) {
                    self.instances[instance].facts.replay.most = plenty.share;
                    self.instances[instance].short = self.now;
                }
                self.apply(instance, user, Input::Tick);
                self.instances[instance].facts.replay = plenty;
            }
            Event::QueueUp { instance, user, generation } => self.queue_up(instance, user, generation),
            Event::SessionUp { instance, generation } => self.session_up(instance, generation),
            Event::Flip { instance, to } => self.flip(instance, to),
            Event::Warm { instance, until } => self.warm(instance, until),
            Event::Drained { instance } => self.drained(instance),
            Event::Heard { instance, since, lost } => self.heard(instance, since, lost),
            Event::Prove { instance, flipped } => self.prove(instance, flipped),
            Event::Noticed { instance, link, user } => self.noticed(instance, link, user),
            Event::Check { instance, user, socket, since } => self.check(instance, user, socket, since),
            Event::Join { tab, dialog } => self.join(tab, dialog),
            Event::Renew { tab, last, token } => self.renew(tab, last, token),
            Event::Removed { user, dialog } => self.removed(user, dialog),
        }
    }

    fn step(&mut self, number: usize) {
        match self.plan.steps[number].1.clone() {
            Step::Connect { tab, instance } => {
                if self.tabs[tab].connection.is_none() {
                    self.connect(tab, instance, None, false);
                }
            }
            Step::Join { tab, dialog } => {
                self.tabs[tab].wants.insert(dialog);
                self.join(tab, dialog);
            }
            Step::Leave { tab, dialog } => self.leave(tab, dialog),
            Step::Messages { tab, wanted } => self.messages(tab, wanted),
            Step::Drop { tab, arrives, noticed } => self.drop(tab, arrives, noticed),
            Step::Resume { tab, instance, last, late } => {
                if self.tabs[tab].connection.is_none() {
                    self.connect(tab, instance, Some(last), late);
                }
            }
            Step::Stall { tab, lasts } => self.tabs[tab].stalled_until = self.now + lasts,
            Step::Post { message, dialog, instance, sender, fate, published } => {
                self.post(message, dialog, instance, sender, fate, published);
            }
            Step::Remove { user, dialog, learnt } => {
                let at = self.now;
                self.removals.push(Removal { user, dialog, at, learnt: at + learnt });
                self.after(learnt, Event::Removed { user, dialog });
            }
            Step::SessionLost { instance, lasts } => self.session_lost(instance, lasts),
            Step::Silent { instance, lasts, lost } => self.silent(instance, lasts, lost),
            Step::QueueLost { instance, user, lasts } => self.queue_lost(instance, user, lasts),
            Step::Flip { to, skew } => {
                for instance in 0..self.plan.instances {
                    self.after(skew * instance as u64, Event::Flip { instance, to });
                }
            }
            Step::Restart { instance } => self.restart(instance),
        }
    }

    /// One input of one user, and all that comes of it.
    pub(crate) fn apply(
        &mut self,
        instance: usize,
        user: usize,
        input: Input<'_>,
    ) -> bridge_core::recipient::Answer {
        let now = self.now;
        let (answer, effects) = self.instances[instance].apply(now, user, input);
        for effect in effects {
            self.run_effect(instance, user, effect);
        }
        let here = &mut self.instances[instance];
        if let Some(wakes) = here.recipients.get(&user).and_then(|recipient| recipient.wakes()) {
            let at = wakes.0.max(now + 1).next_multiple_of(50);
            if here.ticks.get(&user).is_none_or(|before| *before > at) {
                here.ticks.insert(user, at);
                self.at(at, Event::Tick { instance, user });
            }
        }
        answer
    }

    fn run_effect(&mut self, instance: usize, user: usize, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Send { link, serial, parcel, .. } => self.send(instance, link, serial, what(&parcel)),
            Effect::Cut { link } => self.cut(instance, link),
            Effect::Want(_) => self.want(instance, user),
            Effect::Entered(dialog) => {
                self.instances[instance].rooms.entry(dialog).or_default().insert(user);
            }
            Effect::Left(dialog) => {
                let room = self.instances[instance].rooms.entry(dialog).or_default();
                assert!(room.remove(&user), "who leaves a room was in it");
            }
            Effect::Observe(event) => self.instances[instance].observe(now, event),
            Effect::Count(_) => {}
            Effect::Ended { socket, into } => {
                let tokens = &mut self.instances[instance].tokens;
                match into {
                    Some(into) => {
                        tokens.values_mut().filter(|(_, own)| *own == socket).for_each(|token| token.1 = into);
                    }
                    None => tokens.retain(|_, (_, own)| *own != socket),
                }
            }
        }
    }
}

fn what(parcel: &Parcel) -> What {
    match parcel {
        Parcel::Copy(copy) => {
            let text = match copy {
                Copy::Legacy(legacy) => legacy.data.get(),
                Copy::Update(update) => update.body.get(),
            };
            let from = text.find("number ").expect("its content names it") + 7;
            let digits: String = text[from..].chars().take_while(char::is_ascii_digit).collect();
            What::Message(digits.parse().expect("a number"))
        }
        Parcel::Resync(gap) => What::Resync(gap.since.0),
    }
}
