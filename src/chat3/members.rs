//! Who is a member of a dialog, believed for a short time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bridge_core::{DialogId, UserId};
use metrics::counter;
use parking_lot::Mutex;
use serde_json::Value;

use super::{CALL, Chat3, body, reason};

/// Most dialogs whose members are remembered.
const MOST: usize = 20_000;
/// Members on a page; Chat3's own default is 10.
const PAGE: usize = 100;
/// Most pages that are followed.
const PAGES: usize = 200;

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

type Members = Option<Arc<HashSet<String>>>;

/// Members of dialogs; `None` for a dialog that is not there.
pub struct Membership {
    chat3: Chat3,
    cache: Duration,
    known: Mutex<HashMap<DialogId, (Instant, Members)>>,
    asking: Mutex<HashMap<DialogId, Arc<tokio::sync::Mutex<()>>>>,
    /// Which of the two endpoints the running Chat3 has.
    endpoint: AtomicU8,
}

const UNKNOWN: u8 = 0;
const LIST: u8 = 1;
const INSIDE_DIALOG: u8 = 2;

impl Membership {
    /// Believes an answer for `cache`.
    #[must_use]
    pub fn new(chat3: Chat3, cache: Duration) -> Self {
        let endpoint = AtomicU8::new(UNKNOWN);
        Self { chat3, cache, known: Mutex::default(), asking: Mutex::default(), endpoint }
    }

    /// What is known without asking.
    #[must_use]
    pub fn known(&self, dialog: &DialogId, user: &UserId) -> Option<bool> {
        let known = self.known.lock();
        let (at, members) = known.get(dialog)?;
        let fresh = at.elapsed() < self.cache;
        fresh.then(|| members.as_ref().is_some_and(|members| members.contains(user.as_str())))
    }

    /// Whether `user` is a member of `dialog`. Many who ask at once cost one question.
    pub async fn check(&self, dialog: &DialogId, user: &UserId) -> MemberAnswer {
        self.check_within(dialog, user, 1).await
    }

    /// The same, believing an answer only for this part of the cache time.
    pub async fn check_within(&self, dialog: &DialogId, user: &UserId, part: u32) -> MemberAnswer {
        let believed = self.cache / part.max(1);
        if let Some(members) = self.fresh(dialog, believed) {
            return judge(&members, user);
        }
        let turn = Arc::clone(self.asking.lock().entry(dialog.clone()).or_default());
        let _turn = turn.lock().await;
        if let Some(members) = self.fresh(dialog, believed) {
            return judge(&members, user);
        }
        let answer = self.ask(dialog).await;
        self.asking.lock().remove(dialog);
        match answer {
            Ok(members) => {
                let judged = judge(&members, user);
                self.learn(dialog, members);
                judged
            }
            Err(reason) => {
                counter!("bridge_membership_unknown_total").increment(1);
                MemberAnswer::Unknown(reason)
            }
        }
    }

    fn fresh(&self, dialog: &DialogId, believed: Duration) -> Option<Members> {
        let known = self.known.lock();
        let (at, members) = known.get(dialog)?;
        (at.elapsed() < believed).then(|| members.clone())
    }

    fn learn(&self, dialog: &DialogId, members: Members) {
        let mut known = self.known.lock();
        if known.len() >= MOST {
            let cache = self.cache;
            known.retain(|_, (at, _)| at.elapsed() < cache);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(dialog.clone(), (Instant::now(), members));
    }

    /// Asks by whichever endpoint the running Chat3 has. Only a 404 that says so means that there is no dialog: without
    /// the list of members the path itself is not found.
    async fn ask(&self, dialog: &DialogId) -> Result<Members, String> {
        if self.endpoint.load(Ordering::Relaxed) != INSIDE_DIALOG {
            match self.list(dialog).await? {
                Found::Members(members) => {
                    self.endpoint.store(LIST, Ordering::Relaxed);
                    return Ok(Some(Arc::new(members)));
                }
                Found::NoDialog if self.endpoint.load(Ordering::Relaxed) == LIST => return Ok(None),
                Found::NoDialog => {}
            }
        }
        // A Chat3 that was upgraded meanwhile has the other endpoint: the next question finds out.
        let forget = |_: &String| self.endpoint.store(UNKNOWN, Ordering::Relaxed);
        match self.inside_dialog(dialog).await.inspect_err(forget)? {
            Some(members) => {
                self.endpoint.store(INSIDE_DIALOG, Ordering::Relaxed);
                Ok(Some(Arc::new(members)))
            }
            None => Ok(None),
        }
    }

    async fn list(&self, dialog: &DialogId) -> Result<Found, String> {
        let mut members = HashSet::new();
        for page in 1..=PAGES {
            let path = format!("/dialogs/{dialog}/members?page={page}&limit={PAGE}");
            let Some(answer) = self.get(&path).await? else { return Ok(Found::NoDialog) };
            let items = answer.get("data").and_then(Value::as_array).ok_or("an answer without members")?;
            members.extend(items.iter().filter_map(member));
            let pages = answer.pointer("/pagination/pages").or_else(|| answer.pointer("/pagination/totalPages"));
            let more = match pages.and_then(Value::as_u64) {
                Some(pages) => u64::try_from(page).unwrap_or(u64::MAX) < pages,
                None => items.len() >= PAGE,
            };
            if !more || items.is_empty() {
                break;
            }
        }
        Ok(Found::Members(members))
    }

    async fn inside_dialog(&self, dialog: &DialogId) -> Result<Option<HashSet<String>>, String> {
        let Some(answer) = self.get(&format!("/dialogs/{dialog}")).await? else { return Ok(None) };
        let items = answer.pointer("/data/members").and_then(Value::as_array);
        Ok(Some(items.ok_or("a dialog without members")?.iter().filter_map(member).collect()))
    }

    /// `None` for 404 and for the 400 with which later versions answer an id of another shape.
    async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let sent = self.chat3.http.get(self.chat3.url(path)).timeout(CALL).send().await;
        let answer = sent.map_err(|error| reason(&error))?;
        match answer.status().as_u16() {
            200 => {
                let body = body(answer).await.ok_or("an answer that can't be read")?;
                serde_json::from_slice(&body).map(Some).map_err(|_| "an answer that is not JSON".into())
            }
            400 | 404 => Ok(None),
            status => Err(format!("answered {status}")),
        }
    }
}

enum Found {
    Members(HashSet<String>),
    NoDialog,
}

/// The user id of a member that is active, or of a version that does not say.
fn member(item: &Value) -> Option<String> {
    let active = item.get("isActive").and_then(Value::as_bool).unwrap_or(true);
    item.get("userId").and_then(Value::as_str).filter(|_| active).map(ToOwned::to_owned)
}

fn judge(members: &Members, user: &UserId) -> MemberAnswer {
    match members {
        None => MemberAnswer::NoDialog,
        Some(members) if members.contains(user.as_str()) => MemberAnswer::Member,
        Some(_) => MemberAnswer::NotMember,
    }
}
