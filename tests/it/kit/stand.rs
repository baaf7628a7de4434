//! A bridge with its clients under numbered updates, for one fault of its broker.
//!
//! A fault of a virtual host has one of its own on the node that all tests share; a fault of the whole node has a node
//! that nobody else uses meanwhile. So nobody waits for anybody.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use updates_bridge::demo::StandInOptions;

use super::bridge::{Bridge, Setup, token};
use super::js::Js;
use super::numbers::{Account, Heard, Numbers, now, since};
use super::rabbit::{self, Rabbit};
use super::world::World;
use super::{Turn, eventually, s};

/// A broker that does nothing is noticed within this: heartbeats come every 10 s.
pub(crate) const NOTICED: Duration = s(21);

/// Nodes whose faults are over, for who comes next. There are at most as many as tests at a time.
static IDLE: Mutex<Vec<Rabbit>> = Mutex::new(Vec::new());

/// Where a stand's broker is.
pub(crate) enum Place {
    /// A virtual host of the shared node.
    Host { name: String, url: String },
    /// A node of its own.
    Node(Option<Rabbit>),
    /// Nodes of the test's own.
    Others(String),
}

impl Place {
    fn host(name: &str) -> Self {
        let make = |node: &Rabbit| {
            node.ctl(&["add_vhost", name]);
            node.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]);
            node.url_of(name)
        };
        Self::Host { name: name.into(), url: rabbit::shared(make) }
    }

    fn node() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self::Node(Some(idle.unwrap_or_else(Rabbit::start)))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Host { url, .. } | Self::Others(url) => url.clone(),
            Self::Node(node) => node.as_ref().expect("a node").url(),
        }
    }

    /// The name of the virtual host.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Host { name, .. } => name,
            Self::Node(_) | Self::Others(_) => "/",
        }
    }

    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        match self {
            Self::Host { .. } => rabbit::shared(|node| node.ctl(args)),
            Self::Node(node) => node.as_ref().expect("a node").ctl(args),
            Self::Others(_) => panic!("the test has the nodes"),
        }
    }

    /// The same about the virtual host.
    pub(crate) fn ctl_here(&self, command: &str, args: &[&str]) -> String {
        self.ctl(&[&[command, "-p", self.name()], args].concat())
    }

    /// Names of the queues of `user`.
    pub(crate) fn queues_of(&self, user: &str) -> Vec<String> {
        let all = match self {
            Self::Host { name, .. } => rabbit::shared(|node| node.queues_in(name)),
            Self::Node(node) => node.as_ref().expect("a node").queues(),
            Self::Others(_) => panic!("the test has the nodes"),
        };
        let names = all.into_iter().map(|[name, ..]| name);
        names.filter(|name| name.starts_with(&format!("user_{user}."))).collect()
    }

    /// The node that is nobody else's.
    pub(crate) fn own(&self) -> &Rabbit {
        let Self::Node(Some(node)) = self else { panic!("a virtual host has no node of its own") };
        node
    }
}

impl Place {
    /// Kills the node, and starts it again after `away`.
    pub(crate) fn restart(&mut self, away: Duration) {
        let Self::Node(Some(node)) = self else { panic!("a virtual host has no node of its own") };
        node.kill();
        std::thread::sleep(away);
        node.restart();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever failed may have left the fault behind.
        if let Self::Node(node) = self
            && !std::thread::panicking()
        {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).extend(node.take());
        }
    }
}

/// What a fault came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Updates that the broker confirmed, for each socket they were for.
    pub(crate) due: usize,
    /// Those of them that did not come, all covered by `bridge:resync`.
    pub(crate) told: usize,
    /// `bridge:resync` in all, by reason.
    pub(crate) resyncs: HashMap<String, usize>,
    /// From the end of the fault until each socket had an update published after it.
    pub(crate) recovered: Duration,
}

/// A bridge with its clients.
pub(crate) struct Stand {
    pub(crate) numbers: Numbers,
    /// What was sent by then does not count (ms since 1970).
    begun: u64,
    /// Socket and user.
    pub(crate) sockets: Vec<(String, String)>,
    pub(crate) js: Js,
    pub(crate) bridge: Bridge,
    _world: World,
    pub(crate) place: Place,
}

impl Stand {
    /// With a virtual host of its own.
    pub(crate) fn in_host(name: &str, setup: impl FnOnce(&Place, Setup) -> Setup) -> Self {
        Self::at(Place::host(name), name, setup)
    }

    /// With a node of its own.
    pub(crate) fn on_node(name: &str, setup: impl FnOnce(&Place, Setup) -> Setup) -> Self {
        Self::at(Place::node(), name, setup)
    }

    /// On nodes of the caller's, of which `url` is one.
    pub(crate) fn on_others(url: String, name: &str, setup: impl FnOnce(&Place, Setup) -> Setup) -> Self {
        Self::at(Place::Others(url), name, setup)
    }

