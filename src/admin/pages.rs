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
        .route("/console/{*file}", get(|Path(name): Path<String>| async move { file(&name) }))
}

/// Pages ask nobody but who served them, run no script but his, and stand in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An embedded file.
pub(crate) fn file(name: &str) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    match Files::get(name) {
        Some(file) => {
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "no-cache"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::REFERRER_POLICY, "no-referrer"),
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
        let text = |name: &str| String::from_utf8(Files::get(name).unwrap().data.into_owned()).unwrap();
        let scripts = Files::iter().filter(|name| name.ends_with(".js") && !name.starts_with("vendor/"));
        for name in scripts.filter(|name| *name != "chat-client.js") {
            assert!(!text(&name).contains("h(\"form"), "{name} makes a form");
            assert!(!text(&name).contains("innerHTML ="), "{name} reads text as HTML");
        }
        let page = text("index.html");
        assert_eq!(page.matches("<form").count(), 1, "only the token is sent by Enter");
        assert!(page.contains("<form id=\"sign-in\""));
        for id in ["rollback", "confirm-cancel", "confirm-go"] {
            assert!(page.contains(&format!("<button type=\"button\" id=\"{id}\"")), "{id} submits something");
        }
        // What moves something is pressed, and not by Enter: see `byPress`.
        let moves = [
            ("app.js", "addEventListener(\"click\", byPress(rollback))"),
            ("pages/flip.js", "onclick = byPress("),
        ];
        for (name, press) in moves {
            assert!(text(name).contains(press), "{name}");
        }
    }

    #[test]
    fn pages_ask_nobody_else() {
        for name in Files::iter().filter(|name| !name.starts_with("vendor/") && *name != "chat-client.js") {
            let text = String::from_utf8(Files::get(&name).unwrap().data.into_owned()).unwrap();
            assert!(!text.contains("https://") && !text.contains("//cdn"), "{name}");
        }
    }
}
