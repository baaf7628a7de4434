//! The client side over HTTP: messages, health, and the way to a backend behind the bridge.

mod body;
mod failure;
mod forwards;
mod health;
mod messages;
mod path;
mod proxy;

pub use failure::Failure;
pub use forwards::{Forwards, Full, Place};
pub use health::{Facts, Readiness, ReadyReport};

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bridge_core::UserId;
use http::{HeaderMap, Method, StatusCode};
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::auth::Authenticator;
use crate::chat3::{Chat3, Membership};
use crate::config::{MembershipMode, OriginPattern, PostTo};
use crate::delivery::Hub;
use crate::rate::Rates;

/// What the handlers need.
pub struct Api {
    /// Where accepted messages go.
    pub hub: Arc<Hub>,
    /// Where messages come from.
    pub chat3: Chat3,
    /// Who may post.
    pub membership: Arc<Membership>,
    /// What is done about membership.
    pub membership_mode: MembershipMode,
    /// Who a client is.
    pub auth: Arc<Authenticator>,
    /// Message types to rewrite.
    pub types: std::collections::BTreeMap<String, String>,
    /// How long a client waits for Chat3.
    pub chat3_timeout: Duration,
    /// Largest body of a message, in bytes.
    pub max_body: usize,
    /// A backend to stand in front of; empty: none.
    pub backend: String,
    /// Who gets createMessage.
    pub post: PostTo,
    /// Whether the bridge is ready.
    pub readiness: Arc<dyn Readiness>,
    /// Requests that are not answered yet.
    pub in_flight: TaskTracker,
    /// Calls that are passed on to the backend at once.
    pub proxied: usize,
    /// How often one user may post.
    pub posts: PostRates,
    /// Room for messages on their way.
    pub forwards: Arc<Forwards>,
}

/// How often each user may post.
pub struct PostRates(Rates<UserId>);

impl PostRates {
    /// `a_second`, and ten times as many at once.
    #[must_use]
    pub fn new(a_second: u32) -> Self {
        Self(Rates::new(a_second))
    }

    fn take(&self, user: &UserId) -> Result<(), Failure> {
        if self.0.take(user) {
            return Ok(());
        }
        metrics::counter!("bridge_limit_refusals_total", "limit" => "user_posts").increment(1);
        Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many messages"))
    }
}

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    let proxy = proxy::Proxy::new(&api.backend, api.proxied);
    Router::new()
        .route("/health", get(health::alive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(by_path)
        .layer(axum::Extension(proxy))
        .with_state(api)
}

/// createMessage in every spelling, and the backend's calls. It is not left to the router, which knows one spelling:
/// what it does not know would go on to a backend that knows more.
async fn by_path(
    State(api): State<Arc<Api>>,
    axum::Extension(proxy): axum::Extension<proxy::Proxy>,
    request: Request,
) -> Response {
    match path::Target::of(request.uri().path()) {
        path::Target::Message { route, .. } if request.method() == Method::POST => {
            messages::create(api, &proxy, route, request).await
        }
        path::Target::Message { .. } if may_be_post(&request) => {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into_response()
        }
        path::Target::Message { inside: true, .. } | path::Target::Api => proxy.pass(request).await,
        path::Target::Message { .. } | path::Target::Outside => failure::no_route().into_response(),
    }
}

/// Whether a backend could take a request of another method for a POST.
fn may_be_post(request: &Request) -> bool {
    const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
    let headers: &HeaderMap = request.headers();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    request.method().as_str().eq_ignore_ascii_case("POST")
        || OVERRIDES.iter().any(|name| headers.contains_key(*name))
        || url::form_urlencoded::parse(query).any(|(name, _)| name.eq_ignore_ascii_case("_method"))
}

/// CORS for `origins`; `*` allows all.
pub fn cors(origins: &[String]) -> CorsLayer {
    let patterns: Vec<OriginPattern> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let origin = AllowOrigin::predicate(move |origin, _| {
        origin.to_str().is_ok_and(|origin| patterns.iter().any(|pattern| pattern.matches(origin)))
    });
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(AllowMethods::list(methods))
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .max_age(Duration::from_secs(600))
}
