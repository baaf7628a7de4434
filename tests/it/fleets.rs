//! Several instances as one: all or none, back without waiting, judged together.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::{Bridge, Setup};
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

const TOKEN: &str = "an admin token of some length";

/// The command line towards `nodes`.
fn cli(nodes: &[&str], args: &[&str]) -> (Option<i32>, String, String) {
    let nodes = nodes.iter().flat_map(|node| ["--node", node]);
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(args)
        .args(nodes)
        .env("BRIDGE_ADMIN__TOKEN", TOKEN)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const SET: [&str; 7] = ["flag", "set", "live", "--actor", "ops", "--reason", "test"];

fn set<'a>(stage: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = SET.to_vec();
    args[2] = stage;
    args.extend(more);
    args
}

fn stages(bridges: &[&Bridge]) -> Vec<Value> {
    bridges.iter().map(|bridge| bridge.flag()["stage"].clone()).collect()
}

fn entries(bridge: &Bridge) -> Vec<Value> {
    bridge.admin(Method::GET, "/admin/audit", None).1["entries"].as_array().cloned().unwrap_or_default()
}

/// Stands before an instance and passes everything on but the real move, or but its answer.
struct Failing {
    url: String,
}

/// What becomes of a move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    Refused,
    /// It is made; the connection breaks before that is said.
    AnswerLost,
}

async fn pass(State(to): State<Arc<(String, Fails)>>, request: Request) -> Response {
    let (to, fails) = &*to;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let asked = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    // The way back is let through.
    let is_move = parts.method == Method::PUT && asked["dry_run"] != true && asked["expected_version"].is_null();
    if is_move && *fails == Fails::Refused {
        let refusal = json!({"error": "flip_timeout", "message": "3 of 9 queues were live in time"});
        return (http::StatusCode::GATEWAY_TIMEOUT, Json(refusal)).into_response();
    }
    let path = parts.uri.path_and_query().unwrap().as_str();
    let request = reqwest::Client::new().request(parts.method, format!("{to}{path}")).bearer_auth(TOKEN);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let status = answer.status();
    let answer = answer.bytes().await.unwrap();
    if is_move {
        let broken = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("broken")) });
        return axum::body::Body::from_stream(broken).into_response();
    }
    (status, answer).into_response()
}

impl Failing {
    fn before(bridge: &Bridge, fails: Fails) -> Self {
        let to = Arc::new((bridge.admin.clone(), fails));
        let listener = runtime().block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(to);
        runtime().spawn(async move { axum::serve(listener, router).await });
        Self { url }
    }
}

