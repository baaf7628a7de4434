//! The edges of HTTP: who may call, which way calls go out, and how long a connection is kept.

use std::io::Write as _;

use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::raw::{Backend, answer, ask, connect};
use crate::kit::s;
use crate::kit::world::World;

fn allowed(bridge: &Bridge, origin: &str) -> bool {
    let request = format!(
        "OPTIONS /api/messages/dialog/x HTTP/1.1\r\nhost: bridge\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\n\r\n"
    );
    let (_, answer) = ask(&bridge.http, request.as_bytes());
    answer.to_ascii_lowercase().contains(&format!("access-control-allow-origin: {origin}"))
}

#[test]
fn pages_of_allowed_origins_may_call_and_no_others() {
    let world = World::alone(StandInOptions::default());
    let origins = "https://chat.example,https://*.chat.example,capacitor://localhost";
    let bridge = world.setup("legacy").env("BRIDGE_HTTP__ALLOWED_ORIGINS", origins).start();
    for origin in ["https://chat.example", "https://eu.chat.example", "capacitor://localhost"] {
        assert!(allowed(&bridge, origin), "{origin}");
    }
    for origin in ["http://chat.example", "https://a.b.chat.example", "https://evil.example", "null"] {
        assert!(!allowed(&bridge, origin), "{origin}");
    }
}

#[test]
fn a_proxy_of_the_environment_gets_no_call_and_no_key() {
    let world = World::alone(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["proxy_a"]);
    let (proxy, backend) = (Backend::start(), Backend::start());
    let mut setup = world
        .setup("legacy")
        .env("BRIDGE_MEMBERSHIP__MODE", "enforce")
        .env("BRIDGE_UPSTREAM__BACKEND_URL", &backend.url);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        setup = setup.env(name, &proxy.url);
    }
    let bridge = setup.start();
    bridge.say("proxy_a", &dialog, "x");
    assert_eq!(bridge.get("/api/else").0, 200);
    assert_eq!(backend.take().len(), 1);
    assert_eq!(proxy.take(), Vec::<String>::new());
}

#[test]
fn a_connection_is_kept_between_requests_on_both_listeners() {
    let world = World::alone(StandInOptions::default());
    let bridge = world.setup("legacy").env("BRIDGE_ADMIN__OPEN_METRICS", "true").start();
    let mut kept = [(connect(&bridge.http), "/health"), (connect(&bridge.admin), "/metrics")];
    for pause in [0, 17] {
        std::thread::sleep(s(pause));
        for (stream, path) in &mut kept {
            write!(stream, "GET {path} HTTP/1.1\r\nhost: bridge\r\n\r\n").unwrap();
            assert_eq!(answer(stream).0, 200, "{path} after {pause} s");
        }
    }
}
