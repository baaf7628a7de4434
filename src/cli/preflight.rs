//! `preflight`.

use std::time::Duration;

use clap::Args;

use super::{ConfigArgs, Failure, load, print};
use crate::broker::{AmqpBroker, Broker as _, Check, Delivery, Disposition, GapReason, Inbox};
use crate::chat3::Chat3;
use crate::clock::Clock;

/// Checks the configured broker and Chat3.
#[derive(Debug, Args)]
pub(super) struct PreflightArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Preflight delivers nothing.
struct Nowhere;

impl Inbox for Nowhere {
    fn deliver(&self, _delivery: Delivery) -> Disposition {
        Disposition::Ack
    }
    fn session(&self, _up: bool) {}
    fn queue_live(&self, _user: &bridge_core::UserId, _gap: Option<(GapReason, bridge_core::Millis)>) {}
    fn queue_lost(&self, _user: &bridge_core::UserId, _since: bridge_core::Millis) {}
}

pub(super) async fn run(args: PreflightArgs) -> Result<(), Failure> {
    let settings = load(&args.config.sources())?.settings;
    let mut checks = if settings.rabbitmq.url.is_empty() {
        let detail = "no broker is configured".into();
        let remedy = "set rabbitmq.url (RABBITMQ_URL)".into();
        vec![Check { name: "broker_reachable", ok: Some(false), detail, remedy }]
    } else {
        let inbox = std::sync::Arc::new(Nowhere);
        let broker =
            AmqpBroker::new(settings.rabbitmq.clone(), settings.instance_id.clone(), inbox, Clock::default(), 1);
        broker.preflight(Duration::from_secs(15)).await
    };
    let chat3 = Chat3::new(&settings.chat3).map_err(|error| Failure::Other(anyhow::anyhow!("{error}")))?;
    let (health, key) = tokio::join!(chat3.health(), chat3.authorized());
    let check = |name, outcome: Result<(), String>, remedy: &str| Check {
        name,
        ok: Some(outcome.is_ok()),
        remedy: if outcome.is_ok() { String::new() } else { remedy.into() },
        detail: outcome.err().unwrap_or_else(|| "fine".into()),
    };
    checks.push(check("chat3_reachable", health, "start Chat3, or correct chat3.url (CHAT3_API_URL)"));
    checks.push(check("chat3_key", key, "correct chat3.api_key (CHAT3_API_KEY) or chat3.tenant_id"));
    show(&checks, args.json);
    if checks.iter().any(|check| check.ok == Some(false)) {
        return Err(Failure::Code(1, "preflight failed".into()));
    }
    Ok(())
}

/// Checks as a table, or as JSON.
pub(super) fn show(checks: &[Check], json: bool) {
    if json {
        let ok = checks.iter().all(|check| check.ok != Some(false));
        print::json(&serde_json::json!({"ok": ok, "checks": checks}));
        return;
    }
    let mut table = print::table(&["check", "", "seen", "remedy"]);
    for check in checks {
        let ok = match check.ok {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "not asked",
        };
        table.add_row([check.name, ok, &check.detail, &check.remedy]);
    }
    print::data(&table.to_string());
}
