//! What a change asks for, what it would do, and why it may be refused.

use bridge_core::{Rollout, Stage};
use serde::Serialize;
use serde_json::{Value, json};

use super::Pooled;
use crate::broker::Check;

/// A change, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRequest {
    /// `use_rabbitmq_updates`; what is left out keeps its value.
    pub use_rabbitmq_updates: Option<bool>,
    /// `shadow_mode`.
    pub shadow_mode: Option<bool>,
    /// `rollout`: replaces the whole.
    pub rollout: Option<Rollout>,
    /// Who: the name of a token where it has one, else what the body says.
    pub actor: String,
    /// What the body says, where the token's name is the actor.
    pub on_behalf_of: Option<String>,
    /// Why.
    pub reason: String,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Override order and preflight.
    pub force: bool,
    /// What the whole fleet has seen: it stands for this instance's own.
    pub evidence: Option<Pooled>,
    /// The change is for the flag of this version: with another nothing is done.
    pub expected_version: Option<u64>,
}

/// Who makes a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The name that the audit notes.
    pub name: &'a str,
    /// For whom, where the name is that of a token.
    pub on_behalf_of: Option<&'a str>,
}

impl<'a> Actor<'a> {
    /// Somebody who acts for nobody else.
    #[must_use]
    pub const fn own(name: &'a str) -> Self {
        Self { name, on_behalf_of: None }
    }
}

/// One thing that a change does, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Queues of all users are declared, bound and consumed; the change goes on when all are live.
    Warm,
    /// The change is stored in the state directory.
    Store,
    /// Every user's gate takes the new stage; what the ring owes goes out.
    Flip {
        /// From.
        from: Stage,
        /// To.
        to: Stage,
    },
    /// Rabbitmq's copies count for one window more, first arrival wins.
    Drain {
        /// Length in ms.
        window_ms: u64,
    },
    /// Queues of all users are deleted.
    Cool,
    /// The audit gets an entry.
    Audit,
}

/// The very actions that a change takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Stage before.
    pub from: Stage,
    /// Stage after.
    pub to: Stage,
    /// In order.
    pub actions: Vec<Action>,
}

impl Plan {
    /// A move forward: it is stored before it happens.
    #[must_use]
    pub fn forward(from: Stage, to: Stage) -> Self {
        let mut actions = vec![Action::Store, Action::Flip { from, to }, Action::Audit];
        if !from.runs_rabbitmq() && to.runs_rabbitmq() {
            actions.insert(0, Action::Warm);
        }
        Self { from, to, actions }
    }

    /// A move back, or of the rollout alone: it never waits for the disk. `in_change`: it takes the place of a move that
    /// may have begun to warm. Drain and cool go on by themselves after it.
    #[must_use]
    pub fn back(from: Stage, to: Stage, in_change: bool, window_ms: u64) -> Self {
        let mut actions = vec![Action::Flip { from, to }, Action::Store, Action::Audit];
        // Also from `shadow`: an earlier way back may still be within its window.
        let ends = from.runs_rabbitmq() && !to.runs_rabbitmq();
        let overlaps = from.use_rabbitmq_updates() && (!to.use_rabbitmq_updates() || from == to);
        if ends || overlaps {
            actions.push(Action::Drain { window_ms });
        }
        if ends || in_change && !to.runs_rabbitmq() {
            actions.push(Action::Cool);
        }
        Self { from, to, actions }
    }

    /// Whether rabbitmq's copies go on for a window.
    #[must_use]
    pub fn has_drain(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Drain { .. }))
    }

    /// Whether it has `action`.
    #[must_use]
    pub fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }
}

/// Why a change was refused.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// A check failed.
    Preflight(Vec<Check>),
    /// Forward goes one stage at a time.
    StageSkipped {
        /// From.
        from: Stage,
        /// To.
        to: Stage,
    },
    /// Another change is in progress.
    InProgress {
        /// Who makes it.
        actor: String,
        /// Why.
        reason: String,
        /// To which stage.
        to: Stage,
    },
    /// One towards legacy came in between.
    Superseded {
        /// Who made it.
        by: String,
    },
    /// The request is wrong.
    Invalid {
        /// The field that is.
        field: String,
        /// How.
        message: String,
    },
    /// The queues were not live in time; the stage is unchanged.
    Timeout {
        /// Users whose queue was live.
        ready: usize,
        /// All users.
        total: usize,
    },
}

