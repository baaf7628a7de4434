//! The admin side: its own listener, a bearer token, JSON.

mod concerns;
mod flag;
mod fleet;
mod listener;
mod live;
mod pages;
mod shadow;
mod status;
mod token;

pub use fleet::Membership;
pub use listener::serve;
pub(crate) use pages::file as page;
pub use status::{About, Sight};
pub use token::Tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::{HeaderMap, HeaderName, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::delivery::Hub;
use crate::flag::Control;
use crate::fleet::Inbox;
use crate::shadow::Desk;

/// What the handlers need.
pub struct Admin {
    /// The flag.
    pub control: Arc<Control>,
    /// The users.
    pub hub: Arc<Hub>,
    /// The broker, where there is one.
    pub broker: Option<Arc<dyn Broker>>,
    /// The comparison.
    pub desk: Arc<Desk>,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// Who may call.
    pub tokens: Tokens,
    /// The fleet.
    pub membership: Membership,
    /// What other instances hand over.
    pub inbox: Arc<Inbox>,
    /// `/metrics` needs no token.
    pub open_metrics: bool,
    /// `shadow.window`, for a drill.
    pub window: Duration,
    /// The tenant, for a drill.
    pub tenant: String,
    /// What does not change.
    pub about: About,
    /// What others know.
    pub sight: Arc<dyn Sight>,
}

/// The routes.
pub fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/admin/flag", get(flag::get).put(flag::put))
        .route("/admin/rollback", post(flag::rollback))
        .route("/admin/fleet", get(fleet::get))
        .route("/admin/fleet/flag", put(fleet::put))
        .route("/admin/fleet/rollback", post(fleet::rollback))
        .route("/admin/flag/concerns", get(concerns::get))
        .route("/admin/live", get(live::get))
        .route("/admin/fleet/relay", post(fleet::relay).layer(DefaultBodyLimit::max(fleet::LARGEST_BATCH)))
        .route("/admin/preflight", get(flag::preflight))
        .route("/admin/audit", get(flag::audit))
        .route("/admin/shadow/summary", get(shadow::summary))
        .route("/admin/shadow/timeline", get(shadow::timeline))
        .route("/admin/shadow/records", get(shadow::records))
        .route("/admin/shadow/stream", get(shadow::stream))
        .route("/admin/shadow/reset", post(shadow::reset))
        .route("/admin/shadow/reveal", post(shadow::reveal))
        .route("/admin/drill", post(shadow::drill))
        .route("/admin/status", get(status::get))
        .route("/admin/sessions", get(sessions))
        .route("/admin/queues", get(queues))
        .route("/admin/openapi.json", get(description))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(not_allowed)
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), authorize))
        .with_state(admin);
    Router::new().merge(pages::router()).merge(guarded)
}

/// 401 for a missing or wrong token, 403 for what its role may not do.
async fn authorize(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let forbidden = |message: &str| failure(403, json!({"error": "forbidden", "message": message}));
    if admin.tokens.is_empty() && !is_own(request.headers()) {
        return forbidden("without admin.token only pages of this address may ask; set admin.token for others");
    }
    if admin.open_metrics && request.uri().path() == "/metrics" {
        return next.run(request).await;
    }
    let given = crate::auth::bearer(request.headers()).unwrap_or_default();
    let Some(caller) = admin.tokens.caller(given) else {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "unauthorized"}))).into_response();
    };
    if !caller.may(request.method()) {
        return forbidden("this token may only read (GET)");
    }
    request.extensions_mut().insert(caller);
    as_json(next.run(request).await)
}

/// What is refused before a handler sees it, in the form of all other refusals.
fn as_json(answer: Response) -> Response {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain")) {
        return answer;
    }
    match answer.status() {
        StatusCode::BAD_REQUEST => {
            let message = "query: a value is of another type, or stands twice";
            failure(422, json!({"error": "invalid", "message": message, "field": "query"}))
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            failure(413, json!({"error": "too_large", "message": "the body is larger than what this call takes"}))
        }
        _ => answer,
    }
}

/// Whether a request without a token may be believed: any page in a browser on this machine can send one here. It must
/// not come from a page of another address, nor by a name that somebody's DNS points at loopback.
pub(crate) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let literal = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("?", |(_, host)| host));
    (name.is_empty() || name == "localhost" || literal) && origin.is_none_or(|origin| origin == host)
}

pub(crate) fn failure(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}

async fn nowhere() -> Response {
    failure(404, json!({"error": "not_found", "message": "no such call; see the README for those there are"}))
}

async fn not_allowed() -> Response {
    failure(405, json!({"error": "method_not_allowed", "message": "the call exists with another method"}))
}

async fn sessions(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({"sessions": admin.hub.sessions()}))
}

async fn queues(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let queues = match &admin.broker {
        Some(broker) => broker.queues(Duration::from_secs(5)).await,
        None => Vec::new(),
    };
    Json(json!({"queues": queues}))
}

/// What there is to call, for programs. Written by hand, because most answers are made where they are sent, and held
/// against the routes and against real answers by tests.
const DESCRIPTION: &str = include_str!("admin/openapi.json");

async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], admin.metrics.render()).into_response()
}
