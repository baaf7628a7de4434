//! The rest of the instance, as a recipient sees it.

use std::sync::atomic::Ordering;

use bridge_core::recipient::{LinkId, ReplayLimit, World};
use bridge_core::update::Update;
use bridge_core::{DialogId, Millis, UserId};

use super::hub::Hub;
use super::seat::Links;

/// Looks things up, for one turn of one recipient.
pub(super) struct Lookup<'a> {
    pub(super) hub: &'a Hub,
    pub(super) user: &'a UserId,
    pub(super) links: &'a Links,
    /// Bytes that each of its sockets may keep while memory is short.
    pub(super) keeps: usize,
}

impl World for Lookup<'_> {
    fn is_member(&self, dialog: &DialogId) -> Option<bool> {
        self.hub.members.known(dialog, self.user)
    }

    fn dialog_of(&self, update: &Update) -> Option<DialogId> {
        let named = update.dialog().and_then(|id| DialogId::new(id).ok());
        named.or_else(|| self.hub.dialogs.find(update.dialog_mongo()?))
    }

    fn posted_in(&self) -> Vec<DialogId> {
        self.hub.posts.dialogs()
    }

    fn session_is_up(&self) -> bool {
        self.hub.session_is_up()
    }

    fn heard(&self) -> Option<Millis> {
        self.hub.broker()?.heard()
    }

    fn is_running(&self) -> bool {
        self.hub.is_running()
    }

    fn members_hear_legacy(&self) -> bool {
        self.hub.settings.members_hear_legacy
    }

    fn replay_limit(&self) -> ReplayLimit {
        let hub = self.hub;
        let (most, all) = (hub.settings.replay_bytes.min(self.keeps), hub.settings.replay_total);
        let share = if hub.replayed.load(Ordering::Relaxed) > all {
            all / hub.sockets.load(Ordering::Relaxed).max(1)
        } else {
            most
        };
        ReplayLimit { most, share: share.min(most) }
    }

    fn handed(&self, link: LinkId) -> u64 {
        self.links.get(link).map_or(0, |link| link.handed())
    }
}
