//! The flag in memory, and the change in progress.

use std::sync::Arc;
use std::time::Instant;

use bridge_core::{Rollout, Stage};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::flag::store::Configured;

pub(super) struct State {
    pub(super) stage: Stage,
    pub(super) rollout: Rollout,
    pub(super) source: String,
    pub(super) version: u64,
    pub(super) changed_at: String,
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) configured: Configured,
    pub(super) transition: Option<(Stage, Stage, &'static str)>,
    /// The change in progress.
    pub(super) change: Option<InProgress>,
    /// Ends the wait for the end of a drain.
    pub(super) drain: CancellationToken,
    /// The latest stage whose rabbitmq path began to drain, and when.
    pub(super) drained: Option<(Stage, Instant)>,
}

impl State {
    /// It was changed at run time: what is configured is not what is so.
    pub(super) fn is_overridden(&self) -> bool {
        matches!(self.source.as_str(), "admin" | "signal" | "guard" | "state")
    }
}

#[derive(Clone)]
pub(super) struct InProgress {
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) to: Stage,
    /// Cancelled by what supersedes it; who that was is then in `by`.
    pub(super) superseded: CancellationToken,
    pub(super) by: Arc<Mutex<String>>,
}

/// Where a change would lead, as seen at one moment.
pub(super) struct Target {
    pub(super) from: Stage,
    pub(super) to: Stage,
    pub(super) before: Rollout,
    pub(super) rollout: Rollout,
    /// Another change is in progress.
    pub(super) in_change: bool,
}
