//! One question to Chat3: who is a member. Versions answer it at different places.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge_core::DialogId;
use serde_json::Value;

use super::super::{CALL, Chat3, body, reason};

/// Members on a page; Chat3's own default is 10.
const PAGE: usize = 100;
/// Most pages that are followed.
const PAGES: usize = 200;
/// Looks at a list that changes between its pages.
const LOOKS: usize = 3;

/// Which endpoint the running Chat3 has: the list of members, or (2025-11-05) the dialog with its members inside.
/// It may change while the bridge runs, when Chat3 is upgraded or rolled back.
#[derive(Default)]
pub(super) struct Endpoints {
    inside_dialog: AtomicBool,
    /// Who wants to know the Mongo ids of dialogs, where answers have them.
    pub(super) learner: OnceLock<Learner>,
}

/// Takes a dialog's Mongo id with its `dlg_` id.
pub(super) type Learner = Box<dyn Fn(&str, &DialogId) + Send + Sync>;

/// What one GET came to.
enum Got {
    Answer(Value),
    /// Chat3 says that there is no such dialog, or never can be.
    NoDialog,
    /// It does not have this endpoint, or says something else that proves nothing; the reason, if nobody knows better.
    Elsewhere(&'static str),
}

const NO_ROUTE: &str = "it has no endpoint for members";

/// Members, or why one endpoint has none.
enum Found {
    Members(HashSet<String>),
    NoDialog,
    OtherEndpoint(&'static str),
}

impl Endpoints {
    /// The members of `dialog`; `None` when there is no such dialog; `Err` says why that is not known.
    pub(super) async fn members(
        &self,
        chat3: &Chat3,
        dialog: &DialogId,
    ) -> Result<Option<HashSet<String>>, String> {
        let inside = self.inside_dialog.load(Ordering::Relaxed);
        let mut reason = NO_ROUTE;
        for inside in [inside, !inside] {
            let found = if inside { self.inside(chat3, dialog).await? } else { list(chat3, dialog).await? };
            let answer = match found {
                Found::Members(members) => Some(members),
                Found::NoDialog => None,
                Found::OtherEndpoint(why) => {
                    if why != NO_ROUTE {
                        reason = why;
                    }
                    continue;
                }
            };
            self.inside_dialog.store(inside, Ordering::Relaxed);
            return Ok(answer);
        }
        Err(reason.into())
    }
}

/// Who leaves between two pages moves those behind him a page forward, where nobody looks any more: a list that did not
/// stand still is read again. If it never does, whoever was seen at one look is a member.
async fn list(chat3: &Chat3, dialog: &DialogId) -> Result<Found, String> {
    let mut seen = HashSet::new();
    for _ in 0..LOOKS {
        let (found, stood_still) = pages(chat3, dialog).await?;
        let Found::Members(members) = found else { return Ok(found) };
        if stood_still {
            return Ok(Found::Members(members));
        }
        seen.extend(members);
    }
    Ok(Found::Members(seen))
}

/// All pages, and whether they fit together.
async fn pages(chat3: &Chat3, dialog: &DialogId) -> Result<(Found, bool), String> {
    let (mut members, mut read, mut totals) = (HashSet::new(), 0, HashSet::new());
    for page in 1..=PAGES {
        let path = format!("/dialogs/{dialog}/members?page={page}&limit={PAGE}");
        let answer = match get(chat3, &path).await? {
            Got::Answer(answer) => answer,
            Got::NoDialog => return Ok((Found::NoDialog, true)),
            Got::Elsewhere(why) => return Ok((Found::OtherEndpoint(why), true)),
        };
        let items = answer.get("data").and_then(Value::as_array).ok_or("an answer without members")?;
        members.extend(items.iter().filter_map(member));
        read += items.len();
        totals.extend(answer.pointer("/pagination/total").and_then(Value::as_u64));
        let pages = answer.pointer("/pagination/pages").or_else(|| answer.pointer("/pagination/totalPages"));
        let more = match pages.and_then(Value::as_u64) {
            Some(pages) => u64::try_from(page).unwrap_or(u64::MAX) < pages,
            None => items.len() >= PAGE,
        };
        if !more || items.is_empty() {
            let whole = totals.is_empty() || (totals.len() == 1 && totals.contains(&(read as u64)));
            return Ok((Found::Members(members), page == 1 || whole));
        }
    }
    // Whoever is on a page that was not read must not be taken for an outsider.
    Err("more members than can be read".into())
}

impl Endpoints {
    async fn inside(&self, chat3: &Chat3, dialog: &DialogId) -> Result<Found, String> {
        let answer = match get(chat3, &format!("/dialogs/{dialog}")).await? {
            Got::Answer(answer) => answer,
            Got::NoDialog => return Ok(Found::NoDialog),
            Got::Elsewhere(why) => return Ok(Found::OtherEndpoint(why)),
        };
        if let (Some(learner), Some(mongo)) =
            (self.learner.get(), answer.pointer("/data/_id").and_then(Value::as_str))
        {
            learner(mongo, dialog);
        }
        Ok(match answer.pointer("/data/members").and_then(Value::as_array) {
            Some(items) => Found::Members(items.iter().filter_map(member).collect()),
            None => Found::OtherEndpoint(NO_ROUTE),
        })
    }
}

/// Only an answer that names the dialog proves that it is not there: a wrong tenant and a missing endpoint are 404
/// too, and would put everybody out of their rooms.
async fn get(chat3: &Chat3, path: &str) -> Result<Got, String> {
    let sent = chat3.http.get(chat3.url(path)).timeout(CALL).send().await;
    let answer = sent.map_err(|error| reason(&error))?;
    let status = answer.status().as_u16();
    if !matches!(status, 200 | 400 | 404) {
        return Err(format!("answered {status}"));
    }
    let body = body(answer).await.ok_or("an answer that can't be read")?;
    let read = serde_json::from_slice::<Value>(&body).ok();
    let text = |name: &str| read.as_ref().and_then(|read| read.get(name)).and_then(Value::as_str);
    let text = [text("message"), text("error")].map(|text| text.unwrap_or_default().to_ascii_lowercase());
    let says = |words: &str| text.iter().any(|text| text.contains(words));
    match status {
        200 => read.map(Got::Answer).ok_or_else(|| "an answer that is not JSON".into()),
        404 if says("dialog not found") => Ok(Got::NoDialog),
        400 if says("invalid dialog id") => Ok(Got::NoDialog),
        // Express's page for a route that it does not have is HTML.
        404 if read.is_none() || says("route not found") => Ok(Got::Elsewhere(NO_ROUTE)),
        404 => Ok(Got::Elsewhere("answered 404")),
        _ => Err(format!("answered {status}")),
    }
}

/// The user id of a member that is active, or of a version that does not say.
fn member(item: &Value) -> Option<String> {
    let active = item.get("isActive").and_then(Value::as_bool).unwrap_or(true);
    item.get("userId").and_then(Value::as_str).filter(|_| active).map(ToOwned::to_owned)
}
