//! The flag as it is shown, and what a change led to.

use bridge_core::{Rollout, Stage};
use serde::Serialize;

use super::change::Plan;
use crate::broker::Check;
use crate::delivery::Concerned;

/// A move that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// From.
    pub from: Stage,
    /// To.
    pub to: Stage,
    /// `warming`, `overlap` or `draining`.
    pub phase: &'static str,
    /// Users whose queue is live.
    pub users_ready: usize,
    /// All users.
    pub users_total: usize,
}

/// `GET /admin/flag`.
#[derive(Clone, Debug, Serialize)]
pub struct FlagView {
    /// Rabbitmq delivers.
    pub use_rabbitmq_updates: bool,
    /// Both paths run and are compared.
    pub shadow_mode: bool,
    /// What the two spell.
    pub stage: Stage,
    /// What set it last.
    pub source: String,
    /// Changes of this instance so far.
    pub version: u64,
    /// When it was set, ISO-8601.
    pub changed_at: String,
    /// Who set it.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who is inside.
    pub rollout: Rollout,
    /// A move that is not over.
    pub transition: Option<Transition>,
    /// Only in the answer to a rollback: whether it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persisted: Option<bool>,
}

/// What a change would do.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Stages, and the very actions that it takes.
    #[serde(flatten)]
    pub plan: Plan,
    /// Preflight, where it is a move forward.
    pub checks: Vec<Check>,
    /// It is one: it needs order and preflight.
    pub forward: bool,
    /// The rollout's percent.
    pub percent: Percent,
    /// Whom it concerns.
    pub users: Concerned,
    /// How long it may take, in ms.
    pub limit_ms: u64,
}

/// The rollout's percent before and after.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percent {
    /// Before.
    pub from: f64,
    /// After.
    pub to: f64,
}

/// What a change led to.
#[derive(Debug)]
pub enum Outcome {
    /// The flag as it is now.
    Done(Box<FlagView>),
    /// What would be done.
    Planned(Box<Planned>),
}
