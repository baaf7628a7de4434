//! From the tap to the inbox.

use std::sync::Arc;

use bridge_core::{Millis, UserId};
use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::amqp::Shared;
use crate::broker::amqp::tap::{self, Consumer};
use crate::broker::{Delivery, Disposition};

/// Unacknowledged updates of a consumer that serves many users.
pub(super) const SHARED_PREFETCH: u16 = 256;

/// Why an update is rejected before it is read.
pub(in crate::broker::amqp) const TOO_LARGE: &str = "too_large";

/// A queue whose consumer the broker has ended.
pub(super) struct Lost {
    /// Whose it was; `None` where it served many.
    pub(super) user: Option<UserId>,
    pub(super) queue: String,
    /// What was published until then had come.
    pub(super) since: Millis,
}

/// What the session gives the tap.
pub(super) struct Outlet {
    pub(super) shared: Arc<Shared>,
    /// The number of its line.
    pub(super) line: usize,
    /// When the first was published of what came since the batch before.
    pub(super) first: Option<Millis>,
    /// The session is over.
    pub(super) over: CancellationToken,
    /// Queues whose consumers ended.
    pub(super) lost: mpsc::UnboundedSender<Lost>,
}

impl tap::Outlet for Outlet {
    fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    fn take(&mut self, consumer: &Consumer, delivery: Option<Delivery<'_>>) -> Disposition {
        let Some(delivery) = delivery else {
            counter!("bridge_updates_rejected_total", "reason" => TOO_LARGE).increment(1);
            if let Some(left_out) = self.shared.said.take("too large", self.shared.clock.now()) {
                warn!(queue = %consumer.queue, left_out, "rejected an update that is too large to be one");
            }
            return Disposition::Reject;
        };
        self.shared.formats.saw(delivery.routing_key);
        let published = delivery.published_at();
        self.first = self.first.into_iter().chain(published).min();
        self.shared.inbox.deliver(Delivery { queue_of: consumer.user.as_ref(), ..delivery })
    }

    fn batch_end(&mut self) {
        if let Some(published) = self.first.take() {
            self.shared.hearing.hear(self.line, published);
        }
        self.shared.inbox.batch_end();
    }

    fn ended(&mut self, consumer: Consumer) {
        // The session may be over: then nobody listens, and nobody needs to.
        let since = self.shared.hearing.heard_on(self.line);
        let _unheard = self.lost.send(Lost { user: consumer.user, queue: consumer.queue, since });
    }

    fn stray(&mut self) {
        counter!("bridge_updates_for_nobody_total").increment(1);
    }
}
