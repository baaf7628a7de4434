//! What clients see while Chat3 fails: the answer, nothing lost that was accepted, nothing twice, and nobody else hurt.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

/// What is done to the answer about a message that contains the word, after Chat3 accepted it.
fn spoilt(word: &str, answer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    match word {
        "breaks" => text.replacen("201 Created", "500 Broken!", 1).into_bytes(),
        "garbles" => text.replace("\"data\"", "]data\"").into_bytes(),
        "forgets" => text.replace("\"messageId\"", "\"massageId\"").replace("\"_id\"", "\"_xd\"").into_bytes(),
        "halves" => answer[..answer.len() - 40].to_vec(),
        _ => answer.to_vec(),
    }
}

/// One connection to Chat3.
async fn carry(mut gateway: TcpStream, chat3: SocketAddr) {
    let Ok(mut chat3) = TcpStream::connect(chat3).await else { return };
    let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut spoils = None;
    loop {
        tokio::select! {
            read = gateway.read(&mut request) => {
                let Ok(count @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&request[..count]);
                spoils = ["breaks", "garbles", "forgets", "halves"].into_iter().find(|word| text.contains(word));
                let Ok(()) = chat3.write_all(&request[..count]).await else { return };
            }
            read = chat3.read(&mut answer) => {
                let Ok(count @ 1..) = read else { return };
                let word = spoils.take();
                let sent = gateway.write_all(&spoilt(word.unwrap_or_default(), &answer[..count])).await;
                if sent.is_err() || word == Some("halves") {
                    return;
                }
            }
        }
    }
}

/// An address before Chat3's; nothing listens there once the task is aborted.
pub(crate) async fn front(address: &str, chat3: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("an address");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(carry(connection, chat3));
        }
    });
    (address, serving)
}

struct Scene {
    world: World,
    bridge: Bridge,
    js: Js,
    dialog: String,
    users: [String; 2],
    chat3: SocketAddr,
    front: (SocketAddr, tokio::task::JoinHandle<()>),
}

impl Scene {
    fn new(name: &str, stage: &str) -> Self {
        let world = World::shared(StandInOptions::default());
        let users = ["a", "b"].map(|user| format!("c3f_{name}_{stage}_{user}"));
        let dialog = world.chat3.add_dialog(&[&users[0], &users[1]]);
        let url = world.chat3.url();
        let chat3 = url.trim_start_matches("http://").trim_end_matches("/api").parse().expect("an address");
        let front = runtime().block_on(front("127.0.0.1:0", chat3));
        let setup = world.setup(stage).env("CHAT3_API_URL", format!("http://{}/api", front.0));
        let bridge = setup.env("BRIDGE_CHAT3__TIMEOUT", "2s").start().ready();
        let mut js = Js::start();
        js.sign_on("a", &bridge, &users[0]);
        js.join("a", &dialog);
        Self { world, bridge, js, dialog, users, chat3, front }
    }

    fn post(&self, content: &str) -> (u16, Value) {
        self.bridge.post_message(&self.users[1], &self.dialog, &json!({"content": content}))
    }

    /// How many times the client has the message, on either path.
    fn has(&self, content: &str) -> usize {
        let got = self.js.got("a", "message:new").into_iter();
        let updates =
            self.js.got("a", "update").into_iter().filter(|update| update["eventType"] == "message.create");
        got.chain(updates).filter(|got| got.to_string().contains(content)).count()
    }

    /// Others post, and are heard once: nobody is hurt, and nothing came twice by then.
    fn goes_on(&self, content: &str) {
        let (status, answer) = self.post(content);
        assert_eq!(status, 201, "{answer}");
        eventually(content, s(15), || (self.has(content) == 1).then_some(()));
    }
}

/// Posts what spoils, and compares the answer; `comes`: how many times it comes in the end, in `shadow` and `live`.
fn table(name: &str, content: &str, faults: &Faults, (status, error): (u16, &str), comes: [usize; 2]) {
    for (stage, comes) in ["shadow", "live"].into_iter().zip(comes) {
        let scene = Scene::new(name, stage);
        scene.goes_on("before it");
        scene.world.chat3.set_faults(faults.clone());
        let (seen, answer) = scene.post(content);
        assert_eq!((seen, &answer["success"]), (status, &json!(false)), "{stage}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains(error)), "{stage}: {answer}");
        scene.world.chat3.set_faults(Faults::default());
        scene.goes_on("right after");
        eventually(content, s(15), || (scene.has(content) == comes).then_some(()));
        // A second copy would come by the end of the window.
        std::thread::sleep(s(3));
        for (text, comes) in [("before it", 1), (content, comes), ("right after", 1)] {
            assert_eq!(scene.has(text), comes, "{stage}: {text}");
        }
        assert!(scene.js.got("a", "disconnect").is_empty(), "{stage}");
        assert_eq!(scene.bridge.get("/readyz").0, 200);
    }
}

#[test]
fn chat3_that_answers_500_after_it_accepted_is_a_502_and_the_update_comes_once() {
    table("500", "it breaks", &Faults::default(), (502, "it answered 500"), [0, 1]);
}

#[test]
fn chat3_that_answers_429_has_refused_the_message_and_says_so_itself() {
    let faults = Faults { answer_status: Some(429), ..Faults::default() };
    table("429", "too many", &faults, (429, "refused with 429"), [0, 0]);
}

#[test]
fn half_an_answer_of_chat3_is_a_502_and_the_update_comes_once() {
    table("half", "it halves", &Faults::default(), (502, "a body that can't be read"), [0, 1]);
}

#[test]
fn wrong_json_of_chat3_is_a_502_and_the_update_comes_once() {
    table("json", "it garbles", &Faults::default(), (502, "a body that can't be read"), [0, 1]);
}

#[test]
fn an_answer_of_chat3_without_the_ids_is_a_502_and_the_update_comes_once() {
    table("ids", "it forgets", &Faults::default(), (502, "a body that can't be read"), [0, 1]);
}

#[test]
fn a_slow_chat3_is_a_504_and_its_late_answer_is_delivered_once() {
    let faults = Faults { answer_late_ms: 5_000, ..Faults::default() };
    table("slow", "it takes long", &faults, (504, "did not answer in time"), [1, 1]);
}

#[test]
fn chat3_that_is_down_is_a_502_and_it_goes_on_when_it_is_back() {
    for stage in ["shadow", "live"] {
        let mut scene = Scene::new("down", stage);
        scene.goes_on("before it");
        scene.front.1.abort();
        eventually("down", s(10), || scene.front.1.is_finished().then_some(()));
        std::thread::sleep(Duration::from_millis(100));
        let (status, answer) = scene.post("into the void");
        assert_eq!((status, &answer["success"]), (502, &json!(false)), "{stage}: {answer}");
        assert!(answer["error"].as_str().unwrap().starts_with("the chat service failed"), "{stage}: {answer}");
        let degraded = || scene.bridge.get("/readyz").1["degraded"].clone();
        eventually("said", s(15), || (degraded() == json!(["chat3"])).then_some(()));
        // What does not need it goes on.
        scene.world.update(&scene.users[0], "dialog.update", "dlg_meanwhile");
        let (address, chat3) = (scene.front.0.to_string(), scene.chat3);
        scene.front = runtime().block_on(front(&address, chat3));
        eventually("back", s(15), || (scene.bridge.get("/readyz").1["degraded"] == json!([])).then_some(()));
        scene.goes_on("after it");
        assert_eq!((scene.has("before it"), scene.has("into the void")), (1, 0), "{stage}");
    }
}
