//! Calls about the comparison.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, RawQuery, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

use super::token::Caller;
use super::{Admin, failure};
use crate::shadow::{
    BUCKETS, DrillError, Filter, Order, Reveal, SummaryView, TimelineView, Unfit, drill as run_drill,
};

/// Records on a page, where nothing else is asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
/// Between two comments of the stream.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn summary(State(admin): State<Arc<Admin>>) -> Json<SummaryView> {
    Json(admin.desk.summary())
}

#[derive(Deserialize)]
pub(super) struct Span {
    minutes: Option<usize>,
}

/// Classes over time: the last `minutes`, a day at most and unless another number is asked for.
pub(super) async fn timeline(State(admin): State<Arc<Admin>>, Query(span): Query<Span>) -> Json<TimelineView> {
    Json(admin.desk.timeline(span.minutes.unwrap_or(BUCKETS)))
}

/// What a query of records asks for.
#[derive(Default)]
struct Wanted {
    filter: Filter,
    order: Order,
    after: Option<u64>,
    limit: usize,
}

impl Wanted {
    /// A class may be named several times. What is no part of it is passed over, as in every query.
    fn read(query: &str) -> Result<Self, Unfit> {
        let mut wanted = Self { limit: PAGE, ..Self::default() };
        let unfit = |field, message: &str| Unfit { field, message: message.into() };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if wanted.filter.read(&name, &value)? {
                continue;
            }
            match (&*name, &*value) {
                ("order" | "after", "") | ("order", "asc") => {}
                ("order", "desc") => wanted.order = Order::Descending,
                ("order", _) => return Err(unfit("order", "must be asc or desc")),
                ("after", after) => match after.parse() {
                    Ok(after) => wanted.after = Some(after),
                    Err(_) => return Err(unfit("after", "must be the `next` of a page")),
                },
                ("limit", limit) => match limit.parse::<usize>() {
                    Ok(limit) if limit > 0 => wanted.limit = limit.min(LARGEST_PAGE),
                    _ => return Err(unfit("limit", "must be 1 to 1000")),
                },
                _ => {}
            }
        }
        Ok(wanted)
    }
}

pub(super) async fn records(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    match Wanted::read(query.as_deref().unwrap_or_default()) {
        Ok(Wanted { filter, order, after, limit }) => {
            let page = admin.desk.records(&filter, order, after, limit);
            match &filter.id {
                // A link to a record outlives its time in memory.
                Some(id) if page.records.is_empty() => archived(&admin, id, &filter).await,
                _ => Json(page).into_response(),
            }
        }
        Err(Unfit { field, message }) => {
            failure(422, json!({"error": "invalid", "message": format!("{field}: {message}"), "field": field}))
        }
    }
}

async fn archived(admin: &Admin, id: &str, filter: &Filter) -> Response {
    let Some(mut records) = admin.desk.archive().find(id).await else {
        return failure(
            503,
            json!({"error": "log_unreadable", "message": "the disk of shadow.dir does not answer"}),
        );
    };
    records.retain(|record| filter.takes(record));
    Json(json!({"records": records, "next": null})).into_response()
}

pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
) -> Sse<impl futures::Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(admin.desk.follow()).map(|record| {
        Ok(match record {
            Ok((number, record)) => {
                let event = Event::default().event("record").id(number.to_string());
                event
                    .json_data(&*record)
                    .unwrap_or_else(|_| Event::default().comment("a record that can't be shown"))
            }
            Err(missed) => Event::default().comment(format!("too slow: {missed}")),
        })
    });
    // A keep-alive that rests while there are records would not be every 15 s.
    let alive = IntervalStream::new(interval_at(Instant::now() + ALIVE, ALIVE));
    Sse::new(futures::stream::select(events, alive.map(|_| Ok(Event::default().comment("alive")))))
}

/// Who begins the evidence anew, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    actor: String,
    reason: String,
}

pub(super) async fn reset(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let Reset { actor, reason } = match read(&body) {
        Ok(reset) => reset,
        Err((field, message)) => return invalid(&field, &message),
    };
    if let Some(field) = unnamed(&actor, &reason) {
        return invalid(field, "must be 1 to 1,000 characters");
    }
    let persisted = admin
        .control
        .audit("shadow_reset", (caller.by(actor.clone(), String::new()).actor(), &reason), || admin.desk.reset())
        .await;
    let verdict = admin.desk.summary().verdict;
    Json(json!({"verdict": verdict, "actor": actor, "reason": reason, "persisted": persisted})).into_response()
}

/// Who wants to see what people wrote, why, and for how long.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevealAsked {
    actor: String,
    reason: String,
    #[serde(rename = "for")]
    time: Option<String>,
}

pub(super) async fn reveal(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let RevealAsked { actor, reason, time } = match read(&body) {
        Ok(asked) => asked,
        Err((field, message)) => return invalid(&field, &message),
    };
    if let Some(field) = unnamed(&actor, &reason) {
        return invalid(field, "must be 1 to 1,000 characters");
    }
    let most = admin.desk.reveal_most();
    let time = match time.as_deref().map_or(Ok(most), humantime::parse_duration) {
        Ok(time) if time <= most => time,
        Ok(_) => {
            let most = humantime::format_duration(most);
            return invalid("for", &format!("must be at most shadow.reveal_for ({most})"));
        }
        Err(_) => return invalid("for", "must be a duration such as 30m; 0s ends it"),
    };
    let by = caller.by(actor, String::new());
    let reveal = (!time.is_zero()).then(|| Reveal::new(by.actor().name, &reason, admin.hub.now(), time));
    let view = reveal.as_ref().map(Reveal::view);
    let (action, why) = match &reveal {
        Some(_) => ("shadow_reveal", format!("{reason} (for {})", humantime::format_duration(time))),
        None => ("shadow_reveal_ended", reason),
    };
    let persisted = admin.control.audit(action, (by.actor(), &why), || admin.desk.reveal(reveal)).await;
    Json(json!({"reveal": view, "persisted": persisted})).into_response()
}

fn invalid(field: &str, message: &str) -> Response {
    failure(422, json!({"error": "invalid", "message": format!("{field}: {message}"), "field": field}))
}

/// `Err`: the member that is wrong, and how.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, (String, String)> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        (text.split('`').nth(1).unwrap_or("body").to_owned(), text)
    })
}

/// The member that does not say who or why.
fn unnamed(actor: &str, reason: &str) -> Option<&'static str> {
    let says = |text: &str| !text.trim().is_empty() && text.chars().count() <= 1_000;
    [("actor", actor), ("reason", reason)].into_iter().find(|(_, text)| !says(text)).map(|(field, _)| field)
}

pub(super) async fn drill(State(admin): State<Arc<Admin>>) -> Response {
    match run_drill(&admin.hub, &admin.desk, &admin.tenant, admin.window).await {
        Ok(report) => Json(report).into_response(),
        Err(error @ DrillError::NothingCompared(_)) => {
            failure(409, json!({"error": "nothing_compared", "message": error.to_string()}))
        }
        Err(error @ DrillError::Running) => {
            failure(409, json!({"error": "drill_running", "message": error.to_string()}))
        }
        Err(error) => failure(503, json!({"error": "unavailable", "message": error.to_string()})),
    }
}
