//! Until when everything that was published has surely come: since when users may lack something after a loss.

use std::collections::VecDeque;

use bridge_core::Millis;
use parking_lot::Mutex;

/// So many pulses of the session lie between a moment and the proof that what was published by then has come: two
/// seconds in which this process ran. By the clock alone it would be too late: after a process stood still it reads what
/// came before that, and hears of the loss behind it.
const BEHIND: usize = 10;

/// What was heard of the broker.
#[derive(Default)]
pub(super) struct Hearing(Mutex<Moments>);

#[derive(Default)]
struct Moments {
    pulses: VecDeque<Millis>,
    heard: Millis,
}

impl Hearing {
    /// Nobody is served yet: nothing can be lacking from before `now`.
    pub(super) fn begin(&self, now: Millis) {
        *self.0.lock() = Moments { pulses: [now].into(), heard: now };
    }

    /// This process runs.
    pub(super) fn pulse(&self, now: Millis) {
        let pulses = &mut self.0.lock().pulses;
        pulses.push_back(now);
        if pulses.len() > BEHIND {
            pulses.pop_front();
        }
    }

    /// A probe that was sent at `at` has come: what was published before it has too.
    pub(super) fn proved(&self, at: Millis) {
        let mut moments = self.0.lock();
        let behind = moments.pulses.front().copied().unwrap_or(moments.heard);
        moments.heard = moments.heard.max(behind.min(at));
    }

    /// An update was heard.
    pub(super) fn hear(&self) {
        let mut moments = self.0.lock();
        moments.heard = moments.pulses.front().copied().unwrap_or(moments.heard);
    }

    /// What was published until then has come, if the broker goes on being heard.
    pub(super) fn behind(&self) -> Millis {
        let moments = self.0.lock();
        moments.pulses.front().copied().unwrap_or(moments.heard)
    }

    /// What was published until then has come.
    pub(super) fn heard(&self) -> Millis {
        self.0.lock().heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_proves_that_what_was_published_before_it_came_and_nothing_later() {
        let hearing = Hearing::default();
        hearing.begin(Millis(1_000));
        (1..=20).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        hearing.proved(Millis(2_000));
        assert_eq!(hearing.heard(), Millis(2_000), "it took three seconds");
        hearing.proved(Millis(4_900));
        assert_eq!(hearing.heard(), Millis(3_200), "two seconds behind");
        hearing.proved(Millis(2_500));
        assert_eq!(hearing.heard(), Millis(3_200), "what is proved stays so");
    }

    #[test]
    fn what_is_read_after_a_standstill_does_not_prove_that_all_before_it_came() {
        let hearing = Hearing::default();
        hearing.begin(Millis(1_000));
        (1..=20).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        hearing.hear();
        assert_eq!(hearing.heard(), Millis(3_200), "two seconds behind");
        // Ten seconds of standing still.
        hearing.pulse(Millis(15_000));
        hearing.hear();
        assert_eq!((hearing.heard(), hearing.behind()), (Millis(3_400), Millis(3_400)));
        (1..=20).for_each(|n| hearing.pulse(Millis(15_000 + 200 * n)));
        hearing.hear();
        assert_eq!(hearing.heard(), Millis(17_200));
    }
}
