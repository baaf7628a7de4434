//! When what was handled is acknowledged.
//!
//! An acknowledgement is a write here, and there it wakes the connection's reader and the channel, whether it is for one
//! delivery or for fifty. So it waits for more of them, but never so long that the broker waits for it.

use std::time::Duration;

use tokio::time::Instant;

/// It waits so long at most, as far as the socket takes it then.
const LAG: Duration = Duration::from_millis(5);

/// What waits to be acknowledged on all channels.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Grows with each acknowledgement.
    round: u64,
    /// Something waits.
    waits: bool,
    /// It is not to wait any longer.
    now: bool,
    /// All that the broker may send of a consumer waits.
    exhausted: bool,
    /// When it has waited long enough.
    until: Option<Instant>,
}

/// How many deliveries of one consumer wait.
#[derive(Debug, Default)]
pub(super) struct Share {
    round: u64,
    count: u16,
}

impl Lag {
    /// A delivery was handled, of a consumer with this share. `prefetch` of them may be unacknowledged; 0 is no bound.
    pub(super) fn handled(&mut self, share: &mut Share, prefetch: u16) {
        if share.round != self.round {
            *share = Share { round: self.round, count: 0 };
        }
        share.count = share.count.saturating_add(1);
        self.waits = true;
        // With the other half the broker goes on while the acknowledgement is on its way.
        self.now |= prefetch > 0 && share.count >= (prefetch / 2).max(1);
        self.exhausted |= prefetch > 0 && share.count >= prefetch;
    }

    /// One was handled that is no consumer's.
    pub(super) const fn stray(&mut self) {
        self.waits = true;
    }

    /// What waits goes with what is written anyway.
    pub(super) const fn hurry(&mut self) {
        self.now |= self.waits;
    }

    /// Whether all that the broker may send of a consumer waits, so that it stands still.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// When what waits is to be written, as far as something does; the clock is looked at only then.
    pub(super) fn due(&mut self, now: impl FnOnce() -> Instant) -> Option<Due> {
        match (self.waits, self.now) {
            (false, _) => None,
            (true, true) => Some(Due::Now),
            (true, false) => {
                let now = now();
                let until = *self.until.get_or_insert(now + LAG);
                Some(if until <= now { Due::Now } else { Due::At(until) })
            }
        }
    }

    /// It was written.
    pub(super) fn written(&mut self) {
        *self = Self { round: self.round + 1, ..Self::default() };
    }
}

/// See [`Lag::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_wait_for_more_of_them_but_the_broker_never_for_them() {
        let (begin, mut lag, mut shares) =
            (Instant::now(), Lag::default(), [const { Share { round: 0, count: 0 } }; 9]);
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(lag.due(|| panic!("nothing waits")), None);
        // One each of many consumers: for 5 ms, counted from the first.
        for (n, share) in shares.iter_mut().enumerate() {
            lag.handled(share, 5);
            let now = at(u64::try_from(n / 2).unwrap());
            assert_eq!(lag.due(|| now), Some(Due::At(at(5))), "{n}");
        }
        assert_eq!(lag.due(|| at(5)), Some(Due::Now));
        lag.written();
        assert_eq!(lag.due(|| at(5)), None);
        // Half of what one consumer may have, at once; what it had in the round before does not count.
        lag.handled(&mut shares[0], 5);
        assert_eq!(lag.due(|| at(6)), Some(Due::At(at(11))));
        lag.handled(&mut shares[0], 5);
        assert_eq!(lag.due(|| at(6)), Some(Due::Now));
        lag.written();
        for (prefetch, most) in [(1, 1), (2, 1), (3, 1), (256, 128)] {
            let mut share = Share::default();
            (1..most).for_each(|_| lag.handled(&mut share, prefetch));
            assert!(!lag.now, "{prefetch}");
            lag.handled(&mut share, prefetch);
            assert_eq!(lag.due(|| at(6)), Some(Due::Now), "{prefetch}");
            assert_eq!(lag.is_exhausted(), prefetch == 1, "{prefetch}");
            (most..prefetch).for_each(|_| lag.handled(&mut share, prefetch));
            assert!(lag.is_exhausted(), "{prefetch}");
            lag.written();
            assert!(!lag.is_exhausted(), "{prefetch}");
        }
        // Nobody is limited.
        let mut share = Share::default();
        (0..70_000).for_each(|_| lag.handled(&mut share, 0));
        assert_eq!(lag.due(|| at(7)), Some(Due::At(at(12))));
        // Something is written anyway.
        lag.hurry();
        assert_eq!(lag.due(|| at(7)), Some(Due::Now));
        lag.written();
        lag.hurry();
        lag.stray();
        assert_eq!(lag.due(|| at(8)), Some(Due::At(at(13))));
    }
}
