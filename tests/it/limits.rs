//! Over a limit there is the documented answer, it is counted, and nobody else notices.

use std::io::Write as _;
use std::net::TcpListener;

use futures::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use updates_bridge::demo::StandInOptions;

use super::kit::bridge::{Bridge, Setup, token};
use super::kit::js::Js;
use super::kit::world::World;
use super::kit::{eventually, raw, runtime, s};

const GET: &[u8] = b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n";

fn refused(bridge: &Bridge, limit: &str) -> u64 {
    let text = bridge.admin(Method::GET, "/metrics", None).1;
    let name = format!("bridge_limit_refusals_total{{limit=\"{limit}\"}} ");
    let value = text.as_str().expect("text").lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    value.unwrap_or_else(|| panic!("{limit} is not counted from the start"))
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

fn websocket(bridge: &Bridge, user: &str, forwarded: Option<&str>) -> Result<Socket, u16> {
    runtime().block_on(async {
        let url = format!("{}/ws", bridge.http.replace("http", "ws"));
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {}", token(user)).parse().expect("text"));
        if let Some(forwarded) = forwarded {
            headers.insert("x-forwarded-for", forwarded.parse().expect("text"));
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    })
}

#[test]
fn connections_are_bounded_in_all_and_each_gives_its_place_back() {
    let world = World::alone(StandInOptions::default());
    let bridge = Setup::new("legacy", &world.chat3.url()).env("BRIDGE_HTTP__MAX_CONNECTIONS", "4").start();
    for limit in [
        "connections",
        "address_connections",
        "user_sockets",
        "rooms",
        "events",
        "user_posts",
        "member_questions",
        "proxied",
        "head",
        "handshake",
    ] {
        assert_eq!(refused(&bridge, limit), 0);
    }
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(GET).expect("sent");
        raw::answer(stream).0
    };
    let mut held: Vec<_> = (0..3).map(|_| raw::connect(&bridge.http)).collect();
    let socket = websocket(&bridge, "lim_ws", None).expect("a place");
    assert!(held.iter_mut().all(|stream| ask(stream) == 200));
    let (status, answer) = raw::answer(&mut raw::connect(&bridge.http));
    assert!(status == 503 && answer.contains("too many connections"), "{answer}");
    assert_eq!(refused(&bridge, "connections"), 1);
    assert_eq!(bridge.metric("bridge_connections") as u64, 4);
    assert!(held.iter_mut().all(|stream| ask(stream) == 200), "nobody else notices");
    drop(socket);
    eventually("the WebSocket's place", s(10), || {
        let mut stream = raw::connect(&bridge.http);
        let _it_may_be_closed = stream.write_all(GET);
        (raw::answer(&mut stream).0 == 200).then_some(())
    });
    drop(held);
    eventually("all places", s(10), || (bridge.metric("bridge_connections") == 0.0).then_some(()));
}

#[test]
fn addresses_behind_a_trusted_proxy_are_told_apart_and_nobody_chooses_their_own() {
    let world = World::alone(StandInOptions::default());
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_HTTP__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .env("BRIDGE_HTTP__ADDRESS_CONNECTIONS", "2")
        .start();
    let from = |way: &str| websocket(&bridge, "lim_addr", Some(way));
    let held = (from("1.1.1.1"), from("9.9.9.9, 1.1.1.1, 10.0.0.3"));
    assert!(held.0.is_ok() && held.1.is_ok());
    assert_eq!(from("8.8.8.8, 1.1.1.1").err(), Some(429), "what it wrote itself counts for nothing");
    let request = "GET /health HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 1.1.1.1\r\n\r\n";
    let (status, answer) = raw::ask(&bridge.http, request.as_bytes());
    assert!(status == 429 && answer.contains("too many connections from this address"), "{answer}");
    assert_eq!(refused(&bridge, "address_connections"), 2);
    assert!(from("2.2.2.2").is_ok(), "nobody else notices");
    drop(held);
    eventually("the places are free again", s(10), || from("1.1.1.1").ok());
    let strict = Setup::new("legacy", &world.chat3.url()).env("BRIDGE_HTTP__ADDRESS_CONNECTIONS", "1").start();
    let _held = websocket(&strict, "lim_addr", Some("1.1.1.1")).expect("a place");
    let (status, _) =
        raw::ask(&strict.http, b"GET /health HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 2.2.2.2\r\n\r\n");
    assert_eq!(status, 429, "whom nobody trusts can't say that it is another");
}

#[test]
fn sockets_rooms_events_and_posts_of_one_user_are_bounded() {
    let world = World::alone(StandInOptions::default());
    let dialogs: Vec<String> = (0..3).map(|_| world.chat3.add_dialog(&["lim_a", "lim_b"])).collect();
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_SOCKET__USER_SOCKETS", "2")
        .env("BRIDGE_SOCKET__ROOMS", "2")
        .env("BRIDGE_SOCKET__EVENTS", "1")
        .env("BRIDGE_HTTP__USER_POSTS", "1")
        .start();
    let mut js = Js::start();
    for id in ["one", "two"] {
        js.sign_on(id, &bridge, "lim_a");
    }
    js.connect("three", &bridge.http, &json!({"auth": {"token": token("lim_a")}}));
    js.wait_for("three", "disconnect", s(10));
    assert_eq!(js.got("three", "unauthorized"), [json!({"ok": false, "error": "too many sockets"})]);
    assert_eq!(js.got("three", "disconnect"), ["io server disconnect"], "it does not come back by itself");
    js.sign_on("other", &bridge, "lim_b");
    js.act("two", "close", &json!({}));
    js.sign_on("four", &bridge, "lim_a");
    for dialog in &dialogs[..2] {
        js.join("one", dialog);
    }
    assert_eq!(
        js.call("one", "dialog:join", &[json!(dialogs[2])]),
        json!({"ok": false, "error": "too many rooms"})
    );
    assert_eq!(js.call("one", "dialog:join", &[json!(dialogs[0])]), json!({"ok": true}), "it is there already");
    js.join("four", &dialogs[2]);
    // Four of its ten have been.
    let answers: Vec<Value> =
        (0..30).map(|_| js.call("one", "typing:start", &[json!({"dialogId": dialogs[0]})])).collect();
    let over = answers.iter().filter(|answer| answer["error"] == "too many events").count();
    let took = answers.iter().filter(|answer| answer["ok"] == true).count();
    assert!(over > 0 && took >= 6 && over + took == 30, "{answers:?}");
    js.join("other", &dialogs[0]);
    let mut socket = websocket(&bridge, "lim_b", None).expect("a socket");
    let refusals = runtime().block_on(async {
        for n in 0..15 {
            let frame = json!({"event": "dialog:leave", "data": "dlg_x", "id": n});
            socket.send(Message::text(frame.to_string())).await.expect("sent");
        }
        let (mut answers, mut refusals) = (0, 0);
        while answers < 15 {
            let Some(Ok(Message::Text(text))) = socket.next().await else { continue };
            answers += usize::from(text.contains("\"ack\""));
            refusals += usize::from(text.contains("too many events"));
        }
        refusals
    });
    assert!(refusals > 0);
    let posts: Vec<u16> =
        (0..20).map(|_| bridge.post_message("lim_a", &dialogs[0], &json!({"content": "x"})).0).collect();
    assert!(posts.contains(&201) && posts.ends_with(&[429]), "{posts:?}");
    assert_eq!(
        bridge.post_message("lim_a", &dialogs[0], &json!({"content": "x"})).1["error"],
        "too many messages"
    );
    assert_eq!(bridge.post_message("lim_b", &dialogs[0], &json!({"content": "x"})).0, 201, "nobody else notices");
    for (limit, least) in [("user_sockets", 1), ("rooms", 1), ("events", 2), ("user_posts", 1)] {
        assert!(refused(&bridge, limit) >= least, "{limit}");
    }
}

#[test]
fn calls_to_a_backend_frames_and_the_time_to_authenticate_are_bounded() {
    let world = World::alone(StandInOptions::default());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let bridge = Setup::new("legacy", &world.chat3.url())
        .env("BRIDGE_UPSTREAM__BACKEND_URL", format!("http://{}", silent.local_addr().expect("an address")))
        .env("BRIDGE_UPSTREAM__IN_FLIGHT", "2")
        .env("BRIDGE_AUTH__HANDSHAKE", "optional")
        .env("BRIDGE_SOCKET__HANDSHAKE_TIMEOUT", "1s")
        .env("BRIDGE_SOCKET__MAX_FRAME", "2KiB")
        .env("BRIDGE_HTTP__HEAD_TIMEOUT", "1s")
        .start();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = raw::connect(&bridge.http);
            stream.write_all(b"GET /api/users HTTP/1.1\r\nhost: h\r\n\r\n").expect("sent");
            (stream, silent.accept().expect("it is passed on"))
        })
        .collect();
    assert_eq!(bridge.get("/api/users").0, 503);
    assert_eq!(refused(&bridge, "proxied"), 1);
    drop(held);
    eventually("the places are free again", s(10), || {
        let mut stream = raw::connect(&bridge.http);
        stream.write_all(b"GET /api/users HTTP/1.1\r\nhost: h\r\n\r\n").expect("sent");
        silent.set_nonblocking(true).expect("set");
        std::thread::sleep(s(1) / 5);
        silent.accept().ok()
    });
    let mut js = Js::start();
    js.connect("late", &bridge.http, &json!({"auth": {}, "reconnection": false}));
    js.wait_for("late", "disconnect", s(10));
    let mut slow = raw::connect(&bridge.http);
    slow.write_all(b"GET /health HT").expect("sent");
    assert_eq!(raw::answer(&mut slow).0, 0, "a slow head");
    assert_eq!((refused(&bridge, "handshake"), refused(&bridge, "head")), (1, 1));
    let (mut large, mut small) = (
        websocket(&bridge, "lim_f", None).expect("a socket"),
        websocket(&bridge, "lim_f", None).expect("a socket"),
    );
    runtime().block_on(async {
        large.send(Message::text("x".repeat(3_000))).await.expect("sent");
        let ended = async { while let Some(Ok(_)) = large.next().await {} };
        tokio::time::timeout(s(60), ended).await.expect("the connection ends");
        small.send(Message::text(r#"{"event":"subscribe","data":[],"id":1}"#)).await.expect("sent");
        let answered = async {
            while let Some(Ok(message)) = small.next().await {
                if message.to_text().is_ok_and(|text| text.contains("\"ack\"")) {
                    return;
                }
            }
            panic!("nobody else notices");
        };
        tokio::time::timeout(s(60), answered).await.expect("an answer");
    });
}
