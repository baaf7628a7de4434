//! May this instance go forward? Made anew at each call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_core::Stage;
use bridge_core::form::Form;
use serde::Serialize;

use super::Pooled;
use crate::broker::{Broker, Check, QueueState};
use crate::chat3::Chat3;
use crate::config::RequireVerdict;
use crate::delivery::Hub;

/// Everything together may take this long.
const LIMIT: Duration = Duration::from_secs(12);
/// The disk may take this long.
const DISK: Duration = Duration::from_secs(5);
/// Ready messages in one queue above which its user is behind.
const LAG: u64 = 1_000;
/// Ledger or ring above this share of its bound is too full to go forward.
const FULL: f64 = 0.8;

/// What the checks look at.
pub struct Preflight {
    /// Users and their gates.
    pub hub: Arc<Hub>,
    /// The broker, where one is configured.
    pub broker: Option<Arc<dyn Broker>>,
    /// Chat3.
    pub chat3: Chat3,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The verdict of the comparison, as its name and in words.
    pub verdict: Arc<dyn Fn() -> (&'static str, String) + Send + Sync>,
    /// What is asked of the verdict.
    pub require: RequireVerdict,
    /// The disk is probed by one at a time: each probe that hangs keeps a thread.
    pub probing: Arc<tokio::sync::Mutex<()>>,
}

/// `GET /admin/preflight`.
#[derive(Clone, Debug, Serialize)]
pub struct PreflightReport {
    /// No check failed.
    pub ok: bool,
    /// Towards this stage.
    pub to: Stage,
    /// The checks.
    pub checks: Vec<Check>,
}

fn check(name: &'static str, outcome: Result<String, String>, remedy: &str) -> Check {
    let ok = outcome.is_ok();
    let (Ok(detail) | Err(detail)) = outcome;
    Check { name, ok: Some(ok), detail, remedy: if ok { String::new() } else { remedy.into() } }
}

/// Fine, or worth a look.
fn warn(name: &'static str, detail: String, warning: Option<&str>) -> Check {
    Check { name, ok: Some(true), detail, remedy: warning.unwrap_or_default().into() }
}

fn unasked(name: &'static str, detail: &str) -> Check {
    Check { name, ok: None, detail: detail.into(), remedy: String::new() }
}

impl Preflight {
    /// All checks towards `to`. `evidence` is that of the whole fleet, and stands for the instance's own.
    pub async fn run(&self, to: Stage, evidence: Option<&Pooled>) -> PreflightReport {
        let (broker, chat3, lag, written) =
            tokio::join!(self.broker_checks(to), self.chat3_checks(), self.lag(to), self.written());
        let mut checks = broker;
        checks.extend(chat3);
        checks.push(check(
            "state_dir_writable",
            written,
            "free space on the disk of state_dir, or correct its permissions",
        ));
        checks.push(self.rooms());
        checks.extend(self.relay());
        if to.use_rabbitmq_updates() {
            checks.extend([self.queues_live(), lag, self.updates_flowing(), self.headroom()]);
            checks.extend([self.clients(), self.verdict_check(evidence)]);
        }
        let ok = checks.iter().all(|check| check.ok != Some(false));
        PreflightReport { ok, to, checks }
    }

