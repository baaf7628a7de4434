//! Who is believed: every way in, every kind of token that is not to be believed, and an issuer that rotates its keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use updates_bridge::demo::StandInOptions;

use super::kit::bridge::{Bridge, SECRET, Setup};
use super::kit::js::Js;
use super::kit::raw::Backend;
use super::kit::world::World;
use super::kit::{eventually, runtime, s};

const LATER: u64 = 4_000_000_000;

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

fn hmac(secret: &[u8]) -> EncodingKey {
    EncodingKey::from_secret(secret)
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, algorithm).expect("a signature");
    format!("{text}.{signature}")
}

/// What each way in says of a token: the status of a POST, `connect_error` of a handshake, the error of
/// `authenticate`, the status of a WebSocket.
fn ways_in(bridge: &Bridge, open: &Bridge, js: &mut Js, n: usize, token: Option<&str>) -> [String; 4] {
    let (status, answer) = bridge.raw_post("/api/messages/dialog/dlg_x", token, r#"{"content":"x"}"#);
    let post = format!("{status} {}", answer["error"].as_str().unwrap_or_default());
    let (id, late) = (format!("h{n}"), format!("a{n}"));
    let auth = token.map_or_else(|| json!({}), |token| json!({"token": token}));
    js.connect(&id, &bridge.http, &json!({"auth": auth, "reconnection": false}));
    let handshake = eventually("an answer to the handshake", s(20), || {
        let refused =
            js.got(&id, "connect_error").first().map(|error| error.as_str().unwrap_or_default().to_owned());
        refused.or_else(|| js.got(&id, "authenticated").first().map(|_| "in".to_owned()))
    });
    js.connect(&late, &open.http, &json!({"auth": {}, "reconnection": false}));
    js.wait_for(&late, "connect", s(20));
    let ack = js.call(&late, "authenticate", &[json!({"token": token})]);
    let authenticate = ack["error"].as_str().unwrap_or("in").to_owned();
    js.act(&id, "close", &json!({}));
    js.act(&late, "close", &json!({}));
    let websocket = runtime().block_on(async {
        let url = format!("{}/ws", bridge.http.replace("http", "ws"));
        let mut request = url.into_client_request().expect("a request");
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        match connect_async(request).await {
            Err(Error::Http(answer)) => answer.status().as_u16().to_string(),
            Err(error) => error.to_string(),
            Ok((mut socket, _)) => {
                let join = json!({"event": "typing:start", "data": {"dialogId": "dlg_x"}, "id": 1});
                socket.send(Message::text(join.to_string())).await.expect("sent");
                loop {
                    let Some(Ok(Message::Text(text))) = socket.next().await else { break "gone".into() };
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    if frame["event"] == "ack" {
                        break frame["data"]["error"].as_str().unwrap_or("in").to_owned();
                    }
                }
            }
        }
    });
    [post, handshake, authenticate, websocket]
}

const REFUSED: [&str; 4] = ["401 Invalid token", "Authentication failed", "Authentication failed", "401"];
/// The dialog is not there, and the socket has not joined it: the token was believed.
fn is_believed(answers: &[String; 4]) -> bool {
    !answers[0].starts_with("401") && answers[1] == "in" && answers[2] == "in" && answers[3].contains("joined")
}

#[test]
fn no_token_but_a_genuine_one_of_now_is_believed_on_any_way_in() {
    let world = World::alone(StandInOptions::default());
    let public = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), public.public_key_pem()).expect("written");
    let setup = || {
        Setup::new("legacy", &world.chat3.url())
            .env("BRIDGE_AUTH__PUBLIC_KEYS", file.path().display().to_string())
            .env("BRIDGE_AUTH__ISSUER", "https://id.example")
            .env("BRIDGE_AUTH__AUDIENCE", "chat,web")
            .env("BRIDGE_AUTH__ALGORITHMS", "HS256,HS512,ES256")
    };
    let (bridge, open) = (setup().start(), setup().env("BRIDGE_AUTH__HANDSHAKE", "optional").start());
    let mut js = Js::start();
    let claims = |more: Value| {
        let mut claims = json!({"userId": "tok_a", "exp": LATER, "iss": "https://id.example", "aud": "chat"});
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
    };
    let (good, own) = (claims(json!({})), hmac(SECRET.as_bytes()));
    let hs256 = |claims: &Value| encode(&Header::default(), claims, &own).expect("a token");
    let header = |header: Value| signed(&header, &good, &own, Algorithm::HS256);
    let ec = EncodingKey::from_ec_der(public.serialized_der());
    let es256 = encode(&Header::new(Algorithm::ES256), &good, &ec).expect("a token");
    for (n, token) in
        [hs256(&good), es256, hs256(&claims(json!({"aud": ["x", "web"], "nbf": now() - 5})))].iter().enumerate()
    {
        let answers = ways_in(&bridge, &open, &mut js, n, Some(token));
        assert!(is_believed(&answers), "{answers:?}");
    }
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!("{none}.{}.", URL_SAFE_NO_PAD.encode(good.to_string()));
    let pem = public.public_key_pem();
    let refused = [
        ("wrong signature", encode(&Header::default(), &good, &hmac(b"another")).expect("a token")),
        ("alg none", unsigned),
        ("alg none, signed", header(json!({"alg": "none"}))),
        ("a public key as secret", encode(&Header::default(), &good, &hmac(pem.as_bytes())).expect("a token")),
        ("ES256 signed with the secret", header(json!({"alg": "ES256"}))),
        ("expired", hs256(&claims(json!({"exp": now() - 1})))),
        ("without end", hs256(&claims(json!({"exp": null})))),
        ("not yet valid", hs256(&claims(json!({"nbf": now() + 3_600})))),
        ("wrong issuer", hs256(&claims(json!({"iss": "https://evil.example"})))),
        ("wrong audience", hs256(&claims(json!({"aud": "mail"})))),
        ("unknown crit", header(json!({"alg": "HS256", "crit": ["x"], "x": 1}))),
        ("nonsense", "a.b.c".to_owned()),
    ];
    for (n, (what, token)) in refused.iter().enumerate() {
        let answers = ways_in(&bridge, &open, &mut js, 100 + n, Some(token));
        assert_eq!(answers, REFUSED, "{what}");
    }
    let missing = ways_in(&bridge, &open, &mut js, 200, None);
    let required = "Authentication token required";
    assert_eq!(missing, ["401 No token provided", required, required, "not authenticated"]);
}

