//! What counts as handed over: what the transport took, no more and no less. Everything else comes with a resume.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::{Bridge, token};
use crate::kit::driven::{self, Client, Polling};
use crate::kit::py::Py;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

fn publish(world: &World, user: &str, numbers: std::ops::Range<usize>, bytes: usize) {
    let key = format!("user.user.{user}.messageupdate");
    for n in numbers {
        let body = json!({"tenantId": "tnt_default", "userId": user, "entityId": format!("msg_{n}"),
            "eventId": format!("e{n}"), "eventType": "message.create",
            "data": {"content": "x".repeat(bytes), "messageId": format!("msg_{n}")}});
        world.publish(&key, Vec::new(), body.to_string().as_bytes());
    }
}

/// How often each message came.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn note(&mut self, event: &str, data: &Value) {
        if event == "update" {
            *self.0.entry(data["entityId"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }

    fn has_each_once(&self, numbers: std::ops::Range<usize>) -> bool {
        numbers.clone().all(|n| self.0.get(&format!("msg_{n}")) == Some(&1)) && self.0.len() == numbers.len()
    }
}

async fn connect(bridge: &Bridge, plain: bool, auth: &Value) -> Client {
    if plain { driven::plain(bridge, auth).await } else { driven::socket_io(bridge, auth).await }
}

async fn read_until(client: &mut Client, seen: &mut Seen, last: &str) {
    client.early.drain(..).for_each(|(event, data)| seen.note(&event, &data));
    while !seen.0.contains_key(last) {
        let (event, data) = driven::next(&mut client.socket, s(30)).await.expect("not cut");
        seen.note(&event, &data);
    }
}

#[test]
fn what_came_while_a_lost_client_still_waited_for_chat3_comes_with_its_resume() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["handed_a", "handed_e"]);
    let bridge = world.setup("complete").env("BRIDGE_MEMBERSHIP__MODE", "enforce").start().ready();
    for (plain, user) in [(false, "handed_a"), (true, "handed_e")] {
        runtime().block_on(async {
            let auth = driven::credentials(user, None);
            let mut old = connect(&bridge, plain, &auth).await;
            world.chat3.set_faults(Faults { members_late_ms: 4_000, ..Faults::default() });
            let join = if plain {
                json!({"event": "dialog:join", "data": dialog}).to_string()
            } else {
                format!("42{}", json!(["dialog:join", dialog]))
            };
            driven::say(&mut old.socket, &join).await;
            tokio::time::sleep(s(1) / 2).await;
            drop(old.socket);
            tokio::time::sleep(s(1) / 5).await;
            tokio::task::block_in_place(|| publish(&world, user, 0..3, 100));
            tokio::time::sleep(s(1)).await;
            world.chat3.set_faults(Faults::default());
            let auth = driven::credentials(user, Some(&old.answer["resume"]));
            let mut new = connect(&bridge, plain, &auth).await;
            assert_eq!(new.answer["recovered"], true, "{}", new.answer);
            let mut seen = Seen::default();
            read_until(&mut new, &mut seen, "msg_2").await;
            assert!(seen.has_each_once(0..3), "{:?}", seen.0);
        });
    }
}

#[test]
fn a_client_of_another_language_resumes_whole() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let py = Py::connect(&bridge.http, "handed_py");
    let resume = py.wait_count("authenticated", 1, s(30))[0]["resume"].clone();
    publish(&world, "handed_py", 0..1, 100);
    py.wait_count("update", 1, s(30));
    // Its process is killed: what comes now is for nobody who is there.
    drop(py);
    publish(&world, "handed_py", 1..6, 100);
    let auth = json!({"token": token("handed_py"), "resume": {"token": resume, "last": "msg_0"}});
    let again = Py::connect_with(&bridge.http, &auth);
    assert_eq!(again.wait_count("authenticated", 1, s(30))[0]["recovered"], true);
    let mut seen = Seen::default();
    again.wait_count("update", 5, s(30)).iter().for_each(|update| seen.note("update", update));
    assert!(seen.has_each_once(1..6), "{:?}", seen.0);
    assert!(again.got("bridge:resync").is_empty());
}

#[test]
fn what_a_poll_did_not_take_comes_with_the_resume() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").start().ready();
    let mut lost = Vec::new();
    for round in 0..40 {
        let user = format!("handed_b{round}");
        let (polling, answer) = runtime().block_on(async {
            let polling = std::sync::Arc::new(Polling::open(&bridge).await);
            let answer = polling.sign_on(&driven::credentials(&user, None)).await;
            (polling, answer)
        });
        let polled = std::sync::Arc::clone(&polling);
        let polled = runtime().spawn(async move { polled.poll().await });
        publish(&world, &user, 0..6, 100);
        let seen = runtime().block_on(async {
            let mut seen = Seen::default();
            for packet in polled.await.expect("polled") {
                if let Some((event, data)) = driven::event(&packet) {
                    seen.note(&event, &data);
                }
            }
            polling.post("1").await;
            let again = Polling::open(&bridge).await;
            again.post(&format!("40{}", driven::credentials(&user, Some(&answer["resume"])))).await;
            while seen.0.len() < 6 {
                let Ok(polled) = tokio::time::timeout(s(5), again.poll()).await else { break };
                for packet in polled {
                    if let Some((event, data)) = driven::event(&packet) {
                        assert!(event != "authenticated" || data["recovered"] == true, "{data}");
                        seen.note(&event, &data);
                    }
                }
            }
            seen
        });
        if !seen.has_each_once(0..6) {
            lost.push((round, seen.0));
        }
    }
    assert!(lost.is_empty(), "{} of 40 rounds: {lost:?}", lost.len());
}

