//! Facts, remembered as long as a unit may need them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::ages::Ages;
use super::event::{Fact, Seen};
use super::posts::Posts;
use super::recent::{Bounded, Recent};
use crate::gate::Why;
use crate::key::Key;
use crate::{DialogId, Millis, UserId};

/// What was accepted here, and what closed, is remembered this much longer than other facts, in ms.
const LONGER: u64 = 600_000;
/// That somebody had an update is remembered so long, in ms: until a twin's absence is judged and may be amended. Where
/// there are too many, it is forgotten earlier: then the cause is told less exactly.
const FANOUT: u64 = 120_000;

/// A message that was accepted here.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// When its POST began, where that is known.
    pub(super) began: Option<Millis>,
    /// When it was answered, and the broadcast left.
    pub(super) at: Millis,
    pub(super) dialog: Option<DialogId>,
    /// The first of its ids, which names it in the evidence.
    pub(super) first: u128,
}

/// Everything that may prove an absence.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Most bytes of all this.
    limit: usize,
    pub(super) posts: Posts,
    /// Messages that were accepted here lately, by each of their ids.
    accepted: Recent<u128, Accepted>,
    /// All that were accepted here.
    posted: Ages,
    /// Units that are over, and the sides that they showed: legacy's is 2, rabbitmq's 1.
    over: Ages,
    dialogs: Recent<Arc<str>, DialogId>,
    /// Messages of which somebody had an update.
    fanout: Ages,
    /// Messages that an update named which was rejected.
    rejected: Recent<Arc<str>, ()>,
    /// Messages whose update came when no socket of the user was subscribed to it.
    unwanted: Recent<u64, ()>,
    /// Units that were not opened for want of memory.
    unopened: Recent<u64, ()>,
    /// When users came into rooms and left them.
    rooms: Recent<u64, Stay>,
    churn: Recent<UserId, ()>,
    unready: Recent<UserId, ()>,
    renewed: Recent<UserId, ()>,
    paths: Recent<UserId, ()>,
    stages: Recent<UserId, ()>,
    pub(super) session_began: bool,
    /// When a session came up that was not the first.
    pub(super) session_again: Option<Millis>,
    pub(super) session_lost: Option<Millis>,
    pub(super) shed_at: Option<Millis>,
}

/// When a user last came into a room, and last left it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stay {
    pub(super) joined: Option<Millis>,
    pub(super) left: Option<Millis>,
}

/// Names a user in a room.
fn room(user: &UserId, dialog: &DialogId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (user.as_str(), dialog.as_str()).hash(&mut hasher);
    hasher.finish()
}

/// Names a unit.
pub(super) fn digest(user: &UserId, id: u128) -> u64 {
    let mut hasher = DefaultHasher::new();
    (user.as_str(), id).hash(&mut hasher);
    hasher.finish()
}

/// The low half of an id, which is a digest itself.
#[expect(clippy::cast_possible_truncation, reason = "a part of a digest")]
const fn half(id: u128) -> u64 {
    id as u64
}

impl Known {
    /// Nothing yet; it will hold about so many bytes at most, and half as many of POSTs without an answer.
    pub(super) fn new(limit: usize) -> Self {
        let part = limit / 10;
        Self {
            limit,
            posts: Posts::new(limit / 2),
            accepted: Recent::default(),
            posted: Ages::new(LONGER, 4 * part),
            over: Ages::new(LONGER, 2 * part),
            dialogs: Recent::default(),
            fanout: Ages::new(FANOUT, 2 * part),
            rejected: Recent::default(),
            unwanted: Recent::default(),
            unopened: Recent::default(),
            rooms: Recent::default(),
            churn: Recent::default(),
            unready: Recent::default(),
            renewed: Recent::default(),
            paths: Recent::default(),
            stages: Recent::default(),
            session_began: false,
            session_again: None,
            session_lost: None,
            shed_at: None,
        }
    }

