//! What one socket was sent lately, so that a client that comes back gets what it missed.

use std::collections::VecDeque;

use crate::Millis;

use super::{Parcel, ReplayLimit, Rules};

/// Sent parcels, newest last, as references to their bodies; bounded by bytes and age.
#[derive(Clone, Debug, Default)]
pub(super) struct Replay {
    sent: VecDeque<(Millis, Parcel)>,
    bytes: usize,
    /// The serial of the newest parcel, kept or not; that of the first is 1.
    newest: u64,
    /// A transport took everything up to here.
    handed: u64,
    /// The parcel that was let go last: a client that has it has all before the oldest that is kept.
    let_go: Option<Parcel>,
    /// Parcels were let go of which nobody knew yet whether a transport took them: the serial of the last of them, and
    /// when the first was sent.
    doubt: Option<(u64, Millis)>,
}

/// What a lost connection leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Everything that was not handed over is kept.
    Whole,
    /// Some of it is not.
    Gap { whole_until: Millis },
}

impl Replay {
    /// Notes a parcel that goes to a connection, as it was to first at `at`; returns its serial.
    pub(super) fn sent(&mut self, rules: &Rules, at: Millis, parcel: Parcel) -> u64 {
        self.newest += 1;
        self.push(at, parcel);
        if rules.linger == 0 {
            // Nobody comes back, except over a connection whose end was not noticed yet.
            self.let_go();
        }
        self.newest
    }

    /// Keeps a parcel for a client that is not there. An error tells the last moment known whole, when something that
    /// it never got had to be let go.
    pub(super) fn kept(&mut self, limit: usize, at: Millis, parcel: Parcel) -> Result<(), Millis> {
        self.newest += 1;
        self.push(at, parcel);
        while self.bytes > limit {
            self.let_go();
        }
        match self.doubt() {
            Some(since) => {
                self.forget();
                Err(since)
            }
            None => Ok(()),
        }
    }

    /// Since when it lacks something of which nobody knows that a transport took it.
    pub(super) fn doubt(&self) -> Option<Millis> {
        self.doubt.map(|(_, since)| since)
    }

    /// Keeps nothing any more.
    pub(super) fn forget(&mut self) {
        *self = Self { newest: self.newest, ..Self::default() };
    }

    /// Lets go what is too much by now, as far as it is known already that a transport took it.
    pub(super) fn shrink_taken(&mut self, limit: ReplayLimit) {
        while !self.sent.is_empty() && self.bytes > limit.share.min(limit.most) && self.oldest() <= self.handed {
            self.let_go();
        }
    }

    /// Lets go what is too old or too much by now.
    pub(super) fn shrink(&mut self, rules: &Rules, limit: ReplayLimit, now: Millis) {
        let old = |at: Millis| now.since(at) > rules.replay_age;
        while let Some((at, _)) = self.sent.front()
            && (self.bytes > limit.most || self.oldest() <= self.handed && (self.bytes > limit.share || old(*at)))
        {
            self.let_go();
        }
    }

    /// A transport took everything up to `serial`.
    pub(super) fn handed_over(&mut self, serial: u64) {
        self.handed = self.handed.max(serial.min(self.newest));
        self.doubt = self.doubt.filter(|(last, _)| *last > self.handed);
    }

    /// The connection is gone; it took everything up to `handed`.
    pub(super) fn lost(&mut self, now: Millis, handed: u64) -> Lost {
        self.handed_over(handed);
        match self.doubt {
            Some((_, since)) => Lost::Gap { whole_until: since.min(now) },
            None => Lost::Whole,
        }
    }

    /// How many of the oldest kept ones a client that last got `last` has; without it, those that a transport took.
    /// `None` when that can't be told.
    pub(super) fn has(&self, last: Option<&str>) -> Option<usize> {
        let Some(id) = last else {
            let handed = (self.handed + 1).saturating_sub(self.oldest());
            return Some(usize::try_from(handed).unwrap_or(usize::MAX).min(self.sent.len()));
        };
        match self.sent.iter().rposition(|(_, parcel)| parcel.is_message(id)) {
            Some(place) => Some(place + 1),
            None => match &self.let_go {
                Some(parcel) if !parcel.is_message(id) => None,
                _ => Some(0),
            },
        }
    }

    /// Everything after the oldest `has`, with serials, and when it was sent first; it counts as sent anew.
    pub(super) fn after(&mut self, has: usize) -> Vec<(u64, Millis, Parcel)> {
        let first = self.oldest();
        let place = u64::try_from(has).unwrap_or(u64::MAX);
        self.handed = first.saturating_add(place).saturating_sub(1);
        let missed = self.sent.range(has.min(self.sent.len())..);
        missed.zip(first + place..).map(|((at, parcel), serial)| (serial, *at, parcel.clone())).collect()
    }

    /// Whether the client has, or will get, what `parcel` tells.
    pub(super) fn contains(&self, parcel: &Parcel) -> bool {
        self.sent.iter().any(|(_, sent)| sent.same(parcel))
    }

    /// The last moment known whole of a client that has none of what is kept.
    pub(super) fn whole_before(&self) -> Option<Millis> {
        self.sent.iter().map(since).min()
    }

    /// The same of one that has what a transport took, and no more.
    pub(super) fn whole_handed(&self) -> Option<Millis> {
        let handed = (self.handed + 1).saturating_sub(self.oldest());
        self.sent.iter().skip(usize::try_from(handed).unwrap_or(usize::MAX)).map(since).min()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The serial of the oldest parcel that is kept.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.sent.len() as u64
    }

    fn push(&mut self, now: Millis, parcel: Parcel) {
        self.bytes += parcel.weight();
        self.sent.push_back((now, parcel));
    }

    fn let_go(&mut self) {
        let serial = self.oldest();
        let Some(sent) = self.sent.pop_front() else { return };
        self.bytes -= sent.1.weight();
        if serial > self.handed {
            let since = since(&sent);
            self.doubt = Some((serial, self.doubt.map_or(since, |(_, earlier)| since.min(earlier))));
        }
        self.let_go = Some(sent.1);
    }
}

/// Since when a client lacks something that lacks this.
fn since((at, parcel): &(Millis, Parcel)) -> Millis {
    match parcel {
        Parcel::Copy(_) => *at,
        Parcel::Resync(gap) => gap.since.min(*at),
    }
}
