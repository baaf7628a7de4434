//! Compares what clients got with what they should have got.

use std::collections::HashMap;

use super::publisher::Published;
use super::record::{Device, Form, Message, Outcome, Post, Record, Seen, Sign};

/// Who leaves for good may miss what was accepted so shortly before (ms); with a fault, the longer one.
const LEAVING: u64 = 5_000;
const LEAVING_IN_A_FAULT: u64 = 60_000;
/// What is published once more so long after both copies came is delivered once more: it is remembered for 30 s.
const REMEMBERED: u64 = 25_000;
/// Flips change the order for so long around them (ms).
const AROUND_A_MOVE: u64 = 3_000;

/// What it came to.
#[derive(Default)]
pub(super) struct Sums {
    /// Messages that somebody had to get, for each of those.
    pub(super) due: usize,
    pub(super) once: usize,
    /// Covered by `bridge:resync`.
    pub(super) told: usize,
    pub(super) lost: usize,
    pub(super) doubled: usize,
    /// Chat3's side published it anew long after it had come.
    pub(super) repeated: usize,
    pub(super) disordered: usize,
    /// Came in another order while something was broken or on the move.
    pub(super) reordered: usize,
    pub(super) got: usize,
    pub(super) signed: usize,
    pub(super) recovered: usize,
    pub(super) not_recovered: usize,
    pub(super) resyncs: usize,
    pub(super) cut: usize,
}

/// While a device was in a dialog without an interruption.
struct Span {
    dialog: usize,
    from: u64,
    to: u64,
    /// When it was last there before it came back as somebody new, or not at all: whatever it was owed until then, by
    /// earlier connections too, nobody is there to be told of.
    left: Option<u64>,
}

/// How often a message came to one socket, and when first.
type Chain = HashMap<Message, (u32, u64)>;

struct Story {
    spans: Vec<Span>,
    /// `since` and when it was told.
    gaps: Vec<(u64, u64)>,
    /// How often each message came in all, most often to one socket, and how long after the first copy to it.
    copies: HashMap<Message, (u32, u32, u64)>,
}

impl Story {
    fn note(&mut self, chain: &mut Chain, message: Message, at: u64) {
        let (without, first) = chain.entry(message).or_insert((0, at));
        *without += 1;
        let (all, most, later) = self.copies.entry(message).or_default();
        *all += 1;
        *most = (*most).max(*without);
        *later = (*later).max(at.saturating_sub(*first));
    }

    /// Connections end, and with them those before them that they went on from, where it is for good.
    fn end(&mut self, inside: &mut HashMap<usize, u64>, (to, for_good): (u64, bool), own: &mut usize) {
        let left = for_good.then_some(to);
        self.spans.extend(inside.drain().map(|(dialog, from)| Span { dialog, from, to, left }));
        if for_good {
            self.spans[*own..].iter_mut().for_each(|span| span.left = left);
            *own = self.spans.len();
        }
    }
}

fn story(seen: &[Seen], sums: &mut Sums) -> Story {
    let mut story = Story { spans: Vec::new(), gaps: Vec::new(), copies: HashMap::new() };
    let mut chain = Chain::new();
    let (mut inside, mut gone) = (HashMap::<usize, u64>::new(), None);
    // The first span of who it is now.
    let mut own = 0;
    // What comes while a connection signs on is its own, whoever it turns out to be.
    let mut early = Vec::new();
    for seen in seen {
        match seen {
            Seen::Signed(at, sign) => {
                sums.signed += 1;
                match sign {
                    Sign::Recovered => sums.recovered += 1,
                    Sign::NotRecovered => sums.not_recovered += 1,
                    Sign::Fresh => {}
                }
                if *sign != Sign::Recovered {
                    let end = (gone.unwrap_or(*at), *sign == Sign::Fresh);
                    story.end(&mut inside, end, &mut own);
                    chain.clear();
                }
                gone = None;
                early.drain(..).for_each(|(message, at)| story.note(&mut chain, message, at));
            }
            Seen::Joined(at, dialog) => {
                inside.entry(*dialog).or_insert(*at);
            }
            Seen::Got(at, message, _) => {
                sums.got += 1;
                match gone {
                    Some(_) => early.push((*message, *at)),
                    None => story.note(&mut chain, *message, *at),
                }
            }
            Seen::Resync(at, since) => {
                sums.resyncs += 1;
                story.gaps.push((*since, *at));
            }
            Seen::Gone(at, cut) => {
                gone = Some(*at);
                sums.cut += usize::from(*cut);
            }
        }
    }
    story.end(&mut inside, (gone.unwrap_or(u64::MAX), gone.is_some()), &mut own);
    story
}

