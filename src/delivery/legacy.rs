//! The legacy path: Chat3's createMessage answer to everyone in the room.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_core::Json;
use bridge_core::compare::Fact;
use bridge_core::recipient::{Input, LegacyArrival, LegacyCopy};
use bridge_core::update::LegacyMessage;
use bridge_core::{DialogId, Millis, Path, UserId};
use tokio::time::{Instant, timeout_at};

use super::hub::Hub;
use super::posts::Post;
use super::seat::Seat;

/// So long a broadcast waits for who the members are, once Chat3 has accepted the message.
pub(super) const AUDIENCE: Duration = Duration::from_secs(1);

impl Hub {
    /// A POST is about to be forwarded to Chat3.
    #[must_use]
    pub fn post(self: &Arc<Self>, dialog: DialogId, sender: UserId) -> Post {
        let number = self.post_started(self.now(), &dialog, &sender);
        if self.settings.members_hear_legacy {
            self.members.expect_list(&dialog);
        }
        Post::new(Arc::clone(self), number, dialog, sender)
    }

    /// One that began at `since`; returns its number.
    pub(super) fn post_started(&self, since: Millis, dialog: &DialogId, sender: &UserId) -> u64 {
        let post = self.posts.begin(since, dialog);
        self.tap.fact(since, Fact::PostStarted { post, dialog: dialog.clone(), sender: sender.clone() });
        post
    }

    /// See [`Post::accepted`].
    pub(super) async fn accepted(self: &Arc<Self>, post: u64, dialog: &DialogId, sender: &UserId, data: Json) {
        let accepted = self.reach(post, dialog, sender, data, Instant::now() + AUDIENCE).await;
        if let (Some((copy, since)), Some(relay)) = (accepted, self.relay.get()) {
            relay.hand(&copy, since);
        }
    }

    /// Broadcasts it to whom it is for; where that is not known at `deadline`, to the others later.
    pub(super) async fn reach(
        self: &Arc<Self>,
        post: u64,
        dialog: &DialogId,
        sender: &UserId,
        data: Json,
        deadline: Instant,
    ) -> Option<(Arc<LegacyCopy>, Millis)> {
        if !self.settings.members_hear_legacy {
            return self.post_accepted(post, dialog, sender, data, None);
        }
        let mut asked = Box::pin(self.members.list(dialog));
        if let Ok(members) = timeout_at(deadline, &mut asked).await {
            if members.is_none() {
                self.metrics.audience_unknown.increment(1);
            }
            let accepted = self.post_accepted(post, dialog, sender, data, members.as_deref());
            if let (Some((copy, since)), Some(reached)) = (&accepted, members) {
                self.reach_invited(Arc::clone(copy), *since, reached);
            }
            return accepted;
        }
        self.metrics.audience_late.increment(1);
        let (copy, since) = self.post_accepted(post, dialog, sender, data, None)?;
        // The caller has its answer by now; the question has its own limit.
        let (hub, late) = (Arc::clone(self), Arc::clone(&copy));
        tokio::spawn(crate::vital::task("audience", async move {
            match hub.members.list(&late.dialog).await {
                Some(members) => hub.reach_members(&late, since, |_| true, &members),
                None => hub.metrics.audience_unknown.increment(1),
            }
        }));
        Some((copy, since))
    }

