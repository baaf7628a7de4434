//! Who changes something, and why: it stands in the audit.

use clap::Args;

use super::Failure;

/// Who, and why.
#[derive(Clone, Debug, Args)]
pub(super) struct By {
    /// Who.
    #[arg(long)]
    pub(super) actor: String,
    /// Why.
    #[arg(long)]
    pub(super) reason: String,
}

impl By {
    /// Who and why, if the audit takes them.
    pub(super) fn named(self) -> Result<Self, Failure> {
        named(&self.actor, &self.reason)?;
        Ok(self)
    }
}

/// Whether the audit takes them.
pub(super) fn named(actor: &str, reason: &str) -> Result<(), Failure> {
    for (name, text) in [("--actor", actor), ("--reason", reason)] {
        if text.trim().is_empty() || text.chars().count() > 1_000 {
            return Err(Failure::Usage(format!("{name}: must be 1 to 1,000 characters")));
        }
    }
    Ok(())
}
