//! Which formats of routing keys are bound.
//!
//! A binding costs the broker a look for every update of everybody. Chat3 publishes in one format at a time, so with
//! `binding_keys = "auto"` those that were never seen are unbound, as soon as enough was seen. From then on a few users
//! stand watch: the session's own queue has their bindings of the other formats. An update in a format that is not bound
//! any more proves that others were missed: everything is bound again, and users are told.
//!
//! A session that takes over from another binds first what arrived in that one, so that thousands of users are back
//! sooner, and everything as soon as they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bridge_core::Millis;
use parking_lot::Mutex;

/// Updates that teach enough, and how long they have to take at least, in ms: much in a moment, or some in a minute.
const LESSONS: [(u64, u64); 2] = [(1_000, 3_000), (100, 60_000)];

/// The formats, and what was learnt of them.
#[derive(Debug)]
pub(super) struct Formats {
    all: Vec<String>,
    /// Words of each.
    words: Vec<usize>,
    learns: bool,
    /// Updates seen since everything is bound.
    count: AtomicU64,
    /// Formats that were ever seen, a bit for each.
    ever: AtomicU64,
    /// Updates that were accepted do not come.
    doubted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// A bit for each.
    bound: u64,
    /// Everything is bound since then.
    whole: Millis,
    /// Since then all but these were left out, at least for a while.
    narrow: Option<(Millis, u64)>,
    /// What is bound is what an earlier session learnt.
    carried: bool,
}

impl State {
    const fn whole(all: u64, now: Millis) -> Self {
        Self { bound: all, whole: now, narrow: None, carried: false }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Users are to be bound to what [`Formats::bound`] says now.
    Rebind,
    /// The same, and since then updates were missed.
    Missed(Millis),
}

impl Formats {
    /// `learns`: those that do not come may be left out. They are told apart by their number of words.
    pub(super) fn new(all: Vec<String>, learns: bool) -> Self {
        let state = State::whole(mask(all.len()), Millis(0));
        let (count, ever, doubted) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let words = all.iter().map(|format| words_of(format)).collect();
        Self { words, learns, count, ever, doubted, state: Mutex::new(state), all }
    }

    /// A session begins: everything is to be bound, or first what is known to arrive.
    pub(super) fn begin(&self, now: Millis) {
        let (all, ever) = (mask(self.all.len()), self.ever.load(Ordering::Relaxed));
        let mut state = self.state.lock();
        *state = match state.narrow {
            Some((since, _)) if ever != all => {
                State { bound: ever, whole: now, narrow: Some((since, ever)), carried: true }
            }
            _ => State::whole(all, now),
        };
        self.count.store(0, Ordering::Relaxed);
    }

