//! Every other `/api/*` call, unchanged to the backend that the bridge stands in front of.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::sync::Semaphore;

use super::Failure;

/// A backend that sends nothing for this long is away.
const SILENT: Duration = Duration::from_secs(60);

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// The way to the backend, where there is one.
#[derive(Clone)]
pub(super) struct Proxy(Option<Arc<Backend>>);

struct Backend {
    http: reqwest::Client,
    url: url::Url,
    /// Calls at once.
    places: Arc<Semaphore>,
}

impl Proxy {
    /// With at most `in_flight` calls at once.
    pub(super) fn new(url: &str, in_flight: usize) -> Self {
        let places = Arc::new(Semaphore::new(in_flight));
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(SILENT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        let url = url::Url::parse(url).ok();
        Self(url.zip(client.build().ok()).map(|(url, http)| Arc::new(Backend { http, url, places })))
    }
}

impl Backend {
    /// Where a path is at the backend; `None` when dot segments lead out of its `/api/`.
    fn locate(&self, path: &str, query: Option<&str>) -> Option<url::Url> {
        let root = self.url.path().trim_end_matches('/');
        let mut url = self.url.clone();
        url.set_path(&format!("{root}{path}"));
        url.set_query(query);
        url.path().starts_with(&format!("{root}/api/")).then_some(url)
    }
}

impl Proxy {
    /// A message for the backend's own route, with the client's headers; `None` without a backend.
    pub(super) fn message(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: String,
    ) -> Option<reqwest::RequestBuilder> {
        let backend = self.0.as_ref()?;
        let mut headers = passed_on(headers);
        // The answer is read here, and the body is there as a whole.
        for name in [header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::EXPECT] {
            headers.remove(name);
        }
        Some(backend.http.post(backend.locate(path, query)?).headers(headers).body(body))
    }

    /// Passes a request on.
    pub(super) async fn pass(&self, request: Request) -> Response {
        let Self(Some(backend)) = self else { return super::failure::no_route().into_response() };
        let Ok(place) = Arc::clone(&backend.places).try_acquire_owned() else {
            metrics::counter!("bridge_limit_refusals_total", "limit" => "proxied").increment(1);
            return Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too many calls wait for the backend")
                .into_response();
        };
        let (parts, body) = request.into_parts();
        let Some(url) = backend.locate(parts.uri.path(), parts.uri.query()) else {
            return super::failure::no_route().into_response();
        };
        let headers = passed_on(&parts.headers);
        let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
            .iter()
            .any(|name| parts.headers.contains_key(name));
        let mut passed = backend.http.request(parts.method, url).headers(headers);
        if has_body {
            passed = passed.body(reqwest::Body::wrap_stream(body.into_data_stream()));
        }
        match passed.send().await {
            Ok(answer) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = answer.status();
                *response.headers_mut() = end_to_end(answer.headers());
                let until_its_end = answer.bytes_stream().inspect(move |_| {
                    let _held = &place;
                });
                *response.body_mut() = Body::from_stream(until_its_end);
                response
            }
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "the backend is away");
                Failure::new(StatusCode::BAD_GATEWAY, "the backend is away").into_response()
            }
        }
    }
}

/// The headers of a request, as the backend gets them.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(headers);
    headers.remove(header::HOST);
    // A backend that believes them would route by them.
    for name in ["x-original-url", "x-rewrite-url"] {
        headers.remove(name);
    }
    headers
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let passes = |name: &HeaderName| {
        !HOP_BY_HOP.contains(name) && name != "keep-alive" && !named.iter().any(|other| other == name.as_str())
    };
    headers.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_backends_api() {
        let Proxy(backend) = Proxy::new("http://backend:8080/chat/", 1);
        let locate = |target: &str| {
            let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            backend.as_ref().unwrap().locate(path, query).map(String::from)
        };
        let inside = |path: &str| locate(path).unwrap();
        assert_eq!(inside("/api/users/1?q=%2F&x=%20a"), "http://backend:8080/chat/api/users/1?q=%2F&x=%20a");
        assert_eq!(inside("/api/a%2Fb"), "http://backend:8080/chat/api/a%2Fb");
        assert_eq!(inside("/api/a/../b"), "http://backend:8080/chat/api/b");
        for path in ["/api/../admin", "/api/%2e%2e/admin", "/api/.%2E/x", "/api/a/../../admin", "/api/.."] {
            assert_eq!(locate(path), None, "{path}");
        }
    }
}