    /// Notes a fact; what it says of a single unit is returned.
    pub(super) fn note(&mut self, at: Millis, fact: Fact) -> Option<(UserId, Key, Why)> {
        match fact {
            Fact::PostStarted { post, dialog, sender } => self.posts.start(at, post, dialog, &sender),
            Fact::PostAccepted { post, key, dialog_mongo } => {
                let (dialog, began) = self.posts.end(post).unzip();
                if let (Some(mongo), Some(dialog)) = (dialog_mongo, &dialog) {
                    self.dialogs.insert(at, mongo, dialog.clone());
                }
                for id in key.ids() {
                    let accepted = Accepted { began, at, dialog: dialog.clone(), first: key.first() };
                    self.accepted.insert(at, *id, accepted);
                    self.posted.insert(at, half(*id), 0);
                }
            }
            Fact::PostRefused { post } => {
                self.posts.end(post);
            }
            Fact::PostUnknown { post } => self.posts.unknown(at, post),
            Fact::Churn { user } => self.churn.insert(at, user, ()),
            Fact::Session { up: true } if !self.session_began => self.session_began = true,
            Fact::Session { up: true } => self.session_again = Some(at),
            Fact::Session { up: false } => self.session_lost = Some(at),
            Fact::QueueLost { user } => self.unready.insert(at, user, ()),
            Fact::QueueRenewed { user } => self.renewed.insert(at, user, ()),
            Fact::Room { user, dialog, joined } => {
                let name = room(&user, &dialog);
                let before = self.rooms.get(&name).copied().unwrap_or_default();
                let stay =
                    if joined { Stay { joined: Some(at), ..before } } else { Stay { left: Some(at), ..before } };
                self.rooms.insert(at, name, stay);
            }
            Fact::StageChanged { user, from, to } => {
                let paths = |stage: crate::Stage| (stage.runs_rabbitmq(), stage.shadow_mode());
                if paths(from) != paths(to) {
                    self.paths.insert(at, user.clone(), ());
                }
                self.stages.insert(at, user, ());
            }
            Fact::Rejected { entity, .. } => {
                if let Some(entity) = entity {
                    self.rejected.insert(at, entity, ());
                }
            }
            Fact::Unwanted { user, key } => {
                for id in key.ids() {
                    self.unwanted.insert(at, digest(&user, *id), ());
                }
            }
            Fact::Released { user, key, why } => return Some((user, key, why)),
        }
        self.trim();
        None
    }

    /// Somebody's update of a message came.
    pub(super) fn had_update(&mut self, at: Millis, key: &Key) {
        for id in key.ids() {
            self.fanout.insert(at, half(*id), 0);
        }
    }

    /// A unit was not opened, for want of memory: its twin must not be taken for alone.
    pub(super) fn not_opened(&mut self, at: Millis, user: &UserId, key: &Key) {
        for id in key.ids() {
            self.unopened.insert(at, digest(user, *id), ());
        }
        self.trim();
    }

    /// Whether the other copy of this unit was seen at or after `since`, and the unit not opened.
    pub(super) fn was_not_opened(&self, user: &UserId, key: &Key, since: Millis) -> bool {
        let none = self.unopened.is_empty() && !self.unopened.lost_since(since);
        !none && key.ids().iter().any(|id| self.unopened.since(&digest(user, *id), since))
    }

    /// A unit of these names is over, and showed these sides.
    pub(super) fn is_over(&mut self, at: Millis, names: &[u128], (legacy, rabbitmq): (bool, bool)) {
        for name in names {
            self.over.insert(at, half(*name), u64::from(legacy) << 1 | u64::from(rabbitmq));
        }
    }

    /// Which sides a unit of these names showed that is over; `None` when nobody remembers one.
    pub(super) fn was_over(&self, names: &[u128]) -> Option<(bool, bool)> {
        let said = names.iter().filter_map(|name| self.over.said(half(*name))).reduce(|all, one| all | one)?;
        Some((said & 2 != 0, said & 1 != 0))
    }

    /// What is still known of the acceptance of this message here.
    pub(super) fn accepted(&self, key: &Key) -> Option<&Accepted> {
        key.ids().iter().find_map(|id| self.accepted.get(id))
    }

    /// Whether it was accepted here, also long ago.
    pub(super) fn was_posted(&self, key: &Key) -> bool {
        self.accepted(key).is_some() || key.ids().iter().any(|id| self.posted.contains(half(*id)))
    }

    /// Whether what an update tells of may be a message that was posted here, as far as that is known when it comes. Who
    /// posted need not be who Chat3 calls the sender.
    pub(super) fn may_be_posted_here(&self, seen: &Seen) -> bool {
        let dialog = seen.dialog.as_ref().or_else(|| self.dialog(seen.dialog_mongo()));
        self.was_posted(&seen.key)
            || self.posts.earliest(None, dialog).is_some()
            || self.may_have_been_posted(seen.at)
    }

    /// Whether it may have been accepted here, and forgotten before its time.
    pub(super) fn may_have_been_posted(&self, at: Millis) -> bool {
        let since = Millis(at.0.saturating_sub(LONGER));
        self.posted.lost_since(since) || self.posts.lost_since(since)
    }

    /// Whether a unit that closed at or after `since`, or if that is not known at any time that matters at `at`, may be
    /// forgotten.
    pub(super) fn may_be_over(&self, since: Option<Millis>, at: Millis) -> bool {
        self.over.lost_since(since.unwrap_or(Millis(at.0.saturating_sub(LONGER))))
    }

    /// The dialog of a Mongo id.
    pub(super) fn dialog(&self, mongo: Option<&str>) -> Option<&DialogId> {
        self.dialogs.get(mongo?)
    }

