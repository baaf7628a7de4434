//! Who is a member of a dialog, believed for a short time.

mod question;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{DialogId, UserId};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use metrics::counter;
use parking_lot::Mutex;
use tokio::time::timeout;

use self::question::Endpoints;
use super::Chat3;

/// Most dialogs whose members are remembered.
const MOST: usize = 20_000;
/// Most questions that are open at once.
const MOST_OPEN: usize = 1_000;
/// All pages of one question have to be there within this time.
const QUESTION: Duration = Duration::from_secs(10);

/// Whether a user is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAnswer {
    /// It is.
    Member,
    /// It is not.
    NotMember,
    /// Chat3 has no such dialog.
    NoDialog,
    /// Chat3 could not be asked.
    Unknown(String),
}

/// `None` for a dialog that is not there.
type Members = Option<Arc<HashSet<String>>>;
type Answer = Result<Members, String>;

/// Members of dialogs.
pub struct Membership {
    cache: Duration,
    asker: Arc<Asker>,
}

struct Asker {
    chat3: Chat3,
    endpoints: Endpoints,
    cache: Duration,
    known: Mutex<HashMap<DialogId, (Instant, Members)>>,
    open: Mutex<HashMap<DialogId, Shared<BoxFuture<'static, Answer>>>>,
}

impl Membership {
    /// Believes an answer for `cache`.
    #[must_use]
    pub fn new(chat3: Chat3, cache: Duration) -> Self {
        let (known, open) = (Mutex::default(), Mutex::default());
        let asker = Asker { chat3, endpoints: Endpoints::default(), cache, known, open };
        Self { cache, asker: Arc::new(asker) }
    }

    /// Tells `learner` each dialog's Mongo id with its `dlg_` id, where an answer has both. Once.
    pub fn tell_dialogs(&self, learner: impl Fn(&str, &DialogId) + Send + Sync + 'static) {
        if self.asker.endpoints.learner.set(Box::new(learner)).is_err() {
            tracing::error!("somebody learns the ids of dialogs already");
        }
    }

    /// What is known without asking.
    #[must_use]
    pub fn known(&self, dialog: &DialogId, user: &UserId) -> Option<bool> {
        let members = self.asker.fresh(dialog, self.cache)?;
        Some(judge(&members, user) == MemberAnswer::Member)
    }

    /// Somebody will ask about `dialog` in a moment: the question begins, unless many are open.
    pub fn expect(&self, dialog: &DialogId) {
        if self.asker.fresh(dialog, self.cache).is_none() && self.asker.open.lock().len() < MOST_OPEN / 2 {
            let _it_runs_in_its_own_task = self.question(dialog);
        }
    }

    /// Whether `user` is a member of `dialog`. Many who ask at once cost one question, and share its failure too.
    pub async fn check(&self, dialog: &DialogId, user: &UserId) -> MemberAnswer {
        self.check_within(dialog, user, 1).await
    }

    /// The same, believing an answer only for this part of the cache time.
    pub async fn check_within(&self, dialog: &DialogId, user: &UserId, part: u32) -> MemberAnswer {
        if let Some(members) = self.asker.fresh(dialog, self.cache / part.max(1)) {
            return judge(&members, user);
        }
        let answer = match self.question(dialog) {
            Some(question) => question.await,
            None => Err("too many open questions".into()),
        };
        match answer {
            Ok(members) => judge(&members, user),
            Err(reason) => {
                counter!("bridge_membership_unknown_total").increment(1);
                MemberAnswer::Unknown(reason)
            }
        }
    }

    /// The open question about `dialog`, or a new one. It runs in a task of its own: a caller that goes away neither
    /// ends it for the others nor leaves it behind.
    fn question(&self, dialog: &DialogId) -> Option<Shared<BoxFuture<'static, Answer>>> {
        let mut open = self.asker.open.lock();
        if let Some(question) = open.get(dialog) {
            return Some(question.clone());
        }
        if open.len() >= MOST_OPEN {
            return None;
        }
        let question = Arc::clone(&self.asker).ask(dialog.clone()).boxed().shared();
        open.insert(dialog.clone(), question.clone());
        tokio::spawn(question.clone());
        Some(question)
    }
}

impl Asker {
    async fn ask(self: Arc<Self>, dialog: DialogId) -> Answer {
        let asked = timeout(QUESTION, self.endpoints.members(&self.chat3, &dialog)).await;
        let answer = asked.unwrap_or_else(|_| Err("no answer in time".into()));
        let answer = answer.map(|members| members.map(Arc::new));
        if let Ok(members) = &answer {
            self.learn(&dialog, members.clone());
        }
        self.open.lock().remove(&dialog);
        answer
    }

    fn fresh(&self, dialog: &DialogId, believed: Duration) -> Option<Members> {
        let known = self.known.lock();
        let (at, members) = known.get(dialog)?;
        (at.elapsed() < believed).then(|| members.clone())
    }

    fn learn(&self, dialog: &DialogId, members: Members) {
        let mut known = self.known.lock();
        if known.len() >= MOST && !known.contains_key(dialog) {
            let cache = self.cache;
            known.retain(|_, (at, _)| at.elapsed() < cache);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(dialog.clone(), (Instant::now(), members));
    }
}

fn judge(members: &Members, user: &UserId) -> MemberAnswer {
    match members {
        None => MemberAnswer::NoDialog,
        Some(members) if members.contains(user.as_str()) => MemberAnswer::Member,
        Some(_) => MemberAnswer::NotMember,
    }
}

#[cfg(test)]
mod tests;
