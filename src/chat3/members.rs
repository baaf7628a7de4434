//! Who is a member of a dialog, believed for a short time.

mod open;
mod question;
mod refusals;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_core::{DialogId, UserId};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use metrics::counter;
use parking_lot::Mutex;
use tokio::time::timeout;

pub use self::refusals::Act;

use self::open::Open;
use self::question::Endpoints;
use self::refusals::Refusals;
use super::Chat3;

/// Most dialogs whose members are remembered.
const MOST: usize = 20_000;
/// A refusal is believed so long: who was invited a moment ago asks again.
const REFUSAL: Duration = Duration::from_secs(1);
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
type Question = Shared<BoxFuture<'static, Answer>>;

/// Members of dialogs.
pub struct Membership {
    cache: Duration,
    asker: Arc<Asker>,
    refusals: Refusals,
}

struct Asker {
    chat3: Chat3,
    endpoints: Endpoints,
    cache: Duration,
    /// What was answered, and when it had been asked.
    known: Mutex<HashMap<DialogId, (Instant, Members)>>,
    open: Mutex<Open>,
}

impl Membership {
    /// Believes an answer for `cache`; one user may have `user_questions` open.
    #[must_use]
    pub fn new(chat3: Chat3, cache: Duration, user_questions: u32) -> Self {
        let of_user = usize::try_from(user_questions).unwrap_or(usize::MAX);
        let (known, open) = (Mutex::default(), Mutex::new(Open::new(of_user)));
        let asker = Asker { chat3, endpoints: Endpoints::default(), cache, known, open };
        Self { cache, asker: Arc::new(asker), refusals: Refusals::default() }
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

    /// Somebody will ask about `dialog` in a moment: the question begins, unless many are open. It is one of `asker`'s.
    pub fn expect(&self, dialog: &DialogId, asker: Option<&UserId>) {
        if self.asker.fresh(dialog, self.cache).is_none() && self.asker.open.lock().len() < open::MOST / 2 {
            let _it_runs_in_its_own_task = self.question(dialog, asker);
        }
    }

    /// Whether `user` is a member of `dialog`. Many who ask at once cost one question, and share its failure
    /// too; one user can't have all questions.
    pub async fn check(&self, dialog: &DialogId, user: &UserId) -> MemberAnswer {
        self.check_within(dialog, user, self.cache, Some(user)).await
    }

    async fn check_within(
        &self,
        dialog: &DialogId,
        user: &UserId,
        believed: Duration,
        asker: Option<&UserId>,
    ) -> MemberAnswer {
        if let Some((asked, members)) = self.asker.latest(dialog) {
            let answer = judge(&members, user);
            let believed = if answer.refuses() { believed.min(REFUSAL) } else { believed };
            if asked.elapsed() < believed {
                return answer;
            }
        }
        let came = Instant::now();
        let answer = self.ask(dialog, user, asker).await;
        // What others were waiting for already may have been asked before an invitation.
        let is_old = || self.asker.latest(dialog).is_some_and(|(asked, _)| asked + REFUSAL < came);
        if answer.refuses() && is_old() { self.ask(dialog, user, asker).await } else { answer }
    }

    /// Whether `user` is a member no more, by an answer that is at most `believed` old and by a second one: what one
    /// look misses, another finds.
    pub async fn is_gone(&self, dialog: &DialogId, user: &UserId, believed: Duration) -> bool {
        self.check_within(dialog, user, believed, None).await.refuses()
            && self.ask(dialog, user, None).await.refuses()
    }

    /// The members of `dialog`, asked for where the answer is too old; `None` where that is not known, or there is no
    /// such dialog.
    pub async fn list(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>> {
        self.list_within(dialog, self.cache).await
    }

    /// The same by an answer that is at most a second old.
    pub async fn list_now(&self, dialog: &DialogId) -> Option<Arc<HashSet<String>>> {
        self.list_within(dialog, self.cache.min(REFUSAL)).await
    }

    async fn list_within(&self, dialog: &DialogId, believed: Duration) -> Option<Arc<HashSet<String>>> {
        match self.asker.fresh(dialog, believed) {
            Some(members) => members,
            None => self.question(dialog, None)?.await.ok()?,
        }
    }

    /// Counts, and where nothing is enforced logs, that `user` is no member and did `act`.
    pub fn note(&self, act: Act, enforced: bool, dialog: &DialogId, user: &UserId, why: &str) {
        self.refusals.note(act, enforced, dialog, user, why);
    }

    async fn ask(&self, dialog: &DialogId, user: &UserId, asker: Option<&UserId>) -> MemberAnswer {
        let answer = match self.question(dialog, asker) {
            Some(question) => question.await,
            None => {
                counter!("bridge_limit_refusals_total", "limit" => "member_questions").increment(1);
                Err("too many open questions".into())
            }
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
    fn question(&self, dialog: &DialogId, asker: Option<&UserId>) -> Option<Question> {
        let mut open = self.asker.open.lock();
        if let Some(question) = open.get(dialog) {
            return Some(question.clone());
        }
        if !open.has_room(asker) {
            return None;
        }
        let question = Arc::clone(&self.asker).ask(dialog.clone(), Instant::now()).boxed().shared();
        open.insert(dialog.clone(), question.clone(), asker);
        tokio::spawn(crate::vital::task("question about members", question.clone()));
        Some(question)
    }
}

impl MemberAnswer {
    /// It is known that the user is no member.
    fn refuses(&self) -> bool {
        matches!(self, Self::NotMember | Self::NoDialog)
    }
}

impl Asker {
    async fn ask(self: Arc<Self>, dialog: DialogId, at: Instant) -> Answer {
        let asked = timeout(QUESTION, self.endpoints.members(&self.chat3, &dialog)).await;
        let answer = asked.unwrap_or_else(|_| Err("no answer in time".into()));
        let answer = answer.map(|members| members.map(Arc::new));
        if let Ok(members) = &answer {
            self.learn(&dialog, at, members.clone());
        }
        self.open.lock().remove(&dialog);
        answer
    }

    /// The latest answer, and when it had been asked for.
    fn latest(&self, dialog: &DialogId) -> Option<(Instant, Members)> {
        self.known.lock().get(dialog).cloned()
    }

    fn fresh(&self, dialog: &DialogId, believed: Duration) -> Option<Members> {
        let known = self.known.lock();
        let (at, members) = known.get(dialog)?;
        (at.elapsed() < believed).then(|| members.clone())
    }

    fn learn(&self, dialog: &DialogId, asked: Instant, members: Members) {
        let mut known = self.known.lock();
        if known.len() >= MOST && !known.contains_key(dialog) {
            let cache = self.cache;
            known.retain(|_, (at, _)| at.elapsed() < cache);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(dialog.clone(), (asked, members));
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
