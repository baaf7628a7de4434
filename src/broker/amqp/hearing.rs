//! Until when everything that was published has surely come: since when users may lack something after a loss.

use std::collections::VecDeque;

use bridge_core::Millis;
use parking_lot::Mutex;

/// What was published within this of one another may come in any order, in ms.
const ORDER: u64 = 500;
/// So many pulses of the session lie between a moment and the proof that what was published by then has come: two
/// seconds in which this process ran. By the clock alone it would be too late: after a process stood still it reads what
/// came before that, and hears of the loss behind it.
const BEHIND: usize = 10;
/// In each pulse in which something comes the publishers' clocks are taken to be so much less ahead, in ms: one that was
/// set back is followed.
const FOLLOW: i64 = 2;
/// Nothing came.
const NOTHING: Millis = Millis(u64::MAX);

/// What was heard of the broker.
pub(super) struct Hearing(Mutex<Moments>);

struct Moments {
    pulses: VecDeque<Millis>,
    /// What comes on one line says nothing of another.
    lines: Vec<Line>,
    /// By how much the publishers' clocks are ahead of ours at least (ms, negative: behind): by that of what came fastest.
    ahead: Option<i64>,
}

#[derive(Clone)]
struct Line {
    heard: Millis,
    /// The earliest publication of what came in each of the last pulses, the latest pulse first. What is late now waits for
    /// its turn: some of it comes every few milliseconds, among what is not.
    earliest: VecDeque<Millis>,
}

impl Line {
    /// What was published by then has come, as far as is known beside this line's own lateness.
    fn prove(&mut self, by: Millis) {
        let earliest = self.earliest.iter().min().copied().unwrap_or(NOTHING);
        self.heard = by.min(Millis(earliest.0.saturating_sub(ORDER))).max(self.heard);
    }
}

impl Moments {
    fn behind(&self) -> Millis {
        self.pulses.front().copied().unwrap_or_else(|| self.heard())
    }

    fn heard(&self) -> Millis {
        self.lines.iter().map(|line| line.heard).min().unwrap_or_default()
    }

    /// A stamp of a publisher, by our clock.
    fn ours(&mut self, stamp: Millis) -> Millis {
        let signed = |at: Millis| i64::try_from(at.0).unwrap_or(i64::MAX);
        let now = self.pulses.back().copied().unwrap_or_default();
        let seen = signed(stamp).saturating_sub(signed(now));
        let ahead = *self.ahead.insert(self.ahead.map_or(seen, |known| known.max(seen)));
        Millis(u64::try_from(signed(stamp).saturating_sub(ahead)).unwrap_or_default())
    }
}

impl Hearing {
    /// Of so many lines.
    pub(super) fn new(lines: usize) -> Self {
        let line = Line { heard: Millis(0), earliest: VecDeque::new() };
        Self(Mutex::new(Moments { pulses: VecDeque::new(), lines: vec![line; lines], ahead: None }))
    }

    /// Nobody is served yet: nothing can be lacking from before `now`.
    pub(super) fn begin(&self, now: Millis) {
        let mut moments = self.0.lock();
        moments.pulses = [now].into();
        for line in &mut moments.lines {
            (line.heard, line.earliest) = (now, [NOTHING].into());
        }
    }

    /// This process runs.
    pub(super) fn pulse(&self, now: Millis) {
        let mut moments = self.0.lock();
        let Moments { pulses, lines, ahead } = &mut *moments;
        pulses.push_back(now);
        if pulses.len() > BEHIND {
            pulses.pop_front();
        }
        if lines.iter().any(|line| line.earliest.front().is_some_and(|earliest| *earliest != NOTHING)) {
            *ahead = ahead.map(|ahead| ahead.saturating_sub(FOLLOW));
        }
        for line in lines {
            line.earliest.push_front(NOTHING);
            line.earliest.truncate(BEHIND);
        }
    }

    /// A probe that was sent at `at` has come on every line, or, where none is permitted, every line was answered what was
    /// asked at `at`: what was published before it has come too, but for what is seen to be late.
    pub(super) fn proved(&self, at: Millis) {
        let mut moments = self.0.lock();
        let proved = moments.behind().min(at);
        moments.lines.iter_mut().for_each(|line| line.prove(proved));
    }

    /// Updates were heard on this line, of which the first was published then: what comes late says nothing of what was
    /// published since.
    pub(super) fn hear(&self, line: usize, published: Millis) {
        let mut moments = self.0.lock();
        let (published, behind) = (moments.ours(published), moments.behind());
        let Some(line) = moments.lines.get_mut(line) else { return };
        if let Some(earliest) = line.earliest.front_mut() {
            *earliest = published.min(*earliest);
            line.prove(behind);
        }
    }

