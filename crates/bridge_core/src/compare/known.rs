//! Facts, remembered as long as a unit may need them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::event::Fact;
use crate::gate::Why;
use crate::key::Key;
use crate::{DialogId, Millis, UserId};

/// How a POST stands that may have made a message nobody here knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostState {
    InFlight,
    /// Ended without a readable answer.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) dialog: DialogId,
    pub(super) sender: UserId,
    pub(super) state: PostState,
    pub(super) began: Millis,
    /// When it began, and from then on when its state changed.
    pub(super) at: Millis,
}

/// A map whose entries are forgotten, oldest first, when they are too old or too many.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<(Millis, K)>,
    most: usize,
}

/// What was accepted here, and what closed, is remembered this much longer than other facts, in ms.
pub(super) const LONGER: u64 = 600_000;
/// Most entries of one kind.
const MOST: usize = 100_000;

impl<K: Eq + Hash + Clone, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self::bounded(MOST)
    }
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    pub(super) fn bounded(most: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), most }
    }

    pub(super) fn insert(&mut self, at: Millis, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back((at, key));
        }
        if self.order.len() > self.most
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.map.get(key)
    }

    /// Its place in the order stays until that is forgotten.
    pub(super) fn remove(&mut self, key: &K) {
        self.map.remove(key);
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.map.values_mut()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }

    /// Forgets what was inserted before `before`, unless `keep` says it is still needed.
    pub(super) fn expire(&mut self, before: Millis, keep: impl Fn(&V) -> bool) {
        for _ in 0..self.order.len() {
            match self.order.front() {
                Some((at, _)) if *at < before => {}
                _ => break,
            }
            if let Some((at, key)) = self.order.pop_front() {
                if self.map.get(&key).is_some_and(&keep) {
                    self.order.push_back((at, key));
                } else {
                    self.map.remove(&key);
                }
            }
        }
    }
}

/// Everything that may prove an absence.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Those in flight, and those without a readable answer.
    pub(super) posts: Recent<u64, Post>,
    /// Keys of messages that were accepted here, with the start of their POST, where that is known.
    pub(super) accepted: Recent<u128, Option<Millis>>,
    pub(super) dialogs: Recent<Arc<str>, DialogId>,
    /// Messages of which somebody had an update.
    pub(super) fanout: Recent<u128, ()>,
    /// Messages that an update named which was rejected.
    pub(super) rejected: Recent<Arc<str>, ()>,
    /// Messages whose update came when no socket of the user was subscribed to it.
    pub(super) unwanted: Recent<(UserId, u128), ()>,
    pub(super) churn: Recent<UserId, Millis>,
    pub(super) renewed: Recent<UserId, Millis>,
    pub(super) paths: Recent<UserId, Millis>,
    pub(super) flips: Recent<UserId, Millis>,
    pub(super) session_began: bool,
    /// When a session came up that was not the first.
    pub(super) session_again: Option<Millis>,
    pub(super) shed_at: Option<Millis>,
}

impl Known {
    /// Notes a fact; what it says of a single unit is returned.
    pub(super) fn note(&mut self, at: Millis, fact: Fact) -> Option<(UserId, Key, Why)> {
        match fact {
            Fact::PostStarted { post, dialog, sender } => {
                self.posts.insert(at, post, Post { dialog, sender, state: PostState::InFlight, began: at, at });
            }
            Fact::PostAccepted { post, key, dialog_mongo } => {
                if let Some(mongo) = dialog_mongo
                    && let Some(dialog) = self.posts.get(&post).map(|post| post.dialog.clone())
                {
                    self.dialogs.insert(at, mongo, dialog);
                }
                let began = self.posts.get(&post).map(|post| post.began);
                for id in key.ids() {
                    self.accepted.insert(at, *id, began);
                }
                self.posts.remove(&post);
            }
            Fact::PostRefused { post } => self.posts.remove(&post),
            Fact::PostUnknown { post } => {
                if let Some(post) = self.posts.get_mut(&post).filter(|post| post.state == PostState::InFlight) {
                    post.state = PostState::Unknown;
                    post.at = at;
                }
            }
            Fact::Churn { user } => self.churn.insert(at, user, at),
            Fact::Session { up: true } if !self.session_began => self.session_began = true,
            Fact::Session { up: true } => self.session_again = Some(at),
            Fact::Session { up: false } => {}
            Fact::QueueRenewed { user } => self.renewed.insert(at, user, at),
            Fact::StageChanged { user, from, to } => {
                let paths = |stage: crate::Stage| (stage.runs_rabbitmq(), stage.shadow_mode());
                if from.authority() != to.authority() {
                    self.flips.insert(at, user.clone(), at);
                }
                if paths(from) != paths(to) {
                    self.paths.insert(at, user, at);
                }
            }
            Fact::Rejected { entity, .. } => {
                if let Some(entity) = entity {
                    self.rejected.insert(at, entity, ());
                }
            }
            Fact::Unwanted { user, key } => {
                for id in key.ids() {
                    self.unwanted.insert(at, (user.clone(), *id), ());
                }
            }
            Fact::Released { user, key, why } => return Some((user, key, why)),
        }
        None
    }

    pub(super) fn had_update(&mut self, at: Millis, key: &Key) {
        for id in key.ids() {
            self.fanout.insert(at, *id, ());
        }
    }

    /// Something was not seen: it may have been the end of any POST that seems to be in flight.
    pub(super) fn shed(&mut self, at: Millis) {
        self.shed_at = Some(at);
        for post in self.posts.values_mut().filter(|post| post.state == PostState::InFlight) {
            (post.state, post.at) = (PostState::Unknown, at);
        }
    }

    /// Whether something happened to the user at or after `since`.
    pub(super) fn since(map: &Recent<UserId, Millis>, user: &UserId, since: Millis) -> bool {
        map.get(user).is_some_and(|at| *at >= since)
    }

    pub(super) fn expire(&mut self, before: Millis) {
        self.posts.expire(before, |_| false);
        // An update may come much later than any unit stays open: it is still one of a message that was posted here.
        self.accepted.expire(Millis(before.0.saturating_sub(LONGER)), |_| false);
        self.fanout.expire(before, |()| false);
        self.rejected.expire(before, |()| false);
        self.unwanted.expire(before, |()| false);
        for map in [&mut self.churn, &mut self.renewed, &mut self.paths, &mut self.flips] {
            map.expire(before, |at| *at >= before);
        }
    }
}
