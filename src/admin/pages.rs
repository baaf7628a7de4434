//! `/console`: the web page for all of this. Its files need no token, its calls do.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::{StatusCode, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "console/"]
struct Files;

pub(super) fn router() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/console") }))
        .route("/console", get(|| async { file("index.html") }))
        .route("/console/", get(|| async { Redirect::permanent("/console") }))
        .route("/console/{file}", get(|Path(name): Path<String>| async move { file(&name) }))
}

/// An embedded file.
pub(crate) fn file(name: &str) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "application/octet-stream",
    };
    match Files::get(name) {
        Some(file) => {
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "no-cache"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, file.data.into_owned()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::Files;

    #[test]
    fn no_form_of_the_console_can_be_submitted_by_a_key() {
        let page = Files::get("index.html").unwrap();
        let page = std::str::from_utf8(&page.data).unwrap();
        let forms: Vec<&str> = page.match_indices("<form ").map(|(at, _)| &page[at..at + 20]).collect();
        assert_eq!(forms, ["<form id=\"sign-in\" h"], "only the token is sent by Enter");
        for id in ["plan", "forward", "back", "confirm-cancel", "confirm-go"] {
            assert!(page.contains(&format!("<button type=\"button\" id=\"{id}\"")), "{id} submits something");
        }
        let script = Files::get("console.js").unwrap();
        let script = std::str::from_utf8(&script.data).unwrap();
        assert!(script.contains("onPress(\"#confirm-go\""), "a move forward is pressed, and not by Enter");
    }
}