    /// What was published until then to the queues of this line has come.
    pub(super) fn heard_on(&self, line: usize) -> Millis {
        self.0.lock().lines.get(line).map(|line| line.heard).unwrap_or_default()
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

    /// After `seconds` of pulses, in each of which something comes that was published right then by a clock that is
    /// `ahead`.
    fn in_flow(lines: usize, seconds: u64, ahead: i64) -> Hearing {
        let hearing = Hearing::new(lines);
        hearing.begin(Millis(100_000));
        for n in 1..=seconds * 5 {
            let now = 100_000 + 200 * n;
            hearing.pulse(Millis(now));
            (0..lines).for_each(|line| hearing.hear(line, Millis(now.saturating_add_signed(ahead))));
        }
        hearing
    }

    #[test]
    fn what_is_read_after_a_standstill_does_not_prove_that_all_before_it_came() {
        let hearing = in_flow(1, 10, 0);
        assert_eq!(hearing.heard(), Millis(107_700), "two seconds behind, and half a second for what overtakes");
        // Ten seconds of standing still, and what was published right before.
        hearing.pulse(Millis(120_000));
        hearing.hear(0, Millis(110_000));
        assert!(hearing.heard() <= Millis(108_400), "{:?}", hearing.heard());
        hearing.hear(0, Millis(119_000));
        assert!(hearing.heard() <= Millis(108_400), "{:?}", hearing.heard());
        (1..=20).for_each(|n| hearing.pulse(Millis(120_000 + 200 * n)));
        hearing.hear(0, Millis(124_000));
        assert_eq!(hearing.heard(), Millis(122_200));
    }

    #[test]
    fn what_comes_on_one_line_says_nothing_of_another() {
        let hearing = in_flow(2, 10, 0);
        (1..=20).for_each(|n| hearing.pulse(Millis(110_000 + 200 * n)));
        hearing.hear(1, Millis(114_000));
        assert_eq!([hearing.heard_on(0), hearing.heard_on(1)], [107_700, 112_200].map(Millis));
        assert_eq!(hearing.heard(), Millis(107_700), "the other may be dead");
        hearing.proved(Millis(110_900));
        assert_eq!(hearing.heard(), Millis(110_900), "a probe comes on both");
    }

    #[test]
    fn what_comes_late_says_nothing_of_what_was_published_since_whatever_the_publishers_clock_says() {
        for ahead in [0, 7_000, -99_000, -90_000] {
            let by = |at: u64| Millis(at.saturating_add_signed(ahead));
            let hearing = in_flow(1, 60, ahead);
            assert_eq!(hearing.heard(), Millis(157_700), "ahead {ahead}");
            // Nothing comes for five seconds, then what was published at the beginning of it.
            (1..=25).for_each(|n| hearing.pulse(Millis(160_000 + 200 * n)));
            hearing.hear(0, by(160_100));
            assert!(hearing.heard() <= Millis(160_100), "ahead {ahead}: {:?}", hearing.heard());
            // Somebody else's is not late; that of the first still waits for its turn, and comes bit by bit.
            for n in 0..20 {
                hearing.hear(0, by(164_900));
                hearing.proved(Millis(164_900));
                assert!(hearing.heard() <= Millis(160_200 + n * 200), "ahead {ahead}: {:?}", hearing.heard());
                hearing.pulse(Millis(165_200 + 200 * n));
                hearing.hear(0, by(160_300 + 200 * n));
            }
        }
    }

    #[test]
    fn a_publishers_clock_that_is_set_back_is_followed_while_something_comes() {
        let hearing = in_flow(1, 10, 10_000);
        for n in 1..=5_100_u64 {
            let now = 110_000 + 200 * n;
            hearing.pulse(Millis(now));
            hearing.hear(0, Millis(now));
        }
        assert_eq!(hearing.heard(), Millis(110_000 + 5_100 * 200 - 2_300));
    }

    #[test]
    fn a_probe_alone_proves_where_updates_are_not_stamped() {
        let hearing = Hearing::new(2);
        hearing.begin(Millis(1_000));
        (1..=50).for_each(|n| hearing.pulse(Millis(1_000 + 200 * n)));
        assert_eq!(hearing.heard(), Millis(1_000));
        hearing.proved(Millis(8_000));
        assert_eq!((hearing.heard(), hearing.behind()), (Millis(8_000), Millis(9_200)));
    }
}
