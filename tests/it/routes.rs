//! In front of a backend: what is createMessage is the bridge's, in every spelling; everything else is the backend's.

use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::token;
use crate::kit::js::Js;
use crate::kit::raw::{Backend, ask};
use crate::kit::s;
use crate::kit::world::World;

#[test]
fn no_spelling_of_the_message_route_passes_the_membership_check() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["route_a"]);
    let backend = Backend::start();
    let bridge = world
        .setup("legacy")
        .env("BRIDGE_UPSTREAM__BACKEND_URL", &backend.url)
        .env("BRIDGE_MEMBERSHIP__MODE", "enforce")
        .start();
    let send = |user: &str, method: &str, path: &str, more: &str| {
        let body = r#"{"content":"x"}"#;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n{more}\r\n",
            token(user),
            body.len()
        );
        ask(&bridge.http, format!("{head}{body}").as_bytes())
    };
    let spellings = [
        "/api/messages/dialog/{}/",
        "/API/Messages/dialog/{}",
        "/api/%64ialog/{}/messages",
        "/api/messages//dialog/{}",
        "/api/x/../messages/dialog/{}",
        "/api/x/%2e%2e/messages/dialog/{}",
        "/api\\messages/dialog/{}",
        "/api/messages%2Fdialog/{}",
        "/api/%2564ialog/{}/messages",
        "/api/messages;v=1/dialog/{}",
        "/api/dialog/{}/messages/?x=1",
        "//api/messages/dialog/{}",
    ];
    for spelling in spellings {
        let path = spelling.replace("{}", &dialog);
        let (status, answer) = send("route_stranger", "POST", &path, "");
        assert_eq!(status, 403, "{path}: {answer}");
        assert!(backend.take().is_empty(), "{path}");
    }
    let path = format!("/api/messages/dialog/{dialog}");
    for more in ["x-http-method-override: POST\r\n", "x-method-override: post\r\n", "x-http-method: POST\r\n"] {
        assert_eq!(send("route_stranger", "GET", &path, more).0, 405, "{more}");
    }
    assert_eq!(send("route_stranger", "PUT", &format!("{path}?_method=POST"), "").0, 405);
    assert_eq!(send("route_stranger", "post", &path, "").0, 405);
    assert!(backend.take().is_empty());
    let (status, answer) = send("route_a", "POST", &format!("/Api/messages/./dialog/{dialog}/"), "");
    assert_eq!(status, 201, "a member is served: {answer}");

    // What is not createMessage goes on as it is.
    for (method, path) in [
        ("GET", format!("/api/dialog/{dialog}/messages?page=1")),
        ("POST", format!("/api/messages/dialog/{dialog}/read")),
        ("POST", "/api/files/a%2Fb;c=d//e".to_owned()),
    ] {
        let (status, answer) = send("route_stranger", method, &path, "x-original-url: /api/admin\r\n");
        assert_eq!(status, 200, "{path}: {answer}");
        let seen = backend.take().pop().unwrap_or_default();
        assert!(seen.starts_with(&format!("{method} {path} HTTP/1.1\r\n")), "{seen}");
        assert!(!seen.contains("x-original-url"), "{seen}");
    }
    for path in ["/api/..%2fadmin", "/api/%2e%2e/admin", "/api/x/..;/../admin"] {
        assert_eq!(send("route_stranger", "GET", path, "").0, 404, "{path}");
    }
    assert!(backend.take().is_empty(), "nothing leads out of the backend's api");
}

#[test]
fn a_message_can_go_to_the_backends_own_route_and_its_answer_is_what_is_broadcast() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["post_a", "post_b"]);
    let data = r#"{"messageId":"msg_a","content":"x","seen":[],"half":"\ud83d"}"#;
    let backend = Backend::answering(201, &format!(r#"{{"success":true,"data":{data}}}"#));
    let bridge = world
        .setup("legacy")
        .env("BRIDGE_UPSTREAM__BACKEND_URL", format!("{}/chat", backend.url))
        .env("BRIDGE_UPSTREAM__POST", "backend")
        .env("BRIDGE_MEMBERSHIP__MODE", "enforce")
        .start();
    let mut js = Js::start();
    js.sign_on("b", &bridge, "post_b");
    js.join("b", &dialog);
    let body = r#"{ "content":"x", "type":"internal.text", "extra":1 }"#;
    let head = format!(
        "POST /api/dialog/{dialog}/messages/?x=1 HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {}\r\n\
         x-own: yes\r\naccept-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        token("post_a"),
        body.len()
    );
    let (status, answer) = ask(&bridge.http, format!("{head}{body}").as_bytes());
    let expected = data.replace(r"\ud83d", r"\ufffd");
    assert!(status == 201 && answer.ends_with(&format!(r#"{{"success":true,"data":{expected}}}"#)), "{answer}");
    assert_eq!(js.wait_count("b", "message:new", 1, s(20))[0]["seen"], serde_json::json!([]));
    let seen = backend.take().pop().unwrap();
    assert!(seen.starts_with(&format!("POST /chat/api/dialog/{dialog}/messages?x=1 HTTP/1.1\r\n")), "{seen}");
    for line in [format!("authorization: Bearer {}", token("post_a")), "x-own: yes".into()] {
        assert!(seen.contains(&line), "{line}\n{seen}");
    }
    assert!(!seen.contains("gzip") && !seen.contains("x-api-key"), "{seen}");
    assert_eq!(world.chat3.posted(), 0);
    assert_eq!(bridge.post_message("stranger", &dialog, &serde_json::json!({"content": "x"})).0, 403);

    // An image has no content; the backend knows.
    let image = serde_json::json!({"type": "image", "meta": {"url": "https://images.example/1"}});
    backend.answer(201, &format!(r#"{{"success":true,"data":{}}}"#, data.replace("msg_a", "msg_image")));
    assert_eq!(bridge.post_message("post_a", &dialog, &image).0, 201);
    assert_eq!(backend.take().len(), 1);
    assert_eq!(js.wait_count("b", "message:new", 2, s(20)).len(), 2);

    backend.answer(403, r#"{"success":false,"error":"Muted","details":{"until":5}}"#);
    let (status, refused) = bridge.post_message("post_a", &dialog, &serde_json::json!({"content": "y"}));
    assert_eq!(
        (status, refused),
        (403, serde_json::json!({"success": false, "error": "Muted", "details": {"until": 5}}))
    );
    for (status, body) in [(500, "{}"), (201, "<html>"), (302, "")] {
        backend.answer(status, body);
        assert_eq!(
            bridge.post_message("post_a", &dialog, &serde_json::json!({"content": "z"})).0,
            502,
            "{status}"
        );
    }
}
