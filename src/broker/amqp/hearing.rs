//! Until when everything that was published has surely come: since when users may lack something after a loss.

use std::collections::VecDeque;

use bridge_core::Millis;
use parking_lot::Mutex;

/// What was published within this of one another may come in any order.
const ORDER: u64 = 2_000;
/// So many pulses of the session lie between a moment and the proof that what was published by then has come: two
/// seconds in which this process ran. By the clock alone it would be too late: after a process stood still it reads what
/// came before that, and hears of the loss behind it.
const BEHIND: usize = 10;

/// What was heard of the broker.
pub(super) struct Hearing(Mutex<Moments>);

struct Moments {
    pulses: VecDeque<Millis>,
    /// On each line: what comes on one says nothing of another.
    heard: Vec<Millis>,
}

impl Moments {
    fn behind(&self) -> Millis {
        self.pulses.front().copied().unwrap_or_else(|| self.heard())
    }

    fn heard(&self) -> Millis {
        self.heard.iter().copied().min().unwrap_or_default()
    }
}

impl Hearing {
    /// Of so many lines.
    pub(super) fn new(lines: usize) -> Self {
        Self(Mutex::new(Moments { pulses: VecDeque::new(), heard: vec![Millis(0); lines] }))
    }

    /// Nobody is served yet: nothing can be lacking from before `now`.
    pub(super) fn begin(&self, now: Millis) {
        let mut moments = self.0.lock();
        moments.pulses = [now].into();
        moments.heard.fill(now);
    }

    /// This process runs.
    pub(super) fn pulse(&self, now: Millis) {
        let pulses = &mut self.0.lock().pulses;
        pulses.push_back(now);
        if pulses.len() > BEHIND {
            pulses.pop_front();
        }
    }

    /// A probe that was sent at `at` has come on every line, or, where none is permitted, every line was answered what was
    /// asked at `at`: what was published before it has come too.
    pub(super) fn proved(&self, at: Millis) {
        let mut moments = self.0.lock();
        let proved = moments.behind().min(at);
        for heard in &mut moments.heard {
            *heard = proved.max(*heard);
        }
    }

    /// Updates were heard on this line, of which the first was published then: what comes late says nothing of what was
    /// published since.
    pub(super) fn hear(&self, line: usize, published: Millis) {
        let mut moments = self.0.lock();
        let Moments { pulses, heard } = &mut *moments;
        if let (Some(behind), Some(heard)) = (pulses.front(), heard.get_mut(line)) {
            *heard = Millis(published.0.saturating_sub(ORDER)).min(*behind).max(*heard);
        }
    }

    /// What was published until then to the queues of this line has come.
    pub(super) fn heard_on(&self, line: usize) -> Millis {
        self.0.lock().heard.get(line).copied().unwrap_or_default()
    }

    /// What was published until then has come, if the broker goes on being heard.
    pub(super) fn behind(&self) -> Millis {
        self.0.lock().behind()
    }

    /// What was published until then has come, whoever it was for.
    pub(super) fn heard(&self) -> Millis {
        self.0.lock().heard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_proves_that_what_was_published_before_it_came_and_nothing_later() {
        let hearing = Hearing::new(1);
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
        let hearing = Hearing::new(1);
        hearing.begin(Millis(1_000));
        (1..=20).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        hearing.hear(0, Millis(5_000));
        assert_eq!(hearing.heard(), Millis(3_000), "two seconds before what came");
        hearing.hear(0, Millis(9_000));
        assert_eq!(hearing.heard(), Millis(3_200), "two seconds behind, whatever the publisher's clock says");
        // Ten seconds of standing still.
        hearing.pulse(Millis(15_000));
        hearing.hear(0, Millis(14_900));
        assert_eq!((hearing.heard(), hearing.behind()), (Millis(3_400), Millis(3_400)));
        (1..=20).for_each(|n| hearing.pulse(Millis(15_000 + 200 * n)));
        hearing.hear(0, Millis(19_000));
        assert_eq!(hearing.heard(), Millis(17_000));
    }

    #[test]
    fn what_comes_on_one_line_says_nothing_of_another() {
        let hearing = Hearing::new(2);
        hearing.begin(Millis(1_000));
        (1..=20).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        hearing.hear(1, Millis(5_500));
        assert_eq!(hearing.heard(), Millis(1_000), "the other may be dead");
        hearing.hear(0, Millis(5_500));
        assert_eq!((hearing.heard(), hearing.heard_on(1)), (Millis(3_200), Millis(3_200)));
        (1..=5).for_each(|n| hearing.pulse(Millis(5_000 + 200 * n)));
        hearing.hear(1, Millis(9_000));
        hearing.proved(Millis(3_900));
        assert_eq!(hearing.heard(), Millis(3_900), "a probe comes on both");
    }

    #[test]
    fn what_comes_late_says_nothing_of_what_was_published_since() {
        let hearing = Hearing::new(1);
        hearing.begin(Millis(1_000));
        (1..=50).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        hearing.hear(0, Millis(4_000));
        assert_eq!(hearing.heard(), Millis(2_000), "seven seconds late");
        hearing.hear(0, Millis(1_500));
        assert_eq!(hearing.heard(), Millis(2_000), "what is proved stays so");
    }
}