#[test]
fn a_fleet_moves_all_or_none() {
    let world = World::shared(StandInOptions::default());
    let bridges = [0; 3].map(|_| world.setup("legacy").start());
    let [a, b, c] = &bridges;
    let all = [a, b, c];
    let nodes = [&*a.admin, &*b.admin, &*c.admin];
    // One that can't be reached.
    let gone = [nodes[0], nodes[1], "http://127.0.0.1:1"];
    let (code, out, err) = cli(&gone, &set("shadow", &[]));
    assert_eq!(code, Some(4), "{out}{err}");
    assert!(err.contains("http://127.0.0.1:1: no connection") && err.contains("no instance was moved"), "{err}");
    assert_eq!(stages(&all), ["legacy"; 3], "{err}");
    assert!(entries(a).is_empty(), "it was not even tried");
    let (code, out, err) = cli(&gone, &set("shadow", &["--partial"]));
    assert_eq!(code, Some(4), "its code is that of the worst refusal: {out}{err}");
    assert_eq!(stages(&all), ["shadow", "shadow", "legacy"]);
    // Two are there already.
    let (code, out, err) = cli(&nodes, &set("shadow", &[]));
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(stages(&all), ["shadow"; 3]);
    // One that fails in the middle.
    let failing = Failing::before(c, Fails::Refused);
    let (code, out, err) = cli(&[nodes[0], nodes[1], &failing.url], &set("live", &[]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("3 of 9 queues") && err.contains("went back to where they were"), "{err}");
    assert_eq!(stages(&all), ["shadow"; 3], "all stand where they stood");
    let last = entries(a);
    assert_eq!((&last[0]["from"], &last[0]["to"]), (&json!("live"), &json!("shadow")), "{last:?}");
    assert!(last[0]["reason"].as_str().unwrap().starts_with("taken back"), "{last:?}");
    assert_eq!(last[0]["forced"], false);
    // One that moved, and whose answer was lost: it is looked for, and goes back like the others.
    let losing = Failing::before(c, Fails::AnswerLost);
    let (code, out, err) = cli(&[nodes[0], nodes[1], &losing.url], &set("live", &[]));
    assert_eq!(code, Some(4), "{out}{err}");
    assert!(
        err.contains(&format!("{}: ", losing.url)) && err.contains("it had moved, and was taken back"),
        "{err}"
    );
    assert_eq!(stages(&all), ["shadow"; 3], "all stand where they stood: {out}{err}");
    let last = entries(c);
    assert_eq!((&last[0]["from"], &last[0]["to"]), (&json!("live"), &json!("shadow")), "{last:?}");
    // One whose own Chat3 is away holds itself back alone, where that is asked for.
    let lame = Setup::new("shadow", "http://127.0.0.1:1/api").rabbit(&world.rabbit_url).start();
    let (code, out, err) = cli(&[nodes[0], nodes[1], &lame.admin], &set("live", &[]));
    assert_eq!((code, stages(&all)), (Some(3), vec![json!("shadow"); 3]), "{out}{err}");
    assert!(err.contains(&format!("{}: preflight failed: chat3_reachable", lame.admin)), "{err}");
    let (code, out, err) = cli(&[nodes[0], nodes[1], &lame.admin], &set("live", &["--partial"]));
    assert_eq!(code, Some(3), "{out}{err}");
    assert_eq!(stages(&[a, b, &lame]), ["live", "live", "shadow"]);
    let (code, out, err) = cli(&nodes, &set("shadow", &[]));
    assert_eq!((code, stages(&all)), (Some(0), vec![json!("shadow"); 3]), "{out}{err}");
    // A mistake in the order is refused by each.
    let (code, _, err) = cli(&nodes, &set("complete", &[]));
    assert_eq!((code, stages(&all)), (Some(3), vec![json!("shadow"); 3]), "{err}");
    // A dry run says whom it concerns, and moves nobody.
    let mut js = Js::start();
    js.sign_on("one", a, "all_or_none");
    let (code, out, err) = cli(&nodes, &set("live", &["--dry-run"]));
    assert_eq!((code, stages(&all)), (Some(0), vec![json!("shadow"); 3]), "{out}{err}");
    assert!(out.contains("shadow → live: 1 of 1 connected users change side"), "{out}");
    assert!(out.contains("together: 1 of 1 connected users change side"), "{out}");
    let (code, out, err) = cli(&nodes, &set("live", &["--percent", "0"]));
    assert_eq!((code, stages(&all)), (Some(0), vec![json!("live"); 3]), "{out}{err}");
    let (code, out, err) = cli(&[nodes[0], nodes[1], &failing.url], &set("live", &["--percent", "50"]));
    assert_eq!(code, Some(1), "{out}{err}");
    for bridge in all {
        assert_eq!(bridge.flag()["rollout"]["percent"], 0.0, "a share that was raised goes back too: {err}");
    }
    let (code, out, _) = cli(&nodes, &set("live", &["--percent", "100", "--dry-run"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("live → live, 0 % → 100 %: 1 of 1 connected users change side"), "{out}");
}

#[test]
fn what_all_have_seen_together_holds_all_back_and_is_named() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["pool_a", "pool_b"]);
    let bridges = [0; 3].map(|_| world.setup("shadow").env("BRIDGE_SHADOW__WINDOW", "1s").start().ready());
    let [a, b, c] = &bridges;
    let all = [a, b, c];
    let nodes = [&*a.admin, &*b.admin, &*c.admin];
    let mut js = Js::start();
    for (name, bridge, user) in [("one", a, "pool_a"), ("two", b, "pool_b")] {
        js.sign_on(name, bridge, user);
        js.join(name, &dialog);
    }
    a.say("pool_a", &dialog, "a good one");
    eventually("compared", s(20), || (a.summary()["classes"]["match"] == 1).then_some(()));
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    for n in 0..20 {
        b.say("pool_b", &dialog, &format!("a bad one {n}"));
    }
    eventually("compared", s(20), || (b.summary()["classes"]["payload_mismatch"] == 20).then_some(()));
    let refused = |more: &[&str]| {
        let (code, out, err) = cli(&nodes, &set("live", more));
        assert_eq!(code, Some(3), "{out}{err}");
        assert_eq!(stages(&all), ["shadow"; 3], "{err}");
        let named = format!("{}: 20 of 20 messages bad", b.admin);
        assert!(err.contains("20 of 21 messages bad") && err.contains(&named), "{err}");
        assert!(out.contains(&named), "the check says it too: {out}");
    };
    refused(&[]);
    // Neither that one has seen nothing, nor that one has seen good ones only, helps.
    refused(&["--partial"]);
    // Any of them speaks for all: the same over HTTP.
    let speaker = world.setup("shadow").env("BRIDGE_FLEET__NODES", nodes.join(",")).start().ready();
    let (status, view) = speaker.admin(Method::GET, "/admin/fleet", None);
    assert_eq!((status, view["nodes"].as_array().map(Vec::len)), (200, Some(4)), "itself too: {view}");
    assert_eq!((&view["verdict"]["value"], &view["agreed"]), (&json!("NOT_SAFE"), &json!(true)), "{view}");
    let body = json!({"use_rabbitmq_updates": true, "shadow_mode": true, "actor": "ops", "reason": "r"});
    let (status, answer) = speaker.admin(Method::PUT, "/admin/fleet/flag", Some(&body));
    assert_eq!((status, &answer["error"]), (409, &json!("preflight_failed")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("no instance has moved"), "{answer}");
    assert_eq!(stages(&[a, b, c, &speaker]), ["shadow"; 4]);
    let (code, _, err) = cli(&[&speaker.admin], &["shadow", "wait", "--fleet", "--timeout", "30s"]);
    assert_eq!(code, Some(7), "{err}");
    // With force it is on their heads.
    let (code, out, err) = cli(&[&speaker.admin], &set("live", &["--fleet", "--force"]));
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(stages(&[a, b, c, &speaker]), ["live"; 4]);
    let (status, view) = speaker.admin(Method::POST, "/admin/fleet/rollback", Some(&json!({"actor": "ops"})));
    assert_eq!((status, view["nodes"].as_array().map(Vec::len)), (200, Some(4)), "{view}");
    assert_eq!(stages(&[a, b, c, &speaker]), ["legacy"; 4]);
    assert_eq!(entries(c)[0]["actor"], "ops");
    assert_eq!(a.set("shadow", &json!({})).0, 200);
    let (_, view) = speaker.admin(Method::GET, "/admin/fleet", None);
    assert_eq!(view["agreed"], false, "one stands apart: {view}");
    let (_, status) = speaker.admin(Method::GET, "/admin/status", None);
    assert_eq!(status["nodes"], json!(nodes), "{status}");
}

/// Ends `bridge` and starts it again with evidence of so many good messages more.
fn with_evidence(world: &World, bridge: Bridge, messages: u64) -> Bridge {
    let state = bridge.stop();
    let file = state.path().join("evidence.json");
    let mut evidence: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    evidence["messages"] = messages.into();
    evidence["events"] = json!({"message.create": messages});
    let now = jiff::Timestamp::now().as_millisecond();
    evidence["first"] = now.into();
    evidence["last"] = now.into();
    std::fs::write(&file, evidence.to_string()).unwrap();
    world.setup("shadow").env("BRIDGE_FLAG__REQUIRE_VERDICT", "SAFE").state(state).start().ready()
}

#[test]
fn three_that_are_too_few_alone_are_safe_together_and_the_audit_says_why() {
    let world = World::shared(StandInOptions::default());
    let setup = || world.setup("shadow").env("BRIDGE_FLAG__REQUIRE_VERDICT", "SAFE");
    let bridges = [0; 3].map(|_| with_evidence(&world, setup().start().ready(), 1_700));
    let fresh = setup().start().ready();
    let [a, b, c] = &bridges;
    let nodes = [&*a.admin, &*b.admin, &*c.admin, &*fresh.admin];
    let (code, out, err) = cli(&nodes[..1], &set("live", &[]));
    assert_eq!(code, Some(3), "1,700 are too few: {out}{err}");
    let (code, out, err) = cli(&nodes[..2], &set("live", &[]));
    assert_eq!(code, Some(3), "3,400 too: {out}{err}");
    assert_eq!(stages(&[a, b]), ["shadow"; 2]);
    // What all have seen together is nobody's own: it holds back those too that ask for less.
    let lax = world.setup("shadow").start().ready();
    let (code, out, err) = cli(&[nodes[0], &lax.admin], &set("live", &["--partial"]));
    assert_eq!((code, stages(&[a, &lax])), (Some(3), vec![json!("shadow"); 2]), "{out}{err}");
    let (code, out, err) = cli(&nodes, &["shadow", "wait", "--timeout", "30s"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("0 of 5100 messages bad"), "{out}");
    let (code, out, err) = cli(&nodes, &set("live", &[]));
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(stages(&[a, b, c, &fresh]), ["live"; 4]);
    let entry = &entries(&fresh)[0];
    let evidence = &entry["evidence"];
    assert_eq!(
        (&evidence["verdict"], &evidence["messages"], &evidence["nodes"]),
        (&json!("SAFE"), &json!(5_100), &json!(4)),
        "{entry}"
    );
}

#[test]
fn a_rollback_waits_for_nobody_and_names_who_does_not_answer() {
    let world = World::shared(StandInOptions::default());
    let bridges = [0; 3].map(|_| world.setup("live").start().ready());
    let [a, b, c] = &bridges;
    c.signal("-KILL");
    // One that takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}", mute.local_addr().unwrap());
    let port = a.admin.rsplit_once(':').unwrap().1;
    let by_name = format!("dns+http://localhost:{port}");
    let go = |args: &[&str]| {
        let limit = a.at_its_pace(s(2));
        std::thread::scope(|scope| {
            let begun = Instant::now();
            let nodes = [&*by_name, &*b.admin, &*c.admin, &*mute, "dns+http://nobody.invalid:1"];
            let going = scope.spawn(move || cli(&nodes, args));
            eventually("back", s(5), || (stages(&[a, b]) == ["legacy"; 2]).then_some(()));
            let took = begun.elapsed();
            assert!(took < limit, "{took:?}");
            let (code, out, err) = going.join().unwrap();
            assert_eq!(code, Some(4), "{out}{err}");
            assert!(err.contains(&format!("{}: UNREACHABLE", c.admin)), "{err}");
            assert!(err.contains(&format!("{mute}: UNREACHABLE: no answer in time")), "{err}");
            assert!(err.contains("dns+http://nobody.invalid:1: UNREACHABLE: the name can't be resolved"), "{err}");
            assert_eq!(out.matches("legacy").count(), 2, "{out}");
        });
    };
    go(&["flag", "rollback", "--actor", "ops"]);
    for stage in ["shadow", "live"] {
        for bridge in [a, b] {
            assert_eq!(bridge.set(stage, &json!({"force": true})).0, 200);
        }
    }
    go(&set("legacy", &[]));
    // Through one of them: it waits for nobody either, and goes first.
    let names = [&*a.admin, &*mute].join(",");
    let speaker = world.setup("live").env("BRIDGE_FLEET__NODES", names).start().ready();
    for stage in ["shadow", "live"] {
        assert_eq!(a.set(stage, &json!({"force": true})).0, 200);
    }
    let limit = a.at_its_pace(s(2));
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let going = scope.spawn(|| cli(&[&speaker.admin], &set("legacy", &["--fleet"])));
        eventually("back", s(5), || (stages(&[a, &speaker]) == ["legacy"; 2]).then_some(()));
        let took = begun.elapsed();
        assert!(took < limit, "{took:?}");
        let (code, out, err) = going.join().unwrap();
        assert_eq!(code, Some(4), "{out}{err}");
        assert!(err.contains(&format!("{mute}: no answer in time")), "{err}");
        assert_eq!(out.matches("legacy").count(), 2, "each once: {out}");
    });
}

#[test]
fn nobody_is_brought_back_from_a_rollback_that_came_in_between() {
    let world = World::shared(StandInOptions::default());
    let a = world.setup("shadow").start().ready();
    let version = a.flag()["version"].as_u64().unwrap();
    assert_eq!(a.set("live", &json!({"expected_version": version})).0, 200);
    assert_eq!(a.rollback().0, 200);
    // What a fleet does that takes its move back.
    let (status, answer) = a.set("shadow", &json!({"force": true, "expected_version": version + 1}));
    assert_eq!((status, &answer["error"]), (409, &json!("superseded")), "{answer}");
    assert_eq!(a.flag()["stage"], "legacy");
}
