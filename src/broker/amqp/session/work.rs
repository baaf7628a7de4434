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
    queue: VecDeque<UserId>,
    busy: HashSet<UserId>,
    /// Something changed about them while they were busy.
    again: HashSet<UserId>,
    pub(super) tasks: JoinSet<(UserId, Result<(), String>)>,
}

impl Work {
    pub(super) fn begin(&mut self, session: &Arc<Session>) {
        for user in session.shared.wanted.take_dirty() {
            if self.busy.contains(&user) {
                self.again.insert(user);
            } else {
                self.busy.insert(user.clone());
                self.queue.push_back(user);
            }
        }
        while self.tasks.len() < IN_FLIGHT
            && let Some(user) = self.queue.pop_front()
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
                warn!(%user, %reason, "the queue for the user could not be made: trying again");
                counter!("bridge_queue_failed_total").increment(1);
                let shared = Arc::clone(&session.shared);
                tokio::spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    shared.wanted.again(&user);
                });
            }
        }
        Ok(())
    }
}
