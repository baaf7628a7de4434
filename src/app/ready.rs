//! Whether the bridge is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::chat3::Chat3;
use crate::config::Settings;
use crate::delivery::Hub;
use crate::http::{Facts, Readiness};

/// Not every path has come up once: at most so long.
const STARTING: Duration = Duration::from_secs(10);
/// Between two looks at Chat3.
const LOOK: Duration = Duration::from_secs(5);

pub(super) struct Ready {
    hub: Arc<Hub>,
    broker: Option<Arc<dyn Broker>>,
    draining: Arc<AtomicBool>,
    /// `http.ready_needs_broker`, `flag.rescue`.
    needs: (bool, bool),
    chat3: AtomicBool,
    started: Instant,
}

impl Ready {
    pub(super) fn new(
        hub: &Arc<Hub>,
        broker: &Option<Arc<dyn Broker>>,
        draining: &Arc<AtomicBool>,
        settings: &Settings,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            broker: broker.clone(),
            draining: Arc::clone(draining),
            needs: (settings.http.ready_needs_broker, settings.flag.rescue),
            chat3: AtomicBool::new(true),
            started: Instant::now(),
        }
    }
}

impl Readiness for Ready {
    fn facts(&self) -> Facts {
        let stage = self.hub.served().stage;
        let session = self.broker.as_ref().map(|broker| broker.session().borrow().clone()).unwrap_or_default();
        let (live, wanted) = self.hub.warmth();
        Facts {
            stage,
            chat3: self.chat3.load(Ordering::Acquire),
            // A session that only waits for its exchange has a broker.
            broker: session.up || session.exchange_ok == Some(false),
            exchange: session.exchange_ok,
            queues: live >= wanted,
            updates_stalled: self.hub.updates_stalled().is_some(),
            needs_broker: self.needs.0,
            rescue: self.needs.1,
            starting: stage.runs_rabbitmq() && !session.was_up && self.started.elapsed() < STARTING,
            draining: self.draining.load(Ordering::Acquire),
        }
    }
}

/// Looks at Chat3 until `stop`.
pub(super) async fn watch(ready: Arc<Ready>, chat3: Chat3, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let health = chat3.health().await;
        let was = ready.chat3.swap(health.is_ok(), Ordering::AcqRel);
        match health {
            Err(reason) if was => tracing::warn!(%reason, "Chat3 is not healthy"),
            Ok(()) if !was => tracing::info!("Chat3 is healthy again"),
            _ => {}
        }
    }
}