    /// An update came under this key.
    pub(super) fn saw(&self, routing_key: &str) {
        if !self.learns {
            return;
        }
        let words = words_of(routing_key);
        let place = self.words.iter().position(|own| *own == words);
        if let Some(bit) = place.map(|place| 1 << place) {
            self.count.fetch_add(1, Ordering::Relaxed);
            if self.ever.load(Ordering::Relaxed) & bit == 0 {
                self.ever.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Messages are accepted, and their updates do not come: it may be for want of a binding.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Looks at what was seen; `watched`: somebody stands watch, so that some may be left out; `settled`: the broker has
    /// nothing more urgent to do, as it has while many users wait for their queues.
    pub(super) fn step(&self, now: Millis, watched: bool, settled: bool) -> Step {
        if !self.learns {
            return Step::Nothing;
        }
        let (all, ever) = (mask(self.all.len()), self.ever.load(Ordering::Relaxed));
        let doubted = self.doubted.swap(false, Ordering::Relaxed);
        let mut state = self.state.lock();
        let left_out = all & !state.bound;
        if let Some((since, kept)) = state.narrow
            && ever & !kept != 0
        {
            *state = State::whole(all, now);
            self.count.store(0, Ordering::Relaxed);
            return Step::Missed(since);
        }
        if left_out != 0 && (doubted || if state.carried { settled } else { !watched }) {
            // What proves that something was missed may come yet.
            (state.bound, state.whole, state.carried) = (all, now, false);
            self.count.store(0, Ordering::Relaxed);
            return Step::Rebind;
        }
        let (count, age) = (self.count.load(Ordering::Relaxed), now.since(state.whole));
        let learnt = LESSONS.iter().any(|(updates, time)| count >= *updates && age >= *time);
        if left_out == 0 && watched && settled && learnt && ever != 0 && ever != all {
            *state = State { bound: ever, narrow: Some((now, ever)), ..*state };
            return Step::Rebind;
        }
        Step::Nothing
    }

    /// Those that are bound, as bits for [`Self::of`].
    pub(super) fn bound(&self) -> u64 {
        self.state.lock().bound
    }

    /// Those that are not.
    pub(super) fn left_out(&self) -> u64 {
        mask(self.all.len()) & !self.bound()
    }

    /// The formats of these bits.
    pub(super) fn of(&self, bits: u64) -> Vec<String> {
        let here = |place: &usize| bits & (1 << place) != 0;
        (0..self.all.len()).filter(here).map(|place| self.all[place].clone()).collect()
    }
}

fn words_of(key: &str) -> usize {
    key.bytes().filter(|byte| *byte == b'.').count() + 1
}

/// A bit for each of so many.
const fn mask(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "user.usr_a.messageupdate";
    const NEW: &str = "update.dialog.user.usr_a.message";

    fn formats() -> Formats {
        let formats =
            Formats::new(["user.{id}.*", "user.*.{id}.*", "update.*.*.{id}.*"].map(String::from).to_vec(), true);
        formats.begin(Millis(0));
        formats
    }

    fn see(formats: &Formats, key: &str, times: u64) {
        (0..times).for_each(|_| formats.saw(key));
    }

    #[test]
    fn those_that_never_come_are_left_out_once_enough_was_seen() {
        let formats = formats();
        see(&formats, NEW, 100);
        assert_eq!(formats.step(Millis(59_000), true, true), Step::Nothing, "too early for so few");
        assert_eq!(formats.step(Millis(60_000), false, true), Step::Nothing, "nobody would notice another");
        assert_eq!(formats.step(Millis(60_000), true, true), Step::Rebind);
        assert_eq!(formats.of(formats.bound()), ["update.*.*.{id}.*"]);
        assert_eq!(formats.step(Millis(60_200), true, true), Step::Nothing);
        see(&formats, OLD, 1);
        assert_eq!(formats.step(Millis(70_000), true, true), Step::Missed(Millis(60_000)));
        assert_eq!(formats.left_out(), 0);
        see(&formats, NEW, 5_000);
        assert_eq!(formats.step(Millis(80_000), true, true), Step::Rebind);
        assert_eq!(formats.of(formats.left_out()), ["user.*.{id}.*"], "what ever came stays");
    }

    #[test]
    fn a_doubt_binds_everything() {
        let formats = formats();
        see(&formats, OLD, 1_000);
        assert_eq!(formats.step(Millis(3_000), true, true), Step::Rebind);
        formats.doubt();
        assert_eq!(formats.step(Millis(4_000), true, true), Step::Rebind);
        assert_eq!(formats.left_out(), 0);
        assert_eq!(formats.step(Millis(60_000), true, true), Step::Nothing, "nothing was seen since");
        see(&formats, NEW, 1);
        assert_eq!(formats.step(Millis(60_200), true, true), Step::Missed(Millis(3_000)), "the doubt was right");
    }

    #[test]
    fn a_new_session_binds_first_what_arrives_and_everything_when_users_are_back() {
        let formats = formats();
        formats.begin(Millis(0));
        assert_eq!(formats.left_out(), 0, "nothing is known yet");
        see(&formats, OLD, 1_000);
        assert_eq!(formats.step(Millis(3_000), true, false), Step::Nothing, "users wait for their queues");
        assert_eq!(formats.step(Millis(3_200), true, true), Step::Rebind);
        for session in [10_000, 20_000, 30_000] {
            formats.begin(Millis(session));
            assert_eq!(formats.of(formats.bound()), ["user.{id}.*"]);
            assert_eq!(formats.step(Millis(session + 200), false, false), Step::Nothing);
            assert_eq!(formats.of(formats.bound()), ["user.{id}.*"]);
            if session < 30_000 {
                assert_eq!(formats.step(Millis(session + 400), false, true), Step::Rebind);
                assert_eq!(formats.left_out(), 0);
            }
        }
        // Another Chat3 since then.
        see(&formats, NEW, 1);
        assert_eq!(formats.step(Millis(31_000), true, false), Step::Missed(Millis(3_200)));
        formats.begin(Millis(40_000));
        assert_eq!(formats.left_out(), 0, "what arrives is not known any more");
    }

    #[test]
    fn formats_that_were_named_are_all_bound() {
        let formats = Formats::new(vec!["user.{id}.*".into(), "update.*.*.{id}.*".into()], false);
        see(&formats, NEW, 5_000);
        assert_eq!((formats.step(Millis(90_000), true, true), formats.left_out()), (Step::Nothing, 0));
    }
}
