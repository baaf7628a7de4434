//! Users to be brought to what is wanted.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bridge_core::UserId;
use metrics::counter;
use tokio::task::{JoinError, JoinSet};
use tracing::warn;

use super::{IN_FLIGHT, Session};

/// A user whose queue could not be made is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// One request chain for each at a time.
#[derive(Default)]
pub(super) struct Work {
    turns: Turns,
    busy: HashSet<UserId>,
    /// Something changed about them while they were busy.
    again: HashSet<UserId>,
    pub(super) tasks: JoinSet<(UserId, Result<(), String>)>,
}

/// Whose turn it is.
#[derive(Default)]
struct Turns {
    queue: VecDeque<UserId>,
    /// Those who are served already: nobody waits for it. Some have gone to the queue since.
    later: VecDeque<UserId>,
    /// Those of them who have not.
    served: HashSet<UserId>,
}

impl Turns {
    fn take(&mut self, user: UserId, served: bool) {
        if !served {
            self.queue.push_back(user);
        } else if self.served.insert(user.clone()) {
            self.later.push_back(user);
        }
    }

    /// Whether it has its turn still before it; somebody who is served no more gets it earlier.
    fn waits(&mut self, user: &UserId, served: bool) -> bool {
        let later = self.served.contains(user);
        if later && !served {
            self.queue.extend(self.served.take(user));
        }
        later
    }

    fn next(&mut self) -> Option<UserId> {
        let Self { queue, later, served } = self;
        queue.pop_front().or_else(|| {
            let mut left = std::iter::from_fn(|| later.pop_front());
            left.find(|user| served.remove(user))
        })
    }
}

impl Work {
    pub(super) fn begin(&mut self, session: &Arc<Session>) {
        for user in session.shared.wanted.take_dirty() {
            let served = session.shared.wanted.is_live(&user);
            if !self.busy.contains(&user) {
                self.busy.insert(user.clone());
                self.turns.take(user, served);
            } else if !self.turns.waits(&user, served) {
                self.again.insert(user);
            }
        }
        while self.tasks.len() < IN_FLIGHT
            && let Some(user) = self.turns.next()
        {
            let session = Arc::clone(session);
            self.tasks.spawn(async move {
                let brought = session.bring(&user).await;
                (user, brought)
            });
        }
    }

    pub(super) fn end(
        &mut self,
        session: &Arc<Session>,
        done: Result<(UserId, Result<(), String>), JoinError>,
    ) -> Result<(), String> {
        let (user, brought) = done.map_err(|error| format!("a task of the broker session failed: {error}"))?;
        self.busy.remove(&user);
        let again = self.again.remove(&user);
        match brought {
            Ok(()) if again => session.shared.wanted.again(&user),
            Ok(()) => {}
            Err(reason) => {
                session.check().map_err(|lost| format!("{lost}: {reason}"))?;
                if let Some(left_out) = session.shared.said.take(kind(&reason), session.shared.clock.now()) {
                    warn!(%user, %reason, left_out, "the queue for a user could not be made: trying again");
                }
                counter!("bridge_queue_failed_total").increment(1);
                let shared = Arc::clone(&session.shared);
                tokio::spawn(crate::vital::task("queue of a user", async move {
                    tokio::time::sleep(AGAIN).await;
                    shared.wanted.again(&user);
                }));
            }
        }
        Ok(())
    }
}

/// What kind of fault it is: the name that AMQP has for it, else what is said last, without whose queue it is.
fn kind(reason: &str) -> &str {
    let named =
        |word: &&str| word.len() > 4 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
    let mut words = reason.split([' ', ':', ',']);
    words.find(named).unwrap_or_else(|| reason.rsplit(": ").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bridge_core::UserId;

    use super::{Turns, kind};

    #[test]
    fn who_is_not_served_comes_first_even_if_he_was_when_he_began_to_wait() {
        let mut turns = Turns::default();
        let user = |n: usize| UserId::new(&format!("u{n}")).unwrap();
        (0..3).for_each(|n| turns.take(user(n), true));
        turns.take(user(3), false);
        // The queue of the last is lost meanwhile; the one before is only to be bound otherwise once more.
        assert!(turns.waits(&user(1), true) && turns.waits(&user(2), false));
        assert_eq!([turns.next(), turns.next(), turns.next()], [3, 2, 0].map(|n| Some(user(n))));
        assert!(!turns.waits(&user(2), false), "he has had his turn");
        // And is to wait for something else.
        turns.take(user(2), true);
        assert_eq!([turns.next(), turns.next(), turns.next()], [Some(user(1)), Some(user(2)), None]);
    }

    #[test]
    fn a_kind_does_not_depend_on_the_queue() {
        let refused = "AMQP soft error: ACCESS-REFUSED: ACCESS_REFUSED - access to queue 'user_a' refused";
        assert_eq!(kind(refused), "ACCESS-REFUSED");
        assert_eq!(kind("queue user_a can't be consumed: NOT_FOUND - no queue 'user_a'"), "NOT_FOUND");
        assert_eq!(kind("the broker did not answer within 8 s"), "the broker did not answer within 8 s");
        assert_eq!(kind("queue user_a can't be consumed: a channel is closed"), "a channel is closed");
    }
}
