//! The runtime flag: which stage this instance is in, who changed it, and whether it may be changed.

mod audit;
mod change;
mod control;
mod disk;
mod pooled;
mod preflight;
mod store;
mod view;

pub use audit::{Audit, AuditEntry, Head, Reading, Verification, verify};
pub use change::{Action, Actor, ChangeRequest, Plan, Refusal};
pub use control::{Control, ControlSettings};
pub use pooled::Pooled;
pub use preflight::{Preflight, PreflightReport};
pub use store::{Configured, Override, Store, StoreError};
pub use view::{FlagView, Outcome, Percent, Planned, Transition};