impl Refusal {
    /// A wrong field.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// HTTP status, and the body `{"error","message",…}`.
    #[must_use]
    pub fn answer(&self) -> (u16, Value) {
        match self {
            Self::Preflight(checks) => {
                let failed: Vec<&str> =
                    checks.iter().filter(|check| check.ok == Some(false)).map(|check| check.name).collect();
                let message = format!("preflight failed: {}", failed.join(", "));
                (409, json!({"error": "preflight_failed", "message": message, "checks": checks}))
            }
            Self::StageSkipped { from, to } => {
                let message = format!("forward goes one stage at a time: {from} is not followed by {to}");
                (409, json!({"error": "stage_skipped", "message": message, "from": from, "to": to}))
            }
            Self::InProgress { actor, reason, to } => {
                let message = format!("a change to {to} by {actor} ({reason}) is in progress");
                (
                    409,
                    json!({"error": "flip_in_progress", "message": message, "actor": actor, "reason": reason, "to": to}),
                )
            }
            Self::Superseded { by } => {
                (409, json!({"error": "superseded", "message": format!("superseded by {by}"), "by": by}))
            }
            Self::Invalid { field, message } => {
                (422, json!({"error": "invalid", "message": format!("{field}: {message}"), "field": field}))
            }
            Self::Timeout { ready, total } => {
                let message = format!("{ready} of {total} queues were live in time: the stage is unchanged");
                (
                    504,
                    json!({"error": "flip_timeout", "message": message, "users_ready": ready, "users_total": total}),
                )
            }
        }
    }

    /// One line.
    #[must_use]
    pub fn message(&self) -> String {
        self.answer().1["message"].as_str().unwrap_or_default().into()
    }
}

impl ChangeRequest {
    /// Who makes it.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        Actor { name: &self.actor, on_behalf_of: self.on_behalf_of.as_deref() }
    }

    /// The holder of the token `name` makes it, for whom the body named.
    #[must_use]
    pub fn by_token(self, name: &str) -> Self {
        Self { on_behalf_of: Some(self.actor), actor: name.into(), ..self }
    }

    /// Reads the body of `PUT /admin/flag`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with the field that is unknown, of the wrong type, out of range, or missing.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(body) else {
            return Err(Refusal::invalid("body", "must be a JSON object"));
        };
        let mut flag = |name: &str| match fields.shift_remove(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(Refusal::invalid(name, "must be true or false")),
        };
        let (use_rabbitmq_updates, shadow_mode) = (flag("use_rabbitmq_updates")?, flag("shadow_mode")?);
        let (dry_run, force) = (flag("dry_run")?.unwrap_or(false), flag("force")?.unwrap_or(false));
        let mut text = |name: &str| match fields.shift_remove(name) {
            Some(Value::String(text)) if !text.trim().is_empty() && text.len() <= 1_000 => Ok(text),
            Some(Value::String(text)) if text.len() > 1_000 => {
                Err(Refusal::invalid(name, "must be at most 1000 bytes long"))
            }
            Some(Value::String(_)) | None => Err(Refusal::invalid(name, "is needed")),
            Some(_) => Err(Refusal::invalid(name, "must be a text")),
        };
        let (actor, reason) = (text("actor")?, text("reason")?);
        let on_behalf_of = match fields.shift_remove("on_behalf_of") {
            Some(Value::String(whom)) if whom.len() <= 1_000 => Some(whom),
            Some(_) => return Err(Refusal::invalid("on_behalf_of", "must be a text of at most 1000 bytes")),
            None => None,
        };
        let rollout = fields.shift_remove("rollout").map(rollout).transpose()?;
        let evidence = match fields.shift_remove("evidence") {
            None => None,
            Some(evidence) => Some(Pooled::read(evidence)?),
        };
        let expected_version = match fields.shift_remove("expected_version") {
            None => None,
            Some(version) => Some(
                version.as_u64().ok_or_else(|| Refusal::invalid("expected_version", "must be a whole number"))?,
            ),
        };
        if let Some((unknown, _)) = fields.iter().next() {
            return Err(Refusal::invalid(unknown, "unknown field"));
        }
        if use_rabbitmq_updates.is_none() && shadow_mode.is_none() && rollout.is_none() {
            return Err(Refusal::invalid("use_rabbitmq_updates", "nothing to change: give a flag or a rollout"));
        }
        Ok(Self {
            use_rabbitmq_updates,
            shadow_mode,
            rollout,
            actor,
            on_behalf_of,
            reason,
            dry_run,
            force,
            evidence,
            expected_version,
        })
    }
}

fn rollout(value: Value) -> Result<Rollout, Refusal> {
    let Value::Object(fields) = &value else { return Err(Refusal::invalid("rollout", "must be an object")) };
    for (name, member) in fields {
        let field = format!("rollout.{name}");
        let texts = || member.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        match name.as_str() {
            "percent" if !member.as_f64().is_some_and(|percent| (0.0..=100.0).contains(&percent)) => {
                return Err(Refusal::invalid(&field, "must be a number from 0 to 100"));
            }
            "allow" | "deny" | "tenants" if !texts() => {
                return Err(Refusal::invalid(&field, "must be a list of texts"));
            }
            "percent" | "allow" | "deny" | "tenants" => {}
            _ => return Err(Refusal::invalid(&field, "unknown field")),
        }
    }
    serde_json::from_value(value).map_err(|error| Refusal::invalid("rollout", error.to_string()))
}
