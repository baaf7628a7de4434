//! What will happen, drawn from a seed before anything does: every step carries its own delays, so that leaving one out
//! changes no other.

use std::fmt;

use bridge_core::Stage;
use bridge_core::recipient::ReplayLimit;

use crate::chance::Chance;

/// How long a copy waits for its twin.
pub(crate) const WINDOW: u64 = 5_000;
/// Bytes of a replay that holds all there is, and of one that holds one or two messages.
const PLENTY: usize = 64 * 1024;
const FEW: usize = 1_600;
/// Most dialogs.
pub(crate) const DIALOGS: usize = 2;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) instances: usize,
    pub(crate) users: usize,
    /// The user of each tab.
    pub(crate) tabs: Vec<usize>,
    /// Whether a user is a member of a dialog.
    pub(crate) members: [Vec<bool>; DIALOGS],
    pub(crate) start: Stage,
    pub(crate) linger: u64,
    /// Bytes of one replay.
    pub(crate) replay: ReplayLimit,
    /// How long a queue takes at most, in ms, until it is live.
    pub(crate) queue_takes: u64,
    /// Answers have two ids and updates the other one, as in November 2025.
    pub(crate) old_ids: bool,
    /// Nothing but posts happens, and every client is there and joined: what is planted has to be named.
    pub(crate) calm: bool,
    pub(crate) steps: Vec<(u64, Step)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A page is loaded, unless one is there: it has no token, and signs on as somebody new.
    Connect {
        tab: usize,
        instance: usize,
    },
    Join {
        tab: usize,
        dialog: usize,
    },
    Leave {
        tab: usize,
        dialog: usize,
    },
    /// It subscribes to messages again, or to all but messages.
    Messages {
        tab: usize,
        wanted: bool,
    },
    /// The connection breaks; what is on the wire is lost unless `arrives`. The instance notices later.
    Drop {
        tab: usize,
        arrives: bool,
        noticed: u64,
    },
    /// It comes back with its token: in the handshake, or (`late`) by a second `authenticate`.
    Resume {
        tab: usize,
        instance: usize,
        last: bool,
        late: bool,
    },
    /// It takes nothing for a while.
    Stall {
        tab: usize,
        lasts: u64,
    },
    Post {
        message: usize,
        dialog: usize,
        instance: usize,
        sender: usize,
        fate: Fate,
        published: Vec<Published>,
    },
    /// The user is put out of the dialog; the instances learn it later.
    Remove {
        user: usize,
        dialog: usize,
        learnt: u64,
    },
    SessionLost {
        instance: usize,
        lasts: u64,
    },
    /// Nothing comes from the broker for a while, and nobody notices; then it comes, or is `lost` with the session.
    Silent {
        instance: usize,
        lasts: u64,
        lost: bool,
    },
    QueueLost {
        instance: usize,
        user: usize,
        lasts: u64,
    },
    /// All instances change over, each `skew` ms after the one before.
    Flip {
        to: Stage,
        skew: u64,
    },
    Restart {
        instance: usize,
    },
}

/// What Chat3 says to a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered(u64),
    Refused(u64),
    /// No readable answer in time; `then` it comes after all.
    Unknown {
        after: u64,
        then: Option<u64>,
    },
}

/// An update for one member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) user: usize,
    pub(crate) after: u64,
    /// Published once more so much later.
    pub(crate) again: Option<u64>,
    pub(crate) altered: bool,
}