    pub(super) fn had_fanout(&self, key: &Key) -> bool {
        key.ids().iter().any(|id| self.fanout.contains(half(*id)))
    }

    pub(super) fn was_rejected(&self, entity: &str) -> bool {
        self.rejected.get(entity).is_some()
    }

    /// Whether its update came, and no socket of the user wanted it.
    pub(super) fn was_unwanted(&self, user: &UserId, key: &Key) -> bool {
        key.ids().iter().any(|id| self.unwanted.get(&digest(user, *id)).is_some())
    }

    /// The same, of what was let go at or after `since`.
    pub(super) fn may_have_been_unwanted(&self, since: Millis) -> bool {
        self.unwanted.lost_since(since)
    }

    /// Whether a socket of the user came, went or changed at or after `since`.
    pub(super) fn churned(&self, user: &UserId, since: Millis) -> bool {
        self.churn.since(user, since)
    }

    /// When the user last came into the room and left it, as far as that was lately.
    pub(super) fn stay(&self, user: &UserId, dialog: &DialogId) -> Stay {
        self.rooms.get(&room(user, dialog)).copied().unwrap_or_default()
    }

    /// Whether somebody's coming or going at or after `since` was let go.
    pub(super) fn may_have_moved(&self, since: Millis) -> bool {
        self.rooms.lost_since(since)
    }

    /// Whether the user's queue was lost from `since` to `until`.
    pub(super) fn queue_was_lost(&self, user: &UserId, since: Millis, until: Millis) -> bool {
        self.unready.at(user).is_some_and(|at| at >= since && at <= until)
    }

    /// Whether the session was lost from `since` to `until`.
    pub(super) fn session_was_lost(&self, since: Millis, until: Millis) -> bool {
        self.session_lost.is_some_and(|at| at >= since && at <= until)
    }

    /// Whether the user's queue was made anew at or after `since`.
    pub(super) fn renewed(&self, user: &UserId, since: Millis) -> bool {
        self.renewed.since(user, since)
    }

    /// Whether a path began or ended for the user at or after `since`.
    pub(super) fn path_changed(&self, user: &UserId, since: Millis) -> bool {
        self.paths.since(user, since)
    }

    /// Whether the user's stage changed at or after `since`.
    pub(super) fn stage_changed(&self, user: &UserId, since: Millis) -> bool {
        self.stages.since(user, since)
    }

    pub(super) fn expire(&mut self, now: Millis, before: Millis) {
        self.posts.expire(before);
        self.accepted.expire(before);
        self.dialogs.expire(before);
        self.rooms.expire(before);
        self.rejected.expire(before);
        for map in [&mut self.unwanted, &mut self.unopened] {
            map.expire(before);
        }
        for map in [&mut self.churn, &mut self.unready, &mut self.renewed, &mut self.paths, &mut self.stages] {
            map.expire(before);
        }
        // An update may come much later than any unit stays open: it is still one of a message that was posted here.
        self.posted.turn(now);
        self.over.turn(now);
        self.fanout.turn(now);
    }

    fn kinds(&mut self) -> [&mut dyn Bounded; 11] {
        [
            &mut self.accepted,
            &mut self.dialogs,
            &mut self.rejected,
            &mut self.unwanted,
            &mut self.unopened,
            &mut self.rooms,
            &mut self.churn,
            &mut self.unready,
            &mut self.renewed,
            &mut self.paths,
            &mut self.stages,
        ]
    }

    /// Bytes of all facts, roughly.
    pub(super) fn bytes(&self) -> usize {
        let lists: [&dyn Bounded; 11] = [
            &self.accepted,
            &self.dialogs,
            &self.rejected,
            &self.unwanted,
            &self.unopened,
            &self.rooms,
            &self.churn,
            &self.unready,
            &self.renewed,
            &self.paths,
            &self.stages,
        ];
        let lists: usize = lists.into_iter().map(Bounded::bytes).sum();
        lists + self.posts.bytes() + self.posted.bytes() + self.over.bytes() + self.fanout.bytes()
    }

    /// Over its memory: the oldest of whatever there is most of goes.
    fn trim(&mut self) {
        // POSTs have a bound of their own, and push nothing out.
        while self.bytes() - self.posts.bytes() > self.limit {
            let Some(most) = self.kinds().into_iter().max_by_key(|kind| kind.bytes()) else { return };
            let before = most.bytes();
            most.let_go();
            if most.bytes() == before {
                return;
            }
        }
    }

    /// How many facts went before their time since the last call.
    pub(super) fn take_let_go(&mut self) -> u64 {
        let lists: u64 = self.kinds().into_iter().map(Bounded::take_let_go).sum();
        lists + self.posts.take_let_go() + self.posted.take_let_go() + self.over.take_let_go()
    }
}
