//! Broadcasts from one instance to the others (`legacy.relay`): what the hub hands out, and what it is handed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_core::Json;
use bridge_core::recipient::{Input, LegacyCopy};
use bridge_core::{DialogId, Millis, UserId};
use tokio::time::{Instant, timeout};

use super::hub::Hub;
use super::legacy::AUDIENCE;
use super::seat::Seat;

/// Takes broadcasts to the other instances. Never blocks: what it can't hold is counted, and told to whom it concerns.
pub trait Relay: Send + Sync + 'static {
    /// A message was accepted and broadcast here; its POST began at `since`.
    fn hand(&self, copy: &Arc<LegacyCopy>, since: Millis);
    /// Whether broadcasts are handed over at all.
    fn is_on(&self) -> bool;
    /// The other instances.
    fn peers(&self) -> Vec<Peer>;
}

/// Another instance, as the relay sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Peer {
    /// Its admin address.
    pub node: String,
    /// Its name, once it said so.
    pub instance: Option<String>,
    /// It takes broadcasts.
    pub up: bool,
    /// Broadcasts that wait for it.
    pub waiting: usize,
    /// Why it does not take them.
    pub why: Option<String>,
}

/// A message that another instance had accepted.
#[derive(Debug)]
pub struct Relayed {
    /// Its dialog.
    pub dialog: DialogId,
    /// Who posted it.
    pub sender: UserId,
    /// `data` of Chat3's answer, as it came.
    pub data: Json,
    /// How long ago its POST began.
    pub age: Duration,
}

impl Hub {
    /// Connects what takes broadcasts to the other instances.
    pub fn set_relay(&self, relay: Arc<dyn Relay>) {
        if self.relay.set(relay).is_err() {
            tracing::error!("there is a relay already");
        }
    }

    /// What takes broadcasts to the other instances, in a fleet.
    #[must_use]
    pub fn relay(&self) -> Option<&Arc<dyn Relay>> {
        self.relay.get()
    }

    /// Messages that another instance accepted, in its order. They pass the gates like those accepted here; for who the
    /// members are all of them together wait as long as one does.
    pub async fn relayed(self: &Arc<Self>, messages: Vec<Relayed>) {
        if self.settings.members_hear_legacy {
            let dialogs: HashSet<&DialogId> = messages.iter().map(|message| &message.dialog).collect();
            dialogs.into_iter().for_each(|dialog| self.members.expect_list(dialog));
        }
        let deadline = Instant::now() + AUDIENCE;
        for Relayed { dialog, sender, data, age } in messages {
            self.metrics.relayed.increment(1);
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            let since = Millis(self.now().0.saturating_sub(age));
            let post = self.post_started(since, &dialog, &sender);
            self.reach(post, &dialog, &sender, data, deadline).await;
        }
    }

    /// Messages of `dialog` that another instance accepted since `since` do not come; `None`: nobody knows of which.
    pub async fn unrelayed(&self, dialog: Option<&DialogId>, since: Millis) {
        let tell = |seat: &Arc<Seat>, everywhere| {
            self.apply(seat, Input::Unrelayed { dialog: dialog.cloned(), everywhere, since });
        };
        let Some(dialog) = dialog else {
            return self.registry.everyone().iter().for_each(|seat| tell(seat, true));
        };
        let members = match self.settings.members_hear_legacy {
            true => timeout(AUDIENCE, self.members.list(dialog)).await.ok().flatten(),
            false => None,
        };
        let members = members.map(|members| self.connected(&members)).unwrap_or_default();
        let named: HashSet<UserId> = members.iter().map(|seat| seat.id.clone()).collect();
        members.iter().for_each(|seat| tell(seat, true));
        self.registry
            .room(dialog)
            .iter()
            .filter(|seat| !named.contains(&seat.id))
            .for_each(|seat| tell(seat, false));
    }
}