/// An outage of the broker in which a user comes.
#[derive(Clone, Copy, Debug)]
struct Late {
    user: usize,
    instance: usize,
    from: u64,
    until: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let calm = chance.percent(15);
        let instances = if calm || chance.percent(50) { 1 } else { chance.below(3) + 1 };
        let users = chance.below(3) + 1;
        let mut tabs: Vec<usize> = (0..users).collect();
        (0..chance.below(3)).for_each(|_| tabs.push(chance.below(users)));
        let mut member = || (0..users).map(|user| user == 0 || chance.percent(85)).collect();
        let members = [member(), member()];
        let start = if calm { Stage::Shadow } else { *chance.pick(&Stage::ALL) };
        let linger = *chance.pick(&[5_000, 5_000, 20_000, 1_000, 0]);
        let old_ids = chance.percent(30);
        let (most, share) = *chance.pick(&[(PLENTY, PLENTY), (PLENTY, PLENTY), (PLENTY, FEW), (FEW, FEW)]);
        let replay = ReplayLimit { most, share };
        let queue_takes = if !calm && chance.percent(8) { 15_000 } else { 100 };
        let steps = Vec::new();
        let mut plan =
            Self { instances, users, tabs, members, start, linger, replay, queue_takes, old_ids, calm, steps };
        plan.draw(&mut chance);
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw(&mut self, chance: &mut Chance) {
        let last = *chance.pick(&[4_000, 15_000, 40_000]);
        let late = (!self.calm && chance.percent(12)).then(|| self.outage(chance.between(500, last), chance));
        for tab in 0..self.tabs.len() {
            let (mut at, mut instance) =
                (if self.calm { 0 } else { chance.between(0, 300) }, chance.below(self.instances));
            if let Some(late) = late.filter(|late| late.user == self.tabs[tab]) {
                (at, instance) = (chance.between(late.from, late.until), late.instance);
            }
            self.steps.push((at, Step::Connect { tab, instance }));
            for dialog in 0..DIALOGS {
                if self.calm || chance.percent(80) {
                    self.steps.push((at + chance.between(1, 20), Step::Join { tab, dialog }));
                }
            }
        }
        let removed = (!self.calm && chance.percent(15)).then(|| {
            let (at, learnt) = (chance.between(1_000, last), chance.between(0, 6_000));
            let (user, dialog) = (chance.below(self.users), chance.below(DIALOGS));
            self.steps.push((at, Step::Remove { user, dialog, learnt }));
            (at, user, dialog)
        });
        let first = if self.calm { 1_000 } else { 400 };
        let slow_worker = chance.percent(20);
        let burst = (!self.calm && chance.percent(12)).then(|| self.burst(chance.between(first, last), chance));
        for message in 0..chance.below(8) + 1 {
            let at = chance.between(first, last);
            let mut post = self.post(message, slow_worker, chance);
            let at = match (burst, &mut post) {
                (Some(burst), Step::Post { dialog, fate, published, .. }) if chance.percent(80) => {
                    (*dialog, *fate) = (0, Fate::Answered(3));
                    published.retain(|published| self.members[0][published.user]);
                    published.iter_mut().for_each(|published| published.after = 2);
                    burst + chance.between(0, 25)
                }
                _ => at,
            };
            let at = late.filter(|_| chance.percent(40)).map_or(at, |late| chance.between(late.from, late.until));
            if let (Some((from, user, dialog)), Step::Post { dialog: to, published, .. }) = (removed, &mut post)
                && at >= from
                && dialog == *to
            {
                published.retain(|published| published.user != user);
            }
            self.steps.push((at, post));
        }
        if self.calm {
            return;
        }
        for _ in 0..chance.below(6) {
            let to = *chance.pick(&Stage::ALL);
            self.steps.push((chance.between(400, last), Step::Flip { to, skew: chance.between(0, 40) }));
        }
        for _ in 0..chance.below(5) {
            self.come_and_go(chance.between(500, last), chance);
        }
        for _ in 0..chance.below(3) {
            let (tab, dialog) = (chance.below(self.tabs.len()), chance.below(DIALOGS));
            let at = chance.between(500, last);
            self.steps.push(match chance.below(4) {
                0 => (at, Step::Leave { tab, dialog }),
                1 => (at, Step::Join { tab, dialog }),
                2 => (at, Step::Messages { tab, wanted: false }),
                _ => (at, Step::Messages { tab, wanted: true }),
            });
        }
        if chance.percent(35) {
            for _ in 0..chance.below(3) + 1 {
                let (instance, lasts) = (chance.below(self.instances), chance.between(20, 9_000));
                let at = chance.between(500, last);
                let user = chance.below(self.users);
                self.steps.push((
                    at,
                    match chance.below(2) {
                        0 => Step::SessionLost { instance, lasts },
                        _ => Step::QueueLost { instance, user, lasts: lasts / 10 },
                    },
                ));
            }
        }
        if chance.percent(8) {
            let instance = chance.below(self.instances);
            self.steps.push((chance.between(600, last), Step::Restart { instance }));
        }
        if chance.percent(12) {
            let (at, instance) = (chance.between(500, last), chance.below(self.instances));
            let (lasts, lost) = (chance.between(200, 18_000), chance.percent(50));
            self.steps.push((at, Step::Silent { instance, lasts, lost }));
            if chance.percent(60) {
                let to = *chance.pick(&[Stage::Legacy, Stage::Shadow, Stage::Live]);
                self.steps.push((at + chance.between(10, lasts), Step::Flip { to, skew: 0 }));
            }
            if self.instances > 1 && lasts > 9_000 && chance.percent(50) {
                self.come_and_move(at + chance.between(6_000, 8_000), instance, chance);
            }
        }
    }