#[test]
fn an_answer_to_a_poll_that_was_not_written_whole_comes_with_the_resume() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").env("BRIDGE_SOCKET__BUFFER", "16MiB").start().ready();
    let auth = |resume| driven::credentials("handed_half", resume);
    let (polling, answer) = runtime().block_on(async {
        let polling = Polling::open(&bridge).await;
        let answer = polling.sign_on(&auth(None)).await;
        (polling, answer)
    });
    // A client with room for a few KiB, which never reads: of so large an answer the system takes a part.
    let stuck = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small one");
        let host = bridge.http.strip_prefix("http://").expect("a URL");
        let mut stuck = socket.connect(host.parse().expect("an address")).await.expect("connected");
        let path = polling.url.split_once(host).expect("its own").1;
        let poll = format!("GET {path} HTTP/1.1\r\nhost: bridge\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stuck, poll.as_bytes()).await.expect("sent");
        stuck
    });
    publish(&world, "handed_half", 0..1, 6_000_000);
    eventually("received", s(30), || (bridge.counted("bridge_updates_received_total") >= 1).then_some(()));
    std::thread::sleep(s(1));
    drop(stuck);
    let seen = runtime().block_on(async {
        let again = Polling::open(&bridge).await;
        again.post(&format!("40{}", auth(Some(&answer["resume"])))).await;
        let mut seen = Seen::default();
        while seen.0.is_empty() {
            let Ok(polled) = tokio::time::timeout(s(20), again.poll()).await else { break };
            for packet in polled {
                if let Some((event, data)) = driven::event(&packet) {
                    assert!(event != "authenticated" || data["recovered"] == true, "{data}");
                    seen.note(&event, &data);
                }
            }
        }
        seen
    });
    assert!(seen.has_each_once(0..1), "{:?}", seen.0);
}

/// What the old connection still brings is read only after it ended: each message has to be on exactly one of the two.
fn on_one_of_two_connections(plain: bool, user: &str, closes: bool) {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("complete").env("BRIDGE_SOCKET__BUFFER", "64MiB").start().ready();
    runtime().block_on(async {
        let auth = driven::credentials(user, None);
        let mut old = connect(&bridge, plain, &auth).await;
        tokio::task::block_in_place(|| publish(&world, user, 0..400, 50_000));
        tokio::time::sleep(s(2)).await;
        if closes {
            let close = tokio_tungstenite::tungstenite::Message::Close(None);
            futures::SinkExt::send(&mut old.socket, close).await.expect("sent");
            tokio::time::sleep(s(1)).await;
        }
        let auth = driven::credentials(user, Some(&old.answer["resume"]));
        let mut new = connect(&bridge, plain, &auth).await;
        assert_eq!(new.answer["recovered"], true, "{}", new.answer);
        let mut seen = Seen::default();
        while let Some((event, data)) = driven::next(&mut old.socket, s(30)).await {
            seen.note(&event, &data);
        }
        let before = seen.0.len();
        read_until(&mut new, &mut seen, "msg_399").await;
        assert!(before < 400 && seen.has_each_once(0..400), "{before} on the old, {:?}", seen.0);
    });
}

#[test]
fn what_a_plain_websocket_did_not_take_comes_with_the_resume() {
    on_one_of_two_connections(true, "handed_c", false);
    on_one_of_two_connections(true, "handed_d", true);
}

#[test]
fn what_a_websocket_did_not_take_comes_with_the_resume() {
    on_one_of_two_connections(false, "handed_f", false);
    on_one_of_two_connections(false, "handed_g", true);
}

#[test]
fn clients_that_do_not_read_their_acks_are_bounded() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("legacy").start().ready();
    let kind = |n: u8| format!("{}{}{}", char::from(b'a' + n / 10), "x".repeat(37), char::from(b'a' + n % 10));
    let all: Vec<String> = (0..100).map(kind).collect();
    // Each of these is answered with all hundred.
    let one: String = (0..250).map(|n| format!("42{n}{}\n", json!(["subscribe", [kind(0)]]))).collect();
    let before = bridge.resident();
    let mut peak = before;
    runtime().block_on(async {
        let mut sockets = Vec::new();
        for n in 0..20 {
            let mut socket =
                driven::socket_io(&bridge, &driven::credentials(&format!("deaf_{n}"), None)).await.socket;
            driven::say(&mut socket, &format!("42{}", json!(["subscribe", all]))).await;
            sockets.push(socket);
        }
        for _ in 0..32 {
            for socket in &mut sockets {
                let sending = async {
                    for frame in one.lines() {
                        let frame = tokio_tungstenite::tungstenite::Message::text(frame);
                        if futures::SinkExt::send(socket, frame).await.is_err() {
                            return;
                        }
                    }
                };
                // One that was cut, or is not served meanwhile, takes no more.
                let _stuck = tokio::time::timeout(s(1) / 2, sending).await;
            }
            peak = peak.max(bridge.resident());
        }
        for _ in 0..100 {
            tokio::time::sleep(s(1) / 10).await;
            peak = peak.max(bridge.resident());
        }
        drop(sockets);
    });
    println!("{before} bytes before, {peak} at most");
    // For each an outbox of 1 MiB, events of 1 MiB at most that wait, and what allocators take for them.
    assert!(peak < 150 << 20, "{before} bytes before, {peak} at most");
    eventually("it serves others", s(10), || (bridge.get("/healthz").0 == 200).then_some(()));
}
