//! Counters of the delivery. Handles are taken once: looking one up by name costs eight times as much.

use bridge_core::Path;
use bridge_core::gate::Why;
use bridge_core::recipient::Count;
use metrics::{Counter, Gauge, counter, gauge};

pub(super) struct DeliveryMetrics {
    pub(super) emitted_legacy: Counter,
    pub(super) emitted_rabbitmq: Counter,
    pub(super) swallowed_legacy: Counter,
    pub(super) swallowed_rabbitmq: Counter,
    pub(super) deduplicated: Counter,
    pub(super) received: Counter,
    pub(super) foreign: Counter,
    pub(super) leaked: Counter,
    pub(super) repaired: Counter,
    pub(super) nobody: Counter,
    pub(super) typing: Counter,
    pub(super) relayed: Counter,
    pub(super) audience_late: Counter,
    pub(super) audience_unknown: Counter,
    pub(super) users: Gauge,
    pub(super) sockets: Gauge,
    flushed: Counter,
    rescued: Counter,
    /// Whether anything is counted.
    counts: bool,
}

impl Default for DeliveryMetrics {
    fn default() -> Self {
        Self {
            emitted_legacy: counter!("bridge_copies_total", "path" => "legacy", "outcome" => "emitted"),
            emitted_rabbitmq: counter!("bridge_copies_total", "path" => "rabbitmq", "outcome" => "emitted"),
            swallowed_legacy: counter!("bridge_copies_total", "path" => "legacy", "outcome" => "swallowed"),
            swallowed_rabbitmq: counter!("bridge_copies_total", "path" => "rabbitmq", "outcome" => "swallowed"),
            deduplicated: counter!("bridge_copies_deduplicated_total"),
            received: counter!("bridge_updates_received_total"),
            foreign: counter!("bridge_updates_foreign_total"),
            leaked: counter!("bridge_updates_leaked_total"),
            repaired: counter!("bridge_updates_repaired_total"),
            nobody: counter!("bridge_updates_for_nobody_total"),
            typing: counter!("bridge_typing_relayed_total"),
            relayed: counter!("bridge_relay_received_total"),
            audience_late: counter!("bridge_audience_incomplete_total", "cause" => "late"),
            audience_unknown: counter!("bridge_audience_incomplete_total", "cause" => "unknown"),
            users: gauge!("bridge_users"),
            sockets: gauge!("bridge_sockets"),
            flushed: counter!("bridge_copies_released_total", "why" => "flushed"),
            rescued: counter!("bridge_copies_released_total", "why" => "rescued"),
            counts: true,
        }
    }
}

impl DeliveryMetrics {
    /// For a drill: what it plants must set off no alarm.
    pub(super) fn unseen() -> Self {
        Self {
            emitted_legacy: Counter::noop(),
            emitted_rabbitmq: Counter::noop(),
            swallowed_legacy: Counter::noop(),
            swallowed_rabbitmq: Counter::noop(),
            deduplicated: Counter::noop(),
            received: Counter::noop(),
            foreign: Counter::noop(),
            leaked: Counter::noop(),
            repaired: Counter::noop(),
            nobody: Counter::noop(),
            relayed: Counter::noop(),
            audience_late: Counter::noop(),
            audience_unknown: Counter::noop(),
            typing: Counter::noop(),
            users: Gauge::noop(),
            sockets: Gauge::noop(),
            flushed: Counter::noop(),
            rescued: Counter::noop(),
            counts: false,
        }
    }

    pub(super) fn count(&self, count: Count) {
        match count {
            Count::Emitted(Path::Legacy) => self.emitted_legacy.increment(1),
            Count::Emitted(Path::Rabbitmq) => self.emitted_rabbitmq.increment(1),
            Count::Swallowed(Path::Legacy) => self.swallowed_legacy.increment(1),
            Count::Swallowed(Path::Rabbitmq) => self.swallowed_rabbitmq.increment(1),
            Count::Deduplicated => self.deduplicated.increment(1),
            Count::Released(Why::Flushed) => self.flushed.increment(1),
            Count::Released(Why::Rescued) => self.rescued.increment(1),
            Count::Resync(reason) if self.counts => {
                counter!("bridge_resync_total", "reason" => reason.name()).increment(1);
            }
            Count::Resync(_) => {}
        }
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        if self.counts {
            counter!("bridge_updates_rejected_total", "reason" => reason).increment(1);
        }
    }
}