/// An issuer's keys, by their ids.
fn published(keys: &[(&str, &KeyPair)]) -> String {
    let jwk = |(kid, key): &(&str, &KeyPair)| {
        let point = key.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y})
    };
    let mut keys: Vec<Value> = keys.iter().map(jwk).collect();
    keys.push(json!({"kty": "odd", "kid": "odd"}));
    json!({"keys": keys}).to_string()
}

fn of(key: &KeyPair, kid: &str) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
    let claims = json!({"sub": "jwks_a", "exp": LATER});
    encode(&header, &claims, &EncodingKey::from_ec_der(key.serialized_der())).expect("a token")
}

#[test]
fn nobody_who_is_valid_is_refused_while_an_issuer_rotates_its_keys_or_is_down() {
    let world = World::alone(StandInOptions::default());
    let [old, new, foreign] =
        [(); 3].map(|()| KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key"));
    let issuer = Backend::answering(200, &published(&[("old", &old)]));
    let bridge = Setup::new("legacy", &world.chat3.url())
        .unset(&["JWT_SECRET"])
        .env("BRIDGE_AUTH__JWKS_URL", format!("{}/jwks.json", issuer.url))
        .env("BRIDGE_AUTH__JWKS_INTERVAL", "1s")
        .env("BRIDGE_AUTH__JWKS_REFRESH", "3s")
        .start();
    let status = |token: &str| bridge.raw_post("/api/messages/dialog/dlg_x", Some(token), r#"{"content":"x"}"#).0;
    // Chat3 has no such dialog: the token was believed.
    assert_eq!(status(&of(&old, "old")), 400, "from the first moment");
    assert_eq!(status(&of(&foreign, "old")), 401, "a known id, another key");
    assert_eq!(status(&of(&foreign, "nobody")), 401, "an unknown id");
    issuer.take();
    issuer.answer(200, &published(&[("new", &new), ("old", &old)]));
    assert_eq!(status(&of(&new, "new")), 400, "the first token of a new key");
    assert_eq!(status(&of(&old, "old")), 400, "both go on");
    assert_eq!(issuer.take().len(), 1, "one question");
    // Whoever makes up ids makes the issuer no trouble.
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for n in 0..40 {
            let (status, token) = (&status, of(&foreign, &format!("made_up_{n}")));
            scope.spawn(move || assert_eq!(status(&token), 401));
        }
    });
    let most = begun.elapsed().as_secs() + 2;
    assert!(issuer.take().len() as u64 <= most, "at most one question a second");
    for (code, body) in [(500, String::new()), (200, "<html>".into()), (200, r#"{"keys":[]}"#.into())] {
        issuer.answer(code, &body);
        std::thread::sleep(s(4));
        for _ in 0..5 {
            assert_eq!(status(&of(&new, "new")), 400, "{code} {body}");
            assert_eq!(status(&of(&old, "old")), 400, "{code} {body}");
        }
        assert_eq!(status(&of(&foreign, "unseen")), 503, "who can't be judged is told to come again");
        assert!(!issuer.take().is_empty());
    }
    assert!(bridge.metric("bridge_jwks_fetches_total{outcome=\"failed\"}") >= 3.0);
    issuer.answer(200, &published(&[("new", &new)]));
    eventually("the old key is taken back", s(20), || (status(&of(&old, "old")) == 401).then_some(()));
    assert_eq!(status(&of(&new, "new")), 400);
}

#[test]
fn a_secret_is_replaced_without_a_restart_and_nobody_is_refused() {
    let world = World::alone(StandInOptions::default());
    let config = tempfile::tempdir().expect("a directory");
    let write = |text: &str| std::fs::write(config.path().join("default.toml"), text).expect("written");
    write("[auth]\njwt_secret = \"the first secret, which is long enough\"\n");
    let bridge = Setup::new("legacy", &world.chat3.url()).unset(&["JWT_SECRET"]).config_dir(config.path()).start();
    let token = |secret: &str| {
        encode(&Header::default(), &json!({"sub": "rot_a", "exp": LATER}), &hmac(secret.as_bytes()))
            .expect("a token")
    };
    let (first, second) =
        (token("the first secret, which is long enough"), token("the second secret, which is long enough"));
    let status = |token: &str| bridge.raw_post("/api/messages/dialog/dlg_x", Some(token), r#"{"content":"x"}"#).0;
    assert_eq!((status(&first), status(&second)), (400, 401));
    write(
        "[auth]\njwt_secret = \"the second secret, which is long enough\"\n\
         jwt_secrets = [\"the first secret, which is long enough\"]\n",
    );
    eventually("both are believed", s(10), || (status(&second) == 400).then_some(()));
    assert_eq!(status(&first), 400);
    write("[auth]\njwt_secret = \"the second secret, which is long enough\"\n");
    eventually("the first is taken back", s(10), || (status(&first) == 401).then_some(()));
    assert_eq!(status(&second), 400);
}

#[test]
fn an_open_socket_ends_with_its_token_and_goes_on_with_a_fresh_one() {
    let world = World::alone(StandInOptions::default());
    let bridge = Setup::new("legacy", &world.chat3.url()).start();
    let token = |end: u64| {
        encode(&Header::default(), &json!({"userId": "exp_a", "exp": end}), &hmac(SECRET.as_bytes()))
            .expect("a token")
    };
    let mut js = Js::start();
    let end = now() + 6;
    for id in ["ends", "renewed"] {
        js.connect(id, &bridge.http, &json!({"auth": {"token": token(end)}, "reconnection": false}));
        js.wait_for(id, "authenticated", s(5));
    }
    let renewed = js.call("renewed", "authenticate", &[json!({"token": token(LATER)})]);
    assert_eq!(renewed["ok"], true, "{renewed}");
    let refused = js.call("renewed", "authenticate", &[json!({"token": "a.b.c"})]);
    assert_eq!(refused, json!({"ok": false, "error": "Authentication failed"}));
    js.wait_for("ends", "disconnect", s(20));
    assert_eq!(js.got("ends", "unauthorized"), [json!({"ok": false, "error": "token expired"})]);
    assert!(now() >= end, "not before its end");
    let plain = |first: u64, then: Option<u64>| {
        runtime().block_on(async {
            let mut request =
                format!("{}/ws", bridge.http.replace("http", "ws")).into_client_request().expect("a request");
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {}", token(first)).parse().expect("text"));
            let (mut socket, _) = connect_async(request).await.expect("a connection");
            if let Some(then) = then {
                let frame = json!({"event": "authenticate", "data": token(then), "id": 1});
                socket.send(Message::text(frame.to_string())).await.expect("sent");
            }
            loop {
                match tokio::time::timeout(s(8), socket.next()).await {
                    Err(_) => return "open".to_owned(),
                    Ok(Some(Ok(Message::Close(Some(frame))))) => return u16::from(frame.code).to_string(),
                    Ok(Some(Ok(_))) => {}
                    Ok(other) => return format!("{other:?}"),
                }
            }
        })
    };
    assert_eq!(plain(now() + 4, None), "1008");
    assert_eq!(plain(now() + 4, Some(LATER)), "open");
    js.call("renewed", "dialog:leave", &[json!("dlg_x")]);
    assert!(js.got("renewed", "disconnect").is_empty(), "it outlives its first token");
}
