//! Calls about the comparison.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use bridge_core::compare::{Cause, Class};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

use super::{Admin, failure};
use crate::shadow::{DrillError, Filter, SummaryView, drill as run_drill};

/// Records on a page, where nothing else is asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
/// Between two comments of the stream.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn summary(State(admin): State<Arc<Admin>>) -> Json<SummaryView> {
    Json(admin.desk.summary())
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(flatten)]
    filter: Filter,
    after: Option<String>,
    limit: Option<String>,
}

pub(super) async fn records(State(admin): State<Arc<Admin>>, Query(wanted): Query<Wanted>) -> Response {
    let invalid = |field: &str, message: &str| {
        failure(422, json!({"error": "invalid", "message": format!("{field}: {message}"), "field": field}))
    };
    let names = |all: &[&str]| format!("must be one of {}", all.join(", "));
    let (classes, causes) = (Class::ALL.map(Class::name), Cause::ALL.map(Cause::name));
    if wanted.filter.class.as_deref().is_some_and(|class| !class.is_empty() && !classes.contains(&class)) {
        return invalid("class", &names(&classes));
    }
    if wanted.filter.cause.as_deref().is_some_and(|cause| !cause.is_empty() && !causes.contains(&cause)) {
        return invalid("cause", &names(&causes));
    }
    let Ok(after) = wanted.after.filter(|after| !after.is_empty()).map(|after| after.parse()).transpose() else {
        return invalid("after", "must be the `next` of a page");
    };
    let limit = match wanted.limit.map(|limit| limit.parse::<usize>()) {
        None => PAGE,
        Some(Ok(limit)) if limit > 0 => limit.min(LARGEST_PAGE),
        Some(_) => return invalid("limit", "must be 1 to 1000"),
    };
    Json(admin.desk.records(&wanted.filter, after, limit)).into_response()
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
