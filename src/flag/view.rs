//! The flag as it is shown, and what a change led to.

use bridge_core::{Rollout, Stage};
use serde::Serialize;

use super::change::Plan;

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

/// What a change led to.
#[derive(Debug)]
pub enum Outcome {
    /// The flag as it is now.
    Done(Box<FlagView>),
    /// What would be done.
    Planned(Plan, Vec<crate::broker::Check>),
}
