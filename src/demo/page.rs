//! The chat page: its files, whom it shows, and a way to the flag of the gateway beside it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::chat3::Plant;

/// What the page's calls need.
struct Page {
    about: Value,
    /// Where the admin side listens, once it does.
    admin: Arc<OnceLock<SocketAddr>>,
    http: reqwest::Client,
}

/// The routes; `people` are `{id, name}`.
///
/// # Errors
/// When no client can be made.
pub(super) fn router(
    dialog: &str,
    people: &[Value],
    admin: Arc<OnceLock<SocketAddr>>,
) -> Result<Router, reqwest::Error> {
    let plants: Vec<Value> =
        Plant::ALL.iter().map(|plant| json!({"word": plant.word(), "does": plant.does()})).collect();
    let about = json!({"dialog": dialog, "users": people, "plants": plants});
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40)).build()?;
    let page = Arc::new(Page { about, admin, http });
    let calls = Router::new()
        .route("/demo.json", get(about_page))
        .route("/demo/now", get(now))
        .route("/demo/flag", put(flag))
        .route("/demo/rollback", post(rollback))
        .layer(middleware::from_fn(own_pages_only))
        .with_state(page);
    let file = |name: &'static str| get(move || async move { crate::admin::page(name) });
    Ok(Router::new()
        .route("/", file("chat.html"))
        .route("/chat.js", file("chat.js"))
        .route("/chat.css", file("chat.css"))
        .route("/chat-client.js", file("chat-client.js"))
        .merge(calls))
}

/// Any page in a browser on this machine could ask otherwise.
async fn own_pages_only(request: Request, next: Next) -> Response {
    if crate::admin::is_own(request.headers()) {
        return next.run(request).await;
    }
    crate::admin::failure(403, json!({"error": "forbidden", "message": "only the demo's own page may ask"}))
}

async fn about_page(State(page): State<Arc<Page>>) -> Json<Value> {
    let mut about = page.about.clone();
    about["console"] = page.admin.get().map_or(Value::Null, |admin| json!(format!("http://{admin}/console")));
    Json(about)
}

impl Page {
    async fn ask(&self, method: http::Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let Some(admin) = self.admin.get() else {
            return (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "starting"}));
        };
        let mut request = self.http.request(method, format!("http://{admin}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                (status, answer.json().await.unwrap_or_default())
            }
            Err(error) => (StatusCode::BAD_GATEWAY, json!({"error": "unreachable", "message": error.to_string()})),
        }
    }
}

/// `{stage, transition, verdict, bad}`.
async fn now(State(page): State<Arc<Page>>) -> Response {
    let get = http::Method::GET;
    let ((status, flag), (_, summary)) = tokio::join!(
        page.ask(get.clone(), "/admin/flag", None),
        page.ask(get.clone(), "/admin/shadow/summary", None)
    );
    let now = json!({"stage": flag["stage"], "transition": flag["transition"], "verdict": summary["verdict"]});
    (status, Json(now)).into_response()
}

async fn flag(State(page): State<Arc<Page>>, Json(body): Json<Value>) -> Response {
    page.ask(http::Method::PUT, "/admin/flag", Some(body)).await.into_response_json()
}

async fn rollback(State(page): State<Arc<Page>>) -> Response {
    let why = json!({"actor": "chat page", "reason": "rolled back on the demo's page"});
    page.ask(http::Method::POST, "/admin/rollback", Some(why)).await.into_response_json()
}

trait IntoResponseJson {
    fn into_response_json(self) -> Response;
}

impl IntoResponseJson for (StatusCode, Value) {
    fn into_response_json(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
