//! Questions that are open: bounded in all, and for each user who asks.

use std::collections::HashMap;

use bridge_core::{DialogId, UserId};

use super::Question;

/// Most questions that are open at once.
pub(super) const MOST: usize = 1_000;

pub(super) struct Open {
    /// Most of them that one user has begun.
    of_user: usize,
    /// With who began each; `None`: the gateway itself.
    questions: HashMap<DialogId, (Question, Option<UserId>)>,
    /// How many each user has begun.
    users: HashMap<UserId, usize>,
}

impl Open {
    pub(super) fn new(of_user: usize) -> Self {
        Self { of_user, questions: HashMap::new(), users: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.questions.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.users.is_empty()
    }

    pub(super) fn get(&self, dialog: &DialogId) -> Option<&Question> {
        self.questions.get(dialog).map(|(question, _)| question)
    }

    /// Whether `asker` may begin one more.
    pub(super) fn has_room(&self, asker: Option<&UserId>) -> bool {
        let own = asker.and_then(|user| self.users.get(user)).copied().unwrap_or(0);
        self.questions.len() < MOST && own < self.of_user
    }

    pub(super) fn insert(&mut self, dialog: DialogId, question: Question, asker: Option<&UserId>) {
        if let Some(user) = asker {
            *self.users.entry(user.clone()).or_default() += 1;
        }
        self.questions.insert(dialog, (question, asker.cloned()));
    }

    pub(super) fn remove(&mut self, dialog: &DialogId) {
        let Some((_, Some(user))) = self.questions.remove(dialog) else { return };
        if let Some(own) = self.users.get_mut(&user) {
            *own -= 1;
            if *own == 0 {
                self.users.remove(&user);
            }
        }
    }
}