    /// The broker is away for a while, and a user of whom nobody was there comes meanwhile: who has no queue that could be
    /// lost waits for one that is late.
    fn outage(&mut self, from: u64, chance: &mut Chance) -> Late {
        let (user, instance) = (chance.below(self.users), chance.below(self.instances));
        let lasts = chance.between(100, 9_000);
        self.steps.push((from, Step::SessionLost { instance, lasts }));
        Late { user, instance, from, until: from + lasts }
    }

    /// Many messages at once, and a connection that breaks while they are on the wire: of what its transport took, more is
    /// missing than may be kept.
    fn burst(&mut self, at: u64, chance: &mut Chance) -> u64 {
        let (tab, instance) = (chance.below(self.tabs.len()), chance.below(self.instances));
        let (drop, away) = (at + chance.between(15, 60), chance.between(1, 900));
        self.steps.push((drop, Step::Drop { tab, arrives: false, noticed: chance.between(0, 5) }));
        self.steps.push((drop + away, Step::Resume { tab, instance, last: true, late: chance.percent(20) }));
        at
    }

    /// A tab comes back to where it was, and then to another instance, which can't go on from there.
    fn come_and_move(&mut self, at: u64, instance: usize, chance: &mut Chance) {
        let tab = chance.below(self.tabs.len());
        let other = (instance + 1) % self.instances;
        for (at, instance) in [(at, instance), (at + chance.between(200, 900), other)] {
            self.steps.push((at, Step::Drop { tab, arrives: true, noticed: 1 }));
            self.steps
                .push((at + chance.between(2, 100), Step::Resume { tab, instance, last: true, late: false }));
        }
    }

    fn post(&self, message: usize, slow_worker: bool, chance: &mut Chance) -> Step {
        let dialog = chance.below(DIALOGS);
        let after = *chance.pick(&[3, 10, 30, 80, 700, 3_000]);
        let fate = match chance.below(20) {
            0 => Fate::Refused(after),
            1 => Fate::Unknown { after: 10_000, then: chance.percent(50).then(|| chance.between(100, 5_000)) },
            _ => Fate::Answered(after),
        };
        let lost = chance.percent(6);
        let twice = chance.percent(6);
        let altered = chance.percent(4);
        let lag = match chance.below(if slow_worker { 10 } else { 6 }) {
            0..=2 => chance.between(1, 60),
            3 => chance.between(60, 900),
            4 => chance.between(900, 4_000),
            5 => chance.between(4_000, 7_000),
            _ => chance.between(7_000, 30_000),
        };
        let mut published = Vec::new();
        for user in (0..self.users).filter(|user| self.members[dialog][*user]) {
            let partly = chance.percent(4);
            let after = lag + chance.between(0, 8);
            let again = twice.then(|| chance.between(1, 2_000));
            if !lost && !partly && !matches!(fate, Fate::Refused(_)) {
                published.push(Published { user, after, again, altered });
            }
        }
        let (instance, sender) = (chance.below(self.instances), chance.below(self.users));
        Step::Post { message, dialog, instance, sender, fate, published }
    }

    fn come_and_go(&mut self, at: u64, chance: &mut Chance) {
        let tab = chance.below(self.tabs.len());
        if chance.percent(25) {
            self.steps.push((at, Step::Stall { tab, lasts: chance.between(20, 3_000) }));
            return;
        }
        let noticed = *chance.pick(&[0, 1, 5, 100, 2_000]);
        self.steps.push((at, Step::Drop { tab, arrives: chance.percent(60), noticed }));
        let away = *chance.pick(&[1, 10, 200, 900, 3_000, 8_000]);
        let instance = chance.below(self.instances);
        let (last, late) = (chance.percent(60), chance.percent(20));
        let back = if chance.percent(15) {
            Step::Connect { tab, instance }
        } else {
            Step::Resume { tab, instance, last, late }
        };
        self.steps.push((at + away, back));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instances, tabs, members, start, linger, replay, queue_takes, old_ids, calm, .. } = self;
        writeln!(f, "{instances} instances, tabs of users {tabs:?}, members {members:?}, start in {start}")?;
        writeln!(f, "linger {linger} ms, replay {replay:?}, a queue takes {queue_takes} ms at most")?;
        writeln!(f, "old ids {old_ids}, calm {calm}")?;
        self.steps.iter().try_for_each(|(at, step)| writeln!(f, "{at:>7} {step:?}"))
    }
}
