//! `GET /admin/live`: what the console shows of the moment, once a second, for as long as somebody looks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures::StreamExt as _;
use serde_json::json;
use tokio_stream::wrappers::IntervalStream;

use super::{Admin, status};

/// Between two looks: a dead broker is seen within this time and the one that its session needs to notice it.
const EVERY: Duration = Duration::from_secs(1);

/// SSE: `event: now`, `data` = `{status, flag, summary}`.
pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
) -> Sse<impl futures::Stream<Item = Result<Event, Infallible>>> {
    let looks = IntervalStream::new(tokio::time::interval(EVERY));
    Sse::new(looks.map(move |_| {
        let now = json!({"status": status::now(&admin), "flag": admin.control.view(),
            "summary": admin.desk.summary()});
        let event = Event::default().event("now");
        Ok(event.json_data(now).unwrap_or_else(|_| Event::default().comment("a moment that can't be shown")))
    }))
}