/// What a device saw around `at`, but for the messages; of those only the last before and the first after it.
fn near(seen: &[Seen], at: u64) -> String {
    let when = |seen: &Seen| match seen {
        Seen::Signed(at, _)
        | Seen::Joined(at, _)
        | Seen::Got(at, ..)
        | Seen::Resync(at, _)
        | Seen::Gone(at, _) => *at,
    };
    let middle = seen.iter().position(|seen| when(seen) > at).unwrap_or(seen.len());
    let got = |seen: &&Seen| matches!(seen, Seen::Got(..));
    let (before, after) = (seen[..middle].iter().rfind(got), seen[middle..].iter().find(got));
    let shown = |shown: &&Seen| {
        let close = when(shown) + 200_000 > at && when(shown) < at + 200_000 && !got(shown);
        close
            || before.is_some_and(|seen| std::ptr::eq(seen, *shown))
            || after.is_some_and(|seen| std::ptr::eq(seen, *shown))
    };
    seen.iter().filter(shown).map(|seen| format!("{seen:?}")).collect::<Vec<_>>().join(", ")
}

/// How a message came, and what became of the connection between its copies.
fn how(seen: &[Seen], message: Message) -> String {
    let of = |seen: &Seen| matches!(seen, Seen::Got(_, other, _) if *other == message);
    let (first, last) = (seen.iter().position(of).unwrap_or(0), seen.iter().rposition(of).unwrap_or(0));
    let between = seen[first..=last].iter().filter(|seen| of(seen) || !matches!(seen, Seen::Got(..)));
    between.map(|seen| format!("{seen:?}")).collect::<Vec<_>>().join(", ")
}

pub(super) struct Judge<'a> {
    pub(super) record: &'a Record,
    pub(super) published: &'a Published,
    /// Messages answered later are not judged yet.
    pub(super) settled: u64,
}