    /// Chat3 accepted it: the broadcast leaves before this returns. Returns it with the moment at which its POST began.
    ///
    /// `members` hear it too, joined or not; `None` where only the room does, or they are not known.
    pub(super) fn post_accepted(
        &self,
        post: u64,
        dialog: &DialogId,
        sender: &UserId,
        data: Json,
        members: Option<&HashSet<String>>,
    ) -> Option<(Arc<LegacyCopy>, Millis)> {
        // Who is in the room from now on is reached, or came too late.
        let answered = self.now();
        let read = LegacyMessage::read(data.get());
        // While it is open, or mapped: an update looks for its dialog in both.
        if let Some(mongo) = &read.dialog_mongo {
            self.dialogs.learn(mongo, dialog);
        }
        let since = self.posts.end(post).unwrap_or(Millis(0));
        let Some(key) = read.message.key(&self.settings.tenant) else {
            // Chat3's client lets no answer without an id pass.
            self.tap.fact(self.now(), Fact::PostUnknown { post });
            return None;
        };
        let (dialog, sender) = (dialog.clone(), sender.clone());
        let copy = Arc::new(LegacyCopy { data, dialog, message: read.message, key: key.clone(), sender });
        if self.broadcast(&copy, since, members) || self.is_real(&copy.sender) {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.tap.fact(answered, Fact::PostAccepted { post, key, dialog_mongo: read.dialog_mongo });
        Some((copy, since))
    }

    /// Which `dlg_` id a dialog's Mongo id belongs to, as Chat3 said when it was asked about the dialog.
    pub fn dialog_is(&self, mongo: &str, dialog: &DialogId) {
        self.dialogs.learn(&mongo.into(), dialog);
    }

    /// Chat3 refused it: there is no message.
    pub(super) fn post_refused(&self, post: u64) {
        self.posts.end(post);
        self.tap.fact(self.now(), Fact::PostRefused { post });
    }

    /// Nobody waits for its answer any more, or there is none that can be read. One that comes after all is taken.
    pub(super) fn post_unknown(&self, post: u64) {
        if self.posts.give_up(post) {
            self.tap.fact(self.now(), Fact::PostUnknown { post });
        }
    }

    /// Whether somebody here hears it; users of drills do not count.
    fn broadcast(&self, copy: &Arc<LegacyCopy>, since: Millis, members: Option<&HashSet<String>>) -> bool {
        let is_member = |seat: &Seat| members.is_some_and(|members| members.contains(seat.id.as_str()));
        let mut seats = self.registry.room(&copy.dialog);
        seats.retain(|seat| !is_member(seat));
        seats.extend(members.iter().flat_map(|members| self.connected(members)));
        let mut sample = self.latency.sample(Path::Legacy, self.accepted.load(Ordering::Relaxed));
        let (mut heard, mut flows) = (false, false);
        for seat in seats {
            let everywhere = is_member(&seat);
            let mut inner = seat.inner.lock();
            heard |= !inner.recipient.is_synthetic();
            flows |= inner.recipient.awaits_updates();
            let synthetic = inner.recipient.is_synthetic();
            self.apply_locked(&mut inner, &seat, Input::Legacy(LegacyArrival { copy, since, everywhere }));
            let emitted = sample.as_ref().and_then(|_| inner.last_emitted());
            self.settle(&seat, inner);
            // The first one stands for all.
            if let Some(sample) = sample.take_if(|_| !synthetic) {
                sample.arrived(&copy.data, None, self.now());
                if let Some((link, serial)) = emitted {
                    sample.emitted(link, serial);
                }
            }
        }
        if flows {
            self.flow.accepted(since);
        }
        heard
    }

    /// Reaches who was invited since it was asked who the members are, `reached`: that is believed for a while.
    fn reach_invited(self: &Arc<Self>, copy: Arc<LegacyCopy>, since: Millis, reached: Arc<HashSet<String>>) {
        let hub = Arc::clone(self);
        tokio::spawn(crate::vital::task("audience", async move {
            let Some(members) = hub.members.list_now(&copy.dialog).await else { return };
            if !Arc::ptr_eq(&members, &reached) {
                hub.reach_members(&copy, since, |member| !reached.contains(member), &members);
            }
        }));
    }

    /// Reaches those of `members` whom the broadcast did not, where they are `meant`.
    fn reach_members(
        &self,
        copy: &Arc<LegacyCopy>,
        since: Millis,
        meant: impl Fn(&str) -> bool,
        members: &HashSet<String>,
    ) {
        let room: HashSet<UserId> = self.registry.room(&copy.dialog).iter().map(|seat| seat.id.clone()).collect();
        let is_meant = |seat: &Arc<Seat>| meant(seat.id.as_str()) && !room.contains(&seat.id);
        for seat in self.connected(members).into_iter().filter(is_meant) {
            self.apply(&seat, Input::Legacy(LegacyArrival { copy, since, everywhere: true }));
        }
    }

    /// Those of `members` who are here.
    pub(super) fn connected(&self, members: &HashSet<String>) -> Vec<Arc<Seat>> {
        members.iter().filter_map(|member| self.registry.named(member)).collect()
    }

    fn is_real(&self, user: &UserId) -> bool {
        self.registry.user(user).is_some_and(|seat| !seat.inner.lock().recipient.is_synthetic())
    }
}
