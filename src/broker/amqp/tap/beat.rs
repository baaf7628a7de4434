//! The pulse at which each side is told that the other lives.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// What was seen since the last beat, a quarter of a heartbeat ago.
pub(super) struct Beat {
    ticks: Interval,
    pub(super) open: bool,
    pub(super) heard: bool,
    pub(super) fed: bool,
    pub(super) wrote: bool,
    pub(super) silent: u8,
}

impl Beat {
    pub(super) fn new(every: Duration) -> Self {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, open: false, heard: false, fed: false, wrote: false, silent: 0 }
    }

    pub(super) fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.ticks.poll_tick(cx));
        Poll::Ready(())
    }
}