    fn at(place: Place, name: &str, setup: impl FnOnce(&Place, Setup) -> Setup) -> Self {
        let world = World::on(place.url(), StandInOptions::default(), Turn::beside());
        let bridge = setup(&place, world.setup("live")).start().ready();
        let users: Vec<String> = (0..11).map(|n| format!("{name}_{n}")).collect();
        let numbers = Numbers::start(place.url(), users.clone());
        let mut stand =
            Self { numbers, begun: 0, sockets: Vec::new(), js: Js::start(), bridge, _world: world, place };
        for user in &users {
            stand.sign_on(user, user);
        }
        stand.sign_on("tab", &users[0]);
        stand.all_hear_from_now("before the fault");
        for (socket, _) in &stand.sockets {
            stand.js.forget(socket);
        }
        stand.begun = now();
        stand.pass(s(1));
        stand
    }

    pub(crate) fn sign_on(&mut self, socket: &str, user: &str) {
        assert_eq!(self.js.sign_on(socket, &self.bridge, user)["ready"], true);
        self.sockets.push((socket.into(), user.into()));
    }

    /// Somebody who may have to wait for a queue, and whose updates begin with [`Self::hears`].
    pub(crate) fn comes(&mut self, socket: &str, user: &str) {
        self.js.connect(socket, &self.bridge.http, &json!({"auth": {"token": token(user)}}));
    }

    pub(crate) fn hears(&mut self, socket: &str, user: &str) {
        self.numbers.users.lock().unwrap().push(user.into());
        eventually("the late one hears", s(30), || (!self.js.got(socket, "update").is_empty()).then_some(()));
    }

    #[expect(clippy::unused_self, reason = "reads as what is done")]
    pub(crate) fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn degraded(&self) -> serde_json::Value {
        self.bridge.get("/readyz").1["degraded"].clone()
    }

    /// Waits until the bridge says that it lacks something, which takes it no longer than [`NOTICED`]; returns how long.
    pub(crate) fn noticed(&self) -> Duration {
        let begun = Instant::now();
        let limit = self.bridge.at_its_pace(NOTICED);
        eventually("noticed", NOTICED, || (self.degraded() != json!([])).then_some(()));
        let noticed = begun.elapsed();
        assert!(noticed <= limit, "noticed after {noticed:?}, not within {limit:?}");
        noticed
    }

    /// Waits until each socket has an update that is published from now on.
    pub(crate) fn all_hear_from_now(&self, what: &str) -> Duration {
        let (begun, from) = (Instant::now(), now());
        for (socket, user) in &self.sockets {
            eventually(&format!("{socket} hears {what}"), s(30), || {
                let sent = self.numbers.sent.lock().unwrap();
                let later = sent.iter().filter(|sent| sent.at >= from && sent.user == *user);
                let later: HashSet<&str> = later.map(|sent| sent.entity.as_str()).collect();
                let got = self.js.got(socket, "update");
                got.iter().any(|update| later.contains(update["entityId"].as_str().unwrap())).then_some(())
            });
        }
        begun.elapsed()
    }

    fn heard(&self, socket: &str) -> Heard {
        let mut updates = HashMap::new();
        for update in self.js.got(socket, "update") {
            *updates.entry(update["entityId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let resyncs = self.js.got_at(socket, "bridge:resync");
        Heard { updates, gaps: resyncs.iter().map(|(resync, at)| (since(resync), *at)).collect() }
    }

    /// What became of the updates for `socket`.
    fn account(&self, socket: &str, user: &str) -> Account {
        let heard = self.heard(socket);
        let sent = self.numbers.sent.lock().unwrap();
        heard.account(sent.iter().filter(|sent| sent.user == user && sent.at > self.begun))
    }

    /// The fault is over: all hear again, and nobody lacks anything that was not told, or has anything twice.
    pub(crate) fn whole(self, fault: &str) -> Outcome {
        let recovered = self.all_hear_from_now("after the fault");
        eventually("nothing is lacking", s(20), || (self.degraded() == json!([])).then_some(()));
        self.numbers.users.lock().unwrap().clear();
        let mut outcome = Outcome { due: 0, told: 0, resyncs: HashMap::new(), recovered };
        for (socket, user) in &self.sockets {
            let begun = Instant::now();
            loop {
                let account = self.account(socket, user);
                if account.missing.is_empty() {
                    outcome.due += account.due;
                    outcome.told += account.told;
                    break;
                }
                let (missing, gaps) = (account.missing, self.js.got_at(socket, "bridge:resync"));
                assert!(begun.elapsed() < s(60), "{fault}: {socket} lacks {missing:?}\ngaps {gaps:?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        // Another copy would come now.
        self.pass(s(2));
        for (socket, _) in &self.sockets {
            let mut copies = self.heard(socket).updates;
            copies.retain(|_, count| *count > 1);
            assert!(copies.is_empty(), "{fault}: {socket} has twice {copies:?}");
            assert!(self.js.got(socket, "disconnect").is_empty(), "{fault}: {socket} was disconnected");
            for resync in self.js.got(socket, "bridge:resync") {
                *outcome.resyncs.entry(resync["reason"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        println!("{fault}: {outcome:?} ({} sockets), whole after {:?}", self.sockets.len(), outcome.recovered);
        assert!(outcome.due > 20, "{fault}: {outcome:?}");
        outcome
    }
}
