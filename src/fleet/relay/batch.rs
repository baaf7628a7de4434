//! What one instance hands another: JSON over `POST /admin/fleet/relay`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Messages in order, and what could not be handed over before.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Name of the instance that hands it over.
    pub from: String,
    /// Names its process.
    pub boot: String,
    /// The messages.
    pub copies: Vec<CopyOnWire>,
    /// Gaps.
    #[serde(default)]
    pub lost: Vec<Gap>,
}

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub struct CopyOnWire {
    /// Larger than those of all before it, from one process.
    pub number: u64,
    /// Its dialog.
    pub dialog: String,
    /// Who posted it.
    pub sender: String,
    /// How long ago its POST began, in ms: clocks of two machines differ.
    pub age_ms: u64,
    /// `data` of Chat3's answer, as it came.
    pub data: Box<RawValue>,
}

/// Messages of a dialog that could not be handed over.
#[derive(Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The dialog; `None`: any.
    pub dialog: Option<String>,
    /// How long ago the first of their POSTs began, in ms.
    pub age_ms: u64,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Name of the instance that took it.
    pub instance: String,
    /// Names its process.
    pub boot: String,
    /// How long it has been running, in ms: what is older concerned nobody there.
    pub up_ms: u64,
}
