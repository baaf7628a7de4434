//! Faults that a message asks for by a word in its text: type one on the demo's chat page and see how the comparison
//! names it.

use std::time::Duration;

use super::Version;
use super::publish::Publication;
use super::shapes::Message;

/// What goes wrong with the updates of one message. The victim is its dialog's last member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// The victim's update has another content.
    Altered,
    /// No update for the victim.
    LostForOne,
    /// No update for anybody.
    Lost,
    /// The victim's update can't be read.
    Unreadable,
    /// The victim's update comes twice.
    Twice,
    /// The victim gets, besides its own, the first member's update.
    Leaked,
    /// The POST is answered late.
    SlowAnswer,
    /// The victim's update comes late.
    Late,
    /// The message is accepted, and the POST answered with 500.
    Unanswered,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Altered,
        Self::LostForOne,
        Self::Lost,
        Self::Unreadable,
        Self::Twice,
        Self::Leaked,
        Self::SlowAnswer,
        Self::Late,
        Self::Unanswered,
    ];

    /// The word that asks for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Altered => "#altered",
            Self::LostForOne => "#lost-for-one",
            Self::Lost => "#lost",
            Self::Unreadable => "#unreadable",
            Self::Twice => "#twice",
            Self::Leaked => "#leaked",
            Self::SlowAnswer => "#slow-answer",
            Self::Late => "#late",
            Self::Unanswered => "#unanswered",
        }
    }

    /// What it does, in words for people.
    #[must_use]
    pub const fn does(self) -> &'static str {
        match self {
            Self::Altered => "one update has another text",
            Self::LostForOne => "one member gets no update",
            Self::Lost => "nobody gets an update",
            Self::Unreadable => "one update can't be read",
            Self::Twice => "one update comes twice",
            Self::Leaked => "one member gets another's update too",
            Self::SlowAnswer => "the POST is answered late",
            Self::Late => "one update comes late",
            Self::Unanswered => "accepted, and answered with 500",
        }
    }

    /// The one that `content` asks for.
    #[must_use]
    pub fn of(content: &str) -> Option<Self> {
        let mut words = content.split_whitespace();
        words.find_map(|word| Self::ALL.into_iter().find(|plant| plant.word() == word))
    }

    /// How much longer the answer to the POST takes, where `late` is late.
    pub(super) fn holds_the_answer(self, late: Duration) -> Duration {
        if self == Self::SlowAnswer { late } else { Duration::ZERO }
    }

    /// Whether the POST is answered as if nothing was accepted.
    pub(super) fn hides_the_answer(self) -> bool {
        self == Self::Unanswered
    }

    /// What is published for `user` at `now`, and how much later than the others' it comes, where `late` is late.
    pub(super) fn updates(
        self,
        message: &Message,
        version: Version,
        user: &str,
        (now, late): (u64, Duration),
    ) -> (Duration, Vec<Publication>) {
        let mut due = message.updates(version, user, now);
        let victim = message.dialog.members.last().is_some_and(|last| last == user);
        match self {
            Self::Lost => due.clear(),
            _ if !victim => {}
            Self::LostForOne => due.clear(),
            Self::Altered => {
                let mut other = message.clone();
                other.content.push_str(" (altered)");
                due = other.updates(version, user, now);
            }
            Self::Unreadable => due.iter_mut().for_each(|update| update.body = "{\"cut off".into()),
            Self::Twice => due.extend(due.clone()),
            Self::Leaked => {
                let first = message.dialog.members.first().map_or("", String::as_str);
                let own: Vec<String> = due.iter().map(|update| update.routing_key.clone()).collect();
                let foreign = message.updates(version, first, now).into_iter().zip(own);
                due.extend(foreign.map(|(update, routing_key)| Publication { routing_key, ..update }));
            }
            Self::Late => return (late, due),
            Self::SlowAnswer | Self::Unanswered => {}
        }
        (Duration::ZERO, due)
    }
}
