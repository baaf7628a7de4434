//! Who is told when something happens.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

const SECRET: &str = "/services/T0/B0/a-secret-of-the-hook";

/// A hook of a chat service, which is away for the first tries.
struct Hook {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    fn start(away: usize) -> Self {
        let taken = Arc::<Mutex<Vec<Value>>>::default();
        let (kept, left) = (Arc::clone(&taken), Arc::new(Mutex::new(away)));
        let post = axum::routing::post(move |body: axum::Json<Value>| async move {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            kept.lock().unwrap().push(body.0);
            StatusCode::OK
        });
        let router = axum::Router::new().route(SECRET, post);
        let url = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}{SECRET}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await });
            url
        });
        Self { url, taken }
    }

    /// The notices of a kind, once there are so many.
    fn told(&self, event: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {event}"), s(20), || {
            let taken = self.taken.lock().unwrap();
            let of: Vec<Value> = taken.iter().filter(|notice| notice["event"] == event).cloned().collect();
            (of.len() >= count).then_some(of)
        })
    }
}

fn text(notice: &Value) -> &str {
    notice["text"].as_str().unwrap()
}

#[test]
fn flips_rollbacks_verdicts_and_the_guard_are_told_in_spite_of_an_outage() {
    let world = World::shared(StandInOptions::default());
    let hook = Hook::start(2);
    let setup = world.setup("legacy").env("BRIDGE_NOTIFY__URL", &hook.url).env("BRIDGE_INSTANCE_ID", "told-1");
    let bridge = setup.env("BRIDGE_GUARD__SILENCE", "1s").start().ready();
    assert_eq!(bridge.set("shadow", &json!({"reason": "compare"})).0, 200);
    let flip = hook.told("flip", 1).remove(0);
    assert_eq!(text(&flip), "updates-bridge development told-1: legacy → shadow, by test: compare");
    assert_eq!((&flip["instance"], &flip["environment"]), (&json!("told-1"), &json!("development")));
    assert_eq!((&flip["details"]["from"], &flip["details"]["to"]), (&json!("legacy"), &json!("shadow")));
    assert!(flip["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());

    let mut js = Js::start();
    js.sign_on("a", &bridge, "told_a");
    assert_eq!(bridge.set("live", &json!({"rollout": {"percent": 5}})).0, 200);
    let flip = hook.told("flip", 2).remove(1);
    assert_eq!(
        text(&flip),
        "updates-bridge development told-1: shadow → live for 5 % of the users, by test: test"
    );

    let body = json!({"tenantId": "tnt_default", "userId": "told_b", "entityId": "msg_told", "eventId": "evt_told",
        "eventType": "message.create", "data": {"dialogId": "dlg_told"}});
    world.publish("user.user.told_a.messageupdate", Vec::new(), body.to_string().as_bytes());
    let verdict = hook.told("verdict", 1).remove(0);
    let says = "updates-bridge development told-1: the verdict was INCONCLUSIVE: \
        1 of 1 messages bad (100 %), 1 leak; NOT_SAFE at a target of 0.1 %";
    assert_eq!(text(&verdict), says);
    assert_eq!(
        (&verdict["details"]["from"], &verdict["details"]["to"]),
        (&json!("INCONCLUSIVE"), &json!("NOT_SAFE"))
    );

    // Messages are accepted, and no update comes.
    let dialog = world.chat3.add_dialog(&["told_a", "told_c"]);
    js.join("a", &dialog);
    world.chat3.set_faults(updates_bridge::demo::chat3::Faults { worker_down: true, ..Default::default() });
    let mut count = 0;
    let guard = eventually("the guard", s(40), || {
        count += 1;
        drop(bridge.say("told_c", &dialog, &format!("lost {count}")));
        let taken = hook.taken.lock().unwrap();
        taken.iter().find(|notice| notice["event"] == "guard").cloned()
    });
    assert!(text(&guard).contains("the guard would roll back to legacy (guard.mode = \"observe\"): "), "{guard}");

    assert_eq!(bridge.rollback().0, 200);
    let back = hook.told("rollback", 1).remove(0);
    assert!(
        text(&back).starts_with("updates-bridge development told-1: rolled back, live → legacy, by "),
        "{back}"
    );
    assert!(bridge.counted("bridge_notices_sent_total") >= 5);
    assert_eq!(bridge.counted("bridge_notices_failed_total"), 2);
    assert_eq!(bridge.counted("bridge_notices_dropped_total"), 0);
    assert!(!bridge.log().contains("a-secret-of-the-hook"), "the URL is a secret");
}

#[test]
fn a_hook_that_takes_nothing_is_in_nobodys_way() {
    let world = World::alone(StandInOptions::default());
    // It takes connections, and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{SECRET}", deaf.local_addr().unwrap());
    let start = |url: &str| -> Bridge { world.setup("legacy").env("BRIDGE_NOTIFY__URL", url).start().ready() };
    let mut bridge = start(&url);
    for _ in 0..300 {
        let body = json!({"actor": "test", "reason": "test"});
        assert_eq!(bridge.admin(reqwest::Method::POST, "/admin/shadow/reset", Some(&body)).0, 200);
    }
    let dropped =
        eventually("dropped", s(5), || Some(bridge.counted("bridge_notices_dropped_total")).filter(|n| *n > 0));
    assert!(dropped <= 300 - 256, "{dropped}");
    bridge.signal("-TERM");
    assert_eq!(bridge.wait(s(8)), Some(0));

    let bridge = start(&world.chat3.url().replace("/api", "/gone"));
    assert_eq!(bridge.set("legacy", &json!({"rollout": {"percent": 5}})).0, 200);
    eventually("let go at once", s(10), || (bridge.counted("bridge_notices_dropped_total") == 1).then_some(()));
    assert_eq!(bridge.counted("bridge_notices_failed_total"), 1, "what is refused for good is not tried again");
}
