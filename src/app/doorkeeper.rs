//! Asks Chat3 who may join, as far as the settings want it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_core::{DialogId, UserId};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::chat3::{Act, MemberAnswer, Membership};
use crate::config::MembershipMode;
use crate::delivery::Members;
use crate::sockets::Refused;

/// Questions about members that are asked at once, so that all rooms are seen to within the cache time.
const AT_ONCE: usize = 16;
/// Rooms are not looked at more often than this, however short the cache's time.
const LEAST: Duration = Duration::from_secs(1);
/// Most pairs of which is remembered that they were reported.
const MOST_REPORTED: usize = 50_000;

pub(super) struct Doorkeeper {
    membership: Arc<Membership>,
    mode: MembershipMode,
    /// An answer that is older is asked for anew when rooms are looked at.
    believed: Duration,
    /// Who would be put out of which room, and was counted.
    reported: Mutex<HashSet<(DialogId, UserId)>>,
}

/// How often rooms are looked at for members who were removed; zero: never.
pub(super) fn every(mode: MembershipMode, cache: Duration) -> Duration {
    match mode {
        MembershipMode::Off => Duration::ZERO,
        MembershipMode::Report | MembershipMode::Enforce => (cache / 3).max(LEAST),
    }
}

impl Doorkeeper {
    pub(super) fn new(membership: Arc<Membership>, mode: MembershipMode, cache: Duration) -> Self {
        Self { membership, mode, believed: (cache / 3).max(LEAST), reported: Mutex::default() }
    }

    /// Whether it was not reported before.
    fn is_news(&self, pair: &(DialogId, UserId)) -> bool {
        let mut reported = self.reported.lock();
        if reported.len() >= MOST_REPORTED {
            reported.clear();
        }
        reported.insert(pair.clone())
    }
}

async fn judge(membership: &Membership, dialog: &DialogId, user: &UserId, enforced: bool) -> Result<(), Refused> {
    let why = match membership.check(dialog, user).await {
        MemberAnswer::Member => return Ok(()),
        MemberAnswer::NotMember => "not a member",
        MemberAnswer::NoDialog => "dialog not found",
        MemberAnswer::Unknown(reason) => {
            return Err(Refused(format!("membership could not be checked: {reason}")));
        }
    };
    membership.note(Act::Join, enforced, dialog, user, why);
    Err(Refused(why.into()))
}

#[async_trait::async_trait]
impl Members for Doorkeeper {
    fn expect(&self, dialog: &DialogId, user: &UserId) {
        if self.mode == MembershipMode::Enforce {
            self.membership.expect(dialog, Some(user));
        }
    }

    async fn may_join(&self, dialog: &DialogId, user: &UserId) -> Result<(), Refused> {
        match self.mode {
            MembershipMode::Off => Ok(()),
            MembershipMode::Enforce => judge(&self.membership, dialog, user, true).await,
            MembershipMode::Report => {
                // Who only watches holds nobody up.
                let (membership, dialog, user) = (Arc::clone(&self.membership), dialog.clone(), user.clone());
                tokio::spawn(async move { judge(&membership, &dialog, &user, false).await });
                Ok(())
            }
        }
    }

    fn known(&self, dialog: &DialogId, user: &UserId) -> Option<bool> {
        self.membership.known(dialog, user)
    }

    fn expect_list(&self, dialog: &DialogId) {
        self.membership.expect(dialog, None);
    }

    async fn list(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>> {
        self.membership.list(dialog).await
    }

    async fn list_now(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>> {
        self.membership.list_now(dialog).await
    }

    async fn removed(&self, pairs: Vec<(DialogId, UserId)>) -> Vec<(DialogId, UserId)> {
        let checks = pairs.into_iter().map(|pair| async move {
            let gone = self.membership.is_gone(&pair.0, &pair.1, self.believed).await;
            if !gone {
                self.reported.lock().remove(&pair);
            }
            gone.then_some(pair)
        });
        let gone = stream::iter(checks).buffer_unordered(AT_ONCE).filter_map(std::future::ready);
        let mut gone: Vec<(DialogId, UserId)> = gone.collect().await;
        let enforced = self.mode == MembershipMode::Enforce;
        for pair in &gone {
            if enforced || self.is_news(pair) {
                self.membership.note(Act::Removal, enforced, &pair.0, &pair.1, "not a member any more");
            }
        }
        if !enforced {
            gone.clear();
        }
        gone
    }
}
