//! Carries out the plan: breaks things and mends them, and moves the flag.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::chat3::Faults;

use super::census::Ward;
use super::plan::{Dice, Fault, Move, Step};
use super::posts::Word;
use super::record::Record;
use crate::kit::bridge::{Bridge, Setup, TOKEN};
use crate::kit::line::{Line, Quality};
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{runtime, s};

const STAGES: [&str; 4] = ["legacy", "shadow", "live", "complete"];

/// Things that break.
pub(super) struct Stage {
    pub(super) record: Arc<Record>,
    pub(super) world: World,
    pub(super) rabbit: Mutex<Rabbit>,
    /// Between each gateway and the broker.
    pub(super) lines: [Line; 2],
    /// Between the gateways and Chat3.
    pub(super) chat3: Line,
    pub(super) word: Word,
    pub(super) bridges: [Mutex<Option<Bridge>>; 2],
    pub(super) wards: [Mutex<Ward>; 2],
    pub(super) setup: Box<dyn Fn(usize) -> Setup + Send + Sync>,
    pub(super) admins: [String; 2],
    /// How often what was done.
    pub(super) done: Mutex<BTreeMap<String, u32>>,
    /// It ends before its time.
    pub(super) stop: AtomicBool,
}

impl Stage {
    fn count(&self, what: String) {
        *self.done.lock().entry(what).or_default() += 1;
    }

    fn stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(super) fn faults(&self, steps: Vec<Step<Fault>>, mut dice: Dice) {
        for Step { pause, what, lasts } in steps {
            std::thread::sleep(pause);
            if self.stopped() {
                return;
            }
            println!("{} fault {what:?} for {lasts:?}", super::record::now());
            let span = self.record.faults.begins();
            self.fault(what, lasts, &mut dice);
            // Until everybody is back: what swallows is found out by heartbeats.
            let after = match what {
                Fault::LineBlackhole(_) | Fault::LineZombie(_) | Fault::BrokerFrozen => 30_000,
                Fault::BrokerKilled | Fault::BrokerStopped | Fault::GatewayFrozen(_) => 20_000,
                _ => 12_000,
            };
            self.record.faults.ends(span, after);
            self.count(format!("fault {}", what.name()));
        }
    }