    /// Off the runtime's threads: a network mount can hang.
    async fn written(&self) -> Result<String, String> {
        let silent = || format!("no answer within {} s", DISK.as_secs());
        let turn =
            tokio::time::timeout(DISK, Arc::clone(&self.probing).lock_owned()).await.map_err(|_| silent())?;
        let dir = self.state_dir.clone();
        let probe = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            super::store::probe(&dir)
        });
        match tokio::time::timeout(DISK, probe).await {
            Ok(Ok(written)) => written.map(|()| "writable".into()).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(silent()),
        }
    }

    async fn broker_checks(&self, to: Stage) -> Vec<Check> {
        match &self.broker {
            Some(broker) => broker.preflight(LIMIT).await,
            None if to.runs_rabbitmq() => {
                let outcome = Err("no broker is configured".into());
                vec![check("broker_reachable", outcome, "set rabbitmq.url (RABBITMQ_URL)")]
            }
            None => Vec::new(),
        }
    }

    async fn chat3_checks(&self) -> [Check; 2] {
        let (health, authorized) = tokio::join!(self.chat3.health(), self.chat3.authorized());
        let fine = |text: &str| text.to_owned();
        [
            check(
                "chat3_reachable",
                health.map(|()| fine("healthy")),
                "start Chat3, or correct chat3.url (CHAT3_API_URL)",
            ),
            check(
                "chat3_key",
                authorized.map(|()| fine("accepted")),
                "correct chat3.api_key (CHAT3_API_KEY) or chat3.tenant_id",
            ),
        ]
    }

    fn queues_live(&self) -> Check {
        let (live, wanted) = self.hub.warmth();
        let detail = format!("{live} of {wanted} users' queues are live");
        let outcome = if live >= wanted { Ok(detail) } else { Err(detail) };
        check("queues_live", outcome, "wait a moment, and look at GET /admin/queues and the broker's log")
    }

    async fn lag(&self, to: Stage) -> Check {
        let Some(broker) = self.broker.as_ref().filter(|_| to.use_rabbitmq_updates()) else {
            return unasked("lag", "no broker is configured");
        };
        let queues = broker.queues(Duration::from_secs(5)).await;
        let worst = queues.iter().filter_map(|queue| queue.lag).max().unwrap_or(0);
        let oldest = self.hub.oldest_lag();
        let unknown = queues.iter().filter(|queue| queue.state == QueueState::Live && queue.lag.is_none()).count();
        let detail = format!("at most {worst} messages ready, {oldest} ms late; {unknown} queues not asked");
        let fails = worst > LAG || oldest > 5_000;
        if unknown > 0 && !fails {
            return unasked("lag", &detail);
        }
        let outcome = if fails { Err(detail) } else { Ok(detail) };
        check("lag", outcome, "wait until the queues are empty, and look for slow clients and a busy broker")
    }

    fn headroom(&self) -> Check {
        let (ledger, ring) = self.hub.fullness();
        let detail = format!("ledger {:.0} % full, ring {:.0} % full", ledger * 100.0, ring * 100.0);
        let outcome = if ledger > FULL || ring > FULL { Err(detail) } else { Ok(detail) };
        check(
            "headroom",
            outcome,
            "wait for the window to pass; if it stays, the broker or Chat3's update worker is behind",
        )
    }

    fn updates_flowing(&self) -> Check {
        let remedy = "look whether Chat3's update worker runs, and publishes to rabbitmq.exchange";
        check("updates_flowing", self.hub.updates_flow(), remedy)
    }

    /// Who declares nothing gets `client.undeclared`, and nobody knows whether it understands that.
    fn clients(&self) -> Check {
        let load = self.hub.load();
        let [update, old, nothing, unknown] = load.declared;
        let form = match self.hub.undeclared() {
            Form::Update => "update",
            Form::Legacy => "legacy",
            Form::Chatapp => "chatapp",
        };
        let detail = format!(
            "{update} of {} sockets declared `update`, {old} an old form, {nothing} nothing (they get {form}), {unknown} only what the bridge does not have",
            load.sockets
        );
        if unknown > 0 {
            return check(
                "clients",
                Err(detail),
                "let clients declare accepts: [\"update\"], or [] for the old form",
            );
        }
        let warning = "make sure that clients which declare nothing understand it, or set client.undeclared";
        warn("clients", detail, (nothing > 0).then_some(warning))
    }

    /// Who joins nothing hears nothing of legacy, neither now nor after a rollback.
    fn rooms(&self) -> Check {
        let load = self.hub.load();
        let detail = format!("{} of {} connected sockets have joined no dialog", load.in_no_room, load.connected);
        let deaf = load.in_no_room > 0 && !self.hub.members_hear_legacy();
        let warning = "in legacy and after a rollback they hear nothing: set legacy.audience = \"members\" where front ends do not join";
        warn("rooms", detail, deaf.then_some(warning))
    }

    /// In a fleet: who is connected to another instance than the poster hears legacy only by the relay.
    fn relay(&self) -> Option<Check> {
        let relay = self.hub.relay()?;
        if !relay.is_on() {
            let detail = "off: in legacy, and after a rollback, who is connected to another instance than the poster hears nothing, and messages posted elsewhere are not compared";
            return Some(warn("relay", detail.into(), Some("set legacy.relay = true on every instance")));
        }
        let peers = relay.peers();
        let away: Vec<&str> = peers.iter().filter(|peer| !peer.up).map(|peer| peer.node.as_str()).collect();
        let detail = format!("{} of {} other instances take broadcasts", peers.len() - away.len(), peers.len());
        let remedy = format!("see why these do not, under `relay` of GET /admin/status: {}", away.join(", "));
        Some(warn("relay", detail, (!away.is_empty()).then_some(&remedy)))
    }

    fn verdict_check(&self, evidence: Option<&Pooled>) -> Check {
        let (value, detail) = evidence.map_or_else(&*self.verdict, |pooled| {
            (pooled.verdict.name(), format!("{} instances together: {}", pooled.nodes, pooled.says))
        });
        let fails = match self.require {
            RequireVerdict::NotUnsafe => value == "NOT_SAFE",
            RequireVerdict::Safe => value != "SAFE",
        };
        let outcome = if fails { Err(detail) } else { Ok(detail) };
        check("verdict", outcome, "look at `updates-bridge shadow report` for what differs or is missing")
    }
}