impl Judge<'_> {
    /// Judges everything; findings go to the record where `finds`.
    pub(super) fn judge(&self, finds: bool) -> Sums {
        // In this order: what came was posted before.
        let logs: Vec<Vec<Seen>> = self.record.devices.iter().map(|device| device.seen.lock().clone()).collect();
        let posts = self.record.posts.lock().clone();
        let mut sums = Sums::default();
        for (device, seen) in self.record.devices.iter().zip(logs) {
            let story = story(&seen, &mut sums);
            self.once(device, &posts, (&story, &seen), &mut sums, finds);
            self.order(device, &posts, &seen, &mut sums, finds);
        }
        sums
    }

    fn once(
        &self,
        device: &Device,
        posts: &[Vec<Post>],
        (story, seen): (&Story, &[Seen]),
        sums: &mut Sums,
        finds: bool,
    ) {
        for (message, (all, most, later)) in &story.copies {
            let at = format!("{} got {message:?}", device.name);
            let published = self.published.lock().get(message).copied();
            let repeated = published.is_some_and(|(first, confirmed)| confirmed - first > REMEMBERED);
            if *most > 1 && repeated && *later > REMEMBERED {
                sums.repeated += 1;
            } else if *most > 1 {
                sums.doubled += 1;
                let how = how(seen, *message);
                let text = format!("{at} of gateway {} {most} times, published {published:?}: {how}", device.home);
                self.found(finds, "doubled", &text);
            }
            let member = device.dialogs.contains(&message.0);
            if !member || posts.get(message.0).is_none_or(|posts| message.1 >= posts.len()) {
                self.found(finds, "stranger", &format!("{at} {all} times, and is no member"));
            }
        }
        for &dialog in &device.dialogs {
            for (number, post) in posts[dialog].iter().enumerate() {
                if post.outcome != Outcome::Accepted || post.answered > self.settled {
                    continue;
                }
                let is_due = story.spans.iter().any(|span| span.dialog == dialog && self.due(span, post));
                if !is_due || !self.is_out((dialog, number)) {
                    continue;
                }
                sums.due += 1;
                if story.copies.contains_key(&(dialog, number)) {
                    sums.once += 1;
                } else if self.told(post, (dialog, number), &story.gaps) {
                    sums.told += 1;
                } else {
                    sums.lost += 1;
                    let published = self.published.lock().get(&(dialog, number)).copied();
                    let near = near(seen, post.begun);
                    let text = format!(
                        "{} of gateway {} did not get {:?}, taken by {} from {} to {}, published {published:?}: {near}",
                        device.name,
                        device.home,
                        (dialog, number),
                        post.at,
                        post.begun,
                        post.answered,
                    );
                    self.found(finds, "lost", &text);
                }
            }
        }
    }

    /// Its updates were published; on a busy machine a broker that is stopped is back after minutes.
    fn is_out(&self, message: Message) -> bool {
        let confirmed = self.published.lock().get(&message).map(|(_, confirmed)| *confirmed);
        self.settled > super::record::now() || confirmed.is_some_and(|at| at <= self.settled)
    }

    fn due(&self, span: &Span, post: &Post) -> bool {
        let fault = |left: u64| self.record.faults.touches(post.begun, left.saturating_add(1));
        let until = span.left.map_or(span.to, |left| {
            let slack = if fault(left) { LEAVING_IN_A_FAULT } else { LEAVING };
            span.to.min(left.saturating_sub(slack))
        });
        span.from <= post.begun && post.answered <= until
    }

    fn told(&self, post: &Post, message: Message, gaps: &[(u64, u64)]) -> bool {
        let last = self.published.lock().get(&message).map_or(0, |(_, confirmed)| *confirmed);
        let until = post.answered.max(last);
        gaps.iter().any(|(since, at)| *since <= until && *at >= post.begun)
    }

    /// Messages of a dialog come in their order where nothing is broken or moves.
    fn order(&self, device: &Device, posts: &[Vec<Post>], seen: &[Seen], sums: &mut Sums, finds: bool) {
        let mut latest: HashMap<usize, (usize, u64, Form)> = HashMap::new();
        for seen in seen {
            if let Seen::Signed(_, sign) = seen
                && *sign != Sign::Recovered
            {
                latest.clear();
            }
            let Seen::Got(at, message, form) = seen else { continue };
            let (dialog, number) = *message;
            let Some(post) = posts.get(dialog).and_then(|posts| posts.get(number)) else { continue };
            let newest = latest.entry(dialog).or_insert((number, *at, *form));
            if number >= newest.0 {
                *newest = (number, *at, *form);
                continue;
            }
            let calm = !self.record.faults.touches(post.begun.saturating_sub(3_000), *at)
                && !self.record.moves.touches(post.begun.saturating_sub(AROUND_A_MOVE), at + AROUND_A_MOVE);
            if calm {
                sums.disordered += 1;
                let text = format!(
                    "{} of gateway {} got {message:?} ({form:?}, posted {}, came {at}) after number {} ({:?}, came {})",
                    device.name, device.home, post.begun, newest.0, newest.2, newest.1
                );
                self.found(finds, "order", &text);
            } else {
                sums.reordered += 1;
            }
        }
    }

    fn found(&self, finds: bool, kind: &str, text: &str) {
        if finds {
            self.record.findings.add(kind, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::record::{Findings, Unrest};
    use super::*;

    const AT: u64 = 1_000_000;

    fn got(at: u64, number: usize) -> Seen {
        Seen::Got(AT + at, (0, number), Form::Update)
    }

    /// Three messages, a second each, and a device that was there from the beginning; the kinds of what is found.
    fn found(seen: &[Seen], faults: Unrest) -> Vec<String> {
        let posts = (0..3).map(|n| {
            let begun = AT + n * 1_000;
            Post { begun, answered: begun + 10, outcome: Outcome::Accepted, at: 0 }
        });
        let there = [Seen::Signed(AT - 20, Sign::Fresh), Seen::Joined(AT - 10, 0)];
        let seen = there.into_iter().chain(seen.iter().cloned()).collect();
        let device =
            Device { name: "a".into(), user: "a".into(), home: 0, dialogs: vec![0], seen: Mutex::new(seen) };
        let record = Record {
            posts: Mutex::new(vec![posts.collect(), Vec::new()]),
            members: vec![vec!["a".into()], Vec::new()],
            devices: vec![Arc::new(device)],
            faults,
            moves: Unrest::default(),
            findings: Findings::default(),
        };
        Judge { record: &record, published: &Published::default(), settled: u64::MAX }.judge(true);
        let kind = |line: String| line.split_once(':').expect("a kind").0.to_owned();
        record.findings.all().into_iter().map(kind).collect()
    }

    #[test]
    fn the_judge_of_a_soak_finds_what_is_lost_doubled_disordered_or_a_strangers() {
        let calm = Unrest::default;
        let none: [&str; 0] = [];
        assert_eq!(found(&[got(20, 0), got(1_020, 1), got(2_020, 2)], calm()), none);
        assert_eq!(found(&[got(20, 0), got(2_020, 2)], calm()), ["lost"]);
        assert_eq!(found(&[got(20, 0), got(1_020, 1), got(1_030, 1), got(2_020, 2)], calm()), ["doubled"]);
        assert_eq!(found(&[got(20, 0), got(2_020, 2), got(2_030, 1)], calm()), ["order"]);
        let other = Seen::Got(AT, (1, 0), Form::Legacy);
        assert_eq!(found(&[got(20, 0), other, got(1_020, 1), got(2_020, 2)], calm()), ["stranger"]);
        // A fault may change the order, and excuses nothing else.
        let broken = || {
            let faults = Unrest::default();
            faults.begins();
            faults
        };
        let mut within = vec![got(20, 0), got(2_020, 2), got(2_030, 1)];
        let fault = broken();
        fault.spans_from(AT);
        assert_eq!(found(&within, fault), none);
        within.pop();
        let fault = broken();
        fault.spans_from(AT);
        assert_eq!(found(&within, fault), ["lost"]);
    }

    #[test]
    fn a_gap_excuses_what_it_covers_and_a_resume_nothing() {
        let calm = Unrest::default;
        let none: [&str; 0] = [];
        let told = Seen::Resync(AT + 1_500, AT + 900);
        assert_eq!(found(&[got(20, 0), told, got(2_020, 2)], calm()), none);
        let late = Seen::Resync(AT + 2_500, AT + 1_900);
        assert_eq!(found(&[got(20, 0), late, got(2_020, 2)], calm()), ["lost"]);
        let (gone, back) = (Seen::Gone(AT + 900, true), |sign| Seen::Signed(AT + 1_500, sign));
        let all = |sign| [got(20, 0), gone.clone(), back(sign), got(1_520, 0), got(2_020, 2)];
        assert_eq!(found(&all(Sign::Recovered), calm()), ["doubled", "lost"]);
        // Somebody new is owed what comes from then on, once it has joined.
        let again = [got(20, 0), gone.clone(), back(Sign::Fresh), Seen::Joined(AT + 1_600, 0)];
        assert_eq!(found(&again, calm()), ["lost"]);
    }

    #[test]
    fn who_comes_as_somebody_new_gives_up_what_earlier_connections_were_owed() {
        let none: [&str; 0] = [];
        let back = |at: u64, sign| Seen::Signed(AT + at, sign);
        // A resume that fails, of which the client is to be told; it stays for so long, and comes back as somebody new.
        let stays = |long| {
            let gone =
                [Seen::Gone(AT + 2_900, true), back(3_000, Sign::NotRecovered), Seen::Joined(AT + 3_100, 0)];
            let new = [Seen::Gone(AT + 3_100 + long, false), back(3_200 + long, Sign::Fresh)];
            [got(20, 0), got(1_020, 1)].into_iter().chain(gone).chain(new).collect::<Vec<_>>()
        };
        assert_eq!(found(&stays(1_000), Unrest::default()), none);
        assert_eq!(found(&stays(10_000), Unrest::default()), ["lost"]);
    }
}