    fn fault(&self, fault: Fault, lasts: Duration, dice: &mut Dice) {
        let pass = || std::thread::sleep(lasts);
        let line = |which: usize, quality| {
            self.lines[which].becomes(quality);
            pass();
            self.lines[which].becomes(Quality::Good);
        };
        let chat3 = |faults| {
            self.world.chat3.set_faults(faults);
            pass();
            self.world.chat3.set_faults(Faults::default());
        };
        match fault {
            Fault::BrokerKilled => {
                let mut rabbit = self.rabbit.lock();
                rabbit.kill();
                pass();
                rabbit.restart();
            }
            Fault::BrokerFrozen => {
                let rabbit = self.rabbit.lock();
                rabbit.signal("-STOP");
                pass();
                rabbit.signal("-CONT");
            }
            Fault::BrokerStopped => {
                self.ctl(&["stop_app"]);
                pass();
                self.ctl(&["start_app"]);
            }
            Fault::ConnectionsClosed => self.ctl(&["close_all_connections", "soak"]),
            Fault::QueueDeleted => {
                let queues = self.rabbit.lock().queues();
                let users: Vec<&String> =
                    queues.iter().map(|[name, ..]| name).filter(|name| name.starts_with("user_")).collect();
                if !users.is_empty() {
                    self.ctl(&["delete_queue", users[dice.below(users.len())]]);
                }
            }
            // Chat3 declares it again when it finds that it is gone; the bindings are not its own.
            Fault::ExchangeRemade => {
                let name = r#"rabbit_misc:r(<<"/">>, exchange, <<"chat3_updates">>)"#;
                self.ctl(&["eval", &format!(r#"rabbit_exchange:delete({name}, false, <<"t">>)."#)]);
                pass();
            }
            Fault::BrokerAlarm => {
                self.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
                pass();
                self.ctl(&["set_vm_memory_high_watermark", "0.4"]);
            }
            Fault::LineLate(which) => line(which, Quality::Late(Duration::from_millis(50))),
            Fault::LineCut(which) => line(which, Quality::Cut),
            Fault::LineZombie(which) => line(which, Quality::Zombie),
            Fault::LineBlackhole(which) => line(which, Quality::Blackhole),
            Fault::Chat3Down => {
                self.chat3.becomes(Quality::Cut);
                pass();
                self.chat3.becomes(Quality::Good);
            }
            Fault::Chat3Slow => chat3(Faults { answer_late_ms: 3_000, ..Faults::default() }),
            Fault::Chat3Answers(status) => chat3(Faults { answer_status: Some(status), ..Faults::default() }),
            Fault::WorkerSilent => chat3(Faults { worker_stopped: true, ..Faults::default() }),
            Fault::MembersLate => chat3(Faults { members_late_ms: 3_000, ..Faults::default() }),
            Fault::Chat3Spoils(word) => {
                *self.word.lock() = word;
                pass();
                *self.word.lock() = "says";
            }
            Fault::GatewayFrozen(which) => {
                let bridge = self.bridges[which].lock();
                bridge.as_ref().expect("a gateway").signal("-STOP");
                pass();
                bridge.as_ref().expect("a gateway").signal("-CONT");
            }
            Fault::GatewayEnded(which) => self.restarted(which, "-TERM", lasts),
            Fault::GatewayKilled(which) => self.restarted(which, "-KILL", lasts),
        }
    }

    fn restarted(&self, which: usize, signal: &str, lasts: Duration) {
        let mut place = self.bridges[which].lock();
        let bridge = place.take().expect("a gateway");
        self.said(&bridge);
        let state = bridge.stop_by(signal);
        std::thread::sleep(lasts);
        let bridge = (self.setup)(which).state(state).start();
        *self.wards[which].lock() = Ward::of(bridge.pid());
        *place = Some(bridge);
    }

    /// Writes the gateways' logs where they are wanted.
    pub(super) fn keep_logs(&self) {
        let Some(dir) = std::env::var_os("SOAK_LOGS") else { return };
        for (which, bridge) in self.bridges.iter().enumerate() {
            let Some(bridge) = bridge.try_lock() else { continue };
            if let Some(bridge) = bridge.as_ref() {
                let path = std::path::Path::new(&dir).join(format!("gateway-{which}-{}.log", bridge.pid()));
                let _only_for_looking = std::fs::write(path, bridge.log());
            }
        }
    }

    /// A gateway whose log tells of a panic.
    pub(super) fn said(&self, bridge: &Bridge) {
        let log = bridge.log();
        for line in log.lines().filter(|line| line.contains("panicked") || line.contains("PANIC")) {
            self.record.findings.add("panic", line);
        }
    }

    fn ctl(&self, args: &[&str]) {
        self.rabbit.lock().ctl(args);
    }

    /// Asks the admin side of a gateway, which may be away.
    pub(super) fn ask(&self, which: usize, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let url = format!("http://{}{path}", self.admins[which]);
        let client = reqwest::Client::new();
        let request = client.request(method, url).bearer_auth(TOKEN).json(body).timeout(s(90));
        runtime().block_on(async {
            let answer = request.send().await.ok()?;
            Some((answer.status().as_u16(), answer.json().await.ok()?))
        })
    }

    pub(super) fn flag(&self, which: usize) -> Option<usize> {
        let (_, view) = self.ask(which, Method::GET, "/admin/flag", &Value::Null)?;
        STAGES.iter().position(|stage| view["stage"] == *stage)
    }

    pub(super) fn moves(&self, steps: Vec<Step<Move>>) {
        for step in steps {
            std::thread::sleep(step.pause);
            if self.stopped() {
                return;
            }
            let span = self.record.moves.begins();
            self.step(step.what);
            self.record.moves.ends(span, 0);
        }
    }

    fn step(&self, what: Move) {
        let Some(now) = self.flag(0) else { return };
        let set = |to: usize, force: bool, partial: bool| {
            let body = json!({"use_rabbitmq_updates": to >= 2, "shadow_mode": to == 1 || to == 2,
                "actor": "soak", "reason": "soak", "force": force, "partial": partial});
            self.ask(0, Method::PUT, "/admin/fleet/flag", &body)
        };
        let (name, answer) = match what {
            Move::Forward { partial } => {
                let to = (now + 1).min(3);
                let mut answer = set(to, false, partial);
                if matches!(answer, Some((409, _))) {
                    self.count(format!("move to {} refused by preflight", STAGES[to]));
                    answer = set(to, true, partial);
                }
                (format!("to {}", STAGES[to]), answer)
            }
            Move::Back(steps) => {
                let to = now.saturating_sub(steps);
                (format!("back to {}", STAGES[to]), set(to, false, false))
            }
            Move::Rollback => (
                "by rollback".to_owned(),
                self.ask(0, Method::POST, "/admin/fleet/rollback", &json!({"actor": "soak"})),
            ),
            Move::Signal(which) => {
                // One that is broken at the moment is left alone.
                let bridge = self.bridges[which].try_lock();
                let sent = bridge.and_then(|bridge| {
                    bridge.as_ref()?.signal("-USR1");
                    Some((200, Value::Null))
                });
                ("by a signal".to_owned(), sent)
            }
            Move::Percent(percent) => {
                let body =
                    json!({"rollout": {"percent": percent}, "actor": "soak", "reason": "soak", "force": true});
                ("of the share".to_owned(), self.ask(0, Method::PUT, "/admin/fleet/flag", &body))
            }
        };
        let status = answer.as_ref().map_or(0, |(status, _)| *status);
        println!("{} move {name}: {status}", super::record::now());
        if matches!(status, 400 | 401 | 403 | 404 | 422 | 500) {
            let text = format!("a move {name} was answered {answer:?}");
            self.record.findings.add("answer", &text);
        }
        match status {
            200 => self.count(format!("move {name}")),
            0 => self.count("move that nobody answered".into()),
            status => self.count(format!("move refused with {status}")),
        }
    }
}

/// The address in a URL.
pub(super) fn address(url: &str) -> SocketAddr {
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    address.parse().expect("an address")
}
