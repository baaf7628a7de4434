//! What happens when: everything follows from the seed.

use std::time::Duration;

/// Dice whose throws are the same for the same seed, on every machine.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice of their own for `whom`, who then throws independently of the others.
    pub(super) fn of(seed: u64, whom: u64) -> Self {
        let mut dice = Self(seed ^ whom.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.throw();
        dice
    }

    fn throw(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `from..to`.
    pub(super) fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.throw() % (to - from).max(1)
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.throw() % u64::try_from(count).expect("small")).expect("small")
    }

    /// True in so many of a hundred throws.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.throw() % 100 < percent
    }

    pub(super) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.range(from, to))
    }
}

/// Something breaks, for some time. `usize`: which of the two gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    BrokerKilled,
    BrokerFrozen,
    BrokerStopped,
    ConnectionsClosed,
    QueueDeleted,
    ExchangeRemade,
    BrokerAlarm,
    LineLate(usize),
    LineCut(usize),
    LineZombie(usize),
    LineBlackhole(usize),
    Chat3Down,
    Chat3Slow,
    Chat3Answers(u16),
    Chat3Spoils(&'static str),
    WorkerSilent,
    MembersLate,
    GatewayFrozen(usize),
    GatewayEnded(usize),
    GatewayKilled(usize),
}

impl Fault {
    pub(super) const ALL: [Self; 27] = [
        Self::Chat3Slow,
        Self::LineCut(0),
        Self::GatewayEnded(1),
        Self::BrokerFrozen,
        Self::WorkerSilent,
        Self::BrokerKilled,
        Self::GatewayKilled(1),
        Self::Chat3Down,
        Self::ConnectionsClosed,
        Self::GatewayFrozen(0),
        Self::Chat3Spoils("breaks"),
        Self::LineBlackhole(1),
        Self::QueueDeleted,
        Self::Chat3Answers(429),
        Self::BrokerStopped,
        Self::GatewayFrozen(1),
        Self::LineLate(0),
        Self::Chat3Spoils("garbles"),
        Self::LineZombie(1),
        Self::ExchangeRemade,
        Self::MembersLate,
        Self::Chat3Spoils("halves"),
        Self::LineZombie(0),
        Self::BrokerAlarm,
        Self::Chat3Answers(500),
        Self::LineBlackhole(0),
        Self::Chat3Spoils("forgets"),
    ];

    /// One word for it.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    fn lasts(self, dice: &mut Dice) -> Duration {
        match self {
            Self::BrokerFrozen | Self::GatewayFrozen(_) => dice.ms(1_000, 14_000),
            Self::LineBlackhole(_) | Self::LineZombie(_) => dice.ms(2_000, 18_000),
            Self::ConnectionsClosed | Self::QueueDeleted => Duration::ZERO,
            Self::GatewayEnded(_) | Self::GatewayKilled(_) | Self::BrokerKilled => dice.ms(100, 4_000),
            _ => dice.ms(1_500, 8_000),
        }
    }
}

/// A change of the flag, from wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// One stage on, of the whole fleet; `partial`: of those that can.
    Forward {
        partial: bool,
    },
    /// So many stages back.
    Back(usize),
    Rollback,
    /// The signal, to one of them: they stand apart until the next move.
    Signal(usize),
    Percent(u64),
}

/// A fault, or a move, after a pause.
pub(super) struct Step<T> {
    pub(super) pause: Duration,
    pub(super) what: T,
    pub(super) lasts: Duration,
}

/// How much of `total` the load, flips and faults may take: the rest is for everything to become whole.
pub(super) fn faults(seed: u64, total: Duration) -> Vec<Step<Fault>> {
    let (mut dice, mut sum, mut steps, mut deck) = (Dice::of(seed, 1), Duration::ZERO, Vec::new(), Vec::new());
    loop {
        if deck.is_empty() {
            deck = Fault::ALL.to_vec();
            for at in (1..deck.len()).rev() {
                deck.swap(at, dice.below(at + 1));
            }
        }
        let Some(what) = deck.pop() else { return steps };
        let (pause, lasts) = (dice.ms(4_000, 16_000), what.lasts(&mut dice));
        sum += pause + lasts;
        if sum > total {
            return steps;
        }
        steps.push(Step { pause, what, lasts });
    }
}

pub(super) fn moves(seed: u64, total: Duration) -> Vec<Step<Move>> {
    let (mut dice, mut sum, mut steps) = (Dice::of(seed, 2), Duration::ZERO, Vec::new());
    loop {
        let pause = dice.ms(2_000, 16_000);
        sum += pause;
        if sum > total {
            return steps;
        }
        let what = match dice.range(0, 100) {
            0..60 => Move::Forward { partial: dice.chance(30) },
            60..78 => Move::Back(dice.below(3) + 1),
            78..86 => Move::Rollback,
            86..91 => Move::Signal(dice.below(2)),
            _ => Move::Percent(dice.range(0, 11) * 10),
        };
        steps.push(Step { pause, what, lasts: Duration::ZERO });
    }
}

#[test]
fn a_seed_makes_the_same_plan_each_time_and_another_one_another() {
    let plan = |seed| {
        let hour = Duration::from_secs(3_600);
        let faults =
            faults(seed, hour).iter().map(|step| (step.pause, step.what.name(), step.lasts)).collect::<Vec<_>>();
        let moves = moves(seed, hour).iter().map(|step| (step.pause, step.what)).collect::<Vec<_>>();
        (faults, moves)
    };
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let (faults, _) = plan(7);
    for fault in Fault::ALL {
        assert!(faults.iter().any(|(_, name, _)| *name == fault.name()), "an hour has all of them: {fault:?}");
    }
}
