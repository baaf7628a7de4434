//! What a whole fleet has seen, as it is handed to each of its instances.

use bridge_core::verdict::Value as Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Refusal;

/// The evidence of all instances together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pooled {
    /// The verdict.
    pub verdict: Verdict,
    /// Messages that were compared.
    pub messages: u64,
    /// Of these, bad ones.
    pub bad: u64,
    /// Count and verdict, in words.
    pub says: String,
    /// Instances whose evidence it is.
    pub nodes: u64,
}

impl Pooled {
    /// Reads `evidence` of a change.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub(super) fn read(value: Value) -> Result<Self, Refusal> {
        let pooled: Self =
            serde_json::from_value(value).map_err(|error| Refusal::invalid("evidence", error.to_string()))?;
        if pooled.says.chars().count() > 1_000 {
            return Err(Refusal::invalid("evidence.says", "must be at most 1000 characters long"));
        }
        Ok(pooled)
    }
}
